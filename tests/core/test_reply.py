"""Many replies read at once, from a real server that writes at a fixed pace."""

from __future__ import annotations

import asyncio

from benchmarks.paced import MODEL, paced
from core.engines.base import Bounds, Chunk, GenerateRequest, Sampling
from core.engines.openai_api import COUNTED, OpenAIEngine
from core.engines.reply import FEW, LOOK_OF_EACH_S
from core.formats import steiner_tokens as t
from tests.core.served import Script, serving

TOKENS, PER_S = 150, 100.0


def test_of_many_replies_several_tokens_are_one_chunk_and_none_is_lost() -> None:
    streams = FEW + 8

    async def one(engine: OpenAIEngine) -> list[Chunk]:
        request = GenerateRequest("Why?", Sampling(max_tokens=TOKENS), Bounds())
        return [chunk async for chunk in engine.stream(request)]

    async def all_at_once(url: str) -> list[list[Chunk]]:
        engine = OpenAIEngine(url, MODEL)
        try:
            return await asyncio.gather(*(one(engine) for _ in range(streams)))
        finally:
            await engine.close()

    with paced(PER_S) as url:
        replies = asyncio.run(all_at_once(url))
    looks = TOKENS / PER_S / (LOOK_OF_EACH_S * FEW)  # as long as more than so many are read
    for chunks in replies:
        text = "".join(chunk.text for chunk in chunks)
        assert text.startswith(t.REASONING_START + t.STEP_START) and text.count(t.STEP_START) == 4
        assert chunks[-1].finish_reason == "length" and sum(chunk.tokens for chunk in chunks) == TOKENS
        assert 2 <= sum(bool(chunk.text) for chunk in chunks) <= looks * 1.5 < TOKENS / 2


def test_vllm_counts_each_piece_of_few_responses_and_the_last_event_counts_for_all() -> None:
    script = Script(owned_by="vllm", deltas=[{"content": f"{n} "} for n in range(20)])
    responses = COUNTED + 4

    async def one(engine: OpenAIEngine) -> int:
        request = GenerateRequest("Why?", Sampling(), Bounds())
        return sum([chunk.tokens async for chunk in engine.stream(request)])

    async def all_at_once(url: str) -> list[int]:
        engine = OpenAIEngine(url, "served")
        try:
            return await asyncio.gather(*(one(engine) for _ in range(responses))) + [await one(engine)]
        finally:
            await engine.close()

    with serving(script) as url:
        assert asyncio.run(all_at_once(url)) == [30] * (responses + 1)  # what the server says of each
    asked = [body["stream_options"]["continuous_usage_stats"] for body in script.bodies]
    assert asked[:responses] != [True] * responses and asked[responses]
