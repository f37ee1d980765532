"""Which model a command asks: one in this process, by name or folder, or one that is served. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.common import CannotDo

if TYPE_CHECKING:
    from core.engines.base import Engine

VLLM = "vllm:"  # before a folder, or a name on the hub

ModelOption = Annotated[
    str | None,
    typer.Option(
        help="`pocket`, or the folder of a model; vllm:NAME runs it by vLLM in this process, for searches; with --endpoint, a model served there (default: pocket, or the only one served).",
        show_default=False,
    ),
]

EndpointOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Ask a model served at this OpenAI-compatible address, such as http://127.0.0.1:8000/v1. "
        "May be repeated: servers of the same model share the work.",
        show_default=False,
    ),
]


def engine_of(model: str | None, endpoints: Sequence[str] | None, key_env: str, prompts: Sequence[str]) -> Engine:
    """The model that is meant, for these questions. Raises CannotDo, EngineError, ValueError."""
    return served(endpoints, model, key_env) if endpoints else local(model or "pocket", prompts)


def local(model: str, prompts: Sequence[str], data: Path | None = None) -> Engine:
    """A model in this process; with a data folder the ids of its jobs are names too. Raises CannotDo where it cannot take a question."""
    from core.engines.local import LocalEngine

    if model.startswith(VLLM):
        from core.engines.vllm_process import VllmInProcess
        from core.pocket import model_dir

        name = model.removeprefix(VLLM)
        return VllmInProcess(model_dir() if name == "pocket" else name, name)
    if model != "pocket":
        places = [Path(model), *([data / "jobs" / model / "model"] if data else [])]
        folder = next((place for place in places if (place / "config.json").exists()), None)
        if folder is None:
            raise CannotDo(
                f"{model} is not a model folder (no config.json in it){f', nor a finished job of {data}' if data else ''}; give a folder "
                "written by a training job, or `pocket`; a model that is served: --endpoint URL --model NAME; by vLLM in this process: vllm:NAME"
            )
        return LocalEngine(folder, model)
    from core.tasks.countdown_text import understand

    for i, prompt in enumerate(prompts, 1):
        try:
            understand(prompt)
        except ValueError as error:
            raise CannotDo(f"question {i}: {error}" if len(prompts) > 1 else str(error)) from error
    return LocalEngine(None, model)


def served(endpoints: Sequence[str], model: str | None, key_env: str) -> Engine:
    """The one model that is asked for, or that there is. Raises CannotDo, EngineError, ValueError."""
    from app.served import served_engines
    from core.pocket import POCKET

    engines = dict(served_engines(endpoints, model, key_env, lambda line: typer.echo(f"worldline: {line}", err=True)))
    del engines[POCKET]  # the one of this process, which is always beside them
    if len(engines) != 1:
        where, names = " and ".join(endpoints), ", ".join(engine.model for engine in engines.values())
        raise CannotDo(f"several models are served at {where}; choose one with --model: {names}")
    return next(iter(engines.values()))
