"""How much a run may write where nobody said: what suits the model, less what it was given."""

from __future__ import annotations

from typing import Any

import pytest

from app.token_limits import SERVED, SPARE, default_tokens, most_tokens
from core.engines.openai_api import OpenAIEngine
from core.engines.pool import EnginePool
from core.turns import Turns
from tests.app.conftest import Opened
from tests.core.served import Script, serving

pytestmark = pytest.mark.anyio

ASKED = Turns().messages("Is 1001 prime?")


def tokens(body: dict[str, Any]) -> dict[str, Any]:
    return {"tokens": list(range(40 if "messages" in body else 2))}


async def test_a_server_that_says_how_long_its_context_is_leaves_room_for_the_question() -> None:
    with serving(Script(context=1000, replies={"/tokenize": tokens})) as url:
        engine = OpenAIEngine(url, "served")
        assert await default_tokens(engine) == 1000
        assert await most_tokens(engine, ASKED) == 1000 - 40 - SPARE
        assert await most_tokens(engine, ASKED, "so far") == 1000 - 42 - SPARE
        assert await most_tokens(EnginePool({"a": engine}), ASKED) == 1000 - 40 - SPARE


async def test_a_tuned_model_has_the_context_of_the_server_whose_weights_or_pairs_it_is() -> None:
    """vLLM lists weights that it was given under its own name, and pairs without a length, below their base."""
    script = Script(context=1000, replies={"/tokenize": tokens})
    with serving(script) as url:
        engine = OpenAIEngine(url, "sft-a", served_as="served", weights="sft-a")
        assert await default_tokens(engine) == 1000
        assert await most_tokens(engine, ASKED) == 1000 - 40 - SPARE
        assert {body["model"] for _, body in script.others} == {"served"}
    pairs = {
        "data": [{"id": "served", "max_model_len": 700}, {"id": "sft-b", "parent": "served", "max_model_len": None}]
    }
    with serving(Script(replies={"/v1/models": pairs})) as url:
        assert await default_tokens(OpenAIEngine(url, "sft-b")) == 700


async def test_where_there_is_room_for_every_text_of_this_length_nobody_counts() -> None:
    script = Script(context=40_000, replies={"/tokenize": tokens})
    with serving(script) as url:
        engine = OpenAIEngine(url, "served")
        assert await most_tokens(engine, ASKED) == SERVED and script.others == []
        assert await most_tokens(engine, Turns().messages("Is 1001 prime? " * 600)) == SERVED
        assert [route for route, _ in script.others] == ["/tokenize"]


async def test_one_that_does_not_say_may_write_much_and_one_that_is_away_keeps_nobody_waiting() -> None:
    with serving(Script()) as url:
        assert await most_tokens(OpenAIEngine(url, "served"), ASKED) == SERVED
    assert await default_tokens(OpenAIEngine("http://127.0.0.1:1/v1", "served")) == SERVED


async def test_a_context_that_is_full_still_asks_for_a_token() -> None:
    with serving(Script(context=30, replies={"/tokenize": tokens})) as url:
        assert await most_tokens(OpenAIEngine(url, "served"), ASKED) == 1


async def test_a_run_a_fork_and_the_list_of_models_agree(workbench: Opened) -> None:
    script = Script(deltas=[{"content": "<think>One.\n</think>Two."}], context=900, replies={"/tokenize": tokens})
    with serving(script) as url:
        async with workbench(OpenAIEngine(url, "served")) as bench:
            assert (await bench.get("/api/models")).json()[0]["max_tokens"] == 900
            run = await bench.finished(prompt="Is 1001 prime?")
            assert script.bodies[-1]["max_tokens"] == 900 - 40 - SPARE
            assert (await bench.get(f"/api/traces/{run}")).json()["sampling"]["max_tokens"] == 900 - 40 - SPARE
            await bench.finished(prompt="Is 1001 prime?", max_tokens=77)
            assert script.bodies[-1]["max_tokens"] == 77


async def test_a_model_in_this_process_writes_as_much_as_before(workbench: Opened) -> None:
    async with workbench() as bench:
        assert (await bench.get("/api/models")).json()[0]["max_tokens"] == 3500
        await bench.finished()
        assert bench.engine.asked[-1].sampling.max_tokens == 3500
