"""How a question and its steps become token ids for a process reward model: one encoding for training and for scoring.

    ids = tok(question as the base model is asked) + tok(step 0) + [sep] + tok(step 1) + [sep] + …

Every step is tokenised on its own and followed by exactly one separator token, whose logits are the step's score (the
layout of TRL's former PRMTrainer; vLLM serves it as `STEP` pooling). Knows tokenizers, but no model and no rating.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SEPARATOR = "<|step_score|>"


class EncodingError(ValueError):
    """A sentence: this tokenizer or this question cannot be used."""


@dataclass(frozen=True)
class EncodedSteps:
    """Ids and, for each step that they score, the position of its separator. `first` is the first such step."""

    ids: list[int]
    separators: list[int]
    first: int = 0


def separator_id(tokenizer: Any) -> int:
    """The id of the separator. Raises EncodingError when it is not exactly one token."""
    found = tokenizer(SEPARATOR, add_special_tokens=False).input_ids
    if len(found) != 1 or found[0] == tokenizer.unk_token_id:
        raise EncodingError(
            f"The tokenizer does not know {SEPARATOR} as one token, so steps cannot be told apart: add it first."
        )
    return found[0]


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """The question as the model is asked it, up to where its answer begins (by the chat template if there is one)."""
    return encode_messages(tokenizer, [{"role": "user", "content": prompt}])


def encode_messages(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """A conversation up to where the next answer begins: by the chat template, or else one message a line."""
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    else:
        text = (tokenizer.bos_token or "") + "".join(f"{message['content']}\n" for message in messages)
    return tokenizer(text, add_special_tokens=False).input_ids


def encode_piece(tokenizer: Any, text: str, separator: int) -> list[int]:
    """One step and its separator. A separator that somebody wrote into the text is dropped: it must never be scored."""
    ids = [i for i in tokenizer(text, add_special_tokens=False).input_ids if i != separator]
    return [*ids, separator]


def encode_steps(tokenizer: Any, prompt: str, step_texts: Sequence[str], max_tokens: int) -> EncodedSteps:
    """As many whole steps from the beginning as fit into `max_tokens`. A step is never cut: it would be another step.

    Raises EncodingError when the question alone does not fit.
    """
    separator = separator_id(tokenizer)
    ids = [i for i in encode_prompt(tokenizer, prompt) if i != separator]
    if len(ids) >= max_tokens:
        raise EncodingError(
            f"The question has {len(ids)} tokens, more than the limit of {max_tokens} for question and steps."
        )
    at: list[int] = []
    for text in step_texts:
        piece = encode_piece(tokenizer, text, separator)
        if len(ids) + len(piece) > max_tokens:
            break
        ids += piece
        at.append(len(ids) - 1)
    assert ids.count(separator) == len(at)
    return EncodedSteps(ids, at)


def encode_windows(tokenizer: Any, prompt: str, step_texts: Sequence[str], max_tokens: int) -> list[EncodedSteps]:
    """Windows of at most `max_tokens` in which every step is scored exactly once, for traces longer than a model reads.

    Each window begins with the question; a later window repeats preceding steps for about half of its room, so that a
    step is never judged without what led to it. A single step that is too long keeps its end.
    """
    separator = separator_id(tokenizer)
    head = [i for i in encode_prompt(tokenizer, prompt) if i != separator]
    head = head[: max(1, max_tokens // 2)]
    room = max_tokens - len(head)
    pieces = [encode_piece(tokenizer, text, separator)[-room:] for text in step_texts]
    windows: list[EncodedSteps] = []
    next_step = 0
    while next_step < len(pieces):
        start, used = next_step, len(pieces[next_step])
        while start > 0 and used + len(pieces[start - 1]) <= room and used - len(pieces[next_step]) < room // 2:
            start -= 1
            used += len(pieces[start])
        ids, at, index = list(head), [], start
        while index < len(pieces) and (len(ids) + len(pieces[index]) <= max_tokens):
            ids += pieces[index]
            if index >= next_step:
                at.append(len(ids) - 1)
            index += 1
        windows.append(EncodedSteps(ids, at, next_step))
        next_step = index
    return windows
