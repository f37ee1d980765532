"""Magistral: `[THINK]…[/THINK]`, then the answer. Without the Mistral tokenizer these tokens are lost, and the text is plain."""

from __future__ import annotations

from core.formats.tagged import Envelope, TaggedParser, begins_with

ENVELOPE = Envelope("magistral", ("[THINK]",), ("[/THINK]",))


def begins(text: str) -> bool | None:
    return begins_with(text, (*ENVELOPE.opens, *ENVELOPE.closes))


def new() -> TaggedParser:
    return TaggedParser(ENVELOPE)
