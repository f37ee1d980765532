"""A real HTTP server in a process of its own that writes at a fixed pace: `python -m benchmarks.paced PORT TOKENS_PER_S`.

It speaks the streaming chat route of the OpenAI protocol and costs next to nothing, so that what is measured around it is
what lies between it and the reader. Each stream is a search in Steiner's format; every token of a thought is the time at
which it was sent, in milliseconds since 1970, so that whoever sees it knows how old it is.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from core.formats import steiner_tokens as t

MODEL = "paced"
THOUGHT_TOKENS = 30  # of a step; about what a step of the pocket model has
START_S = 30


def _tokens() -> Iterator[str | None]:
    """The pieces of a response that never ends; None is a place for the time."""
    yield t.REASONING_START
    for step in count(1):
        yield from (t.STEP_START, t.NAME_START, f"Step {step}", t.NAME_END, t.THOUGHT_START)
        yield from (None for _ in range(THOUGHT_TOKENS))
        yield from (t.THOUGHT_END, t.SUMMARY_START, f"{step} done", t.SUMMARY_END)
        yield from (t.REFLECTION_START, "On.", t.REFLECTION_END, t.STEP_END)
        yield t.BACKTRACK if step % 4 == 0 else t.PROCEED


async def _write(tokens: int, per_s: float) -> AsyncIterator[bytes]:
    def event(body: dict[str, object]) -> bytes:
        row = {"id": "paced", "object": "chat.completion.chunk", "created": 0, "model": MODEL, **body}
        return b"data: " + json.dumps(row, separators=(",", ":")).encode() + b"\n\n"

    def choice(delta: dict[str, str], reason: str | None = None) -> bytes:
        return event({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    began = time.monotonic()
    pieces = _tokens()
    for n in range(tokens):
        await asyncio.sleep(max(0.0, began + (n + 1) / per_s - time.monotonic()))
        piece = next(pieces)
        yield choice({"content": f" {time.time() * 1000:.0f}" if piece is None else piece})
    yield choice({}, "length")
    yield event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": tokens + 9}})
    yield b"data: [DONE]\n\n"


async def _serve(port: int, per_s: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                sizes = [
                    line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")
                ]
                body = await reader.readexactly(int(sizes[0]) if sizes else 0)
                if head.startswith("GET"):
                    listed = json.dumps({"object": "list", "data": [{"id": MODEL, "owned_by": "benchmark"}]}).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                    writer.write(b"content-length: %d\r\n\r\n%b" % (len(listed), listed))
                    continue
                asked = json.loads(body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                async for piece in _write(int(asked["max_tokens"]), per_s):
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=256)
    async with server:
        await server.serve_forever()


@contextmanager
def paced(per_s: float) -> Iterator[str]:
    """Yields the address of such a server, as in `http://127.0.0.1:8000/v1`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.paced", str(port), str(per_s)])
    try:
        deadline = time.monotonic() + START_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the paced server did not start")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
