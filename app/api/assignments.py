"""Assignments: one rater's work on one trace."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, In, Me, blocking, find_trace, needs, rater_of, refusals
from app.api.errors import Refused
from app.api.scores import ScoresOut, read_scores
from app.api.traces import TraceOut
from app.services import Services
from core import layout
from storage.events import RatingEvent
from storage.queues.assignments import has_had
from storage.store import Assignment

router = APIRouter(prefix="/assignments", tags=["rating"], dependencies=[needs("rater")])


class NextIn(In):
    """Who wants work."""

    rater: str | None = Field(None, description='The rater\'s name; "local" when absent.', examples=["local"])


class OpenIn(NextIn):
    """Which trace, by whom."""

    trace_id: str


class AssignmentOut(BaseModel):
    """Who rates what, and how far they are."""

    model_config = ConfigDict(extra="allow")

    assignment_id: str
    trace_id: str
    rater_id: str
    status: str = Field(description="leased, submitted or skipped", examples=["leased"])
    scores_visible: bool = Field(
        description="False until the rater has submitted: model scores must not lead the judgement."
    )


class RatingOut(BaseModel):
    """A judgement that counts now."""

    model_config = ConfigDict(extra="allow")

    target: str = Field(description="step, decision or trace")
    step_idx: int | None
    dimension: str
    value: float | None
    value_text: str | None


class CommentOut(BaseModel):
    """A remark on a step, or on the trace when `step_idx` is null."""

    step_idx: int | None
    value_text: str


class Work(BaseModel):
    """Everything the Rate page needs. `scores` is there only when `assignment.scores_visible` is true."""

    assignment: AssignmentOut | None
    reason: str | None = Field(None, description="Why there is no assignment.")
    trace: TraceOut | None = None
    ratings: list[RatingOut] | None = None
    comments: list[CommentOut] | None = Field(
        None, description="Remarks on steps, the latest of each; empty: withdrawn."
    )
    remaining: int | None = Field(None, description="Traces this rater could still rate, this one included.")
    events_seq: int | None = Field(
        None, description="The largest `seq` in the assignment's log, -1 if none; go on from there."
    )
    scores: list[ScoresOut] | None = None


@router.post(
    "/next", summary="Take the next trace to rate", response_model=Work, response_model_exclude_unset=True,
    responses=refusals(400, 403, 422, 503),
)  # fmt: skip
async def next_assignment(bench: Bench, me: Me, asked: NextIn | None = None) -> dict[str, Any]:
    """The rater's open assignment (a reload comes back to it), else the least rated trace that they have not had."""
    rater = rater_of(asked.rater if asked else None, me)
    assignment = await blocking(lambda: bench.store.next_assignment(rater))
    if assignment is not None:
        return await _work(bench, assignment)
    any_trace = await blocking(lambda: bench.store.traces(limit=1))
    reason = (
        "You have rated or skipped every trace there is. Run more on the Solve page."
        if any_trace
        else "There is no trace to rate yet. Run one on the Solve page, or import some."
    )
    return {"assignment": None, "reason": reason}


@router.post(
    "",
    summary="Rate a chosen trace",
    response_model=Work,
    response_model_exclude_unset=True,
    responses=refusals(400, 403, 404, 409, 422, 503),
)
async def open_assignment(bench: Bench, asked: OpenIn, me: Me) -> dict[str, Any]:
    """The rater's assignment for this trace, made if there is none: which with accounts takes an adjudicator."""
    rater = rater_of(asked.rater, me)
    if not me.may("adjudicator") and not await blocking(
        lambda: bench.store.read(lambda con: has_had(con, rater, asked.trace_id))
    ):
        # A rater who could name any trace could read any, and would choose what the queue must choose.
        raise Refused(403, "This trace was not given to you to rate; take the next one instead.")
    trace = await find_trace(bench, asked.trace_id)
    if not trace.steps:
        raise Refused(422, "This trace has no steps, so there is nothing to rate in it.")
    return await _work(bench, await blocking(lambda: bench.store.open_assignment(rater, asked.trace_id)))


@router.get(
    "/{assignment_id}",
    summary="One assignment",
    response_model=Work,
    response_model_exclude_unset=True,
    responses=refusals(403, 404, 409),
)
async def one_assignment(bench: Bench, assignment_id: str, me: Me) -> dict[str, Any]:
    """The assignment with its trace and the ratings that count now."""
    assignment = await blocking(lambda: bench.store.assignment(assignment_id))
    if assignment is None:
        raise Refused(404, f'There is no assignment "{assignment_id[:100]}".')
    if not me.alone and assignment.rater_id != me.rater_id and not me.may("adjudicator"):
        raise Refused(403, "This is another rater's work; an adjudicator may look at it.")
    return await _work(bench, assignment)


def _comments(events: list[RatingEvent]) -> list[dict[str, Any]]:
    """The latest remark on each step (events are in the order of their `seq`)."""
    latest = {e.step_idx: e.value_text or "" for e in events if e.action == "comment"}
    return [{"step_idx": at, "value_text": text} for at, text in latest.items()]


async def _work(bench: Services, assignment: Assignment) -> dict[str, Any]:
    if assignment.pair_id is not None:  # a trace of a pair is shown beside the other, and without names
        raise Refused(
            409, f"This is a comparison; open it on the Compare page: /ui/compare?assignment={assignment.assignment_id}"
        )

    def read() -> dict[str, Any]:
        trace = bench.store.trace(assignment.trace_id)
        assert trace is not None  # an assignment is made for a stored trace, and traces are never removed
        return {
            "assignment": assignment.to_json(),
            "trace": {**trace.to_json(), "layout": layout.to_json(trace.nodes)},
            "ratings": [rating.to_json() for rating in bench.store.current_ratings(assignment.assignment_id)],
            "remaining": bench.store.remaining(assignment.rater_id),
            "comments": _comments(bench.store.events(assignment.assignment_id)),
            "events_seq": assignment.events_seq,
        }

    work = await blocking(read)
    if assignment.scores_visible:
        work["scores"] = await read_scores(bench, assignment.trace_id)
    return work
