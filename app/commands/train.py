"""`worldline train`: a training job in the foreground, from a frozen snapshot. Needs no open data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.common import CannotDo, DataOption, data_folder, failing_softly, progress_bar
from app.commands.scorers import FamilyOption


def train(
    kind: Annotated[
        str,
        typer.Argument(
            help="prm or orm (reward models of steps or whole responses), sft, cpt, dpo or rl (language models)."
        ),
    ],
    snapshot: Annotated[str | None, typer.Option(help="Snapshot id (default: the newest).", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override one recipe field; may be repeated.", show_default=False
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            metavar="FILE|NAME",
            show_default=False,
            help="A TOML file with some recipe fields, or a shipped one (tiny, small, large, ddp, fsdp2, nodes); may be repeated, --set wins.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    create: Annotated[
        bool,
        typer.Option(
            "--create",
            help="Make the job's folder, print it and stop: torchrun then runs it, also on several machines.",
        ),
    ] = False,
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
        from training.kinds import KINDS
        from training.recipe import resolve_recipe

        folder = data_folder(data)
        if resume is not None:
            job = folder / "jobs" / resume
            if not (job / "recipe.toml").exists():
                raise CannotDo(f"there is no job {resume} in {folder / 'jobs'}")
        else:
            resolved = resolve_recipe(kind, settings or [], "", recipe or [])
            wanted = KINDS[kind].needs_snapshot(resolved)
            if snapshot is not None and not wanted:
                typer.echo(f"Note: this recipe reads no snapshot; {snapshot} is left out.", err=True)
            try:
                chosen = newest_or(snapshot, folder).info.snapshot_id if wanted else ""
            except CannotDo as missing:
                if not dry_run:
                    raise
                chosen = ""
                typer.echo(f"Note: {missing}.", err=True)
            if dry_run:
                typer.echo(resolve_recipe(kind, settings or [], chosen, recipe or []).to_toml(), nl=False)
                return
            job = jobs.create_job(folder, kind, chosen, settings or [], recipe or [])
            if create:
                typer.echo(str(job))
                return
        typer.echo(f"job {job.name} in {job}", err=True)
        bar, at = progress_bar(f"{kind} {job.name[:8]}", None)
        with bar:
            jobs.run_job(
                job,
                progress=lambda status: at(
                    status.step, f"{kind}: {_doing(status.state, status.phase)}", of=status.total_steps or None
                ),
            )
        status = jobs.read_status(job)
        if status.state != "done":
            raise CannotDo(f"the job ended as {status.state}: {status.error or 'go on with --resume ' + job.name}")
        for name, value in status.figures.items():
            typer.echo(f"{name}: {value}")
        typer.echo(str(Path(job) / "model"))


def _doing(state: str, phase: str) -> str:
    return phase if state == "queued" and phase else state


def checkpoints(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    imported: Annotated[
        Path | None,
        typer.Option(
            "--import", help="Enter a reward model's folder first; printed is the id to use it by.", show_default=False
        ),
    ] = None,
    family: FamilyOption = None,
    data: DataOption = None,
) -> None:
    """List the finished models: what made each, from which snapshot, with which figures. The newest comes first.

    Example: worldline checkpoints --import ./Qwen2.5-Math-PRM-7B
    """
    with failing_softly():
        import json

        if imported is not None:
            from core.scoring.prm import ScorerError
            from training.imported import import_prm

            try:
                typer.echo(import_prm(data_folder(data), imported, family))
            except ScorerError as error:
                raise CannotDo(str(error)) from error
            return

        from training.checkpoints import checkpoints as registry

        found = registry(data_folder(data))
        if as_json:
            typer.echo(json.dumps([c.to_json() for c in found], indent=2, ensure_ascii=False))
            return
        if not found:
            typer.echo("There is no finished model yet: worldline train prm makes one.", err=True)
        for c in found:
            numbers = [
                f"{k} {v}" for k, v in c.figures.items() if isinstance(v, int | float) and not isinstance(v, bool)
            ]
            source = f"snapshot {c.snapshot_id}" if c.snapshot_id else ", ".join(c.data) or "questions of the game"
            typer.echo(f"{c.job_id}  {c.made_at[:16]}  from {source}, base {c.parent or c.base}")
            typer.echo(f"    {', '.join(numbers)}")
