"""Argilla's records as its `records.to_datasets()` writes them: a column a field, and for each question lists of responses.

    {"id", "prompt", "context", "step", "correctness.responses": [...], "correctness.responses.users": [...],
     "correctness.responses.status": [...], …, "correctness.suggestion", "correctness.suggestion.score",
     "correctness.suggestion.agent"}

A record is a step (with what came before it as `context`) or a whole trace. All raters of it are in its lists, one entry
each, so that nobody's answer takes another's place. Records of one trace stand together, steps without an answer included.
What a model scored is a suggestion, never an answer. What was said before a later turn stands in `history`, for a ChatField.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.exports.history import ALONE, Histories, alone_warning, chat, told
from storage.exports.labels import groups
from storage.exports.policies import Policies
from storage.exports.writing import Format, Looking, Plan, Row
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

WORDS = {1: "good", 0: "neutral", -1: "bad"}
UNSURE = "unsure"
QUESTIONS = {"step": ("correctness", "rationale", "better"), "trace": ("verdict", "note")}
SCORED = ("score", "scorer", "scorer_version")
READ = (
    "trace_id", "problem_id", "prompt", "earlier", "response", "answer", "model", "rater_id", "segmentation_id", "step_text",
    "step_start", "rating", "unsure", "first_error", "rationale", "better", "verdict", "note", "split", *SCORED,
)  # fmt: skip


@dataclass(frozen=True)
class ArgillaOptions(Policies):
    """unit: what a record is. context_chars: how much of the response before a step is shown with it, its end being kept."""

    adjudicated: str = "ignored"
    unit: str = "step"
    context_chars: int = 4000


def schema(options: ArgillaOptions) -> pa.Schema:
    import pyarrow as pa

    text, texts, whole = pa.string(), pa.list_(pa.string()), pa.int32()
    suggestion = {"": text, ".score": pa.float64(), ".agent": text}
    fields = ("prompt", "context", "step") if options.unit == "step" else ("prompt", "response")
    return pa.schema([
        ("id", text), ("history", chat()), *((name, text) for name in fields),
        *((f"{q}.responses{end}", texts) for q in QUESTIONS[options.unit] for end in ("", ".users", ".status")),
        *((f"correctness.suggestion{end}", kind) for end, kind in suggestion.items() if options.unit == "step"),
        ("trace_id", text), ("step_index", whole), ("n_steps", whole), ("step_gap", text), ("problem_id", text),
        ("model", text), ("split", text), ("snapshot_id", text),
    ])  # fmt: skip


def rows(snapshot: Snapshot, options: ArgillaOptions, left: Counter[str]) -> Iterator[Row]:
    """The records, trace by trace."""
    histories = Histories.of(snapshot)
    for group in groups(snapshot, options, READ, left):
        first = group[0]
        n = len(first["step_text"])
        about = {
            **told({"history": histories.before(first.get("earlier"), first["prompt"])}, left),
            "trace_id": first["trace_id"], "n_steps": n, "step_gap": "", "problem_id": first["problem_id"],
            "model": first["model"], "split": first["split"], "snapshot_id": snapshot.snapshot_id,
        }  # fmt: skip
        if options.unit == "trace":
            yield {
                "id": first["trace_id"], "prompt": first["prompt"], "response": first["response"],
                **_answers("verdict", [(r["rater_id"], WORDS.get(r["verdict"])) for r in group]),
                **_answers("note", [(r["rater_id"], r["note"] or None) for r in group]), **about, "step_index": None,
            }  # fmt: skip
            continue
        for i, text in enumerate(first["step_text"]):
            context = first["response"][: first["step_start"][i]]
            yield {
                "id": f"{first['trace_id']}-{i}", "prompt": first["prompt"],
                "context": context[-options.context_chars :], "step": text,
                **_answers("correctness", [(r["rater_id"], _word(r, i)) for r in group]),
                **_answers("rationale", [(r["rater_id"], _text(r, "rationale", i)) for r in group]),
                **_answers("better", [(r["rater_id"], _text(r, "better", i)) for r in group]), **_suggestion(first, i),
                **about, "step_index": i,
            }  # fmt: skip


def _word(row: Row, i: int) -> str | None:
    value = row["rating"][i]
    return WORDS[value] if value is not None else UNSURE if row["unsure"][i] else None


def _text(row: Row, name: str, i: int) -> str | None:
    said = row.get(name)
    text: str | None = said[i] if said else None
    return text


def _answers(question: str, given: Sequence[tuple[str, str | None]]) -> dict[str, list[str]]:
    said = [(rater, value) for rater, value in given if value is not None]
    return {
        f"{question}.responses": [value for _, value in said],
        f"{question}.responses.users": [rater for rater, _ in said],
        f"{question}.responses.status": ["submitted"] * len(said),
    }


def suggested(row: Row, i: int) -> tuple[str, float] | None:
    """What a model's score says of a step, and how sure the model is of that; None where none scored it."""
    scores = row.get("score")  # older snapshots and label sets have none
    if not scores or scores[i] is None or math.isnan(scores[i]):  # a step beyond the length of the model has no number
        return None
    return (WORDS[1], scores[i]) if scores[i] >= 0.5 else (WORDS[-1], 1 - scores[i])


