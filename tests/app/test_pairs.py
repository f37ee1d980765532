"""Comparing over HTTP: blind until it is submitted, sides swapped between raters, refusals in sentences."""

from __future__ import annotations

import uuid
from typing import Any, get_args

import pytest

from app.api.pairs import MakeIn
from storage.pairing import BY_HAND, POLICIES
from tests.app.client import Bench
from tests.app.conftest import Opened
from tests.storage.helpers import make_trace

pytestmark = pytest.mark.anyio

NAMED = "I am DeepSeek-R1, and 2 + 2 = 4"


async def _stored(bench: Bench) -> list[str]:
    """Two traces of one question that begin alike; each tells its model in its second step."""
    one = make_trace((None, 0), names=["alike", NAMED], model="deepseek/r1", solved=True)
    other = make_trace((None, 0, 1), names=["alike", "I am Claude", "end"], model="claude-3", solved=False)
    for trace in (one, other):
        await _wait(bench.services.store.add_trace(trace))
    return [one.trace_id, other.trace_id]


async def _wait(future: Any) -> Any:
    import asyncio

    return await asyncio.wrap_future(future)


def _event(work: dict[str, Any], seq: int, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()), "assignment_id": work["assignment"]["assignment_id"],
        "rater_id": work["assignment"]["rater_id"], "seq": seq, **fields,
    }  # fmt: skip


async def test_two_raters_compare_a_pair_blind(workbench: Opened) -> None:
    async with workbench() as bench:
        better, _ = await _stored(bench)
        asked = {"policy": "outcome"}
        counted = (await bench.post("/api/pairs", json={**asked, "dry_run": True})).json()
        assert counted == {"found": 1, "new": 1, "sharing": 1}
        assert not [q for q in (await bench.get("/api/queues")).json() if q["unit"] == "pair"], (
            "counting makes no queue"
        )
        assert (await bench.post("/api/pairs", json=asked)).json() == counted
        assert (await bench.post("/api/pairs", json=asked)).json()["new"] == 0
        sides = []
        for rater in ("anna", "ben"):
            answer = await bench.post("/api/pairs/next", json={"rater": rater})
            work = answer.json()
            sides.append(work["assignment"]["swapped"])
            assert work["shared_steps"] == 1
            assert [c["name"] for c in work["criteria"]] == ["correct", "search", "clear"]
            # Nothing in the whole answer says whose the two are.
            lowered = answer.text.lower()
            for word in ("deepseek", "claude", '"solved"', '"model"', "trace_id", '"response"'):
                assert word not in lowered
            assert sorted(side["n_hidden"] for side in work["sides"]) == [2, 2]  # in the name and in the thought
            assert work["assignment"]["assignment_id"] not in ("", None)
            refused = await bench.get(f"/api/assignments/{work['assignment']['assignment_id']}")
            assert refused.status_code == 409
            assert "Compare" in refused.json()["error"]
            # The one that came to 4 is better, wherever it stands: −2 for the left of the screen, 2 for the right.
            left_is_right = len(work["sides"][0]["steps"]) == 2
            shown = -2 if left_is_right else 2
            value = -shown if work["assignment"]["swapped"] else shown
            astray = _event(work, 1, action="set", target="step", step_idx=0, dimension="correctness", value=1)
            (refusal,) = (await bench.post("/api/ratings", json={"events": [astray]})).json()["rejected"]
            assert '"target" must be "pair"' in refusal["error"]
            events = [
                _event(work, 1, action="set", target="pair", dimension="preference", value=value),
                _event(work, 2, action="set", target="pair", dimension="preference.clear", value=0),
                _event(work, 3, action="submit"),
            ]
            assert len((await bench.post("/api/ratings", json={"events": events})).json()["committed"]) == 3
            told = (await bench.get(f"/api/pairs/assignments/{work['assignment']['assignment_id']}")).json()
            assert {side["model"] for side in told["sides"]} == {"deepseek/r1", "claude-3"}
            assert {words for side in told["sides"] for words in side["hidden"]} == {"DeepSeek-R1", "Claude"}
            assert told["names_seen"]
        assert sides[0] != sides[1]
        assert (await bench.post("/api/pairs/next", json={"rater": "ben"})).json()["assignment"] is None
        (line,) = (await bench.get("/api/pairs")).json()["pairs"]
        assert line["verdict"]["outcome"] in ("left", "right")
        assert line["verdict"]["chosen_trace_id"] == better
        assert (line["verdict"]["n_votes"], line["verdict"]["strength"], line["verdict"]["agreement"]) == (2, 2.0, 1.0)
        bias = (await bench.get("/api/pairs/position-bias")).json()
        assert (bias["n"], bias["left"], bias["p_left"]) == (2, 1, 0.5)


