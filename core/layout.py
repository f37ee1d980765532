"""Where the steps of a tree go on a screen: pure arithmetic, O(1) a step, old places never move.

Three views of one tree: *lanes* (git-graph gutter beside the step list: row = step), *columns* (graph: first child below its
parent, every further child opens a new column) and *runs* (overview: straight stretches collapsed into one box).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    """Add nodes in walk order; `places[i]` never changes, the last of `runs` may grow."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.runs: list[Run] = []
        self._children: dict[int | None, int] = {}
        self._columns = 0
        self._run_of: list[int] = []

    def add(self, node: Placed) -> Place:
        index = len(self.places)
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
        self._add_to_run(index, parent, siblings)
        return place

    def _add_to_run(self, index: int, parent: int | None, siblings: int) -> None:
        """A step extends the newest run if it is the first child of that run's last step."""
        if parent is not None and parent == index - 1 and siblings == 0:
            run = self._run_of[parent]
            old = self.runs[run]
            self.runs[run] = Run(old.first, index, old.parent, old.depth)
            self._run_of.append(run)
            return
        above = None if parent is None else self._split(parent)
        depth = 0 if above is None else self.runs[above].depth + 1
        self.runs.append(Run(index, index, above, depth))
        self._run_of.append(len(self.runs) - 1)

    def _split(self, step: int) -> int:
        """The run that ends at `step`: a branch in mid-run cuts the run in two (the cut-off end becomes a run of its own)."""
        run = self._run_of[step]
        old = self.runs[run]
        if old.last == step:
            return run
        tail = len(self.runs)
        self.runs.append(Run(step + 1, old.last, run, old.depth + 1))
        self.runs[run] = Run(old.first, step, old.parent, old.depth)
        for i in range(step + 1, old.last + 1):
            self._run_of[i] = tail
        for i, other in enumerate(self.runs[:-1]):  # runs that hung on the old end now hang on the tail
            if i != run and other.parent == run and other.first > old.last:
                self._reparent(i, tail)
        return run

    def _reparent(self, run: int, parent: int) -> None:
        old = self.runs[run]
        self.runs[run] = Run(old.first, old.last, parent, self.runs[parent].depth + 1)
        for i, other in enumerate(self.runs):
            if other.parent == run:
                self._reparent(i, run)


def lay_out(nodes: Sequence[Placed]) -> Layout:
    """Place a whole tree."""
    layout = Layout()
    for node in nodes:
        layout.add(node)
    return layout


def to_json(layout: Layout) -> dict[str, Any]:
    """`{"places": [{lane, column, depth}], "runs": [{first, last, parent, depth}]}`"""
    return {"places": [asdict(p) for p in layout.places], "runs": [asdict(r) for r in layout.runs]}
