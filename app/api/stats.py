"""How much there is, and by whom."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.common import Bench, blocking, needs

router = APIRouter(tags=["stats"], dependencies=[needs("adjudicator")])


class Stats(BaseModel):
    """Figures for the Data page."""

    model_config = ConfigDict(extra="allow")

    traces: int
    steps: int
    ratings: int = Field(description="Step ratings that count now.")
    submitted: int = Field(description="Finished assignments.")
    by_rater: list[dict[str, Any]] = Field(examples=[[{"rater_id": "local", "ratings": 120, "submitted": 9}]])
    by_model: list[dict[str, Any]] = Field(
        examples=[[{"model": "pocket", "traces": 20, "steps": 311, "solved": 15, "checked": 20}]]
    )
    rating_histogram: dict[str, int] = Field(examples=[{"good": 90, "neutral": 4, "bad": 25, "unsure": 1}])


@router.get("/stats", summary="Traces, steps, ratings", response_model=Stats)
async def stats(bench: Bench) -> dict[str, Any]:
    """Counts over the whole data folder."""
    return await blocking(bench.store.stats)