async def test_a_pair_fetched_ahead_is_held_until_it_is_shown(workbench: Opened) -> None:
    async with workbench() as bench:
        a, b = await _stored(bench)
        third = make_trace((None,), names=["third"])
        await _wait(bench.services.store.add_trace(third))
        asked = {"policy": "by_hand", "pairs": [[a, b], [third.trace_id, b]]}
        assert (await bench.post("/api/pairs", json=asked)).json()["new"] == 2
        (queue,) = (await bench.get("/api/pairs/queues")).json()
        assert (queue["queue_id"], queue["remaining"]) == ("pairs", 2)
        now = (await bench.post("/api/pairs/next")).json()
        ahead = (await bench.post("/api/pairs/next", json={"ahead": True})).json()
        assert ahead["assignment"]["pair_id"] != now["assignment"]["pair_id"]
        path = f"/api/pairs/assignments/{ahead['assignment']['assignment_id']}"
        assert (await bench.get(path)).json()["assignment"]["status"] == "offered"
        assert (await bench.post(f"{path}/begin")).json() == {"held": True}
        assert (await bench.get(path)).json()["assignment"]["status"] == "leased"


async def test_refusals_are_sentences(workbench: Opened) -> None:
    assert set(get_args(MakeIn.model_fields["policy"].annotation)) == {BY_HAND, *POLICIES}
    async with workbench() as bench:
        a, _ = await _stored(bench)
        for body, status, words in [
            ({"policy": "by_hand"}, 422, '"pairs" lists'),
            ({"policy": "any", "pairs": [[a, a]]}, 422, '"pairs" lists'),
            ({"policy": "by_hand", "pairs": [[a, a]]}, 422, "a pair needs two"),
            ({"policy": "by_hand", "pairs": [[a, "'; drop table pair; --"]]}, 422, "which there is not"),
            ({"policy": "any", "queue_id": "default"}, 422, "a queue of single traces"),
            ({"policy": "any", "queue_id": "nowhere"}, 404, "There is no queue"),
            ({"policy": "best"}, 422, '"policy" is'),
            ({"policy": "any", "most_a_problem": 0}, 422, "at least 1"),
        ]:
            answer = await bench.post("/api/pairs", json=body)
            assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
        for path in ("/api/pairs/assignments/nothing", "/api/pairs?queue_id=nothing"):
            assert (await bench.get(path)).status_code == 404
        assert (await bench.post("/api/pairs/next", json={"queue_id": "default"})).status_code == 422


async def test_who_is_right_is_told_when_the_reference_is_and_a_closed_queue_says_so(workbench: Opened) -> None:
    async with workbench() as bench:
        await _stored(bench)
        settings = {"title": "Open", "unit": "pair", "blind": False, "config": {"reference": "after"}}
        queue = (await bench.post("/api/queues", json=settings)).json()["queue_id"]
        assert (await bench.post("/api/pairs", json={"policy": "any", "queue_id": queue})).json()["new"] == 1
        asked = {"queue_id": queue, "rater": "ann"}
        work = (await bench.post("/api/pairs/next", json=asked)).json()
        path = f"/api/pairs/assignments/{work['assignment']['assignment_id']}"
        assert {side["model"] for side in work["sides"]} == {"deepseek/r1", "claude-3"}
        assert not any("solved" in side for side in work["sides"])
        await bench.patch(f"/api/queues/{queue}", json={"config": {"reference": "shown"}})
        assert {side["solved"] for side in (await bench.get(path)).json()["sides"]} == {True, False}
        await bench.patch(f"/api/queues/{queue}", json={"config": {"reference": "hidden"}, "archived": True})
        await bench.post("/api/ratings", json={"events": [_event(work, 1, action="submit")]})
        assert {side["solved"] for side in (await bench.get(path)).json()["sides"]} == {True, False}
        closed = await bench.post("/api/pairs/next", json=asked)
        assert (closed.status_code, closed.json()["reason"]) == (200, "The queue “Open” is closed; choose another.")
