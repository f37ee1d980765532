"""Several streams that are one question: what becomes of the others when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.engines.base import Chunk, EngineDown, GenerateRequest, Sampling
from core.engines.sampling import SampleRequest, sampler_of
from core.scoring.judge import GenerativeJudge


class Streams:
    """The stream of one seed fails; the others would never end."""

    model = "streams"

    def __init__(self, fails: int) -> None:
        self.fails, self.begun, self.ended = fails, 0, 0

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.begun += 1
        try:
            yield Chunk("a", 1)
            await asyncio.sleep(0)
            if request.sampling.seed == self.fails:
                raise EngineDown("It broke off.")
            await asyncio.sleep(60)
        finally:
            self.ended += 1

    async def close(self) -> None: ...


@pytest.mark.parametrize("fails", [0, 2])
def test_a_stream_that_fails_ends_those_beside_it(fails: int) -> None:
    engine = Streams(fails)

    async def ask() -> None:
        await sampler_of(engine).sample(SampleRequest("?", n=4, sampling=Sampling(seed=0)))

    async def judge() -> None:
        await GenerativeJudge(engine, samples=4).score("?", ["one"])

    for asked in (ask, judge):

        async def work(asked=asked) -> None:
            with pytest.raises(EngineDown, match="broke off"):
                await asyncio.wait_for(asked(), 10)
            assert engine.ended == engine.begun, "by now, not when the loop ends"

        asyncio.run(work())
    assert engine.begun == 8
    with pytest.raises(EngineDown):
        GenerativeJudge(engine, samples=4).score_many([("?", ["one"]), ("?", ["two"])])
    assert engine.ended == engine.begun == 16
