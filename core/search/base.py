"""What a strategy is: it asks for continuations, is told what came, and at any time can say what it would answer.

After TreeQuest (Inoue et al. 2025): the strategy object holds parameters alone; all that happens is in a plain state that is handed in
and out. So a fork is a copy of the state, a resume is a replay of the log, and a test is a script. Results are told in the order in
which they were asked for, whoever was faster: a search does not depend on the engine's timing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from core.answers import Answers
from core.engines.sampling import Marks
from core.search.tree import Tree
from core.trace import Problem

# "thought": to the end of the thinking, whose mark is left off, so that it can be taken back.
Unit = Literal["step", "whole", "thought"]
Role = Literal["solver", "executor"]


@dataclass(frozen=True)
class Expand:
    """`k` continuations of a node.

    key: names the request within its search and seeds its draws; `Search` makes it from the node's path, so that it does not
    depend on the order of things. unit: one step, or on to the end of the answer. prompt: ask this anew instead of going on.
    insert: text that is put in first. max_tokens: for each, None: the search's own limit. score: whether the scorer is
    asked about what comes. form: a regular expression that a whole answer must match, where the engine can hold the model to one. answers: what comes is an answer to the problem; a plan or a critique is none, and has no vote. label: what
    the pieces are, for the screen ("plan", "revision").
    """

    node: int
    k: int = 1
    unit: Unit = "whole"
    prompt: str = ""
    insert: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    max_steps: int | None = None
    score: bool = True
    answers: bool = True
    role: Role = "solver"
    form: str = ""
    label: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}; an expansion asks for at least one continuation")


@dataclass
class Choice:
    """What a search answers: the node whose response it is, the answer in canonical form, and its share of the votes."""

    node: int | None
    answer: str = ""
    votes: dict[str, float] = field(default_factory=dict)
    why: str = ""


@dataclass
class State:
    """Everything that has happened in a search, for its strategy to read. `memo` is the strategy's own: plain values.

    given: finished answers that were there before a strategy that another one picked began, and how often each came; they vote.
    """

    problem: Problem
    answers: Answers
    seed: int = 0
    marks: Marks = field(default_factory=Marks)
    tree: Tree = field(default_factory=Tree)
    waiting: list[Expand] = field(default_factory=list)  # asked for and not told yet
    memo: dict[str, Any] = field(default_factory=dict)
    spent: int = 0  # tokens generated so far: a strategy may look at it
    given: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Strategy(Protocol):
    """A file in `strategies/`: a frozen dataclass of parameters with these methods.

    NAME is what commands, the API and the screen call it, TITLE and HELP are for people. NEEDS_SCORER: without one it is
    refused. A parameter's metadata (see `param`) say what it means and which values it takes.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    HELP: ClassVar[str]
    NEEDS_SCORER: ClassVar[bool]

    def ask(self, state: State) -> list[Expand]:
        """What to do next; [] waits for what was asked for, and ends the search when nothing is."""
        ...

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        """What came of `asked`: a node for each continuation, equal ones the same node; fewer than k when the budget ended."""
        ...

    def choose(self, state: State) -> Choice:
        """The answer with what there is."""
        ...


def param(
    default: Any, help: str, *, least: float | None = None, most: float | None = None, one_of: Any = None, needed: bool = False
) -> Any:  # fmt: skip
    """A parameter of a strategy or a scorer: its default, what it means, and which values it takes. needed: it must be given."""
    about = {"help": help, "least": least, "most": most, "one_of": tuple(one_of) if one_of else None, "needed": needed}
    return field(default=default, metadata=about)
