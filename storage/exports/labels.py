"""From what raters said to what a trainer is told: several raters into one, ratings into a cut list of labels.

Pure functions over snapshot rows; knows no file. The rule everywhere: a step nobody rated has no label, and is never
read as bad. `groups` and `sources` apply the policies that concern reading, in this order: split and gold, minimum of
raters, first error, adjudication, recovery, and only then the raters of a trace into one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from storage.exports.policies import ESTIMATES, Policies
from storage.rater_names import raters_of
from storage.recut import n_recut
from storage.snapshots import Snapshot

Row = dict[str, Any]
Estimates = dict[tuple[str, int], int]  # (segmentation_id, step): −1, 0 or 1

CUTS = ("unrated", "unsure", "neutral dropped", "raters tied", "too few raters", "first error", "end")
# What `groups` needs of a row beside what a format asks for.
NEEDED = (
    "segmentation_id", "rater_id", "assignment_id", "rating", "unsure", "first_error", "recovered", "adjudicated",
    "adjudicated_verdict", "verdict", "gold", "split", "prelabel_visible",
)  # fmt: skip
AGAIN = "of traces that the same rater rated again"


def by_trace(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of each trace together (a snapshot keeps them side by side)."""
    for _, group in groupby(rows, key=lambda row: row["segmentation_id"]):
        yield list(group)


# Of a search's answer how it was found and what the search cost, as JSON; null for any other trace.
SEARCHED = ("search", "ledger")


def searched(row: Mapping[str, Any], side: str = "") -> Row:
    """Those columns of a row; absent from snapshots of earlier versions. side: what stands before their names."""
    return {f"{side}{name}": row.get(name) for name in SEARCHED}


def groups(
    snapshot: Snapshot, policies: Policies, columns: Sequence[str], left: Counter[str] | None = None
) -> Iterator[list[Row]]:
    """The rows of each trace, with `rating` and `verdict` as the policies have them. `left` counts rows left out, by reason."""
    left = Counter() if left is None else left
    again = overtaken(snapshot)
    for rows in by_trace(_numbered(snapshot.rows(needed(snapshot, policies, columns)))):
        kept = []
        for row in rows:
            if policies.split not in ("all", row["split"]):
                left[f"not in the {policies.split} split"] += 1
            elif policies.gold == "leave_out" and row.get("gold") is not None:
                left["of gold or screening items"] += 1
            elif row["assignment_id"] in again:
                left[AGAIN] += 1
            else:
                kept.append(row)
        if kept and len(kept) < policies.min_raters:
            left[f"of traces with fewer than {policies.min_raters} raters"] += len(kept)
        elif kept:
            yield [settled(row, policies) for row in kept]


def overtaken(snapshot: Snapshot) -> frozenset[str]:
    """Assignments of a trace that the same rater rated anew, in another queue: what they said last is their one vote."""
    import duckdb

    with duckdb.connect() as con:
        found = con.execute(
            "select assignment_id from read_parquet(?) qualify row_number() over "
            "(partition by segmentation_id, rater_id order by assignment_id desc) > 1",
            [str(snapshot.data_path)],
        ).fetchall()
    return frozenset(assignment_id for (assignment_id,) in found)


def _numbered(rows: Iterable[Row]) -> Iterator[Row]:
    """`at` is the number of the row in the snapshot: where its texts are."""
    for at, row in enumerate(rows):
        row["at"] = at
        yield row


def needed(snapshot: Snapshot, policies: Policies, columns: Sequence[str]) -> tuple[str, ...]:
    """What a format asks for, and what the policies need of a row. What can change nothing is not read: a list of nulls costs
    as much as one of ratings.
    """
    counts = snapshot.manifest["counts"]
    unneeded = {
        *(("recovered",) if policies.recovered_as == "bad" else ()),
        *(("adjudicated",) if policies.adjudicated == "ignored" or not counts.get("adjudicated_steps") else ()),
        *(("better",) if counts.get("better_steps") == 0 else ()),
    }
    return tuple(name for name in dict.fromkeys((*columns, *NEEDED)) if name not in unneeded)


def sources(
    snapshot: Snapshot, policies: Policies, columns: Sequence[str], left: Counter[str] | None = None
) -> Iterator[Row]:
    """One row for each rater or one for each trace, as `policies.raters` says."""
    labels = estimated(snapshot, policies) if policies.raters in ESTIMATES else None
    for group in groups(snapshot, policies, columns, left):
        if policies.raters == "each":
            yield from group
        else:
            yield together(group, policies, labels)


