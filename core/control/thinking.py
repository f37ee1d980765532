"""A thinking budget and "Wait" as a state machine over token ids. Knows no tensor and no engine.

Budget forcing after s1 (Muennighoff et al. 2025, arXiv 2501.19393): at the budget the end of thinking is forced; an end that
comes too early is taken back and "Wait" stands in its place. Steiner's format has a token for that thought, the turn back,
and a word between its tokens would belong to no step: there the token is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from core.control.bounds import BACKTRACK, END, FREE, Constraint
from core.control.limits import Thinking


@dataclass(frozen=True)
class Markers:
    """How a family of models marks its thinking, and what takes the place of an end that is taken back."""

    start: str
    end: str
    wait: str


STEINER = Markers("<|reasoning_start|>", END, BACKTRACK)
THINK = Markers("<think>", "</think>", "Wait")
FAMILIES = (STEINER, THINK)


@dataclass(frozen=True)
class ThinkingIds:
    """The markers as ids of one tokenizer."""

    start: int
    end: int
    wait: tuple[int, ...]

    @classmethod
    def of(cls, vocabulary: Mapping[str, int], encode: Callable[[str], list[int]]) -> ThinkingIds | None:
        """The first family whose markers are tokens of their own; None for a model that does not mark its thinking."""
        for family in FAMILIES:
            start, end = vocabulary.get(family.start), vocabulary.get(family.end)
            if start is not None and end is not None:
                return cls(start, end, tuple(encode(family.wait)))
        return None


class ThinkingControl:
    """One response against its `Thinking`. `seen` is the prompt (which may open the thinking) and what was written.

    Every thinking has the whole budget, as in vLLM: what stands in earlier turns of a prompt uses up nothing.
    """

    def __init__(self, ids: ThinkingIds, thinking: Thinking, seen: Iterable[int] = ()) -> None:
        self.ids, self.thinking = ids, thinking
        self.used = 0
        self.waits_left = thinking.waits
        self._on = False
        self._queued: list[int] = []
        for token in seen:
            self.push(token)

    def next(self) -> Constraint:
        """The constraint on the next token."""
        if self._queued:
            return Constraint(force=self._queued[0])
        if self._on and self._spent:
            return Constraint(force=self.ids.end)
        return FREE

    def instead_of(self, token: int) -> int:
        """What to write when the model has chosen `token`: itself, or the beginning of "Wait"."""
        if token != self.ids.end or not self._on or self._spent or not self.waits_left or not self.ids.wait:
            return token
        self.waits_left -= 1
        self._queued = list(self.ids.wait)
        return self._queued[0]

    def push(self, token: int) -> None:
        """Record the token that was written."""
        if self._queued and token == self._queued[0]:
            self._queued.pop(0)
        if token == self.ids.start:
            self._on, self.used = True, 0
        elif token == self.ids.end:
            self._on = False
        elif self._on:
            self.used += 1

    @property
    def _spent(self) -> bool:
        return self.thinking.budget is not None and self.used >= self.thinking.budget
