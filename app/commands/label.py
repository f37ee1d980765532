"""`worldline label`: step labels without people, frozen as a snapshot of their own that names its source."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.common import CannotDo, DataOption, KeyOption, data_folder, failing_softly, progress_bar
from app.commands.scorers import FamilyOption, ServedAsOption, reward_model

if TYPE_CHECKING:
    from core.trace import Trace
    from training.labels.label_set import Labelled

PER_CALL = 32  # traces between two moves of the progress bar
METHODS = ("oracle", "rollouts", "binary-search", "prm")


def label(
    method: Annotated[str, typer.Argument(help=f"One of: {', '.join(METHODS)}.")],
    traces: Annotated[
        Path, typer.Argument(help='JSONL of traces, as `ask --json` prints them; "reference" is the right answer.')
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Who finishes the rollouts: `pocket`, a folder, or with --endpoint a served model; with `prm` the reward model's folder, which at --endpoint gives the tokenizer (with --family judge: a language model)."
        ),
    ] = "pocket",
    endpoint: Annotated[
        str | None, typer.Option(help="The model is served at this OpenAI-compatible address.", show_default=False)
    ] = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    rollouts: Annotated[int, typer.Option(min=1, max=1024, help="Rollouts a step.")] = 8,
    max_steps: Annotated[int, typer.Option(help="Of a rollout, what stands before it included.")] = 60,
    max_tokens: Annotated[int, typer.Option(help="Of a rollout.")] = 3000,
    family: FamilyOption = None,
    served_as: ServedAsOption = None,
    name: Annotated[str, typer.Option(help="A name for the snapshot.", show_default=False)] = "",
    data: DataOption = None,
) -> None:
    """Label the steps of traces without people and print the id of the snapshot that holds the labels.

    Example: worldline label rollouts traces.jsonl --rollouts 8
    """
    with failing_softly():
        from core.scoring.prm import ScorerError
        from training import trace_files
        from training.labels import label_set
        from training.labels.binary_search import CAVEAT
        from training.labels.counts import summary

        if method not in METHODS:
            raise CannotDo(f"{method} is not a method; there are: {', '.join(METHODS)}")
        given = list(trace_files.read(traces))
        settings: dict[str, Any] = {"method": method}
        try:
            if method == "oracle":
                source, made = "oracle:countdown", _oracle([t for t, _ in given])
            elif method == "prm":
                settings |= {"model": model, "family": family, "endpoint": endpoint}
                source, made = _prm(Path(model), family, endpoint, served_as, api_key_env, [t for t, _ in given])
            else:
                settings |= {"model": model, "rollouts": rollouts, "max_steps": max_steps, "max_tokens": max_tokens}
                engine = an_engine(model, endpoint, api_key_env)
                source = f"{method}:{engine.model}@{rollouts}"
                made = asyncio.run(_rollouts(method, engine, given, rollouts, max_steps, max_tokens, settings))
        except ScorerError as error:
            raise CannotDo(str(error)) from error
        caveat = CAVEAT if method == "binary-search" else ""
        folder = label_set.write(
            data_folder(data) / "snapshots", made, source=source, settings=settings, name=name, caveat=caveat
        )
        if caveat:
            typer.echo(f"worldline: {caveat}", err=True)
        if said := summary([c for one in made for c in one.counts]):
            typer.echo(f"worldline: {said}", err=True)
        typer.echo(f"worldline: {len(made)} traces labelled by {source}, kept apart from people's ratings", err=True)
        typer.echo(folder.name)


def an_engine(model: str, endpoint: str | None, api_key_env: str) -> Any:
    """The model that generates."""
    if endpoint is not None:
        from core.engines.openai_api import OpenAIEngine

        return OpenAIEngine(endpoint, model, api_key_env)
    from core.engines.local import LocalEngine

    if model != "pocket" and not (Path(model) / "config.json").is_file():
        raise CannotDo(f"{model} is not the folder of a model; give one, `pocket`, or an --endpoint that serves it")
    return LocalEngine(None if model == "pocket" else Path(model), name=Path(model).name)


def _oracle(traces: Sequence[Trace]) -> list[Labelled]:
    from training.labels import oracle
    from training.labels.label_set import Labelled

    return [Labelled(t, oracle.label(t)) for t in traces if t.steps]


def _prm(
    folder: Path, family: str | None, endpoint: str | None, served_as: str | None, key_env: str, traces: Sequence[Trace]
) -> tuple[str, list[Labelled]]:
    from training.labels.label_set import Labelled

    scorer, _ = reward_model(folder, family, endpoint, served_as, key_env)
    found = [t for t in traces if t.steps]
    bar, at = progress_bar("traces", len(found))
    scores: list[list[float]] = []
    with bar, closing(scorer):
        for start in range(0, len(found), PER_CALL):
            part = found[start : start + PER_CALL]
            scores += scorer.score_many([(t.prompt, [t.step_text(s.index) for s in t.steps]) for t in part])
            at(len(scores))
    name = served_as or folder.resolve().name
    return f"prm:{name}@{scorer.version}", [Labelled(t, s) for t, s in zip(found, scores, strict=True)]


async def _rollouts(
    method: str, engine: Any, given: Sequence[tuple[Trace, str | None]], n: int, max_steps: int, max_tokens: int, settings: dict[str, Any]
) -> list[Labelled]:  # fmt: skip
    from core.answers import answers_for
    from core.engines.base import Bounds, EngineError, Sampling
    from core.trace import Problem
    from training.labels import binary_search
    from training.labels.label_set import Labelled
    from training.labels.rollouts import Check, Completer, answer_is, by_rules, count_all

    completer = Completer(engine, Sampling(max_tokens=max_tokens), Bounds(0, max_steps))
    for trace, reference in given:  # before the first rollout is paid for
        try:
            if answers_for(Problem.ask(trace.prompt, answer=reference)).right("") is None:
                raise CannotDo(f'trace {trace.trace_id} has no "reference" to check an answer to its question by')
        except ValueError as error:
            raise CannotDo(f"trace {trace.trace_id}: {error}") from error
    bar, at = progress_bar("traces", len(given))
    made: list[Labelled] = []
    failed = list[str]()

    async def label(trace: Trace, check: Check) -> Labelled:
        if method == "rollouts":
            counts = await count_all(completer, trace, check, n)
            return Labelled(trace, [c.soft for c in counts], counts)
        found = await binary_search.find(completer, trace, check, n)
        held = [found.counts.get(s.index) for s in trace.steps]
        note = "" if found.monotone else "the model recovered later: the search may have missed the first error"
        return Labelled(trace, found.labels(len(trace.steps)), held, note)

    try:
        with bar:
            for number, (trace, reference) in enumerate(given, 1):
                if trace.steps:
                    try:
                        made.append(await label(trace, by_rules if reference is None else answer_is(reference)))
                    except EngineError as error:  # what is labelled already was paid for
                        failed.append(str(error))
                at(number)
    finally:
        await engine.close()
    settings["spent"] = completer.spent
    if failed:
        if not made:
            raise CannotDo(failed[-1])
        settings["could_not_be_asked"] = len(failed)
        many = f"{len(failed)} traces" if len(failed) > 1 else "1 trace"
        typer.echo(f"worldline: {many} could not be labelled; the last because: {failed[-1]}", err=True)
    return made
