"""Forks: go on from a step of a trace, the model's other world lines."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from app.api.common import Bench, In, blocking, find_trace, needs, refusals
from app.api.errors import Refused
from app.api.runs import MOST_STEPS, MOST_TOKENS, Started, with_reference
from app.api.turns import turns_of
from app.models import UnknownModel
from app.outcomes import outcomes
from app.runs import TooManyRuns
from app.served import served_id
from app.token_limits import most_tokens
from core.answers.outcome import Outcome
from core.engines.base import OPENS_THINKING, Bounds, Sampling, Thinking
from core.formats import FORMATS
from core.steer import Fork, fork
from core.trace import ACTIONS, Origin, Trace

router = APIRouter(prefix="/traces", tags=["forks"])

MOST_FORKS = 32
_EDIT_LIMIT = 64 * 1024


class ForkIn(In):
    """Where to go on, and how. What is absent is as it was for the trace."""

    step: int | None = Field(
        None, ge=-1, description="The last step to keep (counted from 0); -1 goes on from the question. `resume` needs none.",
        examples=[3],
    )  # fmt: skip
    action: str = Field(
        "continue",
        description="continue (the model decides anew), resume (on from where the text ends), proceed (on from here), "
        "backtrack (turn back here), wait (doubt), answer (end thinking now), edit (replace the step).",
        examples=["continue"],
    )
    text: str = Field(
        "", max_length=_EDIT_LIMIT, description="For `edit` in formats other than Steiner's: the step's new text."
    )
    fields: dict[str, str] = Field(
        {}, description="For `edit` in Steiner's format: name, thought, summary, reflection; those absent stay.",
        examples=[{"thought": "From 4, 7, 8 and 8: 8 ÷ 8 = 1"}],
    )  # fmt: skip
    n: int = Field(1, ge=1, le=MOST_FORKS, description="So many continuations side by side.")
    model: str | None = Field(
        None, description="An id from GET /api/models; absent: the model of the trace where it is here, else the first that is; the answer names it.",
    )  # fmt: skip
    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="Of the first continuation; the others count on from it."
    )
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS, description="Of what is written anew.")
    min_steps: int | None = Field(None, ge=0, le=MOST_STEPS)
    max_steps: int | None = Field(None, ge=1, le=MOST_STEPS, description="Those kept count.")
    thinking_budget: int | None = Field(None, ge=0, le=MOST_TOKENS, description="0: none, whatever the trace had.")
    waits: int | None = Field(None, ge=0, le=100)


class OriginOut(BaseModel):
    """Where a fork left another trace."""

    root: str = Field(description="The first trace of the family.")
    trace_id: str
    step: int = Field(description="The last step that both share; -1: only the question.")
    kept: int = Field(description="So many characters of the other's response are the beginning of this one.")
    action: str


class WorldLineOut(BaseModel):
    """One trace of a family."""

    trace_id: str
    origin: OriginOut | None = Field(description="null for the first.")
    model: str
    state: str = Field(description="running or done", examples=["done"])
    finish_reason: str | None
    answer: str | None = Field(
        description='What it answers, in the form in which equal answers are equal; "" for none, null while it runs.',
        examples=["391"],
    )
    solved: bool | None = Field(
        description="Checked from the steps, or by the problem's reference answer; null where nobody can say."
    )
    n_steps: int
    n_backtracks: int


TraceId = Annotated[str, Path(description="A trace, or a run under way.")]


@router.post(
    "/{trace_id}/forks", status_code=201, summary="Go on from a step", response_model=list[Started],
    responses=refusals(400, 403, 404, 422, 429, 503), dependencies=[needs("researcher")],
)  # fmt: skip
async def make_forks(bench: Bench, trace_id: TraceId, asked: ForkIn) -> list[Started]:
    """Start runs that keep the trace up to a step and go on from there; follow them like any run.

    A run that is still going on can be forked too: its own world line is not disturbed.
    """
    trace = await _trace_or_run(bench, trace_id)
    if asked.action not in ACTIONS:
        raise Refused(422, f'"action" is "{asked.action[:40]}"; it must be one of {", ".join(ACTIONS)}.')
    if asked.seed is not None and asked.seed + asked.n > 2**63:
        raise Refused(
            422, f'"seed" is {asked.seed}; with {asked.n} continuations it must be at most {2**63 - asked.n}.'
        )
    try:
        made = _forked(trace, asked)
        model = bench.models.get(asked.model or _model_id(bench, trace))
        if model.check is not None:
            model.check(trace.prompt)
        sampling, bounds, thinking = _settings(trace, asked)
        form, opened = _format(trace), _opened(trace)
    except (UnknownModel, ValueError) as error:
        raise Refused(422, f"{str(error).removesuffix('.')}.") from None
    if not model.ready:
        raise Refused(503, f"The weights of the model {model.name} are missing; install Worldline again.")
    before = await turns_of(bench, trace.earlier)
    if asked.max_tokens is None:
        room = await most_tokens(model.engine, before.messages(trace.prompt), made.prefix)
        kept = trace.sampling.get("max_tokens")
        sampling = replace(sampling, max_tokens=min(kept, room) if type(kept) is int and kept > 0 else room)
    problem = await with_reference(bench, trace.prompt)
    try:
        bench.runs.check_room(asked.n)
    except TooManyRuns as error:
        raise Refused(429, str(error)) from None
    started = []
    for i in range(asked.n):
        drawn = replace(sampling, seed=None if asked.seed is None else asked.seed + i)
        run = bench.runs.start(
            model.engine,
            problem,
            drawn,
            bounds,
            thinking=thinking,
            prefix=made.prefix,
            origin=made.origin,
            cuts=made.cuts,
            format=form,
            opened=opened,
            before=before,
        )
        started.append(Started(run_id=run.run_id, trace_id=run.run_id, model=run.model))
    return started


@router.get(
    "/{trace_id}/family",
    summary="All world lines of a trace",
    dependencies=[needs("adjudicator")],
    response_model=list[WorldLineOut],
    responses=refusals(404),
)
async def family(bench: Bench, trace_id: TraceId) -> list[dict[str, Any]]:
    """The trace, the one it was forked from, and every fork of the family: those that have ended, oldest first, then runs under way."""
    trace = await _trace_or_run(bench, trace_id)
    root = trace.origin.root if trace.origin else trace.trace_id
    # Those under way first: one that ends in between is then found in the store, and none is missed.
    first = bench.runs.get(root)
    live = ([first] if first is not None else []) + bench.runs.forks_under_way(root)
    stored = await blocking(lambda: bench.store.family(root))
    have = {w.trace_id for w in stored}
    ended = await blocking(lambda: outcomes(bench.store, [w.trace_id for w in stored]))
    return [
        *(
            _line(w.trace_id, w.origin, w.model, w.finish_reason, ended[w.trace_id], w.n_steps, w.n_backtracks)
            for w in stored
        ),
        *(_line(r.run_id, r.origin, r.model, None, None, r.steps, r.backtracks) for r in live if r.run_id not in have),
    ]


def _line(
    trace_id: str,
    origin: Origin | None,
    model: str,
    reason: str | None,
    ended: Outcome | None,
    steps: int,
    backtracks: int,
) -> dict[str, Any]:
    return {
        "trace_id": trace_id, "origin": asdict(origin) if origin else None, "model": model,
        "state": "running" if reason is None else "done", "finish_reason": reason,
        "answer": ended.answer if ended else None, "solved": ended.right if ended else None,
        "n_steps": steps, "n_backtracks": backtracks,
    }  # fmt: skip


def _forked(trace: Trace, asked: ForkIn) -> Fork:
    return fork(trace, asked.step, asked.action, text=asked.text, fields=asked.fields)  # type: ignore[arg-type]


async def _trace_or_run(bench: Bench, trace_id: str) -> Trace:
    run = bench.runs.get(trace_id)
    return bench.runs.trace_so_far(run) if run is not None else await find_trace(bench, trace_id)


def _model_id(bench: Bench, trace: Trace) -> str:
    """The model of the trace where it is at hand, else the first there is (an imported trace's model is only a name)."""
    known = [m.id for m in bench.models.all()]
    server = trace.sampling.get("server")
    served = isinstance(server, dict) and "endpoint" in server  # "pocket" may be ours, or one that a server has
    wanted = served_id(trace.model) if served else trace.model
    return next((name for name in (wanted, trace.model) if name in known), known[0])


def _settings(trace: Trace, asked: ForkIn) -> tuple[Sampling, Bounds, Thinking]:
    """Those of the trace, changed by what was asked. The seed is never kept: it would write the same again."""
    old, plain = trace.sampling, Sampling()

    def value(name: str, default: Any) -> Any:
        wanted = getattr(asked, name)
        kept = old.get(name)
        return wanted if wanted is not None else kept if isinstance(kept, int | float) else default

    sampling = Sampling(
        value("temperature", plain.temperature),
        value("top_p", plain.top_p),
        asked.seed,
        asked.max_tokens or plain.max_tokens,
    )
    most, least = int(value("max_steps", Bounds().max_steps)), max(0, int(value("min_steps", 0)))
    if least > most:
        if asked.min_steps is not None and asked.max_steps is not None:
            raise ValueError(f'"min_steps" is {least}; it must not be above "max_steps", which is {most}')
        least, most = (most, most) if asked.max_steps is not None else (least, least)
    thinking = old.get("thinking")
    return sampling, Bounds(least, most), _thinking(thinking if isinstance(thinking, dict) else {}, asked)


def _thinking(kept: dict[str, Any], asked: ForkIn) -> Thinking:
    """What was asked, else what the trace says of its thinking; an imported one may say anything."""
    budget = kept.get("budget") if asked.thinking_budget is None else asked.thinking_budget
    waits = kept.get("waits") if asked.waits is None else asked.waits
    return Thinking(
        budget if type(budget) is int and budget > 0 else None,
        waits if type(waits) is int and 0 < waits <= 100 else 0,
    )


def _format(trace: Trace) -> str | None:
    """The format that was asked for by name; what the text itself told is told by it again."""
    name = trace.sampling.get("format")
    return name if isinstance(name, str) and name in FORMATS else None


def _opened(trace: Trace) -> bool:
    """Whether the text began within a thought that its prompt had opened, as the server of then said."""
    server = trace.sampling.get("server")
    return isinstance(server, dict) and bool(server.get(OPENS_THINKING))
