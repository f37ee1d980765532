"""The exact tree of a search that names its nodes: `#0,1,2` is a child of `#0,1`.

A step is a visit to a node. The first visit hangs on the latest visit of the parent node; a later visit hangs on the first
visit of the same node, which so becomes the point that the search resumes from. An id alone is not enough: breadth-first
searches use one id for several states, so a node is its id *and* the operations that lead to it. Nothing is inferred,
hence confidence 1. Knows the names and the `Operations` list, not the arithmetic.
"""

from __future__ import annotations

import re

from core.trace import Decision, Placed, Step

_ID = re.compile(r"#\d+(?:,\d+)*")
_OPERATIONS = re.compile(r"Operations: \[([^\]\n]*)\]")
_OPERATION = re.compile(r"'([^']*)'")

Node = tuple[str, tuple[str, ...]]


class NamedTree:
    """Places visits one by one. `nodes[i]` is final once `close(i)` was called."""

    def __init__(self, prompt: str = "") -> None:
        self.nodes: list[Placed] = []
        self.depths: list[int] = []
        self._first: dict[Node, int] = {}  # node -> its first visit
        self._latest: dict[Node, int] = {}
        self._latest_of_id: dict[str, int] = {}  # where the operations are missing or do not fit

    def open(self, entered_by: Decision | None) -> Placed:
        """Place a step that has just begun: after the one before it, until its node is known."""
        index = len(self.nodes)
        self.nodes.append(Placed(index - 1 if index else None, confidence=None, kind="setup" if not index else ""))
        self.depths.append(self.depths[-1] + 1 if index else 0)
        return self.nodes[-1]

    def close(self, step: Step) -> Placed:
        """The step's text names its node."""
        index = step.index
        named = _ID.search(step.name)
        if named is None:
            return self.nodes[index]
        identifier = named[0]
        found = _OPERATIONS.search(step.thought)
        operations = tuple(_OPERATION.findall(found[1])) if found else ()
        node: Node = (identifier, operations)
        if index:
            self._move(index, self._parent(node, known=found is not None))
        self._first.setdefault(node, index)
        self._latest[node] = self._latest_of_id[identifier] = index
        return self.nodes[index]

    def add(self, step: Step, entered_by: Decision | None) -> Placed:
        """Place a step whose text is complete."""
        self.open(entered_by)
        return self.close(step)

    def _parent(self, node: Node, known: bool) -> int | None:
        identifier, operations = node
        if not known and identifier in self._latest_of_id:
            return self._latest_of_id[identifier]
        if node in self._first:
            return self._first[node]
        above = identifier.rsplit(",", 1)[0]
        exact = self._latest.get((above, operations[:-1]))
        return exact if exact is not None else self._latest_of_id.get(above)

    def _move(self, index: int, parent: int | None) -> None:
        if parent == index - 1:
            self.nodes[index] = Placed(parent, confidence=1.0, kind="derive")
        else:
            replaced = self._branch_under(parent, index - 1)
            self.nodes[index] = Placed(parent, True, parent, replaced, 1.0, "backtrack")
        self.depths[index] = 0 if parent is None else self.depths[parent] + 1

    def _branch_under(self, ancestor: int | None, step: int) -> int:
        """The first step of the branch that leads from `ancestor` to `step`; the highest one where there is no such way."""
        at = step
        while (parent := self.nodes[at].parent) is not None and parent != ancestor:
            at = parent
        return at
