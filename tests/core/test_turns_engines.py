"""Earlier turns through real engines: what is sent, what it costs in tokens, what is said where it does not fit."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import Bounds, Engine, Sampling, Thinking
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.engines.pool import EnginePool
from core.formats import steiner_tokens as t
from core.run import run_trace
from core.trace import Earlier, Problem, Trace, new_id
from core.turns import Turns
from tests.core.served import Script, serving
from tests.core.test_formats import ANSWER, WHOLE
from tests.core.test_turns import WALKS, read

SHORT = sorted(WALKS, key=lambda w: len(w.response))
NEXT = "Reach 31 from 9, 11 and 12."


def ask(
    engine: Engine, question: str = NEXT, *, max_tokens: int = 20, emit: Any = lambda _: None, **how: Any
) -> Awaitable[Trace]:
    return run_trace(
        engine, Problem.ask(question), Sampling(temperature=0, max_tokens=max_tokens), Bounds(), emit,
        trace_id=new_id(), stop=asyncio.Event(), **how,
    )  # fmt: skip


def on_pocket(work: Callable[[Engine], Awaitable[Any]]) -> Any:
    async def one() -> Any:
        engine = LocalEngine()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(one())


def rendered(turns: Turns, given_as: Any) -> int:
    """Tokens of the conversation, counted beside the engine."""
    from transformers import AutoTokenizer

    from core.pocket import model_dir

    tokenizer = AutoTokenizer.from_pretrained(model_dir())
    text = tokenizer.apply_chat_template(turns.messages(NEXT, given_as), tokenize=False, add_generation_prompt=True)
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def test_both_ways_are_counted_with_the_models_own_tokenizer() -> None:
    chain = [read(w.response, w.prompt) for w in SHORT[:2]]
    events: list[dict[str, Any]] = []

    async def work(engine: Engine) -> list[Trace]:
        return [await ask(engine, before=Turns.of(chain, how), emit=events.append) for how in ("summaries", "full")]

    brief, full = on_pocket(work)
    turns = Turns.of(chain, "summaries")
    assert (brief.stats["prompt_tokens"], full.stats["prompt_tokens"]) == (
        rendered(turns, "summaries"),
        rendered(turns, "full"),
    )
    assert brief.stats["saved_prompt_tokens"] == full.stats["prompt_tokens"] - brief.stats["prompt_tokens"] > 50
    assert full.stats["saved_prompt_tokens"] == 0
    ids = tuple(x.trace_id for x in chain)
    assert (brief.earlier, full.earlier) == (Earlier(ids, "summaries"), Earlier(ids, "full"))
    assert [e["earlier"] for e in events if e["type"] == "start"] == [x.to_json()["earlier"] for x in (brief, full)]
    assert "saved_prompt_tokens" not in brief.sampling["server"]


def test_a_single_question_is_what_it_was() -> None:
    trace = on_pocket(ask)
    assert trace.earlier is None and "saved_prompt_tokens" not in trace.stats
    assert trace.stats["prompt_tokens"] == 11


def test_a_conversation_that_does_not_fit_is_a_sentence_with_the_mend() -> None:
    chain = [read(WALKS[0].response, w.prompt) for w in WALKS] * 4
    trace = on_pocket(lambda e: ask(e, before=Turns.of(chain, "full")))
    assert trace.finish_reason == "error"
    assert "The question and the 80 before it have" in trace.error and "reads at most 2,048" in trace.error
    assert "Give the earlier turns as summaries only, or ask the question anew" in trace.error
    assert trace.earlier is not None and len(trace.earlier.trace_ids) == 80
    assert "Ask the question anew" in on_pocket(lambda e: ask(e, before=Turns.of(chain, "summaries"))).error


def test_thoughts_of_earlier_turns_use_up_no_thinking_budget() -> None:
    before = Turns.of([read(SHORT[0].response, SHORT[0].prompt)], "full")
    start = t.REASONING_START + t.STEP_START
    trace = on_pocket(lambda e: ask(e, before=before, prefix=start, thinking=Thinking(budget=12), max_tokens=40))
    reasoning = trace.response.partition(t.REASONING_END)[0]
    assert t.REASONING_END in trace.response
    assert reasoning.startswith(start + t.NAME_START) and len(reasoning) > len(start) + 40


def on_server(script: Script, **how: Any) -> Trace:
    async def work(url: str) -> Trace:
        engine = OpenAIEngine(url, "served")
        try:
            return await ask(engine, "And back?", **how)
        finally:
            await engine.close()

    with serving(script) as url:
        return asyncio.run(work(url))


@pytest.mark.parametrize("given_as", ["summaries", "full"])
def test_other_servers_get_messages_and_what_cannot_be_counted_is_said(given_as: Any) -> None:
    script = Script(deltas=[{"content": "Fine."}])
    trace = on_server(script, before=Turns.of([read(WHOLE["think"])], given_as))
    said = script.bodies[0]["messages"]
    assert [m["role"] for m in said] == ["user", "assistant", "user"]
    assert (said[1]["content"] == ANSWER) == (given_as == "summaries")
    assert said[2]["content"] == "And back?"
    assert trace.stats["saved_prompt_tokens"] is None
    assert trace.stats["prompt_tokens"] == 7
    assert any("what summaries save in the prompt is not known" in note for note in trace.stats["notes"])


def test_a_server_whose_context_is_too_small_is_a_sentence_with_the_mend() -> None:
    script = Script(status=400, reason="This model's maximum context length is 4096 tokens.")
    trace = on_server(script, before=Turns.of([read(WHOLE["think"])], "full"))
    assert "maximum context length is 4096 tokens. Give the earlier turns as summaries only" in trace.error
    assert "summaries" not in on_server(script).error


def test_all_turns_of_a_conversation_go_to_one_server() -> None:
    scripts = [Script(deltas=[{"content": "Fine."}]) for _ in range(3)]

    async def work(urls: list[str]) -> None:
        pool = EnginePool({url: OpenAIEngine(url, "served") for url in urls})
        first = read(WHOLE["think"], "The first question")
        await ask(pool, first.prompt)
        for i in range(8):
            await ask(pool, f"Question {i}", before=Turns.of([first], "summaries"))
        await pool.close()

    with serving(scripts[0]) as a, serving(scripts[1]) as b, serving(scripts[2]) as c:
        asyncio.run(work([a, b, c]))
    assert sorted(len(s.bodies) for s in scripts) == [0, 0, 9]


@pytest.mark.parametrize("given_as", ["summaries", "full"])
def test_a_template_that_drops_earlier_thoughts_by_itself_is_told_of(
    tiny_model: Path, tmp_path: Path, given_as: Any
) -> None:
    """As those of Qwen3 and DeepSeek-R1 do."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(
        template.replace("{{ m['content'] }}{{ eos", "{{ m['content'].split('</think>')[-1] }}{{ eos")
    )

    async def work() -> Trace:
        engine = LocalEngine(folder, "tiny")
        try:
            return await ask(engine, before=Turns.of([read("<think>\nFrom 4\n</think>Solved: 5")], given_as))
        finally:
            await engine.close()

    trace = asyncio.run(work())
    assert trace.stats["saved_prompt_tokens"] == 0
    assert any("leaves the thoughts of earlier turns out by itself" in note for note in trace.stats["notes"])
