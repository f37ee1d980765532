"""The engine for served models against a real HTTP server that speaks the protocol, well or badly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from core.engines.base import Bounds, Chunk, EngineDown, EngineError, GenerateRequest, Sampling, Thinking, takes_schema
from core.engines.local import LocalEngine
from core.engines.openai_api import PIECES, SCHEMA_IN_WORDS, OpenAIEngine, list_models
from core.engines.pool import EnginePool
from core.engines.sampling import Sampled, SampleRequest
from core.engines.server_info import Server, ServerInfo, shown
from core.run import run_trace
from core.trace import Problem, Trace
from tests.core.served import Script, serving


@pytest.fixture
def served() -> Iterator[tuple[str, Script]]:
    script = Script()
    with serving(script) as url:
        yield url, script


def ask(url: str, *, silence_s: float = 5.0, **how) -> Trace:
    async def work() -> Trace:
        engine = OpenAIEngine(url, "served", silence_s=silence_s)
        stop = asyncio.Event()
        try:
            return await run_trace(
                engine, Problem.ask("Why?"), Sampling(seed=3), Bounds(), lambda _: None, trace_id="t", stop=stop, **how
            )
        finally:
            await engine.close()

    return asyncio.run(work())


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_read_whatever_the_field_is_called(served, field: str) -> None:
    url, script = served
    script.deltas = [{field: "First.\n"}, {field: "\nSecond."}, {"content": "It "}, {"content": "is."}]
    trace = ask(url)
    assert trace.response == "<think>First.\n\nSecond.</think>It is."
    assert (trace.answer, trace.finish_reason) == ("It is.", "stop")
    assert (trace.stats["prompt_tokens"], trace.stats["generated_tokens"]) == (7, 30)
    assert script.bodies[0]["skip_special_tokens"] is False
    assert script.bodies[0]["seed"] == 3


def test_a_server_without_token_counts_is_said(served) -> None:
    url, script = served
    script.deltas, script.counts = [{"content": "It "}, {"content": "is."}], False
    trace = ask(url)
    assert (trace.stats["prompt_tokens"], trace.stats["generated_tokens"]) == (None, 2)
    assert PIECES in trace.stats["notes"]
    script.counts = True
    assert PIECES not in ask(url).stats["notes"]


def test_one_delta_may_hold_reasoning_and_content(served) -> None:
    url, script = served
    script.deltas = [{"reasoning": "So.", "content": "Yes."}]
    assert ask(url).response == "<think>So.</think>Yes."


def test_steiner_tokens_in_the_content_are_parsed(served) -> None:
    from training.synthesis.countdown import walks

    url, script = served
    walk = next(walks(4))
    script.deltas = [{"content": walk.response[i : i + 11]} for i in range(0, len(walk.response), 11)]
    trace = ask(url)
    assert (trace.format, len(trace.steps), trace.response) == ("steiner", len(walk.steps), walk.response)


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_unknown_keys_is_asked_without_them(served, status: int) -> None:
    url, script = served
    script.strict, script.deltas = status, [{"content": "ok"}]
    assert ask(url).response == "ok"
    assert "skip_special_tokens" not in script.bodies[-1]


def test_the_length_limit_is_told(served) -> None:
    url, script = served
    script.deltas, script.ending = [{"content": "half"}], "length"
    assert ask(url).finish_reason == "length"


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ("drop", "broke off in mid-answer: Response payload is not completed"),
        ("stall", "stalled: nothing came for 0.3 s"),
        ("{not json", "sent something that is not a reply"),
        ('"a string"', "sent something that is not a reply"),
        ('{"error": {"message": "the engine died"}}', "the engine died"),
    ],
)
def test_whatever_goes_wrong_in_mid_answer_leaves_a_trace_with_the_reason(served, trouble: str, says: str) -> None:
    url, script = served
    script.deltas, script.trouble = [{"content": "half "}, {"content": "an answer"}], trouble
    trace = ask(url, silence_s=0.3)
    assert trace.response == "half an answer"
    assert trace.finish_reason == "error"
    assert says in trace.error
    assert "<" not in trace.error  # a sentence, and no class of a library
    assert Trace.from_json(trace.to_json()) == trace


def test_an_answer_without_an_end_is_not_taken_for_a_whole_one(served) -> None:
    url, script = served
    script.deltas, script.ending = [{"content": "half"}], None
    trace = ask(url)
    assert (trace.response, trace.finish_reason) == ("half", "error")
    assert "ended its answer without saying why" in trace.error


@pytest.mark.parametrize("reason", ["content_filter", "abort", "error"])
def test_an_answer_that_the_server_cut_off_is_not_taken_for_a_whole_one(served, reason: str) -> None:
    url, script = served
    script.deltas, script.ending = [{"content": "half"}], reason
    trace = ask(url)
    assert (trace.response, trace.finish_reason) == ("half", "error")
    assert f'"{reason}"' in trace.error

    async def work() -> Sampled:
        engine = OpenAIEngine(url, "served")
        try:
            return await engine.sample(SampleRequest("Why?", n=2))
        finally:
            await engine.close()

    if reason == "content_filter":  # of one answer, not of the server
        assert [(s.text, s.end) for s in asyncio.run(work()).samples] == [("half", "length")] * 2
    else:
        with pytest.raises(EngineDown, match=reason):
            asyncio.run(work())


def test_looks_that_wait_for_one_that_fails_fail_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    async def nobody(_: Server) -> ServerInfo:
        looks.append(1)
        await asyncio.sleep(0.05)
        raise EngineDown("The server does not answer.")

    monkeypatch.setattr(Server, "look", nobody)

    async def work() -> None:
        engine = OpenAIEngine("http://127.0.0.1:9/v1", "served")
        told = await asyncio.gather(*(engine.look() for _ in range(16)), return_exceptions=True)
        assert {(type(t), str(t)) for t in told} == {(EngineDown, "The server does not answer.")}
        assert len(looks) == 1
        with pytest.raises(EngineDown):
            await engine.look()
        assert len(looks) == 2, "who comes later looks anew"

    asyncio.run(work())


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_refusal_is_a_sentence(served, status: int) -> None:
    url, script = served
    script.status = status
    trace = ask(url)
    assert trace.finish_reason == "error"
    assert f"answered {status}: out of memory" in trace.error
    assert trace.stats["prompt_tokens"] is None, "nobody counted them"


def test_a_server_that_wants_a_key_says_where_to_put_it(served, monkeypatch: pytest.MonkeyPatch) -> None:
    url, script = served
    script.status = 401
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "put it into OPENAI_API_KEY, or name the variable that has it with --api-key-env" in ask(url).error
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert "Is the key in OPENAI_API_KEY the right one?" in ask(url).error


def test_a_server_that_is_not_there_is_a_sentence() -> None:
    assert "does not answer" in ask("http://127.0.0.1:9/v1").error
    with pytest.raises(EngineError, match="did not list its models"):
        list_models("http://127.0.0.1:9/v1")


def test_models_are_listed(served) -> None:
    assert list_models(served[0]) == ["served"]


def test_what_a_server_cannot_do_is_said_and_not_pretended(served) -> None:
    url, script = served
    script.deltas = [{"content": "ok"}]
    trace = ask(url, thinking=Thinking(budget=5))
    assert trace.finish_reason == "stop"
    assert [n.split(" were not applied")[0] for n in trace.stats["notes"]] == [
        "The step limits (0 to 60)", 'Thinking budget and "Wait"',
    ]  # fmt: skip
    assert "cannot go on from a given text" in ask(url, prefix="So far").error
    # What no server could bound is not blamed on this one.
    assert "`worldline serve` starts vLLM with it" in trace.stats["notes"][0]
    script.owned_by, script.replies = "llamacpp", {"/props": {"chat_template": "<think>{{x}}"}}
    assert "Steiner's format, and this one does not" in ask(url).stats["notes"][0]


@pytest.mark.parametrize(
    ("owner", "replies", "kind", "version"),
    [
        ("llamacpp", {"/props": {"build_info": "b6000", "chat_template": "{{x}}"}}, "llama.cpp", "b6000"),
        ("library", {"/api/version": {"version": "0.12"}, "/api/show": {"template": "{{x}}"}}, "ollama", "0.12"),
    ],
)
def test_version_and_template_are_stored(served, owner: str, replies: dict, kind: str, version: str) -> None:
    url, script = served
    script.owned_by, script.replies, script.deltas = owner, replies, [{"content": "ok"}]
    server = ask(url).sampling["server"]
    assert (server["server"], server["version"], server["endpoint"]) == (kind, version, url)
    assert len(server["chat_template"]) == 64


@pytest.mark.parametrize("route", ["/server_info", "/get_server_info"])
def test_sglang_says_its_version_and_not_its_template(served, route: str) -> None:
    url, script = served
    script.owned_by, script.replies, script.deltas = "sglang", {route: {"version": "0.5.4"}}, [{"content": "ok"}]
    server = ask(url).sampling["server"]
    assert (server["server"], server["version"], server["chat_template"]) == ("sglang", "0.5.4", None)


def test_what_nobody_can_say_is_null_and_what_a_reply_says_is_kept(served) -> None:
    url, script = served
    script.deltas, script.said = [{"content": "ok"}], {"model": "served-2026-11-01", "system_fingerprint": "fp_1"}
    server = ask(url).sampling["server"]
    assert (server["version"], server["chat_template"]) == (None, None)
    assert (server["answered_by"], server["system_fingerprint"]) == ("served-2026-11-01", "fp_1")
    script.said = {}
    assert "answered_by" not in ask(url).sampling["server"]


def openai_reasoning_model(body: dict) -> dict | None:
    """Refuses one thing at a time, in OpenAI's words."""
    if "skip_special_tokens" in body:
        return {"message": "Unrecognized request argument supplied: skip_special_tokens"}
    if "max_tokens" in body:
        return {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "param": "max_tokens", "code": "unsupported_parameter",
        }  # fmt: skip
    if body.get("temperature", 1) != 1:
        return {
            "message": "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
            "param": "temperature", "code": "unsupported_value",
        }  # fmt: skip
    if "top_p" in body:
        return {"message": "Unsupported parameter: 'top_p' is not supported with this model.", "param": "top_p"}
    return None


