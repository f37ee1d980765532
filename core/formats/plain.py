"""Reasoning in plain text, with or without `<think>` tags: a step a paragraph, in a straight line.

The opening tag may be missing (many chat templates put it into the prompt); everything before `</think>` is reasoning,
everything after it the answer. Without any tag all of it is reasoning. A blank line ends a step, except inside a fenced
code block; the white space belongs to the step that it ends. Finds no backtracks: it reads what is marked, and here nothing is.
"""

from __future__ import annotations

import re
from dataclasses import replace

from core.formats.events import AnswerText, Decided, FieldText, ParserEvent, StepClosed, StepOpened
from core.trace import Step

OPEN, CLOSE = "<think>", "</think>"
LONGEST_NAME = 60
_PIECE = re.compile(r"(?P<blank>\s+)|\S+")


class PlainParser:
    """Feed text, get events. Cut the stream anywhere: the same steps."""

    name = "plain"

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.position = 0
        self.answer_start: int | None = None
        self._held = ""  # could still become a tag
        self._blanks = ""  # white space whose meaning the next character decides
        self._thought: list[str] | None = None  # the open step's text
        self._fence = 0  # back-tick fences so far in the open step
        self._tail = ""  # last two characters, for a fence cut in two
        self._start = 0
        self._answer: list[str] = []

    @property
    def answer(self) -> str:
        """The text after the end of reasoning, without surrounding white space."""
        return "".join(self._answer).strip()

    def feed(self, text: str) -> list[ParserEvent]:
        """Consume a piece of the response."""
        events: list[ParserEvent] = []
        buffer = self._held + text
        self._held = ""
        while buffer and self.answer_start is None:
            at = min((i for i in (buffer.find(OPEN), buffer.find(CLOSE)) if i >= 0), default=-1)
            if at < 0:
                keep = _partial_tag(buffer)
                self._reason(buffer[: len(buffer) - keep], events)
                self._held = buffer[len(buffer) - keep :]
                return events
            self._reason(buffer[:at], events)
            tag = CLOSE if buffer.startswith(CLOSE, at) else OPEN
            if tag == CLOSE:
                self._finish(events)
                self.position += len(tag)
            elif self._thought is not None:  # not an opening: something the model wrote
                self._reason(tag, events)
            else:
                self.position += len(self._blanks) + len(tag)
                self._blanks = ""
            buffer = buffer[at + len(tag) :]
        self._answer_text(buffer, events)
        return events

    def close(self) -> list[ParserEvent]:
        """The stream has ended; an open step is closed as it stands."""
        events: list[ParserEvent] = []
        held, self._held = self._held, ""
        if self.answer_start is None:
            self._reason(held, events)
            self.position += len(self._blanks)
            self._blanks = ""
            if self._thought is not None:
                self._close_step(events, self.position)
            elif self.steps and self.position > self.steps[-1].end:
                self.steps[-1] = replace(self.steps[-1], end=self.position)
        else:
            self._answer_text(held, events)
        return events

    def _answer_text(self, text: str, events: list[ParserEvent]) -> None:
        if text:
            self.position += len(text)
            self._answer.append(text)
            events.append(AnswerText(text))

    def _reason(self, text: str, events: list[ParserEvent]) -> None:
        for match in _PIECE.finditer(text):
            piece = match.group()
            if match.lastgroup == "blank":
                self._blanks += piece
                continue
            paragraph = self._blanks.count("\n") > 1 and self._fence % 2 == 0
            if self._thought is not None and paragraph:
                self._close_step(events, self.position + len(self._blanks))
                events.append(Decided(len(self.steps) - 1, "proceed"))
                self.steps[-1] = replace(self.steps[-1], decision="proceed")
            blanks, self._blanks = self._blanks, ""
            self.position += len(blanks) + len(piece)
            if self._thought is None:
                self._thought, self._fence, self._tail, blanks = [], 0, "", ""
                events.append(StepOpened(len(self.steps), "proceed" if self.steps else None))
            shown = blanks + piece
            self._count_fences(shown)
            self._thought.append(shown)
            events.append(FieldText(len(self.steps), "thought", shown))

    def _count_fences(self, text: str) -> None:
        if "`" not in text:
            self._tail = ""
            return
        for character in text:
            self._tail = (self._tail + character)[-3:]
            if self._tail == "```":
                self._fence += 1
                self._tail = ""

    def _finish(self, events: list[ParserEvent]) -> None:
        self.position += len(self._blanks)
        self._blanks = ""
        if self._thought is not None:
            self._close_step(events, self.position)
        if self.steps:
            self.steps[-1] = replace(self.steps[-1], end=self.position, decision="finish")
            events.append(Decided(len(self.steps) - 1, "finish"))
        self.answer_start = self.position

    def _close_step(self, events: list[ParserEvent], end: int) -> None:
        assert self._thought is not None
        thought = "".join(self._thought)
        step = Step(len(self.steps), self._start, end, name=_name(thought), thought=thought)
        self.steps.append(step)
        self._thought, self._start = None, end
        events.append(StepClosed(step))


def _name(thought: str) -> str:
    """The first line, cut at a word."""
    line = thought.split("\n", 1)[0].strip()
    return line if len(line) <= LONGEST_NAME else line[:LONGEST_NAME].rsplit(" ", 1)[0] + " …"


def _partial_tag(text: str) -> int:
    """Length of the end of `text` that may yet become a tag."""
    at = text.rfind("<", max(0, len(text) - len(CLOSE) + 1))
    if at < 0:
        return 0
    tail = text[at:]
    return len(tail) if OPEN.startswith(tail) or CLOSE.startswith(tail) else 0
