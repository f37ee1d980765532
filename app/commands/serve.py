"""`worldline serve`: vLLM for one model, with the flags that Worldline needs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app.commands.common import failing_softly


def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model's folder, its name on the hub, or `pocket`.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    python: Annotated[
        str | None,
        typer.Option(
            help="Python of the environment that has vLLM (default: WORLDLINE_VLLM_PYTHON, then this one).",
            show_default=False,
        ),
    ] = None,
    tensor_parallel_size: Annotated[int, typer.Option(min=1, help="GPUs that share one copy of the model.")] = 1,
    data_parallel_size: Annotated[int, typer.Option(min=1, help="Copies of the model.")] = 1,
    lora_rank: Annotated[
        int,
        typer.Option(
            min=0,
            help="Take low-rank adapters up to this rank while it runs, so that a fine-tuned model can be put to use with a click "
            "(0: none). Whoever reaches the server can then load a folder.",
        ),
    ] = 0,
    reload_weights: Annotated[
        bool,
        typer.Option(
            "--reload-weights",
            help="Take all weights of a fine-tuned model while it runs, in the place of its own. On this machine only: whoever reaches "
            "the server can have it run what they like.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command line and stop.")] = False,
) -> None:
    """Serve a model with vLLM. What follows `--` is passed on to vLLM.

    Example: worldline serve Qwen/Qwen3-8B --tensor-parallel-size 2 -- --max-model-len 32768
    """
    with failing_softly():
        from app import serving

        found, cpu = serving.find_python(python)
        with serving.laid_out(keep=dry_run) as control:
            launch = serving.plan(
                model, python=found, cpu=cpu, control=control, host=host, port=port,
                tensor_parallel=tensor_parallel_size, data_parallel=data_parallel_size, lora_rank=lora_rank, reload_weights=reload_weights,
                extra=context.args,
            )  # fmt: skip
            if dry_run:
                typer.echo(launch.shown())
                for note in launch.notes:
                    typer.echo(note, err=True)
                return
            serving.check_port(host, port)
            marked = f"; thinking is marked by {launch.markers.start}" if launch.markers else ""
            typer.echo(f"Starting vLLM for {launch.name}{marked} …", err=True)
            for note in launch.notes:
                typer.echo(note, err=True)
            with _sigterm_is_ctrl_c(), serving.running(launch, sys.stderr) as process:  # stdout is for the endpoint
                serving.wait_until_ready(
                    launch, process, hint=lambda: f"The lines above say why.{serving.memory_hint(cpu)}"
                )
                use = f"To ask it: worldline --endpoint {launch.endpoint}"
                if launch.scores:
                    use = f"To have it score: worldline evaluate-prm {model} ROWS --endpoint {launch.endpoint}"
                typer.echo(f"{launch.name} is served at {launch.endpoint} (Ctrl-C stops it). {use}")
                sys.stdout.flush()
                code = process.wait()
            raise serving.CannotServe(f"vLLM ended with code {code}; the lines above say why.")


@contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    """So that the server is stopped as well when this process is asked to end."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
