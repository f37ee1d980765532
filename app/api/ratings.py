"""Ratings: what raters did, as events. An answer means that it is on disk."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, In, Me, blocking, needs, rater_of, refusals
from storage.events import EventError, RatingEvent

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
            "dimension (step: correctness, first_error, parent, kind, cuts, joined; decision: worth_exploring, left_in_time, "
            "right_return; trace: verdict, note, exit), value (+1, 0, -1; 1 yes, 0 no; of parent: an earlier step, -1 the "
            "question; of joined: 1, with the step before), "
            'value_text ("unsure" with no value; a note; a reason; a kind; of cuts: offsets into the response strictly '
            'inside the step, in code points, ascending, such as "120 345": all cuts of the step at once).'
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


def _id_of(row: Any) -> str | None:
    value = row.get("event_id") if isinstance(row, dict) else None
    return value[:100] if isinstance(value, str) else None
