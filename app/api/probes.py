"""Linear probes: whether a model answers as one stream or searches in parallel behind its answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, In, Me, check_own, needs, refusals
from app.api.errors import Refused
from app.models import UnknownModel
from app.probes import LiveProbe, ProbeRunning
from app.services import Services
from core.probe import QUESTIONS, Behind, check_behind, pocket_questions, svg, titled

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
    behind: Behind = Field(
        "",
        description="The positive control: best-of-n, or beam search on the numbers game, behind the same measurement.",
    )


class ProbeRow(BaseModel):
    """A probe, and what it found once it has ended with three answers or more."""

    probe_id: str = Field(examples=[PROBE_ID])
    model: str = Field(examples=["pocket"])
    behind: Behind
    repeats: int
    max_tokens: int
    created_at: str
    created_by: str
    state: str = Field(description="running, done, failed or stopped", examples=["done"])
    done: int = Field(description="Answers so far.")
    total: int = Field(description="Answers to be asked for, repeats included.")
    seconds: float
    left_s: float | None = Field(description="Seconds left, null while nobody can say.")
    error: str
    fit: dict[str, Any] | None = Field(
        description="verdict, why, a and b of t = a + b · tokens, the exponent and its interval."
    )


class ProbeOut(ProbeRow):
    """The same with its answers and a picture."""

    points: list[dict[str, Any]] = Field(description="tokens, seconds, question and repeat of each answer.")
    svg: str = Field(description="Points and line as a picture, empty without a fit.")


@router.get("", summary="List probes", response_model=list[ProbeRow])
async def all_probes(bench: Bench) -> list[ProbeRow]:
    """Newest first, those of earlier servers included."""
    return [ProbeRow(**_row(live)) for live in bench.probes.all()]


@router.post("", status_code=202, responses=refusals(403, 409, 422))
async def start_probe(bench: Bench, me: Me, asked: ProbeIn) -> ProbeOut:
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
        check_behind(asked.behind, questions)
    except ValueError as error:
        raise Refused(422, f'"behind" is {asked.behind}: {error}') from None
    try:
        live = bench.probes.start(entry, questions, asked.repeats, asked.max_tokens, asked.behind, me.rater_id)
    except ProbeRunning as error:
        raise Refused(409, str(error)) from None
    return _out(live)


@router.get("/{probe_id}", responses=refusals(403, 404))
async def get_probe(bench: Bench, probe_id: str) -> ProbeOut:
    """Where a probe stands, its answers so far, and what it found."""
    return _out(_there(bench, probe_id))


@router.post("/{probe_id}/stop", responses=refusals(403, 404))
async def stop_probe(bench: Bench, probe_id: str) -> ProbeOut:
    """End it; what it has measured is fitted."""
    live = _there(bench, probe_id)
    if live.state == "running":
        await bench.probes.stop()
    return _out(live)


@router.delete("/{probe_id}", status_code=204, responses=refusals(403, 404, 409))
async def delete_probe(bench: Bench, me: Me, probe_id: str) -> None:
    """Delete it with its file, for good. One's own, or as an admin; not while it runs."""
    live = _there(bench, probe_id)
    check_own(live.asked.created_by, me)
    try:
        bench.probes.delete(live)
    except ProbeRunning as error:
        raise Refused(409, str(error)) from None


def _there(bench: Services, probe_id: str) -> LiveProbe:
    live = bench.probes.get(probe_id)
    if live is None:
        raise Refused(404, f'There is no probe "{probe_id[:100]}".')
    return live


def _row(live: LiveProbe) -> dict[str, Any]:
    return {
        **asdict(live.asked), "probe_id": live.probe_id, "state": live.state, "done": len(live.points), "seconds": live.seconds,
        "left_s": live.left_s, "error": live.error, "fit": live.fit.to_json() if live.fit else None,
    }  # fmt: skip


def _out(live: LiveProbe) -> ProbeOut:
    picture = svg(live.points, live.fit, titled(live.asked.model, live.asked.behind)) if live.fit else ""
    return ProbeOut(**_row(live), points=[asdict(p) for p in live.points], svg=picture)
