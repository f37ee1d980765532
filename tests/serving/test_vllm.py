"""The pocket model served by a real vLLM does what it does in our own process, and whatever happens is a valid trace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.engines.base import Bounds, Engine, Sampling, Thinking
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.engines.pool import EnginePool
from core.formats import steiner_tokens as t
from core.run import run_trace
from core.trace import Problem, Trace
from tests.serving.conftest import Vllm

QUESTION = "Reach 24 from 4, 7, 8 and 8."
QUESTIONS = [
    QUESTION,
    "Reach 31 from 9, 11 and 12.",
    "Reach 20 from 4, 5 and 1.",
    "Reach 36 from 3, 12 and 1.",
    "Reach 17 from 2, 9 and 6.",
]
GREEDY = Sampling(temperature=0, max_tokens=100)
WHOLE = Sampling(temperature=0, max_tokens=3000)


async def run(engine: Engine, question: str = QUESTION, sampling: Sampling = GREEDY, **how: Any) -> Trace:
    how.setdefault("emit", lambda _: None)
    emit, bounds = how.pop("emit"), how.pop("bounds", Bounds())
    stop = how.pop("stop", None) or asyncio.Event()
    return await run_trace(engine, Problem.ask(question), sampling, bounds, emit, trace_id="t", stop=stop, **how)


def on_both(server: Vllm, work: Callable[[Engine], Awaitable[Any]]) -> tuple[Any, Any]:
    """The same work on the server and in our process."""

    async def both() -> tuple[Any, Any]:
        served, local = OpenAIEngine(server.url, "pocket"), LocalEngine()
        try:
            return await work(served), await work(local)
        finally:
            await served.close()
            await local.close()

    return asyncio.run(both())


def on_server(server: Vllm, work: Callable[[OpenAIEngine], Awaitable[Any]]) -> Any:
    async def one() -> Any:
        engine = OpenAIEngine(server.url, "pocket")
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(one())


def reasoning(trace: Trace) -> str:
    return trace.response.partition(t.REASONING_END)[0]


@pytest.fixture(scope="module")
def greedy_traces() -> list[Trace]:
    """The shipped model's whole greedy traces of these questions, the shortest first."""

    async def think() -> list[Trace]:
        engine = LocalEngine()
        try:
            return await asyncio.gather(*(run(engine, q, WHOLE) for q in QUESTIONS))
        finally:
            await engine.close()

    return sorted(asyncio.run(think()), key=lambda x: len(x.response))


@pytest.fixture(scope="module")
def thought_through(greedy_traces: list[Trace]) -> tuple[str, str]:
    """A question that the shipped model thinks through by itself, and its whole greedy response."""
    ended = [x for x in greedy_traces if x.finish_reason == "stop" and t.REASONING_END in x.response]
    assert ended, "the shipped model ends none of these questions by itself"
    return ended[0].prompt, ended[0].response


def test_the_same_greedy_trace_token_for_token(vllm: Vllm) -> None:
    served, local = on_both(vllm, lambda e: asyncio.gather(*(run(e, q) for q in QUESTIONS[:3])))
    for ours, theirs in zip(local, served, strict=True):
        assert theirs.response == ours.response
        assert theirs.nodes == ours.nodes
        assert theirs.finish_reason == ours.finish_reason
        assert theirs.stats["generated_tokens"] == ours.stats["generated_tokens"]
        assert theirs.stats["prompt_tokens"] == ours.stats["prompt_tokens"]
        assert theirs.sampling["server"]["chat_template"] == ours.sampling["server"]["chat_template"]


def test_what_is_stored_says_where_the_trace_comes_from(vllm: Vllm) -> None:
    trace = on_server(vllm, lambda e: run(e, sampling=Sampling(seed=5, max_tokens=12)))
    assert trace.sampling["server"]["server"] == "vllm"
    assert trace.sampling["server"]["version"]
    assert trace.sampling["server"]["endpoint"] == vllm.url
    assert (trace.sampling["seed"], trace.sampling["temperature"]) == (5, 1.0)
    assert trace.finish_reason == "length"
    assert trace.stats["first_token_s"] > 0
    assert trace.stats["tokens_per_s"] > 0
    assert "notes" not in trace.stats  # everything that was asked for was applied


def test_text_streams_while_the_model_writes(vllm: Vllm, greedy_traces: list[Trace]) -> None:
    seen: list[tuple[float, str]] = []
    # Long: a short one is written in less time than a busy machine may leave a reader waiting.
    question, long = greedy_traces[-1].prompt, Sampling(temperature=0, max_tokens=600)
    trace = on_server(
        vllm, lambda e: run(e, question, long, emit=lambda event: seen.append((time.perf_counter(), event["type"])))
    )
    texts = [at for at, kind in seen if kind == "step_delta"]
    assert len(texts) > 100
    assert texts[0] - seen[0][0] < (seen[-1][0] - seen[0][0]) / 2
    assert trace.stats["generated_tokens"] == 600


def test_32_runs_at_once(vllm: Vllm) -> None:
    async def work(engine: OpenAIEngine) -> tuple[list[Trace], int]:
        how = {"bounds": Bounds(60, 60)}  # none ends by itself before its last token
        runs = [asyncio.create_task(run(engine, sampling=Sampling(seed=i, max_tokens=200), **how)) for i in range(32)]
        most = 0
        while not all(r.done() for r in runs):
            most = max(most, await asyncio.to_thread(vllm.running))
            await asyncio.sleep(0.05)
        return [r.result() for r in runs], most

    traces, most = on_server(vllm, work)
    assert [x.error for x in traces] == [""] * 32
    assert all(x.response.startswith(t.REASONING_START) and x.stats["generated_tokens"] == 200 for x in traces)
    assert len({x.response for x in traces}) > 1
    assert most > 8


