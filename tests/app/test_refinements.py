"""Refinements through the API: begun, watched, stopped, stored; what fails is a sentence, and what was inferred stays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from core import refine
from core.engines.base import Chunk, EngineDown, EngineError, GenerateRequest
from core.engines.openai_api import OpenAIEngine
from core.trace import KINDS
from tests.app.client import Bench
from tests.app.conftest import Opened
from tests.app.scripted import ScriptedEngine

pytestmark = pytest.mark.anyio

TEXT = "<think>" + "\n\n".join(f"Let me try {i} as the root. That gives {i * i}." for i in range(80)) + "</think>None."


def chain(steps: range) -> str:
    """Every step derived from the one before it, but that the fifth turns back to the second."""
    rows: list[dict[str, Any]] = [{"step": i + 1, "kind": "derive", "parent": i, "backtrack": None} for i in steps]
    for row in rows:
        if row["step"] == 5:
            row |= {"kind": "backtrack", "parent": 2, "backtrack": {"resumes": 2, "replaces": 3}}
    return json.dumps({"steps": rows})


class Labeller:
    """A model that answers by a schema: `answer(steps)` gives its text or raises. gated: a window for every `release()`."""

    takes_schema = True

    def __init__(self, answer: Callable[[range], str] = chain, *, gated: bool = False, model: str = "labeller") -> None:
        self.model, self.answer = model, answer
        self.gate = asyncio.Semaphore(0) if gated else None
        self.asked: list[GenerateRequest] = []
        self.open = 0

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        self.open += 1
        try:
            yield Chunk("", 0, prompt_tokens=100, about={"server": "test", "notes": ["A note."]})
            if self.gate is not None:
                await self.gate.acquire()
            assert request.schema is not None
            numbers = request.schema["properties"]["steps"]["items"]["anyOf"][0]["properties"]["step"]
            text = self.answer(range(numbers["minimum"] - 1, numbers["maximum"]))
            yield Chunk(text[:5], 3)
            yield Chunk(text[5:], 4)
            yield Chunk("", 0, finish_reason="stop")
        finally:
            self.open -= 1

    async def close(self) -> None:
        return None


async def imported(bench: Bench) -> dict[str, Any]:
    """A trace of some forty steps of free text."""
    answer = await bench.post("/api/traces", json={"prompt": "Find the root.", "response": TEXT})
    return (await bench.get(f"/api/traces/{answer.json()['trace_ids'][0]}")).json()


async def begin(bench: Bench, trace_id: str, status: int = 201, model: str = "labeller") -> dict[str, Any]:
    answer = await bench.post(f"/api/traces/{trace_id}/refinements", json={"model": model})
    assert answer.status_code == status, answer.text
    return answer.json()


async def listed(bench: Bench, trace_id: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The newest refinement, once it is as wanted."""
    for _ in range(400):
        found = (await bench.get(f"/api/traces/{trace_id}/refinements")).json()
        if found and until(found[0]):
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError(f"it never came to that: {found}")


def ended(one: dict[str, Any]) -> bool:
    return one["state"] != "running"


