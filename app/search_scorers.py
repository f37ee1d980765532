"""What can judge a search: nothing, a reward model here or behind a server, a judge, completions, tests, or a game's exact rule.

A search names its scorer, with its settings, in its log (`core/search/scorer_choice.py`), so that it can go on with the same one after a
restart. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from app.models import Models
from core.engines.base import Engine
from core.engines.sampling import Sampler
from core.engines.server_info import shown
from core.pocket import POCKET
from core.scoring.prm import ScorerError
from core.search.scorer_choice import ScorerChoice, ServedSettings
from core.search.scorers import CountdownOracle, PrmSearch, Scorer
from core.search.verifiers import SCORERS, CodeTests, JudgeSearch, OrmSearch, Rollouts, ServedSearch
from core.trace import Problem

NONE, REWARD_MODEL = "none", "reward-model"
ORACLE, TESTS = CountdownOracle.name, CodeTests.name
JUDGE, SERVED, ROLLOUTS = "judge", "served-prm", "rollouts"
_JOB = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")

# A model by the name that whoever asks knows it by, and as searches ask it. Raises ValueError, EngineError with a sentence.
Asked = Callable[[str], Awaitable[tuple[Engine, Sampler]]]


@dataclass(frozen=True)
class ScorerEntry:
    """A scorer to choose. ready: whether it can be chosen now; else `help` says what is missing. judges: "steps", each as it comes,
    "answers", finished ones alone, or "". choices: of a setting, where the values that there are can be named."""

    name: str
    title: str
    help: str
    ready: bool = True
    judges: str = ""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Scorers:
    """One object a reward model, so that what all searches ask at once is one batch."""

    def __init__(self, models: Models, asked: Asked, key_env: str = "OPENAI_API_KEY") -> None:
        """asked: where a judge comes from; key_env: the environment variable with the key of a served reward model."""
        self._models, self._asked, self._key_env = models, asked, key_env
        self._loaded: dict[str, PrmSearch] = {}

    def all(self) -> list[ScorerEntry]:
        """In the order of the list on the screen, where the first that is ready is the one that a search is given at first."""
        job = self._models.scorer_job
        outcome = _is_outcome(job)
        judges = tuple(entry.id for entry in self._models.all() if entry.judges)
        rollouts = _entry(ROLLOUTS, "Dear: every text is completed several times.")
        oracle = _entry(ORACLE, "It shows what a perfect verifier could do.")
        # Where the first model plays the numbers game alone, its rule costs nothing; another model's questions it cannot judge.
        plays = next((m.check is not None for m in self._models.all()), False)
        return [
            ScorerEntry(NONE, "none", "Nothing judges what comes; only strategies that need no scorer can run."),
            ScorerEntry(
                REWARD_MODEL, "the reward model in use",
                f"{'Finished answers are' if outcome else 'Every step is'} scored by the reward model of the job {job}." if job
                else "No reward model is in use; train one on the Train page and use it.",
                job is not None, SCORERS["orm" if outcome else "prm"].judges,
            ),
            *((oracle, rollouts) if plays else (rollouts, oracle)),
            ScorerEntry(
                JUDGE, SCORERS[JUDGE].title,
                f"{SCORERS[JUDGE].help} Dear: it reads and writes for every text." if judges
                else "No model here can judge: the pocket model plays the numbers game only. Start the workbench with --endpoint.",
                bool(judges), SCORERS[JUDGE].judges, {"model": judges},
            ),
            _entry(SERVED),
            _entry(TESTS, "The tests come with the problem."),
            *(_trained(job) for job in self._models.reward_models()),
        ]  # fmt: skip

    async def chosen(self, said: str, problem: Problem, solver: Sampler | None = None) -> Scorer | None:
        """A scorer of the list; `solver` completes what rollouts judge. Raises ValueError, EngineError, ScorerError with a sentence."""
        choice = ScorerChoice.of(said)
        names = [entry.name for entry in self.all()]
        if choice.name not in names:
            raise ValueError(f'there is no scorer "{choice.name[:100]}"; there is {", ".join(names)}')
        return await self.named("" if choice.name == NONE else self.settled(str(choice)), problem, solver=solver)

    def settled(self, said: str) -> str:
        """The reward model in use by its name: another may be in use when what is asked for goes on. Raises ValueError."""
        if said != REWARD_MODEL:
            return said
        if self._models.scorer_job is None:
            raise ValueError(
                "No reward model is in use; train one on the Train page and use it, or take another scorer."
            )
        return self._models.scorer_job

    def check_mine(self, said: str) -> None:
        """For who does not own this machine: a server that it does not know and a path on its disk are not asked for. Raises ValueError."""
        choice = ScorerChoice.of(said)
        if choice.name != SERVED:
            return
        wanted: ServedSettings = choice.all()
        known = self._models.addresses()
        if shown(wanted.endpoint) not in known:
            raise ValueError(
                f'scorer {SERVED}: "endpoint" is {wanted.endpoint[:200]}, which an admin alone may name; the workbench is connected with '
                f"{', '.join(sorted(known)) or 'no server'}"
            )
        if not _JOB.fullmatch(wanted.folder or wanted.model):
            raise ValueError(
                f'scorer {SERVED}: "folder" must be the id of a job; an admin alone may name a path on the server'
            )

    def check(self, said: str, problem: Problem) -> None:
        """Whether a scorer can judge this problem at all. Raises ValueError with a sentence."""
        if said == ORACLE:
            from core.tasks import countdown_text

            try:
                countdown_text.understand(problem.prompt)
            except ValueError as error:
                raise ValueError(f"The Countdown oracle judges the numbers game only: {error}") from None
        if said == TESTS:
            from core.answers.code import read_tests

            if not read_tests(problem, "tests"):
                raise ValueError(
                    'The scorer "tests" runs the public tests of a program, and this problem has none: give them as "tests", '
                    "or take another scorer."
                )

    async def named(
        self, said: str, problem: Problem, version: str = "", solver: Sampler | None = None
    ) -> Scorer | None:
        """A scorer as a log names it ("" for none); with a version, only that one of a reward model. Raises ValueError, EngineError,
        ScorerError."""
        if not said:
            return None
        self.check(said, problem)
        choice = ScorerChoice.of(said)
        if choice.name == ORACLE:
            return CountdownOracle()
        if choice.name == TESTS:
            return CodeTests()
        if choice.name == ROLLOUTS:
            if solver is None:
                raise ValueError("Rollouts are the completions of the model that answers, and none was named.")
            wanted = choice.all()
            return Rollouts(solver, k=wanted.k, max_tokens=wanted.max_tokens, name=str(choice))
        if choice.name == JUDGE:
            return await self._judge(choice)
        if str(choice) not in self._loaded:
            make = self._served_blocking if choice.name == SERVED else self._loaded_blocking
            self._loaded.setdefault(str(choice), await asyncio.to_thread(make, choice))
        found = self._loaded[str(choice)]
        if version and choice.name != SERVED and await asyncio.to_thread(lambda: found.version) != version:
            raise ScorerError(f"The reward model of the job {choice.name} was trained anew since this search began.")
        return found

    # ---- inside

    async def _judge(self, choice: ScorerChoice) -> JudgeSearch:
        from core.scoring.judge import GenerativeJudge

        wanted = choice.all()
        engine, sampler = await self._asked(wanted.model)
        if engine.model == POCKET:
            raise ValueError(
                f'scorer {JUDGE}: "model" is {wanted.model}, which plays the numbers game only; name a model that can write critiques'
            )
        judge = GenerativeJudge(engine, samples=wanted.samples, max_tokens=wanted.max_tokens)
        return JudgeSearch(judge, str(choice), sampler)

    def _served_blocking(self, choice: ScorerChoice) -> ServedSearch:
        from core.scoring.served import ServedPrm

        wanted: ServedSettings = choice.all()
        if not wanted.endpoint.startswith(("http://", "https://")):
            raise ValueError(
                f'scorer {SERVED}: "endpoint" is {wanted.endpoint[:200]}; it must be an address such as http://127.0.0.1:8000/v1'
            )
        try:
            folder = self._models.folder_of(wanted.folder or wanted.model)
        except FileNotFoundError as error:
            raise ValueError(
                f'scorer {SERVED}: {error} Its tokenizer is needed here: name a folder with "folder"'
            ) from None
        try:
            served = ServedPrm(wanted.endpoint, wanted.model, folder, key=os.environ.get(self._key_env))
        except OSError as error:  # whatever `transformers` cannot read
            raise ScorerError(f"{folder} cannot be read as a reward model: {error}") from error
        return ServedSearch(served, folder, str(choice))

    def _loaded_blocking(self, choice: ScorerChoice) -> PrmSearch:
        try:
            model = self._models.scorer_of_blocking(choice.name)
        except FileNotFoundError as error:
            raise ScorerError(str(error)) from None
        return OrmSearch(model, choice.name) if _is_outcome(choice.name) else PrmSearch(model, choice.name)


def _is_outcome(job: str | None) -> bool:
    """The id of a job begins with its kind."""
    return job is not None and job.startswith("orm-")


def _trained(job: str) -> ScorerEntry:
    kind = SCORERS["orm" if _is_outcome(job) else "prm"]
    return ScorerEntry(job, f"reward model {job}", f"{kind.help} Trained by the job {job}.", judges=kind.judges)


def _entry(name: str, more: str = "") -> ScorerEntry:
    kind = SCORERS[name]
    return ScorerEntry(name, kind.title, f"{kind.help} {more}".strip(), judges=kind.judges)
