"""`worldline train`: a training job in the foreground, from a frozen snapshot. Needs no open data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.common import CannotDo, DataOption, data_folder, failing_softly, progress_bar


def train(
    kind: Annotated[str, typer.Argument(help="prm (process reward model) or sft (supervised fine-tuning).")],
    snapshot: Annotated[str | None, typer.Option(help="Snapshot id (default: the newest).", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override one recipe field; may be repeated.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    resume: Annotated[
        str | None, typer.Option(help="Go on with this job instead of starting one.", show_default=False)
    ] = None,
    data: DataOption = None,
) -> None:
    """Train a model on a snapshot. Ctrl-C stops it at a checkpoint; --resume JOB goes on.

    Example: worldline train prm --snapshot SNAPSHOT_ID --set epochs=2
    """
    with failing_softly():
        from app.commands.collect import newest_or
        from training import jobs
        from training.recipe import resolve_recipe

        folder = data_folder(data)
        if resume is not None:
            job = folder / "jobs" / resume
            if not (job / "recipe.toml").exists():
                raise CannotDo(f"there is no job {resume} in {folder / 'jobs'}")
        else:
            chosen = newest_or(snapshot, folder)
            if dry_run:
                typer.echo(resolve_recipe(kind, settings or [], chosen.info.snapshot_id).to_toml(), nl=False)
                return
            job = jobs.create_job(folder, kind, chosen.info.snapshot_id, settings or [])
        typer.echo(f"job {job.name} in {job}", err=True)
        bar, at = progress_bar(f"{kind} {job.name[:8]}", None)
        with bar:
            jobs.run_job(
                job, progress=lambda status: at(status.step, f"{kind}: {status.state}", of=status.total_steps or None)
            )
        status = jobs.read_status(job)
        if status.state != "done":
            raise CannotDo(f"the job ended as {status.state}: {status.error or 'go on with --resume ' + job.name}")
        for name, value in status.figures.items():
            typer.echo(f"{name}: {value}")
        typer.echo(str(Path(job) / "model"))
