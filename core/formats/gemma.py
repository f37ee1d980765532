"""Gemma 4: `<|channel>thought` … `<channel|>`, then the answer.

These are special tokens, which servers strip unless told otherwise; a stripped response is plain text.
"""

from __future__ import annotations

from core.formats.tagged import Envelope, TaggedParser, begins_with

ENVELOPE = Envelope("gemma", ("<|channel>thought",), ("<channel|>",))


def begins(text: str) -> bool | None:
    return begins_with(text, (*ENVELOPE.opens, *ENVELOPE.closes))


def new() -> TaggedParser:
    return TaggedParser(ENVELOPE)
