"""An append-only log of numbered events with any number of readers, and its form on the wire (server-sent events).

A reader owns nothing but a position, so a reader that leaves disturbs nobody and one that comes back goes on where it
was. Neighbouring pieces of text that reach a reader together travel as one event that carries the number of the last
piece: nothing is lost, nothing comes twice. Knows nothing of runs, models or storage. All methods belong to the
event loop's thread.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any

Event = dict[str, Any]
# Made once: `json.dumps` with separators makes another for every event.
_dumps = json.JSONEncoder(separators=(",", ":")).encode

# At most one batch in this time to each reader: a frame and a half of a screen. At 150 tokens a second it holds four.
TICK_S = 0.025
# A batch costs the same however small it is, so many readers wait a little longer: of 64 each sees ten batches a second.
TICK_OF_EACH_S = 0.0015
# Proxies and browsers drop silent connections after 30 to 60 seconds.
HEARTBEAT_S = 15.0
# One chunk on the wire; replaying a long run must not build one huge string.
BATCH = 500
_readers = 0  # streams that are open now


class EventLog:
    """Events get `seq` 0, 1, 2, … in the order of `append`. A closed log is complete."""

    def __init__(self, events: Iterable[Event] = (), *, closed: bool = False) -> None:
        self.events: list[Event] = list(events)
        self._waiting: list[asyncio.Future[None]] = []
        self._ended = asyncio.Event()
        if closed:
            self._ended.set()

    @property
    def closed(self) -> bool:
        return self._ended.is_set()

    @property
    def last_seq(self) -> int:
        """Number of the newest event, -1 if there is none."""
        return len(self.events) - 1

    def append(self, event: Event) -> Event:
        """Number an event, keep it, wake the readers."""
        numbered = {"seq": len(self.events), **event}
        self.events.append(numbered)
        self._wake()
        return numbered

    def close(self) -> None:
        """No event will follow."""
        self._ended.set()
        self._wake()

    async def pause(self, seconds: float) -> None:
        """So long, or until the log is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            if not reader.done():
                reader.set_result(None)

    async def wait(self, position: int, timeout: float) -> bool:
        """Until there is an event at `position` or the log is closed; False if the time is up before."""
        deadline = time.monotonic() + timeout
        while len(self.events) <= position and not self.closed:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            reader = asyncio.get_running_loop().create_future()
            self._waiting.append(reader)
            try:
                await asyncio.wait({reader}, timeout=left)
            finally:
                if reader in self._waiting:
                    self._waiting.remove(reader)
        return True


def coalesce(events: Iterable[Event]) -> list[Event]:
    """Join neighbouring text pieces of the same field; the joined event has the number of its last piece."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if last is not None and _same_text(last, event):
            out[-1] = {**event, "text": last["text"] + event["text"]}
        else:
            out.append(event)
    return out


def _same_text(a: Event, b: Event) -> bool:
    kind = b["type"]
    if a["type"] != kind:
        return False
    return kind == "answer_delta" or (kind == "step_delta" and a["index"] == b["index"] and a["field"] == b["field"])


def encode(event: Event) -> str:
    """One event as a server-sent event. JSON has no raw line break, so `data:` is one line."""
    return f"id: {event['seq']}\ndata: {_dumps(event)}\n\n"


async def stream(
    log: EventLog,
    after: int = -1,
    *,
    before_send: Callable[[], None] = lambda: None,
    tick: float | None = None,
    heartbeat: float = HEARTBEAT_S,
) -> AsyncIterator[str]:
    """Events with a number above `after`, until the log is closed. `before_send` runs before anything new is shown.

    tick: seconds between batches; None: `TICK_S`, more where many read at once.
    """
    global _readers
    _readers += 1
    try:
        async for block in _blocks(log, after, before_send, tick, heartbeat):
            yield block
    finally:
        _readers -= 1


async def _blocks(
    log: EventLog, after: int, before_send: Callable[[], None], tick: float | None, heartbeat: float
) -> AsyncIterator[str]:
    # A number from another life of this log (its journal was tidied away): better from the start than never.
    position = after + 1 if after <= log.last_seq else 0
    yield "retry: 1000\n\n"
    while True:
        if not await log.wait(position, heartbeat):
            yield ": still here\n\n"
            continue
        sent_at = time.monotonic()
        before_send()
        while position < len(log.events):
            batch = log.events[position : position + BATCH]
            position += len(batch)
            yield "".join(map(encode, coalesce(batch)))
        if log.closed and position >= len(log.events):
            return
        # The first event after a pause goes out at once, those that follow wait for company; the last of all waits for nobody.
        pause = max(TICK_S, TICK_OF_EACH_S * _readers) if tick is None else tick
        await log.pause(max(0.0, pause - (time.monotonic() - sent_at)))
