"""Where the steps of a tree go on a screen: pure arithmetic, O(1) a step, old places never move.

Three views of one tree: *lanes* (git-graph gutter beside the step list: row = step), *columns* (graph: first child below its
parent, every further child opens a new column) and *runs* (overview: straight stretches collapsed into one box).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.trace import Placed

# A gutter wider than this takes the room the text needs (12 lanes x 14 px); deeper branches share the last lane.
MAX_LANES = 12


@dataclass(frozen=True)
class Place:
    """lane: gutter lane, 0 is leftmost. column, depth: graph position; the question is column 0, depth 0."""

    lane: int
    column: int
    depth: int


@dataclass(frozen=True)
class Run:
    """Steps first..last in a straight line. parent: index of the run that it branches from, None for the question."""

    first: int
    last: int
    parent: int | None
    depth: int


class Layout:
    """Add nodes in walk order; `places[i]` never changes."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self._children: dict[int | None, int] = {}
        self._columns = 0

    def add(self, node: Placed) -> Place:
        """Place the next node. O(1)."""
        parent = node.parent
        siblings = self._children.get(parent, 0)
        self._children[parent] = siblings + 1
        above = self.places[parent] if parent is not None else Place(0, 0, 0)
        if siblings == 0:
            lane, column = above.lane, above.column
        else:
            self._columns += 1
            lane, column = min(above.lane + 1, MAX_LANES - 1), self._columns
        place = Place(lane, column, above.depth + 1)
        self.places.append(place)
        return place


def runs_of(nodes: Sequence[Placed]) -> list[Run]:
    """Straight stretches of a tree, in walk order: a step goes on a run if it is the only child of the step before it. O(n)."""
    children = Counter(node.parent for node in nodes)
    runs: list[Run] = []
    run_of: list[int] = []
    for index, node in enumerate(nodes):
        if index and node.parent == index - 1 and children[node.parent] == 1:
            runs[-1] = replace(runs[-1], last=index)
        else:
            above = None if node.parent is None else run_of[node.parent]
            runs.append(Run(index, index, above, 0 if above is None else runs[above].depth + 1))
        run_of.append(len(runs) - 1)
    return runs


def lay_out(nodes: Sequence[Placed]) -> Layout:
    """Place a whole tree."""
    layout = Layout()
    for node in nodes:
        layout.add(node)
    return layout


def to_json(nodes: Sequence[Placed]) -> dict[str, Any]:
    """`{"places": [{lane, column, depth}], "runs": [{first, last, parent, depth}]}`"""
    return {"places": [asdict(p) for p in lay_out(nodes).places], "runs": [asdict(r) for r in runs_of(nodes)]}
