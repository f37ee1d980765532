"""An engine whose writing is drawn from the request's seed alone, and which counts for itself what it wrote.

Steps are "a few words\\n\\n", an answer is "Answer: n"; a token is a word or a blank line. What a test wants to know of the
engine (how many requests it has at once, what it wrote, whom it served) it keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from core.engines.base import EngineError
from core.engines.sampling import Marks, ModelSize, PieceEnd, Sample, Sampled, SampleRequest
from core.search.scorers import Item, Scored

STEP = "\n\n"
SIZE = ModelSize(parameters=1000, layers=2, width=8)


def cut_off(sample: Sample, share: float) -> Sample:
    """A continuation that was cancelled in the middle, or had come to its end."""
    if share > 0.7:
        return sample
    tokens = int(sample.tokens * share)
    return Sample(sample.text[:tokens], sample.ids[:tokens], "length", tokens)


class Chance:
    """`answers`: an answer is one of so many. `ends`: how likely an answer is after a step. `delay`: seconds a request at most.

    `breaks`: prompts at which it fails.
    """

    model = "chance"

    def __init__(
        self, *, answers: int = 3, ends: float = 0.3, delay: float = 0.0, breaks: Sequence[str] = (), size: ModelSize | None = SIZE,
        chance: int = 0,
    ) -> None:  # fmt: skip
        self.answers, self.ends, self.delay, self.breaks, self._size = answers, ends, delay, breaks, size
        self.made = 0  # tokens, all together
        self.running = self.most = 0  # continuations at once
        self.requests: list[SampleRequest] = []
        self.tells = True  # what a cancelled request had written
        self._when = Random(chance)  # when things are done has nothing to do with what is written

    async def sample(self, request: SampleRequest) -> Sampled:
        self.requests.append(request)
        self.running += request.n
        self.most = max(self.most, self.running)
        read = len(request.prompt.split()) + len(request.written)
        assert request.sampling.seed is not None
        samples = tuple(self._write(request, request.sampling.seed + i) for i in range(request.n))
        try:
            await asyncio.sleep(self._when.random() * self.delay)
            if request.prompt in self.breaks:
                raise EngineError(f"The server lost {request.prompt!r}.")
            self.made += sum(s.tokens for s in samples)
            return Sampled(samples, read)
        except asyncio.CancelledError:
            cut = tuple(cut_off(sample, self._when.random()) for sample in samples)
            self.made += sum(s.tokens for s in cut)
            if self.tells:
                request.report.sampled = Sampled(cut, read)
            raise
        finally:
            self.running -= request.n

    def _write(self, request: SampleRequest, seed: int) -> Sample:
        draw = Random(seed)
        tokens: list[str] = []
        end: PieceEnd = "eos"
        while True:
            if draw.random() < self.ends:
                tokens += ["Answer:", f" {draw.randrange(self.answers)}"]
                break
            tokens += [*(f" w{draw.randrange(50)}" for _ in range(draw.randint(1, 6))), STEP]
            if STEP in request.stop:
                end = "step"
                break
            if len(tokens) > 400:
                end = "length"
                break
        if len(tokens) > request.sampling.max_tokens:
            tokens, end = tokens[: request.sampling.max_tokens], "length"
        ids = tuple(draw.randrange(1000) for _ in tokens)
        return Sample(request.insert + "".join(tokens), ids, end, len(tokens))

    async def marks(self) -> Marks:
        return Marks()

    async def size(self) -> ModelSize | None:
        return self._size


class Lengths:
    """A scorer that reads and likes short steps; it counts its own tokens too."""

    name, version = "lengths", "1"

    def __init__(self, size: ModelSize | None = SIZE) -> None:
        self.read = 0
        self.asked: list[Item] = []
        self._size = size

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        self.asked += items
        out = [Scored(tuple(1 / (1 + len(step)) for step in item.steps), len(item.ids)) for item in items]
        self.read += sum(one.tokens for one in out)
        return out

    async def size(self) -> ModelSize | None:
        return self._size
