"""Runs: start one, follow it, stop it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from app.api.common import After, Bench, In, LastEventId, blocking, follow, needs, refusals
from app.api.errors import Refused
from app.api.turns import turns_after
from app.runs import TooManyRuns
from app.services import Services
from app.token_limits import most_tokens
from core.engines.base import Bounds, Sampling, Thinking
from core.formats import known
from core.trace import GivenAs, Problem
from core.turns import Turns
from storage.references import read_reference

router = APIRouter(prefix="/runs", tags=["runs"], dependencies=[needs("researcher")])

QUESTION_LIMIT = 64 * 1024  # bytes of UTF-8
EXAMPLE = "Reach 24 from 4, 7, 8 and 8."
MOST_TOKENS, MOST_STEPS = 100_000, 10_000


class RunIn(In):
    """What to ask, of whom, and how."""

    prompt: str = Field(description="The question; at most 64 KB.", examples=[EXAMPLE])
    model: str = Field("pocket", description="An id from GET /api/models.", examples=["pocket"])
    temperature: float = Field(1.0, ge=0, le=5, description="0 always takes the likeliest token.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of probability to draw from.")
    seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="The same seed gives the same trace. Absent: random."
    )
    max_tokens: int | None = Field(
        None, ge=1, le=MOST_TOKENS,
        description="Longest response. Absent: what suits the model (`max_tokens` in GET /api/models), less the question.",
    )  # fmt: skip
    min_steps: int = Field(0, ge=0, le=MOST_STEPS, description="The model may not finish before this many steps.")
    max_steps: int = Field(60, ge=1, le=MOST_STEPS, description="The model is made to finish after this many steps.")
    thinking_budget: int | None = Field(
        None, ge=1, le=MOST_TOKENS, description="The end of thinking is forced after this many tokens of it."
    )
    waits: int = Field(0, ge=0, le=100, description='So often an end of thinking is taken back ("Wait").')
    format: str | None = Field(
        None, description="Read the response as this format, not as it begins (docs/formats.md)."
    )
    after: str | None = Field(
        None, description="A trace that has ended: the question follows it, and what came before goes to the model too."
    )
    earlier_as: GivenAs = Field(
        "summaries", description="With `after`: earlier turns without their thoughts (summaries), or in full."
    )


class Started(BaseModel):
    """A run has begun. Both ids are the same: a run becomes the trace of the same id."""

    run_id: str = Field(examples=["01kaexr0v7m3p9d2k4c6h8n5qs"])
    trace_id: str = Field(examples=["01kaexr0v7m3p9d2k4c6h8n5qs"])
    model: str = Field(description="Which model writes.", examples=["pocket"])


class RunSummary(Started):
    """A run, under way or done."""

    prompt: str = Field(examples=[EXAMPLE])
    state: str = Field(description="running or done", examples=["running"])
    steps: int = Field(examples=[12])
    backtracks: int = Field(examples=[4])
    started_at: str = Field(examples=["2026-11-20T12:00:00.000Z"])
    finish_reason: str | None = Field(
        None,
        description="stop, length, step_limit, cancelled, error or interrupted; null while it runs",
        examples=["stop"],
    )


class RunState(BaseModel):
    """Whether a run goes on."""

    state: str = Field(description="running or done", examples=["done"])


@router.post(
    "",
    status_code=201,
    summary="Ask a question",
    response_model=Started,
    responses=refusals(400, 403, 404, 409, 413, 422, 429, 503),
)
async def start(bench: Bench, asked: RunIn) -> Started:
    """Start a run and answer at once; follow it with `GET /api/runs/{run_id}/events`.

    The run belongs to the server: it goes on whether or not anybody watches.
    """
    try:
        size = len(asked.prompt.encode())
    except UnicodeEncodeError:
        raise Refused(422, '"prompt" holds half of a character (a lone surrogate), which is not text.') from None
    if not asked.prompt.strip():
        raise Refused(422, f"The question is empty. Ask, for example: {EXAMPLE}")
    if size > QUESTION_LIMIT:
        raise Refused(413, "The question is too large; at most 64 KB are accepted.")
    if asked.min_steps > asked.max_steps:
        raise Refused(
            422, f'"min_steps" is {asked.min_steps}; it must not be above "max_steps", which is {asked.max_steps}.'
        )
    try:
        if asked.format is not None:
            known(asked.format)
        model = bench.models.get(asked.model)
        if model.check is not None:
            model.check(asked.prompt)
    except ValueError as error:
        raise Refused(422, str(error)) from None
    if not model.ready:
        raise Refused(
            503, f"The weights of the model {model.name} are missing from {model.model_dir}; install Worldline again."
        )
    before = Turns() if asked.after is None else await turns_after(bench, asked.after, asked.earlier_as)
    most = asked.max_tokens or await most_tokens(model.engine, before.messages(asked.prompt))
    sampling = Sampling(asked.temperature, asked.top_p, asked.seed, most)
    problem = await with_reference(bench, asked.prompt)
    try:
        run = bench.runs.start(
            model.engine, problem, sampling, Bounds(asked.min_steps, asked.max_steps),
            thinking=Thinking(asked.thinking_budget, asked.waits), format=asked.format, before=before,
        )  # fmt: skip
    except TooManyRuns as error:
        raise Refused(429, str(error)) from None
    return Started(run_id=run.run_id, trace_id=run.run_id, model=run.model)


async def with_reference(bench: Services, prompt: str) -> Problem:
    """The problem with its reference answer, where somebody has set one."""
    problem = Problem.ask(prompt)
    answer = await blocking(lambda: bench.store.read(lambda con: read_reference(con, problem.problem_id)))
    return replace(problem, answer=answer)


@router.get("", summary="List runs", response_model=list[RunSummary])
async def list_runs(bench: Bench, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[dict[str, Any]]:
    """Newest first; runs of earlier servers included."""
    return await bench.runs.summaries(limit)


@router.get("/{run_id}", summary="One run", response_model=RunSummary, responses=refusals(404))
async def one_run(bench: Bench, run_id: str) -> dict[str, Any]:
    """Whether it runs, how far it is, how it ended."""
    summary = await bench.runs.summary(run_id)
    if summary is None:
        raise _unknown(run_id)
    return summary


_EVENTS = """id: 0
data: {"seq":0,"type":"start","trace_id":"01k…","run_id":"01k…","prompt":"Reach 24 from …","model":"pocket", …}

