"""From rewards to advantages: a group of rollouts of one question is its own baseline. Knows no model and no task.

Outcome: Â = (R − mean) / std over the group's rollouts (GRPO, Shao et al. 2024, DeepSeekMath, section 4.1.2). Steps, after
its section 4.1.3 (process supervision): rewards to come, normalised over *all steps of the group*. Two things are ours:
rewards to come are discounted (without that, a long rollout weighs its first steps by its length), and they are summed
before they are normalised, so that the advantages of a group sum to zero over its steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def step_advantages(group: Sequence[Sequence[float]], discount: float) -> list[list[float]]:
    """One advantage a step of each rollout of a group, from one reward a step. They sum to 0 over the group."""
    returns = [to_come(rewards, discount) for rewards in group]
    flat = iter(normalised([g for one in returns for g in one]))
    return [[next(flat) for _ in one] for one in returns]


def token_advantages(step_of: Sequence[int], steps: Sequence[float], whole: float) -> list[float]:
    """One advantage a token: its step's, plus that of the whole rollout; tokens of the answer have the latter alone."""
    return [whole + (steps[i] if 0 <= i < len(steps) else 0.0) for i in step_of]
