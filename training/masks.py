"""A row as text in pieces, each with what the model does with it: what the page colours before anything is trained.

Knows rows and a tokenizer; knows no kind and no page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from training.rows import IGNORE, TokenRow


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens that are treated alike. `label`: "read" (no loss), "learned" (the model learns to write it), or
    a score that it learns to give there: "good", "bad", "soft" with its `value`.
    """

    text: str
    label: str
    tokens: int
    value: float | None = None


def pieces(row: TokenRow, tokenizer: Any, *, scores: bool) -> list[Piece]:
    """The whole row, nothing left out. scores: labels are scores of a reward model, not tokens."""
    found = []
    for (label, value), group in groupby(_labelled(row, scores), key=lambda token: token[1:]):
        ids = [token for token, *_ in group]
        text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        found.append(Piece(text, label, len(ids), value))
    return found


def _labelled(row: TokenRow, scores: bool) -> Iterator[tuple[int, str, float | None]]:
    for at, (token, label) in enumerate(zip(row.ids, row.labels, strict=True)):
        if scores:
            if math.isnan(label):
                yield token, "read", None
            else:
                yield token, {0.0: "bad", 1.0: "good"}.get(label, "soft"), label
        else:  # nothing predicts a row's first token
            yield token, "learned" if at and label != IGNORE else "read", None
