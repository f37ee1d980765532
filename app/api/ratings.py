"""Ratings: what raters did, as events. An answer means that it is on disk."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, In, Me, blocking, needs, rater_of, refusals
from app.api.errors import Refused
from app.api.scores import ScoresOut, read_scores
from app.people import Person
from app.services import Services
from storage import prelabels
from storage.events import EventError, RatingEvent
from storage.store import Assignment

router = APIRouter(prefix="/ratings", tags=["rating"], dependencies=[needs("rater")])

MOST_AT_ONCE = 1000
_EXAMPLE = {
    "event_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "assignment_id": "01kaexr0v7m3p9d2k4c6h8n5qs",
    "rater_id": "local",
    "seq": 0, "action": "set", "target": "step", "step_idx": 3, "dimension": "correctness", "value": 1,
    "value_text": None,
    "ts_client": "2026-11-20T12:00:00Z", "input_method": "key", "dwell_ms": 850, "prelabel_visible": False,
    "ui_build": "",
}  # fmt: skip


class RatingsIn(In):
    """Events in the order in which they happened. Sending one again is harmless: `event_id` is made by the client."""

    events: Annotated[list[Any], Field(min_length=1, max_length=MOST_AT_ONCE)] = Field(
        description=(
            "Each: event_id (UUID), assignment_id, rater_id, seq (the client's order), "
            "action (set, clear, submit, reopen, skip, comment), target (step, decision, trace), step_idx, "
            "dimension (step: correctness, first_error, parent, kind, cuts, joined, and of a bad step span, error_type, "
            "severity, rationale, better, recovered; decision: worth_exploring, left_in_time, right_return; trace: verdict, "
            "note, tags, exit), value (+1, 0, -1; 1 yes, 0 no; of parent: an earlier step, -1 the question; of joined: 1, "
            "with the step before; of severity: 1 to 3; of recovered: the later step that put it right, -1 none), "
            'value_text ("unsure" with no value; a note; a reason; a kind; of cuts: offsets into the response strictly '
            'inside the step, in code points, ascending, such as "120 345": all cuts of the step at once; of span: two such '
            "offsets; of better: the step as it should have been written, its special tokens included; of tags: one a line)."
        ),
        examples=[[_EXAMPLE]],
    )


class Rejection(BaseModel):
    """An event that was not kept, and why."""

    event_id: str | None
    error: str


class Committed(BaseModel):
    """What is on disk now, and what was refused. The others of a call are kept when one is refused."""

    committed: list[str] = Field(examples=[["7d444840-9dc0-11d1-b245-5ffdce74fad2"]])
    rejected: list[Rejection]


@router.post("", summary="Rate", response_model=Committed, responses=refusals(400, 403, 413, 422, 503))
async def rate(bench: Bench, sent: RatingsIn, me: Me) -> Committed:
    """Append rating events. The answer comes after the commit: an id in `committed` survives a power cut."""
    if not me.alone:
        for row in sent.events:
            named = row.get("rater_id") if isinstance(row, dict) else None
            rater_of(named if isinstance(named, str) else None, me)
    good: list[RatingEvent] = []
    rejected: list[Rejection] = []
    for row in sent.events:
        try:
            good.append(RatingEvent.from_json(row))
        except EventError as problem:
            rejected.append(Rejection(event_id=_id_of(row), error=str(problem)))
    committed = await asyncio.wrap_future(bench.store.add_rating_events(good)) if good else []
    left_out = [event for event in good if event.event_id not in set(committed)]
    if left_out:
        why = await blocking(lambda: bench.store.why_rejected(left_out))
        unknown = "This event could not be kept; reload the page and try again."
        rejected += [Rejection(event_id=e.event_id, error=why.get(e.event_id, unknown)) for e in left_out]
    return Committed(committed=committed, rejected=rejected)


class EventOut(BaseModel):
    """One act of a rater, as it was sent."""

    model_config = ConfigDict(extra="allow")

    event_id: str
    seq: int
    action: str
    target: str
    step_idx: int | None
    dimension: str
    value: float | None
    value_text: str | None


class Prelabels(BaseModel):
    """What the reward models think of the steps; `scores` is empty until the rater may see them, or where there are none."""

    visible: bool
    missing: int = Field(description="Steps still to be judged before the scores may be seen.", examples=[0])
    scores: list[ScoresOut]


class ChangedMind(BaseModel):
    """How often a rater judged a step otherwise after the scores were shown."""

    rater_id: str
    judged: int = Field(description="Steps judged before the scores were shown.")
    changed: int
    towards: int = Field(description="Of the changed: nearer to the newest score of the trace.")
    away: int


@router.get(
    "/changes-of-mind", summary="Who changed their mind once they saw the scores", response_model=list[ChangedMind],
    dependencies=[needs("researcher")],
)  # fmt: skip
async def changes_of_mind(bench: Bench) -> list[dict[str, Any]]:
    """One row a rater. Only steps that were judged without the scores in view count."""
    return [row.to_json() for row in await blocking(lambda: bench.store.read(prelabels.changes_of_mind))]


@router.get(
    "/{assignment_id}/events", summary="The log of one assignment", response_model=list[EventOut],
    responses=refusals(403, 404),
)  # fmt: skip
async def log(bench: Bench, me: Me, assignment_id: str) -> list[dict[str, Any]]:
    """Everything that was done, in the order of commit: what undo goes back through after a reload."""
    await _own(bench, me, assignment_id)
    return [event.to_json() for event in await blocking(lambda: bench.store.events(assignment_id))]


@router.get(
    "/{assignment_id}/prelabels", summary="Scores, once they may be seen", response_model=Prelabels,
    responses=refusals(403, 404),
)  # fmt: skip
async def scores_after_the_first_pass(bench: Bench, me: Me, assignment_id: str) -> Prelabels:
    """Scores lead a judgement, so they are shown after the rater's own first pass over the steps (or in verify mode)."""
    work = await _own(bench, me, assignment_id)
    done = await blocking(lambda: bench.store.read(lambda con: prelabels.first_pass(con, assignment_id)))
    assert done is not None  # the assignment was found above, and none is ever removed
    scores = await read_scores(bench, work.trace_id) if done.visible else []
    return Prelabels(visible=done.visible, missing=done.missing, scores=[ScoresOut(**row) for row in scores])


async def _own(bench: Services, me: Person, assignment_id: str) -> Assignment:
    work = await blocking(lambda: bench.store.assignment(assignment_id))
    if work is None:
        raise Refused(404, f'There is no assignment "{assignment_id[:100]}".')
    if not me.alone and work.rater_id != me.rater_id and not me.may("adjudicator"):
        raise Refused(403, "This is another rater's work; an adjudicator may look at it.")
    return work


def _id_of(row: Any) -> str | None:
    value = row.get("event_id") if isinstance(row, dict) else None
    return value[:100] if isinstance(value, str) else None
