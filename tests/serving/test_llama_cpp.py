"""A real llama.cpp server (`xllamacpp` carries it) with the pocket model as GGUF, on the CPU."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import Bounds, Engine, Sampling
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.pocket import model_dir
from core.run import run_trace
from core.trace import Problem, Trace
from tests.serving import gguf_model
from tests.serving.conftest import answering

START_S = 60.0
CONTEXT = 512
SERVE = f"""
import sys, time
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2 * {CONTEXT}, 2, 1
params.use_jinja, params.endpoint_slots = True, True
server = xllamacpp.Server(params)
while True:
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("xllamacpp", reason="no llama.cpp here: pip install xllamacpp")
    folder: Path = tmp_path_factory.mktemp("llama.cpp")
    model = folder / "pocket.gguf"
    gguf_model.write(model_dir(), model)
    with answering(SERVE, str(model), folder / "log", START_S) as address:
        yield address


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Callable[..., Awaitable[Trace]]]:
    engine = OpenAIEngine(url, "pocket")
    try:
        yield lambda tokens, **how: run(engine, tokens, **how)
    finally:
        await engine.close()


async def run(engine: Engine, tokens: int, stop: asyncio.Event | None = None, emit: Any = None, **how: Any) -> Trace:
    return await run_trace(
        engine, Problem.ask("Reach 24 from 4, 7, 8 and 8."), Sampling(temperature=0, max_tokens=tokens), Bounds(),
        emit or (lambda _: None), trace_id="t", stop=stop or asyncio.Event(), **how,
    )  # fmt: skip


def test_it_writes_what_the_model_writes_here_and_goes_on_from_a_cut(url: str) -> None:
    async def work() -> tuple[Trace, Trace, Trace]:
        local = LocalEngine()
        try:
            async with asking(url) as ask:
                whole, first = await ask(120), await ask(40)
                return whole, await run(local, 120), await ask(80, prefix=first.response)
        finally:
            await local.close()

    whole, here, continued = asyncio.run(work())
    assert (whole.error, whole.finish_reason, whole.format) == ("", "length", "steiner")
    assert whole.response == here.response
    assert (whole.stats["prompt_tokens"], whole.stats["generated_tokens"]) == (here.stats["prompt_tokens"], 120)
    assert (continued.error, continued.response) == ("", whole.response)
    server = whole.sampling["server"]
    assert server["server"] == "llama.cpp" and server["version"]
    assert len(server["chat_template"]) == 64


def test_its_own_context_is_a_limit_that_is_told(url: str) -> None:
    async def work() -> tuple[Trace, Trace]:
        async with asking(url) as ask:
            whole = await ask(120)
            return whole, await ask(20, prefix=whole.response * 6)

    whole, beyond = asyncio.run(work())
    assert beyond.finish_reason == "error" and "context" in beyond.error
    assert beyond.response == whole.response * 6  # what was there before is kept


def test_a_run_that_is_stopped_frees_its_slot(url: str) -> None:
    import httpx

    def busy() -> int:
        slots = httpx.get(url.removesuffix("/v1") + "/slots", timeout=10).json()
        return sum(bool(slot["is_processing"]) for slot in slots)

    async def work() -> tuple[Trace, int]:
        stop = asyncio.Event()
        seen = 0

        def emit(event: dict[str, Any]) -> None:
            nonlocal seen
            if event["type"] == "step_delta" and not stop.is_set():
                seen = busy()
                stop.set()

        async with asking(url) as ask:
            return await ask(CONTEXT - 40, stop=stop, emit=emit), seen

    trace, seen = asyncio.run(work())
    assert trace.finish_reason == "cancelled" and trace.response
    assert seen == 1
    until = time.monotonic() + 10
    while busy():
        assert time.monotonic() < until, "the server still writes for nobody"
        time.sleep(0.05)
