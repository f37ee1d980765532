"""What says how good a text is while a search grows it: a reward model, an exact rule, rollouts. One protocol.

A scorer is asked for many texts at once, by many searches at once. Knows no strategy and no tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from core.engines.sampling import FREE, ModelSize, Sampler
from core.trace import Problem

if TYPE_CHECKING:
    from core.scoring.encoding import EncodedSteps
    from core.scoring.growing import GrowingScorer
    from core.scoring.prm import PrmScorer

# Texts in one go: enough to fill a forward pass, short enough that what comes in between does not wait long.
AT_ONCE = 64


@dataclass(frozen=True)
class Item:
    """A response to judge: its steps as they were cut, and the same as token ids of the solver. `response`: all of it, with what
    follows the thinking. known: of its steps, from the first, that this search had judged before. cut: what judging it had come to, if that
    is cancelled; None in it: nobody can say."""

    problem: Problem
    steps: tuple[str, ...]
    ids: tuple[int, ...] = ()
    ended: bool = False
    response: str = ""
    known: int = 0
    cut: list[Scored | None] = field(default_factory=list, compare=False, repr=False)

    @property
    def text(self) -> str:
        """The response, or its steps where it was not given."""
        return self.response or "".join(self.steps)


@dataclass(frozen=True)
class Scored:
    """P(good) of each step, or one value for the whole; `tokens` is what it cost to say so, 0 for a rule, after `known` others that
    were read before and need not be again. parts: of what was not one reading, the tokens of each and how many stood before them."""

    values: tuple[float, ...]
    tokens: int = 0
    known: int = 0
    parts: tuple[tuple[int, int], ...] = ()

    def flops(self, size: ModelSize) -> float:
        return sum(size.flops(tokens, before) for tokens, before in self.parts or ((self.tokens, self.known),))


class Scorer(Protocol):
    """name is shown and stored; version tells one set of weights from another."""

    name: str

    @property
    def version(self) -> str: ...

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        """One result an item. Raises core.scoring.prm.ScorerError."""
        ...

    async def size(self) -> ModelSize | None:
        """None: unknown. `FREE`: nothing to count (a rule)."""
        ...


@runtime_checkable
class Costly(Protocol):
    """A scorer whose tokens are not those of the text: it asks an engine, or reads with another tokenizer. What it may spend is set
    aside before the text is drawn, and a text that would cost more is not judged.

    engine: whose places it takes, as draws do; None where it has a queue of its own. requests: places that judging one text takes.
    """

    @property
    def engine(self) -> Sampler | None: ...

    @property
    def requests(self) -> int: ...

    def at_most(self, item: Item, new: int, tokens: str = "") -> int:
        """Tokens that are set aside for judging a text: what there is of it, and `new` tokens that are not drawn yet; `tokens`: whose
        (`ModelSize.tokens`)."""
        ...

    def cost(self, item: Item) -> int:
        """The most tokens that judging this very text can cost. For a thread: it may be tokenized."""
        ...

    def anew(self) -> Costly:
        """For another search, which pays for itself what this one has drawn."""
        ...


# What is set aside for judging texts that are not drawn yet. The tokens of another model: a token is a byte or more, and few have more
# than six. The same tokens: the reward model's own marks come to them. A text that needs more stays unjudged where a budget is kept.
BYTES_A_TOKEN, SAME_TOKENS, MORE = 6, 1.5, 64
# Windows of a text that is too long to be read at once repeat of it what leads to them.
WINDOWS = 3


class PrmSearch:
    """A process (or outcome) reward model in this process: what all searches ask in the same moment is one batch.

    What is kept of a text that grows is shared by all searches, and what each pays is not: the steps that it had not judged before, as if it
    were alone. So its ledger depends on nobody else, nor on what was forgotten in between.
    """

    engine, requests = None, 1  # it has a queue of its own

    def __init__(self, scorer: PrmScorer, name: str = "prm") -> None:
        self.name, self._scorer = name, scorer
        self._growing: GrowingScorer | None = None  # a search's texts grow by a step each
        self._waiting: list[tuple[Item, asyncio.Future[Scored]]] = []
        self._reading: list[tuple[Item, asyncio.Future[Scored]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search-scoring")
        self._task: asyncio.Task[None] | None = None
        self._size: ModelSize | None = None
        self._there = lru_cache(256)(self._count)

    @property
    def version(self) -> str:
        return self._scorer.version

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        loop = asyncio.get_running_loop()
        asked = [(item, loop.create_future()) for item in items]
        self._waiting += asked
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work(), name="search-scoring")
        try:
            return list(await asyncio.gather(*(future for _, future in asked)))
        except asyncio.CancelledError:
            mine = {id(future) for _, future in asked}
            for item, future in asked:
                if future.done() and not future.cancelled() and not future.exception():
                    item.cut.append(future.result())
            self._waiting = [one for one in self._waiting if id(one[1]) not in mine]
            for item, future in self._reading:  # it is read to its end, whoever wants it
                if id(future) in mine:
                    item.cut.append(self._charge(item, self._encoded(item)))
            raise

    async def size(self) -> ModelSize | None:
        from core.engines.sampling import size_of

        if self._size is None:
            with suppress(OSError, AttributeError):
                self._size = await asyncio.to_thread(size_of, self._scorer.model.config, self._scorer.model_dir)
        return self._size

    def at_most(self, item: Item, new: int, tokens: str = "") -> int:
        whole, before = self._there(item.problem.prompt, self._steps(item), item.known)
        same = tokens and self._size is not None and tokens == self._size.tokens
        more = MORE + ceil(new * (SAME_TOKENS if same else BYTES_A_TOKEN))
        return whole + more - before if whole + more <= self._scorer.max_tokens else WINDOWS * (whole + more)

    def cost(self, item: Item) -> int:
        return self._charge(item, self._encoded(item)).tokens

    def anew(self) -> PrmSearch:
        return self

    def _steps(self, item: Item) -> tuple[str, ...]:
        return item.steps

    def _encoded(self, item: Item) -> list[EncodedSteps]:
        return self._scorer.windows(item.problem.prompt, self._steps(item))

    def _charge(self, item: Item, windows: Sequence[EncodedSteps]) -> Scored:
        """What a search pays for an item: all that is read, less the steps that it had judged before."""
        if len(windows) == 1:
            before = windows[0].separators[item.known - 1] + 1 if item.known else 0
            return Scored((), len(windows[0].ids) - before, before)
        sizes = [len(window.ids) for window in windows]
        return Scored((), sum(sizes), parts=tuple((n, 0) for n in sizes))

    def _count(self, prompt: str, steps: tuple[str, ...], known: int) -> tuple[int, int]:
        """Tokens of a text, and how many of them this search had judged before."""
        windows = self._scorer.windows(prompt, steps or ("",))
        if len(windows) > 1:
            return sum(len(window.ids) for window in windows), 0
        return len(windows[0].ids), windows[0].separators[known - 1] + 1 if known else 0

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            self._reading = batch
            try:
                values = await loop.run_in_executor(self._thread, self._blocking, [item for item, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            finally:
                self._reading = []
            for (_, future), scored in zip(batch, values, strict=True):
                if not future.done():
                    future.set_result(scored)

    def _blocking(self, items: Sequence[Item]) -> list[Scored]:
        windows = [self._encoded(item) for item in items]
        if self._growing is None:
            from core.scoring.growing import GrowingScorer

            self._growing = GrowingScorer(self._scorer)
        asked = [(item.problem.prompt, item.steps) for item in items]
        values, _ = self._growing.score_counted(asked, windows)
        return [
            replace(self._charge(item, cut), values=tuple(v))
            for item, cut, v in zip(items, windows, values, strict=True)
        ]


class CountdownOracle:
    """The exact rule of the numbers game: 1 while every step holds and the target can still be reached, else 0; at the end, whether it was.

    No model has this; it is the upper bound of what a verifier could do, and costs nothing.
    """

    name = "countdown-oracle"
    version = "2"

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        return [Scored(self.values(item)) for item in items]

    async def size(self) -> ModelSize | None:
        return FREE

    def values(self, item: Item) -> tuple[float, ...]:
        """One for each step that was read."""
        from core.run import TraceReader
        from core.tasks import countdown_text as words
        from core.tasks.countdown import alive

        problem = words.understand(item.problem.prompt)
        reader = TraceReader(item.problem, "", "-")
        reader.feed("".join(item.steps))
        reader.close()
        steps = list(reader.parser.steps) if reader.parser else []
        checked = words.check(problem, steps, forced_end=not item.ended)
        values, good = [], 1.0
        for step in checked.steps:
            state = step.back_to or step.left
            good = good if step.ok and state is not None else 0.0
            values.append(good * float(state is not None and alive(state, problem.target)))
        if item.ended and values:  # who gives up with the target in reach has not reached it
            values[-1] *= float(checked.solved)
        return tuple(values)
