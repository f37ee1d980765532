"""`worldline synthesize`: training data made without people."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.common import CannotDo, KeyOption, failing_softly, progress_bar
from app.commands.label import an_engine

if TYPE_CHECKING:
    from core.trace import Trace

HOW = ("countdown", "dag", "turn-back")


def synthesize(
    how: Annotated[str, typer.Argument(help=f"One of: {', '.join(HOW)}.")],
    out: Annotated[Path, typer.Argument(help="JSONL to write.")],
    traces: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help='With dag and turn-back: JSONL of traces ("reference": the right answer).',
            show_default=False,
        ),
    ] = None,
    dags: Annotated[int, typer.Option(min=1, help="With countdown: questions.")] = 1000,
    paths: Annotated[int, typer.Option(min=1, help="Paths a question, at most.")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="With countdown: processes.")] = 2,
    model: Annotated[
        str,
        typer.Option(
            help="With turn-back the strong model, with dag (outside the numbers game) what embeds the steps: `pocket`, a folder, or a served model."
        ),
    ] = "pocket",
    endpoint: Annotated[
        str | None,
        typer.Option(help="With turn-back: the model is served at this OpenAI-compatible address.", show_default=False),
    ] = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    same: Annotated[
        float, typer.Option(min=0, max=1, help="With dag: cosine from which two steps are one node.")
    ] = 0.95,
    hint: Annotated[
        bool, typer.Option("--hint/--no-hint", help="With turn-back: whether the question reveals the answer in words.")
    ] = True,
    at_once: Annotated[int, typer.Option(min=1, help="With turn-back: traces in flight.")] = 16,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the tokenizer that lengths are counted with (default: the model's; of a served model characters / 4).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same data.")] = 1,
) -> None:
    """Write searches with turns back, after Steiner's two stages, and print what was made.

    Example: worldline synthesize countdown paths.jsonl --dags 10000
    """
    with failing_softly():
        if how not in HOW:
            raise CannotDo(f"{how} is not a way to synthesize; there are: {', '.join(HOW)}")
        if endpoint is not None and how != "turn-back":
            raise CannotDo(
                f"--endpoint is for turn-back: {how} asks no server. For dag, --model FOLDER embeds the steps."
            )
        if tokenizer is not None and how == "countdown":
            raise CannotDo("--tokenizer is for dag and turn-back: countdown counts by the pocket model's tokenizer.")
        if how == "countdown":
            from training.synthesis.countdown_dags import write

            bar, at = progress_bar("questions", dags)
            with bar:
                made = write(out, dags=dags, paths=paths, seed=seed, workers=workers, progress=at)
        elif traces is None:
            raise CannotDo(f"{how} begins with traces: give them with --from TRACES.jsonl")
        else:
            from training import trace_files

            given = list(trace_files.read(traces))
            if how == "dag":
                made = _dag([_judged(t, said) for t, said in given], out, paths, Path(model), tokenizer, same, seed)
            else:
                if tokenizer is None and endpoint is None:
                    tokenizer = _folder(model)
                made = asyncio.run(
                    _turn_back(an_engine(model, endpoint, api_key_env), given, out, tokenizer, hint, at_once, seed)
                )
        typer.echo(json.dumps(made, indent=2))


def _judged(trace: Trace, reference: str | None) -> Trace:
    """With whether its answer is right, where only its row's reference says that."""
    from training.labels.rollouts import answer_is

    if trace.solved is not None or reference is None:
        return trace
    return replace(trace, solved=answer_is(str(reference))(trace))


def _folder(model: str) -> Path:
    from core.pocket import model_dir

    return model_dir() if model == "pocket" else Path(model)


