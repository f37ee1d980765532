"""Traces from JSONL files, line by line.

A row is either a canonical trace (`Trace.to_json`, as the API, `ask --json` and exports write it) or just `prompt` and
`response`, which is then cut into steps here. Errors name file, line, field and mend. Knows no database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.formats import parse_response
from core.tasks import solved
from core.trace import FINISH_REASONS, Trace
from storage.errors import ImportProblem, StoreError
from storage.events import parse_utc
from storage.traces import check_storable

# Keys that only a canonical step has: steps without them (as `worldline tree` prints) are cut again from the response.
_CANONICAL_STEP = ("start", "end", "thought", "summary", "reflection")
MAX_LINE_BYTES = 64 * 1024 * 1024  # a line is one trace; beyond this it is not one, and must not fill the memory


def read_jsonl(path: Path, *, errors: list[ImportProblem] | None = None) -> Iterator[Trace]:
    """Yield the traces of a file, one line at a time.

    With a list for `errors`, a broken line is appended there and the others are still yielded. Without one, the first
    broken line raises
    its ImportProblem (what came before has been yielded). A file that cannot be opened always raises ImportProblem.
    Rows without `trace_id` get an id made from their text, so that importing a file twice changes nothing.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ImportProblem(f"{path}: there is no such file; check the path.") from None
    except OSError as error:
        raise ImportProblem(
            f"{path}: the file cannot be read: {error.strerror}; check the path and its permissions."
        ) from None
    with file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{path.name}:{number}"
            try:
                if len(line) > MAX_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE_BYTES)
                    raise ImportProblem(
                        f"{where}: the line is longer than {MAX_LINE_BYTES >> 20} MB; write one trace a line."
                    )
                text = _decode(line, where, first=number == 1)
                if text.strip():
                    yield trace_from_row(_parse(text, where), where)
            except ImportProblem as problem:
                if errors is None:
                    raise
                errors.append(problem)


def trace_from_row(row: Any, where: str) -> Trace:
    """A trace from one JSON row. `where` begins the message of the ImportProblem that a bad row raises."""
    if not isinstance(row, Mapping):
        raise ImportProblem(f'{where}: the row is {_kind(row)}; write an object with "prompt" and "response".')
    for key in ("prompt", "response"):
        if key not in row:
            raise ImportProblem(f'{where}: "{key}" is missing; add it as a string.')
        if not isinstance(row[key], str):
            raise ImportProblem(f'{where}: "{key}" is {_kind(row[key])}; write it as a string.')
    if not row["prompt"].strip():
        raise ImportProblem(f'{where}: "prompt" is empty; write the question that was asked.')
    try:
        trace = Trace.from_json(_prepared(dict(row), where))
        if not _is_canonical(row.get("steps")):
            steps, nodes, answer, form = parse_response(trace.prompt, trace.response, trace.finish_reason)
            trace = replace(
                trace, steps=tuple(steps), nodes=tuple(nodes), answer=trace.answer or answer, format=form,
                solved=solved(trace.prompt, steps) if trace.solved is None else trace.solved,
            )  # fmt: skip
        elif problem := _not_contiguous(trace):
            raise ImportProblem(f"{where}: {problem}")
        check_storable(trace)
    except ImportProblem:
        raise
    except (ValueError, StoreError) as error:
        raise ImportProblem(f"{where}: {error}") from None
    return trace


def _prepared(row: dict[str, Any], where: str) -> dict[str, Any]:
    """What is missing filled in, so that reading the same row again gives the same trace id."""
    reason = row.get("finish_reason")
    if reason is not None and reason not in FINISH_REASONS:
        raise ImportProblem(f'{where}: "finish_reason" is {reason!r}; it must be one of {", ".join(FINISH_REASONS)}.')
    row["finish_reason"] = reason or "stop"
    if not row.get("trace_id"):
        digest = hashlib.sha256(
            json.dumps([row["prompt"], row["response"], row.get("model") or ""]).encode()
        ).hexdigest()
        row["trace_id"] = "i" + digest[:25]
    if row.get("created_at"):
        try:
            parse_utc(row["created_at"])
        except (ValueError, TypeError, OverflowError):
            raise ImportProblem(
                f'{where}: "created_at" is {row["created_at"]!r}; write a time in ISO 8601, '
                "such as 2026-11-20T12:00:00Z."
            ) from None
    if not _is_canonical(row.get("steps")):
        row["steps"] = []
    return row


def _is_canonical(steps: Any) -> bool:
    return (
        isinstance(steps, list)
        and bool(steps)
        and all(isinstance(s, Mapping) and all(k in s for k in _CANONICAL_STEP) for s in steps)
    )


def _not_contiguous(trace: Trace) -> str:
    """Steps must follow each other without a hole, from the first character on; empty when they do."""
    expected = 0
    for step in trace.steps:
        if step.start != expected:
            return (
                f'"steps[{step.index}].start" is {step.start}, but the step before ends at {expected}; '
                'make them contiguous, or leave "steps" out and the response is cut again.'
            )
        expected = step.end
    return ""


def _decode(line: bytes, where: str, *, first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise ImportProblem(
            f"{where}: byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8."
        ) from None


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = " (the file looks like one JSON array: write one object a line)" if text.lstrip().startswith("[") else ""
        raise ImportProblem(
            f"{where}: the line is not JSON at character {error.pos + 1}: {error.msg}{hint}; mend or remove it."
        ) from None
    except (RecursionError, ValueError):
        raise ImportProblem(
            f"{where}: the line holds JSON that is nested too deeply or has a number too long; mend or remove it."
        ) from None


def _kind(value: Any) -> str:
    names = {
        list: "a list",
        dict: "an object",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
