"""An engine that writes what a test tells it and a scorer that says what a test tells it, driven by the real scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from core.engines.sampling import PieceEnd, Sample, SampleRequest
from core.search import strategies
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import Scored
from core.search.search import Search
from core.trace import Problem
from tests.core.search.chance import Chance

LIMITS = Limits(max_tokens=10_000, step_tokens=100)


class Writes(Chance):
    """An engine that writes what `piece` says of a request and of which of its continuations."""

    def __init__(self, piece: Callable[[SampleRequest, int], tuple[str, PieceEnd]]) -> None:
        super().__init__()
        self.piece = piece

    def _write(self, request: SampleRequest, seed: int) -> Sample:
        assert request.sampling.seed is not None
        text, end = self.piece(request, seed - request.sampling.seed)
        ids = tuple(sum(text.encode()) + i for i in range(max(1, len(text.split()))))
        return Sample(request.insert + text, ids, end, len(ids))


def search(strategy: str, seed: int = 0, prompt: str = "How much?", **params: Any) -> Search:
    return Search(Problem.ask(prompt), strategies.make(strategy, params), seed=seed)


def drive(engine: Any, one: Search, scorer: Any = None, **how: Any) -> Search:
    return asyncio.run(Scheduler().run(one, Team(engine, scorer), **{"limits": LIMITS, **how}))


class Says:
    """A scorer with these step scores for an answer that begins with the key."""

    name, version = "says", "1"

    def __init__(self, **scores: tuple[float, ...]) -> None:
        self.scores = scores
        self.seen: list[str] = []

    async def score(self, items: Any) -> list[Scored]:
        return [Scored(self.scores["".join(item.steps).split()[-1]]) for item in items]

    async def size(self) -> None:
        return None
