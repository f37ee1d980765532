"""Label Studio's tasks, as its JSON export and Worldline's export write them: `data` and `annotations`.

`data.prompt` is the question, `data.steps` the steps (Paragraphs: objects with `text`, or strings), or `data.response` the whole
response. A label over a paragraph rates that step, wherever in it the label begins and ends; a choice of `verdict` rates the
trace. An annotation that was cancelled is a skip. Predictions are a model's and become nobody's ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.trace import Trace
from storage.imports.judged import WORDS, Judgement, Rated, note, step, step_text, texts, verdict
from storage.imports.making import Row, Unusable, cut, kind, pieces, short


def fits(row: Row) -> bool:
    """`data` with a prompt, and annotations."""
    data = row.get("data")
    return isinstance(data, Mapping) and "prompt" in data and isinstance(row.get("annotations"), list)


def to_traces(row: Row) -> list[Trace]:
    """One trace. Raises Unusable."""
    data = row.get("data")
    if not isinstance(data, Mapping) or not isinstance(data.get("prompt"), str):
        raise Unusable('"data.prompt" is missing; write the question as a string.')
    model, steps = short(data, "model"), data.get("steps")
    if steps is None:
        response = data.get("response")
        if not isinstance(response, str):
            raise Unusable(f'"data.response" is {kind(response)}; write it as a string, or give "data.steps".')
        return [cut(data["prompt"], response, model=model)]
    if not isinstance(steps, list):
        raise Unusable(f'"data.steps" is {kind(steps)}; write it as a list.')
    found = [s.get("text") if isinstance(s, Mapping) else s for s in steps]
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise Unusable(f'"data.steps[{i}]" has no text; write it as an object with "text".')
    gap = data.get("step_gap")
    given = [text for text in found if isinstance(text, str)]
    answer = short(data, "answer")
    return [
        pieces(
            data["prompt"], given, straight=False, model=model, answer=answer, gap=gap if isinstance(gap, str) else None
        )
    ]


def ratings(row: Row, traces: list[Trace]) -> list[Rated]:
    """What each annotator said. Raises Unusable."""
    given = row.get("annotations") or []
    if not isinstance(given, list):
        raise Unusable(f'"annotations" is {kind(given)}; write it as a list.')
    found = []
    for n, annotation in enumerate(given):
        if not isinstance(annotation, Mapping):
            raise Unusable(f'"annotations[{n}]" is {kind(annotation)}; write it as an object.')
        results = annotation.get("result") or []
        if not isinstance(results, list):
            raise Unusable(f'"annotations[{n}].result" is {kind(results)}; write it as a list.')
        said = [_judgement(r, f"annotations[{n}].result[{i}]", len(traces[0].steps)) for i, r in enumerate(results)]
        seconds = annotation.get("lead_time")
        spent = round(seconds * 1000) if isinstance(seconds, int | float) and 0 <= seconds < 1e6 else None
        found.append(Rated(
            traces[0], tuple(j for j in said if j is not None), _who(annotation.get("completed_by")),
            at=texts(annotation, "created_at"), spent_ms=spent,
            exit="skip" if annotation.get("was_cancelled") is True else "",
        ))  # fmt: skip
    return found


def _who(completed_by: Any) -> str:
    """The annotator: an address, a number, or an object that holds one of them."""
    if isinstance(completed_by, Mapping):
        return texts(completed_by, "email", "username") or _who(completed_by.get("id"))
    return "" if completed_by is None or isinstance(completed_by, bool) else str(completed_by)[:200]


def _judgement(result: Any, where: str, n_steps: int) -> Judgement | None:
    """A result as a judgement; None for what this file format can hold and we have no word for."""
    if not isinstance(result, Mapping) or not isinstance(result.get("value"), Mapping):
        raise Unusable(f'"{where}" has no "value"; write it as an object with "from_name", "type" and "value".')
    name, value = result.get("from_name"), result["value"]
    if name in ("correctness", "verdict"):
        words = value.get("paragraphlabels" if name == "correctness" else "choices")
        word = words[0] if isinstance(words, list) and words else words
        if not isinstance(word, str) or word not in WORDS:
            raise Unusable(f'the label in "{where}" is {str(word)[:40]!r}; it must be one of {", ".join(WORDS)}.')
        return verdict(WORDS[word]) if name == "verdict" else step(_paragraph(value, where, n_steps), WORDS[word])
    text = value.get("text")
    text = "\n".join(map(str, text)) if isinstance(text, list) else text
    if name == "note" and isinstance(text, str):
        return note(text)
    if name in ("rationale", "better") and isinstance(text, str):
        return step_text(_paragraph(value, where, n_steps), str(name), text)
    return None


def _paragraph(value: Row, where: str, n_steps: int) -> int:
    start = value.get("start")
    if isinstance(start, str | int) and str(start).isdecimal() and int(start) < n_steps:
        return int(start)
    raise Unusable(
        f'"{where}.value.start" is {str(start)[:20]!r}; it must be the number of a paragraph, 0 to {n_steps - 1}.'
    )
