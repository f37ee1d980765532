"""What the reward model thinks of a trace. Kept apart from human ratings, here as in the store."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.common import Bench, In, blocking, find_trace, needs, refusals
from app.api.errors import Refused
from app.services import Services
from core.scoring.prm import Aggregation, ScorerError, aggregate
from storage.store import StepScores

router = APIRouter(prefix="/traces/{trace_id}/scores", tags=["scores"])


class ScoresOut(BaseModel):
    """One reward model's view of a trace."""

    scorer: str = Field(description="The job that trained it.", examples=["prm-20261120-1200"])
    scorer_version: str = Field(description="The beginning of the SHA-256 of its weights.", examples=["3f9a1c0b77de"])
    values: list[float] = Field(description="P(good) of each step, in order.", examples=[[0.98, 0.41, 0.07]])
    aggregation: str = Field(description="prod, min, last or mean", examples=["prod"])
    aggregate: float | None = Field(description="The values as one number; null without steps.", examples=[0.028])
    active: bool = Field(description="Whether this reward model is the one in use.")
    created_at: str


class ScoreIn(In):
    """Which reward model; absent: the one in use."""

    scorer: str | None = Field(None, description="Must be the one in use; see POST /api/jobs/{id}/use.")


def scores_json(found: list[StepScores], active: str | None, how: Aggregation | None = None) -> list[dict[str, Any]]:
    """Stored scores as the API shows them, the model in use first."""
    rows = []
    for s in found:
        aggregation: Any = how or s.aggregation
        rows.append({
            "scorer": s.scorer, "scorer_version": s.scorer_version, "values": list(s.values),
            "aggregation": aggregation,
            "aggregate": aggregate(s.values, aggregation) if s.values else None,
            "active": s.scorer == active, "created_at": s.created_at,
        })  # fmt: skip
    return sorted(rows, key=lambda row: not row["active"])


async def read_scores(bench: Services, trace_id: str, how: Aggregation | None = None) -> list[dict[str, Any]]:
    """All scores of a trace."""
    found = await blocking(lambda: bench.store.scores(trace_id))
    return scores_json(found, bench.models.scorer_job, how)


@router.get(
    "",
    summary="Scores of a trace",
    response_model=list[ScoresOut],
    responses=refusals(404, 409, 422),
    dependencies=[needs("adjudicator")],
)
async def get_scores(
    bench: Bench,
    trace_id: str,
    aggregation: Annotated[
        Aggregation | None, Query(description="Aggregate in this way instead of the stored one.")
    ] = None,
) -> list[dict[str, Any]]:
    """The model in use first. Empty until a reward model is in use and has come to this trace."""
    await find_trace(bench, trace_id)
    return await read_scores(bench, trace_id, aggregation)


@router.post(
    "",
    summary="Score a trace now",
    dependencies=[needs("researcher")],
    response_model=list[ScoresOut],
    responses=refusals(400, 403, 404, 409, 422, 503),
)
async def score(bench: Bench, trace_id: str, asked: ScoreIn | None = None) -> list[dict[str, Any]]:
    """Let the reward model in use judge every step, now, and answer with the scores."""
    trace = await find_trace(bench, trace_id)
    active = bench.models.scorer_job
    if active is None:
        raise Refused(
            409, "No reward model is in use yet: train one and choose it on the Train page (POST /api/jobs/{id}/use)."
        )
    if asked is not None and asked.scorer not in (None, active):
        raise Refused(
            409, f'The reward model in use is "{active}"; make "{str(asked.scorer)[:100]}" the one in use first.'
        )
    if not trace.steps:
        raise Refused(422, "This trace has no steps, so there is nothing to score.")
    try:
        await bench.scoring.score_now(trace)
    except ScorerError as error:
        raise Refused(503, str(error)) from None
    return await read_scores(bench, trace_id)
