"""Pairs: two answers to one question, compared blind; making them, taking the next, what raters think of them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, In, Me, blocking, needs, rater_of, refusals
from app.api.errors import Refused
from app.outcomes import judged_now
from app.people import Person
from core.scrub import scrub
from core.trace import Trace
from storage import verdicts
from storage.gold import OnHold
from storage.pairing import BY_HAND, MOST_A_PROBLEM, PairError, by_hand, under_policy
from storage.pairs import DEFAULT_PAIR_QUEUE, Pair, add_pairs, count_new, read_pair, read_pairs, set_up_pairs
from storage.queues.settings import Queue, read_queues
from storage.store import Assignment, Store

router = APIRouter(prefix="/pairs", tags=["comparing"], dependencies=[needs("rater")])

MOST_BY_HAND = 1000
FIELDS = ("name", "thought", "summary", "reflection")


class NextPairIn(In):
    """Who wants to compare, and from which queue."""

    rater: str | None = Field(None, description='The rater\'s name; "local" when absent.', examples=["local"])
    queue_id: str | None = Field(None, description="A queue of pairs; the first that has work when absent.")
    ahead: bool = Field(False, description="To be shown later: the lease begins with `begin`.")


class BeginIn(In):
    """Whose pair is shown now."""

    rater: str | None = Field(None, description='The rater\'s name; "local" when absent.')


class Began(BaseModel):
    """Whether the place is still held."""

    held: bool


class Side(BaseModel):
    """One of the two, as it is shown. Everything that says whose it is stays away until `names_visible`."""

    steps: list[dict[str, Any]] = Field(description="As in a trace, without offsets; names scrubbed while blind.")
    answer: str
    finish_reason: str
    n_hidden: int = Field(description="Passages of the text that name a model or its maker, and are hidden.")
    hidden: list[str] | None = Field(None, description="Those passages, once names are visible.")
    trace_id: str | None = None
    model: str | None = None
    solved: bool | None = Field(None, description="Absent until the reference answer may be seen, or it is submitted.")


class Criterion(BaseModel):
    """Something the rubric asks beside the preference; judged as `preference.NAME`."""

    name: str = Field(examples=["clarity"])
    words: str = Field(examples=["Which is clearer?"])


class PairWork(BaseModel):
    """Everything the Compare page needs. Ratings are in the pair's own order: where `swapped`, −3 is for the right side."""

    model_config = ConfigDict(extra="allow")

    assignment: dict[str, Any] | None
    reason: str | None = Field(None, description="Why there is nothing to compare.")
    queue: dict[str, Any] | None = None
    guidelines: str = ""
    criteria: list[Criterion] = []
    prompt: str = ""
    reference: str | None = Field(None, description="The reference answer, where there is one and the queue shows it.")
    shared_steps: int = Field(0, description="So many first steps are the same in both, byte for byte.")
    sides: list[Side] = Field([], description="What stands on the left, what on the right.")
    ratings: list[dict[str, Any]] = []
    names_visible: bool = False
    names_seen: bool = Field(False, description="It was submitted once already, and the names were shown then.")
    remaining: int | None = None
    events_seq: int | None = None


class PairQueue(BaseModel):
    """A queue of pairs, and what it holds for the rater."""

    queue_id: str
    title: str
    blind: bool
    remaining: int


class MakeIn(In):
    """Which pairs to make."""

    policy: Literal["by_hand", "any", "outcome", "models", "siblings"] = Field(
        description="by_hand: those in `pairs`. Else every two traces of one question that: are any two; one solved and one "
        "not; are of two models; are a trace and its fork, or two forks, with a beginning in common."
    )
    queue_id: str = Field(
        DEFAULT_PAIR_QUEUE, description="A queue of pairs; the standard one is made when there is none."
    )
    pairs: Annotated[list[tuple[str, str]], Field(max_length=MOST_BY_HAND)] = Field(
        [], description="Two trace ids each, in either order.", examples=[[["01kaex…", "01kaey…"]]]
    )
    problem_id: str | None = Field(None, description="Only traces of this problem.")
    most_a_problem: Annotated[int, Field(ge=1, le=MOST_A_PROBLEM)] = Field(4, description="Pairs a problem at most.")
    dry_run: bool = Field(False, description="Only count.")


