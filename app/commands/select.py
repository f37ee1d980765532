"""`worldline select`: what is worth training on, each stage counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.common import CannotDo, KeyOption, failing_softly, progress_bar
from app.commands.label import an_engine

SELECT = ("s1k", "solved-by", "reflection")
NOT_ASKED = "no row says which weak models solved it, so nothing was left out as too easy: `worldline select solved-by` asks them"


def select(
    how: Annotated[str, typer.Argument(help=f"One of: {', '.join(SELECT)}.")],
    rows: Annotated[Path, typer.Argument(help="JSONL of candidates: traces, or rows with a question.")],
    out: Annotated[
        Path,
        typer.Argument(help='JSONL of what was chosen, rows unchanged; with solved-by all rows, with "solved_by".'),
    ],
    size: Annotated[int, typer.Option(min=1, help="With s1k: how many.")] = 1000,
    mode: Annotated[str, typer.Option(help="With s1k: paper, or notebook (aware of the benchmarks).")] = "paper",
    domain: Annotated[
        str, typer.Option(help="With s1k: the column that names a row's domain, or one domain for all rows.")
    ] = "domain",
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help='With s1k: folder of the tokenizer that counts responses without "tokens" (default: characters / 4).',
            show_default=False,
        ),
    ] = None,
    benchmarks: Annotated[
        Path | None,
        typer.Option(
            help='With s1k\'s notebook mode: JSONL of the benchmarks\' questions, "source" (GPQA, AIME) and "domain".',
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="With s1k's notebook mode, instead: JSON of domain → weight.", show_default=False),
    ] = None,
    weak: Annotated[
        list[str] | None,
        typer.Option(
            help="With solved-by: a weak model, `pocket`, a folder, or with --endpoint a served one; may be repeated.",
            show_default=False,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="The weak models are served at this OpenAI-compatible address.", show_default=False),
    ] = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    max_tokens: Annotated[int, typer.Option(min=1, help="With solved-by: of an answer.")] = 8192,
    at_once: Annotated[int, typer.Option(min=1, help="With solved-by: questions in flight.")] = 16,
    student: Annotated[str, typer.Option(help="With reflection: folder of the model that chooses.")] = "pocket",
    seed: Annotated[int, typer.Option(help="Of s1k's draws.")] = 42,
) -> None:
    """Choose what is worth training on, and print what each stage left.

    Example: worldline select s1k pool.jsonl chosen.jsonl --size 1000 --domain subject
    """
    with failing_softly():
        from training.trace_files import rows_of

        if how not in SELECT:
            raise CannotDo(f"{how} is not a way to select; there are: {', '.join(SELECT)}")
        given = list(rows_of(rows))
        if how == "solved-by":
            report = _solved_by(given, out, weak or [], endpoint, api_key_env, max_tokens, at_once)
        else:
            if how == "s1k":
                shares = _weights(weights, benchmarks)
                chosen, report = _s1k(given, size, mode, domain, tokenizer, shares, seed)
            else:
                chosen, report = _reflection(given, student)
            out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in chosen), encoding="utf-8")
        typer.echo(json.dumps(report, indent=2))


def _question(row: dict[str, Any], number: int) -> str:
    for key in ("question", "prompt"):
        if isinstance(row.get(key), str):
            return str(row[key])
    raise CannotDo(f'row {number} has neither "question" nor "prompt"')


def _weights(weights: Path | None, benchmarks: Path | None) -> dict[str, float]:
    from training.selection.s1k import benchmark_weights
    from training.trace_files import rows_of

    if benchmarks is None:
        return json.loads(weights.read_text(encoding="utf-8")) if weights else {}
    try:
        return benchmark_weights((str(r["source"]), str(r["domain"])) for r in rows_of(benchmarks))
    except KeyError as error:
        raise CannotDo(f'a row of {benchmarks} has no {error}; each needs "source" and "domain"') from None


def _s1k(
    given: list[dict[str, Any]], size: int, mode: Any, domain: str, tokenizer: Path | None, weights: dict[str, float], seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:  # fmt: skip
    from training.selection import s1k
    from training.token_counts import counter

    tokens, counted_by = counter(tokenizer)
    column = any(domain in row for row in given)
    if given and not column and domain == "domain":
        raise CannotDo('row 1 has no "domain": name the column that has it, or one for all rows, with --domain')
    samples = []
    counted = 0
    for number, row in enumerate(given, 1):
        if column and domain not in row:
            raise CannotDo(f'row {number} has no "{domain}"')
        if "tokens" not in row:
            counted += 1
        samples.append(
            s1k.Sample(
                str(number - 1), _question(row, number), str(row[domain]) if column else domain, _tokens(row, number, tokens),
                frozenset(row.get("solved_by") or ()), str(row.get("source", "")), bool(row.get("correct", row.get("solved"))),
                bool(row.get("api_error")) or row.get("finish_reason") == "error",
            )
        )  # fmt: skip
    found = s1k.select(samples, s1k.Recipe(size, mode, seed, weights))
    report: dict[str, Any] = {"mode": mode, "stages": found.stages, "dropped": found.dropped}
    if counted:
        report["counted_by"] = counted_by
    if not any("solved_by" in row for row in given):
        report["note"] = NOT_ASKED
    return [given[int(s.id)] for s in found.samples], report


def _tokens(row: dict[str, Any], number: int, count: Callable[[str], int]) -> int:
    if "tokens" in row:
        return int(row["tokens"])
    if not isinstance(row.get("response"), str):
        raise CannotDo(f'row {number} has neither "tokens" nor a "response" to count')
    return count(row["response"])


def _solved_by(
    given: list[dict[str, Any]], out: Path, weak: list[str], endpoint: str | None, key_env: str, max_tokens: int, at_once: int
) -> dict[str, Any]:  # fmt: skip
    from core.answers import answers_for
    from core.trace import Problem
    from training.labels.rollouts import answer_is, by_rules
    from training.selection.weak import ask

    if not weak:
        raise CannotDo("name the weak models with --weak")
    rows = []
    for number, row in enumerate(given, 1):
        question, reference = _question(row, number), row.get("reference")
        if reference is None and answers_for(Problem.ask(question)).right("") is None:
            raise CannotDo(f'row {number} has no "reference" to check an answer to its question by')
        rows.append((row, question, by_rules if reference is None else answer_is(str(reference))))
    engines = {name: an_engine(name, endpoint, key_env) for name in weak}
    bar, at = progress_bar("questions", len(rows))

    async def all_of_it() -> Any:
        try:
            return await ask(engines, rows, keep, max_tokens=max_tokens, at_once=at_once, progress=at)
        finally:
            for engine in engines.values():
                await engine.close()

    with bar, out.open("w", encoding="utf-8") as file:

        def keep(row: dict[str, Any]) -> None:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()

        found = asyncio.run(all_of_it())
    if found.error:
        typer.echo(f"worldline: {found.failed} questions could not be asked: {found.error}", err=True)
        if found.failed == len(rows):
            raise CannotDo(found.error)
    return {"questions": len(rows), "solved": found.solved, "could_not_be_asked": found.failed}


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
