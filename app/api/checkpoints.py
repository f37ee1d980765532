"""The registry of checkpoints: every finished model, and where it comes from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, blocking, needs
from app.api.jobs import finite, in_use_now
from training.checkpoints import checkpoints

router = APIRouter(prefix="/checkpoints", tags=["jobs"], dependencies=[needs("researcher")])


class CheckpointOut(BaseModel):
    """A finished model: what made it, from what, with which figures."""

    job_id: str
    kind: str
    used_as: str
    made_at: str
    snapshot_id: str
    data: dict[str, str] = Field(description="SHA-256 of what it read, by name.")
    base: str
    base_sha256: str
    weights_sha256: str
    parent: str | None = Field(description="The job that made its base model.")
    steps: int
    seconds: float
    git_revision: str | None
    version: str
    figures: dict[str, Any]
    in_use: bool


@router.get("", summary="List checkpoints", response_model=list[CheckpointOut])
async def all_checkpoints(bench: Bench) -> list[dict[str, Any]]:
    """Every finished model, newest first."""
    found = await blocking(lambda: checkpoints(bench.data_dir))
    return [{**finite(c.to_json()), "in_use": in_use_now(bench, c.job_id)} for c in found]