class Made(BaseModel):
    """What was made."""

    found: int = Field(description="Pairs that fit.")
    new: int = Field(description="Of these, not in the queue before.")
    sharing: int = Field(description="Of those that fit, with a beginning in common.")


class PairLine(BaseModel):
    """A pair with its votes (left and right in the pair's own order)."""

    model_config = ConfigDict(extra="allow")

    pair_id: str
    left_trace_id: str
    right_trace_id: str
    shared_steps: int
    source: str
    verdict: dict[str, Any] | None = Field(description="Votes and outcome; null before anybody has submitted.")


class PairPage(BaseModel):
    """A page of pairs, newest first."""

    pairs: list[PairLine]
    next: str | None = Field(description="Send it as `after` to get the next page; null on the last one.")


class Bias(BaseModel):
    """How often the left side of the screen is preferred."""

    n: int = Field(description="Preferences for a side.")
    left: int
    p_left: float | None
    low: float | None = Field(description="Of a 95 % interval (Wilson).")
    high: float | None
    verdict: str = Field(examples=["No leaning to a side is to be seen."])


@router.get("/queues", summary="Queues of pairs", response_model=list[PairQueue], responses=refusals(422))
async def pair_queues(
    bench: Bench, me: Me, rater: Annotated[str | None, Query(description="Whose work is counted.")] = None
) -> list[PairQueue]:
    """Every queue of pairs that is not archived, with how much is left for the rater."""
    name = rater_of(rater, me)
    return await blocking(lambda: _queues(bench.store, name))


def _queues(store: Store, rater: str) -> list[PairQueue]:
    queues = [q for q in store.read(read_queues) if q.unit == "pair"]
    return [
        PairQueue(queue_id=q.queue_id, title=q.title, blind=q.blind, remaining=store.remaining(rater, q.queue_id))
        for q in queues
    ]


@router.post(
    "/next", summary="Take the next pair to compare", response_model=PairWork, response_model_exclude_unset=True,
    responses=refusals(400, 403, 404, 422, 503),
)  # fmt: skip
async def next_pair(bench: Bench, me: Me, asked: NextPairIn | None = None) -> dict[str, Any]:
    """The rater's open pair (a reload comes back to it), else the next one that they have not had."""
    rater = rater_of(asked.rater if asked else None, me)
    queue_id, ahead = (asked.queue_id, asked.ahead) if asked else (None, False)
    store = bench.store

    def take() -> dict[str, Any]:
        if queue_id is not None:
            queue = _pair_queue(store, queue_id)
            if queue.archived:
                return {"assignment": None, "reason": f"The queue “{queue.title}” is closed; choose another."}
            wanted = [queue.queue_id]
        else:
            wanted = [q.queue_id for q in _queues(store, rater) if q.remaining]
        held = ""
        for one in wanted:
            try:
                found = store.next_assignment(rater, one, ahead=ahead)
            except OnHold as said:
                held = str(said)
                continue
            if found is not None:
                return _work(store, found)
        if held:
            return {"assignment": None, "reason": held}
        known = [q for q in store.read(read_queues) if q.unit == "pair"]
        reason = "You have compared every pair there is for you." if known else "There are no pairs yet."
        return {"assignment": None, "reason": f"{reason} A researcher can make more of them."}

    return await blocking(take)


