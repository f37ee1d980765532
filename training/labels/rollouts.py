"""Math-Shepherd: from the end of each step let a model finish N times, and count how often the answer is right.

Wang et al. 2024, arXiv 2312.08935, §3.3. What is estimated is the chance that *this* completer still gets there: a value, not a
judgement of the step. A model that turns back recovers from bad steps, which then look good.
Knows engines and answers; knows no store.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from core.answers import Answers, answers_for, kind_of
from core.engines.base import Bounds, Engine, EngineError, Sampling
from core.run import run_trace
from core.tasks import solved
from core.trace import Problem, Trace
from training.labels.counts import Count

N = 8  # rollouts a step, as in the paper

Check = Callable[[Trace], bool | None]


def answer_is(reference: str) -> Check:
    """Checks a trace's answer against a reference as `core/answers` does for this kind of question: 1/2 is 0.5.

    Blocks for as long as one comparison takes; safe in several threads.
    """
    judges: dict[str, Answers] = {}
    one_at_a_time = threading.Lock()

    def check(trace: Trace) -> bool | None:
        problem = Problem.ask(trace.prompt, answer=reference)
        if kind_of(problem) == "countdown":
            return by_rules(trace)
        said = trace.answer or (trace.response if trace.format == "plain" else "")
        with one_at_a_time:
            if trace.prompt not in judges:
                judges[trace.prompt] = answers_for(problem)
            answers = judges[trace.prompt]
            answers.prepare(said)
            return answers.right(said)

    return check


def by_rules(trace: Trace) -> bool | None:
    """The exact rules of the task, where one of ours can check; None otherwise."""
    return solved(trace.prompt, trace.steps)


@dataclass
class Completer:
    """Finishes a beginning and says whether it came out right. `spent` counts what it cost."""

    engine: Engine
    sampling: Sampling = field(default_factory=Sampling)
    bounds: Bounds = field(default_factory=Bounds)
    at_once: int = 32
    spent: dict[str, int] = field(default_factory=lambda: {"rollouts": 0, "tokens": 0})

    def __post_init__(self) -> None:
        self._gate = asyncio.Semaphore(self.at_once)

    async def finish(self, trace: Trace, kept: int, seed: int) -> Trace:
        """A trace that begins with the first `kept` characters. Raises EngineError."""
        async with self._gate:
            done = await run_trace(
                self.engine, Problem.ask(trace.prompt), replace(self.sampling, seed=seed), self.bounds, lambda _: None,
                trace_id=f"{trace.trace_id}+{kept}.{seed}", stop=asyncio.Event(), prefix=trace.response[:kept],
                format=trace.format,
            )  # fmt: skip
        if done.finish_reason == "error":
            raise EngineError(done.error)
        self.spent["rollouts"] += 1
        self.spent["tokens"] += int(done.stats.get("generated_tokens") or 0)
        return done

    async def count(self, trace: Trace, step: int, check: Check, n: int = N) -> Count:
        """N rollouts from the end of `step` (−1: from the question). Raises EngineError, ValueError without a check."""
        kept = trace.steps[step].end if step >= 0 else 0
        done = await asyncio.gather(*(self.finish(trace, kept, _seed(trace.trace_id, step, i)) for i in range(n)))
        found = await asyncio.to_thread(lambda: [check(t) for t in done])
        if any(right is None for right in found):
            raise ValueError(
                f'Nothing can check an answer to "{trace.prompt[:60]}": give a reference answer ("reference" in its row).'
            )
        return Count(sum(bool(right) for right in found), n)


def _seed(trace_id: str, step: int, i: int) -> int:
    """The same for the same step, whatever else runs: a label can be made again."""
    return int.from_bytes(hashlib.sha256(f"{trace_id}/{step}/{i}".encode()).digest()[:4], "big")


async def count_all(completer: Completer, trace: Trace, check: Check, n: int = N) -> list[Count]:
    """A count for every step, all in flight at once."""
    counts = await asyncio.gather(*(completer.count(trace, s.index, check, n) for s in trace.steps))
    return list(counts)
