"""Going on from a text, and the markers that it is written in, on each kind of server: scripted ones that follow the documented routes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.control.thinking import GEMMA, HARMONY, MAGISTRAL, THINK, Markers
from core.engines.base import OPENS_THINKING, Bounds, GenerateRequest, Sampling, Thinking
from core.engines.openai_api import OpenAIEngine
from core.engines.sse import Swap
from core.pocket import model_dir
from core.run import run_trace
from core.trace import Problem, Trace
from tests.core.served import Script, serving, written

HALF = "<think>First, "


@pytest.fixture
def served() -> Iterator[tuple[str, Script]]:
    script = Script()
    with serving(script) as url:
        yield url, script


def ask(url: str, model: str = "served", **how: Any) -> Trace:
    async def work() -> Trace:
        engine = OpenAIEngine(url, model, silence_s=5)
        try:
            return await run_trace(
                engine, Problem.ask("Why?"), Sampling(0.5, 0.9, 3, 40), Bounds(), lambda _: None, trace_id="t",
                stop=asyncio.Event(), **how,
            )  # fmt: skip
        finally:
            await engine.close()

    return asyncio.run(work())


def posted(script: Script, route: str) -> dict[str, Any]:
    return [body for path, body in script.others if path == route][-1]


def test_llama_cpp_renders_and_goes_on(served) -> None:
    url, script = served
    script.owned_by = "llamacpp"
    script.replies = {
        "/props": {"build_info": "b6000", "chat_template": "{{x}}<think>"},
        "/apply-template": lambda body: {"prompt": f"<user>{body['messages'][0]['content']}<assistant><think>\n"},
    }
    script.streams = {"/v1/completions": lambda _: written("second.</think>Yes.")}
    trace = ask(url, prefix=HALF)
    assert trace.error == ""
    assert trace.response == HALF + "second.</think>Yes."
    assert (trace.answer, trace.finish_reason, trace.sampling["continued_from"]) == ("Yes.", "stop", len(HALF))
    assert (trace.stats["prompt_tokens"], trace.stats["generated_tokens"]) == (7, 5)
    body = posted(script, "/v1/completions")
    assert body["prompt"] == "<user>Why?<assistant><think>\nFirst, "  # not opened twice
    assert (body["temperature"], body["top_p"], body["seed"], body["max_tokens"]) == (0.5, 0.9, 3, 40)
    assert (body["top_k"], body["min_p"]) == (0, 0.0)
    assert body["preserved_tokens"] == ["<think>", "</think>"]


def test_an_old_llama_cpp_that_renders_nothing_says_so(served) -> None:
    url, script = served
    script.owned_by = "llamacpp"
    script.replies = {"/props": {"build_info": "b1", "chat_template": "<think>"}}
    assert "did not say how its chat template renders the question" in ask(url, prefix=HALF).error


def test_ollama_renders_and_goes_on(served) -> None:
    url, script = served
    script.owned_by = "library"
    script.replies = {
        "/api/version": {"version": "0.12.3"},
        "/api/show": {"template": "{{ .Prompt }}<think>"},
        "/api/chat": {"_debug_info": {"rendered_template": "<user>Why?<assistant>"}},
    }
    rows = [
        {"response": "second.", "done": False},
        {"response": "</think>Yes.", "done": False},
        {"response": "", "done": True, "done_reason": "length", "prompt_eval_count": 9, "eval_count": 4},
    ]
    script.streams = {"/api/generate": lambda _: "".join(json.dumps(row) + "\n" for row in rows)}
    trace = ask(url, prefix=HALF)
    assert (trace.response, trace.finish_reason) == (HALF + "second.</think>Yes.", "length")
    assert (trace.stats["prompt_tokens"], trace.stats["generated_tokens"]) == (9, 4)
    assert posted(script, "/api/chat")["_debug_render_only"] is True
    body = posted(script, "/api/generate")
    assert (body["prompt"], body["raw"]) == ("<user>Why?<assistant>" + HALF, True)
    assert body["options"] == {"temperature": 0.5, "top_p": 0.9, "num_predict": 40, "seed": 3}
    assert "skip_special_tokens" not in body


@pytest.mark.parametrize(
    ("lines", "says"),
    [('{"response": "half"}\n{"error": "out of memory"}\n', "out of memory"), ('{"response": "half"}\n{nonsense\n', "not a reply"),
     ('{"response": "half"}\n', "without saying why")],
)  # fmt: skip
def test_what_goes_wrong_on_ollamas_own_route_leaves_a_trace(served, lines: str, says: str) -> None:
    url, script = served
    script.owned_by = "library"
    script.replies = {"/api/chat": {"_debug_info": {"rendered_template": "Why?"}}}
    script.streams = {"/api/generate": lambda _: lines}
    trace = ask(url, prefix=HALF)
    assert (trace.response, trace.finish_reason) == (HALF + "half", "error")
    assert says in trace.error


def test_sglang_is_given_the_text_as_the_last_message(served) -> None:
    url, script = served
    script.owned_by, script.models = "sglang", ("Qwen3-8B",)
    script.replies = {"/server_info": {"version": "0.5.4", "model_path": "Qwen/Qwen3-8B"}}
    script.deltas = [{"content": "second.</think>Yes."}]
    trace = ask(url, "Qwen3-8B", prefix=HALF)
    assert trace.response == HALF + "second.</think>Yes."
    assert (trace.sampling["server"]["server"], trace.sampling["server"]["version"]) == ("sglang", "0.5.4")
    body = script.bodies[-1]
    assert body["messages"][-1] == {"role": "assistant", "content": HALF}
    assert (body["continue_final_message"], body["separate_reasoning"]) == (True, False)
    assert body["skip_special_tokens"] is False


def test_transformers_serve_goes_on_where_the_models_folder_is_here(served, tmp_path: Path) -> None:
    url, script = served
    script.replies = {"/openapi.json": {"paths": {"/load_model": {}}}}
    assert "cannot go on from a given text" in ask(url, prefix=HALF).error
    folder = tmp_path / "model"
    shutil.copytree(model_dir(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    script.models = (str(folder),)
    script.streams = {"/v1/completions": lambda _: written("second.")}
    trace = ask(url, str(folder), prefix="<|reasoning_start|>First, ")
    assert (trace.error, trace.response) == ("", "<|reasoning_start|>First, second.")
    server = trace.sampling["server"]
    assert (server["server"], server["version"], len(server["chat_template"])) == ("transformers", None, 64)
    assert posted(script, "/v1/completions")["prompt"].endswith("Why?<|answer|><|reasoning_start|>First, ")


def test_a_hosted_server_refuses_with_a_sentence(served) -> None:
    trace = ask(served[0], prefix=HALF)
    assert "cannot go on from a given text; vLLM, SGLang, llama.cpp and Ollama can" in trace.error


def vllm(script: Script, markers: Markers, tail: str) -> None:
    """As a vLLM that serves a model of this family answers; a text is one token a character."""

    def tokenize(body: dict[str, Any]) -> dict[str, Any]:
        if "messages" in body:
            return {"tokens": [1, 2]}
        strs = [t for t in markers.tokens if t in body["prompt"]]
        return {"tokens": [ord(c) for c in body["prompt"]], "token_strs": strs}

    script.owned_by = "vllm"
    script.replies = {
        "/tokenize": tokenize, "/detokenize": {"prompt": tail}, "/version": {"version": "0.32.0"}, "/v1/completions": {"choices": [{}]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("markers", "tail", "opened"),
    [(THINK, "<think>\n", True), (THINK, "<assistant>", False), (GEMMA, "<think>", False)],
)
def test_a_response_without_tags_is_a_thought_where_the_prompt_opened_one(
    served, markers: Markers, tail: str, opened: bool
) -> None:
    url, script = served
    vllm(script, markers, tail)
    script.deltas = [{"content": "First, this. Then"}]
    script.ending = "length"
    trace = ask(url)
    assert trace.response == "First, this. Then"
    assert trace.format == ("think" if opened else "plain")
    assert trace.sampling["server"].get(OPENS_THINKING, False) is opened


def given(script: Script) -> str:
    """What the newest request of a vLLM went on from."""
    ids = [
        body["prompt"] for path, body in script.others if path == "/v1/completions" and isinstance(body["prompt"], list)
    ]
    return "".join(map(chr, ids[-1][2:]))


@pytest.mark.parametrize("markers", [MAGISTRAL, GEMMA, HARMONY, THINK])
def test_a_text_is_written_and_gone_on_with_in_the_models_own_markers(served, markers: Markers) -> None:
    """Where a reasoning parser took them out of the text."""
    url, script = served
    vllm(script, markers, "<assistant>")
    script.deltas = [{"reasoning": "First, second."}, {"content": "Yes."}]
    whole = ask(url)
    assert whole.response == f"{markers.before}First, second.{markers.end}Yes."
    assert whole.answer == "Yes."
    cut = whole.response.partition("second")[0]
    real = serving_streams(script, f"second.{markers.end}Yes.")
    trace = ask(url, prefix=cut)
    assert (trace.error, trace.response) == ("", whole.response)
    assert given(real) == cut


def serving_streams(script: Script, text: str) -> Script:
    """Ids are gone on from by a stream; the engine's look at the server is answered as before."""
    look = script.replies["/v1/completions"]
    script.streams = {
        "/v1/completions": lambda body: written(text) if isinstance(body["prompt"], list) else json.dumps(look)
    }
    return script


