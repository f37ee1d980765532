"""Asking a vLLM server for continuations: what a busy server makes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.control.thinking import THINK
from core.engines import completions, server_info
from core.engines.base import EngineDown, Sampling
from core.engines.openai_api import OpenAIEngine
from core.engines.sampling import Sampled, SampleRequest
from tests.core.served import Script, serving


def completed(reason: str | None = "stop") -> dict[str, Any]:
    choice = {"text": "a", "token_ids": [5], "finish_reason": reason, "stop_reason": None}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}


def vllm(says: Callable[[dict[str, Any]], dict[str, Any]]) -> Script:
    replies = {"/version": {"version": "0.32.0"}, "/tokenize": {"tokens": [41, 42, 43]}, "/v1/completions": says}
    return Script(owned_by="vllm", replies=replies)


async def sampled(url: str, request: SampleRequest) -> Sampled:
    engine = OpenAIEngine(url, "served")
    try:
        return await engine.sample(request)
    finally:
        await engine.close()


def test_a_server_that_is_slow_to_make_tokens_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search begins with hundreds of requests at once, and the question's tokens wait in the same queue."""
    monkeypatch.setattr(server_info, "LOOK_S", 0.3)
    completion = {
        "choices": [{"text": "a", "token_ids": [5], "finish_reason": "stop", "stop_reason": None}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    waits = [0.0]

    def late(_: dict[str, Any]) -> dict[str, Any]:
        time.sleep(waits[0])
        return {"tokens": [41, 42, 43]}

    script = Script(
        owned_by="vllm",
        replies={"/version": {"version": "0.32.0"}, "/tokenize": late, "/v1/completions": completion},
    )

    async def work(url: str) -> Sampled:
        engine = OpenAIEngine(url, "served")
        try:
            await engine.marks()
            waits[0] = 1.0  # it is there, and busy
            return await engine.sample(SampleRequest("How much?", (9, 8), sampling=Sampling(seed=1)))
        finally:
            await engine.close()

    with serving(script) as url:
        assert asyncio.run(work(url)).samples[0].ids == (5,)


@pytest.mark.parametrize(("most", "comes"), [(1, False), (40, True)])
def test_a_long_answer_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch, most: int, comes: bool) -> None:
    monkeypatch.setattr(completions, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(completions, "TOKEN_S", 0.5)
    script = vllm(lambda body: time.sleep(1.0 if "n" in body else 0.0) or completed())
    request = SampleRequest("How much?", (9, 8), sampling=Sampling(seed=1, max_tokens=most))
    with serving(script) as url:
        if comes:
            assert asyncio.run(sampled(url, request)).samples[0].ids == (5,)
        else:
            with pytest.raises(EngineDown, match=r"nothing came for 0\.5 s"):
                asyncio.run(sampled(url, request))


@pytest.mark.parametrize("reason", ["abort", "error", "content_filter", None])
def test_a_piece_that_the_server_gave_up_is_none(reason: str | None) -> None:
    with serving(vllm(lambda body: completed(reason))) as url, pytest.raises(EngineDown, match=f"{reason!r}"):
        asyncio.run(sampled(url, SampleRequest("How much?", (9, 8), sampling=Sampling(seed=1))))


def test_a_server_that_goes_before_it_tells_its_marks_is_down_and_looked_at_anew() -> None:
    gone: list[bool] = []

    def tokens(_: dict[str, Any]) -> dict[str, Any]:
        if gone:
            raise ConnectionAbortedError("the handler ends without a word")
        return {"tokens": [41, 42, 43]}

    async def work(url: str) -> None:
        engine = OpenAIEngine(url, "served")
        try:
            await engine.look()
            gone.append(True)
            with pytest.raises(EngineDown, match="does not answer"):
                await engine.marks()
            gone.clear()
            await engine.marks()
        finally:
            await engine.close()

    script = vllm(lambda body: completed())
    script.replies["/tokenize"] = tokens
    with serving(script) as url:
        asyncio.run(work(url))
    assert len([path for path, body in script.others if path == "/v1/completions"]) == 4, "two looks"


@pytest.mark.parametrize("drops", [1, 2])
def test_a_connection_that_the_server_let_go_of_is_tried_once_more(drops: int) -> None:
    completion = {
        "choices": [{"text": "a", "token_ids": [5], "finish_reason": "stop", "stop_reason": None}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    asked: list[int] = []

    def once(body: dict[str, Any]) -> dict[str, Any]:
        if "vllm_xargs" not in body or "n" in body:  # not the question what the server can do
            asked.append(1)
            if len(asked) <= drops:
                raise ConnectionAbortedError("the handler ends without a word")
        return completion

    script = Script(
        owned_by="vllm",
        replies={"/version": {"version": "0.32.0"}, "/tokenize": {"tokens": [41, 42, 43]}, "/v1/completions": once},
    )

    async def work(url: str) -> Sampled:
        engine = OpenAIEngine(url, "served")
        try:
            await engine.marks()
            return await engine.sample(SampleRequest("How much?", (9, 8), sampling=Sampling(seed=1)))
        finally:
            await engine.close()

    with serving(script) as url:
        if drops == 1:
            assert asyncio.run(work(url)).samples[0].ids == (5,)
        else:
            with pytest.raises(EngineDown, match="broke off"):
                asyncio.run(work(url))
    assert len(asked) == 2


@pytest.mark.parametrize("thinks", [False, True])
def test_an_answer_that_must_have_a_form_is_held_to_it_unless_the_model_marks_its_thinking(thinks: bool) -> None:
    completion = {
        "choices": [{"text": "\\boxed{7}", "token_ids": [5], "finish_reason": "stop", "stop_reason": None}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    script = Script(
        owned_by="vllm",
        replies={"/version": {"version": "0.32.0"}, "/tokenize": {"tokens": [41, 42]}, "/v1/completions": completion},
    )
    asked = [SampleRequest("How much?", form=r"[\s\S]*\\boxed\{[^\n]+\}"), SampleRequest("How much?")]

    async def work(url: str) -> None:
        engine = OpenAIEngine(url, "served")
        try:
            engine._info = replace(await engine.look(), markers=THINK if thinks else None)
            for one in asked:
                await engine.sample(one)
        finally:
            await engine.close()

    with serving(script) as url:
        asyncio.run(work(url))
    formed, free = [body for path, body in script.others if path == "/v1/completions" and "n" in body][-2:]
    assert formed.get("structured_outputs") == (None if thinks else {"regex": asked[0].form})
    assert "structured_outputs" not in free
