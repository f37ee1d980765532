"""PRM800K (Lightman et al. 2023): `phase*_*.jsonl`, one line a labeler and solution.

The steps are those that the labeler went on from: the chosen completion, or what the labeler wrote; at the step that
ended the labelling, the first completion. Where the solution was generated beforehand (phase 2), its steps after the
first error follow, without a label. Ratings become those of an imported rater, the labeler; several labelers of one solution
are several. Where labelling ended with an error that is the first error; "give_up" and "bad_problem" are exits. A line that
Worldline wrote says in `worldline` what PRM800K has no place for (`storage/exports/prm800k.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.trace import Trace
from storage.imports.judged import Judgement, Rated, first_error, note, step, step_text, texts, verdict
from storage.imports.making import Row, Unusable, kept, kind, pieces, short, strings

_ANSWER = "# Answer\n\n"  # how a solution of PRM800K ends


def fits(row: Row) -> bool:
    """`question.problem` and `label.steps`."""
    question, label = row.get("question"), row.get("label")
    return isinstance(question, Mapping) and "problem" in question and isinstance(label, Mapping) and "steps" in label


def to_traces(row: Row) -> list[Trace]:
    """One trace in a straight line. Raises Unusable naming the step."""
    question, label = row.get("question"), row.get("label")
    if not isinstance(question, Mapping) or not isinstance(question.get("problem"), str):
        raise Unusable('"question.problem" is missing; write the question as a string.')
    if not isinstance(label, Mapping) or not isinstance(label.get("steps"), list):
        raise Unusable('"label.steps" is missing; write it as a list.')
    chosen = [_chosen(step, i) for i, step in enumerate(label["steps"])]
    steps, labels = [text for text, _ in chosen], [rating for _, rating in chosen]
    whole = question.get("pre_generated_steps")
    if isinstance(whole, list) and strings(whole) and whole[: len(steps)] == steps:
        labels += [None] * (len(whole) - len(steps))
        steps = list(whole)
    if not steps:
        raise Unusable('"label.steps" is empty; a solution has at least one step.')
    stats: dict[str, Any] = {
        "labels": labels, "labels_from": "prm800k", **kept(row, "labeler", "generation"),
        **{f"label_{k}": v for k, v in kept(label, "finish_reason", "total_time").items()},
    }  # fmt: skip
    answer = short(question, "pre_generated_answer") or steps[-1].rpartition(_ANSWER)[2] * (_ANSWER in steps[-1])
    own = _own(row)
    gap = own.get("step_gap")
    return [
        pieces(
            question["problem"], steps, straight=True, answer=answer, stats=stats, model=short(own, "model"),
            gap=gap if isinstance(gap, str) else None, tail=texts(own, "tail"),
        )
    ]  # fmt: skip


def ratings(row: Row, traces: list[Trace]) -> list[Rated]:
    """What the labeler said. Raises Unusable."""
    label, own = row["label"], _own(row)
    said: list[Judgement] = []
    wrong = None
    for i, one in enumerate(label["steps"]):
        _, rating = _chosen(one, i)
        if rating is not None:
            said.append(step(i, rating))
            wrong = i if rating == -1 else wrong
        written = one.get("human_completion")
        if isinstance(written, Mapping) and one.get("chosen_completion") is not None and texts(written, "text"):
            said.append(step_text(i, "better", written["text"]))
    if own:
        said += [step(i, None) for i in own.get("unsure") or () if type(i) is int and 0 <= i < len(traces[0].steps)]
        wrong = own["first_error"] if type(own.get("first_error")) is int else None
        said += [verdict(own["verdict"])] if own.get("verdict") in (-1, 0, 1) else []
        said += [note(own["note"])] if texts(own, "note") else []
    elif label.get("finish_reason") != "found_error":
        wrong = None
    said += [first_error(wrong)] if wrong is not None and wrong < len(traces[0].steps) else []
    reason, spent = label.get("finish_reason"), label.get("total_time")
    gold = "gold" if row.get("is_quality_control_question") is True else None
    return [Rated(
        traces[0], tuple(said), short(row, "labeler"), at=texts(row, "timestamp"),
        spent_ms=spent if type(spent) is int and spent >= 0 else None,
        exit=reason if reason in ("give_up", "bad_problem") else "",
        gold="screening" if row.get("is_initial_screening_question") is True else gold,
    )]  # fmt: skip


def _own(row: Row) -> Row:
    own = row.get("worldline")
    return own if isinstance(own, Mapping) else {}


def _chosen(step: Any, i: int) -> tuple[str, int | None]:
    """(text, rating) of one step."""
    where = f"label.steps[{i}]"
    if not isinstance(step, Mapping):
        raise Unusable(f'"{where}" is {kind(step)}; write it as an object with "completions".')
    offered = step.get("completions")
    if offered is not None and not isinstance(offered, list):
        raise Unusable(f'"{where}.completions" is {kind(offered)}; write it as a list or null.')
    at, written = step.get("chosen_completion"), step.get("human_completion")
    if at is not None and (type(at) is not int or not 0 <= at < len(offered or ())):
        raise Unusable(
            f'"{where}.chosen_completion" is {at!r}; it must be an entry of "completions" '
            f"({len(offered or ())} of them) or null."
        )
    found: Any = offered[at] if offered and at is not None else written
    if found is None:
        found = offered[0] if offered else None
    if isinstance(found, str):
        return found, None
    if not isinstance(found, Mapping) or not isinstance(found.get("text"), str):
        raise Unusable(f'"{where}" has no completion with a "text"; add one, or remove the step.')
    rating = found.get("rating")
    if rating is not None and (isinstance(rating, bool) or rating not in (-1, 0, 1)):
        raise Unusable(f'the rating in "{where}" is {rating!r}; it must be -1, 0, 1 or null.')
    return found["text"], None if rating is None else int(rating)
