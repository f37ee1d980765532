"""Best-of-N: N answers that know nothing of each other, and one way of choosing among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide, settled


@dataclass(frozen=True)
class BestOf:
    """Majority needs no scorer (self-consistency, Wang et al. 2022); best and weighted do (Lightman et al. 2023, Snell et al. 2024)."""

    NAME: ClassVar[str] = "best-of-n"
    TITLE: ClassVar[str] = "Best of N"
    HELP: ClassVar[str] = "N whole answers at once, and a vote: majority, best score, or weighted by score."
    NEEDS_SCORER: ClassVar[bool] = False

    n: int = param(8, "Whole answers.", least=1, most=4096)
    vote: Vote = param("weighted", "How one is chosen; without a scorer it is the majority.", one_of=VOTES)
    early_stop: bool = param(
        False,
        "Ask in waves, and stop when the vote is settled: a score of `enough` for the best, else a majority at 95 %.",
    )
    wave: int = param(4, "Answers in a wave, with early stop.", least=1, most=1024)
    enough: float = param(
        1.0, "The score that the best needs, to be looked at no further; only 1 is surely the best.", least=0, most=1
    )

    def ask(self, state: State) -> list[Expand]:
        if state.waiting or state.memo.get("over"):
            return []
        asked = state.memo.get("asked", 0)
        if asked and self.early_stop and self._settled(state):
            return []
        k = min(self.wave, self.n - asked) if self.early_stop else self.n - asked
        if k <= 0:
            return []
        state.memo["asked"] = asked + k
        return [Expand(ROOT, k)]

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        if len(nodes) < asked.k:  # the budget has ended
            state.memo["over"] = True

    def _settled(self, state: State) -> bool:
        found = candidates(state)
        if self.vote == "best" and found and all(c.score is not None for c in found):
            return any(c.answer and (c.score or 0.0) >= self.enough for c in found)
        return settled(found, self.n - state.memo["asked"])

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)
