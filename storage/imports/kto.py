"""KTO's rows: `prompt`, `completion` (texts, or TRL's lists of messages) and a `label` that says whether the completion is wanted.
The label is a verdict.
"""

from __future__ import annotations

from core.trace import Trace
from storage.imports import messages
from storage.imports.judged import Rated, texts, verdict
from storage.imports.making import Row, Unusable, cut, kept, kind, short


def fits(row: Row) -> bool:
    """A completion with one label that is true or false."""
    both = all(isinstance(row.get(key), str) or messages.is_chat(row.get(key)) for key in ("prompt", "completion"))
    return both and isinstance(row.get("label"), bool)


def to_traces(row: Row) -> list[Trace]:
    """One trace. Raises Unusable."""
    prompt, completion = (messages.text_of(row.get(key), key) for key in ("prompt", "completion"))
    if not isinstance(row.get("label"), bool):
        raise Unusable(f'"label" is {kind(row.get("label"))}; write true or false.')
    return [cut(prompt, completion, model=short(row, "model"), stats=kept(row, "label"))]


def ratings(row: Row, traces: list[Trace]) -> list[Rated]:
    """The verdict of whoever is named in `rater_id`."""
    return [Rated(traces[0], (verdict(1 if row["label"] else -1),), texts(row, "rater_id", "labeler"))]
