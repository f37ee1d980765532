"""`worldline backup`, `restore` and `doctor`: keeping a data folder, beside a running workbench or without one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.common import DataOption, data_folder, failing_softly, plural

BackupArgument = Annotated[Path, typer.Argument(help="The backup's folder.", show_default=False)]


def backup(
    folder: Annotated[Path, typer.Argument(help="A new or an empty folder for the backup.", show_default=False)],
    data: DataOption = None,
) -> None:
    """Copy everything of the data folder into FOLDER, also while the workbench runs; raters notice nothing.

    Example: worldline backup ~/backups/2026-11-20
    """
    with failing_softly():
        from app.workbench import workbench_at
        from storage.backup import refuse_used, write

        refuse_used(folder)  # before anything is opened or sent
        with workbench_at(_there(data)) as bench:
            made = write(bench.backup(), folder)
        typer.echo(
            f"{folder} holds everything up to rating event {made.event_seq}: {len(made.files)} files, {made.size / 1e6:,.1f} MB, "
            "each with its checksum."
        )


def restore(
    folder: BackupArgument,
    data: Annotated[
        Path, typer.Option("--data", help="The data folder to make: a new or an empty one.", show_default=False)
    ],
) -> None:
    """Make a data folder of a backup, after checking every file in it. The backup stays as it is.

    Example: worldline restore ~/backups/2026-11-20 --data ~/worldline-restored
    """
    with failing_softly():
        from storage.backup import restore as make

        made = make(folder, data)
        typer.echo(f"{data} is as it was at {made.created_at}, up to rating event {made.event_seq}.")
        typer.echo(f"Open it with: worldline --data {data}", err=True)


def doctor(
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Make anew what follows from the ratings' events; cut a damaged log before the damage."
        ),
    ] = False,
    data: DataOption = None,
) -> None:
    """Check the data folder: nothing missing, double or changed. Exit code 1 when something is wrong.

    Example: worldline doctor --rebuild
    """
    with failing_softly():
        from app.workbench import workbench_at
        from storage.doctor import mend_log

        folder = _there(data)
        for sentence in mend_log(folder, mend=rebuild):
            typer.echo(sentence)
        with workbench_at(folder) as bench:
            report = bench.doctor(rebuild=rebuild)
        for sentence in report["rebuilt"]:
            typer.echo(sentence)
        for sentence in report["notes"]:
            typer.echo(f"Note: {sentence}")
        counts = report["counts"]
        typer.echo(
            f"{plural(counts['trace'], 'trace')} with {plural(counts['step'], 'step')}, "
            f"{plural(counts['assignment'], 'assignment')}, {plural(counts['rating_event'], 'rating event')}, "
            f"{plural(counts['snapshot'], 'snapshot')}."
        )
        for sentence in report["findings"]:
            typer.echo(f"Wrong: {sentence}", err=True)
        if report["findings"]:
            raise typer.Exit(1)
        typer.echo("All is as it should be.")


def _there(data: Path | None) -> Path:
    """The data folder, which must be one: looking for damage must not make a new one."""
    from app.commands.common import CannotDo
    from storage.database import DATABASE

    folder = data_folder(data)
    if not (folder / DATABASE).is_file():
        raise CannotDo(f"There is no Worldline data in {folder}; name its folder with --data.")
    return folder
