"""Traces from files that others wrote: one file a family of rows, one line each in `FAMILIES`.

`reading.py` gives rows with their place, a family makes traces of a row and says what people said of them, `report.py` drops
what is known already and counts, `keeping.py` turns what was said into events. A new family is a new file with `fits` and
`to_traces` (and `ratings`), and one line here. Errors name file, line, field and mend. Knows no database.
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
from storage.imports import (
    argilla,
    frozen,
    kto,
    label_studio,
    messages,
    prm800k,
    prompt_response,
    sft,
    step_pairs,
    stream_of_search,
    trl,
    whole,
)
from storage.imports.judged import Rated
from storage.imports.making import Row, kind
from storage.imports.reading import Found, rows
from storage.imports.references import reference_of
from storage.traces import check_storable

__all__ = ["FAMILIES", "ImportProblem", "gathered", "known_family", "read", "read_as", "read_jsonl", "trace_from_row"]


class Family(NamedTuple):
    """`fits` tells whether a row is of this family and never raises; `to_traces` raises Unusable, and so does `ratings`,
    which is given the row and its traces. `gather`: neighbouring rows with the same answer are one; both are then given
    `{"records": rows}` (one alone as it is).
    """

    fits: Callable[[Row], bool]
    to_traces: Callable[[Row], list[Trace]]
    ratings: Callable[[Row, list[Trace]], list[Rated]] | None = None
    gather: Callable[[Row], str] | None = None


class Records(NamedTuple):
    """Neighbouring rows that belong together."""

    rows: list[Row]


class Read(NamedTuple):
    """What a row (or several that belong together) came to. reference: the right answer that it brought along, or empty."""

    family: str
    traces: list[Trace]
    said: list[Rated]
    reference: str = ""


# In the order in which they are asked: from the most particular fields to names that anybody might use.
FAMILIES: dict[str, Family] = {
    "worldline": Family(whole.fits, whole.to_traces),
    "prm800k": Family(prm800k.fits, prm800k.to_traces, prm800k.ratings),
    "stream-of-search": Family(stream_of_search.fits, stream_of_search.to_traces),
    "label_studio": Family(label_studio.fits, label_studio.to_traces, label_studio.ratings),
    "argilla": Family(argilla.fits, argilla.to_traces, argilla.ratings, argilla.gather),
    "snapshot": Family(frozen.fits, frozen.to_traces, frozen.ratings),
    "step_pairs": Family(step_pairs.fits, step_pairs.to_traces, step_pairs.ratings),
    "sft": Family(sft.fits, sft.to_traces, sft.ratings),
    "kto": Family(kto.fits, kto.to_traces, kto.ratings),
    "trl": Family(trl.fits, trl.to_traces, trl.ratings),
    "messages": Family(messages.fits, messages.to_traces),
    "prompt-response": Family(prompt_response.fits, prompt_response.to_traces),
}
MOST_GATHERED = 20_000  # rows that can be one trace: far above the steps of any


def known_family(name: str) -> str:
    """The name of a family, as given. Raises ValueError with the list of those that there are."""
    if name not in FAMILIES:
        raise ValueError(f'there is no family of rows "{name}"; choose one of {", ".join(FAMILIES)}')
    return name


def gathered(found: Iterator[Found], family: str | None = None) -> Iterator[tuple[Found, int]]:
    """The rows with their number; neighbours that belong together are one row, under the place of the first."""
    together: list[Row] = []
    first = Found("")
    key = ""
    for one in found:
        mine = _key(one.row, family) if one.problem is None and isinstance(one.row, Mapping) else ""
        if together and (mine != key or len(together) >= MOST_GATHERED):
            yield first._replace(row=Records(together)), len(together)
            together = []
        if mine:
            first, key = (first, key) if together else (one, mine)
            together.append(one.row)
        else:
            yield one, 1
    if together:
        yield first._replace(row=Records(together)), len(together)


def _key(row: Row, family: str | None) -> str:
    name = family or next((name for name, known in FAMILIES.items() if known.fits(row)), "")
    gather = FAMILIES[name].gather if name else None
    return gather(row) if gather else ""


def read(row: Any, where: str, family: str | None = None) -> Read:
    """The traces of one row, and what people said of them. `where` begins the message of the ImportProblem that a bad row
    raises.
    """
    first = row.rows[0] if isinstance(row, Records) else row
    if not isinstance(first, Mapping):
        raise ImportProblem(f'{where}: the row is {kind(first)}; write an object with "prompt" and "response".')
    name = known_family(family) if family else _family_of(first)
    known = FAMILIES[name]
    row = {"records": row.rows} if isinstance(row, Records) and known.gather else first
    try:
        traces = known.to_traces(row)
        for trace in traces:
            check_storable(trace)
        said = known.ratings(row, traces) if known.ratings else []
    except (ValueError, StoreError) as error:
        raise ImportProblem(f"{where}: {error}") from None
    return Read(name, traces, said, reference_of(first))


def _family_of(row: Row) -> str:
    name = next((name for name, family in FAMILIES.items() if family.fits(row)), None)
    if name is not None:
        return name
    # None fits: the sentence should speak of the fields that are nearly right.
    return "worldline" if "prompt" in row and "response" in row else "prompt-response"


def read_as(trace: Trace, format: str) -> Trace:
    """The trace with its response cut anew as this format, whatever steps came with it."""
    steps, nodes, answer, form = parse_response(trace.prompt, trace.response, trace.finish_reason, format)
    if not answer and trace.answer and trace.answer != parse_response(trace.prompt, trace.response)[2]:
        answer = trace.answer  # the row's own, and not what its first tags said
    return replace(
        trace, steps=tuple(steps), nodes=tuple(nodes), answer=answer, format=form,
        solved=solved(trace.prompt, steps) if trace.solved is None else trace.solved,
    )  # fmt: skip


def trace_from_row(row: Any, where: str) -> Trace:
    """The (first) trace of one JSON row. Raises ImportProblem."""
    return read(row, where).traces[0]


def read_jsonl(path: Path, *, errors: list[ImportProblem] | None = None) -> Iterator[Trace]:
    """The traces of a file, one row at a time.

    With a list for `errors`, a broken row is appended there and the others are still yielded; without one, the first
    raises its ImportProblem. A file that cannot be opened always raises. Rows without `trace_id` get an id made from
    their text, so that importing a file twice changes nothing.
    """
    for found, _ in gathered(rows(path)):
        try:
            if found.problem is not None:
                raise found.problem
            yield from read(found.row, found.where).traces
        except ImportProblem as problem:
            if errors is None:
                raise
            errors.append(problem)