def agent(row: Row) -> str:
    """The model that scored, as one name."""
    return f"{row['scorer']} {row['scorer_version']}"


def _suggestion(row: Row, i: int) -> Row:
    found = suggested(row, i)
    word, sure = found or (None, None)
    return {
        "correctness.suggestion": word, "correctness.suggestion.score": sure,
        "correctness.suggestion.agent": agent(row) if found else None,
    }  # fmt: skip


def look(at: Looking) -> Plan:
    """How many records have how many answers."""
    options: ArgillaOptions = at.options
    main = QUESTIONS[options.unit][0]
    plan = Plan(histogram=dict.fromkeys((*WORDS.values(), UNSURE), 0))
    answered = suggestions = 0
    for row in at.made:
        plan.rows += 1
        answered += bool(row[f"{main}.responses"])
        suggestions += row.get("correctness.suggestion") is not None
        for word in row[f"{main}.responses"]:
            plan.histogram[word] += 1
    plan.figures = {"answered_records": answered, "answers": sum(plan.histogram.values()), "suggestions": suggestions}
    plan.warnings += alone_warning(at.left.pop(ALONE, 0), "traces")
    if not plan.rows:
        plan.warnings.append("There is no record to write: nothing of this snapshot is left by the policies above.")
    elif not answered:
        plan.warnings.append(f"None of the {plan.rows} records has an answer to the question {main}.")
    return plan


FORMAT = Format(
    name="argilla",
    summary="Argilla's records with the answers of all raters: one a step, or one a trace.",
    options=ArgillaOptions,
    uses=("min_raters", "adjudicated", "gold", "split"),
    choices={"unit": ("step", "trace")},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "id": "trace and number of the step, or the trace (string)",
        "prompt": "the question (string); `history` is what was said before a later turn's, a list of role and content",
        "step": "with unit=step: the raw step; `context` is the response before it (string)",
        "correctness.responses": "with unit=step: good, neutral, bad or unsure, one for each rater in .users; likewise rationale, "
        "better (lists of strings). correctness.suggestion is what the score of a model says, .score how sure it is, .agent which one",
        "verdict.responses": "with unit=trace: good, neutral or bad; likewise note (lists of strings)",
    },
    cannot=(
        "with unit=step: verdicts, notes, the answer after the steps; with unit=trace: everything about single steps, "
        "a model's scores among it",
        "which bad step was marked as the first error; spans, error types, severity, recoveries, tags",
        "judgements of backtracks and corrections of the tree; times",
    ),
)
