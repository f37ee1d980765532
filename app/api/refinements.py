"""Refinements: a connected model's second look at a trace's tree. A layer beside what was inferred, never instead of it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.api.common import Bench, In, blocking, find_trace, needs, refusals
from app.api.errors import Refused
from app.models import UnknownModel
from app.refining import CannotRefine, Work
from core import refine
from core.trace import Trace
from storage.refinements import Refinement

router = APIRouter(prefix="/traces/{trace_id}/refinements", tags=["refinements"])


class RefineIn(In):
    """Which model looks."""

    model: str = Field(
        description="An id from GET /api/models whose `refines` is true.", examples=["Qwen/Qwen3-8B"], max_length=1000
    )


class PlaceOut(BaseModel):
    """What a step does and where it hangs; steps are counted from 0, null is the question."""

    kind: str = Field(examples=["verify"])
    parent: int | None
    is_backtrack: bool
    resumes: int | None
    replaces: int | None


class ChangeOut(BaseModel):
    """One step of which the model says something else than was inferred."""

    index: int
    fields: list[str] = Field(
        description="What differs; empty where only a kind was added to a step that had none.", examples=[["kind"]]
    )
    old: PlaceOut
    new: PlaceOut


class RefinementOut(BaseModel):
    """One model's labels of one trace, finished or under way."""

    refinement_id: str
    trace_id: str
    model: str = Field(examples=["Qwen/Qwen3-8B"])
    state: str = Field(description="running, done, stopped, interrupted or failed", examples=["running"])
    error: str = Field(description="Of one that failed: a sentence.")
    created_at: str | None = Field(description="When it was stored; null until it is.")
    stats: dict[str, Any] = Field(
        description="steps, asked (so far), labelled, changed, refused (rows that could not be taken), missing, calls, "
        "prompt_tokens, generated_tokens, seconds, temperature, notes, server."
    )
    changes: list[ChangeOut] = Field(
        description="In order; empty when `lean` was asked for. The refined tree is the trace's own with these laid over it."
    )


@router.post(
    "", status_code=201, summary="Let a model look at the tree", response_model=RefinementOut,
    responses=refusals(400, 403, 404, 409, 422, 429), dependencies=[needs("researcher")],
)  # fmt: skip
async def start_refinement(bench: Bench, trace_id: str, asked: RefineIn) -> RefinementOut:
    """Begin, in the background: the model labels every step (its kind, its parent, what a turn back goes on from and gives
    up) with structured output. Ask for the list to see how far it is. Nothing that was inferred is changed."""
    trace = await find_trace(bench, trace_id)
    try:
        work = bench.refining.start(trace, bench.models.get(asked.model))
    except CannotRefine as error:
        raise Refused(409 if error.busy else 422, str(error)) from None
    except UnknownModel as error:
        raise Refused(422, str(error)) from None
    return RefinementOut.model_validate(_json(trace, work.refinement(), lean=True))


@router.get(
    "",
    summary="What models made of the tree",
    response_model=list[RefinementOut],
    responses=refusals(404, 409),
    dependencies=[needs("adjudicator")],
)
async def list_refinements(
    bench: Bench,
    trace_id: str,
    lean: Annotated[bool, Query(description="Without `changes`: to see how far one is.")] = False,
) -> Response:
    """Those under way first, then the newest. One that failed without a single label is listed until the server ends."""
    # Those under way first: one that is stored in between is then found twice, and none is missed.
    works = bench.refining.of(trace_id)
    live = [work.refinement() for work in works]
    # A trace never changes: whoever watches does not make us read it again and again.
    trace = works[0].trace if works else await find_trace(bench, trace_id)

    def written() -> bytes:
        have = {r.refinement_id for r in live}
        stored = [r for r in bench.store.refinements(trace_id) if r.refinement_id not in have]
        # One of another way of cutting the trace says nothing about these steps.
        found = [r for r in [*live, *stored] if r.segmentation_id == trace.segmentation_id]
        rows = [_json(trace, r, lean) for r in found]
        return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()

    # Written here and in a thread: checking thousands of changes against the model of the answer would hold others up.
    return Response(await blocking(written), media_type="application/json")


@router.post(
    "/{refinement_id}/stop",
    summary="Stop a refinement",
    dependencies=[needs("researcher")],
    response_model=RefinementOut,
    responses=refusals(403, 404, 409),
)
async def stop_refinement(bench: Bench, trace_id: str, refinement_id: str) -> RefinementOut:
    """End it; what was labelled until now is kept. Stopping one that has ended is harmless. Answers without `changes`."""
    trace = await find_trace(bench, trace_id)
    work: Work | None = bench.refining.get(refinement_id)
    if work is not None and work.trace.trace_id == trace_id:
        await bench.refining.stop(work)
        return RefinementOut.model_validate(_json(trace, work.refinement(), lean=True))
    stored = await blocking(lambda: bench.store.refinements(trace_id))
    found = next((r for r in stored if r.refinement_id == refinement_id), None)
    if found is None:
        raise Refused(404, f'This trace has no refinement "{refinement_id[:100]}".')
    return RefinementOut.model_validate(_json(trace, found, lean=True))


def _json(trace: Trace, found: Refinement, lean: bool) -> dict[str, Any]:
    """A `RefinementOut`, as plain values."""
    stats = dict(found.stats)
    labels = {i: node for i, node in found.labels.items() if i < len(trace.nodes)}
    return {
        "refinement_id": found.refinement_id, "trace_id": found.trace_id, "model": found.model,
        "state": stats.pop("state", "done"), "error": stats.pop("error", ""), "created_at": found.created_at or None,
        "stats": stats, "changes": [] if lean else refine.changes(trace.nodes, labels),
    }  # fmt: skip
