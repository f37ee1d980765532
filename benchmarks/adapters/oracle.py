"""The verifier that all libraries are given: the exact rule of the numbers game, from a response's text."""

from __future__ import annotations

from core.formats.steiner_tokens import REASONING_END, STEP_END
from core.search.scorers import CountdownOracle, Item
from core.trace import Problem

ORACLE = CountdownOracle()


def goodness(prompt: str, response: str) -> float:
    """1 when every step so far holds and the target can be reached from where the last one leads, else 0."""
    thinking = response.partition(REASONING_END)[0]
    steps = tuple(step + STEP_END for step in thinking.split(STEP_END)[:-1])
    values = ORACLE.values(Item(Problem.ask(prompt), steps, (), REASONING_END in response))
    return values[-1] if values else 0.0
