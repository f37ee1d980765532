"""Rating over HTTP: acknowledged means committed, replays are harmless, scores stay hidden until submitted."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import Future

import pytest

from tests.app.client import Bench
from tests.app.conftest import Opened

pytestmark = pytest.mark.anyio


def event(work: dict, seq: int, **fields) -> dict:
    return {
        "event_id": str(uuid.uuid4()), "assignment_id": work["assignment"]["assignment_id"],
        "rater_id": work["assignment"]["rater_id"],
        "seq": seq, "action": "set", "target": "step", "step_idx": 0, "dimension": "correctness", "value": 1,
        "input_method": "key",
        **fields,
    }  # fmt: skip


async def take(bench: Bench, **body) -> dict:
    return (await bench.post("/api/assignments/next", json=body)).json()


async def test_there_is_a_reason_when_there_is_no_work(workbench: Opened) -> None:
    async with workbench() as bench:
        assert await take(bench) == {
            "assignment": None,
            "reason": "There is no trace to rate yet. Run one on the Solve page, or import some.",
        }
        trace_id = await bench.finished()
        work = await take(bench)
        assert work["assignment"]["trace_id"] == trace_id
        assert work["remaining"] == 1
        await bench.post(
            "/api/ratings", json={"events": [event(work, 0, action="submit", target="trace", step_idx=None)]}
        )
        assert "every trace" in (await take(bench))["reason"]


async def test_an_acknowledged_rating_is_committed_and_a_reload_shows_it(workbench: Opened) -> None:
    async with workbench() as bench:
        await bench.finished()
        work = await take(bench)
        sent = [event(work, i, step_idx=i, value=v) for i, v in enumerate((1, 0, -1))]
        sent.append(event(work, 3, step_idx=3, value=None, value_text="unsure"))
        answer = (await bench.post("/api/ratings", json={"events": sent})).json()
        assert answer == {"committed": [e["event_id"] for e in sent], "rejected": []}
        again = await take(bench)  # a reload comes back to the same assignment
        assert again["assignment"]["assignment_id"] == work["assignment"]["assignment_id"]
        assert [(r["step_idx"], r["value"], r["value_text"]) for r in again["ratings"]] == [
            (0, 1.0, None), (1, 0.0, None), (2, -1.0, None), (3, None, "unsure")
        ]  # fmt: skip
        assert again["events_seq"] == 3
        one = (await bench.get(f"/api/assignments/{work['assignment']['assignment_id']}")).json()
        assert one["ratings"] == again["ratings"]
    async with workbench() as bench:
        assert (await take(bench))["ratings"] == again["ratings"]


async def test_the_answer_waits_for_the_commit(workbench: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench() as bench:
        await bench.finished()
        work = await take(bench)
        pending: Future[list[str]] = Future()
        monkeypatch.setattr(bench.services.store, "add_rating_events", lambda events: pending)
        sent = event(work, 0)
        asked = asyncio.create_task(bench.post("/api/ratings", json={"events": [sent]}))
        await asyncio.sleep(0.2)
        assert not asked.done()
        pending.set_result([sent["event_id"]])
        assert (await asked).json()["committed"] == [sent["event_id"]]


async def test_a_commit_that_fails_is_never_acknowledged(workbench: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from storage.errors import StoreError

    async with workbench() as bench:
        await bench.finished()
        work = await take(bench)
        failed: Future[list[str]] = Future()
        failed.set_exception(StoreError("Nothing was saved: the disk is full."))
        monkeypatch.setattr(bench.services.store, "add_rating_events", lambda events: failed)
        answer = await bench.post("/api/ratings", json={"events": [event(work, 0)]})
        assert answer.status_code == 503
        assert answer.json() == {"error": "Nothing was saved: the disk is full."}


async def test_one_bad_event_is_refused_and_the_others_are_kept(workbench: Opened) -> None:
    async with workbench() as bench:
        await bench.finished()
        work = await take(bench)
        good = event(work, 0)
        bad = [
            event(work, 1, value=5), event(work, 2, step_idx=10_000), event(work, 3, assignment_id="nope"),
            event(work, 4, rater_id="somebody else"), event(work, 5, event_id="not a uuid"), "text",
        ]  # fmt: skip
        answer = (await bench.post("/api/ratings", json={"events": [bad[0], good, *bad[1:]]})).json()
        assert answer["committed"] == [good["event_id"]]
        reasons = {row["event_id"]: row["error"] for row in answer["rejected"]}
        assert len(answer["rejected"]) == len(bad)
        assert '"value" is 5' in reasons[bad[0]["event_id"]]
        assert "steps, counted from 0" in reasons[bad[1]["event_id"]]
        assert "no assignment nope" in reasons[bad[2]["event_id"]]
        assert "somebody else" in reasons[bad[3]["event_id"]]
        assert '"event_id"' in reasons["not a uuid"]
        assert None in reasons


async def test_sending_again_is_harmless_and_undo_is_an_event(workbench: Opened) -> None:
    async with workbench() as bench:
        await bench.finished()
        work = await take(bench)
        first, changed = event(work, 0), event(work, 1, value=-1)
        undo = event(work, 2, action="clear", value=None)
        for batch in ([first], [first, changed], [first]):
            answer = (await bench.post("/api/ratings", json={"events": batch})).json()
            assert answer["rejected"] == []
        assert [r["value"] for r in (await take(bench))["ratings"]] == [-1.0]
        await bench.post("/api/ratings", json={"events": [undo]})
        assert (await take(bench))["ratings"] == []
        assert bench.services.store.event_seq() == 3


async def test_twenty_clients_at_once_lose_nothing(workbench: Opened) -> None:
    async with workbench() as bench:
        await bench.finished()
        works = [await take(bench, rater=f"rater{i}") for i in range(20)]

        async def rate(work: dict) -> list[str]:
            ids = []
            for i in range(5):
                sent = event(work, i, step_idx=i)
                ids += (await bench.post("/api/ratings", json={"events": [sent]})).json()["committed"]
            return ids

        acknowledged = [i for ids in await asyncio.gather(*map(rate, works)) for i in ids]
        assert len(acknowledged) == 100
        stats = (await bench.get("/api/stats")).json()
        assert stats["ratings"] == 100
        assert len(stats["by_rater"]) == 20


async def test_scores_are_hidden_until_the_rater_has_submitted(workbench: Opened) -> None:
    async with workbench() as bench:
        trace_id = await bench.finished()
        store = bench.services.store
        trace = store.trace(trace_id)
        values = [0.25] * len(trace.steps)
        store.add_scores(trace_id, trace.segmentation_id, "prm-1", "v1", values, "min").result()
        work = await take(bench)
        assert work["assignment"]["scores_visible"] is False
        assert "scores" not in work
        chosen = (await bench.post("/api/assignments", json={"trace_id": trace_id})).json()
        assert "scores" not in chosen
        assert "0.25" not in (await bench.get(f"/api/assignments/{work['assignment']['assignment_id']}")).text
        submit = event(work, 0, action="submit", target="trace", step_idx=None, dimension="", value=None)
        await bench.post("/api/ratings", json={"events": [submit]})
        after = (await bench.get(f"/api/assignments/{work['assignment']['assignment_id']}")).json()
        assert after["assignment"]["status"] == "submitted"
        assert after["scores"][0]["values"] == values
        assert after["scores"][0]["aggregate"] == 0.25
        assert (await bench.get(f"/api/traces/{trace_id}/scores")).json() == after["scores"]


async def test_the_rater_comes_from_field_cookie_or_is_local(workbench: Opened) -> None:
    async with workbench() as bench:
        await bench.finished()
        assert (await take(bench))["assignment"]["rater_id"] == "local"
        assert (await take(bench, rater="ada"))["assignment"]["rater_id"] == "ada"
        answer = await bench.post("/api/assignments/next", headers={"cookie": "worldline_rater=bob"})
        assert answer.json()["assignment"]["rater_id"] == "bob"


async def test_a_remark_comes_back_on_a_reload_the_latest_of_each_step(workbench: Opened) -> None:
    async with workbench() as bench:
        await bench.finished()
        work = await take(bench)
        assert work["comments"] == []
        remark = {"action": "comment", "dimension": "", "value": None}
        sent = [
            event(work, 0, **remark, step_idx=1, value_text="first thought"),
            event(work, 1, **remark, step_idx=1, value_text="second <b>thought</b>"),
            event(work, 2, **remark, step_idx=2, value_text="another"),
        ]
        assert (await bench.post("/api/ratings", json={"events": sent})).json()["rejected"] == []
        assert (await take(bench))["comments"] == [
            {"step_idx": 1, "value_text": "second <b>thought</b>"},
            {"step_idx": 2, "value_text": "another"},
        ]


async def test_a_cut_outside_its_step_is_refused_in_words_and_one_inside_is_kept(workbench: Opened) -> None:
    async with workbench() as bench:
        await bench.finished()
        work = await take(bench)
        step = work["trace"]["steps"][1]
        cut = {"step_idx": 1, "dimension": "cuts", "value": None}
        sent = [
            event(work, i, **cut, value_text=str(at))
            for i, at in enumerate((step["start"], step["end"], step["start"] + 1))
        ]
        sent += [event(work, 3, step_idx=0, dimension="joined"), event(work, 4, step_idx=1, dimension="joined")]
        answer = (await bench.post("/api/ratings", json={"events": sent})).json()
        assert answer["committed"] == [sent[2]["event_id"], sent[4]["event_id"]]
        reasons = [row["error"] for row in sorted(answer["rejected"], key=lambda row: row["error"])]
        assert reasons[0].startswith('"step_idx" is 0; the first step has no step before it')
        assert all("a cut of step 1 lies inside it, from" in reason for reason in reasons[1:])
        again = (await take(bench))["ratings"]
        assert [(r["dimension"], r["value"], r["value_text"]) for r in again] == [
            ("cuts", None, str(step["start"] + 1)), ("joined", 1.0, None)
        ]  # fmt: skip


async def test_scores_may_be_seen_after_the_first_own_pass_and_stay_seen(workbench: Opened) -> None:
    async with workbench() as bench:
        trace_id = await bench.finished()
        store = bench.services.store
        trace = store.trace(trace_id)
        scores = [0.9, *[0.1] * (len(trace.steps) - 1)]
        store.add_scores(trace_id, trace.segmentation_id, "prm-1", "v1", scores, "min").result()

        async def seen(work: dict) -> dict:
            return (await bench.get(f"/api/ratings/{work['assignment']['assignment_id']}/prelabels")).json()

        work = await take(bench, rater="ada")
        passes = [event(work, i, step_idx=i) for i in range(len(trace.steps))]
        await bench.post("/api/ratings", json={"events": passes[1:]})
        assert await seen(work) == {"visible": False, "missing": 1, "scores": []}
        await bench.post("/api/ratings", json={"events": passes[:1]})
        after = await seen(work)
        assert (after["visible"], after["missing"], after["scores"][0]["values"]) == (True, 0, scores)
        # A change of mind towards the model on step 1, away from it on step 0; taking a rating back hides nothing again.
        changed = [
            event(work, 1000, step_idx=1, value=-1, prelabel_visible=True),
            event(work, 1001, step_idx=0, value=-1, prelabel_visible=True),
            event(work, 1002, step_idx=2, action="clear", value=None, prelabel_visible=True),
        ]
        await bench.post("/api/ratings", json={"events": changed})
        assert (await seen(work))["visible"] is True
        assert (await bench.get("/api/ratings/changes-of-mind")).json() == [
            {"rater_id": "ada", "judged": len(trace.steps), "changed": 2, "towards": 1, "away": 1}
        ]
        # Up to the first error is a whole pass, too: the later steps stay unrated.
        other = await take(bench, rater="bob")
        first = [event(other, 0, step_idx=0), event(other, 1, step_idx=1, value=-1)]
        await bench.post("/api/ratings", json={"events": first})
        assert (await seen(other))["visible"] is False
        await bench.post("/api/ratings", json={"events": [event(other, 2, step_idx=1, dimension="first_error")]})
        assert (await seen(other))["visible"] is True
        log = (await bench.get(f"/api/ratings/{other['assignment']['assignment_id']}/events")).json()
        assert [(e["step_idx"], e["dimension"]) for e in log][-1] == (1, "first_error")
        assert (await bench.get("/api/ratings/nobodys/events")).status_code == 404
