"""Searches of a server: what is watched is what is logged and stored, whatever kills the server in between.

The engine draws its words from the seed alone (tests/core/search/chance.py), so that a search can be compared with itself; one beam
search is the pocket model's.
"""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import polars
import pytest

from app.searches import TooManySearches, Wanted
from core.trace import problem_id_of
from storage.references import set_references
from tests.app.client import Bench
from tests.app.conftest import Opened
from tests.core.search.chance import Chance

pytestmark = pytest.mark.anyio

PROMPT = "Which of three?"
GAME = "Reach 24 from 4, 7, 8 and 8."
WAVES = {"strategy": "best-of-n", "params": {"n": 12, "early_stop": True, "wave": 3}, "seed": 5}


class Writer(Chance):
    """Chance as one of a server's models."""

    def __init__(self, *, gated: bool = False, **how: Any) -> None:
        super().__init__(**how)
        self.gate = asyncio.Event()
        if not gated:
            self.gate.set()

    async def sample(self, request: Any) -> Any:
        await self.gate.wait()
        return await super().sample(request)

    async def stream(self, request: Any) -> Any:
        raise AssertionError("a search samples")
        yield

    async def close(self) -> None:
        return None


async def begin(bench: Bench, **fields: Any) -> str:
    answer = await bench.post("/api/searches", json={"prompt": PROMPT, "model": bench.engine.model, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["search_id"]


async def summary(bench: Bench, search_id: str) -> dict[str, Any]:
    answer = await bench.get(f"/api/searches/{search_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def tree_of(events: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """What a viewer has put together."""
    nodes: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["type"] in ("node", "update"):
            nodes.setdefault(event["id"], {}).update({k: v for k, v in event.items() if k not in ("seq", "type")})
    return nodes


def timeless(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same without seconds, which are never the same."""
    rows = json.loads(
        json.dumps(events), object_hook=lambda o: {k: v for k, v in o.items() if k not in ("seconds", "elapsed")}
    )
    return [dict(row) for row in rows]


@pytest.mark.slow
async def test_from_the_question_to_a_trace_with_its_ledger(workbench: Opened, tmp_path: Path) -> None:
    engine = Writer()
    async with workbench(engine) as bench:
        search_id = await begin(bench, **WAVES)
        events = await bench.events(search_id, noun="searches")
        assert [e["seq"] for e in events] == list(range(len(events)))
        assert events[0]["type"] == "start" and events[0]["model"] == "chance" and events[0]["user"] == "local"
        done = events[-1]
        assert (done["type"], done["reason"]) == ("done", "finished")
        nodes = tree_of(events)
        assert sum(n["count"] for i, n in nodes.items() if i) == sum(r.n for r in engine.requests)
        assert done["ledger"]["generated"] == engine.made == sum(n["tokens"] for n in nodes.values() if "tokens" in n)
        assert sum(n["ledger"]["generated"] for n in nodes.values()) == engine.made
        ledger = [e for e in events if e["type"] == "ledger"]
        assert ledger[-1]["generated"] == engine.made and ledger[0]["generated"] < engine.made

        found = await summary(bench, search_id)
        assert found["state"] == "done" and found["trace_id"] == done["trace_id"]
        trace = (await bench.get(f"/api/traces/{done['trace_id']}")).json()
        assert trace["response"] == nodes[done["node"]]["text"]
        assert trace["finish_reason"] == "stop"
        assert trace["sampling"]["search"]["search_id"] == search_id
        assert trace["sampling"]["search"]["params"]["wave"] == 3
        assert trace["stats"]["ledger"] == done["ledger"]
        assert 0 < done["ledger"]["elapsed"] < 60 and done["ledger"]["uncounted"] == 0
        assert found["ledger"] == done["ledger"]
        # What is not in memory any more knows it from its log; one whose log is gone does not.
        bench.services.searches._lives.clear()
        assert (await bench.get("/api/searches")).json()[0]["ledger"] == done["ledger"]
        (tmp_path / "data" / "searches" / f"{search_id}.jsonl").rename(tmp_path / "kept.jsonl")
        row_alone = (await bench.get("/api/searches")).json()[0]["ledger"]
        assert row_alone == {**done["ledger"], "elapsed": None}
        (tmp_path / "kept.jsonl").rename(tmp_path / "data" / "searches" / f"{search_id}.jsonl")
        row = bench.services.store.query("select * from search")
        assert len(row) == 1 and done["trace_id"] in row[0] and engine.made in row[0]
        assert [r["search_id"] for r in (await bench.get("/api/searches")).json()] == [search_id]
        assert bench.services.store.query("select trace_id, source from trace") == [(done["trace_id"], "search")]

        file = await bench.get(f"/api/searches/{search_id}/nodes.parquet")
        assert file.status_code == 200 and search_id in file.headers["content-disposition"]
        table = polars.read_parquet(io.BytesIO(file.content))
        assert table["id"].to_list() == sorted(nodes) == list(range(len(nodes)))
        for row in table.iter_rows(named=True):
            node = nodes[row["id"]]
            assert {k: v for k, v in row.items() if k in node} == {k: v for k, v in node.items() if k != "ledger"}
            assert all(row[f"spent_{k}"] == v for k, v in node["ledger"].items() if k not in ("tokens", "flops"))
        totals = {k: v for k, v in done["ledger"].items() if f"spent_{k}" in table.columns}
        assert {"prompt", "generated", "scorer", "solver_flops", "calls", "uncounted"} <= set(totals)
        assert {k: table[f"spent_{k}"].sum() for k in totals} == pytest.approx(totals)

        # A second viewer comes late, one comes back, one has seen everything.
        assert await bench.events(search_id, noun="searches") == events
        assert await bench.events(search_id, after=4, noun="searches") == events[5:]
        last = await bench.get(f"/api/searches/{search_id}/events", params={"after": done["seq"]})
        assert last.status_code == 204
    async with workbench(engine) as bench:  # after a restart everything is still there, from the log
        assert timeless(await bench.events(search_id, noun="searches")) == timeless(events)
        assert (await summary(bench, search_id))["trace_id"] == done["trace_id"]


async def test_other_answers_are_kept_when_asked_for(workbench: Opened) -> None:
    async with workbench(Writer(answers=50)) as bench:
        search_id = await begin(bench, strategy="best-of-n", params={"n": 4}, seed=1)
        done = (await bench.events(search_id, noun="searches"))[-1]
        other = next(n for n in (1, 2, 3, 4) if n != done["node"])
        node = (await bench.get(f"/api/searches/{search_id}/nodes/{other}")).json()
        assert node["trace_id"] is None and node["trace"]["response"] == node["node"]["text"]
        assert node["owners"] == [other] * len(node["trace"]["steps"])
        kept = await bench.post(f"/api/searches/{search_id}/nodes/{other}/keep")
        again = await bench.post(f"/api/searches/{search_id}/nodes/{other}/keep")
        assert kept.status_code == 200 and kept.json() == again.json()
        assert (await bench.get(f"/api/searches/{search_id}/nodes/{other}")).json()["trace_id"] == kept.json()[
            "trace_id"
        ]
        trace = (await bench.get(f"/api/traces/{kept.json()['trace_id']}")).json()
        assert trace["response"] == node["node"]["text"] and trace["sampling"]["search"]["node"] == other
        assert (await bench.post(f"/api/searches/{search_id}/nodes/{done['node']}/keep")).json()["trace_id"] == done[
            "trace_id"
        ]
        assert len((await bench.get("/api/traces")).json()["traces"]) == 2
        for where, status, words in (
            (0, 422, "no finished answer"),
            (99, 404, "has no node 99"),
            (-1, 404, "no node -1"),
        ):
            refused = await bench.post(f"/api/searches/{search_id}/nodes/{where}/keep")
            assert (refused.status_code, words in refused.json()["error"]) == (status, True), refused.text


async def test_a_reference_answer_says_which_is_right(workbench: Opened) -> None:
    async with workbench(Writer()) as bench:
        await bench.events(await begin(bench, strategy="linear"), noun="searches")  # makes the problem known
        set_to = bench.services.store.write(set_references, (problem_id_of(PROMPT), "Answer: 1"))
        assert set_to.result()
        events = await bench.events(await begin(bench, strategy="best-of-n", params={"n": 16}), noun="searches")
        leaves = [n for n in tree_of(events).values() if n.get("end") == "eos"]
        assert {n["right"] for n in leaves} == {True, False}
        assert all(n["right"] == n["text"].endswith("Answer: 1") for n in leaves)
        assert events[-1]["right"] == (events[-1]["answer"] == "answer: 1")


async def test_a_budget_is_never_passed_and_says_that_it_ended_the_search(workbench: Opened) -> None:
    engine = Writer()
    async with workbench(engine) as bench:
        search_id = await begin(
            bench, strategy="best-of-n", params={"n": 40, "early_stop": False}, budget_tokens=60, max_tokens=50, seed=2
        )
        done = (await bench.events(search_id, noun="searches"))[-1]
        assert done["reason"] == "budget"
        assert 0 < engine.made == done["ledger"]["generated"] <= 60
        found = await summary(bench, search_id)
        assert found["budget"]["tokens"] == 60


async def test_a_stopped_search_decides_with_what_it_has(workbench: Opened) -> None:
    engine = Writer(gated=True)
    async with workbench(engine) as bench:
        search_id = await begin(bench, **WAVES)
        assert (await summary(bench, search_id))["state"] == "running"
        engine.gate.set()
        async with bench.watch(search_id, noun="searches") as stream:
            async for event in stream:
                if event["type"] == "node":
                    break
        engine.gate.clear()
        answer = await bench.post(f"/api/searches/{search_id}/stop")
        assert answer.json() == {"state": "done"}
        done = (await bench.events(search_id, noun="searches"))[-1]
        assert done["reason"] in ("cancelled", "finished") and done["trace_id"]
        assert (await bench.post(f"/api/searches/{search_id}/stop")).json() == {"state": "done"}


async def test_the_server_says_when_there_are_too_many(workbench: Opened) -> None:
    engine = Writer(gated=True)
    async with workbench(engine, max_searches=1) as bench:
        first = await begin(bench, strategy="linear")
        refused = await bench.post("/api/searches", json={"prompt": PROMPT, "model": "chance", "strategy": "linear"})
        assert refused.status_code == 429 and "takes 1 at once" in refused.json()["error"]
        engine.gate.set()
        await bench.events(first, noun="searches")
        await begin(bench, strategy="linear")


async def test_one_persons_searches_leave_room_for_everybody_elses_first_ones(workbench: Opened) -> None:
    engine = Writer(gated=True)
    async with workbench(engine, max_searches=16) as bench:
        manager = bench.app.state.services.searches

        async def asks(user: str) -> None:
            await manager.start(Wanted(PROMPT, "linear", model="chance", user=user))

        for _ in range(16):
            await asks("ann")
        with pytest.raises(TooManySearches, match="16 of them yours"):
            await asks("ann")
        for _ in range(2):  # an eighth of 16
            await asks("ben")
        with pytest.raises(TooManySearches, match="2 of them yours"):
            await asks("ben")
        await asks("cleo")
        engine.gate.set()


async def test_an_engine_that_fails_ends_its_search_in_a_sentence(workbench: Opened) -> None:
    async with workbench(Writer(breaks=(PROMPT,))) as bench:
        search_id = await begin(bench, strategy="linear")
        events = await bench.events(search_id, noun="searches")
        # What it had written nobody knows, and the ledger says so.
        assert [e["type"] for e in events] == ["start", "error", "update", "ledger", "done"]
        assert (events[-1]["ledger"]["calls"], events[-1]["ledger"]["uncounted"]) == (1, 1)
        assert events[-1]["reason"] == "error" and "lost" in events[-1]["error"]
        assert (await summary(bench, search_id))["error"] == events[1]["error"]
    async with workbench(Writer()) as bench:
        assert await bench.events(search_id, noun="searches") == events


@pytest.mark.slow
@pytest.mark.parametrize("budget", [{}, {"budget_tokens": 150, "max_tokens": 60}])
async def test_a_killed_search_goes_on_to_the_same_end_wherever_its_log_broke_off(
    workbench: Opened, tmp_path: Path, budget: dict[str, int]
) -> None:
    """The log cut after every line, and in the middle of each: what a kill leaves behind."""
    async with workbench(Writer(delay=0.002)) as bench:
        search_id = await begin(bench, **WAVES, **budget)
        whole = await bench.events(search_id, noun="searches")
        trace = (await bench.get(f"/api/traces/{whole[-1]['trace_id']}")).json()
    log = (tmp_path / "data" / "searches" / f"{search_id}.jsonl").read_bytes().splitlines(keepends=True)
    assert len(log) >= 4
    from app.server import create_app

    for cut in range(1, len(log) + 1):
        for torn in [b"", log[cut][: len(log[cut]) // 2]] if cut < len(log) else [b""]:
            folder = tmp_path / f"cut-{cut}-{len(torn)}"
            (folder / "searches").mkdir(parents=True)
            (folder / "searches" / f"{search_id}.jsonl").write_bytes(b"".join(log[:cut]) + torn)
            engine = Writer(delay=0.002, chance=cut)
            app = create_app(folder, engines={"chance": engine}, ui=False)
            async with app.router.lifespan_context(app), Bench(app, engine) as bench:
                events = await bench.events(search_id, noun="searches")
                assert timeless(events) == timeless(whole), cut
                again = (await bench.get(f"/api/traces/{trace['trace_id']}")).json()
                assert timeless([again]) == timeless([trace])
                assert bench.services.store.query("select count(*) from search") == [(1,)]
            if torn == b"" and cut == len(log):
                assert engine.made == 0  # it had ended; only its end was not stored


async def test_a_server_that_is_stopped_in_the_middle_goes_on_at_the_next_start(workbench: Opened) -> None:
    engine = Writer(gated=True)
    async with workbench(engine) as bench:
        search_id = await begin(bench, **WAVES)
    engine.gate.set()
    async with workbench(engine) as bench:
        done = (await bench.events(search_id, noun="searches"))[-1]
        assert (done["reason"], bool(done["trace_id"])) == ("finished", True)


async def test_a_search_whose_model_is_gone_ends_and_says_so(workbench: Opened) -> None:
    async with workbench(Writer(gated=True)) as bench:
        search_id = await begin(bench, **WAVES)
    other = Writer()
    other.model = "another"
    async with workbench(other) as bench:
        done = (await bench.events(search_id, noun="searches"))[-1]
        assert done["reason"] == "error"
        assert 'There is no model "chance"' in done["error"]


async def test_a_log_that_cannot_be_read_is_set_aside(workbench: Opened, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "searches"
    folder.mkdir(parents=True)
    (folder / "01broken.jsonl").write_text('{"type": "start", "nothing": 1}\n')
    (folder / "01empty.jsonl").write_text("")
    async with workbench(Writer()) as bench:
        assert (await bench.get("/api/searches")).json() == []
        assert (await bench.get("/api/searches/01broken")).status_code == 404
    assert sorted(p.name for p in folder.iterdir()) == ["01broken.broken", "01empty.broken"]


async def test_searches_of_evaluations_are_found_and_followed(workbench: Opened, tmp_path: Path) -> None:
    async with workbench(Writer()) as bench:
        search_id = await begin(bench, **WAVES)
        whole = await bench.events(search_id, noun="searches")
    own = tmp_path / "data" / "searches" / f"{search_id}.jsonl"
    text = own.read_text().replace(search_id, "01evaluated")
    folder = tmp_path / "data" / "evals" / "e1" / "searches"
    folder.mkdir(parents=True)
    log = folder / "01evaluated.jsonl"
    first, *rest = text.splitlines(keepends=True)
    log.write_text(first + rest[0])
    async with workbench(Writer()) as bench:
        found = await summary(bench, "01evaluated")
        assert (found["state"], found["evaluation"]) == ("running", "e1")
        assert (await bench.post("/api/searches/01evaluated/stop")).status_code == 409
        async with bench.watch("01evaluated", noun="searches") as stream:
            seen = [await anext(stream)]
            log.write_text(text)
            seen += [event async for event in stream]
        assert [e["type"] for e in seen] == [e["type"] for e in whole]
        assert seen[-1]["reason"] == "finished"
        kept = (await bench.post(f"/api/searches/01evaluated/nodes/{seen[-1]['node']}/keep")).json()["trace_id"]
        trace = (await bench.get(f"/api/traces/{kept}")).json()
        assert trace["sampling"]["search"]["evaluation"] == "e1"
        assert [r["search_id"] for r in (await bench.get("/api/searches")).json()] == [search_id]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"strategy": "magic"}, 'There is no strategy "magic"; there is linear'),
        ({"strategy": "beam"}, 'goes by scores: "scorer" must name one'),
        ({"strategy": "beam", "scorer": "reward-model"}, "No reward model is in use"),
        ({"strategy": "beam", "scorer": "countdown-oracle"}, "judges the numbers game only"),
        ({"strategy": "linear", "scorer": "nobody"}, 'There is no scorer "nobody"'),
        ({"strategy": "linear", "params": {"width": 3}}, 'Linear has no parameter "width"; it takes max_steps'),
        ({"strategy": "best-of-n", "params": {"n": 0}}, '"n" is 0; it must lie between 1 and 4096'),
        ({"strategy": "best-of-n", "params": {"n": True}}, '"n" is True; it must be a whole number'),
        ({"strategy": "best-of-n", "params": {"vote": "mine"}}, "must be one of majority, best, weighted"),
        ({"strategy": "linear", "model": "gpt"}, 'There is no model "gpt"'),
        ({"strategy": "linear", "executor": "gpt"}, 'There is no model "gpt"'),
        ({"strategy": "linear", "budget_tokens": 0}, '"budget_tokens" is 0'),
        ({"strategy": "linear", "budget_flops": -1}, '"budget_flops" is -1'),
        ({"strategy": "linear", "aggregation": "sum"}, '"aggregation" is "sum"'),
        ({"strategy": "linear", "prompt": " "}, "The question is empty"),
        ({"strategy": "linear", "depth": 1}, '"depth" is not a field'),
        ({}, '"strategy" is missing'),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_in_a_sentence(workbench: Opened, fields: dict[str, Any], words: str) -> None:
    async with workbench(Writer()) as bench:
        answer = await bench.post("/api/searches", json={"prompt": PROMPT, "model": "chance", **fields})
        assert answer.status_code == 422
        assert words in answer.json()["error"]
        assert (await bench.get("/api/searches")).json() == []


async def test_a_budget_in_flops_is_refused_at_once_where_a_size_is_not_known_and_a_rule_is_free(
    workbench: Opened,
) -> None:
    async with workbench(Writer()) as bench:
        fields = {"strategy": "beam", "scorer": "countdown-oracle", "budget_flops": 1e12, "prompt": GAME}
        done = (await bench.events(await begin(bench, **fields), noun="searches"))[-1]
        assert done["reason"] in ("finished", "budget") and not done["error"]
        assert done["ledger"]["scorer_flops"] == 0
    async with workbench(Writer(size=None)) as bench:
        asked = {"prompt": PROMPT, "model": "chance", "strategy": "linear", "budget_flops": 1e12}
        answer = await bench.post("/api/searches", json=asked)
        assert answer.status_code == 422 and "budget in FLOPs cannot be kept" in answer.json()["error"]


async def test_strategies_describe_their_parameters(workbench: Opened) -> None:
    from core.search import strategies

    async with workbench(Writer()) as bench:
        found = (await bench.get("/api/strategies")).json()
        for name in ("nothing", "..%2F..%2Fetc", "0" * 300):
            assert (await bench.get(f"/api/searches/{name}")).status_code == 404
    assert [s["name"] for s in found["strategies"]] == list(strategies.STRATEGIES)
    for strategy in found["strategies"]:
        assert strategy["title"] and strategy["help"]
        defaults = {p["name"]: p["default"] for p in strategy["parameters"]}
        assert strategies.make(strategy["name"], defaults) == strategies.make(strategy["name"])
        for parameter in strategy["parameters"]:
            assert parameter["help"], (strategy["name"], parameter["name"])
            assert parameter["kind"] != "choice" or parameter["default"] in parameter["one_of"]
    assert {s["name"]: s["ready"] for s in found["scorers"]} == {
        "none": True,
        "reward-model": False,
        "rollouts": True,
        "countdown-oracle": True,
        "judge": True,
        "served-prm": True,
        "tests": True,
    }


async def test_rollouts_of_the_same_model_judge_a_beam(workbench: Opened) -> None:
    engine = Writer(answers=2)
    async with workbench(engine) as bench:
        fields = {"strategy": "beam", "params": {"width": 2, "branch": 2}, "scorer": "rollouts", "seed": 4}
        done = (await bench.events(await begin(bench, **fields), noun="searches"))[-1]
        assert done["reason"] == "finished" and done["trace_id"]
        assert done["ledger"]["scorer"] > done["ledger"]["generated"]  # eight completions a step are not free
        assert done["ledger"]["scorer_flops"] > 0
        trace = (await bench.get(f"/api/traces/{done['trace_id']}")).json()
        assert trace["sampling"]["search"]["scorer"] == "rollouts"


async def test_users_take_turns(workbench: Opened) -> None:
    """One person's thousand answers do not keep out another's three."""
    engine = Writer(delay=0.01)
    async with workbench(engine) as bench:
        from app.searches import Wanted

        manager = bench.services.searches
        many = await manager.start(Wanted(PROMPT, "best-of-n", {"n": 1000}, "chance", user="ada"))
        few = await manager.start(Wanted("Another?", "best-of-n", {"n": 3}, "chance", user="bob"))
        await bench.events(few.search_id, noun="searches")
        assert many.running
        await bench.post(f"/api/searches/{many.search_id}/stop")


async def test_a_beam_of_the_pocket_model_under_the_oracle(workbench: Opened, tmp_path: Path) -> None:
    from core.engines.local import LocalEngine

    async with workbench(LocalEngine(None, name="pocket")) as bench:
        search_id = await begin(
            bench, prompt=GAME, strategy="beam", params={"width": 2, "branch": 3}, scorer="countdown-oracle", seed=1
        )
        events = await bench.events(search_id, noun="searches")
        nodes = tree_of(events)
        assert all(n["score"] in (0.0, 1.0) for i, n in nodes.items() if i and n["text"].strip())
        assert any(n["pruned"] for n in nodes.values())
        done = events[-1]
        assert done["right"] is True and done["ledger"]["solver_flops"] > 0 and done["ledger"]["cached"] > 0
        chosen = [i for i, n in nodes.items() if n.get("chosen")]
        node = (await bench.get(f"/api/searches/{search_id}/nodes/{done['node']}")).json()
        assert (
            node["owners"] == [i for i in chosen if i][: len(node["owners"])]
        )  # a step a node, from the first to the last
        assert all(step["name"] for step in node["trace"]["steps"])
        trace = (await bench.get(f"/api/traces/{done['trace_id']}")).json()
        assert trace["solved"] is True and len(trace["steps"]) == len(node["owners"])


async def test_a_response_may_be_as_long_as_suits_the_model_unless_somebody_says(
    workbench: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def most(engine: Any, messages: Any, prefix: str = "") -> int:
        assert [m["content"] for m in messages] == [PROMPT]
        return 777

    monkeypatch.setattr("app.api.searches.most_tokens", most)
    async with workbench(Writer()) as bench:
        left, said = await begin(bench, strategy="linear"), await begin(bench, strategy="linear", max_tokens=50)
        assert [(await summary(bench, s))["limits"]["max_tokens"] for s in (left, said)] == [777, 50]
