"""How large a flywheel is, and the folder in which every stage's result is kept, so that a second call goes on.

DIR/plan.json         what was asked for; another plan in the same folder is refused
    stages/*.json     one result a stage, with the seconds it took
    traces/*.jsonl    what was generated
    data/             an ordinary data folder: the store, snapshots and jobs
    table.md, results.json, flywheel.svg
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from training.run_folder import write_atomically


@dataclass(frozen=True)
class Plan:
    """error: share of the simulated raters' judgements that are turned round. budgets: rated traces at which reward models
    are trained; the arms of active learning share the first `active_from`, then rate up to each budget until `active_to`.
    samples: solutions a held-out question, all of which best-of-k chooses from. workers: cores. recipe: overrides of every job.
    """

    seed: int = 1
    error: float = 0.1
    step_limit: int = 24
    samples: int = 16
    held_out: int = 60
    questions: int = 200
    per_question: int = 4
    budgets: tuple[int, ...] = (16, 32, 64, 128, 256)
    active_from: int = 16
    active_to: int = 128
    workers: int = 2
    recipe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.error < 0.5:
            raise ValueError(f"the error rate is {self.error}; it must be at least 0 and below 0.5 (a coin)")

    @property
    def active(self) -> tuple[int, ...]:
        """Budgets of the arms of active learning, the shared beginning included."""
        return tuple(b for b in self.budgets if self.active_from <= b <= self.active_to)


FULL = Plan()
# Shows that everything runs; its figures mean nothing.
QUICK = replace(
    FULL, step_limit=4, samples=3, held_out=3, questions=5, per_question=2, budgets=(3, 6), active_from=3, active_to=6,
    workers=1, recipe=("min_steps=2",),
)  # fmt: skip

Tell = Callable[[str, float, float | None], None]


class Kept:
    """Stages of a folder: each is done once. `tell(stage, share done, seconds left or None)` hears of progress."""

    def __init__(self, folder: Path, plan: Plan, tell: Tell, weights: dict[str, float]) -> None:
        """weights: the planned stages and what each costs beside the others. Raises ValueError for a folder of another plan."""
        self.folder, self.tell, self.weights = folder, tell, weights
        self.seconds: dict[str, float] = {}
        self.stage, self._began = "", 0.0
        (folder / "stages").mkdir(parents=True, exist_ok=True)
        asked = json.dumps(asdict(plan), indent=1)
        known = folder / "plan.json"
        if known.exists() and known.read_text(encoding="utf-8") != asked:
            raise ValueError(
                f"{folder} holds a flywheel of other settings (see {known}); give the same ones, or another folder."
            )
        write_atomically(known, asked)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """The stage's result, made now or read. `make` returns what JSON can hold."""
        path = self.folder / "stages" / f"{name}.json"
        if not path.exists():
            self.stage, self._began = name, time.monotonic()
            self.at(0.0)
            value = make()
            seconds = round(time.monotonic() - self._began, 1)
            write_atomically(path, json.dumps({"seconds": seconds, "value": value}))
        row = json.loads(path.read_text(encoding="utf-8"))
        self.seconds[name] = row["seconds"]
        return row["value"]

    def at(self, share: float) -> None:
        """How far the running stage is. The time left follows from what the stages so far took for their weight."""
        done = sum(self.weights[n] for n in self.seconds)
        here = self.weights[self.stage] * share
        spent = sum(self.seconds.values()) + time.monotonic() - self._began
        whole = sum(self.weights.values())
        left = spent / (done + here) * (whole - done - here) if done + here > 0.01 * whole else None
        self.tell(self.stage, (done + here) / whole, left)
