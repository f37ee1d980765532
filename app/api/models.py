"""Models that can be asked."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, needs

router = APIRouter(tags=["models"], dependencies=[needs("researcher")])


class Model(BaseModel):
    """One model to choose from."""

    id: str = Field(description='What to send as "model" when starting a run.', examples=["pocket"])
    name: str = Field(examples=["pocket"])
    note: str = Field(description="What it can and cannot do, for people.", examples=["Plays the numbers game only."])
    ready: bool = Field(description="Whether its weights are there.")
    refines: bool = Field(description="Whether it can label the steps of a trace (POST /api/traces/{id}/refinements).")


@router.get("/models", summary="List the models", response_model=list[Model])
async def list_models(bench: Bench) -> list[Model]:
    """Served models first where there are any, then the shipped one, then every fine-tuned model that was made usable with
    `POST /api/jobs/{id}/use`."""
    return [Model(id=m.id, name=m.name, note=m.note, ready=m.ready, refines=m.refines) for m in bench.models.all()]
