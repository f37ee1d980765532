"""`worldline`: the workbench in a browser, and the same loop from the terminal.

Only argument reading and printing live here and in `commands/`; nothing heavy is imported before a command needs it, so
that `--help` answers at once. Exit codes: 0 done, 1 it could not be done (the reason is on stderr), 2 wrong usage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import ask as ask_command
from app.commands import collect as collect_command
from app.commands import eval as eval_command
from app.commands import evaluate as evaluate_command
from app.commands import flywheel as flywheel_command
from app.commands import keep as keep_command
from app.commands import label as label_command
from app.commands import lineage as lineage_command
from app.commands import pocket as pocket_command
from app.commands import probe as probe_command
from app.commands import queues as queues_command
from app.commands import search as search_command
from app.commands import select as select_command
from app.commands import serve as serve_command
from app.commands import synth as synth_command
from app.commands import train as train_command
from app.commands import users as users_command
from app.commands.common import VERSION, DataOption, KeyOption, data_folder, failing_softly

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
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but this machine's own needs accounts.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
    data: DataOption = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Also use the models served at this OpenAI-compatible address, such as http://127.0.0.1:8000/v1. "
            "May be repeated: servers of the same model share its runs.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="With --endpoint: this served model alone. Without: serve this model with vLLM, and stop it at the end.",
            show_default=False,
        ),
    ] = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    public_host: Annotated[
        str,
        typer.Option(
            help="Another name under which browsers reach it, such as worldline.example.org.", show_default=False
        ),
    ] = "",
    login_header: Annotated[
        str,
        typer.Option(
            help="A trusted reverse proxy says in this header who is logged in, such as X-Forwarded-User.",
            show_default=False,
        ),
    ] = "",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a reverse proxy, whose X-Forwarded headers are believed. May be repeated. "
            "With --login-header: 127.0.0.1 where none is given.",
            show_default=False,
        ),
    ] = None,
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
        from app.login import Proxy
        from app.server import serve

        proxy = Proxy.of(login_header, trusted_proxy or [])
        folder = data_folder(data)
        with _engines(endpoint or [], model, api_key_env, folder) as engines:
            serve(
                host=host,
                port=port,
                data_dir=folder,
                open_browser=browser,
                engines=engines,
                proxy=proxy,
                public_host=public_host,
            )


@contextmanager
def _engines(
    endpoints: list[str], model: str | None, api_key_env: str, folder: Path
) -> Iterator[Mapping[str, Engine] | None]:
    """The models to choose from; None for the shipped one alone. Raises EngineError, ValueError."""
    if endpoints:
        from app.served import served_engines

        served = served_engines(endpoints, model, api_key_env, lambda line: typer.echo(f"worldline: {line}", err=True))
        if served.away:
            typer.echo("worldline: What does not answer is looked for again while the workbench is open.", err=True)
        yield served
    elif model is None or model == "pocket":
        yield None
    else:
        from app.serving import started

        with started(model, folder / "vllm.log", lambda line: typer.echo(line, err=True)) as engines:
            yield engines


app.command("ask")(ask_command.ask)
app.command("tree")(ask_command.tree)
app.command("search")(search_command.search)
app.command("import")(collect_command.import_)
app.command("snapshot")(collect_command.snapshot)
app.command("export")(collect_command.export)
app.command("lineage")(lineage_command.lineage)
app.command("serve", context_settings={"allow_extra_args": True})(serve_command.serve)
app.command("train")(train_command.train)
app.command("checkpoints")(train_command.checkpoints)
app.command("label")(label_command.label)
app.command("evaluate-prm")(evaluate_command.evaluate_prm)
app.command("flywheel")(flywheel_command.flywheel)
app.command("synthesize")(synth_command.synthesize)
app.command("select")(select_command.select)
app.command("backup")(keep_command.backup)
app.command("restore")(keep_command.restore)
app.command("doctor")(keep_command.doctor)
app.add_typer(eval_command.app, name="eval")
app.command("probe")(probe_command.probe)
app.add_typer(pocket_command.app, name="pocket")
app.add_typer(queues_command.app, name="queues")
app.add_typer(users_command.app, name="users")


def main() -> None:
    """Entry point of the `worldline` script."""
    app()


if __name__ == "__main__":
    main()
