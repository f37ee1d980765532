"""Queues over HTTP: settings in sentences, guidelines in versions, work fetched ahead, what a blind queue hides."""

from __future__ import annotations

import asyncio

import pytest

from tests.app.conftest import Opened
from tests.app.test_rating import event
from tests.storage.helpers import make_trace

pytestmark = pytest.mark.anyio


async def test_a_queue_from_its_making_to_its_last_item(workbench: Opened) -> None:
    async with workbench() as bench:
        ids = {await bench.finished() for _ in range(2)}
        made = await bench.post(
            "/api/queues", json={"title": "First pass", "overlap": 1, "config": {"reference": "after"}}
        )
        assert made.status_code == 201, made.text
        queue = made.json()["queue_id"]
        where = f"/api/queues/{queue}"
        assert (await bench.get(where + "/guidelines")).json()["version"] == 1
        wish = {"queue": queue, "rater": "ann"}
        now = (await bench.post("/api/assignments/next", json=wish)).json()
        ahead = (await bench.post("/api/assignments/next", json={**wish, "prefetch": True})).json()
        assert {now["assignment"]["trace_id"], ahead["assignment"]["trace_id"]} == ids
        assert (now["progress"]["submitted"], now["progress"]["remaining"], ahead["assignment"]["status"]) == (
            0,
            2,
            "offered",
        )
        # Blind, and the reference only afterwards: the answer of the server holds neither.
        trace = now["trace"]
        assert (trace["model"], trace["sampling"], trace["stats"], trace["solved"]) == ("", {}, {}, None)
        reference = f"/api/problems/{trace['problem_id']}/reference"
        assert (await bench.put(reference, json={"answer": "It is 24."})).status_code == 200
        path = f"/api/assignments/{now['assignment']['assignment_id']}"
        assert (await bench.get(path)).json()["reference"] == {"policy": "after", "known": True, "text": None}
        # Another version of the guidelines: the work in hand keeps the old one.
        new = await bench.post(where + "/guidelines", json={"guidelines": "# New", "error_types": ["slip"]})
        assert (new.status_code, new.json()["version"]) == (201, 2)
        assert (await bench.get(path)).json()["rubric"]["version"] == 1
        assert [v["version"] for v in (await bench.get(where + "/guidelines/versions")).json()] == [2, 1]
        leases = (await bench.get(where + "/progress")).json()["leases"]
        assert [(lease["rater_id"], lease["ahead"]) for lease in leases] == [("ann", False), ("ann", True)]
        done = event(now, 0, action="submit", target="trace", step_idx=None)
        assert (await bench.post("/api/ratings", json={"events": [done]})).json()["rejected"] == []
        after = (await bench.get(path)).json()
        assert (after["reference"]["text"], after["trace"]["model"]) == ("It is 24.", bench.engine.model)
        begin = f"/api/assignments/{ahead['assignment']['assignment_id']}/begin"
        assert (await bench.post(begin, json={"rater": "bob"})).status_code == 403
        assert (await bench.post(begin, json={"rater": "ann"})).json()["status"] == "leased"
        release = begin.replace("/begin", "/release")
        assert [(await bench.post(release)).json()["released"] for _ in range(2)] == [True, False]
        bob = (await bench.post("/api/assignments/next", json={"queue": queue, "rater": "bob"})).json()
        assert bob["assignment"]["trace_id"] == ahead["assignment"]["trace_id"]
        last = (await bench.get("/api/assignments?rater=ann")).json()
        assert [(line["trace_id"], line["status"]) for line in last] == [(now["assignment"]["trace_id"], "submitted")]
        nothing = (await bench.post("/api/assignments/next", json={"queue": queue, "rater": "eve"})).json()
        assert "Nothing is left for you in the queue “First pass”" in nothing["reason"]
        assert (await bench.patch(where, json={"archived": True})).json()["archived"] is True
        assert (
            "is closed"
            in (await bench.post("/api/assignments/next", json={"queue": queue, "rater": "eve"})).json()["reason"]
        )
        assert queue not in [q["queue_id"] for q in (await bench.get("/api/queues")).json()]


async def test_what_cannot_be_is_refused_in_a_sentence(workbench: Opened) -> None:
    async with workbench() as bench:
        for method, path, body, status, words in (
            ("post", "/api/queues", {"title": "x", "sampling": "magic"}, 422, "\"sampling\" is 'magic'"),
            ("post", "/api/queues", {"title": "x", "config": {"strata": ["age"]}}, 422, '"strata"'),
            ("post", "/api/queues", {"title": ""}, 422, '"title"'),
            ("patch", "/api/queues/default", {"title": None}, 422, '"title" is null'),
            ("patch", "/api/queues/default", {"overlap": 0}, 422, '"overlap" is 0'),
            ("patch", "/api/queues/nowhere", {}, 404, "no queue"),
            ("post", "/api/queues/default/guidelines", {"guidelines": " "}, 422, '"guidelines"'),
            (
                "post",
                "/api/queues/default/guidelines",
                {"guidelines": "x", "criteria": [{"a": "b"}]},
                422,
                '"criteria"',
            ),
            ("put", "/api/problems/nowhere/reference", {"answer": "1"}, 404, "no problem"),
            ("post", "/api/assignments/next", {"queue": "'; drop table queue; --"}, 404, "no queue"),
            ("post", "/api/assignments/nowhere/begin", {}, 404, "no assignment"),
        ):
            answer = await bench.request(method.upper(), path, json=body)
            assert (answer.status_code, words in answer.json()["error"]) == (status, True), (path, answer.text)
        assert len((await bench.get("/api/queues")).json()) == 1, "a queue that was refused left nothing behind"
        assert (await bench.get("/api/queues/default/guidelines?version=7")).status_code == 404
        assert "convincing_wrong" in [s["name"] for s in (await bench.get("/api/sampling")).json()]


async def test_single_traces_are_not_opened_in_queues_of_pairs_or_closed_ones(workbench: Opened) -> None:
    async with workbench() as bench:
        trace_id = await bench.finished()
        pairs = (await bench.post("/api/queues", json={"title": "Pairs", "unit": "pair"})).json()["queue_id"]
        closed = (await bench.post("/api/queues", json={"title": "Over", "archived": True})).json()["queue_id"]
        for queue, status, words in ((pairs, 422, "is a queue of pairs"), (closed, 409, "is closed")):
            answer = await bench.post("/api/assignments", json={"trace_id": trace_id, "queue": queue})
            assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


async def test_a_blind_queue_does_not_tell_the_model_by_its_error(workbench: Opened) -> None:
    async with workbench() as bench:
        broken = make_trace((None, 0), finish_reason="error", error="The model Qwen/Qwen3-8B failed: no memory")
        await asyncio.wrap_future(bench.services.store.add_trace(broken))
        answer = await bench.post("/api/assignments/next", json={"rater": "ann"})
        assert answer.json()["trace"]["trace_id"] == broken.trace_id
        assert "Qwen" not in answer.text
