"""Argilla's records, as its `records.to_datasets()` and Worldline's export write them.

    {"id", "prompt", "step" or "response", "correctness.responses": [...], "correctness.responses.users": [...], …}

A record of a step belongs to its neighbours with the same `trace_id`: together they are one trace, with exactly these steps.
Answers that were submitted become ratings of the users that are named; drafts and discarded ones do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.trace import Trace
from storage.imports.judged import WORDS, Judgement, Rated, note, step, step_text, verdict
from storage.imports.making import Row, Unusable, cut, kind, pieces, short

_LISTS = ("correctness", "rationale", "better", "verdict", "note")


def fits(row: Row) -> bool:
    """A prompt with a step or a response, and a list of answers to any question."""
    answered = any(isinstance(key, str) and key.endswith(".responses") for key in row)
    return answered and "prompt" in row and ("step" in row or "response" in row)


def gather(row: Row) -> str:
    """Records of one trace belong together."""
    trace_id = row.get("trace_id")
    return trace_id if isinstance(trace_id, str) and "step" in row else ""


def to_traces(row: Row) -> list[Trace]:
    """One trace of the records that belong together. Raises Unusable."""
    records = _records(row)
    first = records[0]
    prompt = first.get("prompt")
    if not isinstance(prompt, str):
        raise Unusable(f'"prompt" is {kind(prompt)}; write it as a string.')
    model = short(first, "model")
    if "step" not in first:
        response = first.get("response")
        if not isinstance(response, str):
            raise Unusable(f'"response" is {kind(response)}; write it as a string.')
        return [cut(prompt, response, model=model)]
    steps = [record.get("step") for record in records]
    for i, text in enumerate(steps):
        if not isinstance(text, str):
            raise Unusable(f'"step" of record {i} is {kind(text)}; write it as a string.')
    gap = first.get("step_gap")
    texts = [text for text in steps if isinstance(text, str)]
    return [pieces(prompt, texts, straight=False, model=model, gap=gap if isinstance(gap, str) else None)]


def ratings(row: Row, traces: list[Trace]) -> list[Rated]:
    """What each user answered. Raises Unusable."""
    by_user: dict[str, list[Judgement]] = {}
    for i, record in enumerate(_records(row)):
        for question in _LISTS:
            for user, value in _answers(record, question):
                by_user.setdefault(user, []).append(_judgement(question, value, i))
    return [Rated(traces[0], tuple(said), user) for user, said in by_user.items()]


def _records(row: Row) -> list[Row]:
    given = row.get("records")
    together = isinstance(given, list) and given and all(isinstance(r, Mapping) for r in given)
    records: list[Row] = list(given) if isinstance(given, list) and together else [row]
    if "step" in records[0] and all(type(r.get("step_index")) is int for r in records):
        return sorted(records, key=lambda r: r["step_index"])
    return records


def _answers(record: Row, question: str) -> list[tuple[str, Any]]:
    values = record.get(f"{question}.responses") or []
    users, states = record.get(f"{question}.responses.users"), record.get(f"{question}.responses.status")
    for name, given in (("", values), (".users", users), (".status", states)):
        if given is not None and not isinstance(given, list):
            raise Unusable(f'"{question}.responses{name}" is {kind(given)}; write it as a list.')
    for name, given in ((".users", users), (".status", states)):
        if given and len(given) != len(values):
            raise Unusable(f'"{question}.responses{name}" has {len(given)} entries for {len(values)} responses.')
    users, states = users or [""] * len(values), states or ["submitted"] * len(values)
    return [
        (str(u or ""), v) for u, v, s in zip(users, values, states, strict=True) if s == "submitted" and v is not None
    ]


def _judgement(question: str, value: Any, i: int) -> Judgement:
    if not isinstance(value, str):
        raise Unusable(f'"{question}.responses" holds {kind(value)}; write each answer as a string.')
    if question in ("correctness", "verdict"):
        if value not in WORDS:
            raise Unusable(f'"{question}.responses" holds {value[:40]!r}; it must be one of {", ".join(WORDS)}.')
        return step(i, WORDS[value]) if question == "correctness" else verdict(WORDS[value])
    return note(value) if question == "note" else step_text(i, question, value)
