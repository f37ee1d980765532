"""Planner and executor: one model plans, another, cheaper one carries the plan out and writes the answer as it must be written.

After plan-and-solve prompting (Wang et al. 2023, arXiv 2305.04091), with two models. Where a search has no executor, its solver does both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.strategies.prompts import EXECUTE, PLAN_FOR_ANOTHER, form_of, pattern_of, quoted
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide


@dataclass(frozen=True)
class Planner:
    """memo: `todo`, plans to be carried out."""

    NAME: ClassVar[str] = "planner"
    TITLE: ClassVar[str] = "Planner and executor"
    HELP: ClassVar[str] = "One model plans; a cheaper one carries the plan out and writes the answer."
    NEEDS_SCORER: ClassVar[bool] = False

    plans: int = param(1, "Plans.", least=1, most=1024)
    executions: int = param(1, "Answers from each plan.", least=1, most=1024)
    vote: Vote = param("weighted", "How one is chosen; without a scorer it is the majority.", one_of=VOTES)

    def ask(self, state: State) -> list[Expand]:
        memo, question = state.memo, state.problem.prompt
        if "todo" not in memo:
            memo["todo"] = []
            prompt = PLAN_FOR_ANOTHER.format(problem=question)
            return [Expand(ROOT, self.plans, prompt=prompt, label="plan", score=False, answers=False)]
        todo, memo["todo"] = memo["todo"], []
        form, pattern = form_of(state.problem), pattern_of(state.problem)
        asked = []
        for node in todo:
            prompt = EXECUTE.format(problem=question, plan=quoted(state.tree.text(node)), form=form)
            # A plan that came several times is carried out as often.
            times = self.executions * state.tree[node].count
            asked.append(Expand(node, times, prompt=prompt, role="executor", form=pattern, label="execution"))
        return asked

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        if asked.label == "plan":
            state.memo["todo"] = list(dict.fromkeys(nodes))

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)
