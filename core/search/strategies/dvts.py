"""Diverse verifier tree search: the budget is split into subtrees that know nothing of each other (Beeching et al. 2024).

Each subtree is a greedy search: several ways on, the best-scored one stays. No barrier: a subtree takes its next step
as soon as it has been told of its last. Its draws are named after it alone, so what happens in another changes nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.strategies.steps import ENDING, ENOUGH, TRIES, WAVE, begins_well, drop, ranked, reaches, worth
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide


@dataclass(frozen=True)
class Dvts:
    """`subtrees` × `branch` is the N that it is compared at.

    memo, an entry for each subtree: `at` the node that it stands at, `depth` its steps, `drawn` how many ways on were drawn from
    there, `grown` what has come of them, `do` what it is to do next ("step", "whole", "" for nothing).
    """

    NAME: ClassVar[str] = "dvts"
    TITLE: ClassVar[str] = "DVTS"
    HELP: ClassVar[str] = "Independent subtrees, each keeping its best step: more diverse than one beam."
    NEEDS_SCORER: ClassVar[bool] = True

    subtrees: int = param(4, "Subtrees, independent of each other.", least=1, most=1024)
    branch: int = param(4, "Ways on from a step, of which a subtree keeps the best.", least=1, most=1024)
    max_depth: int = param(40, "Steps after which a subtree is made to end.", least=1, most=10_000)
    vote: Vote = param("weighted", "How the answer is chosen from all finished texts.", one_of=VOTES)
    early_stop: bool = param(False, "Stop all subtrees when a finished answer has the score 1.")
    wave: int = param(0, WAVE, least=0, most=4096)
    enough: float = param(1.0, ENOUGH, least=0, most=1)
    tries: int = param(1, TRIES, least=1, most=100)

    def ask(self, state: State) -> list[Expand]:
        memo = state.memo
        if not memo:
            n = self.subtrees
            memo.update(at=[ROOT] * n, depth=[0] * n, drawn=[0] * n, grown=[[] for _ in range(n)], do=["step"] * n)
        if self.early_stop and any(worth(n) >= 1 for n in state.tree.leaves()):
            if not state.waiting:  # what is under way is still told, and may move a subtree
                drop(state.tree, memo["at"], [ROOT])
            return []
        out = []
        for i, unit in enumerate(memo["do"]):
            # The key seeds the draws: the subtree and its depth, and no path in the tree that they share.
            key = f"subtree {i}/{memo['depth'][i]}/{unit}"
            if unit == "step":
                drawn = memo["drawn"][i]
                k = self.branch - drawn % self.branch
                if not drawn and self.wave and begins_well(state.tree, memo["at"][i], self.enough):
                    k = min(self.wave, k)
                memo["drawn"][i] += k
                out.append(Expand(memo["at"][i], k, "step", key=f"{key}/{drawn}" if drawn else key))
            elif unit == "whole":
                out.append(Expand(memo["at"][i], label=ENDING, key=key))
            memo["do"][i] = ""
        return out

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        tree, memo = state.tree, state.memo
        if asked.unit == "whole" or not nodes:
            return
        i = int(asked.key.split("/")[0].removeprefix("subtree "))
        memo["grown"][i] += nodes
        most = self.branch * (self.tries if begins_well(tree, memo["at"][i], self.enough) else 1)
        if memo["drawn"][i] < most and not reaches(tree, nodes, self.enough):
            memo["do"][i] = "step"
            return
        nodes, memo["grown"][i], memo["drawn"][i] = memo["grown"][i], [], 0
        # Two subtrees may stand at equal texts: what one leaves is not dropped while the other is there.
        idle = [n for n in nodes if not tree[n].children]
        found = ranked(tree, nodes)
        if not found:  # nothing to go on from: the text so far is written to its end in one go
            memo["do"][i] = "whole"
            drop(tree, idle, memo["at"])
            return
        best = found[0]
        memo["at"][i] = best.id
        memo["depth"][i] += 1
        tree.mark(best.id, pruned=False)
        drop(tree, idle, memo["at"])
        if not best.ended:
            memo["do"][i] = "step" if memo["depth"][i] < self.max_depth else "whole"

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)
