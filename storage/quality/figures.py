"""Agreement from value counts: percent, Krippendorff's α (ordinal), Gwet's AC1, Cohen's κ, each with its bootstrap interval
or a sentence that says why it is undefined. Pure arithmetic; knows no database.

One figure alone misleads: 97 % raw agreement with 97 % of the ratings good gives α = 0.48 and AC1 = 0.97. So they stand side
by side. All of them are functions of a few sums over units (a unit is one step, branch, trace or pair), so a million ratings
are summed once, trace by trace, and nothing ever loops over pairs of ratings; the bootstrap draws whole traces, because the
steps of one are not independent. The package `krippendorff` is not used: it raises when all ratings are the same, has no
interval, and its licence (GPL) is not ours.

Sources: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011); Gwet, "Computing inter-rater reliability and its
variance in the presence of high agreement" (2008), with missing ratings as in his irrCAC; Cohen (1960); Efron (1979).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]
    Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

SEED = 20_261_120  # the same ratings give the same interval
RESAMPLES = 1000
# Above this many traces 200 resamples settle the interval's second digit, and cost a fifth.
MANY_TRACES = 5000
FEWER_RESAMPLES = 200
LEAST_TRACES = 2

NO_UNIT = "Undefined: nothing was judged by two raters yet."
ALL_EQUAL = (
    "Undefined: every rating is the same, so nothing says what chance alone would give. Percent and AC1 still hold."
)
ONE_VALUE = "Undefined: both gave one and the same value to everything."
ONE_TRACE = "No interval: it is drawn over traces, and there is one."


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval; `sentence` says why one of them is missing, else it is empty."""

    value: float | None
    low: float | None = None
    high: float | None = None
    sentence: str = ""


@dataclass(frozen=True)
class Agreement:
    """n_units: judged by two raters or more, n_ratings: by how many in all, n_traces: in how many traces."""

    n_units: int
    n_ratings: int
    n_traces: int
    percent: Figure
    alpha: Figure
    ac1: Figure


def columns(n_values: int) -> list[str]:
    """The sums that everything is computed of, for a scale of `n_values` values: units with two ratings or more, ratings
    in them, their pairwise agreement; units with any rating; the share of each value, over units with any rating; the
    coincidences of each two values (o_ck of Krippendorff 2011), over units with two or more.
    """
    shares = [f"share_{k}" for k in range(n_values)]
    return ["units", "ratings", "agree", "rated", *shares, *(f"o_{c}_{k}" for c, k in _pairs(n_values))]


def sums_of(counts: Iterable[Sequence[int]], n_values: int) -> Array:
    """The sums of one trace, from how often each value was given to each of its units. Shape: (len(columns),)."""
    import numpy as np

    total = np.zeros(len(columns(n_values)))
    for count in counts:
        m = sum(count)
        if m:
            total[3:4] += 1
            total[4 : 4 + n_values] += np.array(count) / m
        if m >= 2:
            o = [count[c] * (count[c] - 1 if c == k else count[k]) / (m - 1) for c, k in _pairs(n_values)]
            total[:3] += 1, m, sum(n * (n - 1) for n in count) / (m * (m - 1))
            total[4 + n_values :] += o
    return total


def agreement(by_trace: Array, n_values: int) -> Agreement:
    """by_trace: one row of sums a trace, (traces, len(columns)). Traces without two ratings of one unit may be in it."""
    import numpy as np

    total = by_trace.sum(axis=0)
    n_units, n_ratings = round(total[0]), round(total[1])
    n_traces = int((by_trace[:, 0] > 0).sum())
    if not n_units:
        none = Figure(None, sentence=NO_UNIT)
        return Agreement(0, 0, 0, none, none, none)
    drawn = _resampled(by_trace) if n_traces >= LEAST_TRACES else None
    figures = []
    for compute, undefined in ((_percent, NO_UNIT), (_alpha, ALL_EQUAL), (_ac1, ALL_EQUAL)):
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(compute(total[None, :], n_values)[0])
            spread = None if drawn is None else compute(drawn, n_values)
        figures.append(_figure(value, spread, undefined))
    return Agreement(n_units, n_ratings, n_traces, *figures)


def kappa_columns(n_values: int) -> list[str]:
    """The sums that κ of two raters is computed of: how often both said the same, how often each gave each value."""
    return ["same", *(f"{who}_{k}" for who in ("one", "other") for k in range(n_values))]


