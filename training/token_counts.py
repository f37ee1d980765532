"""How long a text is: by a model's tokenizer, or, where no tokenizer is at hand, by its characters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.pretrained import library

PER_TOKEN = 4  # characters a token of English, about: it decides nothing finer than a limit or a rank
BY_CHARACTERS = f"characters / {PER_TOKEN}"


def counter(folder: Path | None) -> tuple[Callable[[str], int], str]:
    """A count of tokens (nothing added to the text), and a word for what it counts by. `None`: by characters, rounded up."""
    if folder is None:
        return lambda text: -(-len(text) // PER_TOKEN), BY_CHARACTERS
    tokenizer = library().AutoTokenizer.from_pretrained(folder)

    def count(text: str) -> int:  # verbose would warn of a text too long for the model, which is only counted here
        return len(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    return count, f"the tokenizer of {folder.name}"
