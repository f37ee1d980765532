"""Traces: list, read, import, draw."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, blocking, find_trace, needs, refusals
from app.api.errors import Refused
from app.outcomes import judged_now, solved_now
from core import layout
from core.formats import parse_response
from core.tasks import solved
from core.trace import Trace, new_id, problem_id_of
from storage.errors import StoreError
from storage.imports.whole import check_contiguous
from storage.traces import check_storable

router = APIRouter(prefix="/traces", tags=["traces"])

MOST_AT_ONCE = 10_000
STORED_AT_ONCE = 200
LIST_PATIENCE_S = 0.5  # for judging by reference answers; a list does not wait for more


class TraceLine(BaseModel):
    """One line of the list: never the raw text; the question is cut to 500 characters."""

    trace_id: str
    problem_id: str
    prompt: str = Field(examples=["Reach 24 from 4, 7, 8 and 8."])
    model: str = Field(examples=["pocket"])
    finish_reason: str = Field(examples=["stop"])
    solved: bool | None = Field(
        description="Checked from the steps, or by the problem's reference answer; null where nobody can say."
    )
    created_at: str = Field(examples=["2026-11-20T12:00:00.000Z"])
    n_steps: int
    n_backtracks: int
    n_ratings: int = Field(description="Step ratings that count now, of all raters.")
    n_submitted: int = Field(description="Finished assignments.")
    source: str = Field(description="run or import")


class TracePage(BaseModel):
    """A page of the list, newest first."""

    traces: list[TraceLine]
    next: str | None = Field(description="Send it as `after` to get the next page; null on the last one.")


class StepOut(BaseModel):
    """A piece of the response, `response[start:end]` in characters, and its place in the tree."""

    index: int
    start: int
    end: int
    name: str = Field(examples=["Try 8 × 7"])
    thought: str = Field(examples=["From 4, 7, 8 and 8: 8 × 7 = 56"])
    summary: str = Field(examples=["Left: 4, 8 and 56"])
    reflection: str
    decision: str | None = Field(description="What the model does after it: proceed, backtrack, finish, or null.")
    complete: bool
    parent: int | None = Field(description="The step it follows from; null is the question itself.")
    is_backtrack: bool
    resumes: int | None = Field(description="After a backtrack: the step it goes on from (null: the question).")
    replaces: int | None = Field(description="After a backtrack: the first step of the branch it abandons.")
    confidence: float | None = Field(description="Of the inferred place of a backtrack, 0 to 1.")
    kind: str = Field(
        "", description="What the step does (setup, plan, derive, verify, explore, backtrack, conclude, aside)."
    )


class TraceOut(BaseModel):
    """A whole trace: the form in which traces are read, imported and exported."""

    model_config = ConfigDict(extra="allow")

    trace_id: str
    problem_id: str
    prompt: str
    response: str = Field("", description="The raw text; absent when `lean` was asked for.")
    answer: str
    finish_reason: str
    model: str
    format: str
    sampling: dict[str, Any]
    stats: dict[str, Any]
    created_at: str
    solved: bool | None
    error: str
    origin: dict[str, Any] | None = Field(None, description="A fork: root, trace_id, step, kept, action; see forks.")
    earlier: dict[str, Any] | None = Field(
        None, description="What it was asked after: trace_ids (the first turn first) and given_as (summaries or full)."
    )
    steps: list[StepOut]
    layout: dict[str, Any] | None = Field(
        None,
        description="places: lane, column, depth of each step; runs: straight stretches {first, last, parent, depth}",
    )


class Imported(BaseModel):
    """What was stored."""

    added: int = Field(examples=[1])
    trace_ids: list[str]


_ROW = {"prompt": "Reach 24 from 4, 7, 8 and 8.", "response": "<|reasoning_start|><|reasoning_step_start|>…"}


@router.get(
    "", summary="List traces", response_model=TracePage, responses=refusals(422), dependencies=[needs("adjudicator")]
)
async def list_traces(
    bench: Bench,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    model: Annotated[str | None, Query(description="Only traces of this model.")] = None,
    q: Annotated[str | None, Query(description="Only questions that contain this text.", max_length=1000)] = None,
) -> dict[str, Any]:
    """A page of traces, newest first."""
    rows = await blocking(
        lambda: bench.store.traces(limit=limit + 1, after=after or None, model=model or None, text=q or None)
    )
    more = len(rows) > limit
    rows = rows[:limit]
    solved_since = await blocking(lambda: solved_now(bench.store, [row.trace_id for row in rows], LIST_PATIENCE_S))
    lines = [line(row) for row in rows]
    for one in lines:
        one.solved = solved_since.get(one.trace_id, one.solved)
    return {"traces": lines, "next": rows[-1].trace_id if more else None}


def line(row: Any) -> TraceLine:
    """A stored row as a line of the list."""
    return TraceLine.model_validate(row, from_attributes=True)


@router.get(
    "/{trace_id}",
    summary="One trace",
    response_model=TraceOut,
    responses=refusals(404, 409),
    dependencies=[needs("adjudicator")],
)
async def one_trace(
    bench: Bench,
    trace_id: str,
    lean: Annotated[
        bool, Query(description="Without `response` and `layout`: half the size for a long trace.")
    ] = False,
    so_far: Annotated[
        bool, Query(description="Of a run under way: what it has written until now, in place of a 409.")
    ] = False,
) -> Response:
    """A whole trace with its steps, its tree and where each step goes on a screen."""
    run = bench.runs.get(trace_id) if so_far else None
    if run is not None and run.running:
        trace = await blocking(lambda: bench.runs.trace_so_far(run))
    else:
        trace = await find_trace(bench, trace_id)

    def written() -> bytes:
        import orjson

        row = judged_now(bench.store, trace).to_json()
        if lean:
            del row["response"]
        else:
            row["layout"] = layout.to_json(trace.nodes)
        try:
            return orjson.dumps(row)
        except TypeError:  # a whole number beyond 64 bits, in the settings of an import
            return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()

    # Written here and in a thread: checking 5,000 steps against the model of the answer takes as long as all the rest.
    return Response(await blocking(written), media_type="application/json")


@router.post(
    "",
    status_code=201,
    summary="Import traces",
    dependencies=[needs("researcher")],
    response_model=Imported,
    responses=refusals(400, 403, 409, 413, 422),
)
async def import_traces(
    bench: Bench,
    rows: Annotated[
        Any,
        Body(
            description="One row or a list of rows: whole traces, or just `prompt` and `response`.",
            openapi_examples={
                "text": {"summary": "Question and response", "value": _ROW},
                "list": {
                    "summary": "Several, with a model's name",
                    "value": [{**_ROW, "model": "steiner-32b", "finish_reason": "stop"}],
                },
            },
        ),
    ],
) -> Imported:
    """Store traces made elsewhere. A row with `steps` is taken as it is; without, its response is cut into steps.

    Nothing is stored unless every row can be read. The same trace again (by `trace_id`) is harmless.
    """
    many = rows if isinstance(rows, list) else [rows]
    if not many:
        raise Refused(422, "There is nothing to import: the list is empty.")
    if len(many) > MOST_AT_ONCE:
        raise Refused(413, f"{len(many):,} rows are too many at once; send at most {MOST_AT_ONCE:,}.")
    traces = await blocking(lambda: [_read(row, i if isinstance(rows, list) else None) for i, row in enumerate(many)])
    for start in range(0, len(traces), STORED_AT_ONCE):
        try:
            kept = [bench.store.add_trace(t, source="import") for t in traces[start : start + STORED_AT_ONCE]]
            await asyncio.gather(*map(asyncio.wrap_future, kept))
        except StoreError as error:
            raise Refused(409, str(error)) from None
    for trace in traces:
        bench.scoring.enqueue(trace)
    return Imported(added=len(traces), trace_ids=[t.trace_id for t in traces])


def _read(row: Any, place: int | None) -> Trace:
    where = "" if place is None else f"Row {place}: "
    if not isinstance(row, dict):
        raise Refused(422, f"{where}a trace must be a JSON object, not {type(row).__name__}.")
    try:
        if "steps" in row:
            return _storable(row)
        bare = Trace.from_json({**row, "trace_id": row.get("trace_id") or new_id(), "steps": []})
        steps, nodes, answer, form = parse_response(bare.prompt, bare.response, bare.finish_reason)
        return _storable({
            **bare.to_json(), "problem_id": row.get("problem_id") or problem_id_of(bare.prompt), "format": form,
            "answer": bare.answer or answer, "steps": _steps(steps, nodes), "solved": solved(bare.prompt, steps),
        })  # fmt: skip
    except (ValueError, StoreError) as error:
        raise Refused(422, f"{where}{str(error).removesuffix('.')}.") from None


def _storable(row: dict[str, Any]) -> Trace:
    trace = Trace.from_json(row)
    check_contiguous(trace)
    check_storable(trace)
    return trace


def _steps(steps: Any, nodes: Any) -> list[dict[str, Any]]:
    from core.trace import step_json

    return [step_json(s, n) for s, n in zip(steps, nodes, strict=True)]


@router.get(
    "/{trace_id}/graph",
    summary="The tree as a page",
    dependencies=[needs("adjudicator")],
    response_class=HTMLResponse,
    responses={
        200: {"description": "One HTML page that needs no network.", "content": {"text/html": {}}},
        **refusals(404, 409),
    },
)
async def graph(
    bench: Bench,
    trace_id: str,
    download: Annotated[bool, Query(description="Save it as a file instead of showing it.")] = False,
    theme: Annotated[
        str | None, Query(description="light or dark, read by the page itself; absent: as the browser has it.")
    ] = None,
) -> Response:
    """The search tree at fixed positions: an interactive page, or (`download=1`) one file that opens offline."""
    trace = await find_trace(bench, trace_id)
    from app.graph import SANDBOX_POLICY, file_name, graph_page

    def draw() -> str:
        active = bench.models.scorer_job
        scores = next((s.values for s in bench.store.scores(trace_id) if s.scorer == active), None)
        return graph_page(judged_now(bench.store, trace), scores)

    page = await blocking(draw)
    headers = {"content-security-policy": SANDBOX_POLICY, "cache-control": "no-store"}
    if download:
        headers["content-disposition"] = f'attachment; filename="{file_name(trace)}"'
    return HTMLResponse(page, headers=headers)
