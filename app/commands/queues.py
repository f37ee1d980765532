"""`worldline queues`: what is to be rated, from the terminal, beside a running workbench or without one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.common import DataOption, data_folder, failing_softly

app = typer.Typer(
    help='Queues: what is to be rated, by how many, in which order.\n\nExample: worldline queues add "First pass" --overlap 2',
    no_args_is_help=True,
)


@app.command("list")
def list_queues(data: DataOption = None) -> None:
    """List the queues with their ids, closed ones too.

    Example: worldline queues list
    """
    from app.workbench import workbench_at

    with failing_softly(), workbench_at(data_folder(data)) as bench:
        for q in bench.queues():
            raters = "any number of raters" if q["overlap"] is None else f"{q['overlap']} raters"
            closed = ", closed" if q["archived"] else ""
            typer.echo(f"{q['queue_id']}  {q['title']}  ({q['unit']}s, {raters}, {q['sampling']}{closed})")


@app.command()
def add(
    title: Annotated[str, typer.Argument(help="What raters see.")],
    overlap: Annotated[int | None, typer.Option(help="Raters an item; as many as want to when absent.")] = None,
    sampling: Annotated[str, typer.Option(help="In which order items come (docs/queues.md).")] = "least_rated",
    unit: Annotated[str, typer.Option(help="trace or pair.")] = "trace",
    guidelines: Annotated[Path | None, typer.Option(help="A Markdown file with what raters are to go by.")] = None,
    data: DataOption = None,
) -> None:
    """Make a queue and print its id. Filters, blindness and the rest are set on the Queues page.

    Example: worldline queues add "First pass" --overlap 2 --sampling convincing_wrong --guidelines guide.md
    """
    from app.workbench import workbench_at

    with failing_softly():
        settings: dict[str, Any] = {"title": title, "unit": unit, "overlap": overlap, "sampling": sampling}
        if guidelines is not None:
            settings["guidelines"] = guidelines.read_text(encoding="utf-8")
        with workbench_at(data_folder(data)) as bench:
            typer.echo(bench.add_queue(settings)["queue_id"])
