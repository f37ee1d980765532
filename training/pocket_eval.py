"""Measure the pocket model on held-out questions, in full rollouts, judged from the steps alone.

One rollout a question at the given temperature. The curve over step limits comes from the same rollouts: a limit only
forces the end, so what was solved within k steps is what a limit of k solves.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

LIMITS = (5, 10, 20, 40, 60)
PROBLEMS = 500


@dataclass(frozen=True)
class PocketFigures:
    """What the model card prints. Shares are in [0, 1]; `*_ci` are 95 % Wilson intervals over problems."""

    problems: int
    steps: int
    steps_ok: float
    solved_3: float
    solved_3_ci: tuple[float, float]
    solved_4: float
    solved_4_ci: tuple[float, float]
    traces_with_backtracks: float
    backtracks: int
    backtracks_to_visited: float
    curve: dict[int, float]
    curve_3: dict[int, float]
    curve_4: dict[int, float]
    mean_steps: float
    tokens: int
    seconds: float
    wrong: dict[str, int]  # the ten most frequent reasons why a step was not ok


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval for a proportion; (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return round((middle - half) / (1 + z * z / n), 4), round((middle + half) / (1 + z * z / n), 4)


def evaluate(
    model: Path, *, problems: int = PROBLEMS, seed: int = 2026, temperature: float = 1.0, limit: int = 60,
    progress: Callable[[int, int], None] | None = None, keep: Path | None = None,
) -> PocketFigures:  # fmt: skip
    """Roll out so many held-out questions and check every step. `keep`: write all traces as JSONL."""
    from collections import Counter

    from core.engines.base import Bounds, Sampling
    from core.engines.local import MAX_BATCH, LocalEngine
    from core.run import run_trace
    from core.tasks import countdown as game
    from core.tasks import countdown_text as words
    from core.trace import Problem

    questions = game.held_out_set(problems, seed)

    async def all_traces():
        engine, gate, done = LocalEngine(model), asyncio.Semaphore(MAX_BATCH), 0

        async def one(i: int, question: game.Countdown):
            nonlocal done
            async with gate:
                prompt = words.ask(question, i % len(words.PHRASINGS))
                trace = await run_trace(
                    engine, Problem.ask(prompt), Sampling(temperature=temperature, seed=seed + i, max_tokens=3900),
                    Bounds(0, limit), lambda _: None, trace_id=f"eval-{i}", stop=asyncio.Event(),
                )  # fmt: skip
                done += 1
                if progress:
                    progress(done, len(questions))
                return trace

        try:
            return await asyncio.gather(*(one(i, q) for i, q in enumerate(questions)))
        finally:
            await engine.close()

    started = time.time()
    traces = asyncio.run(all_traces())
    seconds = time.time() - started
    checks = [
        words.check(q, list(t.steps), forced_end=t.finish_reason == "step_limit")
        for q, t in zip(questions, traces, strict=True)
    ]
    if keep:
        keep.write_text("".join(json.dumps(t.to_json(), ensure_ascii=False) + "\n" for t in traces))
    steps = [s for c in checks for s in c.steps]
    backs = [s for c in checks for s in c.backtracks]
    wrong = Counter(r for s in steps for r in s.reasons)

    def solved(count: int | None, within: int) -> tuple[int, int]:
        chosen = [c for q, c in zip(questions, checks, strict=True) if count in (None, len(q.numbers))]
        return sum(c.solved_at is not None and c.solved_at < within for c in chosen), len(chosen)

    def share(pair: tuple[int, int]) -> float:
        return round(pair[0] / max(pair[1], 1), 4)

    return PocketFigures(
        problems=len(questions), steps=len(steps), steps_ok=round(sum(s.ok for s in steps) / max(len(steps), 1), 5),
        solved_3=share(solved(3, limit)), solved_3_ci=wilson(*solved(3, limit)),
        solved_4=share(solved(4, limit)), solved_4_ci=wilson(*solved(4, limit)),
        traces_with_backtracks=share((sum(bool(c.backtracks) for c in checks), len(checks))),
        backtracks=len(backs), backtracks_to_visited=round(sum(bool(b.returns_to_visited) for b in backs) / max(len(backs), 1), 5),
        curve={k: share(solved(None, k)) for k in LIMITS}, curve_3={k: share(solved(3, k)) for k in LIMITS},
        curve_4={k: share(solved(4, k)) for k in LIMITS},
        mean_steps=round(len(steps) / max(len(checks), 1), 2), tokens=sum(t.stats["generated_tokens"] for t in traces),
        seconds=round(seconds, 1), wrong=dict(wrong.most_common(10)),
    )  # fmt: skip


def as_json(figures: PocketFigures) -> str:
    """For files and people alike."""
    return json.dumps(asdict(figures), indent=2)
