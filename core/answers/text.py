"""Problems of no kind of ours: the answer is the last line of what stands after the thinking, equal by its words."""

from __future__ import annotations

from typing import ClassVar

from core.answers.extract import answer_text
from core.trace import Problem


class TextAnswers:
    """Of one problem."""

    SLOW: ClassVar[bool] = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def canonical(self, response: str) -> str:
        lines = [line for line in answer_text(response).splitlines() if line.strip()]
        return " ".join(lines[-1].split()).casefold() if lines else ""

    def right(self, response: str) -> bool | None:
        if self.problem.answer is None:
            return None
        return self.canonical(response) == " ".join(self.problem.answer.split()).casefold()

    def prepare(self, response: str) -> None:
        """Nothing takes long here."""
