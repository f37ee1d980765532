"""Scorers beside the reward model in this process: outcome models, served ones, judges, rollouts, tests; and all of them by name.

Most judge a finished answer with one value; a text that is not finished has none from them (`Scored(())`). Knows no strategy and no tree.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.answers import Answers, answers_for
from core.engines.base import Sampling
from core.engines.sampling import FREE, ModelSize, Sampled, Sampler, SampleRequest, sampler_of
from core.pretrained import library
from core.scoring.prm import ScorerError
from core.search.scorers import BYTES_A_TOKEN, MORE, Item, PrmSearch, Scored
from core.trace import Problem

if TYPE_CHECKING:
    from core.scoring.encoding import EncodedSteps
    from core.scoring.judge import GenerativeJudge
    from core.scoring.served import ServedPrm

# So many solutions from the first on without a verdict: this model cannot judge.
MUTE_AFTER = 8


class ScorerKind(NamedTuple):
    """where: module:class. judges: "steps", every step as it comes, or "answers", finished ones alone. free: costs no tokens."""

    where: str
    title: str
    help: str
    judges: str = "answers"
    free: bool = False


SCORERS: dict[str, ScorerKind] = {
    "prm": ScorerKind("core.search.scorers:PrmSearch", "Process reward model", "P(good) of each step, by a reward model in this process.", "steps"),
    "served-prm": ScorerKind("core.search.verifiers:ServedSearch", "Served reward model", "The same from a vLLM server: P(good) of each step.", "steps"),
    "orm": ScorerKind("core.search.verifiers:OrmSearch", "Outcome reward model", "P(right) of a finished answer, read at its end."),
    "judge": ScorerKind("core.search.verifiers:JudgeSearch", "Judge", "A language model reads the solution and says of each step whether it holds.", "steps"),
    "rollouts": ScorerKind("core.search.verifiers:Rollouts", "Rollouts", "The share of the model's own completions that come to the expected answer.", "steps"),
    "tests": ScorerKind("core.search.verifiers:CodeTests", "Public tests", "The share of a problem's public tests that a program passes, in a sandbox.", free=True),
    "countdown-oracle": ScorerKind("core.search.scorers:CountdownOracle", "Countdown oracle", "The exact rule of the numbers game, which no model has.", "steps", True),
}  # fmt: skip


def known(name: str) -> type[Any]:
    """The class of a scorer; each is made from what its constructor says. Raises ValueError with the names that there are."""
    if name not in SCORERS:
        raise ValueError(f'there is no scorer "{name}"; there is {", ".join(SCORERS)}')
    module, _, cls = SCORERS[name].where.partition(":")
    found: type[Any] = getattr(import_module(module), cls)
    return found


class OrmSearch(PrmSearch):
    """A model trained on outcomes (`training/kinds/orm.py`): one value a finished answer, read at the separator after its end
    (Cobbe et al. 2021). It has never seen an unfinished text, and says nothing of one."""

    def at_most(self, item: Item, new: int, tokens: str = "") -> int:
        # It reads all of a text, and of one that is too long its end.
        return min(super().at_most(replace(item, known=0), new, tokens), self._scorer.max_tokens)

    def _steps(self, item: Item) -> tuple[str, ...]:
        return (item.text,)

    def _encoded(self, item: Item) -> list[EncodedSteps]:
        return super()._encoded(item) if item.ended else []

    def _charge(self, item: Item, windows: Sequence[EncodedSteps]) -> Scored:
        return super()._charge(replace(item, known=0), windows)

    def _blocking(self, items: Sequence[Item]) -> list[Scored]:
        ended = [item for item in items if item.ended]
        values = iter(self._scorer.score_many([(item.problem.prompt, self._steps(item)) for item in ended]))
        return [
            replace(self._charge(item, self._encoded(item)), values=tuple(next(values))) if item.ended else Scored(())
            for item in items
        ]


class ServedSearch(PrmSearch):
    """A process reward model behind a vLLM server. `folder`: the same model here, which is looked at for its size alone."""

    def __init__(self, served: ServedPrm, folder: Path, name: str = "served-prm") -> None:
        super().__init__(served, name)  # type: ignore[arg-type]
        self._served, self._folder = served, folder

    async def size(self) -> ModelSize | None:
        from core.engines.sampling import size_of

        if self._size is None:
            with suppress(OSError, AttributeError):
                self._size = await asyncio.to_thread(
                    lambda: size_of(library().AutoConfig.from_pretrained(self._folder), self._folder)
                )
        return self._size

    def _charge(self, item: Item, windows: Sequence[EncodedSteps]) -> Scored:
        return super()._charge(replace(item, known=0), windows)  # what the server knows of a text it does not say

    def at_most(self, item: Item, new: int, tokens: str = "") -> int:
        return super().at_most(replace(item, known=0), new, tokens)

    def _blocking(self, items: Sequence[Item]) -> list[Scored]:
        values, _ = self._served.score_counted([(item.problem.prompt, item.steps) for item in items])
        return [
            replace(self._charge(item, self._encoded(item)), values=tuple(v))
            for item, v in zip(items, values, strict=True)
        ]


class JudgeSearch:
    """A language model asked for a critique (`core/scoring/judge.py`). Tokens are those that it read and wrote. A solution of which no
    sample could be read has no score. Raises ScorerError when that is so for each of the first several. `sampler`: the judge's engine as
    searches know it, so that critiques and draws take turns."""

    def __init__(self, judge: GenerativeJudge, name: str = "judge", sampler: Sampler | None = None) -> None:
        self.name, self._judge = name, judge
        self.engine = sampler or sampler_of(judge.engine)
        self.requests = judge.samples
        self._mute: int | None = 0  # solutions without a verdict; None: there was one

    @property
    def version(self) -> str:
        return self._judge.version

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        found = await asyncio.gather(*map(self._one, items))
        if any(one.values for one in found):
            self._mute = None
        elif self._mute is not None:
            self._mute += len(found)
            if self._mute >= MUTE_AFTER:
                raise ScorerError(
                    f"{self.version} gave no verdict on any of {self._mute} solutions; a judge must be a model that can write critiques."
                )
        return list(found)

    async def size(self) -> ModelSize | None:
        return await self.engine.size()

    def at_most(self, item: Item, new: int, tokens: str = "") -> int:
        """Each sample reads the solution, with words between its steps, and may write to its limit."""
        return self._for_each(
            _bytes(self._judge.question(item.problem.prompt, ())) + _bytes(item.text) + BYTES_A_TOKEN * new
        )

    def cost(self, item: Item) -> int:
        return self._for_each(_bytes(self._judge.question(item.problem.prompt, item.steps)))

    def anew(self) -> JudgeSearch:
        return self

    def _for_each(self, question: int) -> int:
        """question: its bytes."""
        return self._judge.samples * (MORE + question + self._judge.max_tokens)

    async def _one(self, item: Item) -> Scored:
        # The same solution is read with the same seed, in whichever order they are asked about.
        seed = int.from_bytes(hashlib.sha256("\0".join(item.steps).encode("utf-8", "replace")).digest()[:3], "big")
        heard: list[int] = []
        try:
            values, tokens = await self._judge.score_counted(item.problem.prompt, item.steps, seed, heard)
        except asyncio.CancelledError:
            item.cut.append(Scored((), sum(heard), parts=tuple((n, 0) for n in heard)))
            raise
        return Scored(tuple(values or ()), sum(tokens), parts=tuple((n, 0) for n in tokens))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


Parts = tuple[tuple[int, int], ...]  # tokens, and how many stood before them


def _parts(found: Sampled) -> Parts:
    read = found.prompt_tokens - found.cached_tokens, found.cached_tokens
    return read, *((s.tokens, found.prompt_tokens) for s in found.samples)


def _with(values: tuple[float, ...], parts: Parts) -> Scored:
    return Scored(values, sum(tokens for tokens, _ in parts), parts=parts)


class Rollouts:
    """The value of a text: the share of `k` completions by the solver that come to the expected answer (Wang et al. 2023,
    Math-Shepherd, eq. 3, soft estimation). A finished answer is worth 1 or 0.

    oracle: the expected answer is the problem's reference, which no search has in earnest. Else it is what most of `k` answers to the
    bare question say; they are drawn once a search, and paid for by the first text that is scored.
    """

    def __init__(
        self, sampler: Sampler, *, k: int = 8, oracle: bool = False, temperature: float = 1.0, max_tokens: int = 3500, name: str = "rollouts",
    ) -> None:  # fmt: skip
        if k < 1:
            raise ValueError(f"k is {k}; a rollout scorer completes a text at least once")
        self.name, self.engine, self.k, self.oracle = name, sampler, k, oracle
        self.requests = k
        self._sampling = temperature, max_tokens
        self._expected: dict[str, asyncio.Task[tuple[str, Parts]]] = {}
        self._answers: dict[str, Answers] = {}

    @property
    def version(self) -> str:
        return f"{self.engine.model}, {self.k} completions" + (", by the reference" if self.oracle else "")

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        return list(await asyncio.gather(*map(self._one, items)))

    async def size(self) -> ModelSize | None:
        return await self.engine.size()

    def at_most(self, item: Item, new: int, tokens: str = "") -> int:
        """Twice, for the bare question may have to be answered too. The text is read as the solver's own tokens."""
        return 2 * (MORE + _bytes(item.problem.prompt) + _bytes(item.text) + new + self.k * self._sampling[1])

    def cost(self, item: Item) -> int:
        return 2 * (MORE + _bytes(item.problem.prompt) + len(item.ids) + self.k * self._sampling[1])

    def anew(self) -> Rollouts:
        temperature, most = self._sampling
        return Rollouts(
            self.engine, k=self.k, oracle=self.oracle, temperature=temperature, max_tokens=most, name=self.name
        )

    async def _one(self, item: Item) -> Scored:
        answers = self._answers.setdefault(item.problem.problem_id, answers_for(item.problem))
        cost: Parts = ()
        expected = ""
        if self.oracle:
            if item.problem.answer is None and answers.right("") is None:
                raise ScorerError("Rollouts by the reference need a problem with a known answer; this one has none.")
        else:
            first = item.problem.problem_id not in self._expected
            if first:
                task = asyncio.ensure_future(self._majority(item.problem, answers, item.cut))
                self._expected[item.problem.problem_id] = task
            expected, drawn = await self._expected[item.problem.problem_id]
            cost = drawn if first else ()
        if item.ended:
            return _with((await self._share(answers, expected, [item.text]),), cost)
        try:
            texts, used = await self._complete(item.problem, item.ids, item.text, item.cut)
        except asyncio.CancelledError:
            item.cut.append(_with((), cost))
            raise
        return _with((await self._share(answers, expected, texts),), cost + used)

    async def _share(self, answers: Answers, expected: str, texts: Sequence[str | None]) -> float:
        def share() -> float:
            return sum(self._good(answers, expected, text) for text in texts) / len(texts)

        return await asyncio.to_thread(share) if answers.SLOW else share()

    def _good(self, answers: Answers, expected: str, text: str | None) -> bool:
        if text is None:
            return False
        return bool(answers.right(text)) if self.oracle else bool(expected) and answers.canonical(text) == expected

    async def _majority(self, problem: Problem, answers: Answers, cut: list[Scored | None]) -> tuple[str, Parts]:
        texts, used = await self._complete(problem, (), "", cut)

        def count() -> Counter[str]:
            return Counter(a for t in texts if t is not None and (a := answers.canonical(t)))

        said = await asyncio.to_thread(count) if answers.SLOW else count()
        return (said.most_common(1)[0][0] if said else "", used)

    async def _complete(
        self, problem: Problem, ids: tuple[int, ...], text: str, cut: list[Scored | None]
    ) -> tuple[list[str | None], Parts]:
        """`k` finished responses, None for one that was cut, and what was read and written for them. cut: takes that where the call is
        cancelled."""
        temperature, most = self._sampling
        seed = int.from_bytes(hashlib.sha256(repr((problem.problem_id, ids)).encode()).digest()[:3], "big")
        sampling = Sampling(temperature=temperature, seed=seed, max_tokens=most)
        request = SampleRequest(problem.prompt, ids, self.k, sampling)
        try:
            found = await self.engine.sample(request)
        except asyncio.CancelledError:
            come = request.report.sampled
            cut.append(None if come is None else _with((), _parts(come)))
            raise
        return [text + s.text if s.end == "eos" else None for s in found.samples], _parts(found)


class CodeTests:
    """The share of a problem's public tests that a finished program passes; 0 tokens, and as many processes as there are cores."""

    name = "tests"
    version = "1"

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(os.cpu_count() or 1)

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        return list(await asyncio.gather(*map(self._one, items)))

    async def size(self) -> ModelSize | None:
        return FREE

    async def _one(self, item: Item) -> Scored:
        from core.answers.code import CodeAnswers

        if not item.ended:
            return Scored(())
        try:
            answers = CodeAnswers(item.problem)
        except ValueError as error:
            raise ScorerError(str(error)) from error
        if not answers.public:
            raise ScorerError(
                'The scorer "tests" needs a problem with public tests under "meta.tests"; this one has none.'
            )
        async with self._places:
            share = await asyncio.to_thread(answers.share_of_public, item.text)
        return Scored((float(share or 0.0),))
