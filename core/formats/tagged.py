"""Families of reasoning formats that differ only in their delimiters: reasoning, then an answer.

Inside, the text is free-form and cut by `segment.py`. A delimiter is shown nowhere: it belongs to the step that it leads
into, or to the answer. Rules for what models really print:

* The opening delimiter may be missing (many chat templates put it into the prompt). One that stands at the beginning of a line
  begins a step; one within a line is something the model wrote about.
* The first closing delimiter ends the reasoning wherever it stands, even in a code block, as servers' own parsers have it.
  White space and another opening after it resume the reasoning (interleaved thinking).
  Once the answer has begun, it is never taken back: later delimiters are text of the answer.
* No closing delimiter: all is reasoning, and the last step is incomplete.

It never raises and loses nothing: steps are contiguous from 0, and the answer's region follows the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from core.formats.events import AnswerText, ParserEvent
from core.formats.segment import Segmenter

# Tokens that end a turn, in the chat formats in use. They are hidden only where nothing but others of them follow:
# elsewhere the model wrote about them ("</s>" also strikes text out).
END_OF_TURN = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<|return|>",
               "<｜end▁of▁sentence｜>", "</s>", "<turn|>", "<end_of_turn>")  # fmt: skip


@dataclass(frozen=True)
class Envelope:
    """The delimiters of one family. `closes` end the reasoning; any of a kind will do, they need not match."""

    name: str
    opens: tuple[str, ...]
    closes: tuple[str, ...]
    ends: tuple[str, ...] = ()  # end the answer, beside END_OF_TURN

    @property
    def tokens(self) -> tuple[str, ...]:
        return (*self.opens, *self.closes, *self.ends, *END_OF_TURN)


def begins_with(text: str, starts: tuple[str, ...]) -> bool | None:
    """Whether a response that begins with `text` begins with one of `starts`; None while it cannot be told."""
    text = text.lstrip()
    if text.startswith(starts):
        return True
    return None if any(start.startswith(text) for start in starts) else False


class TaggedParser:
    """Feed text, get events. `late` are families that may turn out to be the one: the first delimiter seen decides."""

    def __init__(self, *envelopes: Envelope, name: str | None = None) -> None:
        self.name = name or envelopes[0].name
        self.answer_start: int | None = None
        self._envelopes = envelopes
        self._tagged = name is None  # an untagged text that stops is not known to be cut
        self._scan = _scanner(envelopes_tokens(envelopes))
        self._segmenter = Segmenter()
        self.steps = self._segmenter.steps
        self._region: Literal["reasoning", "after", "answer"] = "reasoning"
        self._held = ""  # may become a token
        self._end: list[str] = []  # end tokens and white space, text after all if more text follows
        self._hidden = 0  # characters between the last step and what follows
        self._answer: list[str] = []
        self._closed = False

    @property
    def answer(self) -> str:
        """The text after the end of reasoning, without delimiters and surrounding white space."""
        return "".join(self._answer).strip()

    def feed(self, text: str) -> list[ParserEvent]:
        """Consume a piece of the response, however it was cut."""
        events: list[ParserEvent] = []
        buffer, at = self._held + text, 0
        while found := self._scan.pattern.search(buffer, at):
            self._text_or_end(buffer[at : found.start()], events)
            self._token_or_end(found.group(), events)
            at = found.end()
        rest = buffer[at:]
        keep = self._scan.partial(rest)
        self._text_or_end(rest[: len(rest) - keep], events)
        self._held = rest[len(rest) - keep :]
        return events

    def close(self) -> list[ParserEvent]:
        """The stream has ended: what was held back is text, an open step is closed."""
        events: list[ParserEvent] = []
        if self._closed:
            return events
        self._closed = True
        held, self._held = self._held, ""
        self._text_or_end(held, events)
        self._stream_ends(events)
        if self._region == "reasoning":
            ended = bool(self._end)  # the model itself ended its turn
            self._segmenter.end(events, complete=ended or not self._tagged)
            self._segmenter.skip(self._hidden + sum(map(len, self._end)))
            self._segmenter.stretch()
            if not self.steps:
                self.answer_start = 0  # nothing but delimiters and white space: the region of an empty answer
        elif self._region == "after":
            self._begin_answer(events)
        return events

    def cut(self) -> list[ParserEvent]:
        """An open step ends here, whatever the rules say; an answer goes on."""
        events: list[ParserEvent] = []
        held, self._held = self._held, ""
        self._text_or_end(held, events)
        if self._region == "reasoning":
            self._segmenter.end(events)
        return events

    # ------------------------------------------------------------------------- for families with a grammar of their own
    def _text(self, text: str, events: list[ParserEvent]) -> None:
        """Text between two delimiters, or a piece of it."""
        if self._region == "after":
            body = text.lstrip()
            self._hidden += len(text) - len(body)
            if not body:
                return
            text = body
            self._begin_answer(events)
        if self._region == "answer":
            self._answer.append(text)
            events.append(AnswerText(text))
        else:
            self._segmenter.feed(text, events)

    def _token(self, token: str, lead: str, events: list[ParserEvent]) -> None:
        """A delimiter; `lead` are end-of-turn tokens and white space just before it."""
        envelope = self._family(token)
        if self._region == "answer":
            self._text(lead + token, events)
        elif token in envelope.closes or self._region == "after":
            self._leave(lead + token, events)
            self._region = "after" if token in envelope.closes else "reasoning"
            if self._region == "reasoning":
                self._resume()
            self._settle(envelope)
        elif self._segmenter.at_line_start:
            self._leave(lead + token, events)
            self._resume()
            self._settle(envelope)
        else:
            self._text(lead + token, events)

    def _stream_ends(self, events: list[ParserEvent]) -> None:
        """Anything a family still holds."""

    def _leave(self, hidden: str, events: list[ParserEvent]) -> None:
        """A step ends here, if one is open; `hidden` leads into what follows."""
        if self._region == "reasoning":
            self._segmenter.end(events)
        self._hidden += len(hidden)

    def _resume(self) -> None:
        """More reasoning follows what was hidden."""
        self._segmenter.skip(self._hidden)
        self._hidden = 0

    def _begin_answer(self, events: list[ParserEvent]) -> None:
        self._segmenter.finish(events)
        self.answer_start = self._segmenter.start
        self._region = "answer"

    # ---------------------------------------------------------------------------------------------------------- tokens
    def _family(self, token: str) -> Envelope:
        return next(e for e in self._envelopes if token in e.tokens)

    def _settle(self, envelope: Envelope) -> None:
        """A delimiter of this family was seen: from now on it is the only one."""
        self._tagged = True
        if len(self._envelopes) > 1:
            self._envelopes = (envelope,)
            self.name = envelope.name
            self._scan = _scanner(envelopes_tokens(self._envelopes))

    def _token_or_end(self, token: str, events: list[ParserEvent]) -> None:
        if token in END_OF_TURN or any(token in e.ends for e in self._envelopes):
            self._end.append(token)
            return
        lead, self._end = "".join(self._end), []
        self._token(token, lead, events)

    def _text_or_end(self, text: str, events: list[ParserEvent]) -> None:
        if self._end:
            if not text.strip():
                self._end.append(text)
                return
            text = "".join(self._end) + text
            self._end = []
        if text:
            self._text(text, events)


def envelopes_tokens(envelopes: tuple[Envelope, ...]) -> tuple[str, ...]:
    """All delimiters of some families."""
    return tuple(dict.fromkeys(token for envelope in envelopes for token in envelope.tokens))


class _Scanner:
    """Finds any of some tokens, and how much of the end of a text may yet become one."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self.pattern = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))
        self._beginnings = {token[:n] for token in tokens for n in range(1, len(token))}
        self._longest = max(map(len, tokens))

    def partial(self, text: str) -> int:
        """Length of the longest end of `text` that may yet become a token."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if text[-length:] in self._beginnings:
                return length
        return 0


@cache
def _scanner(tokens: tuple[str, ...]) -> _Scanner:
    return _Scanner(tokens)
