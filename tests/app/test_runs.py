"""Runs over HTTP: followed, dropped, resumed, watched by two, stopped, limited, failed."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.replay import missing_events
from core.trace import Trace
from tests.app.client import check_whole, texts, texts_of
from tests.app.conftest import Opened
from tests.app.scripted import WALK, ScriptedEngine

pytestmark = pytest.mark.anyio


async def test_what_is_watched_is_what_is_stored(workbench: Opened) -> None:
    async with workbench() as bench:
        run_id = await bench.ask()
        events = await bench.events(run_id)
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        check_whole(events, trace)
        assert trace["response"] == WALK.response
        assert trace["solved"] is True
        assert events[0]["run_id"] == run_id
        assert len(trace["layout"]["places"]) == len(trace["steps"])
        assert (await bench.get(f"/api/runs/{run_id}")).json()["finish_reason"] == "stop"


async def test_a_step_that_has_closed_gets_no_further_text(workbench: Opened) -> None:
    """A free-form step's name comes with its close; told once more at the end, it stood twice on the page."""
    text = (
        "<think>Let me try 4 times 6. That is 24.\n\nWait, let me check: 4 times 6 is 24, so it holds.</think>It is 24."
    )
    async with workbench(ScriptedEngine(text)) as bench:
        run_id = await bench.ask()
        closed: dict[int, str] = {}
        for event in await bench.events(run_id):
            if event["type"] == "step_close":
                closed[event["step"]["index"]] = event["step"]["name"]
            elif event["type"] == "step_delta":
                assert event["index"] not in closed, event
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        assert closed == {s["index"]: s["name"] for s in trace["steps"]} and all(closed.values())


async def test_the_trace_is_stored_before_done_is_shown(workbench: Opened) -> None:
    async with workbench() as bench:
        run_id = await bench.ask()
        async with bench.watch(run_id) as stream:
            async for event in stream:
                if event["type"] == "done":
                    assert bench.services.store.trace(run_id) is not None


