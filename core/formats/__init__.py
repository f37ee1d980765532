"""From text to steps: one streaming parser a family, one file each, chosen by the first characters."""

from __future__ import annotations

from core.formats import plain, steiner
from core.formats import steiner_tokens as t
from core.formats.events import StreamParser
from core.trace import Placed, Step
from core.tree import build


def choose(beginning: str, *, ended: bool = False) -> StreamParser | None:
    """The parser for a response that begins so; None while its first characters could still become either.

    Steiner's format begins with its first token (or, where that stands in the prompt, with a step); all else is plain.
    """
    text = beginning.lstrip()
    starts = (t.REASONING_START, t.STEP_START)
    if text.startswith(starts):
        return steiner.SteinerParser()
    if not ended and any(start.startswith(text) for start in starts):
        return None
    return plain.PlainParser()


def parse_response(
    prompt: str, response: str, finish_reason: str = "stop"
) -> tuple[list[Step], list[Placed], str, str]:
    """Cut a finished response into steps and place them: (steps, nodes, answer, format)."""
    parser = choose(response, ended=True)
    assert parser is not None
    parser.feed(response)
    parser.close()
    return parser.steps, build(prompt, parser.steps), parser.answer, parser.name
