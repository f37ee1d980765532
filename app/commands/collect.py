"""`worldline import`, `snapshot`, `export`: traces in, frozen ratings out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.ask import FormatOption
from app.commands.common import CannotDo, DataOption, data_folder, failing_softly, plural, progress_bar

if TYPE_CHECKING:
    from storage.exports import Plan
    from storage.imports.report import Report


def import_(
    file: Annotated[
        Path,
        typer.Argument(help="JSONL, JSON or Parquet: whole traces, prompt and response, chat logs, PRM800K, TRL rows."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be imported, by line, and store nothing.")
    ] = False,
    family: Annotated[
        str | None,
        typer.Option(
            help="Read every row as this family: worldline, prm800k, stream-of-search, label_studio, argilla, "
            "snapshot, step_pairs, sft, kto, trl, messages, prompt-response "
            "(default: by its fields).",
            show_default=False,
        ),
    ] = None,
    format: FormatOption = None,
    rater: Annotated[
        str, typer.Option(help="Who rated, where the file names nobody (default: the file's name).", show_default=False)
    ] = "",
    data: DataOption = None,
) -> None:
    """Store traces, and ratings of them, from a file. Good rows are kept, broken ones are named with their mend, known ones are not stored twice.

    Example: worldline import traces.jsonl --dry-run
    """
    with failing_softly():
        from contextlib import nullcontext

        from app.workbench import workbench_at
        from core.formats import known
        from storage.imports import known_family
        from storage.imports.keeping import wanted
        from storage.imports.reading import known_ending
        from storage.imports.report import Report, fresh
        from storage.traces import Held

        if format is not None:
            known(format)  # before the first row
        if family is not None:
            known_family(family)
        if not file.exists():
            raise CannotDo(f"{file} does not exist")
        known_ending(file.name)
        if not file.stat().st_size:
            raise CannotDo(f"{file} is empty; choose another file")
        folder = data_folder(data)
        # A dry run writes nothing: not even an empty data folder.
        empty = dry_run and not (folder / "worldline.duckdb").exists()
        report = Report(file.name, rater=rater)
        bar, at = progress_bar("reading" if dry_run else "importing", None)
        with nullcontext() if empty else workbench_at(folder) as bench, bar:
            held = (lambda traces: Held()) if bench is None else bench.held
            for traces, said, references in fresh(file, report, held, family=family, format=format):
                if bench is not None and not dry_run:
                    bench.add_traces(traces)
                    for problem in bench.add_said(wanted(said, rater or file.name), references, file.name):
                        report.note(problem)
                at(report.rows)
        _say(report, dry_run)


def _say(report: Report, dry_run: bool) -> None:
    """The result on stdout, errors by line on stderr. Raises CannotDo where there were errors."""
    from storage.imports.report import SHOWN_ERRORS

    if dry_run:
        width = max(len(what) for what, _ in report.lines())
        for what, count in report.lines():
            typer.echo(f"{what:<{width}}  {count:>10}")
        typer.echo("nothing was stored (dry run)")
    else:
        already = report.known + report.repeated
        known = f"; {already} known already, not stored twice" if already else ""
        rated = (
            f" and {plural(report.judgements, 'judgement')} by {plural(len(report.raters), 'rater')}"
            if report.judgements
            else ""
        )
        typer.echo(f"{plural(report.traces, 'trace')}{rated} imported from {report.name}{known}")
    for problem in report.errors[:SHOWN_ERRORS]:
        typer.echo(problem, err=True)
    if report.n_errors > SHOWN_ERRORS:
        typer.echo(f"… and {report.n_errors - SHOWN_ERRORS} more", err=True)
    if report.n_errors:
        rest = "the others can be imported" if dry_run else "the others are stored"
        raise CannotDo(
            f"{plural(report.n_errors, 'row')} could not be read; {rest}. Mend them and import again: what is stored is not stored twice"
        )


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
        str,
        typer.Argument(
            help="stepwise, prm800k, preference, step_dpo, kto, sft, argilla, label_studio, tree or hf_folder (docs/data.md)."
        ),
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write data, manifest and card into.")],
    snapshot: Annotated[str | None, typer.Option(help="Snapshot id (default: the newest).", show_default=False)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A policy or another option of the format, such as neutral_as=drop or min_raters=2; may be repeated. "
            "With --dry-run and none, all are listed.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print options, rows, labels, figures and warnings, and write nothing.")
    ] = False,
    strict: Annotated[
        bool, typer.Option(help="Stop with exit code 1, before anything is written, if there are warnings.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Export a snapshot as training data. Warnings come before anything is written.

    Example: worldline export stepwise ./stepwise --set raters=majority --set min_raters=2
    """
    with failing_softly():
        from storage import exports

        chosen = newest_or(snapshot, data_folder(data))
        options = dict(_setting(text) for text in set_ or [])
        plan = exports.plan(chosen, format, options)
        for warning in plan.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if dry_run:
            for name, value in _looked(format, options, plan):
                typer.echo(f"{name:<28}  {value}")
            typer.echo("nothing was written (dry run)")
            return
        if plan.warnings and strict:
            raise CannotDo("not exported, because of the warnings above and --strict")
        report = exports.export(chosen, format, directory, options)
        typer.echo(f"{plural(report.rows, 'row')} in {report.folder}")


def _setting(text: str) -> tuple[str, str]:
    """NAME=VALUE. Raises CannotDo."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CannotDo(f'"{text}" is not an option; write --set NAME=VALUE, such as --set neutral_as=drop')
    return name, value


def _looked(format: str, options: dict[str, str], plan: Plan) -> list[tuple[str, str]]:
    """What a dry run prints: every option, then what the export would hold."""
    from storage.exports import FORMATS, options_of

    lines = []
    for name, default, allowed in options_of(FORMATS[format]):
        shown = options.get(name, json.dumps(default))
        lines.append((name, f"{shown}  ({', '.join(map(str, allowed))})" if allowed else str(shown)))
    lines += [("rows", f"{plan.rows:,}")]
    lines += [(f"  {name}", f"{n:,}") for name, n in plan.histogram.items()]
    lines += [(name.replace("_", " "), str(value)) for name, value in plan.figures.items()]
    lines += [(f"left out: {reason}", f"{n:,}") for reason, n in plan.left_out.items()]
    return lines


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
