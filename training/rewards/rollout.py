"""A rollout as rewards see it: the question, the response cut into steps, and which token belongs to which step.

Tokens are those that were sampled, never text that was tokenised again: trainers decode without special tokens, and
Steiner's steps would be gone. Knows no reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.formats import parse_response
from core.trace import Step

ANSWER = -1  # the "step" of tokens that belong to none: the answer and the end


@dataclass(frozen=True)
class Rollout:
    """`step_of` has one entry a token: the index of its step, or ANSWER. `finished`: it ended by itself."""

    prompt: str
    response: str
    steps: tuple[Step, ...]
    answer: str
    step_of: tuple[int, ...]
    finished: bool

    @property
    def step_texts(self) -> list[str]:
        return [self.response[s.start : s.end] for s in self.steps]


def read(tokenizer: Any, prompt: str, ids: Sequence[int]) -> Rollout:
    """Cut sampled tokens into steps, by the parser of the response's own format.

    A token belongs to the step in which it begins, so the decision that leads into a step is that step's first token.
    """
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=False)
    finished = bool(ids) and ids[-1] == tokenizer.eos_token_id
    pieces = [stream.step(tokenizer.backend_tokenizer, i) or "" for i in (ids[:-1] if finished else ids)]
    response = "".join(pieces)
    steps, _, answer, _ = parse_response(prompt, response)
    step_of: list[int] = []
    at = step = 0
    for piece in pieces:
        while step < len(steps) and at >= steps[step].end:
            step += 1
        step_of.append(step if step < len(steps) and at >= steps[step].start else ANSWER)
        at += len(piece)
    return Rollout(prompt, response, tuple(steps), answer, tuple(step_of + [ANSWER] * finished), finished)
