"""PlanSearch: search over ideas in plain words instead of over answers (Wang et al. 2024, arXiv 2409.03733).

Observations about the problem, every combination of at most two of them a plan, each plan also criticised and mended once, a solution from
each. The scorer (a program's public tests, say) picks. Simplified: one layer of observations, where the paper also draws a second from
the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.strategies.prompts import MEND, OBSERVE, PLAN, SOLVE, form_of, items, quoted
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide

OBSERVATIONS, IDEA, MENDED, SOLUTION = "observations", "plan", "mended plan", "solution"


@dataclass(frozen=True)
class PlanSearch:
    """memo: `todo`, what to ask next; nothing waits for all of a stage. `over`: nothing more is asked."""

    NAME: ClassVar[str] = "plan-search"
    TITLE: ClassVar[str] = "PlanSearch"
    HELP: ClassVar[str] = "Observations, combined into different plans, and a solution from each plan."
    NEEDS_SCORER: ClassVar[bool] = False

    observations: int = param(5, "Observations that are asked for.", least=1, most=20)
    plans: int = param(6, "Combinations of at most two observations that become a plan.", least=1, most=200)
    mend: bool = param(True, "Criticise and mend each plan once, and solve by both.")
    solutions: int = param(1, "Solutions from each plan.", least=1, most=64)
    vote: Vote = param("best", "How one is chosen from the solutions.", one_of=VOTES)
    early_stop: bool = param(False, "Ask for nothing more once a solution has the score 1.")

    def ask(self, state: State) -> list[Expand]:
        memo = state.memo
        if "todo" not in memo:
            prompt = OBSERVE.format(problem=state.problem.prompt, most=self.observations)
            memo["todo"] = [_note(ROOT, prompt, OBSERVATIONS)]
        todo, memo["todo"] = memo["todo"], []
        return [] if memo.get("over") else todo

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        memo, tree, question = state.memo, state.tree, state.problem.prompt
        if asked.label == SOLUTION:
            memo["over"] = memo.get("over", False) or (
                self.early_stop and any(tree[n].ended and tree[n].score == 1 for n in nodes)
            )
            return
        # A text that was cut is a plan all the same, as far as it goes.
        for node in dict.fromkeys(nodes):
            text = tree.text(node)
            if asked.label == OBSERVATIONS:
                for chosen in self._combined(state, items(text, self.observations)):
                    listed = "\n".join(f"- {one}" for one in chosen) or "(none)"
                    memo["todo"].append(_note(node, PLAN.format(problem=question, observations=listed), IDEA))
                continue
            plan = quoted(text)
            prompt = SOLVE.format(problem=question, plan=plan, form=form_of(state.problem))
            memo["todo"].append(Expand(node, self.solutions, prompt=prompt, label=SOLUTION))
            if asked.label == IDEA and self.mend:
                memo["todo"].append(_note(node, MEND.format(problem=question, plan=plan), MENDED))

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)

    def _combined(self, state: State, found: list[str]) -> list[tuple[str, ...]]:
        """As many combinations of one or two as may become plans, drawn by the search's seed; with no observations, one of none."""
        every = [*combinations(found, 1), *combinations(found, 2)]
        if not every:
            return [()]
        drawn = Random(f"{state.seed} combinations").sample(range(len(every)), min(self.plans, len(every)))
        return [every[i] for i in sorted(drawn)]


def _note(node: int, prompt: str, label: str) -> Expand:
    """A text that is no answer."""
    return Expand(node, prompt=prompt, label=label, score=False, answers=False)
