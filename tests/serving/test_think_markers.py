"""A model that marks its thinking with `<think>`, opened by the prompt, behind a reasoning parser: the common case today.

It is the pocket model with its markers renamed and its chat template extended.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import Bounds, Engine, Sampling, Thinking
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.formats import steiner_tokens as t
from core.pocket import model_dir
from core.run import run_trace
from core.trace import Problem, Trace
from tests.serving.conftest import Vllm, started

QUESTION = "Reach 17 from 2, 9 and 6."


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "thinker"
    shutil.copytree(model_dir(), folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        text = text.replace(t.REASONING_START, "<think>").replace(t.REASONING_END, "</think>")
        (folder / name).write_text(text, encoding="utf-8")
    template = folder / "chat_template.jinja"
    before = template.read_text(encoding="utf-8")
    after = before.replace("<|answer|>", "<|answer|><think>")
    assert after != before
    template.write_text(after, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(vllm_python: str, thinker: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    log = tmp_path_factory.mktemp("vllm-think") / "vllm.log"
    with started(vllm_python, str(thinker), log, "--reasoning-parser", "deepseek_r1") as running:
        yield running


async def run(engine: Engine, **how: Any) -> Trace:
    sampling = Sampling(temperature=0, max_tokens=how.pop("max_tokens", 120))
    return await run_trace(
        engine, Problem.ask(QUESTION), sampling, Bounds(), lambda _: None, trace_id="t", stop=asyncio.Event(), **how
    )


def on_both(server: Vllm, folder: Path, work: Callable[[Engine], Awaitable[Trace]]) -> tuple[str, str]:
    """The responses of the server and of our own process, without the opening tag that only we put there."""

    async def both() -> tuple[str, str]:
        served, local = OpenAIEngine(server.url, "thinker"), LocalEngine(folder, "thinker")
        try:
            ours, theirs = await work(local), await work(served)
        finally:
            await served.close()
            await local.close()
        assert theirs.error == ""
        assert theirs.format == "think"
        return theirs.response.removeprefix("<think>"), ours.response

    return asyncio.run(both())


def test_reasoning_and_answer_arrive_as_one_text(server: Vllm, thinker: Path) -> None:
    served, local = on_both(server, thinker, run)
    assert served == local


def test_the_budget_counts_from_the_tag_in_the_prompt(server: Vllm, thinker: Path) -> None:
    served, local = on_both(server, thinker, lambda e: run(e, thinking=Thinking(budget=30)))
    assert "</think>" in served
    assert served == local


def test_going_on_does_not_open_the_thinking_twice(server: Vllm) -> None:
    async def work() -> tuple[Trace, Trace]:
        engine = OpenAIEngine(server.url, "thinker")
        try:
            first = await run(engine, max_tokens=20)
            return await run(engine), await run(engine, max_tokens=100, prefix=first.response)
        finally:
            await engine.close()

    whole, continued = asyncio.run(work())
    assert continued.response == whole.response


def test_wait_stands_where_the_end_of_thinking_stood(server: Vllm) -> None:
    async def work() -> Trace:
        engine = OpenAIEngine(server.url, "thinker")
        try:
            return await run(engine, thinking=Thinking(budget=None, waits=1), max_tokens=3000)
        finally:
            await engine.close()

    trace = asyncio.run(work())
    assert trace.finish_reason in ("stop", "length")
    assert trace.response.count("Wait") == 1
    assert "</think>" not in trace.response.partition("Wait")[0]
