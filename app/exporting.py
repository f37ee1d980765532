"""Exports of snapshots: of a small one here, of a large one in a process beside this one, so that what it takes is given back.

What an export of a large snapshot would hold takes seconds to count, and a page may wait a tenth of one: it is counted in the
background, one at a time, and kept, because a snapshot never changes. Knows no route and no page.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from core.workers import OneProcess
from storage.errors import ExportError
from storage.exports import FORMATS, ExportReport, Plan, export, plan
from storage.exports.writing import read_options
from storage.snapshots import Snapshot, load_snapshot

LARGE_BYTES = 8_000_000  # of a snapshot's data; below that to begin a process takes longer than the work
PATIENCE_S = 0.03  # for what is being counted; whoever asks asks again
FORGOTTEN_S = 10.0  # what nobody has asked for since is not begun any more: every change of an option asks for another
KEPT = 200
# Of the process: Arrow's own allocator keeps what it had, and the system's a heap for each thread. One export after another came
# to 1.1 GB, so to 0.6, as fast. (Where there is no glibc the second says nothing.)
SPARING = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
IDLE_S = 60.0  # for which the process waits: who looks at what an export would hold is about to write it

T = TypeVar("T")


class Exports:
    """To be used from the event loop."""

    def __init__(self) -> None:
        self._done: dict[str, Plan] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, float] = {}
        self._turn = asyncio.Lock()
        self._process = OneProcess(IDLE_S, SPARING)

    async def plan(self, snapshot: Snapshot, format: str, options: Mapping[str, Any]) -> Plan | None:
        """What the export would hold; None while that of a large snapshot is being counted. Raises ExportError, SnapshotError."""
        if not _large(snapshot) or format not in FORMATS:
            return await asyncio.to_thread(plan, snapshot, format, options)
        read_options(FORMATS[format], options)  # what is wrong with them is said at once
        key = json.dumps([snapshot.snapshot_id, snapshot.info.sha256, format, options], sort_keys=True)
        if key in self._done:
            return self._done[key]
        self._asked[key] = time.monotonic()
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._count(key, snapshot, format, dict(options)))
        await asyncio.wait([task], timeout=PATIENCE_S)
        if task.done():
            task.result()  # raises what went wrong
        return self._done.get(key)

    async def write(self, snapshot: Snapshot, format: str, folder: Path, options: Mapping[str, Any]) -> ExportReport:
        """Raises ExportError, SnapshotError."""
        if not _large(snapshot):
            return await asyncio.to_thread(export, snapshot, format, folder, options)
        async with self._turn:
            return await self._beside(partial(_export, *_where(snapshot), format, folder, dict(options)))

    async def _count(self, key: str, snapshot: Snapshot, format: str, options: dict[str, Any]) -> None:
        try:
            async with self._turn:
                if time.monotonic() - self._asked[key] > FORGOTTEN_S:
                    return
                self._done[key] = await self._beside(partial(_plan, *_where(snapshot), format, options))
                while len(self._done) > KEPT:
                    del self._done[next(iter(self._done))]
        finally:
            del self._running[key], self._asked[key]

    async def _beside(self, work: Callable[[], T]) -> T:
        try:
            return await self._process.run(work)
        except BrokenProcessPool:
            raise ExportError(
                "The export was ended from outside, most likely for want of memory; try again when there is more."
            ) from None

    async def close(self) -> None:
        """What is being counted is given up."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._process.end()


def _large(snapshot: Snapshot) -> bool:
    return snapshot.data_path.stat().st_size > LARGE_BYTES


def _where(snapshot: Snapshot) -> tuple[Path, str]:
    return snapshot.folder.parent, snapshot.snapshot_id


def _plan(root: Path, snapshot_id: str, format: str, options: dict[str, Any]) -> Plan:
    return plan(load_snapshot(root, snapshot_id), format, options)


def _export(root: Path, snapshot_id: str, format: str, folder: Path, options: dict[str, Any]) -> ExportReport:
    return export(load_snapshot(root, snapshot_id), format, folder, options)