@router.post(
    "/assignments/{assignment_id}/begin", summary="A pair that was fetched ahead is shown now", response_model=Began,
    responses=refusals(403, 404, 422, 503),
)  # fmt: skip
async def begin(bench: Bench, me: Me, assignment_id: str, asked: BeginIn | None = None) -> Began:
    """Its lease begins. `held` false: it lapsed, and its place was taken; take another."""
    found = await blocking(lambda: _assignment(bench.store, assignment_id, me))
    rater = rater_of(asked.rater if asked else None, me)
    if found.rater_id != rater:
        raise Refused(403, "This pair was given to another rater; take the next one instead.")
    return Began(held=await blocking(lambda: bench.store.begin(assignment_id, rater)) is not None)


@router.get(
    "/assignments/{assignment_id}", summary="One comparison", response_model=PairWork, response_model_exclude_unset=True,
    responses=refusals(403, 404),
)  # fmt: skip
async def one_comparison(bench: Bench, me: Me, assignment_id: str) -> dict[str, Any]:
    """The pair as it was shown to its rater, and what counts now."""
    return await blocking(lambda: _work(bench.store, _assignment(bench.store, assignment_id, me)))


@router.get("/position-bias", summary="P(left)", response_model=Bias, dependencies=[needs("adjudicator")])
async def position_bias(
    bench: Bench, queue_id: Annotated[str | None, Query(description="Of one queue; of all when absent.")] = None
) -> dict[str, Any]:
    """How often raters prefer what stands on the left of their screen; a half where sides do not matter."""
    return await blocking(lambda: bench.store.read(lambda con: verdicts.position_bias(con, queue_id=queue_id)))


