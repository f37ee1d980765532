"""Steiner's second stage: steps clustered into nodes, one DAG a question, many paths with backtracks sampled from it.

A node is a cluster of steps that come to the same (an exact state, or a neighbourhood of embeddings: `clusters.py`); an edge
says that in some trace the one followed the other in the *tree*, not in the order of writing. A DAG of V nodes has
exponentially many paths; at most `paths_of(V)`, which is linear in V, are sampled. Steiner published the idea and no
code (Ji 2024); this reading of it is ours.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.formats import steiner_tokens as t
from core.trace import Step, Trace

QUESTION = 0  # the id of the root
PATHS_PER_NODE = 2
STEP_LIMIT = 60
FRUITLESS = 50


@dataclass
class Node:
    """A cluster: the steps in it (trace id, index). `right`: it ends a trace that is right, or wrong. `key`: the name of its cluster,
    with exact states the state itself."""

    id: int
    key: Hashable = None
    members: list[tuple[str, int]] = field(default_factory=list)
    right: bool | None = None
    answers: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Text:
    """How a trace wrote one edge: the step, and the node it went on from afterwards (None: it ended there)."""

    body: str
    then: int | None


@dataclass
class StepDag:
    """The DAG of one question. Node 0 is the question. `cut`: edges left out because they closed a circle."""

    prompt: str
    nodes: list[Node] = field(default_factory=lambda: [Node(QUESTION)])
    children: dict[int, list[int]] = field(default_factory=lambda: {QUESTION: []})
    texts: dict[tuple[int, int], list[Text]] = field(default_factory=dict)
    cut: int = 0

    def add_edge(self, parent: int, child: int) -> bool:
        """Join two nodes unless that closes a circle (then it is counted in `cut`)."""
        if child in self.children[parent]:
            return True
        if child == QUESTION or parent in self.below(child):
            self.cut += 1
            return False
        self.children[parent].append(child)
        return True

    def below(self, node: int) -> set[int]:
        """The node and everything reachable from it."""
        seen, todo = {node}, [node]
        while todo:
            for child in self.children[todo.pop()]:
                if child not in seen:
                    seen.add(child)
                    todo.append(child)
        return seen

    def hopeful(self) -> set[int]:
        """Nodes from which a right end can be reached."""
        parents = self.parents()
        seen = {n.id for n in self.nodes if n.right}
        todo = list(seen)
        while todo:
            for parent in parents[todo.pop()]:
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
        return seen

    def parents(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {n.id: [] for n in self.nodes}
        for parent, children in self.children.items():
            for child in children:
                found[child].append(parent)
        return found

    def degrees(self) -> dict[int, tuple[int, int, int | None, int | None]]:
        """Of each node e_i, e_o, d_s, d_e: in-degree, out-degree, fewest edges from the question and to a right end (None:
        there is no way).

        What Steiner's reward is made of (Ji 2024); its formula was never published.
        """
        parents = self.parents()
        from_start = _distances([QUESTION], self.children)
        to_end = _distances([n.id for n in self.nodes if n.right], parents)
        return {
            n.id: (len(parents[n.id]), len(self.children[n.id]), from_start.get(n.id), to_end.get(n.id))
            for n in self.nodes
        }

    def to_json(self) -> dict[str, Any]:
        """Nodes with what `degrees` says of them, and edges by the nodes' ids. A node that lost all its steps with a cut edge is left
        out. "state" is the list of numbers that an exact state is, null for a cluster of embeddings."""
        degrees = self.degrees()
        nodes = []
        for node in self.nodes:
            if node.members or node.id == QUESTION:
                e_i, e_o, d_s, d_e = degrees[node.id]
                nodes.append({
                    "id": node.id, "members": [list(m) for m in node.members], "state": _state(node.key), "right": node.right,
                    "e_i": e_i, "e_o": e_o, "d_s": d_s, "d_e": d_e,
                })  # fmt: skip
        edges = [[parent, child] for parent, children in self.children.items() for child in children]
        return {"prompt": self.prompt, "nodes": nodes, "edges": edges, "edges_cut": self.cut}


def _state(key: Hashable) -> list[int] | None:
    return list(key) if isinstance(key, tuple) and all(isinstance(x, int) for x in key) else None


def _distances(sources: Sequence[int], edges: Mapping[int, Sequence[int]]) -> dict[int, int]:
    found = dict.fromkeys(sources, 0)
    todo = deque(sources)
    while todo:
        node = todo.popleft()
        for other in edges[node]:
            if other not in found:
                found[other] = found[node] + 1
                todo.append(other)
    return found


def build(prompt: str, traces: Sequence[tuple[Trace, Sequence[Hashable]]]) -> StepDag:
    """The DAG of one question's traces; `keys[i]` names the cluster of step i. Raises ValueError for lengths that differ."""
    dag = StepDag(prompt)
    ids: dict[Hashable, int] = {}
    for trace, keys in traces:
        if len(keys) != len(trace.steps):
            raise ValueError(f"Trace {trace.trace_id} has {len(trace.steps)} steps and {len(keys)} cluster names.")
        at: list[int | None] = []
        parents: list[int | None] = []
        for placed, key in zip(trace.nodes, keys, strict=True):
            if key not in ids:
                ids[key] = len(dag.nodes)
                dag.nodes.append(Node(ids[key], key))
                dag.children[ids[key]] = []
            node = ids[key]
            # A step that hangs from nowhere, because its edge was cut, takes what follows it along.
            parent = QUESTION if placed.parent is None else at[placed.parent]
            joined = parent is not None and (parent == node or dag.add_edge(parent, node))
            at.append(node if joined else None)
            parents.append(parent)
        for step, here, parent, then in zip(trace.steps, at, parents, [*parents[1:], None], strict=True):
            if here is not None and parent is not None and step.complete:
                dag.nodes[here].members.append((trace.trace_id, step.index))
                dag.texts.setdefault((parent, here), []).append(Text(body(trace, step), then))
        if trace.steps and at[-1] is not None and trace.solved is not None and trace.finish_reason == "stop":
            end = dag.nodes[at[-1]]
            end.right = bool(end.right) or trace.solved
            if trace.solved:
                end.answers.append(trace.answer)
    return dag


