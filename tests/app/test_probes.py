"""A probe through the API: started, watched, stopped, refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.app.conftest import Opened
from tests.app.scripted import ScriptedEngine

pytestmark = pytest.mark.anyio


async def ended(bench: Any, probe_id: str) -> dict[str, Any]:
    for _ in range(400):
        found = (await bench.get(f"/api/probes/{probe_id}")).json()
        if found["state"] != "running":
            return dict(found)
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not end: {found}")


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


async def test_one_at_a_time_and_what_was_measured_outlives_the_stop(workbench: Opened) -> None:
    async with workbench(ScriptedEngine(gated=True)) as bench:
        asked = {"model": "scripted", "questions": ["Question 1?"]}
        first = (await bench.post("/api/probes", json=asked)).json()["probe_id"]
        second = await bench.post("/api/probes", json=asked)
        assert second.status_code == 409
        assert "would measure each other" in second.json()["error"]
        assert (await bench.post(f"/api/probes/{first}/stop")).json()["state"] == "stopped"
        assert (await bench.post("/api/probes", json=asked)).status_code == 202


async def test_a_model_that_fails_is_a_sentence(workbench: Opened) -> None:
    async with workbench(ScriptedEngine(fail_after=1)) as bench:
        begun = await bench.post("/api/probes", json={"model": "scripted", "questions": ["Question 1?"]})
        found = await ended(bench, begun.json()["probe_id"])
        assert (found["state"], found["error"]) == ("failed", "The scripted engine was told to fail.")


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
