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
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace

from core.control.limits import Bounds
from core.engines.base import EngineError, Sampling
from core.engines.sampling import ModelSize, Sample, Sampled, Sampler, SampleRequest
from core.scoring.prm import ScorerError
from core.search.ledger import Budget, Spent, of_call
from core.search.scorers import Costly, Item, Scored, Scorer
from core.search.search import Event, Part, Search, result_event
from core.trace import Problem

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


def check_budget(budget: Budget, scorer: Scorer | None, problem: Problem) -> None:
    """Whether a single token could be drawn and judged. Raises ValueError: else a search would end before it began."""
    if budget.tokens is None or not isinstance(scorer, Costly):
        return
    least = 1 + scorer.at_most(len(problem.prompt.encode("utf-8", "surrogatepass")), 1)
    if least > budget.tokens:
        raise ValueError(
            f"the budget of tokens is {budget.tokens:,}; judging one text by {scorer.name} may cost {least:,}: give more, or let the scorer "
            "write less (its max_tokens)"
        )


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
        self.tasks: dict[asyncio.Task[_Result], tuple[int, float]] = {}  # with what is reserved: tokens, FLOPs
        self.spent = search.settled  # told or not
        self.size: ModelSize | None = None
        self.scorer_size: ModelSize | None = None

    async def run(self) -> Search:
        reason = "finished"
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await self._look()
            while True:
                self.ready.extend(self.search.wanted())
                if self.stop.is_set():
                    reason = "cancelled"
                    break
                left = None
                if self.budget.seconds is not None:
                    left = self.budget.seconds - (time.monotonic() - self.began)
                    if left <= 0:
                        reason = "budget"
                        break
                self._dispatch()
                if not self.tasks:
                    if self.search.idle or not self.ready:
                        reason = "budget" if self.search.short else "finished"
                        break
                    continue
                done, _ = await asyncio.wait({*self.tasks, stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in [t for t in self.tasks if t in done]:
                    del self.tasks[task]
                    self._settle(task.result())
        except (EngineError, ScorerError) as error:
            reason = "error"
            self.show({"type": "error", "error": str(error)})
            self.log({"type": "error", "error": str(error)})
        finally:
            stopping.cancel()
            await self._drop()
        events = self.search.end(reason)
        self.log({**events[-1], "reason": reason})
        for event in events:
            self.show(event)
        return self.search

    def log(self, event: Event) -> None:
        self.search.elapsed = round(time.monotonic() - self.began, 2)
        self.write({**event, "elapsed": self.search.elapsed})

    async def _look(self) -> None:
        self.size = await self.team.solver.size()
        self.scorer_size = await self.team.scorer.size() if self.team.scorer else None
        if self.budget.flops is not None and (self.size is None or (self.team.scorer and self.scorer_size is None)):
            raise EngineError(
                f"The size of {self.team.solver.model}, or of its scorer, is not known here, so a budget in FLOPs cannot be kept: give "
                "one in tokens, or serve the model from a folder on this machine."
            )

    def _dispatch(self) -> None:
        """Make the requests that the budget allows, in order."""
        while self.ready:
            part = self.ready[0]
            if self._full(part):
                self.ready.popleft()
                self._settle(_Result(part, [Sample("", (), "length", 0)] * part.k, [()] * part.k, [Spent()] * part.k))
                self.ready.extend(self.search.wanted())
                continue
            request, tokens, flops = self._priced(part)
            shortened = False
            if not self._fits(tokens, flops):
                if self.tasks:
                    return  # what is under way will give back what it did not use
                cut = self._cut_down(part)
                if cut is None:
                    self.ready.popleft()
                    self._give_up(part)
                    self.ready.extend(self.search.wanted())
                    continue
                part, rest, shortened, request, tokens, flops = cut
                self.ready.popleft()
                if rest is not None:
                    self.ready.appendleft(rest)
            else:
                self.ready.popleft()
            task = asyncio.create_task(self._call(part, request, shortened))
            self.tasks[task] = tokens, flops

    def _full(self, part: Part) -> bool:
        """The response is as long as it may be: it ends here, and nobody is asked."""
        expand = part.expand
        return not expand.prompt and len(self.search.state.tree.ids(expand.node)) >= self.limits.max_tokens

    def _priced(self, part: Part, k: int | None = None, most: int | None = None) -> tuple[SampleRequest, int, float]:
        """The request, and the most that it can cost: tokens (the scorer's included) and FLOPs."""
        expand, tree, limits = part.expand, self.search.state.tree, self.limits
        k = part.k if k is None else k
        written = () if expand.prompt else tree.ids(expand.node)
        wanted = expand.max_tokens or (limits.step_tokens if expand.unit == "step" else limits.max_tokens)
        wanted = min(wanted, max(1, limits.max_tokens - len(written)))
        most = wanted if most is None else min(most, wanted)
        marks = self.search.marks
        stop = {"step": (marks.step_end,), "thought": (marks.thinking_end,), "whole": ()}[expand.unit]
        request = SampleRequest(
            expand.prompt or self.search.state.problem.prompt, written, k,
            Sampling(
                limits.temperature if expand.temperature is None else expand.temperature, limits.top_p,
                self.search.seed_of(part), most,
            ),
            Bounds(0, expand.max_steps or limits.max_steps), stop, expand.unit != "thought", expand.insert,
        )  # fmt: skip
        before, scorer = self._before(request), self.team.scorer
        judged = self._judged(part, request)
        scored = judged * k if self._scores(part) else 0
        flops = 0.0
        if self.size is not None:
            flops += self.size.flops(before, 0) + k * self.size.flops(most, before)
        if scored and self.scorer_size is not None:
            flops += k * self.scorer_size.flops(judged, 0)
        counts = self.scorer_size is not None or isinstance(scorer, Costly)
        return request, most * k + (scored if counts else 0), flops

    def _before(self, request: SampleRequest) -> int:
        """A token is at least a byte of the question, so this is above what the tokenizer will make of it."""
        return len(request.prompt.encode()) + 64 + len(request.written) + len(request.insert.encode())

    def _judged(self, part: Part, request: SampleRequest) -> int:
        """Tokens that are set aside for judging one continuation."""
        scorer, new = self.team.scorer, request.sampling.max_tokens
        if not isinstance(scorer, Costly):
            return self._before(request) + new
        written = "" if part.expand.prompt else self.search.state.tree.text(part.expand.node)
        texts = self.search.state.problem.prompt, written, request.insert
        return scorer.at_most(sum(len(text.encode("utf-8", "surrogatepass")) for text in texts), new)

    def _scores(self, part: Part) -> bool:
        return self.team.scorer is not None and part.expand.score

    def _fits(self, tokens: int, flops: float) -> bool:
        budget = self.budget
        if budget.tokens is not None:
            reserved = sum(t for t, _ in self.tasks.values())
            if self.spent.tokens + reserved + tokens > budget.tokens:
                return False
        if budget.flops is not None:
            reserved_flops = sum(f for _, f in self.tasks.values())
            if (self.spent.flops or 0.0) + reserved_flops + flops > budget.flops:
                return False
        return True

    def _cut_down(self, part: Part) -> tuple[Part, Part | None, bool, SampleRequest, int, float] | None:
        """As many continuations as fit, or one that is shorter (True); None when not even a token does. Only with nothing under way, so
        that the cut depends on what was spent and not on who was fast."""
        for k in range(part.k - 1, 0, -1):
            priced = self._priced(part, k)
            if self._fits(priced[1], priced[2]):
                return replace(part, k=k), Part(part.expand, part.offset + k, part.k - k), False, *priced
        low, high = 0, self._priced(part, 1)[0].sampling.max_tokens
        while low < high:
            middle = (low + high + 1) // 2
            priced = self._priced(part, 1, middle)
            low, high = (middle, high) if self._fits(priced[1], priced[2]) else (low, middle - 1)
        if not low:
            return None
        rest = Part(part.expand, part.offset + 1, part.k - 1) if part.k > 1 else None
        return replace(part, k=1), rest, True, *self._priced(part, 1, low)

    async def _call(self, part: Part, request: SampleRequest, shortened: bool) -> _Result:
        sampler = self.team.sampler(part)
        async with self.scheduler.lane(sampler).places(self.user, part.k, self.number):
            started = time.monotonic()
            sampled = await sampler.sample(request)
            seconds = time.monotonic() - started
        size = self.size if sampler is self.team.solver else await sampler.size()
        spent = of_call(sampled, size, seconds)
        await self._judge(part, sampled)
        short = shortened and any(sample.end == "length" for sample in sampled.samples)
        if not self._scores(part):
            return _Result(part, list(sampled.samples), [()] * len(spent), spent, short)
        return await self._scored(part, sampled, spent, request, short)

    async def _judge(self, part: Part, sampled: Sampled) -> None:
        """What takes long in judging answers (tests, algebra) is done here in a thread; where they are told, nobody may wait."""
        state = self.search.state
        if not (part.expand.answers and state.answers.SLOW):
            return
        before = "" if part.expand.prompt else state.tree.text(part.expand.node)
        texts = dict.fromkeys(before + s.text for s in sampled.samples if s.end == "eos")
        for text in texts:
            await asyncio.to_thread(state.answers.prepare, text)

    async def _scored(
        self, part: Part, sampled: Sampled, spent: list[Spent], request: SampleRequest, short: bool
    ) -> _Result:
        """Equal continuations are scored once, empty steps not at all."""
        search = self.search
        fresh: dict[tuple[str, str], int] = {}
        written = "" if part.expand.prompt else search.state.tree.text(part.expand.node)
        items: list[Item] = []
        first: list[int] = []  # which sample an item stands for
        for i, sample in enumerate(sampled.samples):
            key = sample.text, sample.end
            steps = search.steps(part.expand, sample)
            if key in fresh or not steps or not sample.text.strip():
                continue
            fresh[key] = len(items)
            ids = (*request.written, *sample.ids)
            items.append(Item(search.state.problem, steps, ids, sample.end == "eos", written + sample.text))
            first.append(i)
        scored = await self._verdicts(items, self._judged(part, request)) if items else []
        scores: list[tuple[float, ...]] = []
        for sample in sampled.samples:
            at = fresh.get((sample.text, sample.end))
            verdict = None if at is None else scored[at][0]
            scores.append(verdict.values if verdict else ())
        for i, (one, seconds) in zip(first, scored, strict=True):
            if one is None:
                short = True
                continue
            flops: float | None = 0.0
            if one.tokens:
                flops = None if self.scorer_size is None else one.flops(self.scorer_size)
            spent[i] += Spent(scorer=one.tokens, scorer_flops=flops, seconds=seconds)
        return _Result(part, list(sampled.samples), scores, spent, short)

    async def _verdicts(self, items: list[Item], most: int) -> list[tuple[Scored | None, float]]:
        """What the scorer says of each text, and the seconds of waiting for it. None: judging it could cost more than the `most` tokens
        that were set aside for it."""
        scorer = self.team.scorer
        assert scorer is not None
        started = time.monotonic()
        if not isinstance(scorer, Costly):
            found = await scorer.score(items)
            return [(one, 0.0 if i else time.monotonic() - started) for i, one in enumerate(found)]
        limited = self.budget.tokens is not None or self.budget.flops is not None
        costs = await asyncio.to_thread(lambda: [scorer.cost(item) if limited else 0 for item in items])
        lane = self.scheduler.lane(scorer.engine) if scorer.engine is not None else None

        async def one(item: Item, cost: int) -> tuple[Scored | None, float]:
            if cost > most:
                return None, 0.0
            async with lane.places(self.user, scorer.requests, self.number) if lane else nullcontext():
                started = time.monotonic()
                return (await scorer.score([item]))[0], time.monotonic() - started

        asked = [asyncio.ensure_future(one(*pair)) for pair in zip(items, costs, strict=True)]
        try:
            return list(await asyncio.gather(*asked))
        finally:
            for task in asked:  # one that failed takes the others with it
                task.cancel()

    def _settle(self, result: _Result) -> None:
        for one in result.spent:
            self.spent += one
        last = len(result.samples) < result.part.k
        # Written down before anything is made of it: what is not in the log did not happen.
        came = result.part, result.samples, result.scores, result.spent
        self.log(result_event(*came, last, result.short))
        for event in self.search.told(*came, last=last, short=result.short):
            self.show(event)

    def _give_up(self, part: Part) -> None:
        """Nothing of a part can be paid for."""
        self.log(result_event(part, (), (), (), last=True))
        for event in self.search.give_up(part):
            self.show(event)

    async def _drop(self) -> None:
        for task in self.tasks:
            task.cancel()
        for task in list(self.tasks):
            with suppress(asyncio.CancelledError, Exception):
                await task
        self.tasks.clear()
