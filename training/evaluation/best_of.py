"""What choosing the best-scored of k solutions is worth: exact over a pool of n, with an interval over problems.

Knows scores and which solutions are right; knows no model. Nothing here is sampled but the problems of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

# Resamples of the problems; the ends of a 95 % interval then move by less than a fifth of a point.
RESAMPLES = 2000


def best_of_k(scores: Sequence[float], right: Sequence[bool], k: int) -> float:
    """E[the best-scored of a random k-subset is right], ties broken evenly; exact, in [0, 1].

    With scores sorted downwards, rank r (from 0) is the best of C(n−r−1, k−1) of the C(n, k) subsets; inside a group of
    equal scores every member is chosen as often as any other, so each counts with the group's mean. (The sum is the
    expectation that "best-of-N" scripts estimate by shuffling, Lightman et al. 2023.) Raises ValueError unless 1 ≤ k ≤ n.
    """
    n = len(scores)
    if len(right) != n or not 1 <= k <= n:
        raise ValueError(f"best-of-{k} needs k between 1 and the {n} scored solutions, each known right or wrong")
    order = sorted(range(n), key=lambda i: -scores[i])
    total, start = 0.0, 0
    while start < n:
        end = start
        while end < n and scores[order[end]] == scores[order[start]]:
            end += 1
        mean = sum(right[i] for i in order[start:end]) / (end - start)
        # The subsets whose best lies in this group: those within `start:` less those within `end:`.
        total += mean * (comb(n - start, k) - comb(n - end, k))
        start = end
    return total / comb(n, k)


def pass_at_k(right: Sequence[bool], k: int) -> float:
    """P(a random k-subset holds a right one) = 1 − C(n−c, k)/C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1)."""
    n, c = len(right), sum(right)
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs k between 1 and the {n} solutions")
    return 1 - comb(n - c, k) / comb(n, k)


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean by resampling problems (percentile bootstrap, Efron 1979); None below two problems."""
    import numpy as np

    if len(values) < 2:
        return None
    array, rng = np.asarray(values, float), np.random.default_rng(seed)
    means = array[rng.integers(len(array), size=(RESAMPLES, len(array)))].mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


@dataclass(frozen=True)
class BestOf:
    """One point of the curve. Shares in [0, 1]; `ci` over problems. `ceiling` is pass@k, `random` is k = 1."""

    k: int
    problems: int
    left_out: int  # problems with fewer than k solutions
    best: float
    ci: tuple[float, float] | None
    ceiling: float
    random: float


def curve(pools: Mapping[str, Sequence[tuple[float, bool]]], ks: Sequence[int], seed: int = 0) -> list[BestOf]:
    """Best-of-k for each k over the problems with at least k solutions; a k that no problem has is left out."""
    points = []
    for k in sorted(set(ks)):
        chosen = [pool for pool in pools.values() if len(pool) >= k]
        if not chosen:
            continue
        each = [best_of_k([s for s, _ in pool], [c for _, c in pool], k) for pool in chosen]
        n = len(chosen)
        points.append(
            BestOf(
                k, n, len(pools) - n, sum(each) / n, interval(each, seed),
                sum(pass_at_k([c for _, c in pool], k) for pool in chosen) / n,
                sum(sum(c for _, c in pool) / len(pool) for pool in chosen) / n,
            )
        )  # fmt: skip
    return points
