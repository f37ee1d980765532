"""The one place that spends: requests of all live searches, to keep every engine full and nobody waiting for another's depth.

An engine has so many places; users take turns at them, so that a search of a thousand requests does not keep out one of three. A budget
is reserved before a request is made and settled after it, so that it is never passed; a request that does not fit waits
for those under way, and is cut down to what fits when there are none. Knows no strategy, no screen and no store.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from core.engines.base import EngineError
from core.engines.sampling import Sample, Sampled, Sampler
from core.scoring.prm import ScorerError
from core.search.ledger import Budget, Spent, of_call
from core.search.pricing import Priced, Prices, Sizes
from core.search.scorers import Costly, Item, Scored, Scorer
from core.search.search import Event, Part, Search, result_event

# Continuations under way at once in one engine. vLLM's own batch is wider; beyond this its queue only grows.
WIDTH = 128


@dataclass(frozen=True)
class Limits:
    """For every continuation: what an expansion does not say itself. max_tokens is for a response from its first token to its last,
    however many steps it was grown by; step_tokens for one step."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 3500
    step_tokens: int = 512
    max_steps: int = 60


@dataclass(frozen=True)
class Team:
    """The models of a search. executor: writes what a planner planned; the solver where there is none."""

    solver: Sampler
    scorer: Scorer | None = None
    executor: Sampler | None = None

    def sampler(self, part: Part) -> Sampler:
        return self.executor if part.expand.role == "executor" and self.executor is not None else self.solver


class Scheduler:
    """Runs searches. One for a server: what it is fair about is what passes through it."""

    def __init__(self, width: int = WIDTH) -> None:
        self.width = width
        self.begun = 0  # searches
        self._lanes: dict[int, _Lane] = {}

    async def run(
        self, search: Search, team: Team, budget: Budget = Budget(), limits: Limits = Limits(), *, user: str = "",
        log: Callable[[Event], None] = lambda event: None, show: Callable[[Event], None] = lambda event: None,
        stop: asyncio.Event | None = None,
    ) -> Search:  # fmt: skip
        """Drive a search to its end, or on from where its log left it. `log` gets the lines that `replay` reads, `show` what is new to
        be seen; the caller writes the first line (`Search.start_event`).

        Ends as finished, budget, cancelled (when `stop` is set) or error; nothing but cancellation of this call raises.
        """
        live = _Live(self, search, team, budget, limits, user, log, show, stop or asyncio.Event())
        return await live.run()

    def lane(self, engine: Sampler) -> _Lane:
        """The queue in front of an engine."""
        return self._lanes.setdefault(id(engine), _Lane(self.width, engine))

    @property
    def under_way(self) -> int:
        """Continuations that engines work on now."""
        return sum(lane.width - lane.free for lane in self._lanes.values())


class _Lane:
    """Places in one engine, by turns of users."""

    def __init__(self, width: int, engine: Sampler) -> None:
        self.width, self.free = width, width
        self.engine = engine  # held, so that its id stays its own
        self._waiting: OrderedDict[str, list[tuple[int, int, int, asyncio.Future[None]]]] = OrderedDict()
        self._arrivals = 0

    @asynccontextmanager
    async def places(self, user: str, wanted: int, search: int) -> AsyncIterator[None]:
        """So many places, when it is the user's turn. search: of a user's searches the one that began first goes first: what it needs of
        the engine's cache is there still, and it ends the sooner."""
        wanted = min(wanted, self.width)
        turn = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._waiting.setdefault(user, []), (search, self._arrivals, wanted, turn))
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(wanted)
            raise
        try:
            yield
        finally:
            self._give_back(wanted)

    def _give_back(self, places: int) -> None:
        self.free += places
        self._pump()

    def _pump(self) -> None:
        while self._waiting:
            user, queue = next(iter(self._waiting.items()))
            while queue and queue[0][3].cancelled():
                heapq.heappop(queue)
            if not queue:
                del self._waiting[user]
                continue
            _, _, wanted, turn = queue[0]
            if wanted > self.free:
                return
            heapq.heappop(queue)
            self.free -= wanted
            turn.set_result(None)
            self._waiting.move_to_end(user)


