"""Models that can be asked."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, needs
from app.token_limits import default_tokens

router = APIRouter(tags=["models"], dependencies=[needs("researcher")])


class Model(BaseModel):
    """One model to choose from."""

    id: str = Field(description='What to send as "model" when starting a run.', examples=["pocket"])
    name: str = Field(examples=["pocket"])
    note: str = Field(description="What it can and cannot do, for people.", examples=["Plays the numbers game only."])
    ready: bool = Field(description="Whether its weights are there.")
    max_tokens: int = Field(
        description="Longest response where a run does not say it, for a question of a few words.", examples=[3500]
    )
    refines: bool = Field(description="Whether it can label the steps of a trace (POST /api/traces/{id}/refinements).")


@router.get("/models", summary="List the models", response_model=list[Model])
async def list_models(bench: Bench) -> list[Model]:
    """Served models first where there are any, then the shipped one, then every fine-tuned model that was made usable with
    `POST /api/jobs/{id}/use`."""
    models = bench.models.all()
    most = await asyncio.gather(*(default_tokens(m.engine) for m in models))
    return [
        Model(id=m.id, name=m.name, note=m.note, ready=m.ready, refines=m.refines, max_tokens=n)
        for m, n in zip(models, most, strict=True)
    ]
