"""What a streaming parser says: the same events from every format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core.trace import Decision, Step


@dataclass(frozen=True)
class StepOpened:
    """A step has begun. `entered_by` is the decision that led here, None for the first step."""

    index: int
    entered_by: Decision | None


@dataclass(frozen=True)
class FieldText:
    """More text of a field of the open step."""

    index: int
    field: str
    text: str


@dataclass(frozen=True)
class StepClosed:
    """A step is whole (`decision` still unknown) or was cut (`complete` False)."""

    step: Step


@dataclass(frozen=True)
class Decided:
    """What the model does after step `index`."""

    index: int
    decision: Decision


@dataclass(frozen=True)
class AnswerText:
    """More text of the answer."""

    text: str


ParserEvent = StepOpened | FieldText | StepClosed | Decided | AnswerText


class StreamParser(Protocol):
    """`feed` any piece of a response, `cut` between two pieces, then `close`; `steps` and `answer` are those of the text so far."""

    name: str
    steps: list[Step]

    @property
    def answer(self) -> str: ...
    def feed(self, text: str) -> list[ParserEvent]: ...
    def close(self) -> list[ParserEvent]: ...
    def cut(self) -> list[ParserEvent]:
        """The text so far stands as it is: an open step ends, and what comes next begins another."""
        ...
