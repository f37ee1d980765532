"""Step bounds as a state machine over token ids. Knows no tensor and no engine.

After each step the model may proceed, turn back or end. Below the minimum only *end* is masked; at the maximum *end* is
forced; between the bounds nothing is touched. (Steiner's published constraint ends at the maximum and proceeds below the
minimum; forbidding the turn back in between would defeat its purpose.) An end that a thinking budget forced in mid-step leaves
the step open: from there no token of the format may follow, or the model would finish the step, and think on, in its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.control.limits import Bounds

# Steiner's, written here once more than in core/formats so that this package stands alone inside another server's process.
STEP_END, PROCEED, BACKTRACK, END = (
    "<|reasoning_step_end|>", "<|reasoning_proceed|>", "<|reasoning_backtrack|>", "<|reasoning_end|>",
)  # fmt: skip
_OTHERS = ("<|reasoning_start|>", "<|reasoning_step_start|>") + tuple(
    f"<|reasoning_step_{field}_{side}|>"
    for field in ("name", "thought", "summary", "reflection")
    for side in ("start", "end")
)


@dataclass(frozen=True)
class StepIds:
    """The ids that bounds need, resolved from a tokenizer (never constants)."""

    step_end: int
    proceed: int
    backtrack: int
    end: int
    eos: int
    thinking: tuple[int, ...] = ()  # all tokens of the format, where they are known

    @classmethod
    def of(cls, vocabulary: Mapping[str, int], eos: int) -> StepIds | None:
        """From a tokenizer's vocabulary; None for a model without steps to bound."""
        found = [vocabulary.get(token) for token in (STEP_END, PROCEED, BACKTRACK, END)]
        ids = [i for i in found if i is not None]
        others = [vocabulary[token] for token in _OTHERS if token in vocabulary]
        return cls(ids[0], ids[1], ids[2], ids[3], eos, (*ids, *others)) if len(ids) == len(found) else None


@dataclass(frozen=True)
class Constraint:
    """What the next token may be: exactly `force`, or anything but `forbid`."""

    force: int | None = None
    forbid: tuple[int, ...] = ()


FREE = Constraint()


class StepBounds:
    """One response's steps against its bounds. `forced_end` tells that the maximum, not the model, ended it."""

    def __init__(self, ids: StepIds, bounds: Bounds, seen: Iterable[int] = ()) -> None:
        self.ids, self.bounds = ids, bounds
        self.steps = 0
        self.ended = False
        self.forced_end = False
        self._at_decision = False
        self._cut = False  # the end stands in the middle of a step
        for token in seen:
            self.push(token)

    def next(self) -> Constraint:
        """The constraint on the next token."""
        if self.ended:
            return Constraint(forbid=self.ids.thinking) if self._cut else FREE
        if self._at_decision and self.steps >= self.bounds.max_steps:
            return Constraint(force=self.ids.end)
        if self.steps < self.bounds.min_steps:
            return Constraint(forbid=(self.ids.end, self.ids.eos))
        return FREE

    def push(self, token: int) -> None:
        """Record the token that was chosen."""
        if self.ended:
            return
        if token == self.ids.step_end:
            self.steps += 1
            self._at_decision = True
            return
        if token == self.ids.end:
            self.ended = True
            self._cut = not self._at_decision
            self.forced_end = self._at_decision and self.steps >= self.bounds.max_steps
        self._at_decision = False
