"""`worldline import`, `snapshot`, `export`: traces in, frozen ratings out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.ask import FormatOption
from app.commands.common import CannotDo, DataOption, data_folder, failing_softly, progress_bar

if TYPE_CHECKING:
    from core.trace import Trace

BATCH = 200  # traces written in one go: few commits, and a broken line late in the file loses nothing before it


def import_(
    file: Annotated[
        Path, typer.Argument(help='JSONL: whole traces (as `ask --json` prints them), or "prompt" and "response".')
    ],
    format: FormatOption = None,
    data: DataOption = None,
) -> None:
    """Store traces from a JSONL file. Good lines are kept, broken ones are named with their mend.

    Example: worldline import traces.jsonl
    """
    with failing_softly():
        from app.workbench import workbench_at
        from core.formats import known
        from storage.errors import ImportProblem
        from storage.imports import read_jsonl

        if format is not None:
            known(format)  # before the first row
        if not file.exists():
            raise CannotDo(f"{file} does not exist")
        good, problems = 0, list[ImportProblem]()
        bar, at = progress_bar("importing", None)
        with workbench_at(data_folder(data)) as bench, bar:
            waiting = []
            for trace in read_jsonl(file, errors=problems):
                waiting.append(trace if format is None else _read_as(trace, format))
                if len(waiting) >= BATCH:
                    bench.add_traces(waiting)
                    good, waiting = good + len(waiting), []
                    at(good)
            bench.add_traces(waiting)
            good += len(waiting)
        typer.echo(f"{good} traces imported from {file}")
        for problem in problems[:20]:
            typer.echo(str(problem), err=True)
        if problems:
            raise CannotDo(
                f"{len(problems)} lines could not be read; the others are stored. Mend them and import again: what is stored is not stored twice"
            )


def _read_as(trace: Trace, format: str) -> Trace:
    """The trace with its response cut anew, whatever steps came with it."""
    from core.formats import parse_response
    from core.tasks import solved

    steps, nodes, answer, form = parse_response(trace.prompt, trace.response, trace.finish_reason, format)
    return replace(
        trace, steps=tuple(steps), nodes=tuple(nodes), answer=answer or trace.answer, format=form,
        solved=solved(trace.prompt, steps) if trace.solved is None else trace.solved,
    )  # fmt: skip


def snapshot(
    name: Annotated[str, typer.Option(help="A name to recognise it by.")] = "",
    data: DataOption = None,
) -> None:
    """Freeze all submitted ratings as a snapshot and print its id.

    Example: worldline snapshot --name first-week
    """
    with failing_softly():
        from app.workbench import workbench_at

        spec: dict[str, object] = {}
        with workbench_at(data_folder(data)) as bench:
            look = bench.preview(spec)
            for warning in look.get("warnings", []):
                typer.echo(f"warning: {warning}", err=True)
            info = bench.freeze(spec, name)
        typer.echo(info["snapshot_id"])


def export(
    format: Annotated[
        str, typer.Argument(help="stepwise (TRL stepwise supervision) or preference (prompt, chosen, rejected).")
    ],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write Parquet, JSONL, manifest and card into.")
    ],
    snapshot: Annotated[str | None, typer.Option(help="Snapshot id (default: the newest).", show_default=False)] = None,
    neutral_as: Annotated[
        str, typer.Option(help="What a neutral step counts as: positive, negative or drop.")
    ] = "positive",
    strict: Annotated[
        bool, typer.Option(help="Stop with exit code 1, before anything is written, if there are warnings.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Export a snapshot as training data. Warnings come before anything is written.

    Example: worldline export stepwise ./stepwise --snapshot SNAPSHOT_ID
    """
    with failing_softly():
        from storage import exports

        chosen = newest_or(snapshot, data_folder(data))
        options = {"neutral_as": neutral_as} if format == "stepwise" else {}
        warnings = exports.preflight(chosen, format, options)
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)
        if warnings and strict:
            raise CannotDo("not exported, because of the warnings above and --strict")
        report = exports.export(chosen, format, directory, options)
        typer.echo(f"{report.rows} rows in {report.folder}")


def newest_or(snapshot_id: str | None, folder: Path):
    """The snapshot with this id, or the newest there is."""
    from storage.snapshots import list_snapshots, load_snapshot

    root = folder / "snapshots"
    if snapshot_id is None:
        known = list_snapshots(root)
        if not known:
            raise CannotDo(f"there is no snapshot in {root}; make one with `worldline snapshot`")
        snapshot_id = known[0].snapshot_id
    return load_snapshot(root, snapshot_id)
