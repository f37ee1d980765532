"""`worldline pocket`: make and measure the small model that ships with the package."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.common import CannotDo, failing_softly, progress_bar

app = typer.Typer(help="Train and measure the pocket model.", rich_markup_mode=None, no_args_is_help=True)


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="Run folder: checkpoints, metrics.jsonl, and the model.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a recipe field; may be repeated.", show_default=False
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the folder.")] = False,
    start: Annotated[
        Path | None, typer.Option(help="Begin with the weights of this model folder.", show_default=False)
    ] = None,
) -> None:
    """Train a pocket model from nothing on synthetic searches.

    Example: worldline pocket train ./pocket-run --set steps=5000
    """
    with failing_softly():
        from training.pocket import PocketRecipe
        from training.pocket import train as run

        recipe = PocketRecipe()
        types = {f.name: type(getattr(recipe, f.name)) for f in fields(recipe)}
        changes: dict[str, Any] = {}
        for setting in settings or []:
            key, _, value = setting.partition("=")
            if key not in types:
                raise CannotDo(f'"{key}" is not a field of the recipe; there are: {", ".join(types)}')
            try:
                changes[key] = types[key](value)
            except ValueError as error:
                raise CannotDo(f'"{key}" takes a {types[key].__name__}, not {value!r}') from error
        bar, at = progress_bar("pocket", (replace(recipe, **changes)).steps)

        def say(row: Any) -> None:
            if isinstance(row, dict):
                at(row["step"], f"loss {row['loss']:.3f}, {row['tokens_per_s']} tokens/s")
            else:
                typer.echo(row, err=True)

        with bar:
            typer.echo(str(run(replace(recipe, **changes), out, resume=resume, start=start, say=say)))


@app.command("eval")
def evaluate_(
    model: Annotated[
        Path | None, typer.Argument(help="Model folder (default: the shipped one).", show_default=False)
    ] = None,
    problems: Annotated[
        int,
        typer.Option(min=2, help="Held-out questions: half with 3 numbers (there are 212 in all), the rest with 4."),
    ] = 500,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the questions and of the sampling.")] = 2026,
    keep: Annotated[
        Path | None, typer.Option(help="Also write the traces to this JSONL file.", show_default=False)
    ] = None,
) -> None:
    """Measure a pocket model on held-out questions; prints JSON.

    Example: worldline pocket eval --problems 50
    """
    with failing_softly():
        from core.pocket import model_dir
        from training.pocket_eval import as_json, evaluate

        bar, at = progress_bar("held-out questions", problems)
        with bar:
            figures = evaluate(
                model or model_dir(),
                problems=problems,
                seed=seed,
                temperature=temperature,
                progress=lambda n, _: at(n),
                keep=keep,
            )
        typer.echo(as_json(figures))
