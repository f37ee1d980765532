"""Sky-T1 and OpenThoughts: `<|begin_of_thought|>…<|end_of_thought|>`, `<|begin_of_solution|>…<|end_of_solution|>`, as plain text."""

from __future__ import annotations

from core.formats.tagged import Envelope, TaggedParser, begins_with

ENVELOPE = Envelope(
    "sky-t1",
    ("<|begin_of_thought|>",),
    (
        "<|end_of_thought|>",
        "<|begin_of_solution|>",
    ),  # a model that forgets to end its thought still begins its solution
    ("<|end_of_solution|>",),
)


def begins(text: str) -> bool | None:
    return begins_with(text, (*ENVELOPE.opens, *ENVELOPE.closes))


def new() -> TaggedParser:
    return TaggedParser(ENVELOPE)
