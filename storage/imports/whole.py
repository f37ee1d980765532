"""Worldline's own JSON: whole traces, as `ask --json`, the API and exports write them. Taken as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.formats import parse_response
from core.tasks import solved
from core.trace import FINISH_REASONS, Trace
from storage.events import parse_utc
from storage.imports.making import Row, Unusable, check_prompt, id_of, kind, plain_json

# Keys that only a canonical step has: steps without them (as `worldline tree` prints) are cut again from the response.
_CANONICAL_STEP = ("start", "end", "thought", "summary", "reflection")


def fits(row: Row) -> bool:
    """`prompt`, `response` and steps with offsets and texts."""
    return "prompt" in row and "response" in row and _is_canonical(row.get("steps"))


def to_traces(row: Row) -> list[Trace]:
    """Also reads a row without steps, or with steps that name only offsets: its response is cut into steps then."""
    for key in ("prompt", "response"):
        if key not in row:
            raise Unusable(f'"{key}" is missing; add it as a string.')
        if not isinstance(row[key], str):
            raise Unusable(f'"{key}" is {kind(row[key])}; write it as a string.')
    check_prompt(row["prompt"])
    trace = Trace.from_json(_prepared(row))
    if not _is_canonical(row.get("steps")):
        steps, nodes, answer, form = parse_response(trace.prompt, trace.response, trace.finish_reason)
        return [replace(
            trace, steps=tuple(steps), nodes=tuple(nodes), answer=trace.answer or answer, format=form,
            solved=solved(trace.prompt, steps) if trace.solved is None else trace.solved,
        )]  # fmt: skip
    check_contiguous(trace)
    return [trace]


def check_contiguous(trace: Trace) -> None:
    """Steps must follow each other without a hole, from the first character on. Raises Unusable."""
    expected = 0
    for step in trace.steps:
        if step.start != expected:
            raise Unusable(
                f'"steps[{step.index}].start" is {step.start}, but the step before ends at {expected}; '
                'make them contiguous, or leave "steps" out and the response is cut again.'
            )
        expected = step.end


def _prepared(row: Row) -> dict[str, Any]:
    """What is missing filled in, so that reading the same row again gives the same trace id."""
    made = dict(row)
    reason = row.get("finish_reason")
    if reason is not None and reason not in FINISH_REASONS:
        raise Unusable(f'"finish_reason" is {reason!r}; it must be one of {", ".join(FINISH_REASONS)}.')
    made["finish_reason"] = reason or "stop"
    if not row.get("trace_id"):
        model = row.get("model")
        made["trace_id"] = id_of(row["prompt"], row["response"], model if isinstance(model, str) else "")
    if row.get("created_at"):
        try:
            parse_utc(row["created_at"])
        except (ValueError, TypeError, OverflowError):
            raise Unusable(
                f'"created_at" is {row["created_at"]!r}; write a time in ISO 8601, such as 2026-11-20T12:00:00Z.'
            ) from None
    for key in ("sampling", "stats"):
        if row.get(key) and not plain_json(row[key]):
            raise Unusable(f'"{key}" holds what is not plain JSON (NaN, half a character, or nested too deeply).')
    if not _is_canonical(row.get("steps")):
        made["steps"] = []
    return made


def _is_canonical(steps: Any) -> bool:
    return (
        isinstance(steps, list)
        and bool(steps)
        and all(isinstance(s, Mapping) and all(k in s for k in _CANONICAL_STEP) for s in steps)
    )
