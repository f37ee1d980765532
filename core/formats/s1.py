"""s1: `<|im_start|>think` … `<|im_start|>answer` …, ChatML roles as delimiters (Muennighoff et al. 2025, arXiv 2501.19393)."""

from __future__ import annotations

from core.formats.tagged import Envelope, TaggedParser, begins_with

ENVELOPE = Envelope("s1", ("<|im_start|>think",), ("<|im_start|>answer",))


def begins(text: str) -> bool | None:
    """One of the two roles; any other role after `<|im_start|>` is not s1."""
    return begins_with(text, (*ENVELOPE.opens, *ENVELOPE.closes))


def new() -> TaggedParser:
    return TaggedParser(ENVELOPE)