async def test_reload_in_the_middle_gives_the_same_steps_none_missing_none_twice(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        run_id = await bench.ask()
        seen: list[dict] = []
        # Hang up again and again, at growing distances, and come back with the number of the last event.
        for round_number in range(12):
            engine.release(20 + 3 * round_number)
            async with bench.watch(run_id, after=seen[-1]["seq"] if seen else None) as stream:
                wanted = 1 + round_number % 4
                async for event in stream:
                    seen.append(event)
                    wanted -= 1
                    if not wanted:
                        break
        engine.release(10_000)
        seen += await bench.events(run_id, after=seen[-1]["seq"])
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        check_whole(seen, trace)
        assert trace["finish_reason"] == "stop"


async def test_the_browsers_header_resumes_as_well_as_the_parameter(workbench: Opened) -> None:
    async with workbench() as bench:
        run_id = await bench.finished()
        whole = await bench.events(run_id)
        middle = whole[len(whole) // 2]["seq"]
        async with bench.watch(run_id, after=2, last_event_id=middle) as stream:
            assert [e async for e in stream] == [e for e in whole if e["seq"] > middle]
        answer = await bench.get(f"/api/runs/{run_id}/events?after={whole[-1]['seq']}")
        assert answer.status_code == 204


async def test_two_viewers_see_the_same_and_a_dropped_one_disturbs_nobody(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        run_id = await bench.ask()

        async def leave_early() -> int:
            async with bench.watch(run_id) as stream:
                count = 0
                async for _ in stream:
                    count += 1
                    if count == 3:
                        return count
            return count

        early = asyncio.create_task(leave_early())
        first = asyncio.create_task(bench.events(run_id))
        engine.release(100)
        assert await early == 3
        second = asyncio.create_task(bench.events(run_id))
        engine.release(10_000)
        one, two = await asyncio.gather(first, second)
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        check_whole(one, trace)
        check_whole(two, trace)
        assert engine.closed_streams == 1


async def test_a_viewer_sees_steps_while_they_are_made(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        run_id = await bench.ask()
        async with bench.watch(run_id) as stream:
            engine.release(60)
            async for event in stream:
                if event["type"] == "step_delta":
                    break
            assert (await bench.get(f"/api/runs/{run_id}")).json()["state"] == "running"
            assert (await bench.get(f"/api/traces/{run_id}")).status_code == 409
        engine.release(10_000)
        await bench.events(run_id)


async def test_stop_keeps_what_there_is(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        run_id = await bench.ask()
        engine.release(90)
        async with bench.watch(run_id) as stream:
            async for event in stream:
                if event["type"] == "step_close":
                    break
        assert (await bench.post(f"/api/runs/{run_id}/stop")).json() == {"state": "done"}
        assert (await bench.post(f"/api/runs/{run_id}/stop")).json() == {"state": "done"}
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        assert trace["finish_reason"] == "cancelled"
        assert WALK.response.startswith(trace["response"])
        assert trace["steps"]
        check_whole(await bench.events(run_id), trace)
        assert engine.closed_streams == 1


async def test_an_engine_that_fails_leaves_a_trace_and_a_sentence(workbench: Opened) -> None:
    engine = ScriptedEngine(fail_after=80)
    async with workbench(engine) as bench:
        run_id = await bench.finished()
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        assert trace["finish_reason"] == "error"
        assert trace["error"] == "The scripted engine was told to fail."
        assert trace["steps"]
        check_whole(await bench.events(run_id), trace)


async def test_an_engine_with_a_bug_does_not_take_the_run_with_it(workbench: Opened) -> None:
    async with workbench(ScriptedEngine(fail_after=80, error=ZeroDivisionError("division by zero"))) as bench:
        run_id = await bench.finished()
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        assert trace["finish_reason"] == "error"
        assert "division by zero" in trace["error"]
        assert trace["response"] == WALK.response[: 80 * 7]
        check_whole(await bench.events(run_id), trace)


async def test_a_trace_that_cannot_be_stored_is_said_and_kept_for_the_next_start(
    workbench: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import Future

    from storage.errors import StoreError

    async with workbench() as bench:
        failed: Future = Future()
        failed.set_exception(StoreError("Nothing was saved: the disk is full."))
        monkeypatch.setattr(bench.services.store, "add_trace", lambda trace, source="run": failed)
        run_id = await bench.ask()
        events = await bench.events(run_id)
        assert "the disk is full" in events[-1]["error"]
        monkeypatch.undo()
    async with workbench() as bench:
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        assert trace["response"] == WALK.response
        assert trace["finish_reason"] == "stop"


async def test_text_without_any_step_is_kept_whole(workbench: Opened) -> None:
    async with workbench(ScriptedEngine("Just <b>talking</b> ${7*7} \\frac{1}{2}, no steps at all.")) as bench:
        run_id = await bench.finished()
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        assert trace["format"] == "plain"
        assert trace["response"] == "Just <b>talking</b> ${7*7} \\frac{1}{2}, no steps at all."
        check_whole(await bench.events(run_id), trace)


async def test_more_runs_than_the_server_takes_are_refused_with_a_sentence(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine, max_running=2) as bench:
        ids = [await bench.ask(), await bench.ask()]
        refused = await bench.post("/api/runs", json={"prompt": WALK.prompt, "model": "scripted"})
        assert refused.status_code == 429
        assert "2 runs are already under way" in refused.json()["error"]
        engine.release(10_000)
        for run_id in ids:
            await bench.events(run_id)
        await bench.finished()


async def test_the_list_of_runs_is_newest_first_and_survives_a_restart(workbench: Opened) -> None:
    async with workbench() as bench:
        first, second = await bench.finished(), await bench.finished()
        before = (await bench.get("/api/runs")).json()
        assert [row["run_id"] for row in before] == [second, first]
    async with workbench() as bench:
        after = (await bench.get("/api/runs")).json()
        assert [(r["run_id"], r["steps"], r["backtracks"], r["state"]) for r in after] == [
            (r["run_id"], r["steps"], r["backtracks"], "done") for r in before
        ]
        assert (await bench.get(f"/api/runs/{first}")).json()["state"] == "done"
        assert (await bench.post(f"/api/runs/{first}/stop")).json() == {"state": "done"}


async def test_an_old_run_replays_with_the_same_numbers_after_a_restart(workbench: Opened) -> None:
    async with workbench() as bench:
        run_id = await bench.finished()
        before = await bench.events(run_id)
    async with workbench() as bench:
        assert await bench.events(run_id) == before
        assert await bench.events(run_id, after=before[5]["seq"]) == before[6:]


async def test_an_imported_trace_can_be_replayed_like_a_run(workbench: Opened) -> None:
    async with workbench() as bench:
        row = {"prompt": WALK.prompt, "response": WALK.response}
        added = (await bench.post("/api/traces", json=row)).json()
        trace = (await bench.get(f"/api/traces/{added['trace_ids'][0]}")).json()
        check_whole(await bench.events(trace["trace_id"]), trace)


async def test_sampling_and_bounds_reach_the_engine(workbench: Opened) -> None:
    engine = ScriptedEngine()
    async with workbench(engine) as bench:
        await bench.finished(temperature=0.5, top_p=0.9, seed=3, max_tokens=400, min_steps=2, max_steps=9)
        (asked,) = engine.asked
        assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.seed) == (0.5, 0.9, 3)
        assert (asked.sampling.max_tokens, asked.bounds.min_steps, asked.bounds.max_steps) == (400, 2, 9)


async def test_unknown_runs_are_404(workbench: Opened) -> None:
    async with workbench() as bench:
        for path in ("/api/runs/nope", "/api/runs/nope/events", "/api/runs/..%2F..%2Fowner/events"):
            answer = await bench.get(path)
            assert answer.status_code == 404
            assert set(answer.json()) == {"error"}
        assert (await bench.post("/api/runs/nope/stop")).status_code == 404


def _run_events() -> tuple[list[dict], Trace]:
    from core.run import TraceReader
    from core.trace import Problem

    reader = TraceReader(Problem.ask(WALK.prompt), "m")
    events = [{"type": "start"}]
    for at in range(0, len(WALK.response), 5):
        events += reader.feed(WALK.response[at : at + 5])
    events += reader.close()
    return events, reader.trace("stop", sampling={}, stats={})


EVENTS, TRACE = _run_events()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.integers(0, len(EVENTS)))
def test_wherever_a_run_was_cut_the_rest_of_its_events_completes_the_trace(cut: int) -> None:
    shown = EVENTS[:cut]
    events = [{"seq": i, **e} for i, e in enumerate([*shown, *missing_events(TRACE, shown)])]
    check_whole(events, TRACE.to_json())
    assert texts(events) == texts_of(TRACE.to_json())