def kappas(sums: Array, pair: Ints, trace: Ints, n_values: int) -> list[Figure]:
    """Cohen's κ of each two raters, with an interval over traces.

    One row for each pair of raters and trace that both judged: sums (rows, len(kappa_columns)); pair and trace number them
    from 0, pair ascending. The same draws of traces serve all pairs, so a pair costs its rows and no more.
    """
    import numpy as np

    if not len(pair):
        return []
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    n_traces = np.diff([*starts, len(pair)])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = _kappa(np.add.reduceat(sums, starts), n_values)
        drawn = (np.add.reduceat(w[trace][:, None] * sums, starts) for w in _draws(int(trace.max()) + 1))
        spread = np.stack(
            [_kappa(one, n_values).astype(np.float32) for one in drawn]
        )  # of hundreds of raters there are many
    return [
        _figure(float(value), spread[:, at] if n_traces[at] >= LEAST_TRACES else None, ONE_VALUE)
        for at, value in enumerate(values)
    ]


def share(by_trace: Array) -> Figure:
    """A percentage of sums, with an interval over traces. by_trace: (traces, 2), how many and how many in all."""
    import numpy as np

    total = by_trace.sum(axis=0)
    if not total[1]:
        return Figure(None, sentence=NO_UNIT)
    drawn = _resampled(by_trace) if len(by_trace) >= LEAST_TRACES else None
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = None if drawn is None else 100 * drawn[:, 0] / drawn[:, 1]
    return _figure(float(100 * total[0] / total[1]), spread, NO_UNIT)


def _kappa(sums: Array, n_values: int) -> Array:
    """NaN where both gave one and the same value throughout, and where there is nothing."""
    import numpy as np

    same, one, other = sums[:, 0], sums[:, 1 : 1 + n_values], sums[:, 1 + n_values :]
    n = one.sum(axis=1)
    chance = (one * other).sum(axis=1) / n**2
    return np.where(chance >= 1, np.nan, (same / n - chance) / (1 - chance))


def _figure(value: float, spread: Floats | None, undefined: str) -> Figure:
    import numpy as np

    if np.isnan(value):
        return Figure(None, sentence=undefined)
    if spread is None:
        return Figure(value, sentence=ONE_TRACE)
    defined = spread[~np.isnan(spread)]  # a draw may miss the only traces in which raters differ
    if len(defined) < len(spread) / 2:
        return Figure(
            value, sentence="No interval: in most draws of the traces it is undefined, for too few of them differ."
        )
    low, high = np.percentile(defined, (2.5, 97.5))
    return Figure(value, float(low), float(high))


def _resampled(by_trace: Array) -> Array:
    """The sums of traces drawn with replacement, as many as there are. Shape: (resamples, len(columns))."""
    import numpy as np

    return np.stack([weights @ by_trace for weights in _draws(len(by_trace))])


def _draws(n: int) -> Iterator[Ints]:
    """How often each of `n` traces is drawn, one draw after the other."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    times = RESAMPLES if n <= MANY_TRACES else FEWER_RESAMPLES
    return (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(times))


def _percent(sums: Array, n_values: int) -> Array:
    return 100 * sums[:, 2] / sums[:, 0]


def _ac1(sums: Array, n_values: int) -> Array:
    observed = sums[:, 2] / sums[:, 0]
    shares = sums[:, 4 : 4 + n_values] / sums[:, 3:4]
    chance = (shares * (1 - shares)).sum(axis=1) / (n_values - 1)
    return (observed - chance) / (1 - chance)  # type: ignore[no-any-return]  # numpy's arithmetic is typed as Any


def _alpha(sums: Array, n_values: int) -> Array:
    """1 − D_o/D_e with the ordinal metric: how many ratings lie between two values, half of each of the two counted."""
    import numpy as np

    pairs = _pairs(n_values)
    o = dict(zip(pairs, sums[:, 4 + n_values :].T, strict=True))
    n_of = [sum(o[min(c, k), max(c, k)] for k in range(n_values)) for c in range(n_values)]
    n = sum(n_of)
    observed, expected = np.zeros(len(sums)), np.zeros(len(sums))
    for c, k in pairs:
        if c == k:
            continue
        distance = (sum(n_of[c : k + 1]) - (n_of[c] + n_of[k]) / 2) ** 2
        observed += o[c, k] * distance
        expected += n_of[c] * n_of[k] * distance
    # Sums of fractions leave dust where there is nothing: expected disagreement below one pair is none.
    return np.where(expected < 1e-9, np.nan, 1 - (n - 1) * observed / np.where(expected == 0, 1, expected))


def _pairs(n_values: int) -> list[tuple[int, int]]:
    return [(c, k) for c in range(n_values) for k in range(c, n_values)]
