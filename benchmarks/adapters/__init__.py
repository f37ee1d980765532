"""The libraries that are held against each other: one file and one line each.

An adapter is a class with `NAME`, `setup(server)` and an async method for each algorithm it has: `best_of_n`, `beam`, `particles`,
`dvts`. A method is given all problems at once and answers them as fast as the library can. It is loaded by the Python of the
environment that its library lives in, so this package imports nothing outside the standard library and `core`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Library(NamedTuple):
    """adapter: module:class. environment: the folder in the repository whose Python loads it; "" is the one that runs the
    benchmark. in_process: it loads the model itself instead of asking the server."""

    adapter: str
    environment: str = ""
    in_process: bool = False


ADAPTERS = {
    "worldline": Library("worldline:Worldline"),
    "worldline-to-the-end": Library("worldline:ToTheEnd"),
    "its_hub": Library("its_hub:ItsHub", ".venv-its-hub"),
    "thinkbooster": Library("thinkbooster:ThinkBooster", ".venv-thinkbooster"),
    "worldline-in-process": Library("worldline:InProcess", ".venv-vllm", in_process=True),
}
USUAL = ("worldline", "worldline-to-the-end", "its_hub")  # those that are measured unless others are named
ALGORITHMS = ("best_of_n", "beam", "dvts", "particles")


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
    """An OpenAI-compatible vLLM, the name of the model that it serves, and the model's folder for who loads it in process.
    `endpoint` is empty where nobody asks a server."""

    endpoint: str
    model: str
    folder: str


@dataclass(frozen=True)
class Outcome:
    """The chosen response of each problem, and the tokens that the library itself says it spent (None: it does not say)."""

    responses: tuple[str, ...]
    charged: int | None


class Adapter(Protocol):
    """What a library is called through. A method that it lacks is an algorithm that is left out for it."""

    NAME: str

    def setup(self, server: Server) -> None: ...

    async def fresh(self) -> None:
        """Before each task, in process only: forget what the last one left in a cache. Need not be there."""

    async def close(self) -> None: ...
