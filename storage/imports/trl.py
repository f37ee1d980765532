"""TRL's rows: stepwise supervision (`completions`, `labels`), preferences (`chosen`, `rejected`) and conversational pairs.

Completions become steps exactly as they are; labels stay with the trace, in `stats["labels"]`. A preference is two
traces of one problem, with `stats["preference"]` saying which one was chosen.
"""

from __future__ import annotations

from typing import Any

from core.trace import Trace
from storage.imports import messages
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


def _stepwise(row: Row) -> Trace:
    texts, labels = texts_of(row, "completions"), row.get("labels")
    if labels is not None:
        if not isinstance(labels, list):
            raise Unusable(f'"labels" is {kind(labels)}; write it as a list with one entry a completion.')
        if len(labels) != len(texts):
            raise Unusable(f'"labels" has {len(labels)} entries for {len(texts)} completions; write one for each.')
        for i, label in enumerate(labels):
            if not isinstance(label, bool | int | float | None):
                raise Unusable(f'"labels[{i}]" is {kind(label)}; write true or false.')
    prompt = messages.text_of(row.get("prompt"), "prompt")
    stats: dict[str, Any] = {} if labels is None else {**kept(row, "labels"), "labels_from": "trl"}
    return pieces(prompt, texts, straight=False, model=short(row, "model"), answer=short(row, "answer"), stats=stats)


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
