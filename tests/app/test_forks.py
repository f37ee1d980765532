"""Forks over HTTP: the same beginning, another world line, counted as a family."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from app.server import create_app
from core.engines.base import OPENS_THINKING, Bounds, Chunk, GenerateRequest, Thinking
from core.formats import steiner_tokens as t
from core.steer import ANSWER_IN_WORDS, STEINER_WAIT
from core.trace import Trace
from tests.app.client import Bench, check_whole
from tests.app.conftest import Opened
from tests.app.scripted import WALK, ScriptedEngine

pytestmark = pytest.mark.anyio


async def test_a_fork_keeps_the_beginning_and_says_where_it_left(workbench: Opened) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        origin = (await bench.get(f"/api/traces/{first}")).json()
        answer = await bench.post(f"/api/traces/{first}/forks", json={"step": 3})
        assert answer.status_code == 201, answer.text
        (made,) = answer.json()
        events = await bench.events(made["run_id"])
        trace = (await bench.get(f"/api/traces/{made['trace_id']}")).json()
        check_whole(events, trace)
        kept = origin["steps"][3]["end"]
        assert trace["response"][:kept] == origin["response"][:kept]
        assert trace["origin"] == {"root": first, "trace_id": first, "step": 3, "kept": kept, "action": "continue"}
        assert Trace.from_json(trace).to_json() == {k: v for k, v in trace.items() if k != "layout"}
        assert bench.engine.asked[-1].prefix == origin["response"][:kept]
        assert trace["stats"]["generated_tokens"] < origin["stats"]["generated_tokens"], (
            "only what was written anew counts"
        )


async def test_the_answer_names_the_model_that_goes_on(workbench: Opened) -> None:
    """An imported trace's model is only a name; whose fork that becomes is told."""
    async with workbench() as bench:
        row = {"prompt": WALK.prompt, "response": WALK.response, "model": "somebody/elses"}
        (made,) = (await bench.post("/api/traces", json=[row])).json()["trace_ids"]
        (fork,) = (await bench.post(f"/api/traces/{made}/forks", json={"step": 0})).json()
        assert fork["model"] == bench.engine.model


async def test_what_a_fork_does_not_say_is_as_it_was(workbench: Opened) -> None:
    async with workbench() as bench:
        first = await bench.finished(
            min_steps=2, max_steps=40, thinking_budget=900, waits=1, temperature=0.5, max_tokens=2000
        )
        kept = Thinking(900, 1)
        for body, bounds, thinking, tokens in (
            ({}, Bounds(2, 40), kept, 2000),
            ({"max_steps": 1}, Bounds(1, 1), kept, 2000),
            ({"min_steps": 50}, Bounds(50, 50), kept, 2000),
            ({"min_steps": 0, "max_steps": 12}, Bounds(0, 12), kept, 2000),
            ({"thinking_budget": 77, "waits": 0, "max_tokens": 99}, Bounds(2, 40), Thinking(77, 0), 99),
            ({"thinking_budget": 0}, Bounds(2, 40), Thinking(None, 1), 2000),
        ):
            made = (await bench.post(f"/api/traces/{first}/forks", json={"step": 3, **body})).json()
            await bench.events(made[0]["run_id"])
            asked = bench.engine.asked[-1]
            assert (asked.bounds, asked.thinking, asked.sampling.temperature) == (bounds, thinking, 0.5)
            assert asked.sampling.max_tokens == tokens


async def test_many_continuations_of_one_step_are_a_family(workbench: Opened) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        made = (await bench.post(f"/api/traces/{first}/forks", json={"step": 2, "n": 5, "seed": 10})).json()
        for started in made:
            await bench.events(started["run_id"])
        assert [r.sampling.seed for r in bench.engine.asked[-5:]] == [10, 11, 12, 13, 14]
        again = (await bench.post(f"/api/traces/{made[0]['trace_id']}/forks", json={"step": 5})).json()
        await bench.events(again[0]["run_id"])
        for member in (first, made[3]["trace_id"], again[0]["trace_id"]):
            family = (await bench.get(f"/api/traces/{member}/family")).json()
            assert len(family) == 7
            assert [line["trace_id"] for line in family if line["origin"] is None] == [first]
            assert all(line["solved"] is True and line["state"] == "done" for line in family)


