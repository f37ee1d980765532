"""Where problems come from and how answers are checked: one file a task."""

from __future__ import annotations

from collections.abc import Sequence

from core.trace import Step


def solved(prompt: str, steps: Sequence[Step]) -> bool | None:
    """Checked from the steps by a task's exact rules, whatever the answer claims; None where no task of ours can check."""
    from core.tasks import countdown_text

    try:
        problem = countdown_text.understand(prompt)
    except ValueError:
        return None
    return countdown_text.check(problem, list(steps)).solved
