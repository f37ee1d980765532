"""How the tests talk to the application: httpx for whole answers, and a small client of our own for streams.

httpx's in-process transport waits for the end of an answer, so it cannot watch a run; `watch` speaks ASGI directly
and can hang up in the middle, as a browser does.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from core.engines.base import Engine
from tests.app.scripted import WALK

ORIGIN = "http://127.0.0.1:7860"
PATIENCE_S = 20


class Bench(httpx.AsyncClient):
    """The application and a client of it."""

    def __init__(self, app: Any, engine: Engine) -> None:
        super().__init__(transport=httpx.ASGITransport(app), base_url=ORIGIN, timeout=PATIENCE_S)
        self.app, self.engine = app, engine

    @property
    def services(self) -> Any:
        return self.app.state.services

    async def ask(self, prompt: str = WALK.prompt, **fields: Any) -> str:
        """Start a run; its id."""
        answer = await self.post("/api/runs", json={"prompt": prompt, "model": self.engine.model, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()["run_id"]

    async def finished(self, **fields: Any) -> str:
        """Run to the end; the trace's id."""
        run_id = await self.ask(**fields)
        await self.events(run_id)
        return run_id

    async def events(self, run_id: str, after: int | None = None, noun: str = "runs") -> list[dict[str, Any]]:
        """All events of a run (or a search), waiting for its end."""
        async with self.watch(run_id, after=after, noun=noun) as stream:
            return [event async for event in stream]

    @asynccontextmanager
    async def watch(
        self, run_id: str, *, after: int | None = None, last_event_id: int | None = None, noun: str = "runs"
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Follow a run live; leaving the block hangs up."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        hang_up = asyncio.Event()
        asked = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not asked.is_set():
                asked.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            await hang_up.wait()
            return {"type": "http.disconnect"}

        headers = [(b"host", b"127.0.0.1:7860")]
        if last_event_id is not None:
            headers.append((b"last-event-id", str(last_event_id).encode()))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "headers": headers,
            "path": f"/api/{noun}/{run_id}/events", "raw_path": b"", "scheme": "http", "server": ("127.0.0.1", 7860),
            "query_string": b"" if after is None else f"after={after}".encode(), "client": ("127.0.0.1", 1),
            "root_path": "",
        }  # fmt: skip
        task = asyncio.create_task(self.app(scope, receive, queue.put))
        start = await asyncio.wait_for(queue.get(), PATIENCE_S)
        assert start["status"] == 200, start
        try:
            yield _events(queue)
        finally:
            hang_up.set()
            await asyncio.wait_for(task, PATIENCE_S)


async def _events(queue: asyncio.Queue[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    text = ""
    while True:
        message = await asyncio.wait_for(queue.get(), PATIENCE_S)
        text += message.get("body", b"").decode()
        *blocks, text = text.split("\n\n")
        for block in blocks:
            if event := parse(block):
                yield event
        if not message.get("more_body"):
            return


def parse(block: str) -> dict[str, Any] | None:
    """One server-sent event; None for comments and settings. The id must be the event's own number."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
    if "data" not in fields:
        return None
    event = json.loads(fields["data"])
    assert int(fields["id"]) == event["seq"]
    return event


def texts(events: Iterable[dict[str, Any]]) -> dict[tuple[int, str], str]:
    """What a viewer has put together from deltas: {(step, field): text}, the answer under (-1, "answer")."""
    found: defaultdict[tuple[int, str], str] = defaultdict(str)
    for event in events:
        if event["type"] == "step_delta":
            found[event["index"], event["field"]] += event["text"]
        elif event["type"] == "step_close":  # what came in no piece comes here: the name of a free-form step
            step = event["step"]
            for field in ("name", "thought", "summary", "reflection"):
                found[step["index"], field] = found[step["index"], field] or step[field]
        elif event["type"] == "answer_delta":
            found[-1, "answer"] += event["text"]
    return dict(found)


def texts_of(trace: dict[str, Any]) -> dict[tuple[int, str], str]:
    """The same from a stored trace."""
    found = {
        (step["index"], field): step[field]
        for step in trace["steps"]
        for field in ("name", "thought", "summary", "reflection")
        if step[field]
    }
    return found | ({(-1, "answer"): trace["answer"]} if trace["answer"] else {})


def check_whole(events: list[dict[str, Any]], trace: dict[str, Any]) -> None:
    """The heart of it: what was watched is what was stored; every step once, in order, none missing."""
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "start"
    assert kinds[-1] == "done"
    assert kinds.count("done") == 1
    steps = list(range(len(trace["steps"])))
    assert [e["index"] for e in events if e["type"] == "step_open"] == steps
    closed = [e["step"] for e in events if e["type"] == "step_close"]
    assert [s["index"] for s in closed] == steps
    seen = texts(events)
    if (-1, "answer") in seen:  # a trace's answer has no white space around it; `done` gives it so
        seen[-1, "answer"] = seen[-1, "answer"].strip()
    assert {k: v for k, v in seen.items() if v} == texts_of(trace)
    for mine, stored in zip(closed, trace["steps"], strict=True):
        for key in (
            "start",
            "name",
            "thought",
            "summary",
            "reflection",
            "parent",
            "resumes",
            "replaces",
            "is_backtrack",
        ):
            assert mine[key] == stored[key]
    decisions = {e["index"]: e["decision"] for e in events if e["type"] == "decision"}
    assert decisions == {s["index"]: s["decision"] for s in trace["steps"] if s["decision"]}
    assert events[-1]["finish_reason"] == trace["finish_reason"]
    assert events[-1]["answer"] == trace["answer"]
