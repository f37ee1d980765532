"""Weighted votes of k out of n answers, counted where their sums are too many to be told apart one by one (`estimate.py`).

Few subsets are all gone through, with the scores as they are. Of many the count goes over the sums of scores in whole parts: whole
multiples of 1/d where all scores are such (d up to `PARTS`: rollouts, critiques, tests), else scores rounded to 1/`PARTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, groupby
from math import comb
from typing import Any

import numpy as np

PARTS = 1000
# Nodes of the integral over ties: exact for ties of up to twice as many votes.
NODES = 8
CHUNK = 2048  # sums at a time, so that what they need stays in the processor's cache

Floats = np.ndarray[Any, Any]
# The score of each holder of an answer and whether it is right.
Holders = Sequence[tuple[float, bool]]


def of_subsets(answers: Sequence[Holders], blanks: int, k: int, unit: float) -> float:
    """The sum over all k-subsets of the chance that the vote is right; `blanks` are drawn as well and have no vote."""
    flat = [(a, score, right) for a, holders in enumerate(answers) for score, right in holders]
    whose = np.array([a for a, _, _ in flat] + [-1] * blanks)
    units = np.array([round(score / unit) for _, score, _ in flat] + [0] * blanks, np.int64)
    rights = np.array([right for _, _, right in flat] + [False] * blanks)
    drawn = _subsets(len(whose), k)
    sums = np.full((len(answers), len(drawn)), -1, np.int64)  # an answer that was not drawn cannot win with a sum of 0
    votes, good = np.zeros(sums.shape), np.zeros(sums.shape)
    for a in range(len(answers)):
        mine = whose[drawn] == a
        here = mine.any(axis=1)
        votes[a] = mine.sum(axis=1)
        sums[a, here] = np.where(mine, units[drawn], 0).sum(axis=1)[here]
        held = np.where(mine, units[drawn], -1)
        best = mine & (held == held.max(axis=1, keepdims=True))
        good[a, here] = ((best & rights[drawn]).sum(axis=1) / np.maximum(best.sum(axis=1), 1))[here]
    # Of answers that tie the first to come wins: each with its share of the tied votes.
    tied = np.where(sums == sums.max(axis=0), votes, 0.0)
    return float(((tied * good).sum(axis=0) / np.maximum(tied.sum(axis=0), 1)).sum())


@lru_cache(maxsize=16)
def _subsets(n: int, k: int) -> Floats:
    """[subsets, k]: the numbers of what is drawn."""
    return np.fromiter((i for one in combinations(range(n), k) for i in one), np.int64, comb(n, k) * k).reshape(-1, k)


def parts_of(scores: Sequence[float]) -> tuple[int, bool]:
    """d such that the scores are counted in 1/d, and whether all of them are whole multiples of it."""
    values = np.unique(np.asarray(scores, float))
    for d in range(1, PARTS + 1):
        if np.abs(values * d - np.rint(values * d)).max() < 1e-6:
            return d, True
    return PARTS, False


def by_sums(answers: Sequence[Holders], blanks: int, parts: int) -> list[float]:
    """For each k from 0 to n what `of_subsets` gives, with scores in whole numbers of 1/parts.

    For each answer and each (votes j, sum w) that it can come to: the subsets in which no other answer comes above w, a product over
    the others of polynomials in x, how many are drawn. A tie is worth j / (j + tied votes of others) = ∫ j t^(j−1+tied) dt over [0, 1],
    so that it is a factor t for each tied vote, at the nodes of Gauss and Legendre.
    """
    n = sum(map(len, answers)) + blanks
    tops = [sum(round(score * parts) for score, _ in holders) for holders in answers]
    tables = []
    for i, holders in enumerate(answers):
        above_all = 1 + max((top for o, top in enumerate(tops) if o != i), default=0)
        tables.append(_table(holders, parts, min(tops[i], above_all)))
    upto = [np.cumsum(ways, axis=1) for ways, _ in tables]
    wins = np.zeros(n + 1)
    points, weights = np.polynomial.legendre.leggauss(min(NODES, (n + 1) // 2))
    points, weights = (points + 1) / 2, weights / 2
    for mine, (_, good) in enumerate(tables):
        others = [(tables[o][0], upto[o]) for o in range(len(tables)) if o != mine]
        every = np.flatnonzero(good.any(axis=0))
        ties = np.zeros(len(every), bool)
        for ways, _ in others:
            within = every < ways.shape[1]
            ties[within] |= ways[1:, every[within]].any(axis=0)
        votes = np.arange(1, len(good))[:, None]
        shares = weights * votes * points ** (votes - 1)
        # Where nothing ties the integral is 1, and one node does.
        for levels, at, share in ((every[~ties], np.ones(1), np.ones((len(votes), 1))), (every[ties], points, shares)):
            for start in range(0, len(levels), CHUNK):
                some = levels[start : start + CHUNK]
                product = _product(others, blanks, some, at)
                found = good[1:, some] @ product.reshape(-1, len(some)).T  # [votes, node × drawn]
                found = (found.reshape(len(votes), len(at), -1) * share[:, :, None]).sum(axis=1)
                for j, by_drawn in enumerate(found, 1):
                    wins[j : j + len(by_drawn)] += by_drawn
    return [float(w) for w in wins]


def _table(holders: Holders, parts: int, most: int) -> tuple[Floats, Floats]:
    """[votes, sum]: in how many ways an answer comes to them, and in how many its best-scored holder is right. Sums beyond `most` are
    counted with it: they are above all that others can come to. Holders are taken by score downwards, so the first taken is the best."""
    size = len(holders)
    ways, good = np.zeros((size + 1, most + 1)), np.zeros((size + 1, most + 1))
    ways[0, 0] = 1.0
    taken = reached = 0
    for score, group in groupby(sorted(holders, key=lambda one: -one[0]), key=lambda one: one[0]):
        same = list(group)
        unit, share = round(score * parts), sum(right for _, right in same) / len(same)
        before = ways[: taken + 1, : reached + 1].copy(), good[: taken + 1, : reached + 1].copy()
        for i in range(1, len(same) + 1):
            times, by = comb(len(same), i), min(i * unit, most)
            inside = min(reached, most - by) + 1  # sums that stay below `most`, or come to it
            for into, old in zip((ways, good), before, strict=True):
                into[i : i + taken + 1, by : by + inside] += times * old[:, :inside]
                into[i : i + taken + 1, most] += times * old[:, inside:].sum(axis=1)
            good[i, by] += times * share
        taken, reached = taken + len(same), min(reached + unit * len(same), most)
    return ways, good


def _product(others: Sequence[tuple[Floats, Floats]], blanks: int, levels: Floats, at: Floats) -> Floats:
    """[node, drawn, level]: in how many ways the others and the blanks are drawn and come to no more than a level."""
    product = np.empty((len(at), blanks + 1, len(levels)))
    product[:] = np.array([comb(blanks, i) for i in range(blanks + 1)], float)[None, :, None]
    for ways, upto in others:
        below = upto[:, np.clip(levels - 1, 0, ways.shape[1] - 1)] * (levels > 0)
        level = ways[:, np.minimum(levels, ways.shape[1] - 1)] * (levels < ways.shape[1])
        below[0], level[0] = 1.0, 0.0  # none drawn is no tie, even where the sum to be reached is 0
        more = np.zeros((len(at), product.shape[1] + len(ways) - 1, len(levels)))
        for j in range(len(ways)):
            factor = below[j] + (at**j)[:, None] * level[j]
            more[:, j : j + product.shape[1]] += product * factor[:, None, :]
        product = more
    return product
