"""From rewards to advantages: a group of rollouts of one question is its own baseline. Knows no model and no task.

Outcome: Â = (R − mean) / std over the group's rollouts (GRPO, Shao et al. 2024, DeepSeekMath, section 4.1.2). Steps, after
its section 4.1.3 (process supervision): rewards to come, normalised over *all steps of the group*. Two things are ours:
rewards to come are discounted (without that, a long rollout weighs its first steps by its length), and they are summed
before they are normalised, so that the advantages of a group sum to zero over its steps.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

EPSILON = 1e-4  # TRL's: a group in which all is equal has no advantage, not an infinite one


def normalised(values: Sequence[float]) -> list[float]:
    """(value − mean) / (standard deviation + ε); zeros where all are equal."""
    if not values:
        return []
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))
    return [(v - mean) / (std + EPSILON) for v in values]


def to_come(rewards: Sequence[float], discount: float) -> list[float]:
    """G_i = r_i + discount · G_(i+1)."""
    found: list[float] = []
    following = 0.0
    for reward in reversed(rewards):
        following = reward + discount * following
        found.append(following)
    return found[::-1]


def step_advantages(
    group: Sequence[Sequence[float]], discount: float, places: Sequence[Sequence[Hashable]] | None = None
) -> list[list[float]]:
    """One advantage a step of each rollout of a group, from one reward a step. They sum to 0 over the group.

    places: where each step began. Then steps are compared with those that began at an equal place (step-level groups after
    GiGPO, Feng et al. 2025, arXiv 2505.10978), and the advantages sum to 0 over each place: a step out of a dead end is
    then no better for being there than one that leads on. The deviation is that of the whole group: divided by its own, a
    place where two steps hardly differ would count as much as one where eight decide.
    """
    returns = [g for one in group for g in to_come(one, discount)]
    where = [p for one in places for p in one] if places is not None else [None] * len(returns)
    members: dict[Hashable, list[float]] = {}
    for place, value in zip(where, returns, strict=True):
        members.setdefault(place, []).append(value)
    means = {place: math.fsum(values) / len(values) for place, values in members.items()}
    flat = iter(normalised([value - means[place] for place, value in zip(where, returns, strict=True)]))
    return [[next(flat) for _ in one] for one in group]


def token_advantages(step_of: Sequence[int], steps: Sequence[float], whole: float) -> list[float]:
    """One advantage a token: its step's, plus that of the whole rollout; tokens of the answer have the latter alone."""
    return [whole + (steps[i] if 0 <= i < len(steps) else 0.0) for i in step_of]
