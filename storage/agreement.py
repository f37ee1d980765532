"""How far raters agree on steps. Pure arithmetic over value counts; knows no database.

One figure alone misleads: 97 % raw agreement with 97 % of the ratings good gives α = 0.48 and AC1 = 0.97. So percent
agreement,
Krippendorff's α (ordinal) and Gwet's AC1 stand side by side with n, and each says in words why it is undefined where
it is.
Sources: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011); Gwet, "Computing inter-rater reliability"
(2008).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

SCALE = (-1, 0, 1)  # bad, neutral, good; "unsure" is not a vote


def step_agreement(units: Iterable[Sequence[int]]) -> dict[str, Any]:
    """units: the votes of different raters on one step each; only units with two or more votes count.

    Returns {n_units, percent, alpha_ordinal, ac1}; a figure that is undefined is a string that begins with
    "undefined:".
    """
    counts = [Counter(votes) for votes in units if len(votes) >= 2]
    if not counts:
        reason = "undefined: no step was rated by two raters"
        return {"n_units": 0, "percent": reason, "alpha_ordinal": reason, "ac1": reason}
    observed = sum(_pairwise(c) for c in counts) / len(counts)
    return {
        "n_units": len(counts),
        "percent": round(100 * observed, 1),
        "alpha_ordinal": _alpha_ordinal(counts),
        "ac1": _ac1(counts, observed),
    }


def first_error_agreement(marks: Iterable[Sequence[int | None]]) -> dict[str, Any]:
    """marks: for each trace the first error that each rater marked (None: none). How often they name the same, how
    far apart if not.
    """
    same = pairs = 0
    distances: list[int] = []
    for trace in marks:
        for i, a in enumerate(trace):
            for b in trace[i + 1 :]:
                pairs += 1
                same += a == b
                if a is not None and b is not None:
                    distances.append(abs(a - b))
    if not pairs:
        return {"n_pairs": 0, "same_percent": "undefined: no trace was rated by two raters"}
    mean = (
        round(sum(distances) / len(distances), 2)
        if distances
        else "undefined: no trace has a first error from two raters"
    )
    return {"n_pairs": pairs, "same_percent": round(100 * same / pairs, 1), "mean_distance_steps": mean}


def _pairwise(count: Counter[int]) -> float:
    n = count.total()
    return sum(k * (k - 1) for k in count.values()) / (n * (n - 1))


def _alpha_ordinal(counts: list[Counter[int]]) -> float | str:
    totals = Counter[int]()
    for count in counts:
        totals.update(count)
    n = totals.total()
    if len(totals) < 2:
        return "undefined: all ratings are equal"

    def distance(a: int, b: int) -> float:
        low, high = min(a, b), max(a, b)
        return (sum(totals[v] for v in SCALE if low <= v <= high) - (totals[a] + totals[b]) / 2) ** 2

    observed = 0.0
    for count in counts:
        m = count.total()
        observed += sum(count[a] * count[b] * distance(a, b) for a in count for b in count if a != b) / (m - 1)
    expected = sum(totals[a] * totals[b] * distance(a, b) for a in totals for b in totals if a != b) / (n - 1)
    return round(1 - observed / expected, 3)


def _ac1(counts: list[Counter[int]], observed: float) -> float:
    shares = {v: sum(c[v] / c.total() for c in counts) / len(counts) for v in SCALE}
    chance = sum(p * (1 - p) for p in shares.values()) / (len(SCALE) - 1)
    return round((observed - chance) / (1 - chance), 3)
