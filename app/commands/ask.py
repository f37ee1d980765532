"""`worldline ask` (questions in, reasoning out) and `worldline tree` (responses in, trees out)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.common import CannotDo, DataOption, KeyOption, data_folder, failing_softly, progress_bar
from app.commands.engines import EndpointOption, ModelOption, engine_of

if TYPE_CHECKING:
    from core.engines.base import Engine
    from core.turns import Turns

FormatOption = Annotated[
    str | None,
    typer.Option("--format", help="Read responses as this format (default: as they begin).", show_default=False),
]


def ask(
    question: Annotated[
        str | None, typer.Argument(help="The question. Leave out with --file.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help='JSONL with "prompt" a row: answers all, batched.', show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each trace as one JSON line.")] = False,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling; 1 is off.")] = 1.0,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same trace. Row i of a file uses seed + i.", show_default=False)
    ] = None,
    min_steps: Annotated[int, typer.Option(help="The model may not end before this many steps.")] = 0,
    max_steps: Annotated[int, typer.Option(help="After this many steps it must end.")] = 60,
    max_tokens: Annotated[int, typer.Option(help="Longest response.")] = 3900,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    format: FormatOption = None,
    after: Annotated[
        str | None,
        typer.Option(
            help="Id of a stored trace that the question follows: the model is given what came before.",
            show_default=False,
        ),
    ] = None,
    earlier_as: Annotated[
        str, typer.Option(help="With --after: earlier turns as `summaries` (no thoughts) or `full`.")
    ] = "summaries",
    keep: Annotated[bool, typer.Option("--keep", help="Also store the traces in the data folder, for rating.")] = False,
    data: DataOption = None,
) -> None:
    """Ask a model and watch it reason.

    Example: worldline ask "Reach 24 from 4, 7, 8 and 8." --max-steps 20

    Example: worldline ask "Is 1001 prime?" --endpoint http://127.0.0.1:8000/v1
    """
    with failing_softly():
        from core.engines.base import Bounds, Sampling
        from core.formats import known

        if format is not None:
            known(format)  # before anything is loaded
        if (question is None) == (file is None):
            raise CannotDo(
                'give one question or --file PROBLEMS.jsonl, for example: worldline ask "Reach 24 from 4, 7, 8 and 8."'
            )
        prompts = [not_empty(question)] if question is not None else list(_prompts(file)) if file else []
        sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed, max_tokens=max_tokens)
        before = _before(after, earlier_as, data)
        engine = engine_of(model, endpoint, api_key_env, prompts)
        traces = asyncio.run(
            _ask_all(
                engine, prompts, sampling, Bounds(min_steps, max_steps), as_json, question is not None, format, before
            )
        )
        if keep:
            from app.workbench import workbench_at

            with workbench_at(data_folder(data)) as bench:
                bench.add_traces(traces)
        if any(t.finish_reason == "error" for t in traces):
            raise CannotDo(next(t.error for t in traces if t.finish_reason == "error"))


def not_empty(question: str) -> str:
    if not question.strip():
        raise CannotDo('the question is empty; ask, for example: worldline ask "Reach 24 from 4, 7, 8 and 8."')
    return question


def _before(after: str | None, given_as: str, data: Path | None) -> Turns:
    """The conversation that a question follows. Raises CannotDo, StoreError."""
    from core.trace import GIVEN_AS
    from core.turns import Turns

    if given_as not in GIVEN_AS:
        raise CannotDo(f"--earlier-as is {given_as}; it must be {' or '.join(GIVEN_AS)}")
    if after is None:
        return Turns()
    from app.workbench import workbench_at

    folder, traces = data_folder(data), []
    if not folder.exists():
        raise CannotDo(f"there is no data folder {folder}; name another with --data, or ask without --after")
    with workbench_at(folder) as bench:
        last = bench.trace(after)
        for trace_id in (*(last.earlier.trace_ids if last and last.earlier else ()), after):
            trace = bench.trace(trace_id)
            if trace is None:
                raise CannotDo(f"there is no trace {trace_id} in {folder}; import it, or ask without --after")
            traces.append(trace)
    if not traces[-1].response.strip():
        raise CannotDo(f"the trace {after} has no text, so nothing can be asked after it")
    return Turns.of(traces, given_as)  # type: ignore[arg-type]


def _rows(file: Path, *fields: str) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file whose `fields` are strings; errors name file, line and field."""
    if not file.exists():
        raise CannotDo(f"{file} does not exist")
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise CannotDo(
                    f"{file}:{number}: not valid JSON ({error.msg} at character {error.pos + 1}); mend or delete the line"
                ) from error
            for name in fields:
                if not isinstance(row, dict) or not isinstance(row.get(name), str):
                    raise CannotDo(f'{file}:{number}: "{name}" is missing or not a string')
            yield row


def _prompts(file: Path) -> Iterator[str]:
    for row in _rows(file, "prompt"):
        yield row["prompt"]


