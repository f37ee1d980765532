"""What the strategies that grow texts step by step have in common: which pieces count, in which order, and how a text is ended.

A piece that ran into its length limit, or that is blank, is never gone on from. Knows no strategy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from core.search.base import Expand
from core.search.tree import Node, Tree

ENDING = "ending"  # the label of a text that is written to its end in one go
WAVE = "Draw a depth's steps so many at a time, and no more once one scores `enough`; 0 draws all at once."
ENOUGH = "With a wave: the score of a step that needs no rivals. Only 1, from an exact verifier, is surely so."


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


def wave(todo: list[list[int]], size: int) -> list[Expand]:
    """The next `size` draws of a depth (0: all that are left), one of each node in turn. todo: [node, draws that are left], of which
    they are taken."""
    in_turn = [node for turn in range(max(k for _, k in todo)) for node, k in todo if turn < k]
    taken = Counter(in_turn[: size or None])
    todo[:] = [[node, k - taken[node]] for node, k in todo if k > taken[node]]
    return [Expand(node, k, "step") for node, k in taken.items()]


def good(tree: Tree, nodes: Iterable[int], enough: float) -> bool:
    """Whether one of them, usable, scores at least `enough`."""
    return any(tree[n].end in ("step", "eos") and worth(tree[n]) >= enough for n in nodes)


def to_the_end(nodes: Iterable[int]) -> list[Expand]:
    """Write these texts to their ends."""
    return [Expand(n, label=ENDING) for n in nodes]


def softmax(values: Sequence[float], temperature: float = 1.0) -> list[float]:
    """exp(v / temperature), in shares that sum to 1."""
    top = max(values)
    raised = [math.exp((v - top) / temperature) for v in values]
    total = sum(raised)
    return [r / total for r in raised]
