"""Is the server there, and which one is it."""

from __future__ import annotations

import os

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, Problem, needs
from app.commands.common import VERSION

router = APIRouter(tags=["health"], dependencies=[needs("rater")])


class Health(BaseModel):
    """Who answers here."""

    ok: bool = True
    version: str = Field(examples=["0.1.0"])
    data_dir: str = Field(
        description="The data folder this server owns.", examples=["/home/ada/.local/share/worldline"]
    )
    pid: int = Field(examples=[4242])
    running: int = Field(description="Runs under way.", examples=[1])
    scoring: int = Field(description="Traces that still wait for the reward model.", examples=[0])


@router.get("/health", summary="Is the server there?", response_model=Health, responses={403: {"model": Problem}})
async def health(bench: Bench) -> Health:
    """Answers as soon as the server can take requests; the model may still be loading."""
    return Health(
        version=VERSION,
        data_dir=str(bench.data_dir),
        pid=os.getpid(),
        running=bench.runs.running,
        scoring=bench.scoring.waiting,
    )
