"""Fine-tuning rows that Worldline exported: `prompt`, `completion` (texts, or one list of `messages`), and `how` says why they are there.

What was approved becomes a good verdict of each rater that is named; what was solved or repaired is a trace and nobody's rating.
"""

from __future__ import annotations

from core.trace import Trace
from storage.imports import messages
from storage.imports.judged import Rated, several, verdict
from storage.imports.making import Row, Unusable, cut, short

HOW = ("approved", "solved", "repaired")


def fits(row: Row) -> bool:
    """`how`, with a prompt and a completion or a chat."""
    pair = all(isinstance(row.get(name), str) for name in ("prompt", "completion"))
    return row.get("how") in HOW and (pair or messages.is_chat(row.get("messages")))


def to_traces(row: Row) -> list[Trace]:
    """One trace. Raises Unusable."""
    if not fits(row):
        raise Unusable(
            f'"how" is none of {", ".join(HOW)}, or there is neither a "prompt" with a "completion" nor a list of "messages".'
        )
    if messages.is_chat(row.get("messages")):
        _, prompt, response = messages.prompt_and_response(row["messages"])
    else:
        prompt, response = row["prompt"], row["completion"]
    return [cut(prompt, response, model=short(row, "model"))]


def ratings(row: Row, traces: list[Trace]) -> list[Rated]:
    """The verdict of each rater who approved it."""
    return (
        [Rated(traces[0], (verdict(1),), rater) for rater in several(row, "raters")] if row["how"] == "approved" else []
    )
