"""PRM800K (Lightman et al. 2023): `phase*_*.jsonl`, one line a labeler and solution.

The steps are those that the labeler went on from: the chosen completion, or what the labeler wrote; at the step that
ended the labelling, the first completion. Where the solution was generated beforehand (phase 2), its steps after the
first error follow, without a label. Ratings stay with the trace, in `stats["labels"]` (1, 0, −1, null): they were given
in another tool by people who are no raters here, so they are not written into the log of ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.trace import Trace
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
    texts, labels = [text for text, _ in chosen], [rating for _, rating in chosen]
    whole = question.get("pre_generated_steps")
    if isinstance(whole, list) and strings(whole) and whole[: len(texts)] == texts:
        labels += [None] * (len(whole) - len(texts))
        texts = list(whole)
    if not texts:
        raise Unusable('"label.steps" is empty; a solution has at least one step.')
    stats: dict[str, Any] = {
        "labels": labels, "labels_from": "prm800k", **kept(row, "labeler", "generation"),
        **{f"label_{k}": v for k, v in kept(label, "finish_reason", "total_time").items()},
    }  # fmt: skip
    answer = short(question, "pre_generated_answer") or texts[-1].rpartition(_ANSWER)[2] * (_ANSWER in texts[-1])
    return [pieces(question["problem"], texts, straight=True, answer=answer, stats=stats)]


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
