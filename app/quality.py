"""Reports over a whole queue or store, computed in the background and dated.

Agreement with its interval over a million ratings takes seconds, Dawid-Skene longer; a page may wait a tenth of one. So
whoever asks gets the last report there is, with its date, and a fresh one is begun when something was judged since. A small
store answers at once: a report that is done within a moment is waited for. Knows no route and no page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from storage.store import Store

# A report of a small queue is done in this time: it is waited for, so that nobody sees an old figure there.
SHORT_S = 0.3
# Of a large one the last is shown; a page must not be held up by the one that is being computed.
PATIENCE_S = 0.05
# A first report is waited for longer, since there is nothing to show instead.
FIRST_PATIENCE_S = 2.0
# A large queue that is being rated changes every second; its report is not computed anew more often than this, in multiples
# of what the last one took, so that reports take a twentieth of one core at most.
REST = 20
KEPT = 200  # reports: whoever asks for ever new ones must not fill the memory


@dataclass(frozen=True)
class Report:
    """What was computed, when (ISO 8601, UTC), in how long, and up to which event. fresh: nothing was judged since.

    value None: the first one is still being computed.
    """

    value: Any
    computed_at: str
    took_s: float
    event_seq: int
    fresh: bool


class Quality:
    """The reports of one store. To be used from the event loop; the computing is done in threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._done: dict[Hashable, tuple[Report, Any, float]] = {}
        self._running: dict[Hashable, asyncio.Task[None]] = {}

    async def report(
        self, key: Hashable, compute: Callable[[duckdb.DuckDBPyConnection], Any], *, counts_alone: bool = False
    ) -> Report:
        """The report of that name; `compute` says how it is made. Errors of the first one are raised. The newest KEPT are kept.
        counts_alone: it needs no statistics, which take memory and a second to load."""
        version = await asyncio.to_thread(self._store.read, _version)
        held = self._done.get(key)
        if held is not None and held[1] == version:
            return held[0]
        due = held is None or time.monotonic() > held[2]
        task = self._running.get(key)
        if task is None and due:
            task = self._running[key] = asyncio.create_task(self._compute(key, version, compute, counts_alone))
        if task is not None:
            short = held is None or held[0].took_s < SHORT_S
            await asyncio.wait([task], timeout=FIRST_PATIENCE_S if short else PATIENCE_S)
            if task.done():
                task.result()  # raises what went wrong
                held = self._done[key]
        if held is None:
            return Report(None, "", 0.0, 0, fresh=False)
        done, at, _ = held
        return Report(done.value, done.computed_at, done.took_s, done.event_seq, fresh=at == version)

    async def _compute(
        self, key: Hashable, version: Any, compute: Callable[[duckdb.DuckDBPyConnection], Any], counts_alone: bool
    ) -> None:
        try:
            if not counts_alone:
                await asyncio.to_thread(_load)
            began = time.monotonic()
            value = await asyncio.to_thread(self._store.read, compute)
            took = time.monotonic() - began
            rests = key in self._done and took >= SHORT_S  # the first time includes loading what estimates competence
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            report = Report(value, now, round(took, 3), version[0], fresh=True)
            self._done.pop(key, None)
            self._done[key] = (report, version, time.monotonic() + (REST * took if rests else 0))
            while len(self._done) > KEPT:
                del self._done[next(iter(self._done))]
        finally:
            del self._running[key]

    async def close(self) -> None:
        """Wait for what is being computed: a thread that reads cannot be stopped, and the store is closed next."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)


def _load() -> None:
    """What reports need: to load it takes longer than most of them, and is not what a report takes."""
    import numpy  # noqa: F401
    import pandas  # noqa: F401


def _version(con: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    """What changes whenever a report could: the last event, and how often something was settled by a person."""
    return con.execute(
        "select (select coalesce(max(server_seq), 0) from rating_event), (select count(*) from standing), "
        "(select count(*) from gold), (select count(*) from adjudication), (select max(submitted_at) from assignment)"
    ).fetchall()[0]
