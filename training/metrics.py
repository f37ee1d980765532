"""Figures for judging a step scorer on held-out steps: AUC with its base rate, first-error F1. Plain numpy, no trainer.

Accuracy is not here on purpose: at a base rate of 0.85 a scorer without any skill reads 0.85.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Resamples for the interval of the AUC: its ends move by less than 0.01 beyond this.
RESAMPLES = 300


@dataclass(frozen=True)
class ScoredTrace:
    """One held-out trace: P(good) and label for each of its steps in order; label NaN = nobody judged it."""

    problem_id: str
    scores: Sequence[float]
    labels: Sequence[float]


def auc(scores: Sequence[float], labels: Sequence[float]) -> float | None:
    """P(score of a good step > score of a bad one), ties counting one half (Mann–Whitney). None with only one class.

    Labels above 0.5 are good, below 0.5 bad; exactly 0.5 and NaN are left out.
    """
    import numpy as np

    score, label = np.asarray(scores, float), np.asarray(labels, float)
    known = ~np.isnan(label) & (label != 0.5)
    score, good = score[known], label[known] > 0.5
    n_good, n_bad = int(good.sum()), int((~good).sum())
    if n_good == 0 or n_bad == 0:
        return None
    _, inverse, count = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2)[inverse]  # ties share the mean of their ranks
    return float((rank[good].sum() - n_good * (n_good + 1) / 2) / (n_good * n_bad))


def judged(traces: Sequence[ScoredTrace]) -> tuple[list[float], list[float]]:
    """Scores and labels of all judged steps, side by side."""
    pairs = [(s, y) for tr in traces for s, y in zip(tr.scores, tr.labels, strict=True) if not math.isnan(y)]
    return [s for s, _ in pairs], [y for _, y in pairs]


def auc_interval(traces: Sequence[ScoredTrace], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the AUC, resampling *problems* (steps of one problem are not independent): the percentile
    bootstrap over clusters (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13). None if undefined.
    """
    import numpy as np

    by_problem: dict[str, list[ScoredTrace]] = {}
    for trace in traces:
        by_problem.setdefault(trace.problem_id, []).append(trace)
    pooled = [judged(group) for group in by_problem.values()]
    if auc(*judged(traces)) is None or len(pooled) < 2:
        return None
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(pooled), size=len(pooled))
        value = auc([s for i in chosen for s in pooled[i][0]], [y for i in chosen for y in pooled[i][1]])
        if value is not None:
            found.append(value)
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def first_error_f1(traces: Sequence[ScoredTrace]) -> float | None:
    """ProcessBench's figure: predict the first step with P(good) < 0.5; harmonic mean of the accuracy on traces with a
    bad step and on traces without one (Zheng et al. 2024). None unless both kinds are there.

    Only the steps up to the first judged-bad one decide; a trace that nobody judged is left out.
    """
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for trace in traces:
        known = [(s, y) for s, y in zip(trace.scores, trace.labels, strict=True) if not math.isnan(y)]
        if known:
            truth = next((i for i, (_, y) in enumerate(known) if y < 0.5), None)
            guess = next((i for i, (s, _) in enumerate(known) if s < 0.5), None)
            hits[truth is not None].append(truth == guess)
    if not hits[True] or not hits[False]:
        return None
    wrong, right = (sum(h) / len(h) for h in (hits[True], hits[False]))
    return 2 * wrong * right / (wrong + right) if wrong + right else 0.0
