"""The numbers game: an answer is the moves it claims, right is decided from the steps alone by the exact rules."""

from __future__ import annotations

import re
from typing import ClassVar

from core.formats.steiner_tokens import REASONING_END
from core.tasks import countdown_text as words
from core.trace import Problem

_MOVE = re.compile(r"(\d+) ([+−×÷]) (\d+) = (\d+)")


def asked_in_our_words(prompt: str) -> bool:
    """Whether a question is one of the game's own wordings, and so no other problem with a few numbers in it."""
    try:
        problem = words.understand(prompt)
    except ValueError:
        return False
    return any(words.ask(problem, i) == prompt.strip() for i in range(len(words.PHRASINGS)))


class CountdownAnswers:
    """Of one question. What a response says it found is its answer; what its steps did decides."""

    SLOW: ClassVar[bool] = False

    def __init__(self, problem: Problem) -> None:
        words.understand(problem.prompt)  # raises ValueError with a sentence
        self.problem = problem

    def canonical(self, response: str) -> str:
        """The claimed moves in order of size, so that "2 + 3, then 4 × 5" and the other way round are one answer; "" for a response
        that says it found nothing."""
        said = response.rpartition(REASONING_END)[2]
        if not said.strip().startswith(words.SOLVED):
            return ""
        return ", ".join(sorted(" ".join(m.groups()[:3]) for m in _MOVE.finditer(said)))

    def right(self, response: str) -> bool:
        from core.run import TraceReader

        reader = TraceReader(self.problem, "", "-")
        reader.feed(response)
        reader.close()
        steps = list(reader.parser.steps) if reader.parser else []
        ended = REASONING_END in response
        return words.check(words.understand(self.problem.prompt), steps, forced_end=not ended).solved

    def prepare(self, response: str) -> None:
        """Nothing takes long here."""
