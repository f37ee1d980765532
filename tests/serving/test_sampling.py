"""Continuations for a search from a real vLLM: token for token what this process gives, each with how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from core.engines.base import Bounds, Sampling
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.engines.sampling import Sample, Sampled, Sampler, SampleRequest
from core.formats.steiner_tokens import REASONING_END, STEP_END
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import CountdownOracle
from core.search.search import Search
from core.search.strategies import make
from core.trace import Problem
from tests.serving.conftest import Vllm

QUESTION = "Reach 24 from 4, 7, 8 and 8."
MARK = (STEP_END,)


def asked(written: tuple[int, ...] = (), n: int = 1, *, seed: int = 3, tokens: int = 300, temperature: float = 1.0, **how: Any) -> SampleRequest:  # fmt: skip
    return SampleRequest(how.pop("prompt", QUESTION), written, n, Sampling(temperature, 1.0, seed, tokens), **how)


def on_server(server: Vllm, work: Callable[[OpenAIEngine], Awaitable[Any]]) -> Any:
    async def one() -> Any:
        engine = OpenAIEngine(server.url, "pocket")
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(one())


def on_both(server: Vllm, work: Callable[[Sampler], Awaitable[Any]]) -> tuple[Any, Any]:
    async def local() -> Any:
        engine = LocalEngine()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return on_server(server, work), asyncio.run(local())


async def in_steps(engine: Sampler, bounds: Bounds, prompt: str = QUESTION) -> list[Sample]:
    """Greedily, step by step to the end."""
    pieces: list[Sample] = []
    while not pieces or pieces[-1].end == "step":
        written = tuple(i for p in pieces for i in p.ids)
        found = await engine.sample(asked(written, temperature=0, bounds=bounds, stop=MARK, prompt=prompt))
        pieces += found.samples
    return pieces


def test_greedy_steps_are_those_of_this_process_token_for_token(vllm: Vllm) -> None:
    for prompt in (QUESTION, "Reach 31 from 9, 11 and 12."):
        served, local = on_both(vllm, lambda e, p=prompt: in_steps(e, Bounds(0, 5), p))
        assert served == local
        assert [p.end for p in served[:-1]] == ["step"] * (len(served) - 1)
        assert served[-1].end == "eos"


def test_it_says_what_its_writing_is_cut_at_and_how_large_it_is(vllm: Vllm) -> None:
    async def about(engine: Sampler) -> Any:
        return await engine.marks(), await engine.size()

    served, local = on_both(vllm, about)
    assert served == local


def test_step_end_of_answer_and_length_are_told_apart(vllm: Vllm) -> None:
    async def ends(engine: Sampler) -> list[tuple[str, int]]:
        first = (await engine.sample(asked(temperature=0, stop=MARK))).samples[0]
        requests = [
            asked(temperature=0, stop=MARK, tokens=first.tokens),  # the mark is the last token that is allowed
            asked(temperature=0, stop=MARK, tokens=first.tokens - 1),
            asked(temperature=0, bounds=Bounds(0, 2)),
            asked(temperature=0, tokens=60),
        ]
        found = [(await engine.sample(r)).samples[0] for r in requests]
        return [(s.end, s.tokens) for s in (first, *found)]

    served, local = on_both(vllm, ends)
    assert served == local
    assert [end for end, _ in served] == ["step", "step", "length", "eos", "length"]


def test_a_mark_is_kept_or_not_and_charged_either_way(vllm: Vllm) -> None:
    async def both(engine: Sampler) -> list[Sample]:
        how = {"temperature": 0, "stop": (REASONING_END,), "bounds": Bounds(0, 2)}
        return [(await engine.sample(asked(**how, keep_stop=k))).samples[0] for k in (True, False)]

    served, local = on_both(vllm, both)
    assert served == local
    kept, left = served
    assert kept.ids[:-1] == left.ids
    assert kept.text.removesuffix(REASONING_END) == left.text != kept.text
    assert kept.tokens == left.tokens


def test_text_that_is_put_in_is_what_comes_first(vllm: Vllm) -> None:
    async def work(engine: Sampler) -> Sampled:
        return await engine.sample(asked(temperature=0, tokens=20, insert=REASONING_END))

    served, local = on_both(vllm, work)
    assert served.samples == local.samples
    assert served.prompt_tokens == local.prompt_tokens
    assert served.samples[0].text.startswith(REASONING_END)


def test_n_continuations_are_one_request_and_seeds_repeat(vllm: Vllm) -> None:
    async def work(engine: OpenAIEngine) -> tuple[Sampled, Sampled, list[Sampled]]:
        await engine.marks()
        return (
            await engine.sample(asked(n=4, seed=7, tokens=60)),
            await engine.sample(asked(n=4, seed=7, tokens=60)),
            [await engine.sample(asked(seed=7 + i, tokens=60)) for i in range(4)],
        )

    first, again, alone = on_server(vllm, work)
    assert len(first.samples) == 4
    assert len({s.ids for s in first.samples}) > 1
    assert first.samples == again.samples
    # Seeds follow each other, so a continuation can be had again without its siblings.
    assert [s.ids for s in first.samples] == [a.samples[0].ids for a in alone]
    assert first.prompt_tokens == alone[0].prompt_tokens


def test_equal_greedy_continuations_are_written_and_charged_once(vllm: Vllm) -> None:
    found = on_server(vllm, lambda e: e.sample(asked(n=3, temperature=0, tokens=20)))
    assert len({s.ids for s in found.samples}) == 1
    assert [s.tokens for s in found.samples] == [20, 0, 0]


def test_what_the_server_knew_already_is_told(vllm: Vllm) -> None:
    async def work(engine: OpenAIEngine) -> list[Sampled]:
        first = await engine.sample(asked(temperature=0, tokens=120, prompt="Reach 44 from 4, 11 and 13."))
        written = first.samples[0].ids
        return [await engine.sample(asked(written, n, tokens=5, prompt="Reach 44 from 4, 11 and 13.")) for n in (1, 3)]

    for found in on_server(vllm, work):
        assert 64 <= found.cached_tokens < found.prompt_tokens


def test_cancelling_frees_the_server(vllm: Vllm) -> None:
    async def work(engine: OpenAIEngine) -> None:
        await engine.marks()
        task = asyncio.create_task(engine.sample(asked(n=8, tokens=3500, bounds=Bounds(300, 300))))
        while not task.done() and await asyncio.to_thread(vllm.running) < 8:
            await asyncio.sleep(0.05)
        assert not task.done(), "it ended before it could be cancelled"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        until = time.monotonic() + 30
        while await asyncio.to_thread(vllm.running) and time.monotonic() < until:
            await asyncio.sleep(0.2)

    on_server(vllm, work)
    assert vllm.running() == 0


def test_searches_charge_exactly_what_the_server_wrote(vllm: Vllm) -> None:
    """Beam searches of several problems at once; the server's own counter is the judge."""
    import httpx

    def written() -> int:
        lines = httpx.get(vllm.url.removesuffix("/v1") + "/metrics", timeout=30).text.splitlines()
        return sum(int(float(x.split()[-1])) for x in lines if x.startswith("vllm:generation_tokens_total"))

    questions = [QUESTION, "Reach 31 from 9, 11 and 12.", "Reach 20 from 4, 5 and 1."]

    async def work(engine: OpenAIEngine) -> tuple[list[Search], int]:
        marks, scheduler = await engine.marks(), Scheduler()
        searches = [
            Search(Problem.ask(q), make("beam", {"width": 2, "branch": 2, "max_depth": 4}), seed=i, marks=marks)
            for i, q in enumerate(questions)
        ]
        before = written()
        await asyncio.gather(
            *(scheduler.run(s, Team(engine, CountdownOracle()), limits=Limits(max_tokens=1000)) for s in searches)
        )
        return searches, written() - before

    searches, tokens = on_server(vllm, work)
    assert [s.reason for s in searches] == ["finished"] * 3
    assert sum(s.spent.generated for s in searches) == tokens
    assert all(s.spent.flops for s in searches)


def test_more_prompts_with_seeds_than_fit_into_one_pass_do_not_end_the_server(vllm: Vllm) -> None:
    """vLLM reads prompts in parts where they do not all fit, and on a CPU ends there by the seed ("does not use offset")."""

    async def all_at_once(engine: OpenAIEngine) -> list[Sampled]:
        long = [tuple(20 + (i * k) % 180 for k in range(400)) for i in range(60)]  # 24,000 tokens; a pass holds 4,096
        return await asyncio.gather(*(engine.sample(asked(ids, seed=i, tokens=4)) for i, ids in enumerate(long)))

    assert [len(found.samples) for found in on_server(vllm, all_at_once)] == [1] * 60
    assert vllm.process.poll() is None
