"""REBASE, reward-balanced search: a budget of continuations is shared out over all open texts by their scores (Wu et al. 2024).

At every depth, width_j = B · exp(score_j / T) / Σ exp(score_k / T) (section 3.2), where B is the budget less the answers that are
finished. The paper rounds each width by itself; here they are whole numbers that sum to B exactly (largest remainders), so
that no depth spends more or less than what is left. Equal texts are one, and share one width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.strategies.steps import ENDING, drop, ranked, softmax, worth
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide


@dataclass(frozen=True)
class Rebase:
    """memo: `widths` of the nodes that are grown, as node → continuations, `grown` what has come of them, `finished` answers, equal ones
    counted as often as they came, `depth`."""

    NAME: ClassVar[str] = "rebase"
    TITLE: ClassVar[str] = "REBASE"
    HELP: ClassVar[str] = "A budget of continuations, shared out by the scores of all open texts."
    NEEDS_SCORER: ClassVar[bool] = True

    n: int = param(16, "Continuations at each depth, less one for each finished answer.", least=1, most=4096)
    balance: float = param(
        0.2, "Temperature of the shares: low gives all to the best, high the same to each.", least=0.01, most=100
    )
    max_depth: int = param(40, "Steps after which what is open is made to end.", least=1, most=10_000)
    vote: Vote = param("weighted", "How the answer is chosen from all finished texts.", one_of=VOTES)

    def ask(self, state: State) -> list[Expand]:
        tree, memo = state.tree, state.memo
        if state.waiting or memo.get("over"):
            return []
        if not memo:
            memo.update(widths={ROOT: self.n}, grown=[], finished=0, depth=0)
            return [Expand(ROOT, self.n, "step")]
        frontier = [n for n in ranked(tree, memo["grown"]) if not n.ended]
        grown, memo["grown"] = memo["grown"], []
        left = self.n - memo["finished"]
        memo["depth"] += 1
        if left <= 0 or not frontier:
            memo["over"] = True
            drop(tree, grown, ())
            return [] if tree.leaves() else self._grow(memo["widths"], to_the_end=True)
        widths = share_out(left, [worth(n) for n in frontier], self.balance)
        memo["widths"] = {n.id: w for n, w in zip(frontier, widths, strict=True) if w}
        drop(tree, grown, memo["widths"])
        memo["over"] = memo["depth"] >= self.max_depth
        return self._grow(memo["widths"], to_the_end=memo["over"])

    def _grow(self, widths: dict[int, int], *, to_the_end: bool) -> list[Expand]:
        return [Expand(n, w, label=ENDING) if to_the_end else Expand(n, w, "step") for n, w in widths.items()]

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        state.memo["grown"] += nodes
        state.memo["finished"] += sum(state.tree[n].ended for n in nodes)

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)


def share_out(budget: int, scores: Sequence[float], temperature: float) -> list[int]:
    """Whole widths in proportion to the softmax of the scores; they sum to the budget. What rounding down leaves goes to the
    largest remainders, the first among equals."""
    exact = [budget * share for share in softmax(scores, temperature)]
    widths = [int(e) for e in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: (widths[i] - exact[i], i))
    for i in by_rest[: budget - sum(widths)]:
        widths[i] += 1
    return widths
