"""Linear probes: whether a model answers as one stream or searches in parallel behind its answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, In, needs, refusals
from app.api.errors import Refused
from app.models import UnknownModel
from app.probes import LiveProbe, ProbeRunning
from core.probe import QUESTIONS, pocket_questions

router = APIRouter(prefix="/probes", tags=["probes"], dependencies=[needs("researcher")])

PROBE_ID = "01kaexr0v7m3p9d2k4c6h8n5qs"
MOST_QUESTIONS, MOST_REPEATS, MOST_TOKENS = 200, 20, 100_000


class ProbeIn(In):
    """What to measure."""

    model: str = Field("pocket", description="A model in use (GET /api/models).")
    questions: list[str] = Field(
        [],
        max_length=MOST_QUESTIONS,
        description="From easy to hard, so that responses differ in length; ours where it is empty.",
    )
    repeats: int = Field(3, ge=1, le=MOST_REPEATS, description="How often each question is asked.")
    max_tokens: int = Field(3500, ge=1, le=MOST_TOKENS, description="Longest response.")
    parallel: bool = Field(False, description="The positive control: best-of-N behind the same measurement.")


class ProbeOut(BaseModel):
    """A probe, its points so far, and its fit once it has ended."""

    probe_id: str = Field(examples=[PROBE_ID])
    model: str
    parallel: bool
    state: str = Field(description="running, done, failed or stopped", examples=["done"])
    total: int = Field(description="Questions to be asked, repeats included.")
    points: list[dict[str, Any]] = Field(description="tokens, seconds, question and repeat of each answer.")
    fit: dict[str, Any] | None = Field(
        description="verdict, why, a and b of t = a + b · tokens, the exponent and its interval."
    )
    error: str
    svg: str = Field(description="Points and line as a picture, empty without a fit.")


@router.post("", status_code=202, responses=refusals(403, 409, 422))
async def start_probe(bench: Bench, asked: ProbeIn) -> ProbeOut:
    """Begin to ask. One probe at a time; searches and runs beside it disturb its times."""
    try:
        entry = bench.models.get(asked.model)
    except UnknownModel as error:
        raise Refused(422, str(error)) from None
    questions = asked.questions or (pocket_questions() if entry.check else list(QUESTIONS))
    for i, question in enumerate(questions):
        try:
            if not question.strip():
                raise ValueError("it is empty")
            if entry.check is not None:
                entry.check(question)
        except ValueError as error:
            raise Refused(422, f'"questions"[{i}] cannot be asked: {error}') from None
    try:
        return _out(bench.probes.start(entry, questions, asked.repeats, asked.max_tokens, asked.parallel))
    except ProbeRunning as error:
        raise Refused(409, str(error)) from None


@router.get("/{probe_id}", responses=refusals(403, 404))
async def get_probe(bench: Bench, probe_id: str) -> ProbeOut:
    """Where a probe stands, and what it found. Kept until the server ends."""
    return _out(_there(bench, probe_id))


@router.post("/{probe_id}/stop", responses=refusals(403, 404))
async def stop_probe(bench: Bench, probe_id: str) -> ProbeOut:
    """End it; what it has measured is fitted."""
    live = _there(bench, probe_id)
    if live.state == "running":
        await bench.probes.stop()
    return _out(live)


def _there(bench: Bench, probe_id: str) -> LiveProbe:
    live = bench.probes.get(probe_id)
    if live is None:
        raise Refused(404, f'There is no probe "{probe_id[:100]}" since the server started.')
    return live


def _out(live: LiveProbe) -> ProbeOut:
    from core.probe import svg

    fit = live.fit
    title = f"{live.model}{', best-of-N behind it' if live.parallel else ''}"
    return ProbeOut(
        probe_id=live.probe_id, model=live.model, parallel=live.parallel, state=live.state, total=live.total,
        points=[asdict(p) for p in live.points], fit=fit.to_json() if fit else None, error=live.error,
        svg=svg(live.points, fit, title) if fit else "",
    )  # fmt: skip