async def test_a_model_labels_all_steps_in_windows_and_what_was_inferred_stays(workbench: Opened) -> None:
    engine = Labeller()
    async with workbench(engine) as bench:
        trace = await imported(bench)
        n = len(trace["steps"])
        assert n > 2 * refine.WINDOW
        begun = await begin(bench, trace["trace_id"])
        assert (begun["state"], begun["changes"]) == ("running", [])
        found = await listed(bench, trace["trace_id"], ended)
        assert (found["state"], found["error"]) == ("done", "")
        stats = found["stats"]
        assert (stats["asked"], stats["labelled"], stats["refused"], stats["missing"]) == (n, n, 0, 0)
        assert stats["calls"] == len(engine.asked) == -(-n // refine.WINDOW)
        assert (stats["prompt_tokens"], stats["generated_tokens"]) == (100 * stats["calls"], 7 * stats["calls"])
        assert (stats["notes"], stats["server"]) == (["A note."], {"server": "test"})
        assert {request.sampling.temperature for request in engine.asked} == {0.0}
        for change in found["changes"]:
            step = trace["steps"][change["index"]]
            assert change["old"] == {key: step[key] for key in change["old"]}
            assert change["fields"] == [key for key in change["old"] if change["old"][key] != change["new"][key]]
        by_index = {c["index"]: c["new"] for c in found["changes"]}
        assert by_index[4] == {"kind": "backtrack", "parent": 1, "is_backtrack": True, "resumes": 1, "replaces": 2}
        assert stats["changed"] == len(found["changes"])
        # The tree as refined so far is what the next window is shown.
        assert "5 (after 2, backtrack)" in engine.asked[1].prompt
        assert (await bench.get(f"/api/traces/{trace['trace_id']}")).json() == trace
    async with workbench(engine) as bench:  # it outlives the server
        kept = (await bench.get(f"/api/traces/{trace['trace_id']}/refinements")).json()
        assert kept == [{**found, "created_at": kept[0]["created_at"]}]
        assert kept[0]["created_at"]
        again = await begin(bench, trace["trace_id"])
        await listed(
            bench, trace["trace_id"], lambda one: one["refinement_id"] == again["refinement_id"] and ended(one)
        )
        assert len((await bench.get(f"/api/traces/{trace['trace_id']}/refinements")).json()) == 2


async def test_progress_is_seen_one_at_a_time_and_stopping_keeps_what_there_is(workbench: Opened) -> None:
    engine = Labeller(gated=True)
    async with workbench(engine) as bench:
        trace_id = (await imported(bench))["trace_id"]
        begun = await begin(bench, trace_id)
        assert "is labelling this trace already" in (await begin(bench, trace_id, 409))["error"]
        assert engine.gate is not None
        engine.gate.release()
        half = await listed(bench, trace_id, lambda one: one["stats"]["asked"] == refine.WINDOW)
        assert half["state"] == "running"
        assert half["created_at"] is None
        assert any(c["index"] == 4 for c in half["changes"])
        (lean,) = (await bench.get(f"/api/traces/{trace_id}/refinements?lean=true")).json()
        assert lean["stats"]["changed"] == len(half["changes"]) > 0
        assert lean["changes"] == []
        path = f"/api/traces/{trace_id}/refinements/{begun['refinement_id']}/stop"
        stopped = (await bench.post(path)).json()
        assert (stopped["state"], stopped["stats"]["labelled"]) == ("stopped", refine.WINDOW)
        assert engine.open == 0  # the server's slot is free again
        assert (await bench.post(path)).json()["state"] == "stopped"
        (kept,) = (await bench.get(f"/api/traces/{trace_id}/refinements")).json()
        assert (kept["state"], kept["changes"]) == ("stopped", half["changes"])
        assert (await bench.post(f"/api/traces/{trace_id}/refinements/none/stop")).status_code == 404


async def test_one_that_is_stopped_before_its_first_answer_leaves_nothing(workbench: Opened) -> None:
    async with workbench(Labeller(gated=True)) as bench:
        trace_id = (await imported(bench))["trace_id"]
        begun = await begin(bench, trace_id)
        await bench.post(f"/api/traces/{trace_id}/refinements/{begun['refinement_id']}/stop")
        assert (await bench.get(f"/api/traces/{trace_id}/refinements")).json() == []


async def test_a_server_that_ends_keeps_what_was_labelled(workbench: Opened) -> None:
    engine = Labeller(gated=True)
    async with workbench(engine) as bench:
        trace_id = (await imported(bench))["trace_id"]
        await begin(bench, trace_id)
        assert engine.gate is not None
        engine.gate.release()
        await listed(bench, trace_id, lambda one: one["stats"]["asked"] == refine.WINDOW)
    async with workbench(engine) as bench:
        (kept,) = (await bench.get(f"/api/traces/{trace_id}/refinements")).json()
        assert (kept["state"], kept["stats"]["labelled"]) == ("interrupted", refine.WINDOW)


def failing(at: int, error: Exception) -> Callable[[range], str]:
    def answer(steps: range) -> str:
        if steps[0] >= at:
            raise error
        return chain(steps)

    return answer


@pytest.mark.parametrize(
    ("answer", "says", "labelled"),
    [
        (failing(0, EngineDown("The server is gone.")), "The server is gone.", 0),
        (failing(16, EngineDown("The server is gone.")), "The server is gone.", 16),
        (failing(16, EngineError("No such model.", 404)), "No such model.", 16),
        (failing(16, EngineError("Too long.", 400)), "Too long.", 16),
        (failing(16, RuntimeError("a bug")), "Worldline itself failed at it (a bug)", 16),
        (lambda steps: "I would rather not.", "did not answer in the form that was asked for; its last answer begins: I", 0),
        (lambda steps: "", "its last answer was empty", 0),
    ],
)  # fmt: skip
async def test_a_failure_is_a_sentence_and_keeps_what_was_labelled(
    workbench: Opened, answer: Callable[[range], str], says: str, labelled: int
) -> None:
    engine = Labeller(answer)
    async with workbench(engine) as bench:
        trace_id = (await imported(bench))["trace_id"]
        await begin(bench, trace_id)
        found = await listed(bench, trace_id, ended)
        assert found["state"] == "failed"
        assert says in found["error"]
        assert found["stats"]["labelled"] == labelled
        assert bool(found["created_at"]) == bool(labelled)
        assert len(engine.asked) < 10


async def test_a_small_context_is_asked_for_less(workbench: Opened) -> None:
    def answer(steps: range) -> str:
        if len(steps) > 4:
            raise EngineError("The server answered 400: maximum context length is 4096", 400)
        return chain(steps)

    engine = Labeller(answer)
    async with workbench(engine) as bench:
        trace = await imported(bench)
        await begin(bench, trace["trace_id"])
        found = await listed(bench, trace["trace_id"], ended)
        n = len(trace["steps"])
        assert (found["state"], found["stats"]["labelled"]) == ("done", n)
        assert len(engine.asked) == 3 + -(-n // 4)  # with room for thinking, without, eight, then four at a time
        assert engine.asked[-1].sampling.max_tokens <= refine.tokens_for(range(4))


async def test_rows_that_cannot_be_are_counted(workbench: Opened) -> None:
    def answer(steps: range) -> str:
        rows = json.loads(chain(steps))["steps"]
        rows[1]["parent"] = rows[1]["step"] + 1
        return json.dumps({"steps": rows[:-1]})

    async with workbench(Labeller(answer)) as bench:
        trace = await imported(bench)
        await begin(bench, trace["trace_id"])
        found = await listed(bench, trace["trace_id"], ended)
        calls = found["stats"]["calls"]
        assert (found["state"], found["stats"]["refused"], found["stats"]["missing"]) == ("done", calls, calls)


async def test_who_can_refine_and_what_can_be_refined(workbench: Opened) -> None:
    async with workbench(ScriptedEngine()) as bench:
        trace_id = (await imported(bench))["trace_id"]
        assert [m["refines"] for m in (await bench.get("/api/models")).json()] == [False]
        assert "plays the numbers game only" in (await begin(bench, trace_id, 422, "scripted"))["error"]
        assert 'There is no model "nobody"' in (await begin(bench, trace_id, 422, "nobody"))["error"]
        await begin(bench, "none", 404)
    async with workbench(OpenAIEngine("http://127.0.0.1:9/v1", "pocket")) as bench:
        assert [m["refines"] for m in (await bench.get("/api/models")).json()] == [False]
    async with workbench(Labeller()) as bench:
        assert [m["refines"] for m in (await bench.get("/api/models")).json()] == [True]
        empty = (await bench.post("/api/traces", json={"prompt": "?", "response": ""})).json()["trace_ids"][0]
        assert "has no steps" in (await begin(bench, empty, 422))["error"]


async def test_a_format_with_marked_decisions_gains_kinds_and_keeps_its_tree(workbench: Opened) -> None:
    def answer(steps: range) -> str:
        return json.dumps(
            {"steps": [{"step": i + 1, "kind": KINDS[i % 5], "parent": i, "backtrack": None} for i in steps]}
        )

    scripted = ScriptedEngine()
    async with workbench(scripted) as bench:
        steiner = await bench.finished()
    async with workbench(Labeller(answer)) as bench:
        trace = (await bench.get(f"/api/traces/{steiner}")).json()
        await begin(bench, steiner)
        found = await listed(bench, steiner, ended)
        turned = [s["index"] for s in trace["steps"] if s["is_backtrack"]]
        assert [c["index"] for c in found["changes"] if c["fields"]] == turned
        assert found["stats"]["changed"] == len(turned)
        assert len(found["changes"]) == len(trace["steps"])
