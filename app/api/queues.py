"""Queues: what is to be rated, by how many and in which order; their guidelines; how far everybody is."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, In, Me, blocking, needs, rater_of, refusals
from app.api.errors import Refused
from app.services import Services
from core.trace import new_id
from storage import rubrics
from storage.queues import progress
from storage.queues.making import NewQueue, make_queues
from storage.queues.settings import Config, Queue, read_queues, save_queues
from storage.rubrics import Questions, Rubric
from storage.sampling import STRATEGIES

router = APIRouter(prefix="/queues", tags=["queues"])
RESEARCHER = [needs("researcher")]


class ConfigIn(In):
    """Which traces are in it, and what only some queues need. Fields that are absent stay as they are."""

    model: str | None = Field(None, description="Only traces of this model; empty: of any.")
    source: str | None = Field(None, description="Only traces that came this way: run, search or import; empty: any.")
    solved: Literal["any", "solved", "wrong", "unchecked"] | None = Field(
        None, description="By whether the answer was checked and right."
    )
    text: str | None = Field(None, description="Only traces with this text in the question; empty: any.")
    reference: Literal["shown", "after", "hidden"] | None = Field(
        None, description="The reference answer: shown at once, after submitting, or never."
    )
    random_share: float | None = Field(
        None, description="Of ranking strategies: the part that is drawn by chance, 0 to 1."
    )
    strata: list[str] | None = Field(None, description="What `stratified` keeps in balance: length, backtracks, model.")
    pause_below: float | None = Field(
        None, description="Raters whose accuracy on gold items falls below this are paused; 0: nobody."
    )
    pause_after: int | None = Field(None, description="How many gold items a rater has before that is looked at.")


class QueueIn(In):
    """A queue's settings. Fields that are absent stay as they are; of a new queue, they have their standard value."""

    title: str | None = Field(None, examples=["Wrong answers, first pass"])
    overlap: int | None = Field(None, description="Raters an item; null: as many as want to.", examples=[2])
    lease_minutes: int | None = Field(None, description="How long an item is held for a rater who does nothing.")
    verify_mode: bool | None = Field(None, description="Model scores are shown from the start.")
    blind: bool | None = Field(None, description="The model's name and what others judged stay hidden.")
    sampling: str | None = Field(None, description="One of GET /api/sampling.", examples=["convincing_wrong"])
    gold_share: float | None = Field(None, description="The part of items whose right judgement is known, 0 to 1.")
    archived: bool | None = Field(None, description="Nothing more is handed out; what was rated stays.")
    config: ConfigIn = Field(default_factory=lambda: ConfigIn.model_validate({}))


class NewQueueIn(QueueIn):
    """A new queue."""

    title: str = Field(examples=["Wrong answers, first pass"])
    unit: Literal["trace", "pair"] = "trace"
    guidelines: str | None = Field(None, description="Markdown; without, those of the standard rubric.")


class GuidelinesIn(In):
    """A new version of a queue's rubric. What was handed out before keeps the version it was handed out with."""

    guidelines: str = Field(description="Markdown.", examples=["**Good**: true, and it helps."])
    error_types: list[str] | None = Field(None, description="What may be wrong with a bad step; absent: as before.")
    tags: list[str] | None = Field(None, description="Tags a trace may get; absent: as before.")
    criteria: list[dict[str, str]] | None = Field(
        None, description='Of a pair: [{"name": "clarity", "words": "Which is clearer?"}]; absent: as before.'
    )


class RubricOut(BaseModel):
    """One version of a rubric."""

    rubric_id: str
    version: int
    guidelines: str = Field(description="Markdown.")
    questions: dict[str, Any] = Field(description="error_types, tags, criteria")
    created_by: str = Field(description="Empty: it came with Worldline.")
    created_at: str


class QueueOut(BaseModel):
    """A queue. Raters get the first four fields alone."""

    model_config = ConfigDict(extra="allow")

    queue_id: str
    title: str
    unit: str = Field(description="trace or pair")
    archived: bool


class StrategyOut(BaseModel):
    """An order in which items are handed out."""

    name: str = Field(examples=["convincing_wrong"])
    title: str
    about: str = Field(description="What it means for a queue of traces.")
    about_pairs: str = Field(description="What it means for a queue of pairs.")
    ranks: bool = Field(description="It ranks by scores or ratings, and has a random share.")


