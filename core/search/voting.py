"""From many finished answers to one: majority, the best score, or the sum of scores for each answer.

Answers are compared in canonical form (`core/answers`); an answer that could not be read ("") has no vote. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal, get_args

from core.search.base import Choice, State
from core.search.tree import Node

Vote = Literal["majority", "best", "weighted"]
VOTES: tuple[Vote, ...] = get_args(Vote)


@dataclass(frozen=True)
class Candidate:
    """A finished answer: the node it ends at, its canonical form, its score, and how many equal ones there are."""

    node: int
    answer: str
    score: float | None
    count: int = 1


def candidates(state: State, among: Sequence[int] | None = None) -> list[Candidate]:
    """All finished answers of a search, or those that end in `among` and those that were given, in the order in which they came. One that
    was given counts as often as it was there before, one in `among` as often as it came."""
    nodes: list[Node] = state.tree.leaves()
    counts: dict[int, int] = {}
    if among is not None:
        counts = {**state.given, **{n: state.tree[n].count for n in among}}
        nodes = [state.tree[n] for n in counts]
    return [
        Candidate(n.id, state.answers.canonical(state.tree.text(n.id)), n.score, counts.get(n.id, n.count))
        for n in nodes
        if n.ended and n.answers
    ]


def decide(found: Sequence[Candidate], vote: Vote) -> Choice:
    """The answer with most votes, and of its holders the best-scored one (the first among equals).

    majority: a vote each (Wang et al. 2022, self-consistency). best: the best score alone decides. weighted: the score is the weight of
    the vote (Li et al. 2022, eq. 3; "weighted best-of-N" of Snell et al. 2024). Without scores all three are the majority.
    """
    if not found:
        return Choice(None, why="no answer was finished")
    readable = [c for c in found if c.answer] or list(found)
    scored = all(c.score is not None for c in readable)
    tally: dict[str, float] = {}
    for c in readable:
        if vote == "best" and scored:
            tally[c.answer] = max(tally.get(c.answer, 0.0), c.score or 0.0)
        else:
            weight = (c.score or 0.0) if vote == "weighted" and scored else 1.0
            tally[c.answer] = tally.get(c.answer, 0.0) + weight * c.count
    answer = max(tally, key=lambda a: tally[a])
    holder = max((c for c in readable if c.answer == answer), key=lambda c: c.score if c.score is not None else 0.0)
    total = sum(tally.values())
    share = {a: v / total if total else 0.0 for a, v in sorted(tally.items(), key=lambda x: -x[1])}
    how = vote if scored or vote == "majority" else f"majority (there are no scores to vote {vote})"
    return Choice(holder.node, answer, share, f"{how} of {sum(c.count for c in readable)}")


def settled(found: Sequence[Candidate], still_to_come: int, confidence: float = 0.95) -> bool:
    """Whether the majority will hardly change: it cannot be overtaken, or P(lead's share > runner-up's) is above `confidence`.

    With a uniform prior over the share of the first in the votes for the first two, the posterior is Beta(a + 1, b + 1), and
    P(share > 1/2) = sum_{j=0..a} C(a+b+1, j) / 2^(a+b+1) in whole numbers (Aggarwal et al. 2023, adaptive consistency, eq. 3).
    """
    tally: dict[str, int] = {}
    for c in found:
        if c.answer:
            tally[c.answer] = tally.get(c.answer, 0) + c.count
    if not tally:
        return still_to_come == 0
    first, second = (sorted(tally.values(), reverse=True) + [0])[:2]
    if first > second + still_to_come:
        return True
    n = first + second + 1
    return sum(comb(n, j) for j in range(first + 1)) / 2**n > confidence
