"""Traces of a JSONL file, unrated: as `ask --json` prints them, as `synthesize` writes them, or a prompt and a response alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from core.run import TraceReader
from core.trace import Problem, Trace
from training.labels.label_set import split_of
from training.rows import JudgedTrace, RowsError


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file. Raises RowsError naming file and line."""
    return (row for _, row in placed_rows(path))


def placed_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a JSONL file, each with its place, `file.jsonl:17`. Raises RowsError naming file and line."""
    if not path.is_file():
        raise RowsError(f"{path} is not a file")
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", _object(f"{path}:{number}", line)
        except UnicodeDecodeError as error:
            raise RowsError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _object(at: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RowsError(f"{at}: not JSON ({error}); each line must be one object") from None
    if not isinstance(row, dict):
        raise RowsError(f"{at}: a {type(row).__name__}; each line must be one object")
    return row


def read(path: Path) -> Iterator[tuple[Trace, str | None]]:
    """Traces with their reference answers. Raises RowsError naming file and line."""
    for at, row in placed_rows(path):
        try:
            trace = Trace.from_json(row)
        except ValueError as error:
            raise RowsError(f"{at}: {error}") from None
        reference = row.get("reference")
        yield trace if trace.steps else _cut(trace, row), None if reference is None else str(reference)


def _cut(trace: Trace, row: dict[str, Any]) -> Trace:
    """A question and a response alone, cut into steps here."""
    reader = TraceReader(Problem.ask(trace.prompt), trace.model, trace.trace_id, row.get("format"))
    reader.feed(trace.response)
    reader.close()
    cut = reader.trace(trace.finish_reason, sampling={}, stats={})
    return replace(cut, problem_id=trace.problem_id, solved=trace.solved if cut.solved is None else cut.solved)


def unjudged(path: Path, most: int | None = None) -> list[JudgedTrace]:
    """The first `most` traces, or all, as training reads them: nobody judged them, and a tenth of the questions is held out
    by the same hash as in a snapshot. Raises RowsError."""
    return [
        JudgedTrace(
            trace.trace_id, trace.problem_id, trace.prompt, trace.response, trace.finish_reason, trace.format, trace.solved,
            split_of(trace.problem_id), tuple(trace.step_text(i) for i in range(len(trace.steps))),
            tuple(placed.parent for placed in trace.nodes), (), trace.earlier,
        )
        for trace, _ in islice(read(path), most)
    ]  # fmt: skip
