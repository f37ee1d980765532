"""What all commands share: the data folder, soft failure, progress on stderr. Imports nothing heavy."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer


def _version() -> str:
    try:
        return metadata.version("worldline")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0+checkout"


VERSION = _version()
PLAIN_EVERY_S = 30.0  # of progress in a log: often enough to see that it lives

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder (default: worldline in the user's data directory).", show_default=False),
]

KeyOption = Annotated[str, typer.Option(help="Environment variable that holds the endpoint's key.")]


class CannotDo(Exception):
    """The command cannot be carried out; the message is a sentence with the mend."""


def plural(n: int, what: str) -> str:
    """ "1 trace", "2,000 traces"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def data_folder(data: Path | None) -> Path:
    """The folder to use; created only by those who write."""
    from app.paths import default_data_dir

    return data if data is not None else default_data_dir()


@contextmanager
def failing_softly() -> Iterator[None]:
    """Turn what the user can mend into one line on stderr and exit code 1. Our own bugs keep their traceback."""
    from core.engines.base import EngineError

    expected: tuple[type[BaseException], ...] = (CannotDo, EngineError, ValueError, FileNotFoundError, PermissionError)
    try:
        from storage.errors import StoreError

        expected += (StoreError,)
    except ImportError:
        pass
    try:
        yield
    except expected as error:
        typer.echo(f"worldline: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("worldline: stopped", err=True)
        raise typer.Exit(130) from None


def progress_bar(description: str, total: int | None):
    """A rich progress bar on stderr (a line every half minute where that is no terminal), and a function that sets the count."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True,
    )  # fmt: skip
    task = bar.add_task(description, total=total)

    said = time.monotonic()
    first: tuple[int, float] | None = None  # the first count above zero, and when: what came before was loading

    def at(count: int, message: str | None = None, *, of: int | None = None) -> None:
        nonlocal said, first
        whole = of if of is not None else total
        first = first or ((count, time.monotonic()) if count else None)
        bar.update(task, completed=count, description=message or description, total=whole)
        if bar.disable and time.monotonic() - said >= PLAIN_EVERY_S:
            said = time.monotonic()
            left = ""
            if whole and first and first[0] < count < whole:
                left = f", {(said - first[1]) / (count - first[0]) * (whole - count):.0f} s left"
            typer.echo(f"{message or description}: {count}{f' of {whole}' if whole else ''}{left}", err=True)

    return bar, at
