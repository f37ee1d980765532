"""`worldline flywheel`: the whole loop on the pocket model with simulated raters, measured."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from app.commands.common import PLAIN_EVERY_S, CannotDo, failing_softly


def flywheel(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for everything it makes, its report too.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="About a minute, to see that it runs; the figures mean nothing.")
    ] = False,
    error: Annotated[float, typer.Option(help="Share of the simulated raters' judgements that are wrong.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of questions, traces, errors and jobs.")] = 1,
) -> None:
    """Measure the loop: what ratings are worth in reward models, active learning and fine-tuning. The same call goes on.

    Example: worldline flywheel ./flywheel
    """
    with failing_softly():
        from dataclasses import replace

        from rich.console import Console

        from training.flywheel import report
        from training.flywheel.plan import FULL, QUICK
        from training.flywheel.run import run
        from training.run_folder import JobError

        console, said = Console(stderr=True), ("", 0.0)
        plan = replace(QUICK if quick else FULL, error=error, seed=seed)
        with console.status("flywheel") as line:

            def tell(stage: str, share: float, left: float | None) -> None:
                nonlocal said
                text = f"{stage}: {share:.0%} of all, {_minutes(left)}"
                line.update(text)
                if not sys.stderr.isatty() and (stage != said[0] or time.monotonic() - said[1] > PLAIN_EVERY_S):
                    typer.echo(text, err=True)
                    said = stage, time.monotonic()

            try:
                figures = run(directory, plan, tell)
            except JobError as problem:
                raise CannotDo(str(problem)) from problem
        paths = report.write(figures, directory)
        typer.echo(paths[0].read_text(encoding="utf-8"), nl=False)
        for path in paths:
            typer.echo(f"worldline: wrote {path}", err=True)


def _minutes(seconds: float | None) -> str:
    return "time left not known yet" if seconds is None else f"about {max(1, round(seconds / 60))} min left"
