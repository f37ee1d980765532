"""The protocol between what generates and everything else. Knows neither torch nor HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.control.limits import Bounds, Thinking
from core.turns import Message, Turns


class EngineError(Exception):
    """The engine cannot answer; the message is a sentence for the person who asked.

    `status` is what a server answered (an HTTP status), None where none did.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class EngineDown(EngineError):
    """It cannot be reached, broke off or failed by itself: another server might have answered the same request."""


class EngineCut(EngineError):
    """The server keeps back the rest of this answer by rules of its own; another answer to the question may come whole."""


class EngineBusy(EngineDown):
    """It takes no more requests now. `wait_s` is for how long, where the server said so."""

    def __init__(self, message: str, status: int | None = None, wait_s: float | None = None) -> None:
        super().__init__(message, status)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. temperature 0 is greedy; the same seed gives the same trace on the same machine."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int = 3500

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 5:
            raise ValueError(f"temperature is {self.temperature}; it must lie between 0 and 5")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}; it must be between 0 and 2^63 - 1")


@dataclass(frozen=True)
class GenerateRequest:
    """One question to one model, after the turns `before` it. `prefix` is what the model has written already in answer to
    the question; it goes on from exactly there.

    `schema` is a JSON schema that the answer is to follow, for a new question only (no `prefix`, no waits). Who asks must
    check the answer all the same: not every server holds its model to it. Raises EngineError where `takes_schema` says no.
    """

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    bounds: Bounds = field(default_factory=Bounds)
    thinking: Thinking = field(default_factory=Thinking)
    prefix: str = ""
    schema: Mapping[str, Any] | None = None
    before: Turns = field(default_factory=Turns)

    @property
    def messages(self) -> list[Message]:
        """The conversation for a chat template, the question last."""
        return self.before.messages(self.prompt)


OPENS_THINKING = "opens_thinking"  # in `Chunk.about`: true where the chat template ends a prompt in `<think>`


@dataclass(frozen=True)
class Chunk:
    """A piece of the response. The last one carries `finish_reason` (stop, length or step_limit) and may have no text.

    `about` says where the response comes from and is stored with the trace: `server`, `version`, `endpoint`,
    `chat_template` (a SHA-256), `seed` where the engine drew it, `saved_prompt_tokens` (what summaries of earlier
    turns saved against full thoughts) where there are earlier turns and tokens can be counted, `opens_thinking`, and `notes`:
    sentences on what could not be applied. It travels with a chunk, not with the engine, because a pool answers from several servers.
    """

    text: str
    tokens: int
    finish_reason: str | None = None
    prompt_tokens: int = 0
    about: Mapping[str, Any] | None = None


class Engine(Protocol):
    """Anything that can stream a response."""

    model: str

    def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Chunks of one response, as they are made. Closing the generator cancels the request. Raises EngineError."""
        ...

    async def close(self) -> None:
        """Stop everything and free what is held."""
        ...


def takes_schema(engine: Engine) -> bool:
    """Whether an engine can be asked to answer by a JSON schema: those that speak to servers can."""
    return bool(getattr(engine, "takes_schema", False))
