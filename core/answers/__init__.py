"""What a response answers, when two answers are the same, and which is right: one file a kind of problem. Never substrings.

`answers_for` knows which kind a problem is of. Judging is exact where a rule decides and `math-verify` elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from core.trace import Problem


class Answers(Protocol):
    """The answers to one problem. Plain and picklable. SLOW: judging one may take long, and `prepare` does so beforehand."""

    SLOW: ClassVar[bool]

    def canonical(self, response: str) -> str:
        """The answer of a response in the form in which equal answers are equal; "" where none can be read."""
        ...

    def right(self, response: str) -> bool | None:
        """Whether the response solves the problem; None where nobody knows the answer."""
        ...

    def prepare(self, response: str) -> None:
        """Do what takes long in judging a response, so that the two above answer at once. For a thread: an event loop must not wait."""
        ...


def _countdown(problem: Problem) -> Answers:
    from core.answers.countdown import CountdownAnswers

    return CountdownAnswers(problem)


def _text(problem: Problem) -> Answers:
    from core.answers.text import TextAnswers

    return TextAnswers(problem)


def _math(problem: Problem) -> Answers:
    from core.answers.math import MathAnswers

    return MathAnswers(problem)


def _choice(problem: Problem) -> Answers:
    from core.answers.choice import ChoiceAnswers

    return ChoiceAnswers(problem)


def _code(problem: Problem) -> Answers:
    from core.answers.code import CodeAnswers

    return CodeAnswers(problem)


# A task by its name. What names none is looked at by `kind_of`.
KINDS: dict[str, Callable[[Problem], Answers]] = {
    "countdown": _countdown,
    "math": _math,
    "choice": _choice,
    "code": _code,
    "text": _text,
}


def answers_for(problem: Problem) -> Answers:
    """By the problem's task; without one, by what it looks like (`kind_of`).

    Raises ValueError for a task that there is not, and for a problem that its kind cannot be asked of.
    """
    if problem.task and problem.task not in KINDS:
        raise ValueError(f'there is no task "{problem.task}"; there is {", ".join(KINDS)}')
    return KINDS[problem.task or kind_of(problem)](problem)


def kind_of(problem: Problem) -> str:
    """The numbers game in its own wordings; a program where there are tests; a choice where the question lists options and the
    reference is one of their letters; mathematics where the reference is a number or LaTeX, or, without one, the question is; else text.
    """
    from core.answers.choice import options
    from core.answers.countdown import asked_in_our_words
    from core.answers.math import looks_mathematical

    if asked_in_our_words(problem.prompt):
        return "countdown"
    if problem.meta.get("tests") or problem.meta.get("hidden_tests"):
        return "code"
    listed, answer = options(problem.prompt), problem.answer
    if listed and (answer is None or answer.strip("()*. ").upper() in listed):
        return "choice"
    if answer is not None:
        return "math" if looks_mathematical(answer) else "text"
    return (
        "math"
        if any(mark in problem.prompt for mark in ("\\boxed", "\\frac", "\\(", "\\[")) or problem.prompt.count("$") >= 2
        else "text"
    )
