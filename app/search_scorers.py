"""What can judge a search: nothing, the reward model in use, the model's own completions, or the exact rule of the numbers game.

A search names its scorer in its log, so that it can go on with the same one after a restart. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.models import Models
from core.engines.sampling import Sampler
from core.scoring.prm import ScorerError
from core.search.scorers import CountdownOracle, PrmSearch, Scorer
from core.search.verifiers import SCORERS, OrmSearch, Rollouts
from core.tasks import countdown_text

NONE, REWARD_MODEL = "none", "reward-model"
ORACLE, ROLLOUTS = CountdownOracle.name, "rollouts"


@dataclass(frozen=True)
class ScorerEntry:
    """A scorer to choose. ready: whether it can be chosen now; else `help` says what is missing."""

    name: str
    title: str
    help: str
    ready: bool = True


class Scorers:
    """One object a reward model, so that what all searches ask at once is one batch."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._loaded: dict[str, PrmSearch] = {}

    def all(self) -> list[ScorerEntry]:
        """In the order of the list on the screen, where the first that is ready is the one that a search is given at first."""
        job = self._models.scorer_job
        rollouts = ScorerEntry(
            ROLLOUTS, SCORERS[ROLLOUTS].title, f"{SCORERS[ROLLOUTS].help} Dear: every step is completed eight times."
        )
        oracle = ScorerEntry(
            ORACLE, SCORERS[ORACLE].title, f"{SCORERS[ORACLE].help} It shows what a perfect verifier could do."
        )
        # Where the first model plays the numbers game alone, its rule costs nothing; another model's questions it cannot judge.
        plays = next((m.check is not None for m in self._models.all()), False)
        return [
            ScorerEntry(NONE, "none", "Nothing judges what comes; only strategies that need no scorer can run."),
            ScorerEntry(
                REWARD_MODEL, "the reward model in use",
                f"Every step is scored by the reward model of the job {job}." if job
                else "No reward model is in use; train one on the Train page and use it.",
                job is not None,
            ),
            *((oracle, rollouts) if plays else (rollouts, oracle)),
        ]  # fmt: skip

    async def chosen(self, name: str, prompt: str, solver: Sampler | None = None) -> Scorer | None:
        """A scorer by the name in the list; `solver` completes what rollouts judge. Raises ValueError, ScorerError with a sentence."""
        if name == REWARD_MODEL:
            if self._models.scorer_job is None:
                raise ValueError(
                    "No reward model is in use; train one on the Train page and use it, or take another scorer."
                )
            name = self._models.scorer_job
        elif name not in (NONE, ORACLE, ROLLOUTS):
            there = ", ".join(entry.name for entry in self.all())
            raise ValueError(f'there is no scorer "{name[:100]}"; there is {there}')
        return await self.named("" if name == NONE else name, prompt, solver=solver)

    async def named(self, name: str, prompt: str, version: str = "", solver: Sampler | None = None) -> Scorer | None:
        """A scorer by the name in a log ("" for none); with a version, only that one. Raises ValueError, ScorerError."""
        if not name:
            return None
        if name == ORACLE:
            try:
                countdown_text.understand(prompt)
            except ValueError as error:
                raise ValueError(f"The Countdown oracle judges the numbers game only: {error}") from None
            return CountdownOracle()
        if name == ROLLOUTS and solver is not None:
            return Rollouts(solver)  # one a search: what it draws for a problem is that search's to pay
        if name not in self._loaded:
            try:
                model = await asyncio.to_thread(self._models.scorer_of_blocking, name)
            except FileNotFoundError as error:
                raise ScorerError(str(error)) from None
            outcome = name.startswith("orm-")  # the id of a job begins with its kind
            self._loaded.setdefault(name, OrmSearch(model, name) if outcome else PrmSearch(model, name))
        found = self._loaded[name]
        if version and await asyncio.to_thread(lambda: found.version) != version:
            raise ScorerError(f"The reward model of the job {name} was trained anew since this search began.")
        return found
