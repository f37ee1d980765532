"""How one notices that a reward is being cheated: figures of a batch of rollouts, to be drawn as curves beside it.

A reward that rises while steps break rules, answers grow or shrink, the same step comes again and again, or the turns back
vanish, is a reward that was found a way around. Knows no trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from training.rewards.rollout import Rollout


@dataclass(frozen=True)
class Guards:
    """Shares in [0, 1]; lengths are means a rollout.

    well_formed: whole steps of all steps but those that the end of the budget cut. repeated: steps whose thought the same
    rollout has had before. backtracks: steps that end by turning back. finished: rollouts that ended by themselves.
    """

    tokens: float
    steps: float
    well_formed: float
    repeated: float
    backtracks: float
    finished: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def guards(rollouts: Sequence[Rollout]) -> Guards:
    """The figures of one or more rollouts."""
    steps = repeated = whole = turned = cut = 0
    for rollout in rollouts:
        thoughts: set[str] = set()
        for step in rollout.steps:
            steps += 1
            cut += not step.complete and not rollout.finished and step is rollout.steps[-1]
            whole += step.complete and bool(step.name and step.thought and step.summary and step.reflection)
            turned += step.decision == "backtrack"
            repeated += bool(step.thought) and step.thought in thoughts
            thoughts.add(step.thought)
    n = max(len(rollouts), 1)
    return Guards(
        tokens=round(sum(len(r.step_of) for r in rollouts) / n, 2), steps=round(steps / n, 3),
        well_formed=round(whole / max(steps - cut, 1), 4), repeated=round(repeated / max(steps, 1), 4),
        backtracks=round(turned / max(steps, 1), 4), finished=round(sum(r.finished for r in rollouts) / n, 4),
    )  # fmt: skip
