"""What a response answers, when two answers are the same, and which is right: one file a kind of problem. Never substrings.

`answers_for` knows which kind a problem is of. Judging is exact where a rule decides and `math-verify` elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from core.trace import Problem


class Answers(Protocol):
    """The answers to one problem. Plain and picklable."""

    def canonical(self, response: str) -> str:
        """The answer of a response in the form in which equal answers are equal; "" where none can be read."""
        ...

    def right(self, response: str) -> bool | None:
        """Whether the response solves the problem; None where nobody knows the answer."""
        ...


def _countdown(problem: Problem) -> Answers:
    from core.answers.countdown import CountdownAnswers

    return CountdownAnswers(problem)


def _text(problem: Problem) -> Answers:
    from core.answers.text import TextAnswers

    return TextAnswers(problem)


# A task by its name. What names none is looked at by `answers_for`.
KINDS: dict[str, Callable[[Problem], Answers]] = {"countdown": _countdown, "text": _text}


def answers_for(problem: Problem) -> Answers:
    """By the problem's task; without one, the numbers game where the question is one of its own wordings, else text.

    Raises ValueError for a task that there is not.
    """
    if problem.task:
        if problem.task not in KINDS:
            raise ValueError(f'there is no task "{problem.task}"; there is {", ".join(KINDS)}')
        return KINDS[problem.task](problem)
    from core.answers.countdown import asked_in_our_words

    return KINDS["countdown" if asked_in_our_words(problem.prompt) else "text"](problem)
