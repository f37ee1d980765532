"""Quality: how far raters agree, who can be relied on, where they differ, what was decided, what is known to be right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

import duckdb
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, In, Me, blocking, needs, refusals
from app.api.errors import Refused
from app.quality import Report
from app.services import Services
from core.scrub import scrub
from core.trace import Trace
from storage import adjudication, gold
from storage.adjudication import Decision
from storage.errors import StoreError
from storage.gold import Gold, Standing
from storage.pairs import flipped, read_pair
from storage.quality import disputes, raters, votes
from storage.quality.aggregate import METHODS
from storage.queues.settings import DEFAULT_QUEUE, read_queue
from storage.ratings import utc_now
from storage.traces import read_trace

router = APIRouter(tags=["quality"])
RESEARCHER, ADJUDICATOR = [needs("researcher")], [needs("adjudicator")]
MOST_LISTED = 200
CONTEXT_STEPS = 2  # shown before and after the step that is in dispute
PAIR_STEPS = 60  # shown of each side of a pair: as many as are read before deciding; the rest is counted

QueueOf = Annotated[str, Query(description="The queue's id.", examples=[DEFAULT_QUEUE])]
Dimension = Annotated[str, Query(description=f"What was judged: {', '.join(votes.JUDGED)}.")]
StepOf = Annotated[
    int | None, Query(ge=0, le=2**31 - 1, description="The step, counted from 0; absent for a whole trace or pair.")
]


class Dated(BaseModel):
    """A report over a queue: `computed_at` empty while the first one is being computed; `fresh` false when something was
    judged since, and a new one is on its way.
    """

    model_config = ConfigDict(extra="allow")

    computed_at: str = Field(examples=["2026-11-20T12:00:00Z"])
    took_s: float
    event_seq: int = Field(description="The last rating event that is counted.")
    fresh: bool


class Row(BaseModel):
    """Fields as the route says."""

    model_config = ConfigDict(extra="allow")


class AdjudicationIn(In):
    """What is right, and why. No value and no text takes an earlier decision back."""

    queue: str = Field(DEFAULT_QUEUE, examples=[DEFAULT_QUEUE])
    item: str = Field(description="The trace, or the pair.")
    step: int | None = Field(None, description="Counted from 0; absent for a whole trace or pair.")
    dimension: str = Field("correctness", examples=["correctness"])
    value: float | None = Field(None, examples=[-1])
    value_text: Literal["unsure"] | None = None
    reason: str = Field("", max_length=adjudication.MOST_REASON, examples=["The remainder is 4, not 3."])
    guideline_gap: bool = Field(False, description="The guidelines do not say what to do here.")


class AnswerIn(In):
    """One judgement that is right, as in a rating event."""

    target: str = Field(examples=["step"])
    step_idx: int | None = None
    dimension: str = Field(examples=["correctness"])
    value: float | None = None
    value_text: str | None = None


class GoldIn(In):
    """An item whose right judgement is known: from somebody's rating, from what was adjudicated, or given here."""

    queue: str = Field(DEFAULT_QUEUE, examples=[DEFAULT_QUEUE])
    item: str | None = Field(None, description="The trace, or the pair; absent with `assignment`.")
    kind: Literal["gold", "screening"] = "gold"
    assignment: str | None = Field(None, description="Take the answers of this assignment.")
    answers: list[AnswerIn] | None = Field(
        None, max_length=gold.MOST_ANSWERS, description="Absent, and no assignment: what was adjudicated or agreed on."
    )
    feedback: str = Field("", max_length=gold.MOST_FEEDBACK, description="What a rater reads after submitting.")
    active: bool = Field(True, description="False: it is no longer handed out as gold.")


class StandingIn(In):
    """Let a rater go on in a queue, or stop them."""

    queue: str = Field(DEFAULT_QUEUE, examples=[DEFAULT_QUEUE])
    rater: str = Field(examples=["ada"])
    state: Literal["open", "paused"]
    reason: str = Field("", max_length=gold.MOST_FEEDBACK, description="A sentence for the rater.")


# ---------------------------------------------------------------- reports


