"""Traces from files that others wrote: one file a family of rows, one line each in `FAMILIES`.

`reading.py` gives rows with their place, a family makes traces of a row, `report.py` drops what is known already and
counts. A new family is a new file with `fits` and `to_traces`, and one line here. Errors name file, line, field and
mend. Knows no database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from core.formats import parse_response
from core.tasks import solved
from core.trace import Trace
from storage.errors import ImportProblem, StoreError
from storage.imports import messages, prm800k, prompt_response, trl, whole
from storage.imports.making import Row, kind
from storage.imports.reading import rows
from storage.traces import check_storable

__all__ = ["FAMILIES", "ImportProblem", "known_family", "read", "read_as", "read_jsonl", "trace_from_row"]


class Family(NamedTuple):
    """`fits` tells whether a row is of this family and never raises; `to_traces` raises Unusable."""

    fits: Callable[[Row], bool]
    to_traces: Callable[[Row], list[Trace]]


# In the order in which they are asked: from the most particular fields to names that anybody might use.
FAMILIES: dict[str, Family] = {
    "worldline": Family(whole.fits, whole.to_traces),
    "prm800k": Family(prm800k.fits, prm800k.to_traces),
    "trl": Family(trl.fits, trl.to_traces),
    "messages": Family(messages.fits, messages.to_traces),
    "prompt-response": Family(prompt_response.fits, prompt_response.to_traces),
}
MOST_FIELDS_NAMED = 8  # in the sentence about a row that no family knows


def known_family(name: str) -> str:
    """The name of a family, as given. Raises ValueError with the list of those that there are."""
    if name not in FAMILIES:
        raise ValueError(f'there is no family of rows "{name}"; choose one of {", ".join(FAMILIES)}')
    return name


def read(row: Any, where: str, family: str | None = None) -> tuple[str, list[Trace]]:
    """(family, traces) of one row. `where` begins the message of the ImportProblem that a bad row raises."""
    if not isinstance(row, Mapping):
        raise ImportProblem(f'{where}: the row is {kind(row)}; write an object with "prompt" and "response".')
    name = known_family(family) if family else _family_of(row)
    try:
        traces = FAMILIES[name].to_traces(row)
        for trace in traces:
            check_storable(trace)
    except (ValueError, StoreError) as error:
        raise ImportProblem(f"{where}: {error}") from None
    return name, traces


def _family_of(row: Row) -> str:
    name = next((name for name, family in FAMILIES.items() if family.fits(row)), None)
    if name is not None:
        return name
    # None fits: the sentence should speak of the fields that are nearly right.
    return "worldline" if "prompt" in row and "response" in row else "prompt-response"


def read_as(trace: Trace, format: str) -> Trace:
    """The trace with its response cut anew as this format, whatever steps came with it."""
    steps, nodes, answer, form = parse_response(trace.prompt, trace.response, trace.finish_reason, format)
    return replace(
        trace, steps=tuple(steps), nodes=tuple(nodes), answer=answer or trace.answer, format=form,
        solved=solved(trace.prompt, steps) if trace.solved is None else trace.solved,
    )  # fmt: skip


def trace_from_row(row: Any, where: str) -> Trace:
    """The (first) trace of one JSON row. Raises ImportProblem."""
    return read(row, where)[1][0]


def read_jsonl(path: Path, *, errors: list[ImportProblem] | None = None) -> Iterator[Trace]:
    """The traces of a file, one row at a time.

    With a list for `errors`, a broken row is appended there and the others are still yielded; without one, the first
    raises its ImportProblem. A file that cannot be opened always raises. Rows without `trace_id` get an id made from
    their text, so that importing a file twice changes nothing.
    """
    for found in rows(path):
        try:
            if found.problem is not None:
                raise found.problem
            yield from read(found.row, found.where)[1]
        except ImportProblem as problem:
            if errors is None:
                raise
            errors.append(problem)
