"""Files of traces: look what is in one, then take it over. The reading is storage.imports'; here it meets HTTP.

The body is the file itself, so that a page can send a file without reading it and `curl --data-binary` needs no form.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from app.api.common import Bench, In, blocking, needs, refusals
from app.api.errors import Refused
from app.outcomes import judge_anew
from app.services import Services
from core.trace import Trace
from storage.errors import StoreError
from storage.references import MOST_CHARS, add_references

router = APIRouter(prefix="/imports", tags=["traces"], dependencies=[needs("researcher")])

MOST_NAME_CHARS = 200


class ImportReport(BaseModel):
    """What was found in a file; after a dry run, what would be stored."""

    dry_run: bool
    name: str = Field(examples=["traces.jsonl"])
    rows: int = Field(description="Rows read, broken ones included.")
    traces: int = Field(description="New traces: stored, or (dry run) to be stored.")
    families: dict[str, int] = Field(description="Rows by family.", examples=[{"messages": 12}])
    formats: dict[str, int] = Field(description="New traces by recognised format.", examples=[{"think": 12}])
    steps: int
    backtracks: int
    already_stored: int = Field(description="Same question and response as a stored trace, under whatever id.")
    twice_in_file: int
    judgements: int = Field(description="What people said of traces in the file, known ones included.")
    references: int = Field(description="Problems whose right answer the file says.")
    raters: dict[str, int] = Field(
        description="Judged traces and comparisons by imported rater.", examples=[{"import:ann": 12}]
    )
    n_errors: int
    errors: list[str] = Field(
        description="One sentence a broken row, the first hundred.",
        examples=[['traces.jsonl:17: "labels" has 5 entries for 6 completions; write one for each.']],
    )
    trace_ids: list[str]


@router.post(
    "",
    status_code=201,
    summary="Import a file of traces",
    response_model=ImportReport,
    responses=refusals(400, 403, 413, 422),
    openapi_extra={
        "requestBody": {
            "description": "The file: JSONL, JSON or Parquet, at most 64 MB.",
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def import_file(
    bench: Bench,
    request: Request,
    name: Annotated[
        str, Query(description="The file's name; its ending says how to read it.", max_length=MOST_NAME_CHARS)
    ] = "traces.jsonl",
    dry_run: Annotated[bool, Query(description="Only say what is in it, and store nothing.")] = False,
    family: Annotated[
        str | None,
        Query(
            description="Read every row as this family, not by its fields: worldline, prm800k, label_studio, argilla, kto, trl, "
            "messages or prompt-response."
        ),
    ] = None,
    format: Annotated[
        str | None, Query(description="Cut every response as this format, not as it begins (docs/formats.md).")
    ] = None,
    rater: Annotated[
        str, Query(description="Who rated, where the file names nobody (default: the file's name).", max_length=100)
    ] = "",
) -> dict[str, Any]:
    """Read whole traces, prompt and response, chat logs, PRM800K or TRL rows, and store those that are new.

    A broken row costs only itself: it is listed by line with its mend. The same question and response again is counted
    and not stored, under whatever id it comes. Ratings in the file become those of imported raters ("import:NAME"). More than 64 MB: `worldline import` in the terminal has no limit.
    """
    from core.formats import known
    from storage.imports import known_family
    from storage.imports.reading import known_ending

    shown = Path(name.replace("\\", "/")).name or "traces.jsonl"
    try:
        suffix = known_ending(shown)
        if family is not None:
            known_family(family)
        if format is not None:
            known(format)
    except ValueError as error:
        raise Refused(422, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    with tempfile.TemporaryDirectory(dir=bench.data_dir, prefix="upload-") as folder:
        path = Path(folder) / f"upload{suffix}"
        size = 0
        with path.open("wb") as file:
            try:
                async for chunk in request.stream():
                    size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
            except ClientDisconnect:
                raise Refused(400, "The file was not sent to its end; nothing was stored.") from None
        if not size:
            raise Refused(422, "The body is missing; send the file itself.")
        loop = asyncio.get_running_loop()

        def stored(trace: Trace) -> None:
            loop.call_soon_threadsafe(bench.scoring.enqueue, trace)

        report = await blocking(lambda: _take(bench, path, shown, dry_run, family, format, rater, stored))
    return {"dry_run": dry_run, **report}


def _take(
    bench: Services,
    path: Path,
    name: str,
    dry_run: bool,
    family: str | None,
    format: str | None,
    rater: str,
    stored: Any,
) -> dict[str, Any]:
    """In a thread: minutes of parsing must not hold up streams."""
    from storage.imports.keeping import keep, wanted
    from storage.imports.report import Report, fresh

    report = Report(name, rater=rater)
    for traces, said, references in fresh(path, report, bench.store.held, family=family, format=format):
        if dry_run:
            continue
        waiting = [bench.store.add_trace(trace, source="import") for trace in traces]
        for trace, done in zip(traces, waiting, strict=True):
            try:
                done.result()
            except StoreError as error:  # another import took the id in the meantime
                report.drop(trace, str(error))
            else:
                stored(trace)
        if bench.store.write(add_references, references).result():
            judge_anew(bench.store, references, undecided=True)
        for problem in keep(bench.store, wanted(said, rater or name), name).problems or ():
            report.note(problem)
    return report.to_json()


class RatingsFileIn(In):
    """Ratings that a file held, of traces that are stored (the terminal reads the file, the workbench keeps them)."""

    name: str = Field(max_length=MOST_NAME_CHARS, description="The file's name; errors begin with it.")
    ratings: list[dict[str, Any]] = Field(
        max_length=1000, description="As `worldline import` makes them.", examples=[[]]
    )


class KeptOut(BaseModel):
    """What became of them."""

    assignments: int
    judgements: int = Field(description="In the log now, new or not.")
    problems: list[str]


@router.post(
    "/ratings", status_code=201, summary="Keep ratings that a file held", response_model=KeptOut,
    responses=refusals(400, 403, 413, 422, 503),
)  # fmt: skip
async def keep_ratings(bench: Bench, asked: RatingsFileIn) -> dict[str, Any]:
    """Ratings become events of imported raters. Sending them again changes nothing."""
    from storage.imports.keeping import Wanted, keep

    try:
        wanted = [Wanted.from_json(row) for row in asked.ratings]
    except StoreError as error:
        raise Refused(422, str(error)) from None
    return (await blocking(lambda: keep(bench.store, wanted, asked.name))).to_json()


class ReferencesIn(In):
    """Reference answers that a file held, of problems that are stored."""

    references: dict[str, Annotated[str, Field(min_length=1, max_length=MOST_CHARS)]] = Field(
        max_length=1000, description="{problem_id: answer}", examples=[{}]
    )


class ReferencesOut(BaseModel):
    """What became of them."""

    new: int = Field(description="Kept; of the others there was one already, or there is no such problem.")


@router.post(
    "/references", status_code=201, summary="Keep reference answers that a file held", response_model=ReferencesOut,
    responses=refusals(400, 403, 413, 422, 503),
)  # fmt: skip
async def keep_references(bench: Bench, asked: ReferencesIn) -> dict[str, Any]:
    """What somebody set is left as it is: `PUT /api/problems/{problem_id}/reference` changes that."""
    new = await asyncio.wrap_future(bench.store.write(add_references, asked.references))
    if new:
        await asyncio.to_thread(judge_anew, bench.store, asked.references, undecided=True)
    return {"new": new}
