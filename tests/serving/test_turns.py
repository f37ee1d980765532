"""Earlier turns through a real vLLM: by either route the prompt has the tokens that it has in our own process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.engines.base import Bounds, Engine, Sampling, Thinking
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.formats import parse_response
from core.formats import steiner_tokens as t
from core.run import run_trace
from core.trace import Problem, Trace, new_id, problem_id_of
from core.turns import Turns
from tests.serving.conftest import Vllm
from training.synthesis.countdown import walks

NEXT = "Reach 31 from 9, 11 and 12."
WALKS = sorted((walk for walk, _ in zip(walks(11), range(20), strict=False)), key=lambda w: len(w.response))


def told(walk: Any) -> Trace:
    steps, nodes, answer, form = parse_response(walk.prompt, walk.response)
    return Trace(
        new_id(),
        problem_id_of(walk.prompt),
        walk.prompt,
        walk.response,
        tuple(steps),
        tuple(nodes),
        answer,
        format=form,
    )


CHAIN = [told(walk) for walk in WALKS[:2]]


def on_both(vllm: Vllm, chain: list[Trace], given_as: Any, **how: Any) -> tuple[Trace, Trace]:
    async def ask(engine: Engine) -> Trace:
        try:
            return await run_trace(
                engine, Problem.ask(NEXT), Sampling(temperature=0, max_tokens=60), Bounds(), lambda _: None,
                trace_id=new_id(), stop=asyncio.Event(), before=Turns.of(chain, given_as), **how,
            )  # fmt: skip
        finally:
            await engine.close()

    async def both() -> tuple[Trace, Trace]:
        return await ask(OpenAIEngine(vllm.url, "pocket")), await ask(LocalEngine())

    return asyncio.run(both())


@pytest.mark.parametrize("given_as", ["summaries", "full"])
@pytest.mark.parametrize(
    "how",
    [{}, {"prefix": t.REASONING_START + t.STEP_START}, {"thinking": Thinking(waits=1)}, {"thinking": Thinking(budget=12)}],
    ids=["chat", "prefix", "waits", "budget"],
)  # fmt: skip
def test_the_same_prompt_and_the_same_answer_as_in_our_process(vllm: Vllm, given_as: Any, how: dict[str, Any]) -> None:
    served, local = on_both(vllm, CHAIN, given_as, **how)
    assert served.error == local.error == ""
    assert served.stats["prompt_tokens"] == local.stats["prompt_tokens"]
    assert served.stats["saved_prompt_tokens"] == local.stats["saved_prompt_tokens"]
    assert (local.stats["saved_prompt_tokens"] > 50) == (given_as == "summaries")
    assert served.response == local.response
    assert served.earlier == local.earlier


def test_what_is_too_long_for_either_is_a_sentence_with_the_mend(vllm: Vllm) -> None:
    served, local = on_both(vllm, [told(WALKS[-1])] * 40, "full")
    for trace in (served, local):
        assert trace.finish_reason == "error"
        assert "Give the earlier turns as summaries only, or ask the question anew" in trace.error
    assert "maximum context length" in served.error
