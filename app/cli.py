"""`worldline`: the workbench in a browser, and the same loop from the terminal.

Only argument reading and printing live here and in `commands/`; nothing heavy is imported before a command needs it, so
that `--help` answers at once. Exit codes: 0 done, 1 it could not be done (the reason is on stderr), 2 wrong usage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import ask as ask_command
from app.commands import collect as collect_command
from app.commands import pocket as pocket_command
from app.commands import train as train_command
from app.commands.common import VERSION, DataOption, data_folder, failing_softly

if TYPE_CHECKING:
    from core.engines.base import Engine

app = typer.Typer(
    help="Stream a model's reasoning, see its search tree, rate every step, train on the ratings.\n\n"
    "Without a command, the workbench opens at http://127.0.0.1:7860.\n\n"
    'Example: worldline ask "Reach 24 from 4, 7, 8 and 8."',
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"worldline {VERSION}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def workbench(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on. Without accounts, only this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
    data: DataOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Also use the model served at this OpenAI-compatible address, such as http://127.0.0.1:8000/v1.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of the served model (default: the first it lists).", show_default=False)
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the default browser.")
    ] = True,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Open the workbench (no command), or run one of the commands below."""
    if context.invoked_subcommand is not None:
        return
    with failing_softly():
        from app.server import serve

        if model is not None and endpoint is None:
            raise ValueError("--model names a served model; say where with --endpoint URL")
        engines = None if endpoint is None else _engines(endpoint, model, api_key_env)
        serve(host=host, port=port, data_dir=data_folder(data), open_browser=browser, engines=engines)


def _engines(endpoint: str, model: str | None, api_key_env: str) -> dict[str, Engine]:
    """The served model first, so that it is the default, and the pocket model. Raises EngineError, ValueError."""
    from core.engines.local import LocalEngine
    from core.engines.openai_api import OpenAIEngine, list_models

    offered = list_models(endpoint, api_key_env)
    name = model or (offered[0] if offered else "")
    if name not in offered:
        raise ValueError(f"the server at {endpoint} offers {', '.join(offered) or 'no model'}, not {name or 'any'}")
    return {name: OpenAIEngine(endpoint, name, api_key_env), "pocket": LocalEngine(None, "pocket")}


app.command("ask")(ask_command.ask)
app.command("tree")(ask_command.tree)
app.command("import")(collect_command.import_)
app.command("snapshot")(collect_command.snapshot)
app.command("export")(collect_command.export)
app.command("train")(train_command.train)
app.add_typer(pocket_command.app, name="pocket")


def main() -> None:
    """Entry point of the `worldline` script."""
    app()


if __name__ == "__main__":
    main()
