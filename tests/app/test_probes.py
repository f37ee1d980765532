"""A probe through the API: started, watched, stopped, kept, deleted, refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.models import Models
from app.probes import Probes
from tests.app.conftest import Opened
from tests.app.people import door
from tests.app.scripted import ScriptedEngine


async def ended(bench: Any, probe_id: str) -> dict[str, Any]:
    for _ in range(400):
        found = (await bench.get(f"/api/probes/{probe_id}")).json()
        if found["state"] != "running":
            return dict(found)
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not end: {found}")


@pytest.mark.anyio
async def test_a_probe_asks_and_says_what_it_found(workbench: Opened) -> None:
    async with workbench() as bench:
        asked = {"model": "scripted", "questions": [f"Question {i}?" for i in range(5)], "repeats": 2}
        begun = await bench.post("/api/probes", json=asked)
        assert begun.status_code == 202
        assert begun.json()["total"] == 10
        found = await ended(bench, begun.json()["probe_id"])
        assert found["state"] == "done"
        assert len(found["points"]) == 10
        # The script is the same whatever is asked: there is nothing to tell a slope from.
        assert found["fit"]["verdict"] == "cannot tell"
        assert "times the shortest" in found["fit"]["why"]
        assert found["fit"]["low"] is None
        assert found["svg"].startswith("<svg")


@pytest.mark.anyio
async def test_one_at_a_time_and_what_was_measured_outlives_the_stop(workbench: Opened) -> None:
    async with workbench(ScriptedEngine(gated=True)) as bench:
        asked = {"model": "scripted", "questions": ["Question 1?"]}
        first = (await bench.post("/api/probes", json=asked)).json()["probe_id"]
        second = await bench.post("/api/probes", json=asked)
        assert second.status_code == 409
        assert "would measure each other" in second.json()["error"]
        assert (await bench.post(f"/api/probes/{first}/stop")).json()["state"] == "stopped"
        assert (await bench.post("/api/probes", json=asked)).status_code == 202


@pytest.mark.anyio
async def test_a_model_that_fails_is_a_sentence(workbench: Opened) -> None:
    async with workbench(ScriptedEngine(fail_after=1)) as bench:
        begun = await bench.post("/api/probes", json={"model": "scripted", "questions": ["Question 1?"]})
        found = await ended(bench, begun.json()["probe_id"])
        assert (found["state"], found["error"]) == ("failed", "The scripted engine was told to fail.")


@pytest.mark.anyio
async def test_probes_are_listed_newest_first_and_outlive_the_server(workbench: Opened) -> None:
    asked = {"model": "scripted", "questions": [f"Question {i}?" for i in range(5)], "repeats": 2, "max_tokens": 900}
    async with workbench() as bench:
        ids = []
        for behind in ("", "best-of-n"):
            begun = await bench.post("/api/probes", json={**asked, "behind": behind})
            ids.insert(0, begun.json()["probe_id"])
            assert (await ended(bench, ids[0]))["state"] == "done"
        rows = (await bench.get("/api/probes")).json()
        assert [(r["probe_id"], r["behind"], r["done"], r["total"]) for r in rows] == [
            (ids[0], "best-of-n", 10, 10),
            (ids[1], "", 10, 10),
        ]
        assert {(r["repeats"], r["max_tokens"], r["created_by"], r["left_s"]) for r in rows} == {
            (2, 900, "local", None)
        }
        assert "points" not in rows[0] and rows[1]["fit"]["verdict"] == "cannot tell"
        before = (await bench.get(f"/api/probes/{ids[1]}")).json()
    async with workbench() as bench:
        assert (await bench.get("/api/probes")).json() == rows
        assert (await bench.get(f"/api/probes/{ids[1]}")).json() == before


@pytest.mark.anyio
async def test_what_a_dead_server_had_measured_is_fitted_by_the_next_one(workbench: Opened, tmp_path: Path) -> None:
    engine = ScriptedEngine(gated=True, size=400)
    async with workbench(engine) as bench:
        asked = {"model": "scripted", "questions": ["Question 1?", "Question 2?"], "repeats": 4}
        made = (await bench.post("/api/probes", json=asked)).json()["probe_id"]
        row: dict[str, Any] = {"done": 0}
        while row["done"] < 3:
            engine.release(5)
            await asyncio.sleep(0.01)
            row = (await bench.get("/api/probes")).json()[0]
        assert row["state"] == "running" and row["left_s"] > 0
        refused = await bench.delete(f"/api/probes/{made}")
        assert refused.status_code == 409 and "stop it before" in refused.json()["error"]
    file = tmp_path / "data" / "probes" / f"{made}.jsonl"
    text = file.read_text()
    assert '"end"' not in text
    file.write_text(text + '{"point": {"tokens": 3, "sec')  # killed while it wrote
    file.with_name("other.jsonl").write_text("[]\n")
    async with workbench() as bench:
        found = await ended(bench, made)
        assert (found["state"], found["total"]) == ("stopped", 8)
        assert "ended before it was done" in found["error"]
        assert len(found["points"]) == text.count('"point"') == found["fit"]["points"]
    async with workbench() as bench:
        assert (await bench.get(f"/api/probes/{made}")).json() == found


@pytest.mark.anyio
async def test_a_probe_is_deleted_with_its_file(workbench: Opened, tmp_path: Path) -> None:
    async with workbench() as bench:
        made = (await bench.post("/api/probes", json={"model": "scripted", "questions": ["Question 1?"]})).json()
        await ended(bench, made["probe_id"])
        there = f"/api/probes/{made['probe_id']}"
        assert [p.stem for p in (tmp_path / "data" / "probes").iterdir()] == [made["probe_id"]]
        assert (await bench.delete(there)).status_code == 204
        assert (await bench.delete(there)).status_code == (await bench.get(there)).status_code == 404
        assert list((tmp_path / "data" / "probes").iterdir()) == (await bench.get("/api/probes")).json() == []


@pytest.mark.anyio
async def test_all_answers_there_when_it_is_stopped_are_a_whole_probe(tmp_path: Path) -> None:
    """Stopped in the second that the fit takes."""
    engine = ScriptedEngine()
    probes = Probes(tmp_path)
    live = probes.start(Models(tmp_path, {"scripted": engine}).get("scripted"), ["Question 1?"], 3, 900, False, "me")
    while len(live.points) < 3:
        await asyncio.sleep(0)
    await asyncio.gather(probes.stop(), probes.stop())
    assert (live.state, live.error, live.fit is not None, live.left_s) == ("done", "", True, None)
    again = Probes(tmp_path)
    await again.open()
    (read,) = again.all()
    assert (read.state, read.points, read.fit) == ("done", live.points, live.fit)


def test_only_who_began_it_and_admins_delete(tmp_path: Path) -> None:
    with door(tmp_path / "data") as bench:
        asked = {"model": "scripted", "questions": ["Question 1?"]}

        def made(role: str) -> str:
            probe_id = str(bench.ask("POST", "/api/probes", role, json=asked).json()["probe_id"])
            assert bench.ask("POST", f"/api/probes/{probe_id}/stop", role).json()["state"] in ("stopped", "done")
            return f"/api/probes/{probe_id}"

        of_admin, of_researcher, another = made("admin"), made("researcher"), made("researcher")
        refused = bench.ask("DELETE", of_admin, "researcher")
        assert refused.status_code == 403 and "only they and admins" in refused.json()["error"]
        assert bench.ask("DELETE", of_researcher, "researcher").status_code == 204
        assert bench.ask("DELETE", another, "admin").status_code == 204
        assert bench.ask("DELETE", of_admin, "rater").status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"model": "nobody"}, 'no model "nobody"'),
        ({"model": "scripted", "questions": ["ok", " "]}, '"questions"[1] cannot be asked'),
        ({"model": "scripted", "repeats": 0}, "repeats"),
        ({"model": "scripted", "widht": 3}, "widht"),
    ],
)
async def test_bad_input_is_a_sentence(workbench: Opened, asked: dict[str, Any], says: str) -> None:
    async with workbench() as bench:
        answer = await bench.post("/api/probes", json=asked)
        assert answer.status_code == 422
        assert says in answer.json()["error"]
        assert (await bench.get("/api/probes/nothing")).status_code == 404
