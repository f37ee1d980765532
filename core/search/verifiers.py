"""Scorers beside the reward model in this process: outcome models, served ones, judges, rollouts, tests; and all of them by name.

Most judge a finished answer with one value; a text that is not finished has none from them (`Scored(())`). Knows no strategy and no tree.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.answers import Answers, answers_for
from core.engines.base import Sampling
from core.engines.sampling import ModelSize, Sampler, SampleRequest
from core.scoring.prm import ScorerError
from core.search.scorers import Item, PrmSearch, Scored
from core.trace import Problem

if TYPE_CHECKING:
    from core.scoring.judge import GenerativeJudge
    from core.scoring.served import ServedPrm

# Solutions that a judge reads at once; each is `samples` requests.
JUDGED_AT_ONCE = 8


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

    def _blocking(self, items: Sequence[Item]) -> list[Scored]:
        ended = [item for item in items if item.ended]
        values, tokens = self._scorer.score_counted([(item.problem.prompt, [item.text]) for item in ended])
        found = iter([Scored(tuple(v), n) for v, n in zip(values, tokens, strict=True)])
        return [next(found) if item.ended else Scored(()) for item in items]


class ServedSearch(PrmSearch):
    """A process reward model behind a vLLM server. `folder`: the same model here, which is looked at for its size alone."""

    def __init__(self, served: ServedPrm, folder: Path, name: str = "served-prm") -> None:
        super().__init__(served, name)  # type: ignore[arg-type]
        self._served, self._folder = served, folder

    async def size(self) -> ModelSize | None:
        from transformers import AutoConfig

        from core.engines.sampling import size_of

        try:
            return await asyncio.to_thread(lambda: size_of(AutoConfig.from_pretrained(self._folder), self._folder))
        except (OSError, AttributeError):
            return None

    def _blocking(self, items: Sequence[Item]) -> list[Scored]:
        values, tokens = self._served.score_counted([(item.problem.prompt, item.steps) for item in items])
        return [Scored(tuple(v), n) for v, n in zip(values, tokens, strict=True)]


class JudgeSearch:
    """A language model asked for a critique (`core/scoring/judge.py`). Tokens are those that it read and wrote. A solution of which no
    sample could be read has no score. Raises ScorerError when that is so for all that were asked about, and they were several."""

    def __init__(self, judge: GenerativeJudge, name: str = "judge") -> None:
        self.name, self._judge = name, judge
        self._places = asyncio.Semaphore(JUDGED_AT_ONCE)

    @property
    def version(self) -> str:
        return self._judge.version

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        found = await asyncio.gather(*map(self._one, items))
        if len(found) > 1 and not any(one.values for one in found):
            raise ScorerError(
                f"{self.version} gave no verdict on any of {len(found)} solutions; a judge must be a model that can write critiques."
            )
        return list(found)

    async def size(self) -> ModelSize | None:
        engine = self._judge.engine
        return await engine.size() if isinstance(engine, Sampler) else None

    def at_most(self, tokens: int) -> int:
        """Each sample reads the solution, with words between its steps, and may write to its limit."""
        return self._judge.samples * (2 * tokens + self._judge.max_tokens)

    async def _one(self, item: Item) -> Scored:
        # The same solution is read with the same seed, in whichever order they are asked about.
        seed = int.from_bytes(hashlib.sha256("\0".join(item.steps).encode("utf-8", "replace")).digest()[:3], "big")
        async with self._places:
            values, tokens = await self._judge.score_counted(item.problem.prompt, item.steps, seed)
        return Scored(tuple(values or ()), tokens)


class Rollouts:
    """The value of a text: the share of `k` completions by the solver that come to the expected answer (Wang et al. 2023,
    Math-Shepherd, eq. 3, soft estimation). A finished answer is worth 1 or 0.

    oracle: the expected answer is the problem's reference, which no search has in earnest. Else it is what most of `k` answers to the
    bare question say; they are drawn once a problem, and paid for by the first text that is scored.
    """

    def __init__(
        self, sampler: Sampler, *, k: int = 8, oracle: bool = False, temperature: float = 1.0, max_tokens: int = 3500, name: str = "rollouts",
    ) -> None:  # fmt: skip
        if k < 1:
            raise ValueError(f"k is {k}; a rollout scorer completes a text at least once")
        self.name, self._sampler, self.k, self.oracle = name, sampler, k, oracle
        self._sampling = temperature, max_tokens
        self._expected: dict[str, asyncio.Task[tuple[str, int]]] = {}
        self._answers: dict[str, Answers] = {}

    @property
    def version(self) -> str:
        return f"{self._sampler.model}, {self.k} completions" + (", by the reference" if self.oracle else "")

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        return list(await asyncio.gather(*map(self._one, items)))

    async def size(self) -> ModelSize | None:
        return await self._sampler.size()

    def at_most(self, tokens: int) -> int:
        """What judging a text of so many tokens can cost: twice, for the bare question may have to be answered too."""
        return 2 * self.k * self._sampling[1] + 2 * tokens

    async def _one(self, item: Item) -> Scored:
        answers = self._answers.setdefault(item.problem.problem_id, answers_for(item.problem))
        cost, expected = 0, ""
        if self.oracle:
            if item.problem.answer is None and answers.right("") is None:
                raise ScorerError("Rollouts by the reference need a problem with a known answer; this one has none.")
        else:
            first = item.problem.problem_id not in self._expected
            if first:
                self._expected[item.problem.problem_id] = asyncio.ensure_future(self._majority(item.problem, answers))
            expected, drawn = await self._expected[item.problem.problem_id]
            cost = drawn if first else 0
        if item.ended:
            return Scored((float(self._good(answers, expected, item.text)),), cost)
        texts, used = await self._complete(item.problem, item.ids, item.text)
        return Scored((sum(self._good(answers, expected, t) for t in texts) / self.k,), cost + used)

    def _good(self, answers: Answers, expected: str, text: str | None) -> bool:
        if text is None:
            return False
        return bool(answers.right(text)) if self.oracle else bool(expected) and answers.canonical(text) == expected

    async def _majority(self, problem: Problem, answers: Answers) -> tuple[str, int]:
        texts, used = await self._complete(problem, (), "")
        said = Counter(a for t in texts if t is not None and (a := answers.canonical(t)))
        return (said.most_common(1)[0][0] if said else "", used)

    async def _complete(self, problem: Problem, ids: tuple[int, ...], text: str) -> tuple[list[str | None], int]:
        """`k` finished responses, None for one that was cut, and the tokens that were read and written for them."""
        temperature, most = self._sampling
        seed = int.from_bytes(hashlib.sha256(repr((problem.problem_id, ids)).encode()).digest()[:3], "big")
        sampling = Sampling(temperature=temperature, seed=seed, max_tokens=most)
        found = await self._sampler.sample(SampleRequest(problem.prompt, ids, self.k, sampling))
        used = found.prompt_tokens - found.cached_tokens + sum(s.tokens for s in found.samples)
        return [text + s.text if s.end == "eos" else None for s in found.samples], used


class CodeTests:
    """The share of a problem's public tests that a finished program passes; 0 tokens, and as many processes as there are cores."""

    name = "tests"
    version = "1"

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(os.cpu_count() or 1)

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        return list(await asyncio.gather(*map(self._one, items)))

    async def size(self) -> ModelSize | None:
        return None

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
