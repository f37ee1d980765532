"""TRL's rows: stepwise supervision (`completions`, `labels`), preferences (`chosen`, `rejected`) and conversational pairs.

Completions become steps exactly as they are, their labels ratings of whoever is named in `rater_id` (or of the file). A
preference is two traces of one problem that somebody compared; without a `margin` the liking is slight.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.answers.outcome import BEGINNING
from core.trace import Trace
from storage.imports import messages
from storage.imports.judged import Judgement, Rated, labels, step, texts
from storage.imports.making import Row, Unusable, cut, kept, kind, pieces, short, texts_of


def fits(row: Row) -> bool:
    """Steps with labels, a chosen and a rejected answer, or a prompt and a completion of messages."""
    if isinstance(row.get("completions"), list) and "prompt" in row:
        return True
    if row.get("chosen") is not None and row.get("rejected") is not None:
        return True
    return messages.is_chat(row.get("prompt")) and row.get("completion") is not None


def to_traces(row: Row) -> list[Trace]:
    """One trace, or the chosen and the rejected one. Raises Unusable."""
    if "completions" in row:
        return [_stepwise(row)]
    if "chosen" in row or "rejected" in row:
        return [_side(row, "chosen"), _side(row, "rejected")]
    prompt = messages.text_of(row.get("prompt"), "prompt")
    response = messages.text_of(row.get("completion"), "completion")
    return [cut(prompt, response, model=short(row, "model"), stats=kept(row, "label"))]


def ratings(row: Row, traces: list[Trace]) -> list[Rated]:
    """Labels as ratings of steps; a pair as a comparison."""
    rater = texts(row, "rater_id", "raters", "labeler")
    if "completions" in row:
        given = row.get("labels")
        said = tuple(step(i, value) for i, value in labels(given)) if isinstance(given, list) else ()
        return [Rated(traces[0], said, rater)] if said else []
    if "chosen" in row or "rejected" in row:
        margin = row.get("margin")
        said_so = isinstance(margin, int | float) and not isinstance(margin, bool) and margin == margin
        liked = -float(round(min(3, max(1, margin)))) if said_so and margin is not None else -1.0
        return [Rated(traces[0], (Judgement("pair", "preference", None, liked),), rater, other=traces[1])]
    return []


def _stepwise(row: Row) -> Trace:
    steps, given = texts_of(row, "completions"), row.get("labels")
    if given is not None:
        if not isinstance(given, list):
            raise Unusable(f'"labels" is {kind(given)}; write it as a list with one entry a completion.')
        if len(given) != len(steps):
            raise Unusable(f'"labels" has {len(given)} entries for {len(steps)} completions; write one for each.')
        for i, label in enumerate(given):
            if not isinstance(label, bool | int | float | None):
                raise Unusable(f'"labels[{i}]" is {kind(label)}; write true or false.')
    prompt = messages.text_of(row.get("prompt"), "prompt")
    stats: dict[str, Any] = {} if given is None else {**kept(row, "labels"), "labels_from": "trl"}
    gap = row.get("step_gap")
    trace = pieces(
        prompt, steps, straight=False, model=short(row, "model"), answer=short(row, "answer"), stats=stats,
        gap=gap if isinstance(gap, str) else None,
    )  # fmt: skip
    whole = row.get("n_steps")
    if isinstance(whole, int) and whole > len(
        steps
    ):  # an exported row that ends early: what its beginning lacks is no wrong answer
        return replace(trace, solved=trace.solved or None, stats={**trace.stats, BEGINNING: True})
    return trace


def _side(row: Row, side: str) -> Trace:
    """One answer of a pair; without a `prompt` both are whole chats that begin with the question."""
    stats = {"preference": side, **kept(row, "margin")}
    answer: Any = row.get(side)
    if row.get("prompt") is None and messages.is_chat(answer):
        _, prompt, response = messages.prompt_and_response(answer)
    else:
        asked = next((k for k in ("prompt", "question", "instruction", "input") if row.get(k) is not None), "prompt")
        prompt = messages.text_of(row.get(asked), asked)
        if messages.is_chat(answer) and messages.begins_with_question(answer):
            response = messages.prompt_and_response(answer)[2]
        else:
            response = messages.text_of(answer, side)
    return cut(prompt, response, model=short(row, f"{side}_model", "model"), stats=stats)