async def test_seeds_that_would_count_past_the_largest_are_refused_before_anything_starts(workbench: Opened) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        asked = len(bench.engine.asked)
        answer = await bench.post(f"/api/traces/{first}/forks", json={"step": 2, "n": 2, "seed": 2**63 - 1})
        assert answer.status_code == 422 and f"at most {2**63 - 2}" in answer.text, answer.text
        assert len((await bench.get(f"/api/traces/{first}/family")).json()) == 1
        assert len(bench.engine.asked) == asked
        made = await bench.post(f"/api/traces/{first}/forks", json={"step": 2, "n": 2, "seed": 2**63 - 2})
        assert made.status_code == 201


@pytest.mark.parametrize(
    ("action", "added"),
    [("backtrack", t.BACKTRACK), ("proceed", t.PROCEED), ("answer", t.REASONING_END), ("wait", STEINER_WAIT)],
)
async def test_the_hand_on_the_wheel_writes_what_the_format_writes(workbench: Opened, action: str, added: str) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        origin = (await bench.get(f"/api/traces/{first}")).json()
        made = (await bench.post(f"/api/traces/{first}/forks", json={"step": 1, "action": action})).json()
        await bench.events(made[0]["run_id"])
        assert bench.engine.asked[-1].prefix == origin["response"][: origin["steps"][1]["end"]] + added


async def test_an_edited_step_stands_in_the_place_of_the_old_one(workbench: Opened) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        body = {"step": 2, "action": "edit", "fields": {"thought": "Something <b>else</b> ${7*7}"}}
        made = (await bench.post(f"/api/traces/{first}/forks", json=body)).json()
        await bench.events(made[0]["run_id"])
        trace = (await bench.get(f"/api/traces/{made[0]['trace_id']}")).json()
        assert trace["steps"][2]["thought"] == "Something <b>else</b> ${7*7}"
        assert trace["steps"][2]["name"] == WALK.steps[2].name
        assert trace["origin"]["step"] == 1
        assert trace["origin"]["action"] == "edit"


async def test_a_run_under_way_can_be_forked_and_goes_on_undisturbed(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        run_id = await bench.ask()
        engine.release(300)
        async with bench.watch(run_id) as stream:
            async for event in stream:
                if event["type"] == "step_close" and event["step"]["index"] == 1:
                    break
        made = (await bench.post(f"/api/traces/{run_id}/forks", json={"step": 1})).json()
        family = (await bench.get(f"/api/traces/{run_id}/family")).json()
        assert {line["trace_id"]: line["state"] for line in family} == {run_id: "running", made[0]["run_id"]: "running"}
        # What both have written can be drawn already.
        assert (await bench.get(f"/api/traces/{run_id}")).status_code == 409
        for line in (run_id, made[0]["run_id"]):
            steps = (await bench.get(f"/api/traces/{line}?lean=true&so_far=true")).json()["steps"]
            assert [s["name"] for s in steps[:2]] == [s.name for s in WALK.steps[:2]]
        engine.release(10_000)
        await bench.events(run_id)
        await bench.events(made[0]["run_id"])
        whole = (await bench.get(f"/api/traces/{run_id}")).json()
        assert whole["response"] == WALK.response
        assert whole["origin"] is None


async def test_a_fork_that_was_cut_by_a_dead_server_is_kept_with_its_beginning(workbench: Opened) -> None:
    engine = ScriptedEngine(gated=True)
    async with workbench(engine) as bench:
        run_id = await bench.ask()
        engine.release(10_000)
        await bench.events(run_id)
        engine.gate = type(engine.gate)(0)  # type: ignore[misc]
        (made,) = (await bench.post(f"/api/traces/{run_id}/forks", json={"step": 2})).json()
        engine.release(5)
    async with workbench() as bench:
        trace = (await bench.get(f"/api/traces/{made['trace_id']}")).json()
        assert trace["finish_reason"] == "interrupted"
        assert trace["origin"]["trace_id"] == run_id
        assert len(trace["steps"]) >= 3


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"step": 99}, "steps 0 to"),
        ({"step": 1, "action": "fly"}, "must be one of"),
        ({}, '"step" is missing'),
        ({"step": 1, "min_steps": 9, "max_steps": 3}, "must not be above"),
        ({"step": 1, "waits": 101}, "waits"),
        ({"step": -1, "action": "answer"}, "needs a step"),
        ({"step": 1, "action": "edit"}, "must give name, thought"),
        ({"step": 1, "action": "edit", "fields": {"thought": t.STEP_END}}, "would cut the step in two"),
        ({"step": 1, "n": 33}, "n"),
        ({"step": 1, "model": "nobody"}, "There is no model"),
    ],
)
async def test_what_cannot_be_done_is_a_sentence(workbench: Opened, body: dict, says: str) -> None:
    async with workbench() as bench:
        first = await bench.finished()
        answer = await bench.post(f"/api/traces/{first}/forks", json=body)
        assert answer.status_code == 422, answer.text
        assert says in answer.json()["error"]


