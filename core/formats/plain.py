"""Text without any tag at its beginning: everything is reasoning, until a family's closing delimiter says otherwise.

QwQ-32B-Preview and plain chain of thought have no delimiters at all. A "**Final Answer**" at the end, or a last paragraph with
`\\boxed{…}`, stays a step: nothing in the text says that the reasoning has ended there (models go on checking after a box), and
a stream cannot take a step back. Where the opening tag was in the prompt, the closing one comes late: then the response is read
as that family, and takes its name.
"""

from __future__ import annotations

from core.formats import gemma, magistral, s1, sky_t1, think
from core.formats.tagged import Envelope, TaggedParser

LATE = (think.ENVELOPE, sky_t1.ENVELOPE, s1.ENVELOPE, magistral.ENVELOPE, gemma.ENVELOPE)


class PlainParser(TaggedParser):
    """Named "plain" as long as no delimiter was seen."""

    def __init__(self) -> None:
        super().__init__(*LATE, name="plain")


def begins(text: str) -> bool | None:
    """Always: ask the others first."""
    return True


def new() -> PlainParser:
    return PlainParser()


def only() -> TaggedParser:
    """For whoever asks for it by name: no delimiter of any family counts, all is reasoning."""
    return TaggedParser(Envelope("plain", (), ()), name="plain")
