"""Adjudication over HTTP from dispute to snapshot; gold and pauses as a rater meets them; reports that are dated."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from storage.snapshots import freeze, load_snapshot
from tests.app.client import Bench
from tests.app.conftest import Opened
from tests.app.test_rating import event, take

pytestmark = pytest.mark.anyio


async def rated(bench: Bench, rater: str, values: tuple[float | None, ...], **asked) -> dict:
    """Take the next item as somebody, rate its first steps, submit; the work."""
    work = await take(bench, rater=rater, **asked)
    sent = [
        event(work, i, step_idx=i, value=value, value_text=None if value is not None else "unsure", dwell_ms=2000)
        for i, value in enumerate(values)
    ]
    submit = event(work, 99, action="submit", target="trace", step_idx=None, dimension="", value=None)
    answer = (await bench.post("/api/ratings", json={"events": [*sent, submit]})).json()
    assert answer["rejected"] == []
    return work


async def report(bench: Bench, name: str, **params) -> dict:
    """A report that counts all that was judged: on a busy machine the one before is shown first."""
    with anyio.fail_after(60):
        while not (found := (await bench.get(f"/api/quality/{name}", params=params)).json())["fresh"]:
            await anyio.sleep(0.2)
    return found


async def refused(answer, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.json()["error"], answer.text


async def test_a_dispute_is_decided_and_the_decision_wins_in_a_snapshot(workbench: Opened, tmp_path: Path) -> None:
    async with workbench() as bench:
        trace_id = await bench.finished()
        for rater, value in (("ada", 1), ("bob", -1), ("cyd", 1), ("dot", None)):
            await rated(bench, rater, (1, value))
        found = await report(bench, "disagreements")
        assert (found["n"], found["n_units"], found["matching"], found["fresh"]) == (1, 2, 1, True)
        (row,) = found["rows"]
        assert (row["item_id"], row["step_idx"], row["votes"], row["unsure"]) == (trace_id, 1, [1, 0, 2], 1)

        unit = {"item": trace_id, "step": 1}
        seen = await bench.get("/api/quality/disagreement", params=unit)
        assert sorted(o["rater"] for o in seen.json()["opinions"]) == ["Rater A", "Rater B", "Rater C", "Rater D"]
        assert not any(name in seen.text for name in ("ada", "bob", "cyd", "dot"))
        assert [s["step_idx"] for s in seen.json()["steps"]] == [0, 1, 2, 3]

        wish = {**unit, "value": -1, "reason": "The sum is wrong.", "guideline_gap": True}
        await refused(await bench.post("/api/quality/adjudications", json={**wish, "reason": " "}), 422, '"reason"')
        await refused(await bench.post("/api/quality/adjudications", json={**wish, "value": 5}), 422, '"value" is 5')
        await refused(await bench.post("/api/quality/adjudications", json={**wish, "step": 999}), 422, "counted from 0")
        await refused(await bench.post("/api/quality/adjudications", json={**wish, "item": "'; --"}), 422, "no trace")
        await refused(await bench.post("/api/quality/adjudications", json={**wish, "dimension": "x"}), 422, "dimension")
        assert (await bench.post("/api/quality/adjudications", json=wish)).status_code == 201

        assert (await report(bench, "disagreements"))["rows"] == []
        (settled,) = (await report(bench, "disagreements", state="settled"))["rows"]
        assert settled["decision"] == {"value": -1.0, "value_text": None}
        (gap,) = (await bench.get("/api/quality/adjudications", params={"gaps": True})).json()
        assert gap["reason"] == "The sum is wrong."
        store = bench.services.store
        frozen = load_snapshot(tmp_path, freeze(store, tmp_path).snapshot_id)
        for row in frozen.rows():
            assert row["adjudicated"] == [-1 if i == 1 else None for i in range(len(row["rating"]))]

        history = (await bench.get("/api/quality/history", params=unit)).json()
        assert [(e["rater"], e["value"], e["dwell_ms"]) for e in history if e["action"] == "set"] == [
            ("ada", 1.0, 2000), ("bob", -1.0, 2000), ("cyd", 1.0, 2000), ("dot", None, 2000)
        ]  # fmt: skip

        taken_back = {**unit, "reason": ""}
        assert (await bench.post("/api/quality/adjudications", json=taken_back)).status_code == 201
        assert len((await report(bench, "disagreements"))["rows"]) == 1
        assert len((await bench.get("/api/quality/disagreement", params=unit)).json()["decisions"]) == 2


async def test_reports_have_every_figure_or_its_sentence(workbench: Opened) -> None:
    async with workbench() as bench:
        await bench.finished()
        empty = (await report(bench, "agreement"))["judged"]
        assert all("nothing was judged by two" in empty[d]["alpha"]["sentence"] for d in empty)
        for rater, value in (("ada", 1), ("bob", -1), ("cyd", 1)):
            await rated(bench, rater, (1, value, value))
        found = await report(bench, "agreement")
        steps = found["judged"]["correctness"]
        assert (steps["n_units"], steps["n_ratings"], steps["n_traces"]) == (3, 9, 1)
        assert steps["percent"]["value"] == pytest.approx(100 * (1 + 1 / 3 + 1 / 3) / 3)
        assert "there is one" in steps["percent"]["sentence"]
        assert len(steps["pairwise"]) == 3
        assert found["first_errors"]["n_pairs"] == 3
        rows = {r["rater_id"]: r for r in (await report(bench, "raters"))["rows"]}
        assert (rows["ada"]["steps"], rows["ada"]["median_s"], rows["bob"]["bad_share"]) == (
            3,
            2.0,
            pytest.approx(2 / 3),
        )
        for method in ("majority", "mean"):
            assert set((await report(bench, "competence", method=method))["competence"]) == {"ada", "bob", "cyd"}
        await refused(await bench.get("/api/quality/competence", params={"method": "drop table"}), 422, '"method"')
        for route in ("agreement", "raters", "gold", "disagreements", "adjudications"):
            await refused(await bench.get(f"/api/quality/{route}", params={"queue": "' or 1=1"}), 404, "no queue")
        await refused(await bench.get("/api/quality/disagreement", params={"item": "../x"}), 404, "no trace")


async def test_a_known_item_is_kept_secret_answered_for_and_can_pause(workbench: Opened) -> None:
    async with workbench() as bench:
        for _ in range(2):
            await bench.finished()
        own = await rated(bench, "boss", (1, 0, -1))
        mine = own["assignment"]["assignment_id"]
        known = {"assignment": mine, "kind": "screening", "feedback": "Step 3 adds wrongly."}
        made = await bench.post("/api/quality/gold", json=known)
        assert made.status_code == 201, made.text
        assert len(made.json()["answers"]) == 3
        await refused(await bench.post("/api/quality/gold", json={"item": "nowhere"}), 422, "no trace")
        await refused(await bench.post("/api/quality/gold", json={"assignment": "nowhere"}), 404, "no assignment")
        await bench.patch("/api/queues/default", json={"config": {"pause_below": 0.9}})

        before = await bench.post("/api/assignments/next", json={"rater": "eve"})
        assert before.json()["assignment"]["trace_id"] == own["assignment"]["trace_id"]
        assert "screening" not in before.text
        assert "adds wrongly" not in before.text
        feedback = f"/api/assignments/{before.json()['assignment']['assignment_id']}/feedback"
        await refused(await bench.get(feedback), 409, "not submitted")
        await rated(bench, "eve", (1, 1, 1))
        told = (await bench.get(feedback)).json()
        assert (told["gold"], told["right"], told["of"], told["feedback"]) == (True, 1, 3, "Step 3 adds wrongly.")
        assert (await bench.get(f"/api/assignments/{mine}/feedback")).json() == {"gold": False}

        held = await take(bench, rater="eve")
        assert held["assignment"] is None
        assert "33 % of your judgements on the screening were right" in held["reason"]
        (row,) = (r for r in (await report(bench, "raters"))["rows"] if r["rater_id"] == "eve")
        assert (row["state"], row["n_gold"]) == ("paused", 1)
        wish = {"rater": "eve", "state": "open"}
        await refused(await bench.post("/api/quality/standing", json={**wish, "rater": "nobody"}), 422, "no rater")
        assert (await bench.post("/api/quality/standing", json=wish)).status_code == 201
        assert (await take(bench, rater="eve"))["assignment"] is not None


async def test_the_preview_of_a_large_store_is_dated_and_comes_when_it_is_counted(
    workbench: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from app import quality

    async def look(**spec) -> dict:
        return (await bench.post("/api/snapshots/preview", json={"spec": spec})).json()

    async with workbench() as bench:
        await bench.finished()
        await rated(bench, "ada", (1, -1))
        monkeypatch.setattr(quality, "FIRST_PATIENCE_S", 0.0)  # as if it took seconds
        first = await look()
        assert (first["computed_at"], first["n_rows"], first["fresh"]) == ("", 0, False)
        async with asyncio.timeout(20):
            while not (shown := await look())["computed_at"]:
                await asyncio.sleep(0.02)
        assert (shown["n_rows"], shown["histogram"]["good"], shown["fresh"]) == (1, 1, True)

        monkeypatch.setattr(quality, "KEPT", 2)
        monkeypatch.setattr(quality, "FIRST_PATIENCE_S", 20.0)
        counted = [await look(min_rated_steps=least) for least in (0, 1, 3)]
        assert [c["n_rows"] for c in counted] == [1, 1, 0]
        monkeypatch.setattr(quality, "FIRST_PATIENCE_S", 0.0)
        assert (await look(min_rated_steps=3))["computed_at"]  # one of the two that are kept
        assert (await look(min_rated_steps=0))["computed_at"] == ""  # let go, and counted anew
