"""From text to steps: one streaming parser a family, one file each, chosen by the first characters.

A new family is a new file with `begins` (is it this one?) and `new` (its parser), and one line in `FORMATS`. See docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from core.formats import gemma, harmony, magistral, plain, s1, sky_t1, steiner, stream_of_search, think
from core.formats.events import StreamParser
from core.trace import Placed, Step
from core.tree import build


class Family(NamedTuple):
    """`begins` says of a response's beginning: True it is this family, False it is not, None it cannot be told yet."""

    begins: Callable[[str], bool | None]
    new: Callable[[], StreamParser]


# In the order in which they are asked; plain takes what nobody else does.
FORMATS: dict[str, Family] = {
    "steiner": Family(steiner.begins, steiner.new),
    "stream-of-search": Family(stream_of_search.begins, stream_of_search.new),
    "think": Family(think.begins, think.new),
    "s1": Family(s1.begins, s1.new),
    "sky-t1": Family(sky_t1.begins, sky_t1.new),
    "harmony": Family(harmony.begins, harmony.new),
    "magistral": Family(magistral.begins, magistral.new),
    "gemma": Family(gemma.begins, gemma.new),
    "plain": Family(plain.begins, plain.new),
}


def choose(beginning: str, ended: bool = False, name: str | None = None, opened: bool = False) -> StreamParser | None:
    """The parser for a response that begins so, None while its first characters do not tell; `name` overrides,
    so that "plain" by name is plain whatever tags come. `opened`: the prompt has opened a `<think>`, so that a
    response without any tag is a thought under way.

    Raises ValueError for a name that is not in `FORMATS`.
    """
    if name is not None:
        return plain.only() if name == "plain" else FORMATS[known(name)].new()
    for family in FORMATS.values():
        verdict = family.begins(beginning)
        if verdict:
            return think.new() if opened and family.begins is plain.begins else family.new()
        if verdict is None and not ended:
            return None
    raise AssertionError("plain takes everything")


def known(name: str) -> str:
    """The name of a format, as given. Raises ValueError with the list of those that there are."""
    if name not in FORMATS:
        raise ValueError(f'there is no format "{name}"; choose one of {", ".join(FORMATS)}')
    return name


def parse_response(
    prompt: str, response: str, finish_reason: str = "stop", format: str | None = None
) -> tuple[list[Step], list[Placed], str, str]:
    """Cut a finished response into steps and place them: (steps, nodes, answer, format)."""
    parser = choose(response, ended=True, name=format)
    assert parser is not None
    parser.feed(response)
    parser.close()
    return parser.steps, build(prompt, parser.steps, parser.name), parser.answer, parser.name