class OpenedThinker(ScriptedEngine):
    """Writes a thought that the token limit cuts off. `opened`: its chat template has opened it, so there is no tag."""

    thought = "First this.\n\nWait, that is wrong, and at some length."

    def __init__(self, opened: bool) -> None:
        super().__init__()
        self.opened = opened

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        yield Chunk(
            "", 0, prompt_tokens=9, about={"server": "scripted", **({OPENS_THINKING: True} if self.opened else {})}
        )
        yield Chunk(" More." if request.prefix else self.thought, 3)
        yield Chunk("", 0, finish_reason="length")


@pytest.mark.parametrize(
    ("opened", "form", "words"), [(True, "think", "\n</think>\n\n"), (False, "plain", ANSWER_IN_WORDS)]
)
async def test_a_thought_that_the_prompt_opened_is_one_before_its_tag_comes(
    workbench: Opened, opened: bool, form: str, words: str
) -> None:
    async with workbench(engine=OpenedThinker(opened)) as bench:
        cut = await bench.finished()
        trace = (await bench.get(f"/api/traces/{cut}")).json()
        assert trace["format"] == form
        (more,) = (await bench.post(f"/api/traces/{cut}/forks", json={"action": "resume"})).json()
        await bench.events(more["run_id"])
        trace = (await bench.get(f"/api/traces/{more['trace_id']}")).json()
        assert (trace["format"], trace["response"]) == (form, OpenedThinker.thought + " More.")
        (made,) = (
            await bench.post(f"/api/traces/{more['trace_id']}/forks", json={"step": 0, "action": "answer"})
        ).json()
        await bench.events(made["run_id"])
        assert bench.engine.asked[-1].prefix == trace["response"] + words
        answered = (await bench.get(f"/api/traces/{made['trace_id']}")).json()
        assert answered["answer"] == ("More." if opened else "")


async def test_more_forks_than_there_is_room_for_start_none(workbench: Opened) -> None:
    async with workbench(max_running=3) as bench:
        first = await bench.finished()
        answer = await bench.post(f"/api/traces/{first}/forks", json={"step": 1, "n": 4})
        assert answer.status_code == 429
        assert len(bench.engine.asked) == 1


async def test_a_fork_of_a_served_pocket_model_stays_with_its_server(tmp_path: Path) -> None:
    class Served(ScriptedEngine):
        async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
            yield Chunk("", 0, about={"server": "vllm", "endpoint": "http://127.0.0.1:8000/v1"})
            async for chunk in super().stream(request):
                yield chunk

    served, own = Served(model="pocket"), ScriptedEngine(model="pocket")
    app = create_app(tmp_path / "data", engines={"pocket (served)": served, "pocket": own}, ui=False)
    async with app.router.lifespan_context(app), Bench(app, served) as bench:
        for model, engine in (("pocket (served)", served), ("pocket", own)):
            first = await bench.finished(model=model)
            asked = len(engine.asked)
            made = (await bench.post(f"/api/traces/{first}/forks", json={"step": 3})).json()
            await bench.events(made[0]["run_id"])
            assert len(engine.asked) == asked + 1, model
