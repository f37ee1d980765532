"""The scheduler under load: many searches at once, several people, failures, delays, budgets that are never passed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.search import strategies
from core.search.base import Expand, State
from core.search.ledger import Budget
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import Scorer
from core.search.search import Event, Search, replay
from core.search.strategies.beam import Beam
from core.trace import Problem
from tests.core.search.chance import Chance, Lengths

SHORT = Limits(max_tokens=200, step_tokens=20)


def search(prompt: str = "How much?", strategy: str = "best-of-n", seed: int = 0, **params: Any) -> Search:
    return Search(Problem.ask(prompt), strategies.make(strategy, params), seed=seed)


def drive(engine: Chance, one: Search, scorer: Scorer | None = None, **how: Any) -> Search:
    return asyncio.run(Scheduler().run(one, Team(engine, scorer), **{"limits": SHORT, **how}))


def test_200_problems_at_once_end_without_a_stall_and_the_engine_stays_full() -> None:
    engine, scorer = Chance(delay=0.002), Lengths()
    scheduler = Scheduler(width=64)
    searches = [search(f"Question {i}", "beam", i, width=2, branch=2) for i in range(200)]

    async def all_of_them() -> None:
        runs = (scheduler.run(s, Team(engine, scorer), limits=SHORT, user=f"u{i % 5}") for i, s in enumerate(searches))
        await asyncio.wait_for(asyncio.gather(*runs), 60)

    asyncio.run(all_of_them())
    assert [s.reason for s in searches] == ["finished"] * 200
    assert 48 < engine.most <= 64
    assert scheduler.under_way == 0
    assert sum(s.spent.generated for s in searches) == engine.made
    assert sum(s.spent.scorer for s in searches) == scorer.read


def test_a_small_search_is_not_behind_anothers_thousand_requests() -> None:
    engine = Chance(delay=0.004)
    scheduler = Scheduler(width=4)
    ended: list[str] = []

    async def one(user: str, i: int) -> None:
        await scheduler.run(search(f"{user} {i}", n=1), Team(engine), limits=SHORT, user=user)
        ended.append(user)

    async def both() -> None:
        many = [asyncio.create_task(one("many", i)) for i in range(1000)]
        await asyncio.sleep(0.02)
        assert len(ended) < 500
        await one("few", 0)
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)

    asyncio.run(both())
    at = ended.index("few")
    # Those that were in the engine already, and one turn each: not the hundreds that were asked for before it.
    assert at < 200, f"{at} requests of the other came first"
    assert scheduler.under_way == 0


def test_turns_are_by_person_not_by_search() -> None:
    """Two people, one with ten times the searches: while both have some, they are served in turn."""
    engine = Chance()
    scheduler = Scheduler(width=1)

    async def both() -> None:
        runs = [
            scheduler.run(search(f"{user} {i}", n=1), Team(engine), limits=SHORT, user=user)
            for user, n in (("many", 100), ("few", 10)) for i in range(n)
        ]  # fmt: skip
        await asyncio.gather(*runs)

    asyncio.run(both())
    first = [r.prompt.split()[0] for r in engine.requests[:20]]
    assert first.count("few") in (9, 10)


def test_cancelling_one_search_frees_its_places_and_leaves_the_others_alone() -> None:
    engine = Chance(delay=0.5)
    scheduler = Scheduler(width=8)

    async def work() -> tuple[Search, Search, float]:
        stop = asyncio.Event()
        cut = asyncio.create_task(scheduler.run(search("cut", n=8), Team(engine), limits=SHORT, user="a", stop=stop))
        await asyncio.sleep(0.01)
        other = asyncio.create_task(scheduler.run(search("other", n=8), Team(engine), limits=SHORT, user="b"))
        await asyncio.sleep(0.01)
        assert engine.running == 8
        stop.set()
        began = time.monotonic()
        ended = await cut
        return ended, await other, time.monotonic() - began

    cut, other, _ = asyncio.run(work())
    assert (cut.reason, other.reason) == ("cancelled", "finished")
    assert cut.spent.generated > 0  # what was written until then was written for it
    assert cut.spent.generated + other.spent.generated == engine.made
    assert scheduler.under_way == engine.running == 0


def test_a_run_that_is_cancelled_from_outside_holds_nothing() -> None:
    engine = Chance(delay=5)
    scheduler = Scheduler(width=4)

    async def work() -> None:
        runs = [asyncio.create_task(scheduler.run(search(str(i), n=3), Team(engine), limits=SHORT)) for i in range(5)]
        await asyncio.sleep(0.02)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        engine.delay = 0.0
        after = await asyncio.wait_for(scheduler.run(search("after", n=4), Team(engine), limits=SHORT), 5)
        assert after.reason == "finished"

    asyncio.run(work())
    assert scheduler.under_way == engine.running == 0


def test_an_engine_that_fails_for_one_is_a_sentence_and_the_others_go_on() -> None:
    engine = Chance(breaks=("bad",), delay=0.002)
    scheduler = Scheduler()
    shown: list[Event] = []
    searches = [search(prompt, "beam", width=2, branch=2) for prompt in ("good", "bad", "fine")]

    async def work() -> None:
        await asyncio.gather(
            *(scheduler.run(s, Team(engine, Lengths()), limits=SHORT, show=shown.append) for s in searches)
        )

    asyncio.run(work())
    assert [s.reason for s in searches] == ["finished", "error", "finished"]
    assert [e["error"] for e in shown if e["type"] == "error"] == ["The server lost 'bad'."]
    assert scheduler.under_way == 0


@pytest.mark.parametrize("strategy", ["beam", "best-of-n", "linear"])
def test_the_same_seed_gives_the_same_search_whatever_was_faster(strategy: str) -> None:
    def tree(chance: int, delay: float) -> tuple[Any, list[Event]]:
        shown: list[Event] = []
        scorer = Lengths() if strategy == "beam" else None
        engine = Chance(delay=delay, chance=chance)
        one = drive(engine, search(strategy=strategy, seed=5), scorer, show=shown.append)
        for event in shown:  # seconds are what they are
            for ledger in (event, event.get("ledger", {})):
                ledger.pop("seconds", None)
                ledger.pop("elapsed", None)
        return one.state.tree, shown

    first = tree(0, 0.0)
    for chance in range(1, 5):
        assert tree(chance, 0.004) == first
    assert tree(0, 0.0)[0] != Search(Problem.ask("How much?"), strategies.make(strategy)).state.tree


def test_what_comes_early_is_told_after_what_was_asked_for_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    plain = Beam.tell

    def watched(self: Beam, state: State, asked: Expand, nodes: list[int]) -> None:
        told.append(asked.key)
        plain(self, state, asked, nodes)

    monkeypatch.setattr(Beam, "tell", watched)
    orders, came = [], []
    for chance in range(4):
        log: list[Event] = []
        told.clear()
        drive(Chance(delay=0.01, chance=chance), search(strategy="beam", seed=3), Lengths(), log=log.append)
        orders.append(list(told))
        came.append([e["key"] for e in log if e["type"] == "result"])
    assert orders[0] == orders[1] == orders[2] == orders[3]
    assert any(keys != orders[0] for keys in came)  # they did come in other orders
    assert all(sorted(keys) == sorted(orders[0]) for keys in came)


def test_every_continuation_has_a_seed_of_its_own_that_its_place_decides() -> None:
    engine = Chance()
    drive(engine, search(strategy="beam", seed=1, width=4, branch=4), Lengths())
    seeds = [r.sampling.seed + i for r in engine.requests for i in range(r.n)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**31 for s in seeds)
    again = Chance()
    drive(again, search(strategy="beam", seed=1, width=4, branch=4), Lengths())
    assert [r.sampling.seed for r in again.requests] == [r.sampling.seed for r in engine.requests]
    other = Chance()
    drive(other, search(strategy="beam", seed=2, width=4, branch=4), Lengths())
    assert other.requests[0].sampling.seed != engine.requests[0].sampling.seed


def test_continuations_of_one_text_are_one_request() -> None:
    engine = Chance()
    drive(engine, search(n=32))
    assert [r.n for r in engine.requests] == [32]


budgets = st.builds(
    Budget,
    tokens=st.none() | st.integers(1, 3000),
    flops=st.none() | st.floats(1e3, 2e8),
)


@settings(max_examples=60, deadline=None)
@given(
    budget=budgets, seed=st.integers(0, 2**20), strategy=st.sampled_from(["linear", "best-of-n", "beam"]),
    scored=st.booleans(), width=st.integers(1, 5), delay=st.sampled_from([0.0, 0.001]), per_response=st.integers(5, 200),
)  # fmt: skip
def test_a_hard_budget_is_never_passed(
    budget: Budget, seed: int, strategy: str, scored: bool, width: int, delay: float, per_response: int
) -> None:
    params = {"linear": {}, "best-of-n": {"n": width * 3}, "beam": {"width": width, "branch": 2}}[strategy]
    engine, scorer = Chance(delay=delay, chance=seed), Lengths() if scored else None
    log: list[Event] = []
    one = search(strategy=strategy, seed=seed, **params)
    start = one.start_event()
    limits = replace(SHORT, max_tokens=per_response)
    drive(engine, one, scorer, budget=budget, limits=limits, log=log.append)
    read = scorer.read if scorer else 0
    assert one.spent.generated == engine.made
    assert one.spent.scorer == read
    assert sum((s.generated for s in one.node_spent.values()), 0) == engine.made
    if budget.tokens is not None:
        assert engine.made + read <= budget.tokens
    if budget.flops is not None:
        assert one.spent.flops is not None
        assert one.spent.flops <= budget.flops
    assert all(len(one.state.tree.ids(n.id)) <= per_response for n in one.state.tree.nodes)
    assert one.reason in ("finished", "budget")
    again, _ = replay([start, *log])
    assert again.state.tree == one.state.tree
    assert again.spent == one.spent
    assert again.choice == one.choice


@pytest.mark.parametrize("strategy", ["best-of-n", "beam"])
def test_a_budget_of_seconds_ends_a_search_in_time(strategy: str) -> None:
    engine = Chance(delay=1.0, ends=0.0)
    began = time.monotonic()
    one = drive(engine, search(strategy=strategy), Lengths(), budget=Budget(seconds=0.25))
    assert time.monotonic() - began < 0.6
    assert one.reason == "budget"
    assert one.spent.generated == engine.made > 0
    assert 0.25 <= one.done_event()["ledger"]["elapsed"] < 0.6


def test_a_budget_in_flops_of_a_model_of_unknown_size_is_refused_in_a_sentence() -> None:
    shown: list[Event] = []
    one = drive(Chance(size=None), search(), budget=Budget(flops=1e9), show=shown.append)
    assert one.reason == "error"
    assert "budget in FLOPs cannot be kept" in shown[0]["error"]


def test_a_search_that_was_killed_goes_on_from_its_log_to_the_same_end() -> None:
    def whole() -> tuple[Search, list[Event]]:
        one = search(strategy="beam", seed=9, width=3, branch=2)
        log = [one.start_event()]
        return drive(Chance(delay=0.001), one, Lengths(), log=log.append), log

    wanted, log = whole()
    for cut in range(1, len(log) - 1):
        again, _ = replay(log[:cut])
        drive(Chance(delay=0.001, chance=cut), again, Lengths())
        assert again.state.tree == wanted.state.tree
        assert again.choice == wanted.choice
        assert again.spent.generated == wanted.spent.generated
