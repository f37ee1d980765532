"""Linear probes of the models in use: one at a time, since what is measured is time. Kept in memory until the server ends.

Knows no HTTP; what is measured and how it is judged is in `core/probe.py`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from app.models import ModelEntry
from core import probe
from core.engines.base import EngineError
from core.engines.sampling import sampler_of
from core.probe import Fit, Point
from core.trace import new_id

KEPT = 20


class ProbeRunning(ValueError):
    """Two at once would measure each other."""


@dataclass
class LiveProbe:
    """One probe: its points so far, and what they come to once there are three."""

    probe_id: str
    model: str
    parallel: bool
    total: int
    points: list[Point] = field(default_factory=list)
    error: str = ""
    state: str = "running"
    fit: Fit | None = None


class Probes:
    """`start`, `get`, `stop`."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, LiveProbe] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def start(
        self, entry: ModelEntry, questions: list[str], repeats: int, max_tokens: int, parallel: bool
    ) -> LiveProbe:
        """Raises ProbeRunning."""
        if self._task is not None and not self._task.done():
            raise ProbeRunning("A probe is running, and two at once would measure each other; wait for it, or stop it.")
        live = LiveProbe(new_id(), entry.id, parallel, len(questions) * repeats)
        self._kept[live.probe_id] = live
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        ask = (
            probe.in_parallel(sampler_of(entry.engine), max_tokens=max_tokens)
            if parallel else probe.through(entry.engine, max_tokens=max_tokens)
        )  # fmt: skip
        self._task = asyncio.create_task(self._run(live, ask, questions, repeats), name="probe")
        return live

    def get(self, probe_id: str) -> LiveProbe | None:
        return self._kept.get(probe_id)

    async def stop(self) -> None:
        """End the one that runs; what it has measured stays."""
        if self._task is None or self._task.done():
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        for live in self._kept.values():
            if live.state == "running":
                await self._end(live, "stopped")

    async def _run(self, live: LiveProbe, ask: probe.Ask, questions: list[str], repeats: int) -> None:
        try:
            async for point in probe.measure(ask, questions, repeats):
                live.points.append(point)
            await self._end(live, "done")
        except EngineError as error:
            live.error = str(error)
            await self._end(live, "failed")

    async def _end(self, live: LiveProbe, state: str) -> None:
        """The fit is there as soon as the state is."""
        if len(live.points) >= 3:
            live.fit = await asyncio.to_thread(probe.fit, list(live.points))
        live.state = state
