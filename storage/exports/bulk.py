"""Labels of many rows at once, as flat arrays over all their steps: a million ratings as Python's lists take seconds.

The same rules as in `labels.py` (a step nobody rated has no label, and is never read as bad), which makes one row of several
raters; where each rater has a row, what was settled of it is worked out here. Knows no file and no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from storage.exports.columns import BATCH, ahead, few_at_once
from storage.exports.labels import AGAIN, CUTS, Row, needed, overtaken
from storage.exports.policies import Policies
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Ints = npt.NDArray[np.int64]

T = TypeVar("T")

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


@dataclass(frozen=True)
class Traces:
    """Rows of whole traces that the policies keep, those of one trace side by side, and their ratings as the policies have
    them; where each trace begins among the rows, and at last the end, (traces + 1,).
    """

    rows: pa.RecordBatch
    ratings: Ratings
    ends: Ints

    @cached_property
    def firsts(self) -> pa.RecordBatch:
        """The first row of each trace: what is of the trace is in it."""
        return _taken(self.rows, self.ends[:-1])

    def lengths(self) -> Ints:
        """How many steps each trace has, (traces,)."""
        import numpy as np

        return np.diff(self.ratings.ends)[self.ends[:-1]]

    def where(self) -> tuple[Ints, Ints]:
        """Of every rating the row, and the number of its step when the steps of all traces are counted through, (steps,) each."""
        import numpy as np

        per_row = np.diff(self.ratings.ends)
        of = np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))  # the trace of each row
        begin = np.concatenate([[0], np.cumsum(self.lengths())])[of]
        rows = np.repeat(np.arange(len(per_row)), per_row)
        return rows, np.arange(len(rows)) + np.repeat(begin - self.ratings.ends[:-1], per_row)

    def codes(self) -> Ints:
        """Of every rating what was said: 0 bad, 1 neutral, 2 good, 3 unsure, −1 nothing, (steps,)."""
        import numpy as np

        values = self.ratings.values.astype(np.int64)
        return np.where(values != NONE, values + 1, np.where(self.ratings.why == UNSURE, 3, -1))

    def parts(
        self, beside: Sequence[T], size: Callable[[Ints, Ints, Ints], Ints]
    ) -> Iterator[tuple[Traces, Sequence[T]]]:
        """Some traces at a time, with their entries of `beside`, (traces,): so many that what is made of them can be held. size:
        from bytes of text (question and steps), rows and steps of each trace the bytes that will be made of it, (traces,).
        """
        import numpy as np
        import pyarrow.compute as pc

        steps = pc.binary_length(self.firsts["step_text"].flatten()).to_numpy(zero_copy_only=False)
        so_far, begin = np.append(0, np.cumsum(steps)), np.append(0, np.cumsum(self.lengths()))
        texts = np.diff(so_far[begin]) + pc.binary_length(self.firsts["prompt"]).to_numpy(zero_copy_only=False)
        for first, end in few_at_once(size(texts, np.diff(self.ends), self.lengths())):
            yield self._slice(first, end), beside[first:end]

    def _slice(self, first: int, end: int) -> Traces:
        a, b = int(self.ends[first]), int(self.ends[end])
        ends = self.ratings.ends[a : b + 1]
        inside = slice(ends[0], ends[-1])
        ratings = Ratings(self.ratings.values[inside], self.ratings.why[inside], ends - ends[0])
        return Traces(self.rows.slice(a, b - a), ratings, self.ends[first : end + 1] - a)

    def group(self, trace: int) -> list[Row]:
        """The rows of one trace as `labels.groups` has them."""
        rows = range(self.ends[trace], self.ends[trace + 1])
        return [
            {**self.rows.slice(row, 1).to_pylist()[0], "rating": [None if v == NONE else v for v in self.values(row)]}
            for row in rows
        ]

    def values(self, row: int) -> list[int]:
        """The ratings of one row."""
        return self.ratings.values[self.ratings.ends[row] : self.ratings.ends[row + 1]].tolist()


def traces(snapshot: Snapshot, policies: Policies, columns: Sequence[str], left: Counter[str]) -> Iterator[Traces]:
    """As `labels.groups`, of many traces at once; `verdict` as the policies have it."""
    again = overtaken(snapshot)
    for batch in ahead(_whole(snapshot.batches(needed(snapshot, policies, columns), BATCH))):
        rows = _taken(batch, kept(batch, policies, left, again))
        rows, ends = _enough(rows, policies.min_raters, left)
        if rows.num_rows:
            yield Traces(_with_verdict(rows, policies), settled(rows, policies), ends)


def _whole(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, but no trace is in two batches."""
    import pyarrow as pa

    waiting: pa.RecordBatch | None = None
    for batch in batches:
        if not batch.num_rows:  # where there are comparisons alone
            continue
        both = batch if waiting is None else pa.concat_batches([waiting, batch])
        last = int(_begins(both)[-1])
        if last:
            yield both.slice(0, last)
        waiting = both.slice(last)
    if waiting is not None:
        yield waiting


def _begins(rows: pa.RecordBatch) -> Ints:
    """The first row of each trace."""
    import numpy as np
    import pyarrow.compute as pc

    ids = rows["segmentation_id"]
    if not len(ids):
        return np.zeros(0, np.int64)
    new = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(new) + 1]).astype(np.int64)


def _enough(rows: pa.RecordBatch, least: int, left: Counter[str]) -> tuple[pa.RecordBatch, Ints]:
    """The rows of traces that enough raters rated, and where each trace begins among them, and at last the end."""
    import numpy as np

    counts = np.diff(_begins(rows), append=rows.num_rows)
    few = counts < least
    _count(left, f"of traces with fewer than {least} raters", np.repeat(few, counts))
    ends = np.concatenate([[0], np.cumsum(counts[~few])]).astype(np.int64)
    return _taken(rows, np.flatnonzero(np.repeat(~few, counts))), ends


def _taken(rows: pa.RecordBatch, at: Ints) -> pa.RecordBatch:
    """These rows, in their order: no copy where they are all."""
    import pyarrow as pa

    return rows if len(at) == rows.num_rows else rows.take(pa.array(at))


def _with_verdict(rows: pa.RecordBatch, policies: Policies) -> pa.RecordBatch:
    """What an adjudicator settled of the whole trace, where it overrules."""
    import pyarrow.compute as pc

    if policies.adjudicated != "overrules" or "adjudicated_verdict" not in rows.schema.names:
        return rows
    at = rows.schema.get_field_index("verdict")
    return rows.set_column(at, "verdict", pc.coalesce(rows["adjudicated_verdict"], rows["verdict"]))


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