def test_a_hosted_reasoning_model_is_asked_the_way_it_wants(served) -> None:
    url, script = served
    script.refusal, script.deltas = openai_reasoning_model, [{"content": "ok"}]

    async def work() -> list[Trace]:
        engine = OpenAIEngine(url, "served")
        how = {"trace_id": "t", "stop": asyncio.Event()}
        sampling = Sampling(0.5, 0.9, 3, 77)
        try:
            return [
                await run_trace(engine, Problem.ask("Why?"), sampling, Bounds(), lambda _: None, **how)
                for _ in range(2)
            ]
        finally:
            await engine.close()

    for trace in asyncio.run(work()):
        assert (trace.error, trace.response) == ("", "ok")
        assert [n for n in trace.stats["notes"] if "takes no" in n] == [
            "This server takes no temperature for this model: 0.5 was left out, and its own was used.",
            "This server takes no top_p for this model: 0.9 was left out, and its own was used.",
        ]
    *tries, second = script.bodies
    assert len(tries) == 5  # four refusals; the second question is asked rightly at once
    for body in (tries[-1], second):
        assert body["max_completion_tokens"] == 77
        assert body["seed"] == 3
        assert not {"max_tokens", "temperature", "top_p", "skip_special_tokens"} & set(body)


def test_a_refusal_that_names_no_key_is_told_and_nothing_is_left_out_afterwards(served) -> None:
    url, script = served
    script.refusal, script.deltas = (
        lambda _: {"message": "The temperature of this engine is too high."},
        [{"content": "ok"}],
    )
    assert "answered 400: The temperature of this engine" in ask(url).error
    assert len(script.bodies) == 2


