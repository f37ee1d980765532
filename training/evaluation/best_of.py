"""The curve of best-of-k over problems: what choosing the best-scored of k solutions is worth, with an interval over problems.

The estimators themselves are `core/evaluation/estimate.py`. Nothing here is sampled but the problems of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.evaluation.estimate import best_of_k, interval, pass_at_k

__all__ = ["BestOf", "best_of_k", "curve", "interval", "pass_at_k"]


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
