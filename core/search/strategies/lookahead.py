"""Lookahead search: a beam whose candidates are judged by where they lead, some steps further on (Snell et al. 2024, section 3.2).

Each candidate is rolled ahead by `ahead` steps at temperature 0, to judge it by little chance; the score of the rolled-out text is the
candidate's value. A rollout that reaches its end is a finished answer. Costs (1 + ahead) times a beam's tokens. Step by step, not in
one piece: a rollout's steps are nodes like others, so what a beam draws again, or was rolled out before, is paid for once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.strategies.beam import keep
from core.search.strategies.steps import to_the_end
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide

AHEAD = "ahead"


@dataclass(frozen=True)
class Lookahead:
    """memo, beside a beam's: `roll` are rollouts to be gone on with, as [tip, candidate, steps left], `rolling` the same for those that
    are asked for, by their tip, and `greedy` what came after a node at temperature 0."""

    NAME: ClassVar[str] = "lookahead"
    TITLE: ClassVar[str] = "Lookahead"
    HELP: ClassVar[str] = "A beam whose candidates are scored by the text some steps further on."
    NEEDS_SCORER: ClassVar[bool] = True

    width: int = param(4, "Beams that are kept after each step.", least=1, most=1024)
    branch: int = param(4, "Ways in which each beam goes on.", least=1, most=1024)
    ahead: int = param(1, "Steps by which each candidate is rolled ahead before it is judged.", least=1, most=100)
    max_depth: int = param(40, "Steps after which the beams are made to end.", least=1, most=10_000)
    vote: Vote = param("weighted", "How the answer is chosen from all finished texts.", one_of=VOTES)

    def ask(self, state: State) -> list[Expand]:
        memo = state.memo
        if memo.get("over"):
            return []
        if not memo:
            memo.update(beams=[ROOT], grown=[], ended=0, depth=0, roll=[], rolling={}, greedy={})
            return [Expand(ROOT, self.width * self.branch, "step")]
        if memo["roll"]:  # a candidate's rollout does not wait for other candidates
            roll, memo["roll"] = memo["roll"], []
            memo["rolling"].update({tip: [candidate, left] for tip, candidate, left in roll})
            return [Expand(tip, 1, "step", temperature=0.0, label=AHEAD) for tip, _, _ in roll]
        if state.waiting:
            return []
        kept = keep(state, self.width)
        memo["depth"] += 1
        if not kept:
            memo["over"] = True
            return [] if state.tree.leaves() else to_the_end(memo["beams"])
        memo["beams"] = kept
        if memo["depth"] >= self.max_depth:
            memo["over"] = True
            return to_the_end(kept)
        return [Expand(b, self.branch, "step") for b in kept]

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        memo = state.memo
        if asked.label == AHEAD:
            candidate, left = memo["rolling"].pop(asked.node)
            if nodes:
                memo["greedy"][asked.node] = nodes[0]
                self._follow(state, candidate, asked.node, left)
            return
        for n in dict.fromkeys(nodes):
            memo["grown"].append(n)
            self._follow(state, n, n, self.ahead)

    def _follow(self, state: State, candidate: int, tip: int, left: int) -> None:
        """Go along what was rolled out already; the last good text is what the candidate is worth, and from there it is rolled on."""
        tree, memo = state.tree, state.memo
        while left and tip in memo["greedy"]:
            tip, left = memo["greedy"][tip], left - 1
        # A rollout that ran into the length limit, or was blank, says nothing: the text before it counts.
        last = next(n for n in tree.above(tip) if n.end in ("step", "eos") or n.id == candidate)
        if last.id != candidate:
            tree.mark(candidate, value=last.score)
        if left and tree[tip].end == "step":
            memo["roll"].append([tip, candidate, left])

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)
