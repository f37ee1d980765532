"""A streaming parser for Steiner's format. Cut the stream anywhere: the same events, the same steps.

    <|reasoning_start|> STEP ((<|reasoning_proceed|>|<|reasoning_backtrack|>) STEP)* <|reasoning_end|> answer

It never raises and never loses a character: stray text belongs to the step it stands in, or leads into the next; before the first
step it is one of its own (`<|reasoning_start|>` is also the tag of models without steps). A missing start or end, a step cut in the
middle, a token out of place all give a valid list of steps. White space between tokens is tolerated (copies of the format in the wild have it). Grammar: see `steiner_tokens.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from core.formats import steiner_tokens as t
from core.formats.events import AnswerText, Decided, FieldText, ParserEvent, StepClosed, StepOpened
from core.formats.naming import name_of
from core.formats.tagged import begins_with
from core.trace import Decision, Step

_TOKEN = re.compile("|".join(re.escape(token) for token in t.TOKENS))
_LONGEST = max(map(len, t.TOKENS))
_FIELD_OF_START = {start: name for name, (start, _) in t.FIELDS.items()}
_FIELD_ENDS = {end for _, end in t.FIELDS.values()}


def begins(text: str) -> bool | None:
    """The first token or, where that stands in the prompt, a step."""
    return begins_with(text, (t.REASONING_START, t.STEP_START))


class SteinerParser:
    """Feed text, get events; `steps`, `answer` and `answer_start` are always those of the text so far."""

    name = "steiner"

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.position = 0  # characters consumed into events
        self.answer_start: int | None = None
        self._held = ""  # could still become a token
        self._open: dict[str, str] | None = None  # fields of the open step
        self._start = 0
        self._field: str | None = None
        self._blanks = ""  # white space that belongs to stray text only if more text follows
        self._entered_by: Decision | None = None
        self._answer: list[str] = []
        self._closed = False

    @property
    def answer(self) -> str:
        """The text after the end of reasoning, without surrounding white space."""
        return "".join(self._answer).strip()

    def feed(self, text: str) -> list[ParserEvent]:
        """Consume a piece of the response, however it was cut."""
        events: list[ParserEvent] = []
        buffer = self._held + text
        at = 0
        for match in _TOKEN.finditer(buffer):
            self._text(buffer[at : match.start()], events)
            self._token(match.group(), events)
            at = match.end()
        rest = buffer[at:]
        keep = _partial_token(rest)
        self._text(rest[: len(rest) - keep], events)
        self._held = rest[len(rest) - keep :]
        return events

    def close(self) -> list[ParserEvent]:
        """The stream has ended: what was held back is text, an open step is closed as incomplete."""
        events: list[ParserEvent] = []
        if self._closed:
            return events
        self._closed = True
        held, self._held = self._held, ""
        self._text(held, events)
        if self._open is not None:
            self._close_step(events, complete=False)
        elif self.answer_start is None and not self.steps:
            self.answer_start = 0  # nothing but tokens and white space: the region of an empty answer
        elif self.answer_start is None and self.position > self.steps[-1].end:
            # A decision without a step after it, or stray text: it stays with the last step, so that none is lost.
            self.steps[-1] = replace(self.steps[-1], end=self.position)
        return events

    def cut(self) -> list[ParserEvent]:
        """Nothing: only its tokens end a step."""
        return []

    def _text(self, text: str, events: list[ParserEvent]) -> None:
        if not text:
            return
        self.position += len(text)
        if self.answer_start is not None:
            self._answer.append(text)
            events.append(AnswerText(text))
            return
        if self._open is None and not self.steps and text.strip():
            self._open_step(events)
            text = text.lstrip()
        if self._open is not None:
            name = self._field
            if (
                name is None
            ):  # stray text inside a step is still something the model thought; blanks between tokens are not
                text = self._blanks + text
                kept = len(text.rstrip())
                text, self._blanks = text[:kept], text[kept:]
                if not text:
                    return
                name = "thought"
            self._open[name] += text
            events.append(FieldText(len(self.steps), name, text))

    def _token(self, token: str, events: list[ParserEvent]) -> None:
        self._blanks = ""
        if self.answer_start is not None:
            self._text(token, events)
            return
        if token == t.STEP_START:
            if self._open is not None:
                self._close_step(events, complete=False)
            self.position += len(token)
            self._open_step(events)
            return
        if token in (t.REASONING_END, t.PROCEED, t.BACKTRACK) and self._open is not None:
            self._close_step(events, complete=False)
        if token == t.REASONING_END:
            if self.steps:
                self._decide("finish", events)
            self.answer_start = self._start
            self.position += len(token)
            return
        self.position += len(token)
        if token == t.PROCEED or token == t.BACKTRACK:
            decision: Decision = "proceed" if token == t.PROCEED else "backtrack"
            self._entered_by = decision
            if self.steps:
                self._decide(decision, events)
        elif token in _FIELD_OF_START:
            self._field = _FIELD_OF_START[token]
        elif token in _FIELD_ENDS:
            self._field = None
        elif token == t.STEP_END and self._open is not None:
            self._close_step(events, complete=True)

    def _open_step(self, events: list[ParserEvent]) -> None:
        self._open = dict.fromkeys(t.FIELDS, "")
        self._field = None
        events.append(StepOpened(len(self.steps), self._entered_by))
        self._entered_by = None

    def _decide(self, decision: Decision, events: list[ParserEvent]) -> None:
        self.steps[-1] = replace(self.steps[-1], decision=decision)
        events.append(Decided(len(self.steps) - 1, decision))

    def _close_step(self, events: list[ParserEvent], *, complete: bool) -> None:
        assert self._open is not None
        fields = self._open
        if fields["thought"] and not fields["name"]:
            fields["name"] = name_of(fields["thought"])
            events.append(FieldText(len(self.steps), "name", fields["name"]))
        step = Step(
            len(self.steps), self._start, self.position, fields["name"], fields["thought"], fields["summary"], fields["reflection"],
            complete=complete,
        )  # fmt: skip
        self.steps.append(step)
        self._open, self._field, self._start = None, None, self.position
        events.append(StepClosed(step))


def _partial_token(text: str) -> int:
    """Length of the longest end of `text` that may yet become a token."""
    at = text.find("<", max(0, len(text) - _LONGEST + 1))
    while at != -1:
        tail = text[at:]
        if any(token.startswith(tail) for token in t.TOKENS):
            return len(tail)
        at = text.find("<", at + 1)
    return 0


def new() -> SteinerParser:
    return SteinerParser()
