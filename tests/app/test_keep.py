"""A backup and the doctor through a running workbench."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import backup
from storage.store import Store
from tests.app.conftest import Opened
from tests.storage.helpers import make_trace

pytestmark = pytest.mark.anyio


async def test_a_backup_comes_over_http_and_opens(workbench: Opened, tmp_path: Path) -> None:
    async with workbench() as bench:
        trace = make_trace()
        assert (await bench.post("/api/traces", json=[trace.to_json()])).is_success
        answer = await bench.get("/api/backup")
        assert answer.headers["content-type"] == "application/x-tar"
        report = (await bench.get("/api/doctor")).json()
        assert report["findings"] == [] and report["counts"]["trace"] == 1
        assert (await bench.post("/api/doctor/rebuild")).json()["rebuilt"] == []
    backup.write([answer.content], tmp_path / "kept")
    backup.restore(tmp_path / "kept", tmp_path / "again")
    with Store.open(tmp_path / "again") as found:
        assert found.trace(trace.trace_id) == trace
