"""Figures over single steps: calibration, first-error F1 with its parts, PRMBench's score a slice, drift into an ORM.

Plain arithmetic over `ScoredTrace`s; AUC and its interval are in `training/metrics.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.metrics import ScoredTrace

BINS = 10
THRESHOLD = 0.5  # ProcessBench's and PRMBench's, fixed: a threshold chosen on the test set would flatter


@dataclass(frozen=True)
class Bin:
    """Scores in [low, high): how many, their mean, and the share of good steps among them (None: empty)."""

    low: float
    high: float
    n: int
    score: float | None
    good: float | None


def reliability(scores: Sequence[float], labels: Sequence[float], bins: int = BINS) -> list[Bin]:
    """Equal-width bins of a reliability diagram (Guo et al. 2017, arXiv 1706.04599, §2). Soft labels count as they are."""
    held: list[list[int]] = [[] for _ in range(bins)]
    for i, score in enumerate(scores):
        held[min(bins - 1, int(score * bins))].append(i)
    return [
        Bin(
            b / bins, (b + 1) / bins, len(ids),
            sum(scores[i] for i in ids) / len(ids) if ids else None,
            sum(labels[i] for i in ids) / len(ids) if ids else None,
        )
        for b, ids in enumerate(held)
    ]  # fmt: skip


def ece(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: Σ n_b/n · |good_b − score_b| (Guo et al. 2017, eq. 3); None without a step."""
    n = sum(b.n for b in bins)
    if not n:
        return None
    return sum(b.n * abs(b.good - b.score) for b in bins if b.good is not None and b.score is not None) / n


def brier(scores: Sequence[float], labels: Sequence[float]) -> float | None:
    """Mean squared error of P(good) (Brier 1950); None without a step."""
    return sum((s - y) ** 2 for s, y in zip(scores, labels, strict=True)) / len(scores) if scores else None


@dataclass(frozen=True)
class FirstError:
    """ProcessBench's figure and its parts. erroneous, correct: accuracy on solutions with and without an error."""

    erroneous: float | None
    correct: float | None
    n_erroneous: int
    n_correct: int

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two accuracies; None unless both kinds of solution are there."""
        if self.erroneous is None or self.correct is None:
            return None
        both = self.erroneous + self.correct
        return 2 * self.erroneous * self.correct / both if both else 0.0


def first_error(traces: Sequence[ScoredTrace]) -> FirstError:
    """Predict the first step with P(good) < 0.5, none where there is no such step (Zheng et al. 2024, arXiv 2412.06559, §3).

    Only judged steps are looked at; a solution that nobody judged is left out.
    """
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for trace in traces:
        known = [(s, y) for s, y in zip(trace.scores, trace.labels, strict=True) if not math.isnan(y)]
        if known:
            truth = next((i for i, (_, y) in enumerate(known) if y < 0.5), None)
            guess = next((i for i, (s, _) in enumerate(known) if s < THRESHOLD), None)
            hits[truth is not None].append(truth == guess)
    wrong, right = (sum(h) / len(h) if h else None for h in (hits[True], hits[False]))
    return FirstError(wrong, right, len(hits[True]), len(hits[False]))


@dataclass(frozen=True)
class SliceScore:
    """One slice of the steps. f1: of finding good steps, negative_f1: of finding bad ones; None where undefined.

    by_f1: its PRMScore is f1 alone. mean_of: PRMScores of which it is the mean, in place of its own.
    """

    name: str
    steps: int
    bad: int
    auc: float | None
    f1: float | None
    negative_f1: float | None
    by_f1: bool = False
    mean_of: tuple[float | None, ...] = ()

    @property
    def prm_score(self) -> float | None:
        """PRMScore = ½ F1 + ½ F1_neg (Song et al. 2025, PRMBench, arXiv 2501.03124).

        As its released tables: of the class `multi_solutions`, in which every step is right, F1 alone; of a group the mean over its
        classes, each weighing the same.
        """
        if self.mean_of:
            known = [score for score in self.mean_of if score is not None]
            return sum(known) / len(known) if len(known) == len(self.mean_of) else None
        if self.by_f1:
            return self.f1
        if self.f1 is None or self.negative_f1 is None:
            return None
        return 0.5 * self.f1 + 0.5 * self.negative_f1


def slice_score(name: str, scores: Sequence[float], labels: Sequence[float]) -> SliceScore:
    """Figures of the steps of one slice; labels above 0.5 are good, exactly 0.5 and NaN are left out."""
    from training.metrics import auc

    known = [(s >= THRESHOLD, y > 0.5) for s, y in zip(scores, labels, strict=True) if y != 0.5 and not math.isnan(y)]
    good = _f1([(guess, truth) for guess, truth in known])
    bad = _f1([(not guess, not truth) for guess, truth in known])
    return SliceScore(name, len(known), sum(not truth for _, truth in known), auc(scores, labels), good, bad)


def _f1(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """2·TP / (2·TP + FP + FN); None where the class neither occurs nor is claimed."""
    hit = sum(guess and truth for guess, truth in pairs)
    either = sum(guess for guess, _ in pairs) + sum(truth for _, truth in pairs)
    return 2 * hit / either if either else None


@dataclass(frozen=True)
class Drift:
    """How often the least score of a solution stands at its last step, and how often chance alone would put it there.

    A PRM whose minima gather at the end judges the outcome, not the process (Zhang et al. 2025, arXiv 2501.07301: more
    than 40 % for models trained on Monte-Carlo labels). by_chance is the mean of 1/(number of steps).
    """

    solutions: int
    at_last: float | None
    by_chance: float | None


def drift(scores: Sequence[Sequence[float]]) -> Drift:
    """Over solutions of at least two steps; a minimum that several steps share counts in part."""
    several = [list(s) for s in scores if len(s) > 1]
    if not several:
        return Drift(0, None, None)
    at_last = [(s[-1] == min(s)) / s.count(min(s)) for s in several]
    return Drift(len(several), sum(at_last) / len(several), sum(1 / len(s) for s in several) / len(several))
