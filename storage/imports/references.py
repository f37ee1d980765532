"""The right answer that a row brings along, under the names that data sets have for it. A model's own `answer` is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.imports.making import Row
from storage.references import MOST_CHARS

NAMES = (
    "reference_answer", "ground_truth_answer", "ground_truth", "gold_answer", "expected_answer", "correct_answer", "reference",
    "reference_solution", "ground_truth_solution",
)  # fmt: skip


def reference_of(row: Row) -> str:
    """The first of NAMES with a text or a number, in the row or in its `question` (PRM800K); empty where there is none."""
    for place in (row, row.get("question")):
        if isinstance(place, Mapping):
            found = next((text for name in NAMES if (text := _text(place.get(name)))), "")
            if found:
                return found
    return ""


def _text(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return value.strip() if isinstance(value, str) and len(value) <= MOST_CHARS and "\x00" not in value else ""