@router.get("/quality/agreement", summary="How far raters agree", response_model=Dated, dependencies=RESEARCHER, responses=refusals(403, 404))  # fmt: skip
async def agreement(bench: Bench, queue: QueueOf = DEFAULT_QUEUE) -> dict[str, Any]:
    """For everything that is judged: percent, α, AC1 with n, interval, and a sentence where undefined; κ of each two
    raters; how far apart they see the first error.
    """

    def compute(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        found = {}
        for name, judged in votes.JUDGED.items():
            found[name] = {"title": judged.title, "scale": judged.scale, **asdict(votes.agreement(con, queue, judged))}
            found[name]["pairwise"] = [asdict(pair) for pair in votes.pairwise(con, queue, judged)]
        return {"judged": found, "first_errors": asdict(votes.first_errors(con, queue))}

    await _queue(bench, queue)
    return _dated(await bench.quality.report(("agreement", queue), compute))


@router.get("/quality/raters", summary="Each rater of a queue", response_model=Dated, dependencies=RESEARCHER, responses=refusals(403, 404))  # fmt: skip
async def each_rater(bench: Bench, queue: QueueOf = DEFAULT_QUEUE) -> dict[str, Any]:
    """How much, how fast (idle time not counted), how often unsure, how right on gold, and whether they may go on."""
    await _queue(bench, queue)
    compute = _rows(lambda con: raters.raters(con, queue))
    return _dated(await bench.quality.report(("raters", queue), compute))


@router.get("/quality/competence", summary="How far each rater can be relied on", response_model=Dated, dependencies=RESEARCHER, responses=refusals(403, 404, 422))  # fmt: skip
async def competence(
    bench: Bench,
    queue: QueueOf = DEFAULT_QUEUE,
    dimension: Dimension = "correctness",
    method: Annotated[str, Query(description=f"One of {', '.join(METHODS)}.")] = "dawid_skene",
) -> dict[str, Any]:
    """The chance that a rater's vote is the right label, estimated from the votes alone, and a histogram of the labels."""
    judged = _judged(dimension)
    if method not in METHODS:
        raise Refused(422, f'"method" is "{method[:60]}"; it must be one of {", ".join(METHODS)}.')
    await _queue(bench, queue)

    def compute(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        found = raters.competence(con, queue, judged, method)
        labels = [0] * len(judged.scale)
        for value in found.labels.values():
            labels[min(range(len(labels)), key=lambda k: abs(judged.scale[k] - value))] += 1
        return {
            "method": method, "competence": found.competence, "sentence": found.sentence, "scale": judged.scale,
            "labels": labels,
        }  # fmt: skip

    return _dated(await bench.quality.report(("competence", queue, dimension, method), compute))


# ---------------------------------------------------------------- where raters differ


@router.get("/quality/disagreements", summary="Where raters differ", response_model=Dated, dependencies=ADJUDICATOR, responses=refusals(403, 404, 422))  # fmt: skip
async def disagreements(
    bench: Bench,
    queue: QueueOf = DEFAULT_QUEUE,
    dimension: Dimension = "correctness",
    state: Annotated[Literal["open", "settled", "all"], Query(description="Open: not decided yet.")] = "open",
    after: Annotated[int, Query(ge=0, le=disputes.MOST, description="How many to pass over.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
) -> dict[str, Any]:
    """The units with the widest spread of votes first, with how many gave each value; never who."""
    judged = _judged(dimension)
    await _queue(bench, queue)
    report = await bench.quality.report(
        ("disputes", queue, dimension), lambda con: disputes.disputes(con, queue, judged)
    )
    decided = await blocking(lambda: bench.store.read(lambda con: adjudication.current(con, queue)))
    settled = {(d.item_id, d.step_idx): d for d in decided if d.dimension == dimension}
    found: disputes.Disputes | None = report.value
    matching = [
        row
        for row in (found.rows if found else ())
        if state == "all" or ((row.item_id, row.step_idx) in settled) is (state == "settled")
    ]
    rows = [
        {**asdict(row), "decision": _decided(settled.get((row.item_id, row.step_idx)))}
        for row in matching[after : after + limit]
    ]
    return {
        **_dated(report), "rows": rows, "matching": len(matching), "n": found.n if found else 0,
        "n_units": found.n_units if found else 0, "scale": judged.scale, "n_settled": len(settled),
    }  # fmt: skip


@router.get("/quality/disagreement", summary="One step in dispute", response_model=Row, dependencies=ADJUDICATOR, responses=refusals(403, 404, 422))  # fmt: skip
async def disagreement(
    bench: Bench, item: Annotated[str, Query(description="The trace, or the pair.")], queue: QueueOf = DEFAULT_QUEUE,
    dimension: Dimension = "correctness", step: StepOf = None,
) -> dict[str, Any]:  # fmt: skip
    """What each rater said of it, as letters, beside the step with its neighbours; and what was decided so far."""
    judged = _judged(dimension)
    await _queue(bench, queue)

    def read(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        return {
            "opinions": [asdict(o) for o in disputes.opinions(con, queue, item, step, judged)],
            "decisions": [asdict(d) for d in adjudication.decisions_on(con, queue, item, step, dimension)],
            "scale": judged.scale, "target": judged.target, **_texts(con, item, step),
        }  # fmt: skip

    return await blocking(lambda: bench.store.read(read))


@router.get("/quality/history", summary="Everything that was ever done to one label", response_model=list[Row], dependencies=ADJUDICATOR, responses=refusals(403, 404, 422))  # fmt: skip
async def history(
    bench: Bench, me: Me, item: Annotated[str, Query(description="The trace, or the pair.")],
    queue: Annotated[str | None, Query(description="The queue's id; any queue when absent.")] = None, step: StepOf = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Every event on a step (or on the whole, without one): who, when, by key or mouse, after how long, with scores in
    sight or not. Adjudicators see letters for names.
    """
    if queue is not None:
        await _queue(bench, queue)
    names = me.may("researcher")
    found = await blocking(lambda: bench.store.read(lambda con: disputes.history(con, queue, item, step, names=names)))
    return [asdict(event) for event in found]


@router.get("/quality/adjudications", summary="What was decided", response_model=list[Row], dependencies=ADJUDICATOR, responses=refusals(403, 404, 422))  # fmt: skip
async def decided(
    bench: Bench, queue: QueueOf = DEFAULT_QUEUE,
    gaps: Annotated[bool, Query(description="Only where the guidelines have a gap.")] = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """The decisions that count now, the latest first; those with a gap are what the next guidelines are written from."""
    await _queue(bench, queue)
    found = await blocking(lambda: bench.store.read(lambda con: adjudication.current(con, queue, gaps=gaps)))
    return [asdict(decision) for decision in found]


@router.post("/quality/adjudications", summary="Decide", status_code=201, response_model=Row, dependencies=ADJUDICATOR, responses=refusals(400, 403, 404, 422, 503))  # fmt: skip
async def decide(bench: Bench, me: Me, sent: AdjudicationIn) -> dict[str, Any]:
    """Say what is right where raters differ, and why. In snapshots it wins over every vote; nobody's rating is changed."""
    await _queue(bench, sent.queue)
    wish = Decision(
        sent.queue, sent.item, sent.dimension, sent.step, sent.value, sent.value_text, me.rater_id, sent.reason,
        sent.guideline_gap,
    )  # fmt: skip
    kept: Decision = await _write(bench, adjudication.decide, wish)
    return asdict(kept)


# ---------------------------------------------------------------- gold


@router.get("/quality/gold", summary="Items whose right judgement is known", response_model=list[Row], dependencies=RESEARCHER, responses=refusals(403, 404))  # fmt: skip
async def known(bench: Bench, queue: QueueOf = DEFAULT_QUEUE) -> list[dict[str, Any]]:
    """Gold and screening items of a queue with their answers, the oldest first, and how raters did on each."""
    await _queue(bench, queue)

    def read(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
        done: dict[str, list[float]] = {}
        for score in gold.scores(con, queue):
            done.setdefault(score.item_id, []).append(score.share)
        rows, items = [], gold.read_gold(con, queue)
        asked = _questions(con, [one.item_id for one in items])
        for one in items:
            shares = done.get(one.item_id, [])
            right = sum(shares) / len(shares) if shares else None
            rows.append({**one.to_json(), **asked.get(one.item_id, {}), "n": len(shares), "right": right})
        return rows

    return await blocking(lambda: bench.store.read(read))


@router.post("/quality/gold", summary="Make an item gold", status_code=201, response_model=Row, dependencies=RESEARCHER, responses=refusals(400, 403, 404, 422, 503))  # fmt: skip
async def make_gold(bench: Bench, me: Me, sent: GoldIn) -> dict[str, Any]:
    """From now on it is handed out unseen among the queue's other items, or, as a screening item, before them. Whoever
    has rated it already does not get it.
    """
    await _queue(bench, sent.queue)
    item, answers = (
        sent.item,
        None if sent.answers is None else tuple(gold.Answer(**a.model_dump()) for a in sent.answers),
    )
    if sent.assignment is not None:
        source = await blocking(lambda: bench.store.assignment(sent.assignment or ""))
        if source is None:
            raise Refused(404, f'There is no assignment "{sent.assignment[:100]}".')
        item = source.pair_id or source.trace_id
        answers = answers or await _read(bench, lambda con: gold.answers_of_assignment(con, sent.assignment or ""))
    if item is None:
        raise Refused(422, '"item" is missing; name the trace or the pair, or an assignment to take the answers from.')
    if answers is None:
        answers = await _read(bench, lambda con: _answers_so_far(con, sent, item))
    made = Gold(sent.queue, item, sent.kind, answers, sent.feedback, sent.active, me.rater_id)
    kept: Gold = await _write(bench, gold.add_gold, made)
    return kept.to_json()


@router.post("/quality/standing", summary="Pause a rater, or let them go on", status_code=201, response_model=Row, dependencies=[needs("admin")], responses=refusals(400, 403, 404, 422, 503))  # fmt: skip
async def set_standing(bench: Bench, me: Me, sent: StandingIn) -> dict[str, Any]:
    """Who is let in again starts anew: only gold items submitted from now on count for the next pause."""
    await _queue(bench, sent.queue)
    standard = {"open": "An admin lets you go on.", "paused": "An admin has paused you in this queue; ask them why."}
    wish = Standing(
        sent.rater, sent.queue, sent.state, sent.reason.strip() or standard[sent.state], me.rater_id, utc_now()
    )
    kept: Standing = await _write(bench, gold.set_standing, wish)
    return asdict(kept)


@router.get("/assignments/{assignment_id}/feedback", summary="How right a submitted item was", response_model=Row, dependencies=[needs("rater")], responses=refusals(403, 404, 409))  # fmt: skip
async def feedback(bench: Bench, me: Me, assignment_id: str) -> dict[str, Any]:
    """After submitting an item whose right judgement is known: what was right of the first submission. `gold` is false for
    all others; before submitting nobody is told which is which.
    """
    assignment = await blocking(lambda: bench.store.assignment(assignment_id))
    if assignment is None:
        raise Refused(404, f'There is no assignment "{assignment_id[:100]}".')
    if not me.alone and assignment.rater_id != me.rater_id and not me.may("researcher"):
        raise Refused(403, "This is another rater's work; a researcher may look at it.")
    if assignment.status != "submitted":
        raise Refused(409, "This is not submitted; whether there is feedback is said after that.")
    found = await _read(bench, lambda con: gold.scores(con, assignment.queue_id, assignment_id=assignment_id))
    if not found:
        return {"gold": False}
    score = found[0]
    return {
        "gold": True, "kind": score.kind, "right": score.right, "of": len(score.compared), "feedback": score.feedback,
        "compared": [_as_shown(asdict(one), assignment.swapped) for one in score.compared],
    }  # fmt: skip


# ---------------------------------------------------------------- small pieces


async def _queue(bench: Services, queue_id: str) -> None:
    if await _read(bench, lambda con: read_queue(con, queue_id)) is None:
        raise Refused(404, f'There is no queue "{queue_id[:100]}".')


async def _read(bench: Services, read: Callable[[duckdb.DuckDBPyConnection], Any]) -> Any:
    return await blocking(lambda: bench.store.read(read))


async def _write(bench: Services, operation: Callable[..., Any], wish: Any) -> Any:
    """What the store refuses because of what was sent is that person's to mend: 422, not 503."""
    try:
        return await asyncio.wrap_future(bench.store.write(operation, wish))
    except StoreError as refusal:
        if str(refusal).startswith("Nothing was saved"):
            raise
        raise Refused(422, str(refusal)) from None


def _judged(dimension: str) -> votes.Judged:
    try:
        return votes.judged_of(dimension)
    except StoreError as refusal:
        raise Refused(422, str(refusal)) from None


def _answers_so_far(con: duckdb.DuckDBPyConnection, sent: GoldIn, item: str) -> tuple[gold.Answer, ...]:
    """Of an item that is gold already (its feedback changes, or it ends) the answers it has; else what was adjudicated."""
    held = next((one for one in gold.read_gold(con, sent.queue) if one.item_id == item), None)
    return held.answers if held else gold.answers_adjudicated(con, sent.queue, item)


def _rows(
    read: Callable[[duckdb.DuckDBPyConnection], list[Any]],
) -> Callable[[duckdb.DuckDBPyConnection], dict[str, Any]]:
    return lambda con: {"rows": [asdict(row) for row in read(con)]}


def _dated(report: Report) -> dict[str, Any]:
    value = report.value if isinstance(report.value, dict) else {}
    return {**value, "computed_at": report.computed_at, "took_s": report.took_s, "event_seq": report.event_seq, "fresh": report.fresh}  # fmt: skip


def _as_shown(one: dict[str, Any], swapped: bool | None) -> dict[str, Any]:
    """A preference as the rater saw it: the pair's right trace may have stood on the left."""
    if one["dimension"].startswith("preference"):
        one.update({name: flipped(one[name], bool(swapped)) for name in ("expected", "given")})
    return one


def _decided(decision: Decision | None) -> dict[str, Any] | None:
    return None if decision is None else {"value": decision.value, "value_text": decision.value_text}


def _question(con: duckdb.DuckDBPyConnection, item: str) -> dict[str, Any]:
    """The question of an item, and the trace it stands for. Raises Refused 404."""
    found = _questions(con, [item])
    if item not in found:
        raise Refused(404, f'There is no trace or pair "{item[:100]}".')
    return found[item]


def _questions(con: duckdb.DuckDBPyConnection, items: list[str]) -> dict[str, dict[str, Any]]:
    """The same of many at once, by their ids: the ids of all traces are read once for all of them."""
    among = "(select unnest(?::varchar[]))"
    left = dict(con.execute(f"select pair_id, left_trace_id from pair where pair_id in {among}", [items]).fetchall())
    trace_of = {item: left.get(item, item) for item in items}
    wanted = con.execute(f"select rowid from trace where trace_id in {among}", [list(trace_of.values())]).fetchall()
    rows = con.execute(
        "select trace_id, prompt, n_steps, answer from trace where rowid in (select unnest(?::bigint[]))",
        [[rowid for (rowid,) in wanted]],
    ).fetchall()
    of = {row[0]: dict(zip(("trace_id", "prompt", "n_steps", "answer"), row, strict=True)) for row in rows}
    return {item: of[trace_id] for item, trace_id in trace_of.items() if trace_id in of}


def _texts(con: duckdb.DuckDBPyConnection, item: str, step: int | None) -> dict[str, Any]:
    """The question of an item; of a trace the step with its neighbours, of a pair both sides. Raises Refused 404."""
    found, pair = _question(con, item), read_pair(con, item)
    if pair is None:
        around = range(max(0, (step or 0) - CONTEXT_STEPS), 0 if step is None else step + CONTEXT_STEPS + 1)
        trace = read_trace(con, found["trace_id"])
        return {**found, "shared_steps": 0, "sides": [], "steps": _steps(trace, around, None) if trace else []}
    queue = read_queue(con, pair.queue_id)
    sides = []
    for trace in (read_trace(con, pair.left_trace_id), read_trace(con, pair.right_trace_id)):
        assert trace is not None  # a pair's traces are never removed
        # Whose it is stays hidden, as it was from the raters; from the last step that both have, for what differs is decided on.
        hidden = [trace.model] if queue is None or queue.blind else None
        first = max(0, pair.shared_steps - 1)
        steps = _steps(trace, range(first, first + PAIR_STEPS), hidden)
        answer = trace.answer if hidden is None else scrub(trace.answer, hidden)[0]
        sides.append({"n_steps": len(trace.steps), "answer": answer, "steps": steps})
    return {**found, "answer": "", "steps": [], "shared_steps": pair.shared_steps, "sides": sides}


def _steps(trace: Trace, places: range, hidden: list[str] | None) -> list[dict[str, Any]]:
    """hidden: names to be taken out beside those that everybody knows; None: nothing is."""
    clean = (lambda text: text) if hidden is None else (lambda text: scrub(text, hidden)[0])
    return [
        {
            "step_idx": s.index, "text": clean(trace.response[s.start : s.end]), "name": clean(s.name),
            "thought": clean(s.thought), "summary": clean(s.summary), "reflection": clean(s.reflection),
        }
        for s in trace.steps[places.start : places.stop]
    ]  # fmt: skip
