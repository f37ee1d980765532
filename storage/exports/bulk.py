"""Labels of many rows at once, as flat arrays over all their steps: a million ratings as Python's lists take seconds.

The same rules as in `labels.py` (a step nobody rated has no label, and is never read as bad), which makes one row of several
raters; where each rater has a row, what was settled of it is worked out here. Knows no file and no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.exports.labels import AGAIN, CUTS, Row
from storage.exports.policies import Policies

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Ints = npt.NDArray[np.int64]

NONE = -128  # no rating
UNRATED, UNSURE, DROPPED, TIED, FEW, FIRST_ERROR, END = range(len(CUTS))


@dataclass(frozen=True)
class Ratings:
    """The ratings of rows, one after the other: −1, 0, 1 or NONE, (steps,); for a step without one why (a number of CUTS);
    where each row begins, and at last the end, (rows + 1,).
    """

    values: npt.NDArray[np.int8]
    why: npt.NDArray[np.int8]
    ends: Ints


@dataclass(frozen=True)
class Labels:
    """Of each row how many of its first steps have a label, why they end there (a number of CUTS) and how many rated steps lie
    beyond; `good` has the label of every step that has one, beside `ends` of the ratings.
    """

    counts: Ints
    cut: Ints
    beyond: Ints
    good: npt.NDArray[np.bool_]


def kept(batch: pa.RecordBatch, policies: Policies, left: Counter[str], again: frozenset[str] = frozenset()) -> Ints:
    """Which rows of a batch the policies of split and gold keep, counting the others by reason; again: assignments whose
    trace the same rater rated anew.
    """
    import numpy as np

    keep = np.ones(batch.num_rows, bool)
    if policies.split != "all":
        keep = np.asarray(batch["split"].to_pylist(), object) == policies.split
        _count(left, f"not in the {policies.split} split", ~keep)
    if policies.gold == "leave_out" and "gold" in batch.schema.names:
        known = batch["gold"].is_valid().to_numpy(zero_copy_only=False) & keep
        _count(left, "of gold or screening items", known)
        keep &= ~known
    if again:
        twice = np.array([one in again for one in batch["assignment_id"].to_pylist()]) & keep
        _count(left, AGAIN, twice)
        keep &= ~twice
    return np.flatnonzero(keep)


def _count(left: Counter[str], reason: str, rows: npt.NDArray[np.bool_]) -> None:
    if n := int(rows.sum()):
        left[reason] += n


def settled(batch: pa.RecordBatch, policies: Policies) -> Ratings:
    """As `labels.settled` has it of one row: the marked first error is bad, what an adjudicator settled and what was put right
    later count as the policies say.
    """
    import numpy as np

    ends = np.concatenate([[0], np.cumsum(batch["rating"].value_lengths().to_numpy(zero_copy_only=False))]).astype(
        np.int64
    )
    values = _flat(batch, "rating", np.int8, NONE).copy()
    unsure = _flat(batch, "unsure", np.bool_, False).copy()
    marked = batch["first_error"]
    rows = np.flatnonzero(marked.is_valid().to_numpy(zero_copy_only=False))
    at = ends[rows] + marked.drop_null().to_numpy(zero_copy_only=False)
    at = at[values[at] == NONE]
    values[at] = -1  # whoever marks the first error says that this step is bad
    if policies.adjudicated == "overrules" and "adjudicated" in batch.schema.names:
        decided = _flat(batch, "adjudicated", np.int8, NONE)
        values = np.where(decided == NONE, values, decided)
        unsure &= decided == NONE
    if policies.recovered_as != "bad" and "recovered" in batch.schema.names:
        right = (values == -1) & (_flat(batch, "recovered", np.int32, -1) >= 0)
        values[right] = 1 if policies.recovered_as == "good" else 0
    return Ratings(values, np.where(unsure, UNSURE, UNRATED).astype(np.int8), ends)


def of_rows(rows: Sequence[Row]) -> Ratings:
    """Of rows that `labels.sources` made."""
    import numpy as np

    values = [NONE if v is None else v for row in rows for v in row["rating"]]
    why = [
        TIED if i in (row.get("tied") or ()) else FEW if i in (row.get("few") or ()) else UNSURE if unsure else UNRATED
        for row in rows
        for i, unsure in enumerate(row["unsure"])
    ]
    ends = np.concatenate([[0], np.cumsum([len(row["rating"]) for row in rows], dtype=np.int64)]).astype(np.int64)
    return Ratings(np.array(values, np.int8), np.array(why, np.int8), ends)


def label(ratings: Ratings, neutral_as: str, stop_at_first_error: bool) -> Labels:
    """good → True, bad → False, neutral as asked; ends before the first step without a label, or with the first error."""
    import numpy as np

    values, starts, lengths = ratings.values, ratings.ends[:-1], np.diff(ratings.ends)
    none = values == NONE
    without = none | (values == 0) if neutral_as == "drop" else none
    wrong = (values < 0) & ~none
    stop = _first(without, ratings)
    error = np.minimum(_first(wrong, ratings) + 1, lengths)
    by_error = (error <= stop) & (_first(wrong, ratings) < lengths) & stop_at_first_error
    counts = np.where(by_error, error, stop)
    # Why: the end; the first error; or what the first step without a label says.
    at = np.minimum(starts + counts, max(len(values) - 1, 0))
    reason = np.where(none, ratings.why, DROPPED)[at] if len(values) else np.zeros(len(counts), np.int64)
    cut = np.where(counts == lengths, END, np.where(by_error, FIRST_ERROR, reason))
    rated = np.concatenate([[0], np.cumsum(~none)])
    beyond = rated[ratings.ends[1:]] - rated[starts + counts]
    good = (values > 0) | ((values == 0) & (neutral_as == "positive"))
    return Labels(counts, cut, beyond, good)


def _first(which: npt.NDArray[np.bool_], ratings: Ratings) -> Ints:
    """Of each row the number of its first step of which this is so; its length where there is none."""
    import numpy as np

    places = np.flatnonzero(which)
    after = np.searchsorted(places, ratings.ends[:-1])
    found = np.append(places, len(which))[after]
    return np.minimum(found, ratings.ends[1:]) - ratings.ends[:-1]


def _flat(batch: pa.RecordBatch, name: str, dtype: Any, none: Any) -> npt.NDArray[Any]:
    """All entries of a list column, one row's after the other's."""
    return batch[name].flatten().fill_null(none).to_numpy(zero_copy_only=False).astype(dtype)
