"""An engine whose chance of getting right is known: what estimators are held against."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable

from core.engines.base import Chunk, GenerateRequest
from core.formats import steiner_tokens as t
from core.formats.steiner_tokens import STEP_END
from core.run import TraceReader
from core.trace import Problem, Trace


def step(text: str) -> str:
    """One step in Steiner's format."""
    fields = "".join(f"{a}{text if name == 'thought' else ''}{b}" for name, (a, b) in t.FIELDS.items())
    return f"{t.STEP_START}{fields}{t.STEP_END}"


def trace_of(
    *thoughts: str, prompt: str = "What?", answer: str = "wrong", trace_id: str = "trace", back: int = -1
) -> Trace:
    """A trace of these steps; step `back` is entered by a backtrack."""
    response = t.REASONING_START
    for i, thought in enumerate(thoughts):
        lead = "" if not i else t.BACKTRACK if i == back else t.PROCEED
        response += lead + step(thought)
    reader = TraceReader(Problem.ask(prompt), "written", trace_id)
    reader.feed(response + t.REASONING_END + answer)
    reader.close()
    return reader.trace("stop", sampling={}, stats={})


class RiggedEngine:
    """Ends a prefix of k steps with the answer "right" with probability `chance(k)`, otherwise "wrong"."""

    model = "rigged"

    def __init__(self, chance: Callable[[int], float], extra: str = "") -> None:
        self.chance, self.extra, self.asked = chance, extra, []

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        assert request.sampling.seed is not None
        right = random.Random(request.sampling.seed).random() < self.chance(request.prefix.count(STEP_END))
        yield Chunk(f"{self.extra}{t.REASONING_END}{'right' if right else 'wrong'}", 3)
        yield Chunk("", 0, finish_reason="stop")

    async def close(self) -> None:
        return None
