"""Exports of a large snapshot: counted and written in a process beside the server, counted once, never waited for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import psutil
import pytest

from app import exporting
from app.api.exports import formats
from app.exporting import Exports
from core.workers import OneProcess
from storage.errors import ExportError, SnapshotError
from storage.exports import export, plan
from storage.snapshots import Snapshot, freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import make_trace, rate

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """A snapshot that counts as large."""
    monkeypatch.setattr(exporting, "LARGE_BYTES", 0)
    with Store.open(tmp_path / "data") as store:
        rate(store, make_trace(), "ann", [1, 1, 1])
        info = freeze(store, tmp_path / "snapshots")
    return load_snapshot(tmp_path / "snapshots", info.snapshot_id)


async def test_what_it_would_hold_is_counted_in_the_background_and_once(large: Snapshot) -> None:
    exports = Exports()
    found = await exports.plan(large, "stepwise", {})
    assert found is None, "a process takes longer to begin than anybody is made to wait"
    while (found := await exports.plan(large, "stepwise", {})) is None:
        await asyncio.sleep(0.05)
    assert found == plan(large, "stepwise", {})
    began = time.perf_counter()
    assert await exports.plan(large, "stepwise", {}) is found
    assert time.perf_counter() - began < exporting.PATIENCE_S
    with pytest.raises(ExportError, match="colour"):
        await exports.plan(large, "stepwise", {"colour": 1})
    with pytest.raises(ExportError, match="csv"):
        await exports.plan(large, "csv", {})
    await exports.close()


async def test_what_nobody_asks_for_any_more_is_not_begun(large: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []

    async def counted(work: object) -> None:
        begun.append(work)

    monkeypatch.setattr(exporting, "FORGOTTEN_S", 0.05)
    exports = Exports()
    monkeypatch.setattr(exports._process, "run", counted)
    async with exports._turn:  # something else is being counted
        assert await exports.plan(large, "stepwise", {}) is None
        await asyncio.sleep(0.1)
    await exports.close()
    assert not begun and not exports._running


async def test_it_is_written_beside_the_server_and_closing_ends_what_is_counted(
    large: Snapshot, tmp_path: Path
) -> None:
    exports = Exports()
    made = await exports.write(large, "stepwise", tmp_path / "out", {})
    here = export(large, "stepwise", tmp_path / "here")
    assert (made.rows, made.files) == (here.rows, here.files)
    assert (tmp_path / "out" / "data.jsonl").read_bytes() == (tmp_path / "here" / "data.jsonl").read_bytes()
    with pytest.raises(ExportError):  # raised in the other process, told here
        await exports.write(large, "preference", tmp_path / "none", {})
    await exports.close()
    exports = Exports()  # whose process has yet to begin
    assert await exports.plan(large, "prm800k", {}) is None
    began = time.perf_counter()
    await exports.close()
    assert time.perf_counter() - began < 5 and not exports._running


async def test_the_process_serves_what_comes_next_and_then_ends() -> None:
    process = OneProcess(0.5, {"SAID_TO_IT": "alone"})
    first = await process.run(os.getpid)
    assert await process.run(partial(os.getenv, "SAID_TO_IT")) == "alone" and "SAID_TO_IT" not in os.environ
    assert first != os.getpid() and await process.run(os.getpid) == first
    with pytest.raises(ZeroDivisionError):
        await process.run(partial(divmod, 1, 0))
    assert await process.run(os.getpid) == first, "what a work raises does not end it"
    await ended(first)
    second = await process.run(os.getpid)
    assert second != first
    with pytest.raises(BrokenProcessPool):
        await process.run(partial(os._exit, 3))
    third = await process.run(os.getpid)
    assert third not in (first, second), "the next one is another"
    waiting = asyncio.create_task(process.run(partial(time.sleep, 60)))
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await ended(third)
    fourth = await process.run(os.getpid)
    os.kill(fourth, signal.SIGKILL)  # while it waits
    await ended(fourth)
    await asyncio.sleep(0.5)
    fifth = await process.run(os.getpid)
    assert fifth != fourth, "nobody is told of it"
    process.end()
    await ended(fifth)


async def ended(pid: int) -> None:
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "a process was left behind"
        await asyncio.sleep(0.05)


def test_a_checksum_is_taken_again_once_a_file_was_touched(large: Snapshot) -> None:
    root = large.folder.parent
    load_snapshot(root, large.snapshot_id, anew=False)
    data = large.data_path
    before = data.stat()
    changed = bytearray(data.read_bytes())
    changed[len(changed) // 2] ^= 1
    data.write_bytes(changed)
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had been done to it
    with pytest.raises(SnapshotError, match="was changed"):
        load_snapshot(root, large.snapshot_id, anew=False)
    assert json.loads((large.folder / "manifest.json").read_text())["sha256"] == large.info.sha256


async def test_what_a_choice_means_is_said_of_values_that_it_may_have() -> None:
    for form in await formats():
        for option in form.options:
            if isinstance(option.default, bool):
                assert set(option.means) <= {"true", "false"}
            else:
                assert set(option.means) <= set(option.choices or [str(option.default)]), (form.format, option.name)
