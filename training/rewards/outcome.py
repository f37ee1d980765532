"""Was it solved? Judged from the steps alone, within the tokens that the rollout had. Knows no trainer."""

from __future__ import annotations

from core.tasks import countdown_text as words
from training.rewards.rollout import Rollout


def solved(rollout: Rollout) -> bool:
    """True if a step of the rollout leaves the target and nothing else, by steps that hold. Raises ValueError for a
    question that is not the numbers game."""
    return words.check(words.understand(rollout.prompt), list(rollout.steps), forced_end=not rollout.finished).solved
