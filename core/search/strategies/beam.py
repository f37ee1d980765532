"""Beam search over steps: every beam goes on in several ways, the best-scored of all stay (Snell et al. 2024, section 3.2).

A beam that has ended keeps no place: it is a candidate for the answer, and the beams that go on are as many fewer. Equal beams are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide


@dataclass(frozen=True)
class Beam:
    """`width` beams, `branch` ways each; width × branch is the N that it is compared at."""

    NAME: ClassVar[str] = "beam"
    TITLE: ClassVar[str] = "Beam search"
    HELP: ClassVar[str] = "Grow several beams step by step, keep the best-scored, drop the rest."
    NEEDS_SCORER: ClassVar[bool] = True

    width: int = param(4, "Beams that are kept after each step.", least=1, most=1024)
    branch: int = param(4, "Ways in which each beam goes on.", least=1, most=1024)
    max_depth: int = param(40, "Steps after which the beams are made to end.", least=1, most=10_000)
    vote: Vote = param("weighted", "How the answer is chosen from the finished beams.", one_of=VOTES)

    def ask(self, state: State) -> list[Expand]:
        memo = state.memo
        if state.waiting:
            return []
        if "beams" not in memo:
            memo["beams"], memo["depth"] = [ROOT], 0
            memo["grown"] = []
            return [Expand(ROOT, self.width * self.branch, "step")]
        if memo["grown"]:  # a depth is complete
            memo["beams"] = self._keep(state)
            memo["grown"] = []
            memo["depth"] += 1
        if not memo["beams"]:
            return []
        if memo["depth"] >= self.max_depth:
            beams, memo["beams"] = memo["beams"], []
            return [Expand(b, 1, "whole", label="ending") for b in beams]
        beams, memo["beams"] = memo["beams"], []
        return [Expand(b, self.branch, "step") for b in beams]

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        state.memo["grown"] += [n for n in dict.fromkeys(nodes) if n not in state.memo["grown"]]

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)

    def _keep(self, state: State) -> list[int]:
        """The beams of the next depth; those that are left are marked."""
        tree = state.tree
        grown = [tree[n] for n in state.memo["grown"]]
        ranked = sorted(grown, key=lambda n: (-(n.score or 0.0), n.id))
        places = self.width - state.memo.get("ended", 0)
        kept = []
        for node in ranked:
            if node.end in ("length", "empty") or places <= 0:
                tree.mark(node.id, pruned=True)
                continue
            places -= 1
            if node.ended:
                state.memo["ended"] = state.memo.get("ended", 0) + 1
            else:
                kept.append(node.id)
        return kept
