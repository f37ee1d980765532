"""Self-revision: an answer, then the same model is asked to find and mend its mistakes, again and again (Madaan et al. 2023, Self-Refine).

Chains run side by side; chains times (1 + rounds) is the N that it is compared at (Snell et al. 2024, section 6: sequential against
parallel). A revision sees the attempt before it and not its thinking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from core.search.base import Choice, Expand, State, param
from core.search.strategies.prompts import REVISE, form_of, quoted
from core.search.tree import ROOT
from core.search.voting import candidates, decide

Pick = Literal["last", "majority", "best", "weighted"]


@dataclass(frozen=True)
class Revision:
    """memo: `chains`, each a list of its answers' nodes; `todo`, the chains to be gone on with."""

    NAME: ClassVar[str] = "revision"
    TITLE: ClassVar[str] = "Self-revision"
    HELP: ClassVar[str] = "An answer that the model itself looks over and mends, several times."
    NEEDS_SCORER: ClassVar[bool] = False

    rounds: int = param(2, "How often each answer is looked over.", least=0, most=100)
    chains: int = param(1, "Answers that are revised, side by side.", least=1, most=1024)
    pick: Pick = param(
        "best",
        "Which answer counts: the last of each chain (the majority of these), or a vote of all.",
        one_of=get_args(Pick),
    )

    def ask(self, state: State) -> list[Expand]:
        memo = state.memo
        if "chains" not in memo:
            memo["chains"], memo["todo"] = [], []
            return [Expand(ROOT, self.chains, label="attempt")]
        todo, memo["todo"] = memo["todo"], []
        return [self._revise(state, memo["chains"][i]) for i in todo]

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        memo = state.memo
        if asked.node == ROOT:
            # Equal attempts are one node, and one chain: it would be revised in the same words.
            memo["chains"] = [[n] for n in dict.fromkeys(nodes)]
            grown = list(range(len(memo["chains"])))
        else:
            grown = [i for i, chain in enumerate(memo["chains"]) if chain[-1] == asked.node][:1]
            for i in grown:
                memo["chains"][i] += nodes[:1]
        for i in grown:
            chain = memo["chains"][i]
            # An attempt that was cut has no answer to look over.
            if nodes and len(chain) <= self.rounds and state.tree[chain[-1]].ended:
                memo["todo"].append(i)

    def choose(self, state: State) -> Choice:
        if self.pick != "last":
            return decide(candidates(state), self.pick)
        ended = [[n for n in chain if state.tree[n].ended] for chain in state.memo.get("chains", [])]
        return decide(candidates(state, [chain[-1] for chain in ended if chain]), "majority")

    def _revise(self, state: State, chain: list[int]) -> Expand:
        attempt = quoted(state.tree.text(chain[-1]))
        prompt = REVISE.format(problem=state.problem.prompt, attempt=attempt, form=form_of(state.problem))
        return Expand(chain[-1], prompt=prompt, label="revision")
