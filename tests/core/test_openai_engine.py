"""The engine for served models against a real HTTP server that speaks the protocol, well or badly."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from core.engines.base import Bounds, EngineError, Sampling
from core.engines.openai_api import OpenAIEngine, list_models
from core.run import run_trace
from core.trace import Problem, Trace


class Server(BaseHTTPRequestHandler):
    """Streams `deltas`, then `finish`; `status` other than 200 refuses; `bodies` keeps what was asked."""

    deltas: ClassVar[list[dict]] = []
    finish: str | None = "stop"
    status = 200
    strict = False
    bodies: ClassVar[list[dict]] = []

    def do_GET(self) -> None:
        self._reply(200, json.dumps({"data": [{"id": "served"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).bodies.append(body)
        if self.status != 200 or (self.strict and "skip_special_tokens" in body):
            self._reply(self.status if self.status != 200 else 400, json.dumps({"error": {"message": "out of memory"}}))
            return
        choices = [{"index": 0, "delta": d, "finish_reason": None} for d in self.deltas]
        if self.finish:
            choices.append({"index": 0, "delta": {}, "finish_reason": self.finish})
        rows = [
            {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served", "choices": [c]}
            for c in choices
        ]
        rows.append(
            {**rows[0], "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 37}}
        )
        self._reply(200, "".join(f"data: {json.dumps(r)}\n\n" for r in rows) + "data: [DONE]\n\n", "text/event-stream")

    def _reply(self, status: int, text: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def served() -> Iterator[tuple[str, type[Server]]]:
    handler = type("Handler", (Server,), {"bodies": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", handler
    server.shutdown()
    server.server_close()


def ask(url: str) -> Trace:
    async def work() -> Trace:
        engine = OpenAIEngine(url, "served")
        try:
            return await run_trace(
                engine,
                Problem.ask("Why?"),
                Sampling(seed=3),
                Bounds(),
                lambda _: None,
                trace_id="t",
                stop=asyncio.Event(),
            )
        finally:
            await engine.close()

    return asyncio.run(work())


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_read_whatever_the_field_is_called(served, field: str) -> None:
    url, server = served
    server.deltas = [{field: "First.\n"}, {field: "\nSecond."}, {"content": "It "}, {"content": "is."}]
    trace = ask(url)
    assert [s.thought for s in trace.steps] == ["First.", "Second."]
    assert (trace.answer, trace.finish_reason) == ("It is.", "stop")
    assert (trace.stats["prompt_tokens"], trace.stats["generated_tokens"]) == (7, 30)
    assert server.bodies[0]["skip_special_tokens"] is False
    assert server.bodies[0]["seed"] == 3


def test_steiner_tokens_in_the_content_are_parsed(served) -> None:
    from training.synthesis.countdown import walks

    url, server = served
    walk = next(walks(4))
    server.deltas = [{"content": walk.response[i : i + 11]} for i in range(0, len(walk.response), 11)]
    trace = ask(url)
    assert (trace.format, len(trace.steps), trace.response) == ("steiner", len(walk.steps), walk.response)


def test_a_server_that_refuses_unknown_keys_is_asked_without_them(served) -> None:
    url, server = served
    server.strict, server.deltas = True, [{"content": "ok"}]
    assert ask(url).response == "ok"
    assert "skip_special_tokens" not in server.bodies[-1]


def test_length_and_a_lost_end_are_told_apart(served) -> None:
    url, server = served
    server.deltas, server.finish = [{"content": "half"}], "length"
    assert ask(url).finish_reason == "length"
    server.finish = None
    assert ask(url).finish_reason == "interrupted"


def test_a_server_error_is_a_sentence(served) -> None:
    url, server = served
    server.status = 500
    trace = ask(url)
    assert trace.finish_reason == "error"
    assert "answered 500: " in trace.error


def test_a_server_that_is_not_there_is_a_sentence() -> None:
    assert "does not answer" in ask("http://127.0.0.1:9/v1").error
    with pytest.raises(EngineError, match="did not list its models"):
        list_models("http://127.0.0.1:9/v1")


def test_models_are_listed(served) -> None:
    assert list_models(served[0]) == ["served"]
