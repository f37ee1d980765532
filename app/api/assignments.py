"""Assignments: one rater's work on one trace."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, In, Me, blocking, find_trace, needs, rater_of, refusals
from app.api.errors import Refused
from app.api.queues import MineOut, QueueOut, RubricOut, find_queue
from app.api.scores import ScoresOut, read_scores
from app.api.traces import TraceOut
from app.services import Services
from core import layout
from storage.events import RatingEvent
from storage.gold import OnHold
from storage.queues import claims, progress
from storage.queues.assignments import has_had
from storage.queues.settings import DEFAULT_QUEUE, Queue
from storage.references import read_reference
from storage.store import Assignment

router = APIRouter(prefix="/assignments", tags=["rating"], dependencies=[needs("rater")])


MOST_HISTORY = 100


class WhoIn(In):
    """Who is meant."""

    rater: str | None = Field(None, description='The rater\'s name; "local" when absent.', examples=["local"])


class NextIn(WhoIn):
    """Who wants work, and of what."""

    queue: str = Field(DEFAULT_QUEUE, description="Of which queue; of all traces when absent.")
    prefetch: bool = Field(
        False,
        description="To be shown after the one in hand: held for a few minutes, until `begin` says that it is shown.",
    )


class OpenIn(WhoIn):
    """Which trace, by whom."""

    trace_id: str
    queue: str = Field(DEFAULT_QUEUE, description="In which queue; among all traces when absent.")


class AssignmentOut(BaseModel):
    """Who rates what, and how far they are."""

    model_config = ConfigDict(extra="allow")

    assignment_id: str
    trace_id: str
    rater_id: str
    status: str = Field(description="offered (fetched ahead), leased, submitted or skipped", examples=["leased"])
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


class ReferenceOut(BaseModel):
    """The reference answer, as far as the queue shows it."""

    policy: str = Field(description="shown, after (submitting) or hidden")
    known: bool = Field(description="Whether there is one.")
    text: str | None


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
    queue: QueueOut | None = None
    rubric: RubricOut | None = Field(None, description="The guidelines, in the version this was handed out with.")
    reference: ReferenceOut | None = None
    progress: MineOut | None = None
    note: str | None = Field(
        None, description="Where the queue's sampling has nothing to go by yet: what it does instead."
    )


class Done(BaseModel):
    """A line of a rater's history."""

    assignment_id: str
    queue_id: str
    trace_id: str
    pair_id: str | None
    prompt: str = Field(description="The beginning of the question.")
    status: str = Field(description="submitted or skipped")
    status_reason: str
    updated_at: str


class Released(BaseModel):
    """What became of a lease."""

    released: bool = Field(description="False: there was no lease to end.")


@router.get("", summary="My last ones", response_model=list[Done], responses=refusals(403, 422))
async def history(
    bench: Bench, me: Me,
    rater: Annotated[str | None, Query(description='The rater\'s name; "local" when absent.')] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_HISTORY)] = 20,
    unit: Annotated[Literal["trace", "pair"] | None, Query(description="Only those; both when absent.")] = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """What this rater submitted or skipped last, over all queues, latest first: the way back to it."""
    name = rater_of(rater, me)
    found = await blocking(lambda: bench.store.read(lambda con: progress.history(con, name, limit, unit)))
    return [asdict(line) for line in found]


@router.post(
    "/next", summary="Take the next trace to rate", response_model=Work, response_model_exclude_unset=True,
    responses=refusals(400, 403, 422, 503),
)  # fmt: skip
async def next_assignment(bench: Bench, me: Me, asked: NextIn | None = None) -> dict[str, Any]:
    """The rater's open assignment (a reload comes back to it), else the next of the queue that they have not had."""
    asked = asked or NextIn.model_validate({})
    rater, queue = rater_of(asked.rater, me), await find_queue(bench, asked.queue)
    if queue.unit != "trace":
        raise Refused(422, f'The queue "{queue.title}" has pairs; take one with POST /api/pairs/next.')
    if queue.archived:
        return {"assignment": None, "reason": f"The queue “{queue.title}” is closed; choose another."}
    try:
        assignment = await blocking(lambda: bench.store.next_assignment(rater, queue.queue_id, ahead=asked.prefetch))
    except OnHold as held:  # paused, or to be screened first: said where there would be work
        return {"assignment": None, "reason": str(held)}
    if assignment is not None:
        return await _work(bench, assignment)
    any_trace = await blocking(lambda: bench.store.traces(limit=1))
    if not any_trace:
        reason = "There is no trace to rate yet."
    elif queue.queue_id == DEFAULT_QUEUE:
        reason = "You have rated or skipped every trace there is."
    else:
        reason = f"Nothing is left for you in the queue “{queue.title}”. Look again later."
    if me.may("researcher") and (not any_trace or queue.queue_id == DEFAULT_QUEUE):
        reason += " Run one on the Solve page, or import some."
    return {"assignment": None, "reason": reason}


@router.post(
    "/{assignment_id}/begin", summary="Begin what was fetched ahead", response_model=AssignmentOut,
    responses=refusals(400, 403, 404, 409, 422, 503),
)  # fmt: skip
async def begin(bench: Bench, assignment_id: str, me: Me, asked: WhoIn | None = None) -> dict[str, Any]:
    """It is shown now, and its lease begins. 409: it was held for too long and somebody else has it; take the next."""
    rater = rater_of(asked.rater if asked else None, me)
    found = await _find(bench, assignment_id)
    if found.rater_id != rater:
        raise Refused(403, "This was handed to another rater; take the next one instead.")
    if found.pair_id is not None:  # the answer would name one of its traces
        raise Refused(409, f"This is a comparison; begin it with POST /api/pairs/assignments/{assignment_id}/begin.")
    begun = await blocking(lambda: bench.store.begin(assignment_id, rater))
    if begun is None:
        raise Refused(409, "This trace was held for you for too long, and somebody else has it now; take the next one.")
    return begun.to_json()


