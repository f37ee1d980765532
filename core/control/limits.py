"""What a request may ask of control. Imports nothing: a vLLM server loads it too."""

from __future__ import annotations

from dataclasses import dataclass


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
class Thinking:
    """How long the model may or must think, in its own words (budget forcing, Muennighoff et al. 2025, arXiv 2501.19393).

    budget: thinking tokens after which the end of thinking is forced; None leaves it to the model.
    waits: how often an end of thinking is taken back: the end is removed, "Wait" (in Steiner's format: the token of a turn
    back) is put in its place, and the model goes on.
    """

    budget: int | None = None
    waits: int = 0

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"the thinking budget is {self.budget}; it must be at least 1 token, or absent")
        if not 0 <= self.waits <= 100:
            raise ValueError(f"waits is {self.waits}; it must be between 0 and 100")
