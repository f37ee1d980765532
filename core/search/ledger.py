"""What a search has spent: tokens read, tokens known already, tokens written, the scorer's, time and FLOPs, for each node and in all.

Solver and verifier are kept apart: a small solver with a large verifier is not a small system. Knows no engine.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from core.engines.sampling import ModelSize, Sampled


@dataclass(frozen=True)
class Spent:
    """Tokens, FLOPs, and seconds of waiting for models. FLOPs are None where a model's size is unknown, and so are sums with it.

    prompt: tokens that were given to be read, `cached` of them known to the engine already. generated: tokens the solver wrote.
    scorer: tokens the verifier read or wrote. uncounted: requests that failed, or were cut off by the search's end, of which nobody can say what
    they cost.
    """

    prompt: int = 0
    cached: int = 0
    generated: int = 0
    scorer: int = 0
    solver_flops: float | None = 0.0
    scorer_flops: float | None = 0.0
    seconds: float = 0.0
    calls: int = 0
    uncounted: int = 0

    def __add__(self, other: Spent) -> Spent:
        def total(name: str) -> Any:
            a, b = getattr(self, name), getattr(other, name)
            return None if a is None or b is None else a + b

        return Spent(**{f.name: total(f.name) for f in fields(self)})

    @property
    def tokens(self) -> int:
        """What a token budget counts: everything that a model wrote or a scorer read."""
        return self.generated + self.scorer

    @property
    def flops(self) -> float | None:
        if self.solver_flops is None or self.scorer_flops is None:
            return None
        return self.solver_flops + self.scorer_flops

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "tokens": self.tokens,
            "flops": self.flops,
        }  # `asdict` copies: a fifth of a search's own time

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Spent:
        return cls(**{f.name: row[f.name] for f in fields(cls) if f.name in row})


def of_call(sampled: Sampled, size: ModelSize | None, seconds: float) -> list[Spent]:
    """The cost of one request, a share for each continuation: the reading of the prompt goes to the first.

    FLOPs: the prompt less what was cached, after what was cached; then each continuation after the whole prompt.
    """
    out = []
    times = sampled.readings
    prompt, cached = sampled.prompt_tokens // times, sampled.cached_tokens // times
    for i, sample in enumerate(sampled.samples):
        read = i == 0
        flops = None
        if size is not None:
            flops = size.flops(sample.tokens, prompt)
            if read:
                flops += times * size.flops(prompt - cached, cached)
        out.append(
            Spent(
                prompt=sampled.prompt_tokens if read else 0, cached=sampled.cached_tokens if read else 0,
                generated=sample.tokens, solver_flops=flops, seconds=seconds if read else 0.0, calls=int(read),
            )
        )  # fmt: skip
    return out


@dataclass(frozen=True)
class Budget:
    """What a search may spend at most; None is no limit. `tokens` are those that `Spent.tokens` counts."""

    tokens: int | None = None
    flops: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "flops", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"the budget of {name} is {value}; it must be above 0, or absent")
