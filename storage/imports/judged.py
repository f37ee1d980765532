"""What a file says that people said: ratings of a trace or a comparison of two, by somebody who has a name.

A family makes these of a row, beside its traces; `keeping.py` turns them into events. A judgement is an event in all but its
assignment, so its values are those of `storage/events.py`. Knows no file and no database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.trace import Trace
from storage import rater_names
from storage.events import UNSURE

PREFIX = "import:"  # before the name of everybody who rated elsewhere: a name in a file is no account here
MOST_NAME_CHARS = 120
WORDS = {"good": 1, "neutral": 0, "bad": -1, UNSURE: None}


@dataclass(frozen=True)
class Judgement:
    """One judgement, in the words of `storage/events.py`."""

    target: str
    dimension: str
    step: int | None = None
    value: float | None = None
    text: str | None = None


@dataclass(frozen=True)
class Rated:
    """What one person said of a trace, or (with `other`) of two: the judgements then see `trace` as the left one.

    rater: as the file names them, empty where it names nobody. exit: a reason of SKIP_REASONS instead of a submission.
    at: ISO 8601 or empty. gold: null, gold or screening.
    """

    trace: Trace
    judgements: tuple[Judgement, ...]
    rater: str = ""
    other: Trace | None = None
    at: str = ""
    spent_ms: int | None = None
    exit: str = ""
    gold: str | None = None


def rater_name(named: str, otherwise: str) -> str:
    """The rater under which imported judgements are kept: never nobody, and never one of this workbench's own."""
    name = "".join(c for c in (named.strip() or otherwise.strip() or "somebody") if c.isprintable())
    return PREFIX + (name.removeprefix(PREFIX).strip()[:MOST_NAME_CHARS].strip() or "somebody")


def step(index: int, value: int | None, dimension: str = "correctness") -> Judgement:
    """A rating of a step; None is unsure."""
    return Judgement(
        "step", dimension, index, None if value is None else float(value), UNSURE if value is None else None
    )


def step_text(index: int, dimension: str, text: str) -> Judgement:
    """A rationale, or a better step."""
    return Judgement("step", dimension, index, text=text)


def first_error(index: int) -> Judgement:
    """The mark of the first error."""
    return step(index, 1, "first_error")


def verdict(value: int | None) -> Judgement:
    """Of the whole trace; None is unsure."""
    return Judgement(
        "trace", "verdict", None, None if value is None else float(value), UNSURE if value is None else None
    )


def note(text: str) -> Judgement:
    """A remark on the whole trace."""
    return Judgement("trace", "note", text=text)


def texts(row: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that is text; empty when there is none."""
    return next((row[n] for n in names if isinstance(row.get(n), str) and row[n]), "")


def several(row: Mapping[str, Any], name: str) -> list[str]:
    """The raters that exports of rows made from several name with a + between; one without a name where there is none."""
    return rater_names.several(texts(row, name))


def labels(values: list[Any]) -> Iterator[tuple[int, int]]:
    """(step, 1, 0 or −1) of a list of labels. Without a −1 among them, 0 and false are bad (TRL); with one, 0 is neutral.

    Null, and what is between, is no rating: a probability is not what somebody said.
    """
    three = any(value == -1 for value in values if not isinstance(value, bool))
    for i, value in enumerate(values):
        if isinstance(value, bool):
            yield i, 1 if value else -1
        elif isinstance(value, int | float) and value in (-1, 0, 1):
            yield i, int(value) if three or value else -1
