"""From what raters said to what a trainer is told: several raters into one, ratings into a cut list of labels.

Pure functions over snapshot rows; knows no file. The rule everywhere: a step nobody rated has no label, and is never
read as bad.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from storage.recut import n_recut

Row = dict[str, Any]

CUTS = ("unrated", "unsure", "neutral dropped", "raters tied", "first error", "end")


@dataclass(frozen=True)
class Labelled:
    """Labels for the first steps of a row, why they end there (one of CUTS), and how many rated steps lie beyond."""

    labels: list[bool]
    cut: str
    beyond: int


def label_steps(row: Row, neutral_as: str, stop_at_first_error: bool) -> Labelled:
    """good → True, bad → False, neutral as asked; ends before the first step without a label, or with the first
    error.
    """
    ratings = list(row["rating"])
    if row["first_error"] is not None and ratings[row["first_error"]] is None:
        ratings[row["first_error"]] = -1  # whoever marks the first error says that this step is bad
    tied = row.get("tied") or ()
    labels: list[bool] = []
    cut = "end"
    for i, value in enumerate(ratings):
        if value is None:
            cut = "raters tied" if i in tied else "unsure" if row["unsure"][i] else "unrated"
            break
        if value == 0 and neutral_as == "drop":
            cut = "neutral dropped"
            break
        labels.append(value > 0 or (value == 0 and neutral_as == "positive"))
        if stop_at_first_error and value < 0:
            cut = "end" if i + 1 == len(ratings) else "first error"
            break
    return Labelled(labels, cut, sum(v is not None for v in ratings[len(labels) :]))


def by_trace(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of each trace together (a snapshot keeps them side by side)."""
    for _, group in groupby(rows, key=lambda row: row["segmentation_id"]):
        yield list(group)


def majority(rows: Sequence[Row]) -> Row:
    """One row for all raters of a trace: per step the value most of them gave; a tie is no label. One rater: the row
    itself.
    """
    if len(rows) == 1:
        return rows[0]
    ratings: list[int | None] = []
    tied: set[int] = set()
    for i, votes in enumerate(zip(*(_with_first_error(row) for row in rows), strict=True)):
        counts = Counter(v for v in votes if v is not None).most_common(2)
        if len(counts) == 2 and counts[0][1] == counts[1][1]:
            tied.add(i)
        ratings.append(counts[0][0] if counts and i not in tied else None)
    unsure = [all(votes) for votes in zip(*(row["unsure"] for row in rows), strict=True)]
    names = "+".join(sorted(row["rater_id"] for row in rows))
    ids = "+".join(sorted(row["assignment_id"] for row in rows))
    seen = any(row["prelabel_visible"] for row in rows)
    return {
        **rows[0], "rating": ratings, "unsure": unsure, "tied": tied, "first_error": None, "rater_id": names,
        "assignment_id": ids, "prelabel_visible": seen,
    }  # fmt: skip


def mean_votes(votes: Iterable[int | None]) -> tuple[float, int] | None:
    """(mean, number of votes); None when nobody voted. Unsure and unrated are no votes."""
    given = [v for v in votes if v is not None]
    return (sum(given) / len(given), len(given)) if given else None


def recut_warning(rows: Iterable[Row]) -> list[str]:
    """Labels are of the steps as they were rated, whatever was said about where they should be cut: a sentence, if so."""
    counts = [n for n in map(n_recut, rows) if n]
    if not counts:
        return []
    return [
        f"{sum(counts)} steps in {len(counts)} rated traces were re-cut by their raters. Labels are of the steps as they "
        "were rated, so this export keeps those; the tree export has the steps re-cut."
    ]


def _with_first_error(row: Row) -> list[int | None]:
    ratings = list(row["rating"])
    if row["first_error"] is not None and ratings[row["first_error"]] is None:
        ratings[row["first_error"]] = -1
    return ratings