@router.post(
    "/{assignment_id}/release", summary="Release a lease", response_model=Released,
    responses=refusals(403, 404, 503), dependencies=[needs("admin")],
)  # fmt: skip
async def release(bench: Bench, assignment_id: str) -> dict[str, Any]:
    """The lease ends now and the place is free for another. What was rated stays; submitted later, it is an extra rating."""
    await _find(bench, assignment_id)
    return {"released": await asyncio.wrap_future(bench.store.write(claims.release, assignment_id))}


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
    given = await blocking(lambda: bench.store.read(lambda con: has_had(con, rater, asked.trace_id, asked.queue)))
    if not given and not me.may("adjudicator"):
        # A rater who could name any trace could read any, and would choose what the queue must choose. In another queue than
        # the one that gave it, they could read whose it is, or the reference answer, while they still rate it without.
        raise Refused(403, "This trace was not given to you to rate; take the next one instead.")
    trace = await find_trace(bench, asked.trace_id)
    if not trace.steps:
        raise Refused(422, "This trace has no steps, so there is nothing to rate in it.")
    queue = await find_queue(bench, asked.queue)
    if queue.unit != "trace":
        raise Refused(422, f'"{queue.title}" is a queue of pairs; its work is at /api/pairs.')
    if queue.archived and not given:
        raise Refused(409, f'The queue "{queue.title}" is closed; nothing more is handed out in it.')
    return await _work(bench, await blocking(lambda: bench.store.open_assignment(rater, asked.trace_id, asked.queue)))


@router.get(
    "/{assignment_id}",
    summary="One assignment",
    response_model=Work,
    response_model_exclude_unset=True,
    responses=refusals(403, 404, 409),
)
async def one_assignment(bench: Bench, assignment_id: str, me: Me) -> dict[str, Any]:
    """The assignment with its trace and the ratings that count now."""
    assignment = await _find(bench, assignment_id)
    if not me.alone and assignment.rater_id != me.rater_id and not me.may("adjudicator"):
        raise Refused(403, "This is another rater's work; an adjudicator may look at it.")
    return await _work(bench, assignment)


def _comments(events: list[RatingEvent]) -> list[dict[str, Any]]:
    """The latest remark on each step (events are in the order of their `seq`)."""
    latest = {e.step_idx: e.value_text or "" for e in events if e.action == "comment"}
    return [{"step_idx": at, "value_text": text} for at, text in latest.items()]


async def _find(bench: Services, assignment_id: str) -> Assignment:
    """Raises Refused 404."""
    found = await blocking(lambda: bench.store.assignment(assignment_id))
    if found is None:
        raise Refused(404, f'There is no assignment "{assignment_id[:100]}".')
    return found


async def _work(bench: Services, assignment: Assignment) -> dict[str, Any]:
    if assignment.pair_id is not None:  # a trace of a pair is shown beside the other, and without names
        raise Refused(
            409, f"This is a comparison; open it on the Compare page: /ui/compare?assignment={assignment.assignment_id}"
        )

    def read() -> dict[str, Any]:
        store = bench.store
        trace = store.trace(assignment.trace_id)
        queue = store.need_queue(assignment.queue_id)
        assert trace is not None  # an assignment is made for a stored trace, and traces are never removed
        mine = store.read(lambda con: progress.mine(con, assignment.rater_id, queue))
        rubric = store.rubric(assignment.rubric_id, assignment.rubric_version)
        begun = assignment.events_seq >= 0  # of what was handed out just now there is nothing to look up
        reference = _reference(store.read(lambda con: read_reference(con, trace.problem_id)), queue, assignment)
        shown = {**trace.to_json(), "layout": layout.to_json(trace.nodes)}
        return {
            "assignment": assignment.to_json(),
            "trace": _blinded(shown, queue, assignment),
            "ratings": [r.to_json() for r in store.current_ratings(assignment.assignment_id)] if begun else [],
            "remaining": mine.remaining,
            "comments": _comments(store.events(assignment.assignment_id)) if begun else [],
            "events_seq": assignment.events_seq,
            "queue": {k: getattr(queue, k) for k in ("queue_id", "title", "unit", "archived")},
            "rubric": rubric.to_json() if rubric else None,
            "reference": reference,
            "progress": mine.to_json(),
            "note": store.sampling_lacks(queue),
        }

    work = await blocking(read)
    if assignment.scores_visible:
        work["scores"] = await read_scores(bench, assignment.trace_id)
    return work


def _reference(answer: str | None, queue: Queue, assignment: Assignment) -> dict[str, Any]:
    policy = queue.config.reference
    visible = policy == "shown" or (policy == "after" and assignment.status == "submitted")
    return {"policy": policy, "known": answer is not None, "text": answer if visible else None}


def _blinded(trace: dict[str, Any], queue: Queue, assignment: Assignment) -> dict[str, Any]:
    """What a rater may see of a trace before they have committed: in a blind queue not whose it is, and nowhere whether it
    is right when the reference answer is not to be seen either.
    """
    if assignment.status == "submitted":
        return trace
    hidden: dict[str, Any] = {}
    if queue.blind:
        hidden = {"model": "", "sampling": {}, "stats": {}, "error": ""}  # an error names the model that failed
    if queue.config.reference != "shown":
        hidden["solved"] = None
    return trace | hidden
