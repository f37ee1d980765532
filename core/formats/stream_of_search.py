"""Searches written out line by line, as Stream of Search has them: a step a visit to a node.

    Current State: 51:[25, 35, 9], Operations: []
    Exploring Operation: 25+9=34, Resulting Numbers: [35, 34]
    Generated Node #0,0: 51:[35, 34] Operation: 25+9=34
    Moving to Node #0,0
    Current State: 51:[35, 34], Operations: ['25+9=34']
    …
    51,51 equal: Goal Reached          (or: No solution found.)

A `Moving to Node` line begins a step, and its id names the step. Whether the move goes down or back is read from the two
ids; the parent is `core/implicit/named.py`'s business. Lines that fit nothing stay in the step that they stand in: nothing
raises, nothing is lost. There is no answer after the search. Knows no arithmetic.
Source of the format: Gandhi et al., "Stream of Search (SoS): Learning to Search in Language" (2024).
"""

from __future__ import annotations

import re
from dataclasses import replace

from core.formats.events import Decided, FieldText, ParserEvent, StepClosed, StepOpened
from core.trace import Decision, Step

NAME = "stream-of-search"
ROOT = "#0"
_FIRST = "Current State: "
_MOVE = "Moving to Node "
_BEGINS = re.compile(r"-?\d{1,12}:\[")
_BEGINS_PARTLY = re.compile(r"-?\d{0,12}:?")
_MOVING = re.compile(r"Moving to Node (#\d+(?:,\d+)*)\s*$")
_ENDED = re.compile(r"-?\d+,-?\d+ equal: Goal Reached\s*$|No solution found\.?\s*$")
# A line longer than this is none of the format's: it is passed on as it comes, so that a stream never stalls.
_LONGEST_LINE = 4096


def begins(text: str) -> bool | None:
    """Whether a response that begins so is such a search; None while that is still open."""
    text = text.lstrip()
    if not text.startswith(_FIRST):
        return None if _FIRST.startswith(text) else False
    rest = text[len(_FIRST) :]
    if _BEGINS.match(rest):
        return True
    return None if _BEGINS_PARTLY.fullmatch(rest) else False


def new() -> StreamOfSearchParser:
    return StreamOfSearchParser()


def parent_id(node: str) -> str:
    """`#0,1,2` → `#0,1`; the root's is itself."""
    return node.rsplit(",", 1)[0]


class StreamOfSearchParser:
    """Feed text, get events. Cut the stream anywhere: the same steps."""

    name = NAME

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.position = 0  # characters that lines have been made of
        self.answer_start: int | None = None
        self._held = ""  # an unfinished line
        self._midline = False  # the beginning of an overlong line is out already
        self._thought: list[str] | None = None
        self._node = ROOT
        self._start = 0
        self._blanks = ""  # white space that the next line decides about
        self._ended = False  # the open step has said how the search ended
        self._apart = False  # the step before was cut: its decision is still to be told

    @property
    def answer(self) -> str:
        """Always empty: the search ends with its last line."""
        return ""

    def feed(self, text: str) -> list[ParserEvent]:
        """Consume a piece of the response."""
        events: list[ParserEvent] = []
        *lines, rest = (self._held + text).split("\n")
        for line in lines:
            self._line(line + "\n", events)
        if self._midline or len(rest) > _LONGEST_LINE:
            self._line(rest, events)
            rest = ""
        self._held = rest
        return events

    def close(self) -> list[ParserEvent]:
        """The stream has ended; the open step is closed as it stands."""
        events: list[ParserEvent] = []
        held, self._held = self._held, ""
        self._line(held, events)
        self.position += len(self._blanks)
        self._blanks = ""
        if self._thought is not None:
            ended = self._ended
            self._close_step(self.position, events)
            if ended:
                self._decide("finish", events)
        return events

    def cut(self) -> list[ParserEvent]:
        """An open step ends here."""
        events: list[ParserEvent] = []
        held, self._held = self._held, ""
        self._line(held, events)
        if self._thought is not None:
            self._leave(events)
            self._apart = True
        self._midline = False
        return events

    def _leave(self, events: list[ParserEvent]) -> None:
        self._close_step(self.position + len(self._blanks), events)
        self.position += len(self._blanks)
        self._blanks = ""

    def _line(self, line: str, events: list[ParserEvent]) -> None:
        move = None if self._midline else _MOVING.match(line)
        leaves = self._apart and bool(line.strip())
        if move and self._thought is not None:
            self._leave(events)
            leaves = True
        if leaves:
            self._decide("backtrack" if move and parent_id(move[1]) != self._node else "proceed", events)
            self._apart = False
        if move:
            self._node = move[1]
        if not self._midline and _ENDED.match(line):
            self._ended = True
        if line:
            self._midline = not line.endswith("\n")
        body = line.rstrip()
        if not body:
            self._blanks += line
            return
        shown = self._blanks + body
        if self._thought is None:
            self._thought = []
            self._open(events)
            shown = shown.lstrip()
        self._thought.append(shown)
        events.append(FieldText(len(self.steps), "thought", shown))
        self.position += len(self._blanks) + len(body)
        self._blanks = line[len(body) :]

    def _open(self, events: list[ParserEvent]) -> None:
        entered_by = self.steps[-1].decision if self.steps else None
        events.append(StepOpened(len(self.steps), entered_by))

    def _decide(self, decision: Decision, events: list[ParserEvent]) -> None:
        self.steps[-1] = replace(self.steps[-1], decision=decision)
        events.append(Decided(len(self.steps) - 1, decision))

    def _close_step(self, end: int, events: list[ParserEvent]) -> None:
        assert self._thought is not None
        thought = "".join(self._thought)
        step = Step(len(self.steps), self._start, end, name=_name(thought, self.steps), thought=thought)
        self.steps.append(step)
        self._thought, self._start, self._ended = None, end, False
        events.append(StepClosed(step))


def _name(thought: str, before: list[Step]) -> str:
    """`Node #0,1`: the node that the step visits. Only the first step names none: it is the root."""
    move = _MOVING.match(thought.split("\n", 1)[0])
    if move:
        return f"Node {move[1]}"
    return f"Node {ROOT}" if not before else ""
