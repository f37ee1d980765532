"""Traces of the numbers game by the local engine, kept as they are made. Knows no store and no rater."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.tasks import countdown as game
from core.trace import Trace
from core.workers import processes

# Questions of one worker's turn, in samples: enough to keep the engine's 32 rows full, few enough that a stop costs little.
A_TURN = 96


@dataclass(frozen=True)
class Ask:
    """One sample: its trace's id says which, its seed is drawn from the plan's."""

    trace_id: str
    prompt: str
    seed: int


def training_questions(count: int, seed: int) -> list[game.Countdown]:
    """Distinct questions that are not held out, three and four numbers in turn."""
    rng = random.Random(seed)
    found: dict[tuple[game.State, int], game.Countdown] = {}
    while len(found) < count:
        question = game.sample(rng, game.COUNTS[len(found) % 2], held_out=False)
        found.setdefault(question.key, question)
    return list(found.values())


def asks(name: str, questions: Sequence[game.Countdown], samples: int, seed: int) -> list[Ask]:
    """`samples` of each question."""
    from core.tasks import countdown_text as words

    return [
        Ask(f"{name}-{i:04d}-{j:02d}", words.ask(question, i % len(words.PHRASINGS)), hash_seed(seed, name, i, j))
        for i, question in enumerate(questions)
        for j in range(samples)
    ]


def hash_seed(*parts: object) -> int:
    """A seed below 2^63 that follows from the parts alone."""
    return random.Random("/".join(map(str, parts))).getrandbits(62)


def generate(
    path: Path, wanted: Sequence[Ask], model: Path | None, step_limit: int, workers: int, at: Callable[[float], None]
) -> list[Trace]:
    """The traces of all that is wanted, in that order; those that `path` holds already are not made again.

    model: a folder, None for the shipped one.
    """
    found = {t.trace_id: t for t in read(path)}
    left = [ask for ask in wanted if ask.trace_id not in found]
    turns = [left[i : i + A_TURN] for i in range(0, len(left), A_TURN)]
    path.parent.mkdir(parents=True, exist_ok=True)

    made = len(wanted) - len(left)

    def keep(lines: list[str]) -> None:
        nonlocal made
        with path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
        made += len(lines)
        at(made / len(wanted))

    if workers == 1:
        for turn in turns:
            keep(_turn(turn, model, step_limit))
    elif turns:
        with processes(workers) as pool:
            for lines in pool.map(_turn, turns, [model] * len(turns), [step_limit] * len(turns)):
                keep(lines)
    found |= {t.trace_id: t for t in read(path)}
    return [found[ask.trace_id] for ask in wanted]


def read(path: Path) -> list[Trace]:
    """Traces of a file; a last line that a kill cut short is left out, and cut off so that the next begins on its own."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        path.write_bytes(whole)
    return [Trace.from_json(json.loads(line)) for line in whole.decode().splitlines()]


def _turn(wanted: Sequence[Ask], model: Path | None, step_limit: int) -> list[str]:
    """What one worker does: all the samples at once, as lines of JSON."""
    from core.engines.base import Bounds, EngineError, Sampling
    from core.engines.local import MAX_BATCH, LocalEngine
    from core.run import run_trace
    from core.trace import Problem

    async def everything() -> list[Trace]:
        engine, gate = LocalEngine(model, name=model.parent.name if model else "pocket"), asyncio.Semaphore(MAX_BATCH)

        async def one(ask: Ask) -> Trace:
            async with gate:
                return await run_trace(
                    engine, Problem.ask(ask.prompt), Sampling(seed=ask.seed, max_tokens=3900), Bounds(0, step_limit),
                    lambda _: None, trace_id=ask.trace_id, stop=asyncio.Event(),
                )  # fmt: skip

        try:
            return await asyncio.gather(*map(one, wanted))
        finally:
            await engine.close()

    traces = asyncio.run(everything())
    for trace in traces:
        if trace.error:
            raise EngineError(trace.error)
    return [json.dumps(t.to_json(), ensure_ascii=False) + "\n" for t in traces]
