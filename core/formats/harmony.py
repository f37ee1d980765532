"""gpt-oss harmony: messages with a header each, `<|start|>assistant<|channel|>analysis<|message|>…<|end|>`.

Every message but those in the channel "final" is reasoning: analysis, commentary, calls of tools and what they returned. A message is a
step boundary; inside it the text is cut like any other. "final" is the answer, ended by `<|return|>`. The first header may have lost its
beginning to the prompt (`analysis<|message|>…`); text where a header should be is reasoning. Source: the format guide of `openai/harmony`.
"""

from __future__ import annotations

import re
from typing import Literal

from core.formats.events import ParserEvent
from core.formats.tagged import Envelope, TaggedParser, begins_with

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, RETURN, CALL = "<|end|>", "<|return|>", "<|call|>"
CHANNELS = ("analysis", "commentary", "final")
LONGEST_HEADER = 200  # a role, a recipient, a channel and a content type; more than this is text
_CHANNEL = re.compile(r"(?:<\|channel\|>|^)\s*(\w+)")
# END and RETURN are end-of-turn tokens of every family.
ENVELOPE = Envelope("harmony", (START, CHANNEL, CONSTRAIN), (MESSAGE, CALL))


def begins(text: str) -> bool | None:
    """A header, whole or without what the prompt already said."""
    return begins_with(text, (START, CHANNEL, MESSAGE, "assistant" + CHANNEL, *(c + MESSAGE for c in CHANNELS)))


class HarmonyParser(TaggedParser):
    """Feed text, get events."""

    def __init__(self) -> None:
        super().__init__(ENVELOPE)
        self._at: Literal["header", "between", "message"] = "header"
        self._header = ""
        self._analysing = True  # the channel of the last header was not "final"

    def _token_or_end(self, token: str, events: list[ParserEvent]) -> None:
        if token in (START, CHANNEL, CONSTRAIN, MESSAGE, END, RETURN, CALL):
            lead, self._end = "".join(self._end), []
            self._token(token, lead, events)
        else:
            super()._token_or_end(token, events)

    def _token(self, token: str, lead: str, events: list[ParserEvent]) -> None:
        if token == MESSAGE:
            if self._at == "header" and self._header:
                found = _CHANNEL.findall(self._header)
                self._analysing = not found or found[-1] != "final"
            # Without a header, a message goes on in the channel of the one before.
            self._hide(self._header + lead + token, events)
            self._begin_message(events)
            return
        if self._at == "header" and not self._is_header():
            self._header_was_text(events)
        if token in (END, RETURN, CALL):
            self._hide(self._header + lead + token, events)
            self._header, self._at = "", "between"
        else:
            if self._at != "header":
                self._hide(lead, events)
                lead = ""
            self._header, self._at = self._header + lead + token, "header"

    def _text(self, text: str, events: list[ParserEvent]) -> None:
        if self._at == "between":
            body = text.lstrip()
            self._hide(text[: len(text) - len(body)], events)
            if not body:
                return
            text = body
            self._begin_message(events)
        if self._at == "header":
            self._header += text
            if len(self._header) > LONGEST_HEADER:
                self._header_was_text(events)
        else:
            super()._text(text, events)

    def _stream_ends(self, events: list[ParserEvent]) -> None:
        if self._at == "header":
            if not self._is_header():
                self._header_was_text(events)
            elif self._header:
                self._hide(self._header, events)

    def _is_header(self) -> bool:
        """Whether what was gathered is a header so far: tokens, or the role that followed the prompt's `<|start|>`."""
        begun = self._header.strip()
        return not begun or begun.startswith("<|") or begun == "assistant"

    def _header_was_text(self, events: list[ParserEvent]) -> None:
        text = self._header
        self._begin_message(events)
        super()._text(text, events)

    def _hide(self, text: str, events: list[ParserEvent]) -> None:
        if self._region == "reasoning":
            self._leave(text, events)

    def _begin_message(self, events: list[ParserEvent]) -> None:
        self._header, self._at = "", "message"
        if self._region == "reasoning":
            if self._analysing:
                self._resume()
            else:
                self._begin_answer(events)


def new() -> HarmonyParser:
    return HarmonyParser()
