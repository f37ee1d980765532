"""From a checkpoint to the single ratings behind it, and back from any of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.errors import StoreError
from storage.exports import export
from storage.lineage import lineage
from storage.snapshots import freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import make_trace, rate
from training.jobs import create_job


def test_lineage_is_walked_both_ways(store: Store, tmp_path: Path) -> None:
    data = tmp_path / "data"
    trace = make_trace((None, 0, 0))
    hand = rate(store, trace, "ann", [1, -1, None], verdict=-1)
    rate(store, make_trace(prompt="another"), "bob", [1])
    info = freeze(store, data / "snapshots", {"raters": ["ann"]}, name="mine")
    export(
        load_snapshot(data / "snapshots", info.snapshot_id),
        "stepwise",
        data / "exports" / info.snapshot_id / "stepwise",
    )
    job = create_job(data, "prm", info.snapshot_id, ["epochs=1"])
    changed = hand.step(1, 1)  # after the snapshot: in the trace's ratings, not in the snapshot's
    hand.submit()

    down = lineage(store, data, str(job / "model"))
    assert (down.node.kind, down.node.id) == ("job", job.name)
    assert [node.kind for node in down.made_from] == ["snapshot", "assignment"]
    assert down.made_from[0].facts["data"] == "the data it was trained on"
    snapshot = lineage(store, data, down.made_from[0].id)
    assert [node.kind for node in snapshot.became] == ["export", "job"]
    assert [node.facts["rater"] for node in snapshot.made_from] == ["ann"]

    work = lineage(store, data, down.made_from[1].id)
    assert [node.title for node in work.made_from] == [
        "step 1: correctness +1",
        "step 2: correctness +1",
        "trace: verdict -1",
    ]
    assert [node.kind for node in work.became] == ["snapshot", "export", "job"]
    first = lineage(store, data, work.made_from[0].id)
    assert [node.id for node in first.became] == [node.id for node in work.became]
    assert first.made_from[0].id == hand.assignment.assignment_id
    assert lineage(store, data, changed.event_id).became == [], "it was said after the snapshot was frozen"

    whole = lineage(store, data, trace.trace_id)
    assert [node.kind for node in whole.made_from] == ["assignment", *["rating"] * 3]
    assert [node.kind for node in whole.became] == ["snapshot", "export", "job"]
    json.dumps(whole.to_json())

    table = info.folder / "data.parquet"
    table.write_bytes(table.read_bytes() + b"x")
    assert "was changed after it was frozen" in lineage(store, data, job.name).made_from[0].title
    for name in ("nothing", "../../etc/passwd", "", "x' or 1=1 --"):
        with pytest.raises(StoreError, match="There is no job, snapshot"):
            lineage(store, data, name)


def test_what_something_was_made_from_is_read_page_by_page(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.lineage.MOST_SHOWN", 2)
    data = tmp_path / "data"
    raters = ["ann", "bob", "cid", "dan", "eve"]
    for rater in raters:
        rate(store, make_trace(prompt=f"for {rater}"), rater, [1])
    info = freeze(store, data / "snapshots")
    job = create_job(data, "prm", info.snapshot_id, ["epochs=1"]).name
    for what in (info.snapshot_id, job):
        found, n = list(lineage(store, data, what).made_from), lineage(store, data, what).n_made_from
        while len(found) < n:
            page = lineage(store, data, what, len(found)).made_from
            assert 0 < len(page) <= 2
            found += page
        assert [node.facts["rater"] for node in found if node.kind == "assignment"] == raters
        assert [node.kind for node in found].count("snapshot") == (what == job)
    assert lineage(store, data, info.snapshot_id, 99).made_from == []
