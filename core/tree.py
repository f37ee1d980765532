"""The tree that a trace walks through: a parent for every step, and for every backtrack where it resumes from.

A format says *that* the model turned back, hardly ever *where to*. The target is inferred, in this order:

1. the text names it: "back to step 3", or "back to 4, 7 and 8", a state that an earlier step left;
2. the new step restates an earlier state ("From 4, 7 and 8: ...");
3. the default: the parent of the step just abandoned (right about three times in four on real traces).

Incremental: placing a new step costs the length of its text, and never changes an older parent. Knows no token and no
task; a "state" is a list of numbers in the text, which is enough for the numbers game and harmless elsewhere.

That is the builder for formats that mark their decisions. `tree_for` knows who builds the others: `core/implicit/`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.implicit.named import NamedTree
from core.implicit.tree import ImplicitTree
from core.trace import Decision, Placed, Step

if TYPE_CHECKING:
    import networkx as nx

NAMED, RESTATED, DEFAULT = 0.95, 0.9, 0.7  # confidence of the three ways above; the last is the measured base rate

_NUMBERS = r"(\d+(?:, \d+)*(?:,? and \d+)?)"
_BACK_TO_STEP = re.compile(r"\bback to step (\d+)", re.I)
_BACK_TO_STATE = re.compile(rf"\bback to {_NUMBERS}", re.I)
_FROM_STATE = re.compile(rf"\bfrom {_NUMBERS}:", re.I)
_LEFT_STATE = re.compile(rf"\bleft: {_NUMBERS}", re.I)
_ANY_NUMBERS = re.compile(r"\d+")

_State = tuple[int, ...]


def _state(text: str) -> _State:
    return tuple(sorted(int(n) for n in _ANY_NUMBERS.findall(text)[:64] if len(n) < 10))


@dataclass(frozen=True)
class TreeStats:
    """What a tree looks like in numbers. `deepest` counts steps from the question; `branches` are nodes with 2+ children."""

    steps: int
    backtracks: int
    branches: int
    leaves: int
    deepest: int


class TreeBuilder:
    """Places steps one by one. `nodes[i]` is final once `close(i)` was called or step i + 1 was opened."""

    def __init__(self, prompt: str = "") -> None:
        self.nodes: list[Placed] = []
        self.depths: list[int] = []
        self._prompt_state = Counter(_ANY_NUMBERS.findall(prompt[:4096]))
        self._at_state: dict[_State, int] = {}  # state -> the latest step that left it
        self._last: Step | None = None

    def open(self, entered_by: Decision | None) -> Placed:
        """Place a step that has just begun, from what is known before its first word."""
        index = len(self.nodes)
        if index == 0:
            node = Placed(None)
        elif entered_by == "backtrack":
            node = self._backtrack(self._named_target() if self._last else None)
        else:
            node = Placed(index - 1)
        self.nodes.append(node)
        self.depths.append(0 if node.parent is None else self.depths[node.parent] + 1)
        return node

    def close(self, step: Step) -> Placed:
        """The step's text is complete: a restated state may correct the default (never a target that was named)."""
        node = self.nodes[step.index]
        if node.is_backtrack and node.confidence == DEFAULT:
            found = _FROM_STATE.search(step.thought) or _FROM_STATE.search(step.name)
            target = self._find(_state(found[1]), before=step.index) if found else None
            if target is not None:
                node = self._backtrack((target[0], RESTATED), last=step.index - 1)
                self.nodes[step.index] = node
                self.depths[step.index] = 0 if node.parent is None else self.depths[node.parent] + 1
        left = _LEFT_STATE.search(step.summary)
        if left:
            self._at_state[_state(left[1])] = step.index
        self._last = step
        return node

    def add(self, step: Step, entered_by: Decision | None) -> Placed:
        """Place a step whose text is complete."""
        self.open(entered_by)
        return self.close(step)

    def _named_target(self) -> tuple[int | None, float] | None:
        assert self._last is not None
        text = self._last.reflection or self._last.thought
        by_number = _BACK_TO_STEP.search(text)
        if by_number and len(by_number[1]) < 8 and 1 <= int(by_number[1]) <= len(self.nodes):
            return int(by_number[1]) - 1, NAMED
        by_state = _BACK_TO_STATE.search(text)
        if by_state:
            found = self._find(_state(by_state[1]), before=len(self.nodes))
            if found is not None:
                return found[0], NAMED
        return None

    def _find(self, state: _State, before: int) -> tuple[int | None] | None:
        """The step that left `state`: one on the way to the last step if there is one, else the latest.
        `(None,)` is the question, None is not found."""
        wanted = self._at_state.get(state)
        if wanted is not None and wanted < before:
            return (wanted,)
        # The question holds the numbers among others (a target): contained is enough.
        if state and len(state) > 1 and not Counter(map(str, state)) - self._prompt_state:
            return (None,)
        return None

    def _backtrack(self, target: tuple[int | None, float] | None, last: int | None = None) -> Placed:
        """A step entered by a backtrack after step `last` (default: the newest)."""
        last = len(self.nodes) - 1 if last is None else last
        if target is None:
            resumes, confidence = self.nodes[last].parent, DEFAULT
        else:
            resumes, confidence = target
        return Placed(resumes, True, resumes, self._branch_under(resumes, last), confidence)

    def _branch_under(self, ancestor: int | None, step: int) -> int:
        """The first step of the branch that leads from `ancestor` to `step`; `step` itself if there is no such way."""
        at: int | None = step
        while at is not None:
            parent = self.nodes[at].parent
            if parent == ancestor:
                return at
            at = parent
        return step


