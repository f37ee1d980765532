"""What a search may spend at most also binds what its scorer asks engines for, and is remembered when a search goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.engines.base import Chunk, GenerateRequest
from core.engines.sampling import Sample, Sampled, SampleRequest
from core.scoring.judge import GenerativeJudge
from core.search import strategies
from core.search.ledger import Budget
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import Scorer
from core.search.search import Event, Search, replay
from core.search.verifiers import JudgeSearch, Rollouts
from core.trace import Problem
from tests.core.search.chance import SIZE, Chance, Lengths

SHORT = Limits(max_tokens=60, step_tokens=12)


def search(strategy: str = "best-of-n", seed: int = 0, **params: Any) -> Search:
    return Search(Problem.ask("How much?"), strategies.make(strategy, params), seed=seed)


def drive(engine: Chance, one: Search, scorer: Scorer | None = None, width: int = 128, **how: Any) -> Search:
    how = {"limits": SHORT, **how}
    return asyncio.run(asyncio.wait_for(Scheduler(width).run(one, Team(engine, scorer), **how), 60))


class Critic:
    """A judge at its dearest: a token is a byte, a chat template stands around the question, and it writes to its limit."""

    model = "critic"

    def __init__(self, draw: int = 0) -> None:
        self.spent, self.draw = 0, Random(draw)
        self.running = self.most = 0

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            read = len(request.prompt.encode()) + 40
            self.spent += read + request.sampling.max_tokens
            steps = request.prompt.count("\nStep ")
            words = "".join(
                f"Step {i + 1}: \\boxed{{{self.draw.choice(('correct', 'incorrect'))}}}\n" for i in range(steps)
            )
            yield Chunk(words, request.sampling.max_tokens, prompt_tokens=read)
        finally:
            self.running -= 1

    async def close(self) -> None:
        return None


@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(500, 20_000), seed=st.integers(0, 2**20), beam=st.booleans(), samples=st.integers(1, 3))
def test_what_a_judge_reads_and_writes_never_passes_the_budget(
    tokens: int, seed: int, beam: bool, samples: int
) -> None:
    critic, engine = Critic(seed), Chance(chance=seed)
    scorer = JudgeSearch(GenerativeJudge(critic, samples=samples, max_tokens=50))
    one = search("beam", seed, width=2, branch=2) if beam else search(seed=seed, n=6)
    drive(engine, one, scorer, budget=Budget(tokens=tokens))
    assert one.spent.scorer == critic.spent
    assert engine.made + critic.spent <= tokens
    assert one.reason in ("finished", "budget")


class Wordy(Chance):
    """A token is a very long word, longer than anybody reckons with."""

    def _write(self, request: SampleRequest, seed: int) -> Sample:
        sample = super()._write(request, seed)
        return replace(sample, text=sample.text.replace(" w", " " + "w" * 400))


def test_a_text_that_would_cost_more_to_judge_than_was_set_aside_has_no_score_and_the_search_says_so() -> None:
    critic, log = Critic(), list[Event]()
    scorer = JudgeSearch(GenerativeJudge(critic, samples=1, max_tokens=5))
    one = search(n=3)
    start = one.start_event()
    drive(Wordy(ends=0.0), one, scorer, budget=Budget(tokens=100_000), log=log.append)
    assert critic.spent == 0 and one.reason == "budget"
    assert all(node.score is None for node in one.state.tree.nodes)
    again, _ = replay([start, *log[:-1]])
    assert again.short
    free = drive(Wordy(ends=0.0), search(n=3), scorer)  # without a budget nothing is too dear
    assert critic.spent > 0 and free.reason == "finished"


def test_rollouts_and_critiques_take_places_of_their_engine() -> None:
    engine, critic = Chance(delay=0.001), Critic()
    drive(engine, search("beam", width=2, branch=2), Rollouts(engine, k=4, max_tokens=40), width=8)
    assert max(r.n for r in engine.requests) == 4 and 4 < engine.most <= 8
    drive(Chance(), search(n=12), JudgeSearch(GenerativeJudge(critic, samples=3, max_tokens=5)), width=8)
    assert 3 < critic.most <= 8


class Mute(Critic):
    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        await asyncio.sleep(0)
        yield Chunk("What a day.", 3, prompt_tokens=9)


def test_a_model_that_gives_no_verdict_ends_the_search_with_a_sentence_and_holds_nothing() -> None:
    scheduler, shown = Scheduler(width=8), list[Event]()
    scorer = JudgeSearch(GenerativeJudge(Mute(), samples=2, max_tokens=5))
    team = Team(Chance(answers=50), scorer)

    async def work() -> Search:
        one = await scheduler.run(search(n=40), team, limits=SHORT, show=shown.append)
        for _ in range(10):  # what was cancelled lets go in its own turn
            await asyncio.sleep(0)
        return one

    one = asyncio.run(work())
    assert one.reason == "error" and scheduler.under_way == 0
    assert "gave no verdict on any of 8 solutions" in next(e["error"] for e in shown if e["type"] == "error")


def test_a_scorers_engine_that_is_asked_for_others_too_is_shared_by_turns() -> None:
    """Of two people one has rollouts in mind that would fill the engine for long: the other waits for a turn, not for their end."""
    engine, ended = Chance(delay=0.002), list[str]()
    scheduler = Scheduler(width=32)

    async def one(user: str, n: int, scorer: Scorer | None) -> None:
        await scheduler.run(search(n=n), Team(engine, scorer), limits=SHORT, user=user)
        ended.append(user)

    async def both() -> None:
        await asyncio.gather(one("many", 60, Rollouts(engine, k=16, max_tokens=40)), one("few", 1, None))

    asyncio.run(both())
    assert ended == ["few", "many"]
    assert engine.most <= 32 and scheduler.under_way == 0


def test_each_search_pays_for_the_rollouts_it_is_judged_by_and_for_each_reading_apart() -> None:
    engine = Chance()
    shared = Rollouts(engine, k=3, max_tokens=40)
    first, second = (drive(engine, search(seed=4, n=1), shared) for _ in range(2))
    assert first.spent.scorer == second.spent.scorer > 0
    # The question is read once, and three answers are written behind it: no token looks at another answer's.
    asked = engine.requests[1]
    answers = asyncio.run(Chance().sample(asked))
    flops = SIZE.flops(2, 0) + sum(SIZE.flops(s.tokens, 2) for s in answers.samples)
    assert first.spent.scorer_flops == pytest.approx(flops)


class Fixed(Chance):
    """Every answer is as long as it may be, up to ten tokens."""

    async def sample(self, request: SampleRequest) -> Sampled:
        self.requests.append(request)
        most = request.sampling.max_tokens
        tokens = min(10, most)
        self.made += tokens * request.n
        end = "eos" if most >= 10 else "length"
        return Sampled(tuple(Sample(f"A {i}", (i,) * tokens, end, tokens) for i in range(request.n)), 2)


@pytest.mark.parametrize(("tokens", "reason"), [(24, "budget"), (30, "finished"), (40, "finished")])
def test_a_budget_that_cuts_the_last_answer_short_is_why_the_search_ends(tokens: int, reason: str) -> None:
    log: list[Event] = []
    one = search("linear") if tokens == 40 else search(n=3)
    start = one.start_event()
    drive(Fixed(), one, budget=Budget(tokens=tokens), limits=replace(SHORT, max_tokens=10), log=log.append)
    assert one.reason == reason
    for cut in range(len(log)):  # and a search that was killed after the cut knows of it
        again, _ = replay([start, *log[:cut]])
        drive(Fixed(), again, budget=Budget(tokens=tokens), limits=replace(SHORT, max_tokens=10))
        assert again.reason == reason


def test_a_search_that_goes_on_has_only_the_rest_of_its_seconds() -> None:
    one, log = search("beam", seed=9, width=2, branch=2), list[Event]()
    start = one.start_event()
    drive(Chance(), one, Lengths(), log=log.append)
    assert all(event["elapsed"] >= 0 for event in log)
    part = [start, *({**event, "elapsed": 100.0 + i} for i, event in enumerate(log[:3]))]
    for seconds, reason in ((90.0, "budget"), (1e6, "finished")):
        engine, (again, _), more = Chance(), replay(part), list[Event]()
        assert again.elapsed == 102.0
        drive(engine, again, Lengths(), budget=Budget(seconds=seconds), log=more.append)
        assert (again.reason, bool(engine.requests)) == (reason, reason == "finished")
        assert all(event["elapsed"] >= 102.0 for event in more)
