"""Exact labels of the numbers game: a step is good if and only if its claims hold and the state it leaves is alive.

For any other task there is no oracle, and that is said instead of guessed.
"""

from __future__ import annotations

from core.tasks import countdown as game
from core.tasks import countdown_text as words
from core.trace import Trace


def label(trace: Trace) -> list[float]:
    """1 or 0 a step. Raises ValueError with a sentence where the task has no oracle."""
    try:
        problem = words.understand(trace.prompt)
    except ValueError as error:
        raise ValueError(f'There is no exact oracle for "{trace.prompt[:60]}": {error}') from None
    checked = words.check(problem, list(trace.steps), forced_end=trace.finish_reason == "step_limit").steps
    return [float(c.ok and c.left is not None and game.alive(c.left, problem.target)) for c in checked]


def lost(trace: Trace, step: int) -> bool:
    """Whether the target can no longer be reached from what a step leaves. Raises ValueError as `label` does."""
    return not label(trace)[step]