def body(trace: Trace, step: Step) -> str:
    """A step in Steiner's format without the decision before it; a step of another format becomes one thought."""
    if trace.format == "steiner":
        text = trace.step_text(step.index)
        return text[text.index(t.STEP_START) :] if t.STEP_START in text else text
    fields = {"name": step.name, "thought": step.thought or trace.step_text(step.index), "summary": step.summary}
    fields["reflection"] = step.reflection
    return t.STEP_START + "".join(f"{a}{fields[name]}{b}" for name, (a, b) in t.FIELDS.items()) + t.STEP_END


def paths_of(dag: StepDag) -> int:
    """The most paths that are sampled from a DAG: linear in its nodes."""
    return PATHS_PER_NODE * len(dag.nodes)


@dataclass(frozen=True)
class Path:
    """A walk over nodes: `entered[i]` is how step i was entered, `texts[i]` what it says; it ends at a right end.

    borrowed: steps whose words come from a trace that went on from elsewhere, because none went on from where this path does. What
    such a step says of its next move does not fit; 0 is a path that could have been written as it stands.
    """

    nodes: tuple[int, ...]
    entered: tuple[str, ...]
    texts: tuple[str, ...]
    answer: str
    borrowed: int = 0

    @property
    def backtracks(self) -> int:
        return self.entered.count(t.BACKTRACK)

    @property
    def reasoning(self) -> str:
        parts = [t.REASONING_START]
        for i, (how, text) in enumerate(zip(self.entered, self.texts, strict=True)):
            parts += [how, text] if i else [text]
        return "".join([*parts, t.REASONING_END])

    @property
    def response(self) -> str:
        return self.reasoning + self.answer


def sample(
    dag: StepDag, rng: random.Random, hopeful: set[int], *, insight: float, limit: int = STEP_LIMIT
) -> Path | None:
    """One walk: depth first, each node at most once, back to the nearest node with something untried when nothing is left.

    With probability `insight` a hopeful child is chosen where there is one. None when `limit` steps did not reach an end.
    """
    stack, seen = [QUESTION], {QUESTION}
    nodes: list[int] = []
    parents: list[int] = []
    entered: list[str] = []
    how = t.PROCEED
    while stack and len(nodes) < limit:
        options = [c for c in dag.children[stack[-1]] if c not in seen and (stack[-1], c) in dag.texts]
        if not options:
            stack.pop()
            how = t.BACKTRACK
            continue
        good = [c for c in options if c in hopeful]
        child = rng.choice(good if good and rng.random() < insight else options)
        nodes.append(child)
        parents.append(stack[-1])
        entered.append(how)
        seen.add(child)
        if dag.nodes[child].right:
            return _written(dag, rng, nodes, parents, entered)
        stack.append(child)
        how = t.PROCEED
    return None


def _written(
    dag: StepDag, rng: random.Random, nodes: Sequence[int], parents: Sequence[int], entered: Sequence[str]
) -> Path:
    """Words for a walk: of the traces that went the same edge, those that then went on from the same node come first."""
    texts: list[str] = []
    borrowed = 0
    for parent, node, then in zip(parents, nodes, [*parents[1:], None], strict=True):
        known = dag.texts[parent, node]
        fitting = [text for text in known if text.then == then]
        borrowed += not fitting
        texts.append(rng.choice(fitting or known).body)
    return Path(tuple(nodes), tuple(entered), tuple(texts), rng.choice(dag.nodes[nodes[-1]].answers), borrowed)


def sample_many(dag: StepDag, rng: random.Random, most: int, *, most_borrowed: int = 0) -> Iterator[Path]:
    """Different walks, at most `most` and at most `paths_of(dag)`; each with an insight of its own, so that short and
    long searches are among them. Walks with more than `most_borrowed` borrowed steps are passed over. Ends early where
    the DAG holds no more (`FRUITLESS` tries in a row)."""
    hopeful = dag.hopeful()
    if QUESTION not in hopeful:
        return
    found: set[tuple[int, ...]] = set()
    fruitless = 0
    while len(found) < min(most, paths_of(dag)) and fruitless < FRUITLESS:
        path = sample(dag, rng, hopeful, insight=rng.choice((0.0, 0.3, 0.6, 1.0)))
        if path is None or path.borrowed > most_borrowed or path.nodes in found:
            fruitless += 1
            continue
        fruitless = 0
        found.add(path.nodes)
        yield path