@dataclass
class _Result:
    part: Part
    samples: list[Sample]
    scores: list[tuple[float, ...]]
    spent: list[Spent]
    short: bool = False  # the budget cut it off, or left something of it unjudged
    lost: Spent = Spent()  # for what never came


@dataclass
class _Work:
    """A part under way, with what is reserved for it, and how far it has come: that is asked when the search ends before it does."""

    part: Part
    priced: Priced
    shortened: bool
    began: float = 0.0  # 0: it waits for its turn
    sampled: Sampled | None = None
    spent: list[Spent] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    first: list[int] = field(default_factory=list)  # which sample an item stands for


class _Live:
    """A search under way."""

    def __init__(
        self, scheduler: Scheduler, search: Search, team: Team, budget: Budget, limits: Limits, user: str,
        log: Callable[[Event], None], show: Callable[[Event], None], stop: asyncio.Event,
    ) -> None:  # fmt: skip
        if isinstance(team.scorer, Costly):
            team = replace(team, scorer=team.scorer.anew())
        self.scheduler, self.search, self.team, self.budget, self.limits = scheduler, search, team, budget, limits
        self.user, self.write, self.show, self.stop = user, log, show, stop
        self.began = time.monotonic() - search.elapsed  # so that one that goes on has only the rest of its seconds
        scheduler.begun += 1
        self.number = scheduler.begun
        self.ready: deque[Part] = deque()
        self.tasks: dict[asyncio.Task[_Result], _Work] = {}
        self.spent = search.settled  # told or not
        self.sizes = Sizes(None, None, None)
        self.prices = Prices(search, team, budget, limits, self.sizes)

    async def run(self) -> Search:
        reason = "finished"
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            try:
                await self._look()
                reason = await self._work(stopping)
            except (EngineError, ScorerError) as error:
                reason = "error"
                self.show({"type": "error", "error": str(error)})
                self.log({"type": "error", "error": str(error)})
            # What is under way has cost something, and some of it is finished: the search decides with that too.
            for result in await self._drop():
                self._settle(result, cut=reason)
        finally:
            stopping.cancel()
            await self._drop()
        self._clock()
        events = self.search.end(reason)
        self.write({**events[-1], "elapsed": self.search.elapsed})
        for event in events:
            self.show(event)
        return self.search

    async def _work(self, stopping: asyncio.Task[Any]) -> str:
        """Until the search ends; the reason."""
        while True:
            self.ready.extend(self.search.wanted())
            if self.stop.is_set():
                return "cancelled"
            left = None
            if self.budget.seconds is not None:
                left = self.budget.seconds - (time.monotonic() - self.began)
                if left <= 0:
                    return "budget"
            self._dispatch()
            if not self.tasks:
                if self.search.idle or not self.ready:
                    return "budget" if self.search.short else "finished"
                continue
            done, _ = await asyncio.wait({*self.tasks, stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in [t for t in self.tasks if t in done]:
                result = task.result()
                del self.tasks[task]
                self._settle(result)

    def _clock(self) -> None:
        self.search.elapsed = round(time.monotonic() - self.began, 2)

    def log(self, event: Event) -> None:
        self._clock()
        self.write({**event, "elapsed": self.search.elapsed})

    async def _look(self) -> None:
        self.sizes = await Sizes.of(self.team)
        try:
            self.sizes.check(self.budget, self.team)
        except ValueError as error:
            raise EngineError(str(error)) from None
        self.prices = Prices(self.search, self.team, self.budget, self.limits, self.sizes)

    def _dispatch(self) -> None:
        """Make the requests that the budget allows, in order."""
        while self.ready:
            part = self.ready[0]
            if self._full(part):
                self.ready.popleft()
                self._settle(_Result(part, [Sample("", (), "length", 0)] * part.k, [()] * part.k, [Spent()] * part.k))
                self.ready.extend(self.search.wanted())
                continue
            priced, shortened = self.prices.priced(part), False
            if not self._fits(priced):
                if self.tasks:
                    return  # what is under way will give back what it did not use
                cut = self._cut_down(part)
                if cut is None:
                    self.ready.popleft()
                    self._give_up(part)
                    self.ready.extend(self.search.wanted())
                    continue
                part, rest, shortened, priced = cut
                self.ready.popleft()
                if rest is not None:
                    self.ready.appendleft(rest)
            else:
                self.ready.popleft()
            work = _Work(part, priced, shortened)
            self.tasks[asyncio.create_task(self._call(work))] = work

    def _full(self, part: Part) -> bool:
        """The response is as long as it may be: it ends here, and nobody is asked."""
        expand = part.expand
        return not expand.prompt and len(self.search.state.tree.ids(expand.node)) >= self.limits.max_tokens

    def _fits(self, priced: Priced) -> bool:
        budget, under_way = self.budget, [work.priced for work in self.tasks.values()]
        if (
            budget.tokens is not None
            and self.spent.tokens + sum(p.tokens for p in under_way) + priced.tokens > budget.tokens
        ):
            return False
        if budget.flops is None:
            return True
        assert self.spent.flops is not None  # sizes are known, or there is no such budget (`check_budget`)
        return self.spent.flops + sum(p.flops for p in under_way) + priced.flops <= budget.flops

    def _cut_down(self, part: Part) -> tuple[Part, Part | None, bool, Priced] | None:
        """As many continuations as fit, or one that is shorter (True); None when not even a token does. Only with nothing under way, so
        that the cut depends on what was spent and not on who was fast."""
        for k in range(part.k - 1, 0, -1):
            priced = self.prices.priced(part, k)
            if self._fits(priced):
                return replace(part, k=k), Part(part.expand, part.offset + k, part.k - k), False, priced
        low, high = 0, self.prices.priced(part, 1).request.sampling.max_tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fits(self.prices.priced(part, 1, middle)) else (low, middle - 1)
        if not low:
            return None
        rest = Part(part.expand, part.offset + 1, part.k - 1) if part.k > 1 else None
        return replace(part, k=1), rest, True, self.prices.priced(part, 1, low)

    async def _call(self, work: _Work) -> _Result:
        part = work.part
        sampler = self.team.sampler(part)
        async with self.scheduler.lane(sampler).places(self.user, part.k, self.number):
            work.began = time.monotonic()
            work.sampled = sampled = await sampler.sample(work.priced.request)
        work.spent = spent = self._cost(work, sampled)
        await self._judge(part, sampled)
        short = work.shortened and any(sample.end == "length" for sample in sampled.samples)
        if not self.prices.scores(part):
            return _Result(part, list(sampled.samples), [()] * len(spent), spent, short)
        return await self._scored(work, sampled, short)

    def _cost(self, work: _Work, sampled: Sampled) -> list[Spent]:
        size = self.sizes.of_sampler(self.team.sampler(work.part), self.team)
        return of_call(sampled, size, time.monotonic() - work.began)

    async def _judge(self, part: Part, sampled: Sampled) -> None:
        """What takes long in judging answers (tests, algebra) is done here in a thread; where they are told, nobody may wait."""
        state = self.search.state
        if not (part.expand.answers and state.answers.SLOW):
            return
        before = "" if part.expand.prompt else state.tree.text(part.expand.node)
        texts = dict.fromkeys(before + s.text for s in sampled.samples if s.end == "eos")
        for text in texts:
            await asyncio.to_thread(state.answers.prepare, text)

    async def _scored(self, work: _Work, sampled: Sampled, short: bool) -> _Result:
        """Equal continuations are scored once, those that have a score not again, empty steps not at all."""
        part, spent = work.part, list(work.spent)
        fresh: dict[tuple[str, str], int] = {}
        for i, sample in enumerate(sampled.samples):
            key = sample.text, sample.end
            if key in fresh or not sample.text.strip() or self.search.has_judged(part.expand, sample):
                continue
            item = self.prices.item(part, sample)
            if item.steps:
                fresh[key] = len(work.items)
                work.items.append(item)
                work.first.append(i)
        scored = await self._verdicts(work.items, work.priced.judging) if work.items else []
        scores: list[tuple[float, ...]] = []
        for sample in sampled.samples:
            at = fresh.get((sample.text, sample.end))
            verdict = None if at is None else scored[at][0]
            scores.append(verdict.values if verdict else ())
        for i, (one, seconds) in zip(work.first, scored, strict=True):
            if one is None:
                short = True
                continue
            spent[i] += self._read(one, seconds)
        return _Result(part, list(sampled.samples), scores, spent, short)

    def _read(self, one: Scored, seconds: float) -> Spent:
        flops: float | None = 0.0
        if one.tokens:
            flops = None if self.sizes.scorer is None else one.flops(self.sizes.scorer)
        return Spent(scorer=one.tokens, scorer_flops=flops, seconds=seconds)

    async def _verdicts(self, items: list[Item], most: int) -> list[tuple[Scored | None, float]]:
        """What the scorer says of each text, and the seconds of waiting for it. None: judging it could cost more than the `most` tokens
        that were set aside for it."""
        scorer = self.team.scorer
        assert scorer is not None
        started = time.monotonic()
        costs = [0] * len(items)
        if isinstance(scorer, Costly) and self.prices.limited:
            costs = await asyncio.to_thread(lambda: list(map(scorer.cost, items)))
        if not isinstance(scorer, Costly) or scorer.engine is None:
            asked_for = [item for item, cost in zip(items, costs, strict=True) if cost <= most]
            found = iter(await scorer.score(asked_for))
            seconds = time.monotonic() - started
            said = [next(found) if cost <= most else None for cost in costs]
            return [(one, 0.0 if i else seconds) for i, one in enumerate(said)]
        lane = self.scheduler.lane(scorer.engine)

        async def one(item: Item, cost: int) -> tuple[Scored | None, float]:
            if cost > most:
                return None, 0.0
            async with lane.places(self.user, scorer.requests, self.number):
                started = time.monotonic()
                (found,) = await scorer.score([item])
                item.cut.append(found)  # for when the others are cancelled
                return found, time.monotonic() - started

        asked = [asyncio.ensure_future(one(*pair)) for pair in zip(items, costs, strict=True)]
        try:
            return list(await asyncio.gather(*asked))
        finally:
            for task in asked:  # one that failed takes the others with it
                task.cancel()

    def _settle(self, result: _Result, cut: str = "") -> None:
        """cut: the search has ended for this reason, and the part before it was done."""
        self.spent = sum(result.spent, self.spent + result.lost)
        last = len(result.samples) < result.part.k
        # Written down before anything is made of it: what is not in the log did not happen.
        came = result.part, result.samples, result.scores, result.spent
        self.log(result_event(*came, last, result.short, lost=result.lost, cut=cut))
        for event in self.search.told(*came, last=last, short=result.short, lost=result.lost):
            self.show(event)

    def _give_up(self, part: Part) -> None:
        """Nothing of a part can be paid for."""
        self.log(result_event(part, (), (), (), last=True))
        for event in self.search.give_up(part):
            self.show(event)

    async def _drop(self) -> list[_Result]:
        """Cancel what is under way, and say what it came to."""
        dropped = dict(self.tasks)
        self.tasks.clear()
        for task in dropped:
            task.cancel()
        found = []
        for task, work in dropped.items():
            with suppress(asyncio.CancelledError, Exception):
                found.append(await task)
                continue
            if work.began:
                found.append(self._unfinished(work))
        return found

    def _unfinished(self, work: _Work) -> _Result:
        """Of a part that was cancelled: what is finished is as good as any, what is not ends where it was cut, and all of it was paid for."""
        sampled = work.sampled or work.priced.request.report.sampled
        if sampled is None:
            lost = Spent(seconds=time.monotonic() - work.began, calls=1, uncounted=1)
            return _Result(work.part, [], [], [], True, lost)
        spent = list(work.spent or self._cost(work, sampled))
        scores: list[tuple[float, ...]] = [()] * len(spent)
        for i, item in zip(work.first, work.items, strict=True):
            for one in item.cut:
                spent[i] += Spent(uncounted=1) if one is None else self._read(one, 0.0)
                scores[i] = one.values if one and one.values else scores[i]
        return _Result(work.part, list(sampled.samples), scores, spent, True)
