"""`<think>…</think>`, then the answer: DeepSeek-R1 and its distillations, QwQ, Qwen3, early Magistral, Kimi (`◁think▷`).

The opening tag is often the end of the prompt; such a response begins like plain text, and `plain.py` finds the closing tag.
"""

from __future__ import annotations

from core.formats.tagged import Envelope, TaggedParser, begins_with

ENVELOPE = Envelope("think", ("<think>", "<thinking>", "◁think▷"), ("</think>", "</thinking>", "◁/think▷"))


def begins(text: str) -> bool | None:
    """An opening tag, or a closing one at once: nothing was thought."""
    return begins_with(text, (*ENVELOPE.opens, *ENVELOPE.closes))


def new() -> TaggedParser:
    return TaggedParser(ENVELOPE)