async def _ask_all(
    engine: Engine, prompts: list[str], sampling: Any, bounds: Any, as_json: bool, watch: bool, format: str | None,
    before: Turns,
) -> list[Any]:  # fmt: skip
    """Answer all prompts side by side; JSON lines come out in the order of the file."""
    from core.engines.local import MAX_BATCH
    from core.run import run_trace
    from core.trace import Problem, new_id

    gate = asyncio.Semaphore(MAX_BATCH)
    bar, at = progress_bar("answering", len(prompts))
    printer = _Printer() if watch and not as_json else None
    done = 0
    printed = 0
    results: dict[int, Any] = {}

    async def one(i: int, prompt: str) -> None:
        nonlocal done, printed
        async with gate:
            own = sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + i)
            trace = await run_trace(
                engine,
                Problem.ask(prompt),
                own,
                bounds,
                printer or (lambda _: None),
                trace_id=new_id(),
                stop=asyncio.Event(),
                format=format,
                before=before,
            )
        results[i] = trace
        done += 1
        at(done)
        while printed in results:  # in order, as early as possible
            finished = results[printed]
            printed += 1
            if as_json:
                print(json.dumps(finished.to_json(), ensure_ascii=False), flush=True)
            elif printer is None:
                verdict = {True: "solved", False: "not solved", None: finished.finish_reason}[finished.solved]
                print(f"{finished.prompt}\n  {verdict} in {len(finished.steps)} steps. {finished.answer}", flush=True)

    try:
        if watch:
            await one(0, prompts[0])
        else:
            with bar:
                await asyncio.gather(*(one(i, p) for i, p in enumerate(prompts)))
    finally:
        await engine.close()
    if printer:
        printer.finish(results[0])
    if not as_json:  # in JSON they are part of the trace
        for note in dict.fromkeys(n for i in sorted(results) for n in results[i].stats.get("notes", ())):
            typer.echo(f"worldline: {note}", err=True)
    return [results[i] for i in range(len(prompts))]


class _Printer:
    """Run events as indented text: two blanks a level, an arrow at every return."""

    def __init__(self) -> None:
        self.depths: list[int] = []
        self.answering = False

    def __call__(self, event: dict[str, Any]) -> None:
        if event["type"] == "step_close":  # only a whole step has its final place
            step = event["step"]
            self.depths.append(0 if step["parent"] is None else self.depths[step["parent"]] + 1)
            blank = "  " * self.depths[step["index"]]
            turn = ""
            if step["is_backtrack"]:
                turn = "↩ " + ("to the question: " if step["resumes"] is None else f"to step {step['resumes'] + 1}: ")
            if step["summary"] or step["reflection"]:
                print(f"{step['index'] + 1:>3} {blank}{turn}{step['name']}. {step['thought']}.", file=sys.stdout)
                print(f"    {blank}  {step['summary']}. {step['reflection']}", flush=True)
            else:  # free text: the name is made from it
                text = step["thought"].replace("\n", f"\n    {blank}")
                print(f"{step['index'] + 1:>3} {blank}{turn}{text}", flush=True)
        elif event["type"] == "answer_delta":
            if not self.answering:
                print()
            self.answering = True
            print(event["text"], end="", flush=True)

    def finish(self, trace: Any) -> None:
        stats = trace.stats
        verdict = {True: "solved", False: "not solved", None: "not checked"}[trace.solved]
        saved = f", {stats['saved_prompt_tokens']:,} prompt tokens saved" if stats.get("saved_prompt_tokens") else ""
        speed = f", {stats['tokens_per_s']:.0f} tokens/s" if stats.get("tokens_per_s") else ""
        print(
            f"\n\n{verdict} ({trace.finish_reason}): {stats['steps']} steps, {stats['backtracks']} backtracks, "
            f"{stats['generated_tokens']} tokens{speed}{saved}"
        )


def tree(
    file: Annotated[Path, typer.Argument(help='JSONL with "prompt" and "response" a row.')],
    format: FormatOption = None,
    data: DataOption = None,
) -> None:
    """Cut responses into steps and place them: JSONL in, JSONL with `steps` out.

    Example: worldline tree responses.jsonl > trees.jsonl
    """
    with failing_softly():
        from core.formats import known, parse_response

        if format is not None:
            known(format)
        keys = ("start", "end", "name", "decision")
        placed = ("kind", "parent", "is_backtrack", "resumes", "replaces", "confidence")
        for row in _rows(file, "prompt", "response"):
            steps, nodes, answer, form = parse_response(
                row["prompt"], row["response"], row.get("finish_reason", "stop"), format
            )
            out = [
                {k: getattr(s, k) for k in keys} | {k: getattr(n, k) for k in placed}
                for s, n in zip(steps, nodes, strict=True)
            ]
            print(json.dumps({**row, "format": form, "answer": answer, "steps": out}, ensure_ascii=False))
