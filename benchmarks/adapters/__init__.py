"""The libraries that are held against each other: one file and one line each.

An adapter is a class with `NAME`, `setup(server)` and an async method for each algorithm it has: `best_of_n`, `beam`, `particles`,
`dvts`. A method is given all problems at once and answers them as fast as the library can. It is loaded by the Python of the
environment that its library lives in, so this package imports nothing outside the standard library and `core`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# name: module:class, and the environment beside the repository whose Python loads it ("" is this one)
ADAPTERS: dict[str, tuple[str, str]] = {
    "worldline": ("worldline:Worldline", ""),
    "worldline-to-the-end": ("worldline:ToTheEnd", ""),
    "its_hub": ("its_hub:ItsHub", ".venv-its-hub"),
}
ALGORITHMS = ("best_of_n", "beam", "particles")


@dataclass(frozen=True)
class Task:
    """What all are given. budget: texts in parallel (the N of best-of-N); a beam keeps `width` of them after each step.

    step_tokens, response_tokens: the most that one step and one response may have. The end of a step is `step_end`; `thinking_end`
    stands before the answer, which ends by itself.
    """

    prompts: tuple[str, ...]
    budget: int
    width: int
    seed: int
    max_steps: int
    step_tokens: int
    response_tokens: int
    step_end: str
    thinking_end: str


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible vLLM and the name of the model that it serves."""

    endpoint: str
    model: str


@dataclass(frozen=True)
class Outcome:
    """The chosen response of each problem, and the tokens that the library itself says it spent (None: it does not say)."""

    responses: tuple[str, ...]
    charged: int | None


class Adapter(Protocol):
    """What a library is called through. A method that it lacks is an algorithm that is left out for it."""

    NAME: str

    def setup(self, server: Server) -> None: ...

    async def close(self) -> None: ...