def test_step_bounds_hold_inside_the_server(vllm: Vllm) -> None:
    """`steps` exactly: one more would break the maximum, one less the minimum; and as in our own process."""
    exact = [Bounds(n, n) for n in (1, 2, 3)]
    sampling = Sampling(temperature=0, max_tokens=300)
    served, local = on_both(vllm, lambda e: asyncio.gather(*(run(e, bounds=b, sampling=sampling) for b in exact)))
    for bounds, ours, theirs in zip(exact, local, served, strict=True):
        assert t.REASONING_END in theirs.response
        assert reasoning(theirs).count(t.STEP_END) == bounds.max_steps
        assert (theirs.response, theirs.finish_reason) == (ours.response, ours.finish_reason)


def test_the_thinking_budget_forces_the_end_of_thinking(vllm: Vllm) -> None:
    served, local = on_both(vllm, lambda e: run(e, thinking=Thinking(budget=40)))
    assert t.REASONING_END in served.response
    assert served.response == local.response
    assert served.sampling["thinking"] == {"budget": 40, "waits": 0}


def test_going_on_from_a_text_gives_what_an_uncut_run_gives(vllm: Vllm, thought_through: tuple[str, str]) -> None:
    question, whole = thought_through

    async def work(engine: OpenAIEngine) -> tuple[Trace, Trace]:
        first = await run(engine, question, Sampling(temperature=0, max_tokens=25))
        return first, await run(engine, question, WHOLE, prefix=first.response)

    first, rest = on_server(vllm, work)
    assert first.finish_reason == "length"
    assert rest.response == whole
    assert rest.sampling["continued_from"] == len(first.response) > 0


def test_wait_takes_back_an_end_of_thinking(vllm: Vllm, thought_through: tuple[str, str]) -> None:
    question, whole = thought_through
    before_end = whole.partition(t.REASONING_END)[0]
    sampling, thinking = Sampling(temperature=0, max_tokens=40), Thinking(waits=1)
    served, local = on_both(vllm, lambda e: run(e, question, sampling, prefix=before_end, thinking=thinking))
    assert served.response.startswith(before_end + t.BACKTRACK)
    assert served.response == local.response
    assert served.stats["prompt_tokens"] == local.stats["prompt_tokens"]


def test_steps_of_a_prefix_count(vllm: Vllm, thought_through: tuple[str, str]) -> None:
    question, whole = thought_through
    one_step = whole.partition(t.STEP_END)[0] + t.STEP_END
    trace = on_server(vllm, lambda e: run(e, question, prefix=one_step, bounds=Bounds(0, 1)))
    assert trace.response.startswith(one_step + t.REASONING_END)
    assert trace.finish_reason == "step_limit"


def test_cancelling_frees_the_slot(vllm: Vllm) -> None:
    async def work(engine: OpenAIEngine) -> Trace:
        stop = asyncio.Event()
        sampling = Sampling(temperature=0, max_tokens=3500)
        task = asyncio.create_task(run(engine, sampling=sampling, bounds=Bounds(200, 200), stop=stop))
        while not task.done() and await asyncio.to_thread(vllm.running) == 0:
            await asyncio.sleep(0.05)
        assert not task.done(), "it ended before it could be cancelled"
        stop.set()
        return await task

    trace = on_server(vllm, work)
    assert trace.finish_reason == "cancelled"
    until = time.monotonic() + 30
    while vllm.running() and time.monotonic() < until:
        time.sleep(0.2)
    assert vllm.running() == 0


def test_a_request_that_the_server_refuses_is_a_sentence(vllm: Vllm) -> None:
    trace = on_server(vllm, lambda e: run(e, "7 " * 5000))
    assert trace.finish_reason == "error"
    assert "answered 400" in trace.error


def test_a_dead_server_beside_a_live_one_costs_no_run(vllm: Vllm) -> None:
    async def work(engine: OpenAIEngine) -> list[Trace]:
        dead = OpenAIEngine("http://127.0.0.1:9/v1", "pocket")
        pool = EnginePool({dead.base_url: dead, engine.base_url: engine})
        sampling = Sampling(max_tokens=5)
        traces = await asyncio.gather(*(run(pool, q, sampling) for q in QUESTIONS))
        await dead.close()
        return traces

    traces = on_server(vllm, work)
    assert {(x.finish_reason, x.sampling["server"]["endpoint"]) for x in traces} == {("length", vllm.url)}


def test_kill_9_in_mid_stream_leaves_a_trace_that_can_go_on(vllm: Vllm, greedy_traces: list[Trace]) -> None:
    """The last test of this folder: there is no server after it."""
    # The longest: of a short one a fast server has sent the end before a slow reader has read the beginning.
    question, whole = greedy_traces[-1].prompt, greedy_traces[-1].response

    async def work(engine: OpenAIEngine) -> Trace:
        def emit(event: dict[str, Any]) -> None:
            if event["type"] == "step_delta":
                vllm.process.kill()

        return await run(engine, question, WHOLE, emit=emit)

    trace = on_server(vllm, work)
    assert trace.finish_reason == "error"
    assert "broke off in mid-answer" in trace.error
    assert trace.response
    assert whole.startswith(trace.response)
    assert Trace.from_json(trace.to_json()) == trace

    async def go_on() -> Trace:
        engine = LocalEngine()
        try:
            return await run(engine, question, WHOLE, prefix=trace.response)
        finally:
            await engine.close()

    assert asyncio.run(go_on()).response == whole