def test_a_password_in_an_address_is_not_stored() -> None:
    assert shown("http://me:secret@host:8000/v1") == "http://host:8000/v1"
    assert shown("http://host/v1") == "http://host/v1"


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def answers_by_schema(engine, times: int = 1) -> list[list[Chunk]]:
    async def work() -> list[list[Chunk]]:
        found = []
        try:
            for _ in range(times):
                found.append([chunk async for chunk in engine.stream(GenerateRequest("How many?", schema=SCHEMA))])
            return found
        finally:
            await engine.close()

    return asyncio.run(work())


def test_a_schema_is_sent(served) -> None:
    url, script = served
    script.deltas = [{"content": '{"n": 3}'}]
    (chunks,) = answers_by_schema(OpenAIEngine(url, "served"))
    assert "".join(c.text for c in chunks) == '{"n": 3}'
    (body,) = script.bodies
    assert body["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}
    }  # fmt: skip
    assert body["messages"][0]["content"] == "How many?"
    assert not any(c.about and c.about.get("notes") for c in chunks)


def test_a_server_that_refuses_a_schema_is_asked_in_words_from_then_on(served) -> None:
    url, script = served
    script.deltas, script.strict = [{"content": '{"n": 3}'}], 400
    script.refuses = ("response_format", "skip_special_tokens")
    for chunks in answers_by_schema(OpenAIEngine(url, "served"), times=2):
        assert "".join(c.text for c in chunks) == '{"n": 3}'
        assert [c.about["notes"] for c in chunks if c.about and "notes" in c.about] == [[SCHEMA_IN_WORDS]]
    *_, first, second = (b for b in script.bodies if "response_format" not in b and "skip_special_tokens" not in b)
    assert '"required":["n"]' in first["messages"][0]["content"]
    assert first == second
    assert sum("response_format" in body for body in script.bodies) == 2  # with the other keys and without, once


def test_a_refusal_of_something_else_is_not_taken_for_one_of_the_schema(served) -> None:
    url, script = served
    script.deltas = [{"content": '{"n": 3}'}]
    engine = OpenAIEngine(url, "served")

    async def work() -> None:
        script.status = 400
        with pytest.raises(EngineError, match="answered 400: out of memory"):
            await anext(c async for c in engine.stream(GenerateRequest("How many?", schema=SCHEMA)) if c.text)
        script.status = 200
        await anext(c async for c in engine.stream(GenerateRequest("How many?", schema=SCHEMA)) if c.text)
        await engine.close()

    asyncio.run(work())
    assert "response_format" in script.bodies[-1]


def test_which_engines_take_a_schema() -> None:
    served, local = OpenAIEngine("http://127.0.0.1:9/v1", "m"), LocalEngine(None, "pocket")
    assert takes_schema(served)
    assert takes_schema(EnginePool({"a": served}))
    assert not takes_schema(local)
    with pytest.raises(EngineError, match="pocket runs in this process and cannot answer by a JSON schema"):
        answers_by_schema(local)
