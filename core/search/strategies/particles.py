"""Particle filtering: N texts grow a step each, and are drawn anew in proportion to how good they are (Puri et al. 2025).

The scorer is taken as the likelihood that a text is good, and its log-odds as the weight: softmax(logit(score)) (their algorithm 1).
Bad texts die out by chance, not by a cut, so a wrong score does not kill a good one for sure. Drawn by systematic resampling (Kitagawa 1996):
one draw places N even marks, so a text of weight w gets ⌊Nw⌋ or ⌈Nw⌉ places. The draw comes from the search's seed and the round.
With `wave` and `tries` as many texts are drawn as it takes for one that is good enough (their number fits what they find, as in Fox 2003);
the N places are then drawn from those.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.strategies.steps import ENDING, ENOUGH, TRIES, WAVE, depth, draws, drop, softmax, to_the_end, worth
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide

# Scores are taken as no surer than this: a rule's 0 and 1 have no log-odds.
SURE = 1e-6


@dataclass(frozen=True)
class Particles:
    """memo: `places` is the node of each particle, several may share one; `round`, and what `steps.depth` keeps, of which
    `grown` is what has come of this round's steps."""

    NAME: ClassVar[str] = "particles"
    TITLE: ClassVar[str] = "Particle filtering"
    HELP: ClassVar[str] = "Texts grow a step each and are drawn anew in proportion to their scores."
    NEEDS_SCORER: ClassVar[bool] = True

    n: int = param(8, "Particles.", least=1, most=4096)
    max_depth: int = param(40, "Steps after which the particles are made to end.", least=1, most=10_000)
    vote: Vote = param("best", "How one is chosen; finished answers count by their particles.", one_of=VOTES)
    early_stop: bool = param(False, "Stop when a finished answer has the score 1.")
    wave: int = param(0, WAVE, least=0, most=4096)
    enough: float = param(1.0, ENOUGH, least=0, most=1)
    tries: int = param(1, TRIES, least=1, most=100)

    def ask(self, state: State) -> list[Expand]:
        tree, memo = state.tree, state.memo
        if state.waiting or memo.get("over"):
            return []
        if not memo:
            memo.update(places=[ROOT] * self.n, round=0, **depth([(ROOT, self.n)], self.tries))
        if more := draws(tree, memo, self.wave, self.enough):
            return more
        before = [p for p in memo["places"] if tree[p].open]
        finished = [p for p in memo["places"] if tree[p].ended]
        grown = [n for n in memo["grown"] if tree[n].end in ("step", "eos")]
        if self.early_stop and any(worth(n) >= 1 for n in tree.leaves()):
            memo["over"] = True
            return []
        drop(tree, set(memo["grown"]) - set(grown), ())
        memo.update(grown=[], round=memo["round"] + 1)
        self._draw(state, finished + grown)
        growing = Counter(p for p in memo["places"] if tree[p].open)
        if not growing:
            memo["over"] = True
            return [] if tree.leaves() else to_the_end(dict.fromkeys(before))
        if memo["round"] >= self.max_depth:
            memo["over"] = True
            return [Expand(node, k, label=ENDING) for node, k in growing.items()]
        memo.update(depth(growing.items(), self.tries))
        return draws(tree, memo, self.wave, self.enough)

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        state.memo["grown"] += nodes

    def choose(self, state: State) -> Choice:
        """Among the particles that are finished and the answers that were there before; where there are none, among answers that were
        drawn out of the set."""
        memo = state.memo
        finished = Counter(p for p in [*memo.get("places", ()), *memo.get("grown", ())] if state.tree[p].ended)
        found = candidates(state, list(finished))
        counted = [replace(c, count=finished[c.node] + state.given.get(c.node, 0)) for c in found]
        return decide(counted or candidates(state), self.vote)

    def _draw(self, state: State, pool: list[int]) -> None:
        """New places for the particles, an entry of `pool` for each old one; what gets none is marked."""
        tree, memo = state.tree, state.memo
        if any(tree[p].open for p in pool):
            weights = softmax([log_odds(worth(tree[p])) for p in pool])
            memo["places"] = [
                pool[i] for i in resample(weights, self.n, Random(f"{state.seed} {memo['round']}").random())
            ]
        else:  # all have ended, or nothing is left
            memo["places"] = pool
        for p in dict.fromkeys(pool):
            if p not in memo["places"]:
                tree.mark(p, pruned=True)


def log_odds(score: float) -> float:
    sure = min(max(score, SURE), 1 - SURE)
    return math.log(sure / (1 - sure))


def resample(weights: Sequence[float], n: int, u: float) -> list[int]:
    """Systematic resampling: for each of the marks (i + u) / n, i < n, the entry whose share of [0, 1) it falls into. u in [0, 1)."""
    out, upto, at = [], weights[0], 0
    for i in range(n):
        while (i + u) / n >= upto and at < len(weights) - 1:
            at += 1
            upto += weights[at]
        out.append(at)
    return out
