"""Monte Carlo tree search over steps, in AlphaZero's form (Silver et al. 2018): no rollouts, a scorer where the value network was.

A simulation goes down from the question by PUCT, argmax_a Q(s, a) + c · P(s, a) · √N(s) / (1 + N(s, a)), to a text that was not grown yet, grows
it by `branch` steps, and adds the mean of their scores to all texts on its way. P is the softmax of the children's scores. Several simulations
are in flight at once: each counts on its way as so many visits of value 0 until it is told ("virtual loss"), so the next looks elsewhere.

A finished answer is visited once: another visit would cost nothing and teach nothing. So a search whose texts have all ended stops early.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.strategies.steps import ENDING, ranked, softmax, to_the_end, worth
from core.search.tree import ROOT, Node, Tree
from core.search.voting import VOTES, Vote, candidates, decide


@dataclass(frozen=True)
class Mcts:
    """A node's `visits` are its N, its `value` its Q. memo: `sums` of what was added to a node, `closed` nodes below which there is
    nothing to do. What is in flight is what the state waits for."""

    NAME: ClassVar[str] = "mcts"
    TITLE: ClassVar[str] = "MCTS"
    HELP: ClassVar[str] = "Tree search by PUCT: grow the text that is most promising or least looked at."
    NEEDS_SCORER: ClassVar[bool] = True

    simulations: int = param(32, "Simulations; each grows one text.", least=1, most=100_000)
    branch: int = param(4, "Ways on that a simulation draws.", least=1, most=1024)
    parallel: int = param(4, "Simulations in flight at once.", least=1, most=1024)
    exploration: float = param(1.25, "c of PUCT: high looks at all, low at the best.", least=0.0, most=100)
    prior: float = param(0.3, "Temperature of the priors over the scores.", least=0.01, most=100)
    virtual_loss: int = param(1, "Lost visits that a simulation in flight counts as.", least=0, most=100)
    max_depth: int = param(40, "Steps after which a text is written to its end in one go.", least=1, most=10_000)
    vote: Vote = param("weighted", "How the answer is chosen from all finished texts.", one_of=VOTES)

    def ask(self, state: State) -> list[Expand]:
        tree, memo = state.tree, state.memo
        memo.setdefault("sums", {})
        if "closed" not in memo:  # of another strategy's probes some were cut off: nobody goes on from these
            memo["closed"] = {c for c in tree[ROOT].children if tree[c].end not in ("step", "eos")}
        if memo.get("over"):
            return []
        most = 0 if memo.get("short") else self.simulations
        busy: set[int] = set(memo["closed"])
        flying: Counter[int] = Counter()
        for waiting in state.waiting:
            self._take_off(tree, waiting.node, busy, flying)
        out: list[Expand] = []
        while tree[ROOT].visits + len(state.waiting) + len(out) < most:
            if len(state.waiting) + len(out) >= self.parallel:
                break
            leaf = self._select(tree, busy, flying)
            if leaf is None:
                break
            if leaf.ended:
                self._back_up(state, leaf.id, worth(leaf))
                close(tree, leaf.id, memo["closed"])
                close(tree, leaf.id, busy)
                continue
            deep = tree.depth(leaf.id) >= self.max_depth
            out.append(Expand(leaf.id, label=ENDING) if deep else Expand(leaf.id, self.branch, "step"))
            self._take_off(tree, leaf.id, busy, flying)
        if out or state.waiting:
            return out
        memo["over"] = True
        return [] if tree.leaves() else to_the_end([most_visited(tree)])

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        tree, memo = state.tree, state.memo
        if memo.get("over"):  # the line that was written to its end: no simulation
            return
        if len(nodes) < asked.k:  # the budget is at its end
            memo["short"] = True
        if not nodes:
            return
        usable = {n.id for n in ranked(tree, nodes)}
        self._back_up(state, asked.node, sum(worth(tree[n]) for n in nodes if n in usable) / len(nodes))
        for n in dict.fromkeys(nodes):
            if n not in usable:
                close(tree, n, memo["closed"])
                tree.mark(n, pruned=True)

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)

    def _take_off(self, tree: Tree, leaf: int, busy: set[int], flying: Counter[int]) -> None:
        """A simulation is on its way to `leaf`: nobody else goes there, and its way looks worse."""
        close(tree, leaf, busy)
        for node in tree.above(leaf):
            flying[node.id] += self.virtual_loss

    def _select(self, tree: Tree, busy: set[int], flying: Counter[int]) -> Node | None:
        """Down to a text that no simulation has grown; None where everything is in flight or closed."""
        if ROOT in busy:
            return None
        at = tree[ROOT]
        while (
            at.visits and at.children
        ):  # whole answers may stand below a text that was not grown: the probes of another strategy
            children = [n for n in (tree[c] for c in at.children) if n.end in ("step", "eos")]
            priors = softmax([n.score or 0.0 for n in children], self.prior)
            wide = self.exploration * math.sqrt(at.visits + flying[at.id])
            best, most = at, -math.inf
            for child, prior in zip(children, priors, strict=True):
                if child.id in busy:
                    continue
                visits = child.visits + flying[child.id]
                q = (child.value or 0.0) * child.visits / visits if visits else 0.0
                if (puct := q + wide * prior / (1 + visits)) > most:
                    best, most = child, puct
            if best is at:  # all below is in flight or closed
                return None
            at = best
        return at

    def _back_up(self, state: State, leaf: int, value: float) -> None:
        sums = state.memo["sums"]
        for node in list(state.tree.above(leaf)):
            sums[node.id] = sums.get(node.id, 0.0) + value
            state.tree.mark(node.id, visits=node.visits + 1, value=sums[node.id] / (node.visits + 1))


def close(tree: Tree, node: int, closed: set[int]) -> None:
    """There is nothing to do at this node; nor at those above it whose children are all so."""
    closed.add(node)
    for above in tree.above(node):
        if above.id not in closed:
            if not all(c in closed for c in above.children):
                return
            closed.add(above.id)


def most_visited(tree: Tree) -> int:
    """The end of the line of most visits, of those the best: what a search answers with when it has finished none."""
    at = tree[ROOT]
    while below := ranked(tree, at.children):
        at = max(below, key=lambda n: n.visits)
    return at.id
