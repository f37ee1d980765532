"""Linear probes of the models in use: one at a time, since what is measured is time. Each is a file in `probes/` of the data folder:

    ID.jsonl   {"probe": what is asked}, {"point": an answer} for each as it comes, {"end": how it ended and what it found}

A file without its end is of a server that was killed; what it has is fitted when a server starts again. Knows no HTTP; what is measured
and how it is judged is in `core/probe.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.models import ModelEntry
from app.paths import probes_dir
from core import probe
from core.engines.base import EngineError
from core.engines.sampling import sampler_of
from core.evaluation.folder import cut_torn, whole_lines
from core.probe import Fit, Point
from core.trace import new_id, utc_now

log = logging.getLogger("worldline.probes")

LEAST_FOR_TIME_LEFT = 3  # answers; they come in an order that is drawn, so the mean of a few says something of the rest


class ProbeRunning(ValueError):
    """Two at once would measure each other, and one that runs is not deleted; the message is a sentence."""


@dataclass(frozen=True)
class Asked:
    """What a probe asks. max_tokens: of an answer; behind: what searches behind the model, "" for nothing; total: answers in all."""

    model: str
    behind: probe.Behind
    repeats: int
    max_tokens: int
    total: int
    created_at: str
    created_by: str


@dataclass
class LiveProbe:
    """One probe: its points so far, and what they come to once it has ended with three or more."""

    probe_id: str
    asked: Asked
    points: list[Point] = field(default_factory=list)
    state: str = "running"  # done, stopped, failed
    error: str = ""
    fit: Fit | None = None
    took: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began if self.took is None else self.took

    @property
    def left_s(self) -> float | None:
        """Seconds left, None while nobody can say."""
        done = len(self.points)
        if self.state != "running" or done < LEAST_FOR_TIME_LEFT:
            return None
        return self.seconds / done * (self.asked.total - done)


class Probes:
    """Starts, stops, keeps and finds probes. Everything here belongs to the event loop's thread unless a name ends in `_blocking`."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = probes_dir(data_dir)
        self._kept: dict[str, LiveProbe] = {}
        self._task: asyncio.Task[None] | None = None

    # ---- life

    async def open(self) -> None:
        """Read what there is, and fit what a killed server has left."""
        self._kept = await asyncio.to_thread(self._read_blocking)
        cut = [live for live in self._kept.values() if live.state == "running"]
        if cut:
            self._task = asyncio.create_task(self._end_cut(cut), name="probes-of-before")

    async def close(self) -> None:
        """Let go of the one that runs: its file has no end, and the next server fits what it has."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    # ---- acting

    def start(
        self, entry: ModelEntry, questions: list[str], repeats: int, max_tokens: int, behind: probe.Behind, user: str
    ) -> LiveProbe:
        """Raises ProbeRunning."""
        if self._task is not None and not self._task.done():
            raise ProbeRunning("A probe is running, and two at once would measure each other; wait for it, or stop it.")
        asked = Asked(entry.id, behind, repeats, max_tokens, len(questions) * repeats, utc_now(), user)
        live = LiveProbe(new_id(), asked)
        self._kept[live.probe_id] = live
        self._write(live, {"probe": asdict(asked)})
        ask = (
            probe.in_parallel(sampler_of(entry.engine), behind, max_tokens=max_tokens)
            if behind else probe.through(entry.engine, max_tokens=max_tokens)
        )  # fmt: skip
        self._task = asyncio.create_task(self._run(live, ask, questions, repeats), name=f"probe-{live.probe_id}")
        return live

    async def stop(self) -> None:
        """End the one that runs; what it has measured stays, and is fitted."""
        await self.close()
        for live in list(self._kept.values()):
            if live.state == "running":
                await self._end(live, "stopped")

    def delete(self, live: LiveProbe) -> None:
        """Raises ProbeRunning."""
        if live.state == "running":
            raise ProbeRunning("This probe is running; stop it before it is deleted.")
        self._path(live.probe_id).unlink(missing_ok=True)
        self._kept.pop(live.probe_id, None)

    # ---- reading

    def all(self) -> list[LiveProbe]:
        """Newest first."""
        return list(reversed(self._kept.values()))

    def get(self, probe_id: str) -> LiveProbe | None:
        return self._kept.get(probe_id)

    # ---- inside

    async def _run(self, live: LiveProbe, ask: probe.Ask, questions: list[str], repeats: int) -> None:
        try:
            async for point in probe.measure(ask, questions, repeats):
                live.points.append(point)
                self._write(live, {"point": asdict(point)})
            await self._end(live, "done")
        except EngineError as error:
            await self._end(live, "failed", str(error))
        except Exception as failure:
            self._broken(live, failure)

    def _broken(self, live: LiveProbe, failure: Exception) -> None:
        log.error("probe %s failed", live.probe_id, exc_info=failure)
        self._close(live, "failed", f"It failed: {failure or type(failure).__name__}", None)

    async def _end(self, live: LiveProbe, state: str, error: str = "") -> None:
        """The fit is there as soon as the state is."""
        if live.took is None:
            live.took = live.seconds
        if state == "stopped" and len(live.points) == live.asked.total:  # stopped, or killed, while it was fitted
            state, error = "done", ""
        found = await asyncio.to_thread(probe.fit, list(live.points)) if len(live.points) >= 3 else None
        if live.state == "running":  # two may have stopped it at once
            self._close(live, state, error, found)

    def _close(self, live: LiveProbe, state: str, error: str, found: Fit | None) -> None:
        live.fit, live.error, live.took, live.state = found, error, live.seconds, state
        end = {"state": state, "error": error, "seconds": live.took, "fit": found.to_json() if found else None}
        self._write(live, {"end": end})

    async def _end_cut(self, cut: list[LiveProbe]) -> None:
        for live in cut:
            await asyncio.to_thread(cut_torn, self._path(live.probe_id))
            try:
                await self._end(live, "stopped", "The server that made it ended before it was done.")
            except Exception as failure:  # whatever stands in a file, the next one is fitted
                self._broken(live, failure)

    def _path(self, probe_id: str) -> Path:
        return self._folder / f"{probe_id}.jsonl"

    def _write(self, live: LiveProbe, row: dict[str, Any]) -> None:
        """A disk that fails costs the file, not the probe."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._path(live.probe_id).open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            log.error("the probe %s cannot be written (%s): it is there until the server ends", live.probe_id, error)

    def _read_blocking(self) -> dict[str, LiveProbe]:
        """Oldest first; a file that is no probe is left alone."""
        found = {}
        for path in sorted(self._folder.glob("[!.]*.jsonl")):
            try:
                first, *rows = whole_lines(path)
                live = LiveProbe(path.stem, Asked(**first["probe"]))
                for row in rows:
                    if "point" in row:
                        live.points.append(Point(**row["point"]))
                    elif "end" in row:
                        end = row["end"]
                        live.state, live.error, live.took = end["state"], end["error"], end["seconds"]
                        live.fit = Fit.from_json(end["fit"]) if end["fit"] else None
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s cannot be read as a probe: %s", path, error)
                continue
            if live.took is None:
                live.took = sum(p.seconds for p in live.points)
            found[live.probe_id] = live
        return found
