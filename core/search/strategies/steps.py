"""What the strategies that grow texts step by step have in common: which pieces count, in which order, and how a text is ended.

A piece that ran into its length limit, or that is blank, is never gone on from. Knows no strategy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from core.search.base import Expand
from core.search.tree import ROOT, Node, Tree

ENDING = "ending"  # the label of a text that is written to its end in one go
WAVE = (
    "Draw so many steps of a depth first, and the others only where none of these scores `enough`; 0 draws all at once."
)
ENOUGH = (
    "The score of a step that needs no rivals, for `wave` and `tries`. Only 1, from an exact verifier, is surely so."
)
TRIES = "How often a depth that begins well (at `enough`) is drawn, before it is gone on with for want of a step that scores `enough`."


def worth(node: Node) -> float:
    """What a node is ranked by: the value that its strategy gave it, else its score; 0 where it was not scored."""
    if node.value is not None:
        return node.value
    return node.score or 0.0


def ranked(tree: Tree, nodes: Iterable[int]) -> list[Node]:
    """The nodes that can be gone on from or have ended, each once, best first; among equals the first that came."""
    usable = [tree[n] for n in dict.fromkeys(nodes) if tree[n].end in ("step", "eos")]
    return sorted(usable, key=lambda n: (-worth(n), n.id))


def drop(tree: Tree, nodes: Iterable[int], kept: Iterable[int]) -> None:
    """Mark what is not kept. A finished answer stays: it was paid for, and votes."""
    keep = set(kept)
    for n in dict.fromkeys(nodes):
        if n not in keep and not tree[n].ended:
            tree.mark(n, pruned=True)


def depth(places: Iterable[tuple[int, int]], tries: int) -> dict[str, Any]:
    """A strategy's memo at the beginning of a depth. places: how many steps are to be drawn from which node."""
    planned = [[node, k] for node, k in places]
    return {"planned": planned, "todo": [list(p) for p in planned], "tries": tries, "grown": []}


def draws(tree: Tree, memo: dict[str, Any], wave: int, enough: float) -> list[Expand]:
    """What is to be drawn next of the depth in `memo`, of whose `grown` nodes all are told; [] where it is done."""
    if reaches(tree, memo["grown"], enough):
        return []
    well = any(begins_well(tree, node, enough) for node, _ in memo["planned"])
    if not memo["todo"]:
        if memo["tries"] <= 1 or not well:
            return []
        memo.update(tries=memo["tries"] - 1, todo=[list(p) for p in memo["planned"]])
    # Where it begins badly there is nothing that a rival could spare, and waiting for a first wave would take time.
    return share(memo["todo"], wave if well and not memo["grown"] else 0)


def reaches(tree: Tree, nodes: Iterable[int], enough: float) -> bool:
    """Whether one of them that can be gone on from, or has ended, scores at least `enough`."""
    return any(tree[n].end in ("step", "eos") and worth(tree[n]) >= enough for n in nodes)


def begins_well(tree: Tree, node: int, enough: float) -> bool:
    """Nothing has gone wrong yet at the question itself, which has no score."""
    return node == ROOT or worth(tree[node]) >= enough


def share(todo: list[list[int]], size: int) -> list[Expand]:
    """The next `size` draws (0: all that are left), one of each node in turn. todo: [node, draws that are left], of which they are taken."""
    in_turn = [node for turn in range(max(k for _, k in todo)) for node, k in todo if turn < k]
    taken = Counter(in_turn[: size or None])
    todo[:] = [[node, k - taken[node]] for node, k in todo if k > taken[node]]
    return [Expand(node, k, "step") for node, k in taken.items()]


def to_the_end(nodes: Iterable[int]) -> list[Expand]:
    """Write these texts to their ends."""
    return [Expand(n, label=ENDING) for n in nodes]


def softmax(values: Sequence[float], temperature: float = 1.0) -> list[float]:
    """exp(v / temperature), in shares that sum to 1."""
    top = max(values, default=0.0)
    raised = [math.exp((v - top) / temperature) for v in values]
    total = sum(raised)
    return [r / total for r in raised]
