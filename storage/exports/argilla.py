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
from typing import TYPE_CHECKING, Any

from storage.exports.history import ALONE, Histories, alone_warning, chat, told
from storage.exports.labels import groups
from storage.exports.policies import Policies
from storage.exports.writing import BATCH, Format, Looking, Plan, Row
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, list[Any]]

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


def rows(snapshot: Snapshot, options: ArgillaOptions, left: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The records, trace by trace."""
    import pyarrow as pa

    histories, form = Histories.of(snapshot), schema(options)
    columns: Columns = {name: [] for name in form.names}
    for group in groups(snapshot, options, READ, left):
        about = told({"history": histories.before(group[0].get("earlier"), group[0]["prompt"])}, left)
        about |= {"snapshot_id": snapshot.snapshot_id, "step_gap": ""}
        for name, cells in (_steps(group, options, about) if options.unit == "step" else _whole(group, about)).items():
            columns[name] += cells
        if len(columns["id"]) >= BATCH:
            yield pa.RecordBatch.from_pydict(columns, schema=form)
            columns = {name: [] for name in form.names}
    if columns["id"]:
        yield pa.RecordBatch.from_pydict(columns, schema=form)


def _steps(group: Sequence[Row], options: ArgillaOptions, about: Row) -> Columns:
    """A record for each step of a trace."""
    first = group[0]
    response, most, n = first["response"], options.context_chars, len(first["step_text"])
    found = [suggested(first, i) for i in range(n)]
    return {
        **_about(first, about, n), "step_index": list(range(n)),
        "id": [f"{first['trace_id']}-{i}" for i in range(n)],
        "context": [response[max(0, start - most) : start] for start in first["step_start"]], "step": first["step_text"],
        **_answers("correctness", n, [(r["rater_id"], [_word(r, i) for i in range(n)]) for r in group]),
        **_answers("rationale", n, [(r["rater_id"], r.get("rationale")) for r in group]),
        **_answers("better", n, [(r["rater_id"], r.get("better")) for r in group]),
        "correctness.suggestion": [said and said[0] for said in found],
        "correctness.suggestion.score": [said and said[1] for said in found],
        "correctness.suggestion.agent": [said and agent(first) for said in found],
    }  # fmt: skip


def _whole(group: Sequence[Row], about: Row) -> Columns:
    """One record for a trace."""
    first = group[0]
    return {
        **_about(first, about, 1), "step_index": [None], "id": [first["trace_id"]], "response": [first["response"]],
        **_answers("verdict", 1, [(r["rater_id"], [WORDS.get(r["verdict"])]) for r in group]),
        **_answers("note", 1, [(r["rater_id"], [r["note"] or None]) for r in group]),
    }  # fmt: skip


def _about(row: Row, about: Row, n: int) -> Columns:
    """What is the same in all `n` records of a trace."""
    names = ("prompt", "trace_id", "problem_id", "model", "split")
    same = {**about, **{name: row[name] for name in names}, "n_steps": len(row["step_text"])}
    return {name: [value] * n for name, value in same.items()}


def _word(row: Row, i: int) -> str | None:
    value = row["rating"][i]
    return WORDS[value] if value is not None else UNSURE if row["unsure"][i] else None


def _answers(question: str, n: int, given: Sequence[tuple[str, Sequence[str | None] | None]]) -> Columns:
    """Of each rater the answer to each of `n` records, None for none; no list: none at all."""
    texts: list[list[str]] = [[] for _ in range(n)]
    users: list[list[str]] = [[] for _ in range(n)]
    for rater, said in given:
        for i, answer in enumerate(said or ()):
            if answer is not None:
                texts[i].append(answer)
                users[i].append(rater)
    status = [["submitted"] * len(said) for said in texts]
    return {
        f"{question}.responses": texts,
        f"{question}.responses.users": users,
        f"{question}.responses.status": status,
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


def look(at: Looking) -> Plan:
    """How many records have how many answers."""
    import numpy as np

    options: ArgillaOptions = at.options
    main = QUESTIONS[options.unit][0]
    plan = Plan(histogram=dict.fromkeys((*WORDS.values(), UNSURE), 0))
    answered = suggestions = 0
    for batch in at.made:
        plan.rows += batch.num_rows
        answered += int(np.count_nonzero(batch[f"{main}.responses"].value_lengths()))
        if options.unit == "step":
            suggestions += batch.num_rows - batch["correctness.suggestion"].null_count
        for word, n in Counter(batch[f"{main}.responses"].flatten().to_pylist()).items():
            plan.histogram[word] += n
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