@pytest.mark.parametrize("markers", [MAGISTRAL, GEMMA, HARMONY])
@pytest.mark.parametrize(("prefix", "rest", "response"), [
    ("<think>First, ", "second.END" + "Yes.", "<think>First, second.</think>Yes."),
    ("<think>First.</think>", "Yes.", "<think>First.</think>Yes."),
])  # fmt: skip
def test_a_text_in_foreign_markers_is_told_to_the_model_in_its_own(
    served, markers: Markers, prefix: str, rest: str, response: str
) -> None:
    url, script = served
    vllm(script, markers, "<assistant>")
    serving_streams(script, rest.replace("END", markers.end))
    trace = ask(url, prefix=prefix)
    assert (trace.error, trace.response, trace.answer) == ("", response, "Yes.")
    assert given(script) == prefix.replace("<think>", markers.before).replace("</think>", markers.end)


@pytest.mark.parametrize("markers", [MAGISTRAL, GEMMA, HARMONY])
def test_wait_stops_at_the_models_own_end_of_thinking(served, markers: Markers) -> None:
    url, script = served
    vllm(script, markers, "<assistant>")
    turns = iter([written(f"{markers.before}So.", stopped_at=markers.end), written(f" no.{markers.end}Yes.")])
    look = script.replies["/v1/completions"]
    script.streams = {"/v1/completions": lambda b: next(turns) if isinstance(b["prompt"], list) else json.dumps(look)}
    trace = ask(url, thinking=Thinking(waits=1))
    assert trace.response == f"{markers.before}So.Wait no.{markers.end}Yes."
    assert [b["stop"] for _, b in script.others if "stop" in b] == [[markers.end]]


