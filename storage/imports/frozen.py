"""The rows of a snapshot itself, as the Hugging Face dataset folder has them: one a trace and rater, or one a comparison.

All that was judged comes back: steps, turns back, corrections of the tree, the verdict. What models scored and what an adjudicator
settled is nobody's rating here, and stays behind. Of a comparison the two responses are cut by their formats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from core.formats import parse_response
from core.formats.naming import name_of
from core.trace import KINDS, Placed, Step, Trace, problem_id_of
from storage.events import CRITERION
from storage.imports.judged import Judgement, Rated, first_error, note, step, step_text, texts, verdict
from storage.imports.making import Row, Unusable, check_prompt, cut, finish, id_of, kind, plain_json, short

_LISTS = ("step_text", "step_start", "step_end", "rating")
_FLAGS = {"worth_exploring": "decision", "left_in_time": "decision", "right_return": "decision", "corrected_parent": "step",
          "severity": "step", "recovered": "step"}  # fmt: skip
_TEXTS = {"corrected_kind": "kind", "error_type": "error_type", "rationale": "rationale", "better": "better"}


def fits(row: Row) -> bool:
    """A response with its steps and a rating for each, or two responses with a preference."""
    steps = isinstance(row.get("response"), str) and all(isinstance(row.get(name), list) for name in _LISTS)
    return steps or (_is_pair(row) and "preference" in row)


def to_traces(row: Row) -> list[Trace]:
    """One trace with exactly these steps, or the two that were compared. Raises Unusable."""
    if not fits(row):
        raise Unusable(
            f'"response" or one of the lists {", ".join(_LISTS)} is missing, and there are no two responses with a "preference".'
        )
    prompt = row.get("prompt")
    if not isinstance(prompt, str):
        raise Unusable(f'"prompt" is {kind(prompt)}; write it as a string.')
    check_prompt(prompt)
    if _is_pair(row):
        sides = ("left", "right")
        return [cut(prompt, row[f"{side}_response"], model=short(row, f"{side}_model")) for side in sides]
    response, ends, n = row["response"], row["step_end"], len(row["step_text"])
    for name in _LISTS:
        if len(row[name]) != n:
            raise Unusable(f'"{name}" has {len(row[name])} entries for {n} steps; write one for each.')
    spans = list(zip([0, *ends[:-1]], ends, strict=True)) if n else []
    if list(row["step_start"]) != [start for start, _ in spans] or any(
        type(end) is not int or not start <= end <= len(response) for start, end in spans
    ):
        raise Unusable('"step_start" and "step_end" must be contiguous offsets into "response", from 0 on.')
    reason, form = finish(row.get("finish_reason")), short(row, "format")
    found, _, answer, form = parse_response(prompt, response, reason, form or None)
    if [(s.start, s.end) for s in found] != spans:
        found = [_step(row, i, start, end) for i, (start, end) in enumerate(spans)]
    model = short(row, "model")
    solved = row.get("solved")
    return [
        Trace(
            trace_id=short(row, "trace_id") or id_of(prompt, response, model), problem_id=problem_id_of(prompt), prompt=prompt,
            response=response, steps=tuple(found), nodes=tuple(_place(row, i) for i in range(n)),
            answer=short(row, "answer") or answer, finish_reason=reason, model=model, format=form,
            sampling=_json(row, "search"), stats=_json(row, "ledger"), solved=solved if isinstance(solved, bool) else None,
        )
    ]  # fmt: skip


def ratings(row: Row, traces: list[Trace]) -> list[Rated]:
    """What the rater said."""
    rater, spent, gold = texts(row, "rater_id"), row.get("spent_ms"), row.get("gold")
    about: dict[str, Any] = {
        "at": texts(row, "submitted_at"), "spent_ms": spent if type(spent) is int and spent >= 0 else None,
        "gold": gold if gold in ("gold", "screening") else None,
    }  # fmt: skip
    if _is_pair(row):
        said = tuple(_of_pair(row))
        return [Rated(traces[0], said, rater, traces[1], **about)] if said else []
    said = (*(j for i in range(len(traces[0].steps)) for j in _of_step(row, i)), *_of_trace(row, len(traces[0].steps)))
    return [Rated(traces[0], said, rater, **about)] if said else []


def _is_pair(row: Row) -> bool:
    return all(isinstance(row.get(name), str) for name in ("left_response", "right_response"))


def _step(row: Row, index: int, start: int, end: int) -> Step:
    """A step that its format would not have cut like this."""
    text, decision = row["response"][start:end], _entry(row, "decision", index)
    known = decision if decision in ("proceed", "backtrack", "finish") else None
    return Step(index, start, end, name_of(text) or f"Step {index + 1}", text, "", "", known)


def _place(row: Row, index: int) -> Placed:
    parent, resumes, does = (_entry(row, name, index) for name in ("parent", "resumes", "kind"))
    back = _entry(row, "is_backtrack", index) is True
    return Placed(
        parent if type(parent) is int and 0 <= parent < index else None, back,
        resumes if back and type(resumes) is int and 0 <= resumes < index else None,
        kind=does if does in KINDS else "",
    )  # fmt: skip


def _of_step(row: Row, index: int) -> Iterator[Judgement]:
    rating = _entry(row, "rating", index)
    if rating in (-1, 0, 1):
        yield step(index, int(rating))
    elif _entry(row, "unsure", index) is True:
        yield step(index, None)
    for name, target in _FLAGS.items():
        value = _entry(row, name, index)
        if isinstance(value, int) and abs(value) < 2**31:
            yield Judgement(target, "parent" if name == "corrected_parent" else name, index, float(value))
    for name, dimension in _TEXTS.items():
        text = _entry(row, name, index)
        if isinstance(text, str) and text:
            yield step_text(index, dimension, text)
    for name in ("cuts", "span"):
        offsets = _entry(row, name, index)
        if isinstance(offsets, list) and offsets and all(type(at) is int and at >= 0 for at in offsets):
            yield step_text(index, name, " ".join(map(str, offsets)))
    if _entry(row, "joined", index) is True:
        yield step(index, 1, "joined")


def _of_trace(row: Row, n: int) -> Iterator[Judgement]:
    wrong = row.get("first_error")
    if type(wrong) is int and 0 <= wrong < n:
        yield first_error(wrong)
    if row.get("verdict") in (-1, 0, 1):
        yield verdict(int(row["verdict"]))
    if texts(row, "note"):
        yield note(row["note"])
    if texts(row, "tags"):
        yield Judgement("trace", "tags", text=row["tags"])


def _of_pair(row: Row) -> Iterator[Judgement]:
    liked = row.get("preference")
    if row.get("both_bad") is True:
        yield Judgement("pair", "preference", text="both_bad")
    elif type(liked) is int and -3 <= liked <= 3:
        yield Judgement("pair", "preference", None, float(liked))
    for name, value in _json(row, "criteria").get("criteria", {}).items():
        if CRITERION.fullmatch(f"preference.{name}"):
            number = str(value).lstrip("-").isdecimal() and -3 <= int(value) <= 3
            yield Judgement(
                "pair", f"preference.{name}", None, *((float(value), None) if number else (None, str(value)))
            )
    if texts(row, "note"):
        yield Judgement("pair", "note", text=row["note"])


def _entry(row: Row, name: str, index: int) -> Any:
    values = row.get(name)
    return values[index] if isinstance(values, list) and index < len(values) else None


def _json(row: Row, name: str) -> dict[str, Any]:
    """A column with JSON in it, under its name; nothing where there is none."""
    try:
        value = json.loads(texts(row, name) or "null")
    except ValueError:
        return {}
    return {name: value} if isinstance(value, Mapping) and plain_json(value) else {}
