"""Several servers as one engine, over real HTTP: affinity, a dead one is taken out and comes back, no answer is begun twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from core.engines.base import EngineDown, EngineError, GenerateRequest
from core.engines.openai_api import OpenAIEngine
from core.engines.pool import FIRST_PAUSE_S, EnginePool
from core.engines.sampling import Marks, ModelSize, Sampled, SampleRequest
from tests.core.served import Script, serving

QUESTIONS = [f"Question {i}" for i in range(40)]


@pytest.fixture
def servers() -> Iterator[dict[str, Script]]:
    with ExitStack() as stack:
        found = {}
        for name in "abc":
            script = Script(deltas=[{"content": name}])
            found[stack.enter_context(serving(script))] = script
        yield found


def with_pool(urls, work: Callable, clock: Callable[[], float] | None = None):
    async def run():
        pool = EnginePool({u: OpenAIEngine(u, "served", silence_s=5) for u in urls}, *([clock] if clock else []))
        try:
            return await work(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


async def answer(pool: EnginePool, question: str) -> str:
    return "".join([c.text async for c in pool.stream(GenerateRequest(question))])


def test_a_problem_always_goes_to_the_same_server_and_all_servers_work(servers) -> None:
    async def work(pool):
        return [[await answer(pool, q) for q in QUESTIONS] for _ in range(2)]

    first, again = with_pool(servers, work)
    assert first == again
    assert {first.count(name) > 3 for name in "abc"} == {True}


def test_when_a_server_goes_only_its_own_problems_move(servers) -> None:
    urls = list(servers)
    whole = EnginePool({u: OpenAIEngine(u, "m") for u in urls})
    less = EnginePool({u: OpenAIEngine(u, "m") for u in urls[1:]})
    for question in QUESTIONS:
        home = whole.order(question)[0]
        assert home == urls[0] or less.order(question)[0] == home


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_fails_is_taken_out_and_tried_again_later(servers, status: int) -> None:
    now = 0.0
    urls = list(servers)

    async def work(pool):
        nonlocal now
        theirs = next(q for q in QUESTIONS if pool.order(q)[0] == urls[0])
        servers[urls[0]].status = status
        moved = await answer(pool, theirs)
        asked = len(servers[urls[0]].bodies)
        await answer(pool, theirs)
        assert len(servers[urls[0]].bodies) == asked  # it is out: not asked again
        servers[urls[0]].status = 200
        now = FIRST_PAUSE_S + 0.1
        return moved, await answer(pool, theirs)

    moved, back = with_pool(urls, work, lambda: now)
    assert moved in ("b", "c")
    assert back == "a"


@pytest.mark.parametrize(
    ("headers", "pause"), [({}, FIRST_PAUSE_S), ({"retry-after": "40"}, 40.0), ({"retry-after": "soon"}, 2.0)]
)
def test_a_server_that_limits_its_rate_is_left_alone_for_as_long_as_it_asks(servers, headers, pause: float) -> None:
    now = 0.0
    urls = list(servers)

    async def work(pool):
        nonlocal now
        theirs = next(q for q in QUESTIONS if pool.order(q)[0] == urls[0])
        limited = servers[urls[0]]
        limited.status, limited.headers = 429, headers
        for member in pool.members.values():
            member.alone = False
        moved = await answer(pool, theirs)
        asked = len(limited.bodies)
        now = pause - 0.1
        await answer(pool, theirs)
        assert len(limited.bodies) == asked == 1  # another was asked at once, and this one not before its time
        limited.status = 200
        now = pause + 0.1
        return moved, await answer(pool, theirs)

    moved, back = with_pool(urls, work, lambda: now)
    assert moved in ("b", "c")
    assert back == "a"


def test_with_every_server_limiting_its_rate_the_reason_is_told(servers) -> None:
    for script in servers.values():
        script.status, script.reason = 429, "slow down"

    async def work(pool):
        for member in pool.members.values():
            member.alone = False
        with pytest.raises(EngineDown, match="None of the 3 servers") as told:
            await answer(pool, "Why?")
        return str(told.value)

    assert with_pool(list(servers), work).count("answered 429: slow down") == 3


def test_a_refusal_is_the_requests_fault_and_not_the_servers(servers) -> None:
    async def work(pool):
        home = pool.order("Why?")[0]
        servers[home].status = 400
        with pytest.raises(EngineError, match="answered 400"):
            await answer(pool, "Why?")
        return pool.order("Why?")[0] == home

    assert with_pool(servers, work)


def test_an_answer_that_broke_off_is_not_begun_anew_elsewhere(servers) -> None:
    async def work(pool):
        home = pool.order("Why?")[0]
        servers[home].trouble = "drop"
        with pytest.raises(EngineDown, match="broke off"):
            await answer(pool, "Why?")
        others = [s for u, s in servers.items() if u != home]
        assert pool.order("Why?")[-1] == home
        return [s.bodies for s in others]

    assert with_pool(servers, work) == [[], []]


class Asked:
    """A server for searches that is up or down."""

    model = "served"

    def __init__(self, down: bool) -> None:
        self.down = down

    def _said(self) -> None:
        if self.down:
            raise EngineDown("It does not answer.")

    async def sample(self, request: SampleRequest) -> Sampled:
        raise AssertionError("nobody asks for text here")

    async def marks(self) -> Marks:
        self._said()
        return Marks("|")

    async def size(self) -> ModelSize | None:
        self._said()
        return ModelSize(7, 1, 1)


@pytest.mark.parametrize("down", [0, 1])
@pytest.mark.parametrize(("question", "said"), [("marks", Marks("|")), ("size", ModelSize(7, 1, 1))])
def test_what_a_search_asks_first_is_told_by_any_server_that_is_up(down: int, question: str, said: object) -> None:
    pool = EnginePool({str(i): Asked(i == down) for i in range(2)})
    assert asyncio.run(getattr(pool, question)()) == said
    assert pool.order("")[-1] == str(down) or not pool._out
    pool = EnginePool({str(i): Asked(True) for i in range(2)})
    with pytest.raises(EngineDown, match="None of the 2 servers"):
        asyncio.run(getattr(pool, question)())


def test_with_all_servers_gone_every_reason_is_told() -> None:
    async def work(pool):
        with pytest.raises(EngineDown, match="None of the 2 servers") as told:
            await answer(pool, "Why?")
        return str(told.value)

    assert with_pool(["http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"], work).count("does not answer") == 2
