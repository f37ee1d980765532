"""What a request may cost, said before it is made: budgets are kept by that. What cannot be priced is refused before anything is spent.

Knows no engine and asks none, but for its size.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.control.limits import Bounds
from core.engines.base import Sampling
from core.engines.sampling import FREE, ModelSize, Sample, Sampler, SampleRequest
from core.search.ledger import Budget
from core.search.scorers import Costly, Item
from core.search.search import Part, Search
from core.trace import Problem

if TYPE_CHECKING:
    from core.search.scheduler import Limits, Team

# Tokens that a chat template may put around a question.
TEMPLATE = 64


@dataclass(frozen=True)
class Sizes:
    """Of the models of a search; None where nobody can say. scorer: `FREE` where there is none."""

    solver: ModelSize | None
    executor: ModelSize | None
    scorer: ModelSize | None

    @classmethod
    async def of(cls, team: Team) -> Sizes:
        """Raises EngineError."""
        solver = await team.solver.size()
        executor = solver if team.executor is None else await team.executor.size()
        return cls(solver, executor, FREE if team.scorer is None else await team.scorer.size())

    def check(self, budget: Budget, team: Team) -> None:
        """Raises ValueError where a budget cannot be kept for want of a size."""
        models = [(team.solver.model, self.solver)]
        if team.executor is not None:
            models.append((f"the executor {team.executor.model}", self.executor))
        if team.scorer is not None:
            models.append((f"the scorer {team.scorer.name}", self.scorer))
        unknown = [name for name, size in models if size is None]
        if budget.flops is not None and unknown:
            raise ValueError(
                f"The size of {' and of '.join(unknown)} is not known here, so a budget in FLOPs cannot be kept: give one in tokens, or "
                "serve the model from a folder on this machine."
            )

    def of_sampler(self, sampler: Sampler, team: Team) -> ModelSize | None:
        return self.solver if sampler is team.solver else self.executor


async def check_budget(budget: Budget, team: Team, problem: Problem) -> None:
    """Whether a budget can be kept, and a single token drawn and judged in it: else a search would end before it began. Raises ValueError
    with a sentence, EngineError."""
    if budget.flops is not None:
        (await Sizes.of(team)).check(budget, team)
    scorer = team.scorer
    if budget.tokens is not None and isinstance(scorer, Costly):
        least = 1 + await asyncio.to_thread(scorer.at_most, Item(problem, ()), 1)
        if least > budget.tokens:
            raise ValueError(
                f"the budget of tokens is {budget.tokens:,}; judging one text by {scorer.name} may cost {least:,}: give more, or let the "
                "scorer write less (its max_tokens)"
            )


@dataclass(frozen=True)
class Priced:
    """A request and the most that it can cost, the scorer's part included. judging: tokens set aside for one continuation's scorer."""

    request: SampleRequest
    tokens: int
    flops: float
    judging: int


class Prices:
    """For the requests of one search."""

    def __init__(self, search: Search, team: Team, budget: Budget, limits: Limits, sizes: Sizes) -> None:
        self.search, self.team, self.limits, self.sizes = search, team, limits, sizes
        self.limited = budget.tokens is not None or budget.flops is not None

    def priced(self, part: Part, k: int | None = None, most: int | None = None) -> Priced:
        """The request for `k` continuations of at most `most` tokens."""
        expand, tree, limits = part.expand, self.search.state.tree, self.limits
        k = part.k if k is None else k
        written = () if expand.prompt else tree.ids(expand.node)
        wanted = expand.max_tokens or (limits.step_tokens if expand.unit == "step" else limits.max_tokens)
        wanted = min(wanted, max(1, limits.max_tokens - len(written)))
        most = wanted if most is None else min(most, wanted)
        marks = self.search.marks
        stop = {"step": (marks.step_end,), "thought": (marks.thinking_end,), "whole": ()}[expand.unit]
        request = SampleRequest(
            expand.prompt or self.search.state.problem.prompt, written, k,
            Sampling(
                limits.temperature if expand.temperature is None else expand.temperature, limits.top_p,
                self.search.seed_of(part), most,
            ),
            Bounds(0, expand.max_steps or limits.max_steps), stop, expand.unit != "thought", expand.insert, expand.form,
        )  # fmt: skip
        if not self.limited:
            return Priced(request, 0, 0.0, 0)
        # A token is at least a byte of the question, so this is above what the tokenizer will make of it.
        before = len(request.prompt.encode()) + TEMPLATE + len(request.written) + len(request.insert.encode())
        flops = 0.0
        size = self.sizes.of_sampler(self.team.sampler(part), self.team)
        if size is not None:
            flops += size.flops(before, 0) + k * size.flops(most, before)
        judging = 0
        if self.scores(part) and self.sizes.scorer != FREE:
            item, scorer = self.item(part, Sample(request.insert, (), "step", 0)), self.team.scorer
            tokens = size.tokens if size is not None else ""
            judging = scorer.at_most(item, most, tokens) if isinstance(scorer, Costly) else before + most
            if self.sizes.scorer is not None:
                known = len((item.problem.prompt + item.text).encode("utf-8", "surrogatepass")) + TEMPLATE + item.known
                flops += k * self.sizes.scorer.flops(judging, known if item.known else 0)
        return Priced(request, (most + judging) * k, flops, judging)

    def scores(self, part: Part) -> bool:
        return self.team.scorer is not None and part.expand.score

    def item(self, part: Part, sample: Sample) -> Item:
        """What the scorer is asked of a continuation."""
        search, expand = self.search, part.expand
        steps = search.steps(expand, sample)
        before, ids = (
            ("", ()) if expand.prompt else (search.state.tree.text(expand.node), search.state.tree.ids(expand.node))
        )
        return Item(
            search.state.problem, steps, (*ids, *sample.ids), sample.end == "eos", before + sample.text,
            search.judged_of(expand, steps),
        )  # fmt: skip
