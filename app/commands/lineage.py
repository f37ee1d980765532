"""`worldline lineage`: from a checkpoint to the single ratings behind it, and back."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from app.commands.common import DataOption, data_folder, failing_softly

SHOWN = 20  # of what something was made from; --json has all


def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT|SNAPSHOT|TRACE",
            help="A job or the path of its model, a snapshot, a trace, an assignment or a rating event.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    data: DataOption = None,
) -> None:
    """Say what something was made from and what became of it, down to single ratings. Follow the ids to go on.

    Example: worldline lineage prm-01kaexr0v7m3p9d2k4c6h8n5qs
    """
    with failing_softly():
        from app.workbench import workbench_at

        with workbench_at(data_folder(data)) as bench:
            found = bench.lineage(what)
            while as_json and len(found["made_from"]) < found["n_made_from"]:
                more = bench.lineage(what, len(found["made_from"]))["made_from"]
                if not more:
                    break  # it became less meanwhile
                found["made_from"] += more
        if as_json:
            typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
            return
        _say(found["node"])
        typer.echo(
            f"\nmade from {found['n_made_from']}:" if found["made_from"] else "\nmade from nothing that is kept here"
        )
        for node in found["made_from"][:SHOWN]:
            _say(node, "  ")
        if found["n_made_from"] > SHOWN:
            typer.echo(f"  … and {found['n_made_from'] - SHOWN} more (--json)")
        typer.echo("\nbecame:" if found["became"] else "\nnothing in this data folder has been made of it yet")
        for node in found["became"]:
            _say(node, "  ")


def _say(node: dict[str, Any], indent: str = "") -> None:
    facts = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in node["facts"].items() if value not in (None, "", 0)
    )
    title = " ".join(node["title"].split())
    typer.echo(f"{indent}{node['kind']} {node['id']}  {title}" + (f"  ({facts})" if facts else ""))
