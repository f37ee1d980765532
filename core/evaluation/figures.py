"""The figures of an evaluation: accuracy against what it cost, with intervals over problems; curves over k; bins of difficulty.

A problem counts once however many seeds it was tried with; a problem whose answer nobody knows counts in the cost alone. What the
verifier cost is in every total and shown apart. Knows results, no search and no picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.evaluation.estimate import Drawn, best_at_k, interval, pass_at_k, vote_at_k
from core.evaluation.folder import Evaluation, Result
from core.evaluation.plan import NONE, Cell
from core.search.ledger import Spent

KS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
BINS = 5  # quintiles, as in Snell et al. 2024, section 3.2
METHODS = ("pass", "majority", "weighted", "best")
UNSCORED = frozenset({"pass", "majority"})  # of METHODS: what they cost is the solver's alone


@dataclass(frozen=True)
class CellFigures:
    """One cell. Shares in [0, 1]; costs are means over searches; FLOPs are None where a model's size is unknown."""

    cell_id: str
    label: str
    series: str
    model: str
    strategy: str
    scorer: str
    pool: bool
    searches: int
    expected: int
    problems: int
    judged: int  # problems whose answer is known
    accuracy: float | None
    ci: tuple[float, float] | None
    tokens: float  # generated and read by the scorer
    generated: float
    scorer_tokens: float
    prompt: float
    cached: float
    flops: float | None
    solver_flops: float | None
    scorer_flops: float | None
    seconds: float  # of waiting for models, in the company of the other searches
    calls: float
    over_budget: float  # share of searches that the budget ended


@dataclass(frozen=True)
class Point:
    """A point of a curve over k. tokens, flops: what k answers cost, and their scores where the method looks at them. exact: scores
    were not rounded for it."""

    k: int
    value: float
    ci: tuple[float, float] | None
    problems: int
    exact: bool
    tokens: float
    flops: float | None


@dataclass(frozen=True)
class Curves:
    """pass@k, majority@k, weighted@k and best@k of one pool; the latter two need scores."""

    cell_id: str
    label: str
    n: int
    methods: Mapping[str, list[Point]]

    def costs(self) -> dict[str, list[float]]:
        """Columns of tokens by k, by their words: one, and a second where some methods pay for scores and others do not."""
        columns = {"tokens": self.methods.get("pass", []), "with scores": self.methods.get("weighted", [])}
        found = {words: [p.tokens for p in points] for words, points in columns.items() if points}
        return {"tokens": found["tokens"]} if len(set(map(tuple, found.values()))) == 1 else found


@dataclass(frozen=True)
class Bin:
    """Problems of like difficulty; level 1 is the easiest. low, high: of what they were sorted by."""

    level: int
    problems: int
    low: float
    high: float
    accuracy: Mapping[str, tuple[float, int]]  # cell id -> accuracy, problems judged


@dataclass(frozen=True)
class Difficulty:
    """by: "oracle" (the share of right answers in the pool) or "predicted" (their mean score, which a verifier can know)."""

    by: str
    cell_id: str
    label: str
    bins: list[Bin]


@dataclass(frozen=True)
class Outcome:
    """A problem of one cell: tries of which so many were right (None: nobody knows), and their searches."""

    right: int | None
    tries: int
    searches: list[str]
    answer: str


@dataclass(frozen=True)
class Figures:
    """Everything that is shown of an evaluation."""

    cells: list[CellFigures]
    curves: list[Curves]
    difficulty: list[Difficulty]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def figures(evaluation: Evaluation, results: Sequence[Result] | None = None) -> Figures:
    """Of what is finished. Seconds where pools are large: not for an event loop."""
    results = evaluation.results() if results is None else results
    of = by_cell(results)
    cells = [cell_figures(evaluation, cell, of.get(cell.cell_id, [])) for cell in evaluation.plan.cells]
    pools = [cell for cell in evaluation.plan.cells if cell.pool and of.get(cell.cell_id)]
    curves = [_curves(cell, of[cell.cell_id]) for cell in pools]
    difficulty = [d for cell in pools for d in _difficulty(cell, of, results)]
    return Figures(cells, curves, difficulty, _notes(evaluation, cells, curves, results))


