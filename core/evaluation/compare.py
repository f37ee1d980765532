"""Two cells problem by problem: solved by both, by one alone, by neither; whether the difference could be chance. Knows results alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

from core.evaluation.estimate import interval
from core.evaluation.figures import each_problem
from core.evaluation.folder import Evaluation, EvaluationError, Result
from core.evaluation.plan import Cell


@dataclass(frozen=True)
class Pair:
    """A problem with the share of its tries that each side got right, and the searches behind them."""

    problem: str
    prompt: str
    a: float
    b: float
    a_searches: list[str]
    b_searches: list[str]


@dataclass(frozen=True)
class Comparison:
    """Counts of problems; a problem with several seeds counts as solved when most of its tries were right.

    difference: accuracy of B less that of A, `ci` its 95 % interval by resampling problems (paired bootstrap). p: McNemar's exact
    test on the problems that one side alone solved; None with several tries a problem, which are not independent.
    """

    a: str
    b: str
    problems: int
    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float
    ci: tuple[float, float] | None
    p: float | None
    pairs: list[Pair]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def mcnemar(only_a: int, only_b: int) -> float:
    """P(a split at least as uneven | either side is as likely to be the only one right): two-sided, exact (McNemar 1947)."""
    n = only_a + only_b
    tail = sum(comb(n, i) for i in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**n)


def compare(first: Evaluation, a: Cell, second: Evaluation, b: Cell) -> Comparison:
    """Over the problems that both have and whose answer is known. Raises EvaluationError where there is none."""
    of_a, of_b = ([r for r in e.results() if r.cell == c.cell_id] for e, c in ((first, a), (second, b)))
    shares_a, shares_b = each_problem(of_a), each_problem(of_b)
    prompts = {p.key: p.problem.prompt for p in first.problems}
    common = [key for key in prompts if key in shares_a and key in shares_b]
    if not common:
        raise EvaluationError(
            f'"{a.label}" and "{b.label}" have no finished problem in common whose answer is known; let both go on, or choose others'
        )
    pairs = [
        Pair(key, prompts[key], shares_a[key], shares_b[key], _searches(of_a, key), _searches(of_b, key))
        for key in common
    ]
    split = [(p.a > 0.5, p.b > 0.5) for p in pairs]
    single = all(
        share in (0.0, 1.0) and len(s) == 1 for p in pairs for share, s in ((p.a, p.a_searches), (p.b, p.b_searches))
    )
    only_a, only_b = split.count((True, False)), split.count((False, True))
    differences = [p.b - p.a for p in pairs]
    notes = []
    left_out = len(set(shares_a) ^ set(shares_b))
    if left_out:
        notes.append(f"{left_out} problems are finished on one side alone and left out.")
    if not single:
        notes.append("Several tries a problem are not independent, so there is no p; the interval is over problems.")
    return Comparison(
        a.label, b.label, len(pairs), split.count((True, True)), only_a, only_b, split.count((False, False)),
        sum(differences) / len(differences), interval(differences), mcnemar(only_a, only_b) if single else None, pairs, notes,
    )  # fmt: skip


def _searches(results: Sequence[Result], problem: str) -> list[str]:
    return [r.search_id for r in results if r.problem == problem]
