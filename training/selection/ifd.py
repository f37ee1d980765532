"""Instruction-following difficulty, its reverse, and Selective Reflection-Tuning's rule: the student chooses its data.

    IFD(x, y)  = ppl(y | T(x)) / ppl(y)        Li et al. 2023, "From Quantity to Quality", arXiv 2308.12032
    rIFD(x, y) = ppl(x | G(y)) / ppl(x)        Li et al. 2024, "Selective Reflection-Tuning", arXiv 2402.10110
    ppl        = exp(mean token cross-entropy over the target span alone)

T is the model's own template of an instruction; G is the same template around a question that shows the response and asks for the
instruction, in the published wording (`GUESS`, from https://github.com/tianyi-lab/Reflection_Tuning). The target span is found by
character offsets, never by the length of an encoded prefix; the text stands behind a beginning-of-text token, so
that its first token has a context in both terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.pretrained import library, load_weights

# Word for word as published: another wording gives another rIFD.
GUESS = (
    "Below is the response to an instruction, please guess the corresponding instruction for the given response.\n"
    "{response}\n"
    "Generate the instruction for the above response."
)
PLAIN = "### Instruction:\n{instruction}\n\n### Response:\n"


class SelectionError(ValueError):
    """A sentence: this pair cannot be scored."""


@dataclass(frozen=True)
class Pair:
    """An instruction with its response, original or rewritten by a teacher."""

    instruction: str
    response: str


class Student:
    """The model that is to be trained, as a scorer. A small one in its place is legitimate (Superfiltering, arXiv 2402.00530)."""

    def __init__(self, folder: Path, max_tokens: int = 2048) -> None:
        import torch

        self.tokenizer = library().AutoTokenizer.from_pretrained(folder)
        self.model = load_weights("AutoModelForCausalLM", folder, dtype=torch.float32).eval()
        self.max_tokens = min(max_tokens, int(getattr(self.model.config, "max_position_embeddings", max_tokens)))

    def loss(self, before: str, target: str) -> float:
        """Mean cross-entropy (nats a token) of `target` after `before`. Raises SelectionError."""
        import torch

        if not target:
            raise SelectionError("an empty text has no perplexity")
        encoded = self.tokenizer(before + target, add_special_tokens=False, return_offsets_mapping=True)
        start = self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.tokenizer.eos_token_id
        if start is None:
            raise SelectionError(
                "this tokenizer has neither a beginning nor an end of text to put before the first token"
            )
        ids = [start, *encoded.input_ids]
        if len(ids) > self.max_tokens:
            raise SelectionError(
                f"{len(ids)} tokens, more than {self.max_tokens}: a cut text would have another perplexity"
            )
        # A token belongs to the target if any of its characters does (one may straddle the seam).
        inside = torch.tensor([end > len(before) for _, end in encoded.offset_mapping])
        ids_1T = torch.tensor([ids])
        with torch.inference_mode():
            logits_TV = self.model(input_ids=ids_1T, use_cache=False).logits[0, :-1]
            each_T = torch.nn.functional.cross_entropy(logits_TV.float(), ids_1T[0, 1:], reduction="none")
        return float(each_T[inside].mean())

    def asked(self, instruction: str) -> str:
        """T(x): the instruction up to where the response begins."""
        if not self.tokenizer.chat_template:
            return PLAIN.format(instruction=instruction)
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": instruction}], add_generation_prompt=True, tokenize=False
        )
        return str(text).removeprefix(self.tokenizer.bos_token or "")

    def ifd(self, pair: Pair) -> float:
        """Above 1 the instruction does not help: the two do not belong together. Raises SelectionError."""
        return math.exp(self.loss(self.asked(pair.instruction), pair.response) - self.loss("", pair.response))

    def rifd(self, pair: Pair) -> float:
        """Low where the response alone tells what was asked. Raises SelectionError."""
        guess = self.asked(GUESS.format(response=pair.response))
        return math.exp(self.loss(guess, pair.instruction) - self.loss("", pair.instruction))


@dataclass(frozen=True)
class Choice:
    """What the student chose, and the scores it chose by (`None`: it could not be scored, `why` says so)."""

    pair: Pair | None
    instruction_rewritten: bool
    response_rewritten: bool
    ifd: float | None
    rifd: float | None
    why: str = ""


def choose(student: Any, original: Pair, new_instruction: Pair | None, new_response: str | None) -> Choice:
    """Selective Reflection-Tuning, §2.3: the rewritten instruction (with its own response) if its IFD is higher; then the
    rewritten response if its rIFD is lower; the result only if both its IFD and its rIFD are below 1.

    new_response rewrites the response to whichever instruction was chosen. Never raises for a text: it is left out, with a reason.
    """
    try:
        pair, first = original, False
        if new_instruction is not None and student.ifd(new_instruction) > student.ifd(original):
            pair, first = new_instruction, True
        second = False
        if new_response is not None:
            other = Pair(pair.instruction, new_response)
            if student.rifd(other) < student.rifd(pair):
                pair, second = other, True
        ifd, rifd = student.ifd(pair), student.rifd(pair)
    except SelectionError as error:
        return Choice(None, False, False, None, None, str(error))
    if ifd >= 1 or rifd >= 1:
        which = "IFD" if ifd >= 1 else "rIFD"
        return Choice(None, first, second, ifd, rifd, f"{which} is not below 1")
    return Choice(pair, first, second, ifd, rifd)


def counts(choices: Sequence[Choice]) -> dict[str, int]:
    """What became of the pairs, for the report."""
    found = {"pairs": len(choices), "kept": sum(c.pair is not None for c in choices)}
    found["instructions_rewritten"] = sum(c.pair is not None and c.instruction_rewritten for c in choices)
    found["responses_rewritten"] = sum(c.pair is not None and c.response_rewritten for c in choices)
    for choice in choices:
        if choice.why:
            why = "too long" if "tokens, more than" in choice.why else choice.why
            found[f"left out: {why}"] = found.get(f"left out: {why}", 0) + 1
    return found
