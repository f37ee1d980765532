"""A small real HTTP server that speaks the OpenAI protocol, well or badly, as its script says."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Script:
    """What the server says. `trouble` happens after the deltas: drop, stall, garbage; "" is a good end."""

    deltas: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], str] | None = None  # in place of the deltas: made of what was asked
    ending: str | None = "stop"
    trouble: str = ""
    status: int = 200
    reason: str = "out of memory"  # what a refusal says
    counts: bool = True  # tells token counts
    strict: int = 0  # the status with which unknown keys are refused
    refuses: tuple[str, ...] = ("skip_special_tokens",)  # which keys that are
    refusal: Callable[[dict[str, Any]], dict[str, Any] | None] | None = (
        None  # the error of a 400, made of what was asked
    )
    headers: dict[str, str] = field(default_factory=dict)  # of a refusal
    streams: dict[str, Callable[[dict[str, Any]], str]] = field(
        default_factory=dict
    )  # by route: what is sent, as it is
    lists: bool = True
    owned_by: str = "someone"
    models: tuple[str, ...] = ("served",)
    context: int | None = None  # said as vLLM says it, in the list of models
    replies: dict[str, Any] = field(default_factory=dict)  # by route; a function makes one of what was posted
    said: dict[str, Any] = field(default_factory=dict)  # in every event of a chat, beside its text
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)  # the authorization of each question
    others: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # what was posted elsewhere
    let_go: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def do_GET(self) -> None:
        if self.path == "/v1/models" and self.path not in self.script.replies:
            if not self.script.lists:
                return self._whole(500, {"error": {"message": "no cache"}})
            said = {} if self.script.context is None else {"max_model_len": self.script.context}
            rows = [{"id": name, "owned_by": self.script.owned_by, **said} for name in self.script.models]
            return self._whole(200, {"data": rows})
        return self._other()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        if self.path != "/v1/chat/completions":
            self.script.others.append((self.path, body))
            return self._whole_stream(body) if self.path in self.script.streams else self._other(body)
        script = self.script
        script.bodies.append(body)
        script.keys.append(self.headers.get("authorization"))
        if script.status != 200 or (script.strict and any(k in body for k in script.refuses)):
            status = script.status if script.status != 200 else script.strict
            return self._whole(status, {"error": {"message": script.reason}})
        if script.refusal is not None and (told := script.refusal(body)) is not None:
            return self._whole(400, {"error": told})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for delta in [{"content": script.answer(body)}] if script.answer else script.deltas:
            row = _row([{"index": 0, "delta": delta, "finish_reason": None}])
            self._event(json.dumps({**row, **script.said}))
        if script.trouble == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if script.trouble == "stall":
            script.let_go.wait(30)
        elif script.trouble:
            self._event(script.trouble)
        if script.ending:
            self._event(json.dumps(_row([{"index": 0, "delta": {}, "finish_reason": script.ending}])))
        usage = {"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 37}
        if script.counts:
            self._event(json.dumps({**_row([]), "usage": usage}))
        self._event("[DONE]")
        with contextlib.suppress(OSError):
            self.wfile.write(b"0\r\n\r\n")
        return None

    def _other(self, body: Any = None) -> None:
        found = self.script.replies.get(self.path)
        found = found(body) if callable(found) else found
        self._whole(404 if found is None else 200, found or {"error": {"message": "no such route"}})

    def _whole_stream(self, body: dict[str, Any]) -> None:
        text = self.script.streams[self.path](body).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _event(self, data: str) -> None:
        text = f"data: {data}\n\n".encode()
        with contextlib.suppress(OSError):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()

    def _whole(self, status: int, reply: Any) -> None:
        text = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        for name, value in self.script.headers.items() if status >= 400 else ():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


def written(text: str, finish: str = "stop", stopped_at: str | None = None) -> str:
    """A stream of the completions route that says `text`."""
    rows = [{"index": 0, "text": piece, "finish_reason": None} for piece in (text[:3], text[3:])]
    last = {"index": 0, "text": "", "finish_reason": finish, "stop_reason": stopped_at}
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    events = [*(_row([row]) for row in rows), {**_row([last]), "usage": usage}]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


def _row(choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served", "choices": choices}


@contextlib.contextmanager
def serving(script: Script, port: int = 0) -> Iterator[str]:
    """The base URL of a server that follows `script`, which may be changed while it runs."""
    handler = type("Handler", (_Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        script.let_go.set()
        server.shutdown()
        server.server_close()
