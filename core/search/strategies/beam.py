"""Beam search over steps: every beam goes on in several ways, the best-scored of all stay (Snell et al. 2024, section 3.2).

A beam that has ended is a candidate for the answer and is not grown again; the beams that go on are as many fewer. Equal beams are one, and
what their copies would have been grown by goes to the beams that there are. What scores 0 is surely wrong and keeps no place beside others.
With `wave` and `tries`, what is spent at a depth depends on whether a step is good enough. Where nothing of a depth can be gone on from,
and nothing has ended, the beams before it are written to their ends in one go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.strategies.steps import ENOUGH, TRIES, WAVE, depth, draws, drop, ranked, to_the_end, worth
from core.search.tree import ROOT
from core.search.voting import VOTES, Vote, candidates, decide


@dataclass(frozen=True)
class Beam:
    """`width` beams, `branch` ways each; width × branch is the N that it is compared at.

    memo: `beams` to be grown or being grown, `ended` how many of them have, `depth`, and what `steps.depth` keeps, of which `grown` is
    what has come of them.
    """

    NAME: ClassVar[str] = "beam"
    TITLE: ClassVar[str] = "Beam search"
    HELP: ClassVar[str] = "Grow several beams step by step, keep the best-scored, drop the rest."
    NEEDS_SCORER: ClassVar[bool] = True

    width: int = param(4, "Beams that are kept after each step.", least=1, most=1024)
    branch: int = param(4, "Ways in which each beam goes on.", least=1, most=1024)
    max_depth: int = param(40, "Steps after which the beams are made to end.", least=1, most=10_000)
    vote: Vote = param("weighted", "How the answer is chosen from the finished beams.", one_of=VOTES)
    early_stop: bool = param(False, "Stop when a finished answer scores at least as high as every beam that goes on.")
    wave: int = param(0, WAVE, least=0, most=4096)
    enough: float = param(1.0, ENOUGH, least=0, most=1)
    tries: int = param(1, TRIES, least=1, most=100)

    def ask(self, state: State) -> list[Expand]:
        memo = state.memo
        if state.waiting or memo.get("over"):
            return []
        if not memo:
            memo.update(beams=[ROOT], ended=0, depth=0, **depth([(ROOT, self.width * self.branch)], self.tries))
        if more := draws(state.tree, memo, self.wave, self.enough):
            return more
        kept = keep(state, self.width)
        memo["depth"] += 1
        if not kept:
            memo["over"] = True
            return [] if state.tree.leaves() else to_the_end(memo["beams"])
        if self.early_stop and settled(state, kept):
            memo["over"] = True
            drop(state.tree, kept, [])
            return []
        memo["beams"] = kept
        if memo["depth"] >= self.max_depth:
            memo["over"] = True
            return to_the_end(kept)
        # Where fewer than `width` differ, they share the continuations of all: the best get what is left over.
        each, extra = divmod((self.width - memo["ended"]) * self.branch, len(kept))
        memo.update(depth([(b, each + (i < extra)) for i, b in enumerate(kept)], self.tries))
        return draws(state.tree, memo, self.wave, self.enough)

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        state.memo["grown"] += nodes

    def choose(self, state: State) -> Choice:
        return decide(candidates(state), self.vote)


def settled(state: State, live: list[int]) -> bool:
    """Whether no live beam can end above the best finished answer. Exact for prod and min, which only fall along a path
    (Huang, Zhao and Ma 2017, "When to Finish?", section 3), and for any score of 1; a rule of thumb for last and mean."""
    finished = [n.score for n in state.tree.leaves() if n.score is not None]
    return bool(finished) and max(finished) >= max(worth(state.tree[n]) for n in live)


def keep(state: State, width: int) -> list[int]:
    """The beams of the next depth, from memo's `grown`; one that has ended takes a place for good. What is left is marked."""
    memo = state.memo
    best = ranked(state.tree, memo["grown"])[: max(0, width - memo["ended"])]
    best = [n for n in best if worth(n) > 0] or best  # what is surely wrong keeps no place while anything else does
    memo["ended"] += sum(n.ended for n in best)
    drop(state.tree, memo["grown"], [n.id for n in best])
    memo["grown"] = []
    return [n.id for n in best if not n.ended]
