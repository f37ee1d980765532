"""Which reward model a command asks: in this process or served, of any family. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

FAMILIES = "worldline, trl, qwen, math-shepherd, rlhflow, skywork, judge"
FamilyOption = Annotated[
    str | None, typer.Option(help=f"How it is asked: {FAMILIES} (default: as its folder says).", show_default=False)
]
ServedAsOption = Annotated[
    str | None, typer.Option(help="A reward model's name there (default: the folder's name).", show_default=False)
]


def reward_model(
    model: Path, family: str | None, endpoint: str | None, served_as: str | None, key_env: str, samples: int = 4
) -> tuple[Any, str]:
    """What scores steps, with `score_many` and `close`, and a title for it. Raises CannotDo, ScorerError, EngineError."""
    name = served_as or model.resolve().name
    # Every job's model is a folder called "model"; its title is the job.
    title = served_as or (name if name != "model" else model.resolve().parent.name)
    if family == "judge":
        from app.commands.label import an_engine
        from core.scoring.judge import GenerativeJudge

        engine = an_engine(name if endpoint else str(model), endpoint, key_env)
        return GenerativeJudge(engine, samples=samples), f"{title} as judge"
    if endpoint is not None:
        from core.scoring.served import ServedPrm

        served = ServedPrm(endpoint, name, model, family=family, key=os.environ.get(key_env))
        return served, f"{title} ({served.family.title}, served)"
    from core.scoring.prm import PrmScorer

    scorer = PrmScorer(model, family=family)
    return scorer, f"{title} ({scorer.family.title})"
