"""A question after a trace, over HTTP: what the model is given, what is kept, what is refused."""

from __future__ import annotations

import json

import pytest

from core.formats import steiner_tokens as t
from core.trace import Trace
from core.turns import as_summary
from tests.app.client import check_whole
from tests.app.conftest import Opened
from tests.app.scripted import WALK, ScriptedEngine

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("given_as", ["summaries", "full"])
async def test_the_model_is_given_what_came_before(workbench: Opened, given_as: str) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        second = await bench.ask("And once more?", after=first, earlier_as=given_as)
        events = await bench.events(second)
        trace = (await bench.get(f"/api/traces/{second}")).json()
        check_whole(events, trace)
        earlier = {"trace_ids": [first], "given_as": given_as}
        assert trace["earlier"] == events[0]["earlier"] == earlier
        assert Trace.from_json(trace).to_json() == {k: v for k, v in trace.items() if k != "layout"}
        stored = Trace.from_json((await bench.get(f"/api/traces/{first}")).json())
        said = WALK.response if given_as == "full" else as_summary(stored)
        assert bench.engine.asked[-1].messages == [
            {"role": "user", "content": WALK.prompt}, {"role": "assistant", "content": said},
            {"role": "user", "content": "And once more?"},
        ]  # fmt: skip
        assert trace["prompt"] == "And once more?"
        # This engine counts nothing: that is told, not guessed.
        assert trace["stats"]["saved_prompt_tokens"] is None


async def test_turns_follow_each_other(workbench: Opened) -> None:
    async with workbench() as bench:
        chain = [await bench.finished()]
        for question in ("Second?", "Third?"):
            chain.append(await bench.finished(prompt=question, after=chain[-1]))
        assert [m["content"] for m in bench.engine.asked[-1].messages[::2]] == [WALK.prompt, "Second?", "Third?"]
        turns = (await bench.get(f"/api/traces/{chain[-1]}/earlier")).json()
        assert [x["trace_id"] for x in turns] == chain[:-1]
        assert [x["prompt"] for x in turns] == [WALK.prompt, "Second?"]
        assert all(x["answer"] == WALK.answer and x["known"] and x["n_steps"] == len(WALK.steps) for x in turns)
        assert (await bench.get(f"/api/traces/{chain[0]}/earlier")).json() == []


async def test_who_comes_while_it_runs_and_after_a_restart_sees_what_came_before(workbench: Opened) -> None:
    engine = ScriptedEngine()
    async with workbench(engine) as bench:
        first = await bench.finished()
    slow = ScriptedEngine(gated=True)
    async with workbench(slow) as bench:
        second = await bench.ask("And?", after=first)
        slow.release(40)
        async with bench.watch(second) as stream:
            start = await anext(stream)
        assert start["earlier"]["trace_ids"] == [first]
        assert [x["trace_id"] for x in (await bench.get(f"/api/traces/{second}/earlier")).json()] == [first]
    async with workbench(engine) as bench:
        trace = (await bench.get(f"/api/traces/{second}")).json()
        assert (trace["finish_reason"], trace["earlier"]["trace_ids"]) == ("interrupted", [first])
        assert (await bench.events(second))[0]["earlier"] == trace["earlier"]


async def test_a_killed_server_remembers_what_came_before(workbench: Opened) -> None:
    from app import journal as journals
    from app.paths import runs_dir
    from app.runs import recovered_trace

    async with workbench() as bench:
        first = await bench.finished()
        second = await bench.finished(prompt="And?", after=first)
        path = runs_dir(bench.services.data_dir) / f"{second}.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    recorded = journals.read(path)
    assert recorded is not None
    trace = recovered_trace(recorded)
    assert trace.earlier is not None and trace.earlier.trace_ids == (first,)
    assert trace.stats["saved_prompt_tokens"] is None


async def test_a_fork_of_a_later_turn_keeps_the_earlier_ones(workbench: Opened) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        second = await bench.finished(prompt="And?", after=first, earlier_as="full")
        made = (await bench.post(f"/api/traces/{second}/forks", json={"step": 2})).json()
        await bench.events(made[0]["run_id"])
        trace = (await bench.get(f"/api/traces/{made[0]['trace_id']}")).json()
        assert trace["earlier"] == {"trace_ids": [first], "given_as": "full"}
        assert bench.engine.asked[-1].messages == bench.engine.asked[-2].messages
        assert bench.engine.asked[-1].prefix.count(t.STEP_END) == 3


async def test_what_cannot_be_asked_after_is_refused_in_a_sentence(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        running = await bench.ask()
        body = {"prompt": "And?", "model": engine.model}
        answer = await bench.post("/api/runs", json={**body, "after": running})
        assert answer.status_code == 409 and "is still going on" in answer.json()["error"]
        answer = await bench.post("/api/runs", json={**body, "after": "nothing"})
        assert answer.status_code == 404 and 'no trace "nothing"' in answer.json()["error"]
        answer = await bench.post("/api/runs", json={**body, "after": running, "earlier_as": "neither"})
        assert answer.status_code == 422 and "'summaries' or 'full'" in answer.json()["error"]
        row = {"prompt": "q", "response": "", "finish_reason": "error"}
        empty = (await bench.post("/api/traces", json=row)).json()["trace_ids"][0]
        answer = await bench.post("/api/runs", json={**body, "after": empty})
        assert answer.status_code == 422 and "has no text" in answer.json()["error"]
        engine.release(10_000)


async def test_an_imported_turn_without_its_beginning_can_be_read_but_not_gone_on_from(workbench: Opened) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        trace = (await bench.get(f"/api/traces/{first}")).json()
        row = {
            **trace,
            "trace_id": "another",
            "prompt": "And?",
            "earlier": {"trace_ids": ["gone"], "given_as": "summaries"},
        }
        answer = await bench.post("/api/imports?name=t.jsonl", content=json.dumps(row).encode())
        assert answer.json()["trace_ids"] == ["another"], answer.text
        turns = (await bench.get("/api/traces/another/earlier")).json()
        assert [(x["trace_id"], x["known"]) for x in turns] == [("gone", False)]
        body = {"prompt": "And?", "model": bench.engine.model, "after": "another"}
        for answer in (
            await bench.post("/api/runs", json=body), await bench.post("/api/traces/another/forks", json={"step": 1})
        ):  # fmt: skip
            assert answer.status_code == 422 and "trace gone is not in this data folder" in answer.json()["error"]