class Tree(Protocol):
    """What places steps. No step's parent changes once a later one was opened; only what closes a step may move it."""

    nodes: list[Placed]
    depths: list[int]

    def open(self, entered_by: Decision | None) -> Placed: ...
    def close(self, step: Step) -> Placed: ...
    def add(self, step: Step, entered_by: Decision | None) -> Placed: ...


def tree_for(form: str, prompt: str) -> Tree:
    """An empty tree for a trace in this format: decisions that are marked, nodes that are named, or neither."""
    if form == "steiner":
        return TreeBuilder(prompt)
    if form == "stream-of-search":
        return NamedTree(prompt)
    return ImplicitTree(prompt)


def build(prompt: str, steps: list[Step], form: str = "steiner") -> list[Placed]:
    """Place all steps of a finished trace; decisions are read from the steps."""
    tree = tree_for(form, prompt)
    before: Decision | None = None
    for step in steps:
        tree.add(step, before)
        before = step.decision
    return tree.nodes


def stats(nodes: list[Placed] | tuple[Placed, ...]) -> TreeStats:
    """Count steps, backtracks, branch points, leaves and depth; linear."""
    depths: list[int] = []
    children: Counter[int | None] = Counter()
    for node in nodes:
        depths.append(1 if node.parent is None else depths[node.parent] + 1)
        children[node.parent] += 1
    return TreeStats(
        steps=len(nodes),
        backtracks=sum(n.is_backtrack for n in nodes),
        branches=sum(1 for c in children.values() if c > 1),
        leaves=sum(1 for i in range(len(nodes)) if not children[i]),
        deepest=max(depths, default=0),
    )


def to_networkx(nodes: list[Placed] | tuple[Placed, ...]) -> nx.DiGraph:
    """The tree as a `networkx.DiGraph`: node -1 is the question, edges carry `is_backtrack`, `graph["walk"]` is the order."""
    import networkx as nx

    tree = nx.DiGraph(walk=list(range(len(nodes))))
    tree.add_node(-1)
    for i, node in enumerate(nodes):
        tree.add_node(i)
        tree.add_edge(-1 if node.parent is None else node.parent, i, is_backtrack=node.is_backtrack)
    return tree


def path_to(nodes: list[Placed] | tuple[Placed, ...], index: int) -> list[int]:
    """Steps from the question to `index`, both ends included."""
    path = [index]
    while (parent := nodes[path[-1]].parent) is not None:
        path.append(parent)
    return path[::-1]
