"""Problems of no kind of ours: the answer is the last line of what stands after the thinking, equal by its words."""

from __future__ import annotations

from typing import ClassVar

from core.trace import Problem


def after_thinking(response: str) -> str:
    """What stands after the thinking, in whichever format the response is written."""
    from core.run import TraceReader

    reader = TraceReader(Problem.ask("-"), "", "-")
    reader.feed(response)
    reader.close()
    return reader.trace("stop", sampling={}, stats={}).answer


class TextAnswers:
    """Of one problem."""

    SLOW: ClassVar[bool] = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def canonical(self, response: str) -> str:
        lines = [line for line in (after_thinking(response) or response).splitlines() if line.strip()]
        return " ".join(lines[-1].split()).casefold() if lines else ""

    def right(self, response: str) -> bool | None:
        if self.problem.answer is None:
            return None
        return self.canonical(response) == " ".join(self.problem.answer.split()).casefold()

    def prepare(self, response: str) -> None:
        """Nothing takes long here."""
