"""Is the server there, and which one is it."""

from __future__ import annotations

import os

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.common import Bench, Me, Problem, needs
from app.commands.common import VERSION

router = APIRouter(tags=["health"], dependencies=[needs("rater")])


class Health(BaseModel):
    """Who answers here."""

    ok: bool = True
    version: str = Field(examples=["0.1.0"])
    data_dir: str | None = Field(
        description="The data folder this server owns; told to admins.", examples=["/home/ada/.local/share/worldline"]
    )
    pid: int | None = Field(description="Its process; told to admins.", examples=[4242])
    running: int = Field(description="Runs under way.", examples=[1])
    scoring: int = Field(description="Traces that still wait for the reward model.", examples=[0])


@router.get("/health", summary="Is the server there?", response_model=Health, responses={403: {"model": Problem}})
async def health(bench: Bench, me: Me) -> Health:
    """Answers as soon as the server can take requests; the model may still be loading."""
    admin = me.may("admin")
    return Health(
        version=VERSION,
        data_dir=str(bench.data_dir) if admin else None,
        pid=os.getpid() if admin else None,
        running=bench.runs.running,
        scoring=bench.scoring.waiting,
    )
