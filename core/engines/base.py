"""The protocol between what generates and everything else. Knows neither torch nor HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol


class EngineError(Exception):
    """The engine cannot answer; the message is a sentence for the person who asked."""


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
class Bounds:
    """How many steps the model may take. Between the two it decides freely."""

    min_steps: int = 0
    max_steps: int = 60

    def __post_init__(self) -> None:
        if self.min_steps < 0 or self.max_steps < 1 or self.min_steps > self.max_steps:
            raise ValueError(
                f"min_steps is {self.min_steps} and max_steps is {self.max_steps}; "
                "needed: 0 <= min_steps <= max_steps and max_steps >= 1"
            )


@dataclass(frozen=True)
class GenerateRequest:
    """One question to one model."""

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True)
class Chunk:
    """A piece of the response. The last one carries `finish_reason` (stop, length or step_limit) and may have no text."""

    text: str
    tokens: int
    finish_reason: str | None = None
    prompt_tokens: int = 0


class Engine(Protocol):
    """Anything that can stream a response."""

    model: str

    def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Chunks of one response, as they are made. Closing the generator cancels the request. Raises EngineError."""
        ...

    async def close(self) -> None:
        """Stop everything and free what is held."""
        ...
