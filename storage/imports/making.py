"""What the families share: a trace from a prompt and a response, or from a list of steps; and what a value may be.

A family reads a row and calls `cut` (the response is cut by its format) or `pieces` (the steps are given and stay
exactly as they are). Knows no file, no line and no database: whoever calls a family says where the row came from.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from core.formats import parse_response
from core.formats.naming import name_of
from core.tasks import solved
from core.trace import FINISH_REASONS, Placed, Step, Trace, problem_id_of
from core.tree import build

Row = Mapping[str, Any]

STEP_GAP = "\n\n"  # between steps that come as a list; it belongs to the step that it ends
MOST_NESTED = 20  # levels kept of a row's extra fields: deeper ones cannot be copied or sent without a stack overflow
# What servers call the end of a response, in our words; one that is not listed counts as a normal end.
FINISHES = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "eos": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length",
}  # fmt: skip


class Unusable(ValueError):
    """A row that cannot be a trace; the message names field and mend, the caller adds file and line."""


def cut(
    prompt: str,
    response: str,
    *,
    model: str = "",
    answer: str = "",
    finish_reason: str = "stop",
    stats: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
) -> Trace:
    """A trace whose response is cut into steps by the format that it begins with. Raises Unusable."""
    check_prompt(prompt)
    steps, nodes, found, form = parse_response(prompt, response, finish_reason)
    return Trace(
        trace_id=id_of(prompt, response, model), problem_id=problem_id_of(prompt), prompt=prompt, response=response,
        steps=tuple(steps), nodes=tuple(nodes), answer=answer or found, finish_reason=finish_reason, model=model,
        format=form, sampling=sampling or {}, stats=stats or {}, solved=solved(prompt, steps),
    )  # fmt: skip


def pieces(
    prompt: str,
    texts: Sequence[str],
    *,
    straight: bool,
    model: str = "",
    answer: str = "",
    finish_reason: str = "stop",
    stats: dict[str, Any] | None = None,
    gap: str | None = None,
    tail: str = "",
) -> Trace:
    """A trace with exactly these steps; the response is their texts with an empty line between. Raises Unusable.

    straight: each step follows from the one before (the data say so); otherwise the tree is inferred from the texts.
    gap: what stands between the steps instead of an empty line; rows that Worldline exported say so, and then the text is as
    it was: where its format cuts it into the same steps, they get its names and tree. tail: what follows the last step.
    """
    check_prompt(prompt)
    between = STEP_GAP if gap is None else gap
    response = between.join(texts) + tail
    if not texts or not response.strip():
        raise Unusable("the list of steps is empty; write the text of each step.")
    if gap is not None:
        whole = cut(prompt, response, model=model, answer=answer, finish_reason=finish_reason, stats=stats)
        ends, end = [], 0
        for i, text in enumerate(texts):
            end += len(text) + (len(between) if i + 1 < len(texts) else 0)
            ends.append(end)
        if [s.end for s in whole.steps] == ends:
            return whole
    steps, start = list[Step](), 0
    for i, text in enumerate(texts):
        last = i + 1 == len(texts)
        end = start + len(text) + (0 if last else len(between))
        name = name_of(text) or f"Step {i + 1}"
        steps.append(Step(i, start, end, name, text, "", "", "finish" if last else "proceed"))
        start = end
    nodes = [Placed(i - 1 if i else None) for i in range(len(steps))] if straight else build(prompt, steps, "plain")
    return Trace(
        trace_id=id_of(prompt, response, model), problem_id=problem_id_of(prompt), prompt=prompt, response=response,
        steps=tuple(steps), nodes=tuple(nodes), answer=answer, finish_reason=finish_reason, model=model,
        format="plain", stats=stats or {}, solved=solved(prompt, steps),
    )  # fmt: skip


def id_of(prompt: str, response: str, model: str) -> str:
    """An id made from the text, so that reading the same row again gives the same trace."""
    return "i" + hashlib.sha256(json.dumps([prompt, response, model]).encode()).hexdigest()[:25]


def check_prompt(prompt: str) -> None:
    """Raises Unusable."""
    if not prompt.strip():
        raise Unusable('"prompt" is empty; write the question that was asked.')


# ---- values of a row


def kind(value: Any) -> str:
    """What a value is, in words of a sentence."""
    names = {
        list: "a list", dict: "an object", str: "a string", bool: "true or false", int: "a number", float: "a number",
    }  # fmt: skip
    return "null" if value is None else names.get(type(value), type(value).__name__)


def texts_of(row: Row, key: str) -> list[str]:
    """A list of strings. Raises Unusable naming the entry."""
    value = row.get(key)
    if not isinstance(value, list):
        raise Unusable(f'"{key}" is {kind(value)}; write it as a list of strings.')
    for i, text in enumerate(value):
        if not isinstance(text, str):
            raise Unusable(f'"{key}[{i}]" is {kind(text)}; write it as a string.')
    return value


def strings(value: Any) -> bool:
    """Whether it is a list of strings that holds at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def short(row: Row, *keys: str) -> str:
    """The first of these fields that is a text or a number, as text; empty when there is none."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, float) and math.isfinite(value):
            return f"{value:g}"
        if isinstance(value, int) and not isinstance(value, bool):
            return _digits(value)
    return ""


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python turns into text
        return ""


def finish(value: Any) -> str:
    """A server's finish reason in our words."""
    if not isinstance(value, str):
        return "stop"
    return value if value in FINISH_REASONS else FINISHES.get(value, "stop")


def kept(row: Row, *keys: str) -> dict[str, Any]:
    """Those of these fields that are there and are plain JSON, for `stats`."""
    return {key: row[key] for key in keys if row.get(key) is not None and plain_json(row[key])}


def plain_json(value: Any, depth: int = MOST_NESTED) -> bool:
    """Whether a value can be stored and sent again: JSON without NaN, without half characters, not too deep."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    if depth <= 0:
        return False
    if isinstance(value, list):
        return all(plain_json(v, depth - 1) for v in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and plain_json(k) and plain_json(v, depth - 1) for k, v in value.items())
    return False