def estimated(snapshot: Snapshot, policies: Policies) -> Estimates:
    """The label of every rated step, from the votes that the policies keep. Raises ExportError where crowd-kit cannot say."""
    import pandas as pd

    from storage.quality.aggregate import aggregated

    votes: dict[str, list[Any]] = {"segmentation_id": [], "step_idx": [], "rater_id": [], "value": []}
    for group in groups(snapshot, policies, ()):
        for row in group:
            for step, value in enumerate(row["rating"]):
                if value is not None:
                    for name, cell in zip(votes, (row["segmentation_id"], step, row["rater_id"], value), strict=True):
                        votes[name].append(cell)
    if not votes["value"]:
        return {}
    return {unit: round(label) for unit, (label, _) in aggregated(policies.raters, pd.DataFrame(votes)).items()}


def settled(row: Row, policies: Policies) -> Row:
    """A row whose ratings say all that is known of its steps: the marked first error is bad, what an adjudicator settled
    and what was put right later count as the policies have it.
    """
    ratings = list(row["rating"])
    unsure = row["unsure"]
    verdict = row["verdict"]
    marked = row["first_error"]
    if marked is not None and ratings[marked] is None:
        ratings[marked] = -1  # whoever marks the first error says that this step is bad
    decided = row.get("adjudicated")
    if policies.adjudicated == "overrules":
        if decided and any(value is not None for value in decided):
            unsure = [u and d is None for u, d in zip(unsure, decided, strict=True)]
            ratings = [r if d is None else d for r, d in zip(ratings, decided, strict=True)]
        if row.get("adjudicated_verdict") is not None:
            verdict = row["adjudicated_verdict"]
    recovered = row.get("recovered")
    if policies.recovered_as != "bad" and recovered:
        better = 1 if policies.recovered_as == "good" else 0
        ratings = [
            better if value == -1 and by is not None and by >= 0 else value
            for value, by in zip(ratings, recovered, strict=True)
        ]
    if ratings == row["rating"] and unsure is row["unsure"] and verdict is row["verdict"]:
        return row  # as nearly always
    return {**row, "rating": ratings, "unsure": unsure, "verdict": verdict}


def together(rows: Sequence[Row], policies: Policies, labels: Estimates | None = None) -> Row:
    """One row for all raters of a trace (already `settled`): per step what most gave, what their mean says, or its estimated
    label. `tied` and `few` name the steps without a label for that reason.
    """
    if len(rows) == 1 and policies.min_raters <= 1 and labels is None:
        return rows[0]
    ratings: list[int | None] = []
    tied: set[int] = set()
    few: set[int] = set()
    for i, votes in enumerate(zip(*(row["rating"] for row in rows), strict=True)):
        given = [v for v in votes if v is not None]
        if 0 < len(given) < policies.min_raters:
            few.add(i)
            given = []
        counted = labels is None or not given or settled_by(rows[0], i, policies)
        value = agreed_value(given, policies.raters) if counted else (labels or {}).get((rows[0]["segmentation_id"], i))
        if given and value is None:
            value = {"drop": None, "bad": -1, "good": 1}[policies.ties]
            if value is None:
                tied.add(i)
        ratings.append(value)
    unsure = [all(votes) for votes in zip(*(row["unsure"] for row in rows), strict=True)]
    names = raters_of(rows)
    ids = "+".join(sorted(row["assignment_id"] for row in rows))
    seen = any(row["prelabel_visible"] for row in rows)
    return {
        **rows[0], "rating": ratings, "unsure": unsure, "tied": tied, "few": few, "first_error": None, "rater_id": names,
        "assignment_id": ids, "prelabel_visible": seen,
    }  # fmt: skip


def settled_by(row: Row, step: int, policies: Policies) -> bool:
    """Whether an adjudicator's word stands there, which no estimate changes."""
    decided = row.get("adjudicated")
    return bool(policies.adjudicated == "overrules" and decided and decided[step] is not None)


def agreed_value(votes: Sequence[int], how: str) -> int | None:
    """The value that stands for these votes; None for no votes and for a tie."""
    if how == "mean" and votes:
        total = sum(votes)
        return (total > 0) - (total < 0) if total or len(set(votes)) == 1 else None
    counts = Counter(votes).most_common(2)
    return None if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]) else counts[0][0]


def mean_votes(votes: Iterable[int | None]) -> tuple[float, int] | None:
    """(mean, number of votes); None when nobody voted. Unsure and unrated are no votes."""
    given = [v for v in votes if v is not None]
    return (sum(given) / len(given), len(given)) if given else None


def recut_warning(snapshot: Snapshot, policies: Policies) -> list[str]:
    """Labels are of the steps as they were rated, whatever was said about where they should be cut: a sentence, if so."""
    if snapshot.manifest.get("corrections", {}).get("steps_recut") == 0:
        return []
    rows = (row for group in groups(snapshot, policies, ("cuts", "joined")) for row in group)
    counts = [n for n in map(n_recut, rows) if n]
    if not counts:
        return []
    return [
        f"{sum(counts)} steps in {len(counts)} rated traces were re-cut by their raters. Labels are of the steps as they "
        "were rated, so this export keeps those; the tree export has the steps re-cut."
    ]
