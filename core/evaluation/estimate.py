"""pass@k, majority@k, weighted@k and best@k from one pool of n answers: the expectation over all k-subsets, not a sample of them.

Votes are as `core/search/voting.py` counts them: an answer that cannot be read has no vote, ties go to the answer that came first,
and of an answer's holders the best-scored one is taken. Knows answers, scores and which are right; knows no model and no search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import Any

# Resamples of the problems; the ends of a 95 % interval then move by less than a fifth of a point.
RESAMPLES = 2000
# Different (size, weight) sums of the answers of a pool, each of which costs a product over all answers. Beyond: `weighted.py`.
MOST_SUMS = 200
# Subsets that are all gone through; of 16 answers there are never more.
MOST_SUBSETS = 13_000
# Scores are counted in whole units of this, so that equal sums are equal in whichever order they are added up.
UNIT = 1e-9


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
class Drawn:
    """One answer of a pool. answer: in canonical form, "" where it cannot be read; finished: False where it was cut before its end,
    so that it is no candidate at all."""

    answer: str
    right: bool
    score: float | None = None
    finished: bool = True


@dataclass(frozen=True)
class Estimate:
    """A share in [0, 1]; `exact` unless the scores were rounded to thousandths for it (`weighted.PARTS`)."""

    value: float
    exact: bool = True


def best_at_k(pool: Sequence[Drawn], k: int) -> float | None:
    """The best-scored readable answer of k; None where the answers have no scores. What was cut short is never chosen."""
    if not _scored(pool):
        return None
    # Below every score: first what cannot be read, then what was not finished (and answers nothing, whatever it holds).
    scores = [(d.score or 0.0) if d.finished and d.answer else -1.0 if d.finished else -2.0 for d in pool]
    return best_of_k(scores, [d.right and d.finished for d in pool], k)


def vote_at_k(pool: Sequence[Drawn], k: int, *, weighted: bool) -> Estimate | None:
    """P(the vote of a random k-subset is right): a vote each, or with its score as weight (None where there are no scores).

    For every answer and every (number of votes j, their sum w) that it can come to, count the subsets in which no other answer
    comes above w: a product over the other answers of polynomials in x (how many are drawn) and y (how many of them tie). Of
    answers that tie, the first to come wins, which is each with its share of the tied votes.
    """
    n = len(pool)
    if not 1 <= k <= n:
        raise ValueError(f"a vote of {k} needs k between 1 and the {n} answers")
    if weighted and not _scored(pool):
        return None
    return _vote_at_k(tuple(pool), k, weighted)


def _scored(pool: Sequence[Drawn]) -> bool:
    return all(d.score is not None for d in pool if d.finished and d.answer)


@lru_cache(maxsize=4096)
def _vote_at_k(pool: tuple[Drawn, ...], k: int, weighted: bool) -> Estimate:
    answers: dict[str, list[Drawn]] = {}
    for d in pool:
        if d.finished and d.answer:
            answers.setdefault(d.answer, []).append(d)
    unreadable = [d for d in pool if d.finished and not d.answer]
    cut = sum(not d.finished for d in pool)
    # With one answer alone its weight does not matter.
    sums = [_sums(group, k, weighted and len(answers) > 1) for group in answers.values()]
    exact = True
    if sum(map(len, sums)) <= MOST_SUMS:
        total = _won(sums, len(unreadable) + cut, k)
    else:
        holders = tuple(tuple((d.score or 0.0, d.right) for d in group) for group in answers.values())
        total, exact = _summed(holders, len(unreadable) + cut, k)
    # Where nothing that was drawn can be read, the best-scored of what was finished is answered.
    for i in range(1, min(k, len(unreadable)) + 1):
        scores = [d.score or 0.0 for d in unreadable]
        ways = comb(len(unreadable), i) * comb(cut, k - i)
        total += ways * best_of_k(scores, [d.right for d in unreadable], i) if ways else 0.0
    return Estimate(float(total) / comb(len(pool), k), exact)


def _summed(holders: tuple[tuple[tuple[float, bool], ...], ...], blanks: int, k: int) -> tuple[float, bool]:
    """In how many k-subsets the winner is right, and whether the scores were taken as they are."""
    from core.evaluation import weighted

    if comb(sum(map(len, holders)) + blanks, k) <= MOST_SUBSETS:
        return weighted.of_subsets(holders, blanks, k, UNIT), True
    counted, exact = _every_k(holders, blanks)
    return counted[k], exact


@lru_cache(maxsize=512)
def _every_k(holders: tuple[tuple[tuple[float, bool], ...], ...], blanks: int) -> tuple[list[float], bool]:
    from core.evaluation import weighted

    parts, exact = weighted.parts_of([score for group in holders for score, _ in group])
    return weighted.by_sums(holders, blanks, parts), exact


# (votes, their sum in units) -> (in how many ways, in how many of them the best-scored holder is right)
Sums = dict[tuple[int, int], tuple[float, float]]


def _sums(group: Sequence[Drawn], k: int, weighted: bool) -> Sums:
    """What one answer can come to. Holders are taken by their score downwards, so that the first one taken is the best-scored."""
    by_score: dict[float, list[Drawn]] = {}
    for d in group:
        by_score.setdefault(d.score if d.score is not None else 0.0, []).append(d)
    found: Sums = {(0, 0): (1.0, 0.0)}
    for score in sorted(by_score, reverse=True):
        holders = by_score[score]
        share = sum(d.right for d in holders) / len(holders)
        unit = round(score / UNIT) if weighted else 1
        more: Sums = {}
        for (j, w), (ways, right) in found.items():
            for i in range(min(len(holders), k - j) + 1):
                times = comb(len(holders), i)
                good = ways * times * share if j == 0 and i else right * times
                key = j + i, w + i * unit
                before = more.get(key, (0.0, 0.0))
                more[key] = before[0] + ways * times, before[1] + good
        found = more
        if len(found) > MOST_SUMS:
            break
    return found


def _won(sums: Sequence[Sums], fillers: int, k: int) -> float:
    """In how many k-subsets the winner is right. fillers: answers without a vote, drawn as well."""
    import numpy as np

    total = 0.0
    for mine, own in enumerate(sums):
        others = [s for i, s in enumerate(sums) if i != mine]
        levels: dict[int, list[tuple[int, float]]] = {}
        for (j, w), (_, right) in own.items():
            if j and right:
                levels.setdefault(w, []).append((j, right))
        for w, reached in levels.items():
            product = np.zeros((k + 1, k + 1))  # [drawn, of them in a tie]
            product[: fillers + 1, 0] = [comb(fillers, i) for i in range(min(fillers, k) + 1)]
            for other in others:
                product = _times(product, other, w)
            for j, right in reached:
                total += right * sum(product[k - j, y] * j / (j + y) for y in range(k - j + 1))
    return total


def _times(product: Any, other: Sums, w: int) -> Any:
    """Go on to one more answer, which may come to `w` at most."""
    import numpy as np

    out = np.zeros_like(product)
    below: dict[int, float] = {}
    level: dict[int, float] = {}
    for (j, weight), (ways, _) in other.items():
        # None drawn is no tie, even where the sum to be reached is 0.
        if weight < w or j == 0:
            below[j] = below.get(j, 0.0) + ways
        elif weight == w:
            level[j] = level.get(j, 0.0) + ways
    size = len(product)
    for j, ways in below.items():
        out[j:] += ways * product[: size - j]
    for j, ways in level.items():
        out[j:, j:] += ways * product[: size - j, : size - j]
    return out


def voted(drawn: Sequence[Drawn], *, weighted: bool) -> bool:
    """Whether the vote of these answers, in this order, is right."""
    finished = [d for d in drawn if d.finished]
    readable = [d for d in finished if d.answer] or finished
    if not readable:
        return False
    tally: dict[str, int] = {}
    for d in readable:
        unit = round((d.score or 0.0) / UNIT) if weighted else 1
        tally[d.answer] = tally.get(d.answer, 0) + unit
    winner = max(tally, key=lambda a: tally[a])
    return max((d for d in readable if d.answer == winner), key=lambda d: d.score or 0.0).right