class MineOut(BaseModel):
    """One rater's progress in a queue."""

    queue_id: str
    submitted: int
    skipped: int
    remaining: int = Field(description="What this rater could still rate, open work included.")
    submitted_today: int = Field(description="Since midnight, UTC.")
    minutes_each: float | None = Field(description="Median of the last 20, from shown to submitted.")


class ProgressOut(BaseModel):
    """How far a queue is."""

    items: int
    complete: int = Field(
        description="Items that as many have submitted as the overlap asks for; without overlap: anybody."
    )
    under_way: int
    untouched: int
    raters: list[dict[str, Any]] = Field(
        description="rater_id, submitted, skipped, late, open, minutes_each, last_at of each."
    )
    leases: list[dict[str, Any]] = Field(
        description="What is out: assignment_id, rater_id, trace_id, pair_id, prompt, ahead, leased_at, "
        "lease_expires_at, n_events."
    )
    note: str = Field(description="A sentence where the sampling has nothing to go by yet, else empty.")


async def find_queue(bench: Services, queue_id: str) -> Queue:
    """Raises Refused 404."""
    queue = await blocking(lambda: bench.store.queue(queue_id))
    if queue is None:
        raise Refused(404, f'There is no queue "{queue_id[:100]}".')
    return queue


@router.get("", summary="Queues", response_model=list[QueueOut], responses=refusals(403), dependencies=[needs("rater")])
async def queues(
    bench: Bench, me: Me, archived: Annotated[bool, Query(description="The archived ones too.")] = False
) -> list[dict[str, Any]]:
    """All queues, oldest first; with their settings for those who may change them."""
    found = await blocking(lambda: bench.store.read(lambda con: read_queues(con, archived=archived)))
    whole = me.may("researcher")
    return [
        q.to_json() if whole else {k: getattr(q, k) for k in ("queue_id", "title", "unit", "archived")} for q in found
    ]


@router.post(
    "", summary="Make a queue", status_code=201, response_model=QueueOut, responses=refusals(400, 403, 422, 503),
    dependencies=RESEARCHER,
)  # fmt: skip
async def make(bench: Bench, me: Me, asked: NewQueueIn) -> dict[str, Any]:
    """A new queue over the traces that its filter lets in, with a rubric of its own."""
    queue = _changed(Queue(new_id(), asked.title, asked.unit), asked)
    new = NewQueue(queue, asked.guidelines, me.rater_id)
    saved: Queue = await asyncio.wrap_future(bench.store.write(make_queues, new))
    return saved.to_json()


@router.patch(
    "/{queue_id}", summary="Change a queue", response_model=QueueOut, responses=refusals(400, 403, 404, 422, 503),
    dependencies=RESEARCHER,
)  # fmt: skip
async def change(bench: Bench, queue_id: str, asked: QueueIn) -> dict[str, Any]:
    """Fields that are absent stay as they are. What is in raters' hands stays with them."""
    queue = _changed(await find_queue(bench, queue_id), asked)
    saved: Queue = await asyncio.wrap_future(bench.store.write(save_queues, queue))
    return saved.to_json()


def _changed(queue: Queue, asked: QueueIn) -> Queue:
    sent = asked.model_fields_set - {"config", "unit", "guidelines"}
    for name in sent - {"overlap"}:
        if getattr(asked, name) is None:
            raise Refused(422, f'"{name}" is null; leave it out to keep it as it is.')
    config = {name: getattr(asked.config, name) for name in asked.config.model_fields_set}
    nothing = next((name for name, value in config.items() if value is None), None)
    if nothing:
        raise Refused(422, f'"config.{nothing}" is null; leave it out to keep it as it is.')
    kept = {f.name: getattr(queue.config, f.name) for f in fields(Config)}
    return replace(queue, **{name: getattr(asked, name) for name in sent}, config=Config.from_json(kept | config))