def test_what_cannot_be_applied_to_a_model_without_marks_is_said(served) -> None:
    url, script = served
    vllm(script, Markers("", "", tokens=()), "<assistant>")
    script.deltas = [{"content": "ok"}]
    trace = ask(url, thinking=Thinking(budget=5, waits=1))
    assert trace.finish_reason == "stop"
    assert any("this model does not mark its thinking" in note for note in trace.stats["notes"])
    assert "thinking_token_budget" not in script.bodies[-1]


def test_a_wait_that_met_no_end_of_thinking_and_a_budget_without_its_configuration_are_said(served) -> None:
    url, script = served
    vllm(script, THINK, "<assistant>")
    script.streams = {
        "/v1/completions": lambda b: (
            written("4") if isinstance(b["prompt"], list) else json.dumps({"error": "no reasoning_config"})
        )
    }
    trace = ask(url, thinking=Thinking(budget=5, waits=1))
    assert trace.response == "4"
    assert any('"Wait" was not put' in note for note in trace.stats["notes"])
    assert any("started without --reasoning-config" in note for note in trace.stats["notes"])


def test_a_text_is_swapped_wherever_the_stream_is_cut() -> None:
    text = "So [/THI [/THINK]Yes. [/THINK]"
    for at in range(len(text)):
        for size in (1, 2, 5):
            swap = Swap("[/THINK]", "</think>")
            pieces = [text[:at], *(text[i : i + size] for i in range(at, len(text), size))]
            assert "".join(map(swap.feed, pieces)) + swap.close() == "So [/THI </think>Yes. [/THINK]"
    swap = Swap("[/THINK]", "</think>")
    assert swap.feed("So [/THI") + swap.close() == "So [/THI"


def test_a_search_needs_token_ids(served) -> None:
    """Text alone is not enough: what goes on from a text is for people."""
    url, script = served
    script.owned_by, script.deltas = "llamacpp", [{"content": "4"}]

    async def work() -> Any:
        engine = OpenAIEngine(url, "served")
        try:
            info = await engine.look()
            assert info.continues and not info.takes_ids
            return [c.text async for c in engine.stream(GenerateRequest("Why?"))], await engine.marks()
        finally:
            await engine.close()

    texts, marks = asyncio.run(work())
    assert "".join(texts) == "4"
    assert marks.thinking_end == ""
