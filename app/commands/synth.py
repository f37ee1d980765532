"""`worldline synthesize` and `worldline select`: training data made and chosen without people."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.common import CannotDo, KeyOption, failing_softly, progress_bar
from app.commands.label import an_engine

if TYPE_CHECKING:
    from core.trace import Trace

HOW = ("countdown", "dag", "turn-back")
SELECT = ("s1k", "reflection")


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
        str | None, typer.Option(help="The model is served at this OpenAI-compatible address.", show_default=False)
    ] = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    same: Annotated[
        float, typer.Option(min=0, max=1, help="With dag: cosine from which two steps are one node.")
    ] = 0.95,
    hint: Annotated[
        bool, typer.Option("--hint/--no-hint", help="With turn-back: whether the question reveals the answer in words.")
    ] = True,
    seed: Annotated[int, typer.Option(help="The same seed makes the same data.")] = 1,
) -> None:
    """Write searches with turns back, after Steiner's two stages, and print what was made.

    Example: worldline synthesize countdown paths.jsonl --dags 10000
    """
    with failing_softly():
        if how not in HOW:
            raise CannotDo(f"{how} is not a way to synthesize; there are: {', '.join(HOW)}")
        if how == "countdown":
            from training.synthesis.countdown_dags import write

            bar, at = progress_bar("questions", dags)
            with bar:
                made = write(out, dags=dags, paths=paths, seed=seed, workers=workers, progress=at)
        elif traces is None:
            raise CannotDo(f"{how} begins with traces: give them with --from TRACES.jsonl")
        elif how == "dag":
            made = _dag([t for t, _ in read_traces(traces)], out, paths, Path(model), same, seed)
        else:
            engine = an_engine(model, endpoint, api_key_env)
            made = asyncio.run(_turn_back(engine, read_traces(traces), out, hint, seed))
        typer.echo(json.dumps(made, indent=2))


def _dag(traces: Sequence[Trace], out: Path, paths: int, model: Path, same: float, seed: int) -> dict[str, Any]:
    from core.pocket import model_dir
    from core.pretrained import library
    from training.synthesis import clusters, dag
    from training.synthesis.lengths import Lengths

    by_question: dict[str, list[Trace]] = {}
    for trace in traces:
        by_question.setdefault(clusters.question(trace), []).append(trace)
    lengths, embed = Lengths(), None
    counts = {"questions": len(by_question), "nodes": 0, "edges": 0, "edges_cut": 0, "without_a_right_end": 0}
    folder = model_dir() if str(model) == "pocket" else model
    tokenizer = library().AutoTokenizer.from_pretrained(folder)
    with out.open("w", encoding="utf-8") as file:
        for problem_id, group in sorted(by_question.items()):
            try:
                keys = clusters.exact(group)
            except ValueError:
                embed = embed or clusters.model_embedder(folder)
                keys = clusters.by_embedding(group, embed, same)
            found = dag.build(group[0].prompt, list(zip(group, keys, strict=True)))
            counts["nodes"] += len(found.nodes)
            counts["edges"] += sum(map(len, found.children.values()))
            counts["edges_cut"] += found.cut
            counts["without_a_right_end"] += not any(n.right for n in found.nodes)
            for path in dag.sample_many(found, random.Random(f"{seed}/{problem_id}"), paths):
                n = len(tokenizer(path.reasoning, add_special_tokens=False).input_ids)
                more = len(tokenizer(found.prompt + path.answer, add_special_tokens=False).input_ids)
                if lengths.keep(n, n + more):
                    row = {
                        "prompt": found.prompt,
                        "response": path.response,
                        "answer": path.answer,
                        "model": "synthesis",
                    }
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return {**counts, "lengths": lengths.report()}


async def _turn_back(
    engine: Any, given: Sequence[tuple[Trace, str | None]], out: Path, hint: bool, seed: int
) -> dict[str, Any]:
    from training.labels import oracle
    from training.labels.rollouts import answer_is, by_rules
    from training.synthesis.reveal import How, Made, turn_backs

    made = Made()
    try:
        for i, (trace, reference) in enumerate(given):
            check = by_rules if reference is None else answer_is(reference)
            if hint and reference is None:
                raise CannotDo(f'trace {trace.trace_id} has no "reference" to reveal; add it, or say --no-hint')
            lost = oracle.lost if reference is None else None  # without a reference only a task of ours can check
            one = await turn_backs(engine, [(trace, reference or "")], check, How(hint=hint, lost=lost), seed + i)
            made.traces += one.traces
            for why, count in one.left_out.items():
                made.left_out[why] = made.left_out.get(why, 0) + count
    finally:
        await engine.close()
    out.write_text("".join(json.dumps(t.to_json(), ensure_ascii=False) + "\n" for t in made.traces), encoding="utf-8")
    return {"traces": len(given), "made": len(made.traces), "left_out": made.left_out}


def select(
    how: Annotated[str, typer.Argument(help=f"One of: {', '.join(SELECT)}.")],
    rows: Annotated[Path, typer.Argument(help="JSONL of candidates.")],
    out: Annotated[Path, typer.Argument(help="JSONL of what was chosen, rows unchanged.")],
    size: Annotated[int, typer.Option(min=1, help="With s1k: how many.")] = 1000,
    mode: Annotated[str, typer.Option(help="With s1k: paper, or notebook (aware of the benchmarks).")] = "paper",
    weights: Annotated[
        Path | None, typer.Option(help="With s1k's notebook mode: JSON of domain → weight.", show_default=False)
    ] = None,
    student: Annotated[str, typer.Option(help="With reflection: folder of the model that chooses.")] = "pocket",
    seed: Annotated[int, typer.Option(help="Of s1k's draws.")] = 42,
) -> None:
    """Choose what is worth training on, and print what each stage left.

    Example: worldline select s1k pool.jsonl chosen.jsonl --size 1000
    """
    with failing_softly():
        if how not in SELECT:
            raise CannotDo(f"{how} is not a way to select; there are: {', '.join(SELECT)}")
        given = rows_of(rows)
        chosen, report = _s1k(given, size, mode, weights, seed) if how == "s1k" else _reflection(given, student)
        out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in chosen), encoding="utf-8")
        typer.echo(json.dumps(report, indent=2))


def _s1k(
    given: list[dict[str, Any]], size: int, mode: Any, weights: Path | None, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from training.selection import s1k

    samples = []
    for i, row in enumerate(given):
        try:
            samples.append(
                s1k.Sample(
                    str(i), str(row["question"]), str(row["domain"]), int(row["tokens"]), frozenset(row.get("solved_by", ())),
                    str(row.get("source", "")), bool(row.get("correct")), bool(row.get("api_error")),
                )
            )  # fmt: skip
        except KeyError as error:
            raise CannotDo(f"row {i + 1} has no {error}; s1k needs question, domain, tokens and solved_by") from None
    shares = json.loads(weights.read_text(encoding="utf-8")) if weights else {}
    found = s1k.select(samples, s1k.Recipe(size, mode, seed, shares))
    return [given[int(s.id)] for s in found.samples], {"mode": mode, "stages": found.stages, "dropped": found.dropped}


def _reflection(given: list[dict[str, Any]], student: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from core.pocket import model_dir
    from training.selection import ifd

    model = ifd.Student(model_dir() if student == "pocket" else Path(student))
    choices, kept = [], []
    bar, at = progress_bar("pairs", len(given))
    with bar:
        for i, row in enumerate(given):
            try:
                original = ifd.Pair(str(row["instruction"]), str(row["response"]))
            except KeyError as error:
                raise CannotDo(f"row {i + 1} has no {error}; reflection needs instruction and response") from None
            new = None
            if row.get("new_instruction"):
                new = ifd.Pair(str(row["new_instruction"]), str(row.get("new_instruction_response") or row["response"]))
            choice = ifd.choose(model, original, new, row.get("new_response"))
            choices.append(choice)
            if choice.pair is not None:
                scores = {"ifd": choice.ifd, "rifd": choice.rifd}
                kept.append({**row, "instruction": choice.pair.instruction, "response": choice.pair.response, **scores})
            at(i + 1)
    return kept, ifd.counts(choices)