@router.get(
    "/{queue_id}/guidelines", summary="Guidelines", response_model=RubricOut, responses=refusals(403, 404),
    dependencies=[needs("rater")],
)  # fmt: skip
async def guidelines(
    bench: Bench, queue_id: str, version: Annotated[int | None, Query(description="The newest when absent.")] = None
) -> dict[str, Any]:
    """What raters of this queue read, and what its rubric asks."""
    queue = await find_queue(bench, queue_id)
    wanted = queue.rubric_version if version is None else version
    rubric = await blocking(lambda: bench.store.read(lambda con: rubrics.read_rubric(con, queue.rubric_id, wanted)))
    if rubric is None:
        raise Refused(404, f"The rubric of this queue has no version {wanted}.")
    return rubric.to_json()


@router.get(
    "/{queue_id}/guidelines/versions", summary="All versions of the guidelines", response_model=list[RubricOut],
    responses=refusals(403, 404), dependencies=RESEARCHER,
)  # fmt: skip
async def versions(bench: Bench, queue_id: str) -> list[dict[str, Any]]:
    """Newest first."""
    queue = await find_queue(bench, queue_id)
    found = await blocking(lambda: bench.store.read(lambda con: rubrics.read_versions(con, queue.rubric_id)))
    return [rubric.to_json() for rubric in found]


@router.post(
    "/{queue_id}/guidelines", summary="Write new guidelines", status_code=201, response_model=RubricOut,
    responses=refusals(400, 403, 404, 422, 503), dependencies=RESEARCHER,
)  # fmt: skip
async def write_guidelines(bench: Bench, me: Me, queue_id: str, asked: GuidelinesIn) -> dict[str, Any]:
    """The next version. Items handed out from now on have it."""
    queue = await find_queue(bench, queue_id)
    before = await blocking(
        lambda: bench.store.read(lambda con: rubrics.read_rubric(con, queue.rubric_id, queue.rubric_version))
    )
    held = before.questions if before else Questions()
    for criterion in asked.criteria or ():
        if set(criterion) != {"name", "words"}:
            raise Refused(422, '"criteria": each entry has a "name" and "words", and nothing else.')
    questions = Questions(
        held.error_types if asked.error_types is None else tuple(asked.error_types),
        held.tags if asked.tags is None else tuple(asked.tags),
        held.criteria if asked.criteria is None else tuple((c["name"], c["words"]) for c in asked.criteria),
    )
    rubric = Rubric(queue.rubric_id, 0, asked.guidelines, questions, me.rater_id)
    added: Rubric = await asyncio.wrap_future(bench.store.write(rubrics.add_versions, rubric))
    now = await find_queue(bench, queue_id)
    await asyncio.wrap_future(bench.store.write(save_queues, replace(now, rubric_version=added.version)))
    return added.to_json()


@router.get(
    "/{queue_id}/mine", summary="My progress", response_model=MineOut, responses=refusals(403, 404, 422),
    dependencies=[needs("rater")],
)  # fmt: skip
async def mine(
    bench: Bench, me: Me, queue_id: str,
    rater: Annotated[str | None, Query(description='The rater\'s name; "local" when absent.')] = None,
) -> dict[str, Any]:  # fmt: skip
    """How many I have submitted, how many are left for me, how long one takes me."""
    queue, name = await find_queue(bench, queue_id), rater_of(rater, me)
    return (await blocking(lambda: bench.store.read(lambda con: progress.mine(con, name, queue)))).to_json()


@router.get(
    "/{queue_id}/progress", summary="How far a queue is", response_model=ProgressOut, responses=refusals(403, 404),
    dependencies=RESEARCHER,
)  # fmt: skip
async def queue_progress(bench: Bench, queue_id: str) -> dict[str, Any]:
    """Items, raters and leases of a queue."""
    queue = await find_queue(bench, queue_id)

    def read() -> dict[str, Any]:
        found = bench.store.read(lambda con: progress.queue_progress(con, queue))
        return {**found.to_json(), "note": bench.store.sampling_lacks(queue)}

    return await blocking(read)


strategies_router = APIRouter(prefix="/sampling", tags=["queues"], dependencies=RESEARCHER)


@strategies_router.get("", summary="Orders of sampling", response_model=list[StrategyOut], responses=refusals(403))
async def strategies() -> list[dict[str, Any]]:
    """The orders in which a queue can hand out its items."""
    standard = Queue("", "")
    return [
        {
            "name": s.name,
            "title": s.title,
            "about": s.traces.about,
            "about_pairs": s.pairs.about,
            "ranks": any(part.rank for part in s.traces.slices(standard)),
        }
        for s in STRATEGIES.values()
    ]
