"""The tree that a search draws on purpose: one node a piece of text, each with where it came from and what became of it.

The implicit tree inside one response is another matter (`core/tree.py`). Knows no model, no strategy and no scorer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from core.engines.sampling import PieceEnd, Sample

# "empty": a step of blanks alone. It is kept, since it was paid for, and never gone on from.
NodeEnd = Literal["root", "step", "eos", "length", "empty"]
NODE_ENDS: tuple[str, ...] = get_args(NodeEnd)
ROOT = 0


@dataclass
class Node:
    """A piece of text. `text` and `ids` are what this node adds.

    path: the node's place, "0.1.3": the fourth child of the second child of the first; the root's is "". fresh: the text answers
    `prompt` anew instead of going on from the parent's. count: how many equal continuations it stands for. tokens: generated for it,
    its duplicates included. score in [0, 1], higher is better; step_scores are those of all steps up to here. value: what a strategy
    makes of it (a mean of rollouts, say), None where score is all there is. answers: false for a plan or a critique, which is no answer.
    """

    id: int
    parent: int | None
    path: str
    text: str = ""
    ids: tuple[int, ...] = ()
    end: NodeEnd = "root"
    label: str = ""
    fresh: bool = False
    prompt: str = ""
    answers: bool = True
    count: int = 1
    tokens: int = 0
    score: float | None = None
    step_scores: tuple[float, ...] = ()
    value: float | None = None
    visits: int = 0
    pruned: bool = False
    chosen: bool = False
    children: list[int] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """The model has finished its answer here."""
        return self.end == "eos"

    @property
    def open(self) -> bool:
        """A search may go on from here."""
        return self.end in ("root", "step") and not self.pruned


class Tree:
    """Nodes by id; 0 is the question. Plain data: it pickles, and equal trees compare equal."""

    def __init__(self) -> None:
        self.nodes: list[Node] = [Node(ROOT, None, "")]
        self.touched: set[int] = set()  # changed by `mark` since somebody last looked

    def __getitem__(self, node: int) -> Node:
        return self.nodes[node]

    def __len__(self) -> int:
        return len(self.nodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.nodes == other.nodes

    def grow(
        self, parent: int, samples: tuple[Sample, ...], *, label: str = "", prompt: str = "", answers: bool = True
    ) -> list[int]:
        """Add continuations; equal ones become one node that counts them. Returns a node for each sample, in order.

        prompt: the samples answer this instead of going on from the parent.
        """
        above = self.nodes[parent]
        known = {
            (n.text, n.end, n.prompt): n.id for n in (self.nodes[c] for c in above.children) if n.fresh == bool(prompt)
        }
        out = []
        for sample in samples:
            end: NodeEnd = "empty" if sample.end == "step" and not sample.text.strip() else _end(sample.end)
            key = (sample.text, end, prompt)
            at = known.get(key)
            if at is None:
                at = len(self.nodes)
                path = f"{above.path}.{len(above.children)}" if above.path else str(len(above.children))
                self.nodes.append(
                    Node(
                        at, parent, path, sample.text, sample.ids, end, label, bool(prompt), prompt, answers,
                        tokens=sample.tokens,
                    )
                )  # fmt: skip
                above.children.append(at)
                known[key] = at
            else:
                self.nodes[at].count += 1
                self.nodes[at].tokens += sample.tokens
            out.append(at)
        return out

    def mark(self, node: int, **changes: Any) -> None:
        """Change what became of a node: score, step_scores, value, visits, pruned or chosen."""
        for name, value in changes.items():
            setattr(self.nodes[node], name, value)
        self.touched.add(node)

    def line(self, node: int) -> list[Node]:
        """The nodes whose texts make the response that ends in `node`, from its first: the root or a fresh node is its beginning."""
        out: list[Node] = []
        at: int | None = node
        while at is not None:
            one = self.nodes[at]
            if at != ROOT:
                out.append(one)
            if one.fresh:
                break
            at = one.parent
        return out[::-1]

    def text(self, node: int) -> str:
        """The response up to and with `node`."""
        return "".join(n.text for n in self.line(node))

    def ids(self, node: int) -> tuple[int, ...]:
        """The same as token ids, as they came from the engine."""
        return tuple(i for n in self.line(node) for i in n.ids)

    def prompt(self, node: int) -> str:
        """What the response at `node` answers, "" for the search's own question."""
        line = self.line(node)
        return line[0].prompt if line and line[0].fresh else ""

    def depth(self, node: int) -> int:
        """Nodes from the root, the root's is 0."""
        path = self.nodes[node].path
        return path.count(".") + 1 if path else 0

    def above(self, node: int) -> Iterator[Node]:
        """The node, its parent, and so on up to the root."""
        at: int | None = node
        while at is not None:
            yield self.nodes[at]
            at = self.nodes[at].parent

    def leaves(self) -> list[Node]:
        """Answers that were finished, in the order in which they came."""
        return [n for n in self.nodes if n.ended and n.answers]


def _end(end: PieceEnd) -> NodeEnd:
    return end