def _dag(
    traces: Sequence[Trace], out: Path, paths: int, model: Path, tokenizer: Path | None, same: float, seed: int
) -> dict[str, Any]:
    from training.synthesis import clusters, dag
    from training.synthesis.lengths import Lengths
    from training.token_counts import counter

    by_question: dict[str, list[Trace]] = {}
    for trace in traces:
        by_question.setdefault(clusters.question(trace), []).append(trace)
    lengths, embed, noted = Lengths(), None, {}
    counts = {"questions": len(by_question), "nodes": 0, "edges": 0, "edges_cut": 0, "without_a_right_end": 0}
    folder = _folder(str(model))
    tokens, counted_by = counter(tokenizer or folder)
    graphs = out.with_suffix(".dag.jsonl")
    with out.open("w", encoding="utf-8") as file, graphs.open("w", encoding="utf-8") as graph_file:
        for problem_id, group in sorted(by_question.items()):
            try:
                keys = clusters.exact(group)
            except ValueError:
                embed = embed or clusters.model_embedder(folder)
                if str(model) == "pocket":
                    noted = {
                        "note": "The pocket model embedded the steps, and it knows few words: better with --model FOLDER."
                    }
                keys = clusters.by_embedding(group, embed, same)
            found = dag.build(group[0].prompt, list(zip(group, keys, strict=True)))
            counts["nodes"] += len(found.nodes)
            counts["edges"] += sum(map(len, found.children.values()))
            counts["edges_cut"] += found.cut
            counts["without_a_right_end"] += not any(n.right for n in found.nodes)
            graph_file.write(_line({"problem_id": group[0].problem_id, **found.to_json()}))
            for path in dag.sample_many(found, random.Random(f"{seed}/{problem_id}"), paths):
                n = tokens(path.reasoning)
                if lengths.keep(n, n + tokens(found.prompt + path.answer)):
                    row = {
                        "problem_id": group[0].problem_id, "prompt": found.prompt, "response": path.response,
                        "answer": path.answer, "solved": True, "finish_reason": "stop", "model": "synthesis",
                        "format": "steiner", "nodes": path.nodes,
                    }  # fmt: skip
                    file.write(_line(row))
    return {**counts, "graphs": str(graphs), "counted_by": counted_by, **noted, "lengths": lengths.report()}


async def _turn_back(
    engine: Any, given: Sequence[tuple[Trace, str | None]], out: Path, tokenizer: Path | None, hint: bool, at_once: int, seed: int
) -> dict[str, Any]:  # fmt: skip
    from training.labels import oracle
    from training.labels.rollouts import answer_is, by_rules
    from training.synthesis.lengths import Lengths
    from training.synthesis.reveal import How, Task, turn_backs
    from training.token_counts import counter

    tasks = []
    for trace, reference in given:
        if hint and reference is None:
            raise CannotDo(f'trace {trace.trace_id} has no "reference" to reveal; add it, or say --no-hint')
        lost = oracle.lost if reference is None else None  # without a reference only a task of ours can check
        check = by_rules if reference is None else answer_is(reference)
        tasks.append(Task(trace, reference or "", check, How(hint=hint, lost=lost)))
    lengths = Lengths()
    tokens, counted_by = counter(tokenizer)
    bar, at = progress_bar("traces", len(tasks))
    try:
        with bar, out.open("w", encoding="utf-8") as file:

            def keep(trace: Trace) -> str:
                n = tokens(trace.response.removesuffix(trace.answer))
                if not lengths.keep(n, n + tokens(trace.prompt + trace.answer)):
                    return "too long"
                file.write(_line(trace.to_json()))
                file.flush()
                return ""

            made = await turn_backs(engine, tasks, keep, at_once=at_once, seed=seed, progress=at)
    finally:
        await engine.close()
    if made.error and not made.traces:
        raise CannotDo(made.error)
    if made.error:
        typer.echo(f"worldline: {made.error}", err=True)
    return {
        "traces": len(given), "made": made.traces, "left_out": made.left_out, "counted_by": counted_by,
        "lengths": lengths.report(),
    }  # fmt: skip


def _line(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