id: 1
data: {"seq":1,"type":"step_open","index":0,"parent":null,"is_backtrack":false,"resumes":null, …}

id: 5
data: {"seq":5,"type":"step_delta","index":0,"field":"name","text":"Try 8 × 7"}

id: 40
data: {"seq":40,"type":"step_close","step":{"index":0,"start":0,"end":310,"name":"Try 8 × 7", …}}

id: 41
data: {"seq":41,"type":"decision","index":0,"decision":"backtrack"}

id: 900
data: {"seq":900,"type":"done","finish_reason":"stop","answer":"Solved: …","solved":true,"stats":{…},"error":""}
"""


@router.get(
    "/{run_id}/events",
    summary="Follow a run",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": (
                "Events as they happen, from the first on, until `done`. Neighbouring pieces of text travel together."
            ),
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENTS}},
        },
        204: {"description": "Everything has been seen: `after` is the last event of a run that is done."},
        **refusals(404, 422),
    },
)
async def events(
    bench: Bench,
    run_id: str,
    after: After = -1,
    last_event_id: LastEventId = None,
) -> Response:
    """Server-sent events (`text/event-stream`). Each has an `id` (its number) and JSON data with a `type`:

    `start`, `step_open`, `step_delta` (field: name, thought, summary or reflection), `step_close`, `decision`,
    `answer_delta`, `stats`, `done`. Joining the deltas of a field gives that field of the stored trace. After a break
    ask again with the last number seen: nothing is missing and nothing comes twice. Runs of earlier servers and
    imported traces can be replayed as well.
    """
    found = await bench.runs.log_of(run_id)
    if found is None:
        raise _unknown(run_id)
    log, flush = found
    return follow(log, after, last_event_id, flush)


@router.post("/{run_id}/stop", summary="Stop a run", response_model=RunState, responses=refusals(403, 404))
async def stop(bench: Bench, run_id: str) -> RunState:
    """End a run now. What there is becomes a trace with finish reason `cancelled`. Stopping twice is harmless."""
    run = bench.runs.get(run_id)
    if run is None:
        if await bench.runs.summary(run_id) is None:
            raise _unknown(run_id)
        return RunState(state="done")
    await bench.runs.stop(run)
    return RunState(state="running" if run.running else "done")


def _unknown(run_id: str) -> Refused:
    return Refused(404, f'There is no run "{run_id[:100]}".')
