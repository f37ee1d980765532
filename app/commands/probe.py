"""`worldline probe`: does a model answer as one stream, or does it search in parallel behind its answer?"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from app.commands.ask import _prompts
from app.commands.common import CannotDo, KeyOption, failing_softly, progress_bar
from app.commands.engines import EndpointOption, ModelOption, engine_of

if TYPE_CHECKING:
    from core.probe import Fit, Point


def probe(
    endpoint: EndpointOption = None,
    model: ModelOption = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help='JSONL with "prompt" a row, from easy to hard (default: our own).', show_default=False
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="How often each question is asked.")] = 3,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest response.")] = 3500,
    seed: Annotated[int, typer.Option(help="Seeds and the order of asking come from it.")] = 0,
    behind: Annotated[
        str,
        typer.Option(
            help="The positive control: best-of-n, or beam (the numbers game alone), behind the same measurement, with a width from 1 "
            "to 16 by question.",
            show_default=False,
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Write probe.json and probe.svg into this folder.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print points and fit as JSON.")] = False,
) -> None:
    """Measure response time against generated tokens, thinking included, and say what that means.

    Example: worldline probe --endpoint http://127.0.0.1:8000/v1 --repeats 5 --out probe/
    """
    with failing_softly():
        from core import probe as probing
        from core.engines.sampling import sampler_of

        questions = list(_prompts(file)) if file else list(probing.QUESTIONS)
        if not questions:
            raise CannotDo(f"{file} has no questions")
        if not file and not endpoint and model in (None, "pocket"):
            questions = probing.pocket_questions()
        kind = next((k for k in get_args(probing.Behind) if k == behind), None)
        if kind is None:
            raise CannotDo(f"--behind is {behind}; it must be best-of-n or beam, or left out")
        try:
            probing.check_behind(kind, questions)
        except ValueError as error:
            raise CannotDo(f"--behind {kind}: {error}") from None
        engine = engine_of(model, endpoint, api_key_env, questions)
        ask = (
            probing.in_parallel(sampler_of(engine), kind, max_tokens=max_tokens)
            if kind else probing.through(engine, max_tokens=max_tokens)
        )  # fmt: skip

        async def work() -> list[Point]:
            points: list[Point] = []
            bar, at = progress_bar("asking", len(questions) * repeats)
            try:
                with bar:
                    async for point in probing.measure(ask, questions, repeats, seed):
                        points.append(point)
                        at(len(points))
            finally:
                await engine.close()
            return points

        points = asyncio.run(work())
        found = probing.fit(points, seed)
        report = {
            "model": engine.model,
            "behind": kind,
            "fit": found.to_json(),
            "points": [asdict(p) for p in points],
        }
        if out:
            out.mkdir(parents=True, exist_ok=True)
            (out / "probe.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
            title = probing.titled(engine.model, kind)
            (out / "probe.svg").write_text(probing.svg(points, found, title), encoding="utf-8")
        if as_json:
            print(json.dumps(report, ensure_ascii=False))
        else:
            _print(points, found, questions)


def _print(points: list[Point], found: Fit, questions: list[str]) -> None:
    from statistics import median

    from core.probe import chart

    print(f"{'tokens':>8} {'seconds':>8} {'tokens/s':>9}  question (medians)")
    for question in questions:
        of = [p for p in points if p.question == question]
        tokens, seconds = median(p.tokens for p in of), median(p.seconds for p in of)
        print(
            f"{tokens:8,.0f} {seconds:8.2f} {tokens / seconds:9,.0f}  {question if len(question) < 70 else question[:69] + '…'}"
        )
    rate = f", {found.tokens_per_s:,.0f} tokens/s" if found.tokens_per_s else ""
    print(f"\n{chart(points, found)}\n")
    print(
        f"t = {found.a:.2f} s + {found.b * 1000:.2f} ms · tokens{rate}; exponent {found.exponent:.2f}, {found.points} points"
    )
    print(f"{found.verdict}: {found.why}")