def by_cell(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results of each cell, in their order."""
    found: dict[str, list[Result]] = {}
    for r in results:
        found.setdefault(r.cell, []).append(r)
    return found


def each_problem(results: Sequence[Result]) -> dict[str, float]:
    """The share of right ones among the tries of each problem whose answer is known."""
    tries: dict[str, list[bool]] = {}
    for r in results:
        if r.right is not None:
            tries.setdefault(r.problem, []).append(r.right)
    return {problem: sum(found) / len(found) for problem, found in tries.items()}


def outcomes(results: Sequence[Result]) -> dict[str, dict[str, Outcome]]:
    """problem -> cell -> what came of it."""
    held: dict[str, dict[str, list[Result]]] = {}
    for r in results:
        held.setdefault(r.problem, {}).setdefault(r.cell, []).append(r)
    return {p: {c: _outcome(rs) for c, rs in cells.items()} for p, cells in held.items()}


def _outcome(results: Sequence[Result]) -> Outcome:
    right = None if any(r.right is None for r in results) else sum(bool(r.right) for r in results)
    return Outcome(right, len(results), [r.search_id for r in results], results[0].answer)


def cell_figures(evaluation: Evaluation, cell: Cell, results: Sequence[Result]) -> CellFigures:
    """The row of a cell."""
    n = len(results)
    spent = sum((r.spent for r in results), Spent())
    shares = list(each_problem(results).values())

    def mean(total: float | None) -> float | None:
        return None if total is None else total / n if n else 0.0

    return CellFigures(
        cell.cell_id, cell.label, " · ".join(s for s in cell.series if s != NONE), cell.model, str(cell.strategy), cell.scorer,
        cell.pool, n, len(evaluation.problems) * len(evaluation.plan.seeds_of(cell)), len({r.problem for r in results}), len(shares),
        sum(shares) / len(shares) if shares else None, interval(shares), mean(spent.tokens) or 0.0, mean(spent.generated) or 0.0,
        mean(spent.scorer) or 0.0, mean(spent.prompt) or 0.0, mean(spent.cached) or 0.0, mean(spent.flops),
        mean(spent.solver_flops), mean(spent.scorer_flops), mean(spent.seconds) or 0.0, mean(spent.calls) or 0.0,
        sum(r.reason == "budget" for r in results) / n if n else 0.0,
    )  # fmt: skip


def _curves(cell: Cell, results: Sequence[Result]) -> Curves:
    known = [r for r in results if r.right is not None and r.pool]
    n = min((len(r.pool) for r in known), default=0)
    ks = [k for k in KS if k <= n]
    if n and n not in ks:
        ks.append(n)
    methods: dict[str, list[Point]] = {}
    for method in METHODS:
        for k in ks:
            each = [_estimate(r.pool, k, method) for r in known]
            if any(e is None for e in each):
                continue
            values = [e[0] for e in each if e is not None]
            # An answer of the pool costs what the pool cost, divided by its answers: reading the question once for all is in it.
            share = [k / len(r.pool) for r in known]
            scored = method not in UNSCORED
            cost = [
                (r.spent.tokens, r.spent.flops) if scored else (r.spent.generated, r.spent.solver_flops) for r in known
            ]
            tokens = sum(t * s for (t, _), s in zip(cost, share, strict=True)) / len(known)
            flops = [None if f is None else f * s for (_, f), s in zip(cost, share, strict=True)]
            methods.setdefault(method, []).append(
                Point(
                    k, sum(values) / len(values), interval(values), len(values), all(e[1] for e in each if e is not None), tokens,
                    None if any(f is None for f in flops) else sum(f or 0.0 for f in flops) / len(flops),
                )
            )  # fmt: skip
    return Curves(cell.cell_id, cell.label, n, methods)


def _estimate(pool: Sequence[Drawn], k: int, method: str) -> tuple[float, bool] | None:
    if method == "pass":
        return pass_at_k([d.right for d in pool], k), True
    if method == "best":
        best = best_at_k(pool, k)
        return None if best is None else (best, True)
    found = vote_at_k(pool, k, weighted=method == "weighted")
    return None if found is None else (found.value, found.exact)


def _difficulty(pool: Cell, of: Mapping[str, Sequence[Result]], results: Sequence[Result]) -> list[Difficulty]:
    known = [r for r in of[pool.cell_id] if r.right is not None and r.pool]
    sorted_by = {"oracle": {r.problem: sum(d.right for d in r.pool) / len(r.pool) for r in known}}
    scores = {r.problem: [d.score for d in r.pool if d.score is not None] for r in known}
    if scores and all(scores.values()):
        sorted_by["predicted"] = {p: sum(s) / len(s) for p, s in scores.items()}
    # Bins of fewer than one problem each say nothing.
    if len(known) < BINS:
        return []
    shares = {cell: each_problem(rs) for cell, rs in of.items()}
    return [Difficulty(by, pool.cell_id, pool.label, _bins(values, shares)) for by, values in sorted_by.items()]


def _bins(values: Mapping[str, float], shares: Mapping[str, Mapping[str, float]]) -> list[Bin]:
    """Equally many problems in each, the easiest first; among equals in the order of the problems."""
    order = sorted(values, key=lambda p: -values[p])
    found = []
    for level in range(BINS):
        inside = order[len(order) * level // BINS : len(order) * (level + 1) // BINS]
        accuracy = {}
        for cell, each in shares.items():
            here = [each[p] for p in inside if p in each]
            if here:
                accuracy[cell] = sum(here) / len(here), len(here)
        found.append(
            Bin(level + 1, len(inside), min(values[p] for p in inside), max(values[p] for p in inside), accuracy)
        )
    return found


def _notes(
    evaluation: Evaluation, cells: Sequence[CellFigures], curves: Sequence[Curves], results: Sequence[Result]
) -> list[str]:
    notes = []
    missing = len(evaluation.tasks) - len(results)
    if missing:
        notes.append(f"{missing} of {len(evaluation.tasks)} searches are not finished; the figures are of the others.")
    unknown = len({r.problem for r in results if r.right is None})
    if unknown:
        notes.append(f"Of {unknown} problems nobody knows the answer; they count in the cost alone.")
    rounded = {p.k for c in curves for points in c.methods.values() for p in points if not p.exact}
    if rounded:
        ks = ", ".join(map(str, sorted(rounded)))
        notes.append(f"Of weighted@k, all subsets are counted; for k = {ks} with scores rounded to 1/1000.")
    if any(c.flops is None for c in cells if c.searches):
        notes.append("FLOPs are missing where the size of a model is not known here.")
    timed = [b.seconds for b in evaluation.plan.budgets if b.seconds is not None]
    if timed:
        notes.append("Searches with a budget in seconds ran one at a time.")
    return notes
