"""Which weak models solve a question: s1K's measure of difficulty (Muennighoff et al. 2025, §2.2), asked of any models.

Each is asked once, greedily; its answer is judged as the question's kind wants (`core/answers`), never by another model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.engines.base import Bounds, Engine, EngineError, Sampling
from core.run import run_trace
from core.trace import Problem
from training.labels.rollouts import Check

AT_ONCE = 16


@dataclass
class Asked:
    """What came of it: questions that each model solved, and what could not be asked."""

    solved: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    error: str = ""


async def ask(
    engines: Mapping[str, Engine], rows: Sequence[tuple[dict[str, Any], str, Check]], keep: Callable[[dict[str, Any]], None], *,
    max_tokens: int, at_once: int = AT_ONCE, progress: Callable[[int], None] = lambda done: None,
) -> Asked:  # fmt: skip
    """Give each row (row, question, check) "asked" and "solved_by"; `keep` gets it as soon as all have answered.

    A model that "asked" names already is not asked again. A row that some model could not be asked is kept as it was, so
    that it can be asked later.
    """
    found, gate = Asked(dict.fromkeys(engines, 0)), asyncio.Semaphore(at_once)
    done = 0

    async def solves(engine: Engine, question: str, check: Check) -> bool:
        async with gate:
            trace = await run_trace(
                engine, Problem.ask(question), Sampling(temperature=0.0, max_tokens=max_tokens, seed=0), Bounds(),
                lambda _: None, trace_id="", stop=asyncio.Event(),
            )  # fmt: skip
        if trace.finish_reason == "error":
            raise EngineError(trace.error)
        return trace.finish_reason == "stop" and bool(await asyncio.to_thread(check, trace))

    async def one(row: dict[str, Any], question: str, check: Check) -> None:
        nonlocal done
        asked, solved = set(row.get("asked", ())), set(row.get("solved_by", ()))
        todo = [name for name in engines if name not in asked]
        try:
            right = await asyncio.gather(*(solves(engines[name], question, check) for name in todo))
        except EngineError as error:
            found.failed, found.error = found.failed + 1, str(error)
        else:
            solved |= {name for name, r in zip(todo, right, strict=True) if r}
            row = {**row, "asked": sorted(asked | set(todo)), "solved_by": sorted(solved)}
            for name in engines:
                found.solved[name] += name in solved
        keep(row)
        done += 1
        progress(done)

    await asyncio.gather(*(one(*row) for row in rows))
    return found