@router.get(
    "", summary="List pairs", response_model=PairPage, responses=refusals(404, 422), dependencies=[needs("adjudicator")]
)
async def list_pairs(
    bench: Bench,
    queue_id: Annotated[str, Query(description="A queue of pairs.")] = DEFAULT_PAIR_QUEUE,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> dict[str, Any]:
    """A page of a queue's pairs, newest first, with the votes that count now."""

    def read() -> dict[str, Any]:
        _pair_queue(bench.store, queue_id)
        pairs = bench.store.read(lambda con: read_pairs(con, queue_id, limit=limit + 1, after=after or ""))
        ids = [p.pair_id for p in pairs[:limit]]
        rows = bench.store.read(lambda con: verdicts.pair_rows(con, pair_ids=ids))
        known = {row.pair_id: row.to_json() for row in rows}
        lines = [{**p.to_json(), "verdict": known.get(p.pair_id)} for p in pairs[:limit]]
        return {"pairs": lines, "next": lines[-1]["pair_id"] if len(pairs) > limit else None}

    return await blocking(read)


@router.post(
    "", summary="Make pairs", response_model=Made, responses=refusals(400, 403, 404, 422, 503),
    dependencies=[needs("researcher")],
)  # fmt: skip
async def make_pairs(bench: Bench, asked: MakeIn) -> Made:
    """By hand, or all that fit a policy. Making them again adds only what is new."""
    if (asked.policy == BY_HAND) != bool(asked.pairs):
        raise Refused(422, '"pairs" lists the traces of the policy "by_hand", and of no other.')
    store = bench.store
    if asked.queue_id == DEFAULT_PAIR_QUEUE and not asked.dry_run:
        await asyncio.wrap_future(store.write(set_up_pairs, None))
    try:
        pairs = await blocking(lambda: _found(store, asked))
    except PairError as problem:
        raise Refused(422, str(problem)) from None
    if asked.dry_run:
        new = await blocking(lambda: store.read(lambda con: count_new(con, pairs)))
    else:
        new = await asyncio.wrap_future(store.write(add_pairs, pairs))
    return Made(found=len(pairs), new=new, sharing=sum(p.shared_steps > 0 for p in pairs))


def _found(store: Store, asked: MakeIn) -> list[Pair]:
    queue_id = asked.queue_id
    if not (asked.dry_run and queue_id == DEFAULT_PAIR_QUEUE):  # counting does not make that one
        _pair_queue(store, queue_id)
    if asked.policy == BY_HAND:
        return store.read(lambda con: by_hand(con, queue_id, asked.pairs))
    return store.read(
        lambda con: under_policy(
            con, queue_id, asked.policy, problem_id=asked.problem_id, most_a_problem=asked.most_a_problem
        )
    )


# ---- what the routes share


def _pair_queue(store: Store, queue_id: str) -> Queue:
    queue = store.queue(queue_id)
    if queue is None:
        raise Refused(404, f'There is no queue "{queue_id[:100]}".')
    if queue.unit != "pair":
        raise Refused(422, f'"queue_id" is {queue_id[:100]!r}, a queue of single traces; name one of pairs.')
    return queue


def _assignment(store: Store, assignment_id: str, me: Person) -> Assignment:
    found = store.assignment(assignment_id)
    if found is None or found.pair_id is None:
        raise Refused(404, f'There is no comparison "{assignment_id[:100]}".')
    if not me.alone and found.rater_id != me.rater_id and not me.may("adjudicator"):
        raise Refused(403, "This is another rater's work; an adjudicator may look at it.")
    return found


def _work(store: Store, work: Assignment) -> dict[str, Any]:
    pair = store.read(lambda con: read_pair(con, work.pair_id or ""))
    queue = store.queue(work.queue_id)
    assert pair is not None and queue is not None  # neither is ever removed
    rubric = store.rubric(work.rubric_id, work.rubric_version)
    ids = [pair.left_trace_id, pair.right_trace_id]
    traces = [store.trace(trace_id) for trace_id in (ids[::-1] if work.swapped else ids)]
    left, right = (judged_now(store, t) for t in traces if t is not None)
    submitted = work.status == "submitted"
    visible = not queue.blind or submitted
    reference = {"shown": True, "after": submitted}.get(queue.config.reference, False)
    # Which of the two is right says as much as the reference answer.
    checked = submitted or queue.config.reference == "shown"
    answer = store.query("select answer from problem where problem_id = ? limit 1", [pair.problem_id])
    shown = (
        "assignment_id",
        "queue_id",
        "pair_id",
        "rater_id",
        "status",
        "status_reason",
        "swapped",
        "lease_expires_at",
    )
    events = store.events(work.assignment_id)
    return {
        "assignment": {name: getattr(work, name) for name in shown},
        "queue": {"queue_id": queue.queue_id, "title": queue.title, "blind": queue.blind},
        "guidelines": rubric.guidelines if rubric else "",
        "criteria": rubric.questions.to_json()["criteria"] if rubric else [],
        "prompt": left.prompt,
        "reference": answer[0][0] if reference and answer else None,
        "shared_steps": pair.shared_steps,
        "sides": [_side(side, visible, checked) for side in (left, right)],
        "ratings": [rating.to_json() for rating in store.current_ratings(work.assignment_id)],
        "names_visible": visible,
        "names_seen": visible or any(event.action == "submit" for event in events),
        "remaining": store.remaining(work.rater_id, work.queue_id),
        "events_seq": work.events_seq,
    }


def _side(trace: Trace, visible: bool, checked: bool) -> dict[str, Any]:
    found: list[str] = []

    def clean(text: str) -> str:
        shown, out = scrub(text, [trace.model])
        found.extend(one.words for one in out)
        return text if visible else shown

    steps = []
    for step in trace.to_json()["steps"]:
        kept = {name: value for name, value in step.items() if name not in ("start", "end")}
        steps.append({**kept, **{name: clean(step[name]) for name in FIELDS}})
    side: dict[str, Any] = {"steps": steps, "answer": clean(trace.answer), "finish_reason": trace.finish_reason}
    side["n_hidden"] = 0 if visible else len(found)
    if visible:
        names = list(dict.fromkeys(found))
        side |= {"hidden": names, "trace_id": trace.trace_id, "model": trace.model}
        side |= {"solved": trace.solved} if checked else {}
    return side
