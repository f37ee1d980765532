"""Exports of a large snapshot: counted and written in a process beside the server, counted once, never waited for."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from app import exporting
from app.api.exports import formats
from app.exporting import Exports
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

    monkeypatch.setattr(exporting, "_beside", counted)
    monkeypatch.setattr(exporting, "FORGOTTEN_S", 0.05)
    exports = Exports()
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
    assert await exports.plan(large, "prm800k", {}) is None
    began = time.perf_counter()
    await exports.close()
    assert time.perf_counter() - began < 5 and not exports._running


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
