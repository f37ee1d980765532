"""Argilla's records as its `records.to_datasets()` writes them: a column a field, and for each question lists of responses.

    {"id", "prompt", "context", "step", "correctness.responses": [...], "correctness.responses.users": [...],
     "correctness.responses.status": [...], …, "correctness.suggestion", "correctness.suggestion.score",
     "correctness.suggestion.agent"}

A record is a step (with what came before it as `context`) or a whole trace. All raters of it are in its lists, one entry
each, so that nobody's answer takes another's place. Records of one trace stand together, steps without an answer included.
What a model scored is a suggestion, never an answer. What was said before a later turn stands in `history`, for a ChatField.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.exports.bulk import Traces, traces
from storage.exports.columns import cut, packed, record
from storage.exports.history import ALONE, Histories, alone_warning, chat
from storage.exports.policies import Policies
from storage.exports.writing import DATA_PARQUET, Format, Looking, Plan, Row
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.exports.bulk import Ints

Columns = dict[str, Any]

WORDS = {1: "good", 0: "neutral", -1: "bad"}
UNSURE = "unsure"
WORDS_BY_CODE = (WORDS[-1], WORDS[0], WORDS[1], UNSURE)  # as `Traces.codes` numbers them
QUESTIONS = {"step": ("correctness", "rationale", "better"), "trace": ("verdict", "note")}
SCORED = ("score", "scorer", "scorer_version")
READ = (
    "trace_id", "problem_id", "prompt", "earlier", "response", "answer", "model", "rater_id", "segmentation_id", "step_text",
    "step_start", "rating", "unsure", "first_error", "rationale", "better", "verdict", "note", "split", *SCORED,
)  # fmt: skip


OF_TRACE = ("prompt", "trace_id", "problem_id", "model", "split")


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
    import numpy as np
    import pyarrow as pa

    histories, form = Histories.of(snapshot), schema(options)
    by_step = options.unit == "step"

    def size(texts: Ints, rows: Ints, steps: Ints) -> Ints:
        return texts * steps if by_step else texts

    for found in traces(snapshot, options, READ, left):
        history = histories.of_batch(found.firsts, left, split=False)
        for part, said in found.parts(history, size):
            firsts, lengths = part.firsts, part.lengths()
            of = np.repeat(np.arange(len(lengths)), lengths if by_step else 1)
            columns = _steps(part, firsts, of, options.context_chars) if by_step else _whole(part, firsts)
            if len(of):
                yield record({
                    "history": pa.array(said, chat()).take(pa.array(of)),
                    **{name: firsts[name].take(pa.array(of)) for name in OF_TRACE}, "n_steps": lengths[of],
                    "step_gap": [""] * len(of), "snapshot_id": [snapshot.snapshot_id] * len(of), **columns,
                }, form)  # fmt: skip


def _steps(found: Traces, firsts: pa.RecordBatch, of: Ints, context: int) -> Columns:
    """A record for each step of each trace; `of` is the number of its trace."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    row, step = found.where()
    nth = np.arange(len(of)) - np.searchsorted(of, of)
    starts = firsts["step_start"].flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    code = found.codes()
    said = np.flatnonzero(code >= 0)
    words = pa.array(WORDS_BY_CODE).take(pa.array(code[said]))
    columns = {
        "id": pc.binary_join_element_wise(firsts["trace_id"].take(pa.array(of)), pa.array(nth).cast(pa.string()), "-"),
        "context": packed(cut(firsts["response"], of, np.maximum(0, starts - context), starts)),
        "step": firsts["step_text"].flatten(), "step_index": nth,
        **_answers("correctness", len(of), words, step[said], found.rows["rater_id"].take(pa.array(row[said]))),
    }  # fmt: skip
    for question in ("rationale", "better"):
        texts = (
            found.rows[question].flatten() if question in found.rows.schema.names else pa.nulls(len(row), pa.string())
        )
        said = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
        raters = found.rows["rater_id"].take(pa.array(row[said]))
        columns |= _answers(question, len(of), texts.take(pa.array(said)), step[said], raters)
    return {**columns, **suggestions(firsts, of)}


def _whole(found: Traces, firsts: pa.RecordBatch) -> Columns:
    """One record for each trace."""
    import numpy as np
    import pyarrow as pa

    n = firsts.num_rows
    of = np.repeat(np.arange(n), np.diff(found.ends))
    columns: Columns = {"id": firsts["trace_id"], "response": firsts["response"]}
    verdicts = pa.array([WORDS.get(value) for value in found.rows["verdict"].to_pylist()], pa.string())
    notes = pa.array([note or None for note in found.rows["note"].to_pylist()], pa.string())
    for question, texts in (("verdict", verdicts), ("note", notes)):
        said = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
        raters = found.rows["rater_id"].take(pa.array(said))
        columns |= _answers(question, n, texts.take(pa.array(said)), of[said], raters)
    return columns


def _answers(question: str, n: int, texts: pa.StringArray, of: Ints, raters: pa.StringArray) -> Columns:
    """The answers to each of `n` records, in the order of the raters; `of` is the record of each."""
    import numpy as np
    import pyarrow as pa

    order = pa.array(np.argsort(of, kind="stable"))
    ends = pa.array(np.concatenate([[0], np.cumsum(np.bincount(of, minlength=n))]), pa.int32())
    status = pa.array(["submitted"]).take(pa.array(np.zeros(len(of), np.int8)))
    found = {"": texts.take(order), ".users": raters.take(order), ".status": status}
    return {f"{question}.responses{end}": pa.ListArray.from_arrays(ends, values) for end, values in found.items()}


def suggestions(firsts: pa.RecordBatch, of: Ints) -> Columns:
    """What a model's score says of each step, how sure the model is of that, and which model; nulls where none scored it. `of` is
    the trace of each step. Empty where the snapshot has no scores (older ones and label sets).
    """
    import numpy as np
    import pyarrow as pa

    if "score" not in firsts.schema.names:
        return {}
    scored = firsts["score"].is_valid().to_numpy(zero_copy_only=False)[of]
    scores = np.full(len(of), np.nan)
    scores[scored] = firsts["score"].flatten().to_numpy(zero_copy_only=False)
    good, none = scores >= 0.5, np.isnan(scores)  # a step beyond the length of the model has no number
    agents = pa.array([agent(row) for row in firsts.select(SCORED[1:]).to_pylist()])
    at = pa.array(of, mask=none)
    return {
        "correctness.suggestion": pa.array([WORDS[-1], WORDS[1]]).take(pa.array(good.astype(np.int8), mask=none)),
        "correctness.suggestion.score": pa.array(np.where(good, scores, 1 - scores), mask=none),
        "correctness.suggestion.agent": agents.take(at),
    }


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
        for said in batch[f"{main}.responses"].flatten().value_counts().to_pylist():
            plan.histogram[said["values"]] += said["counts"]
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
    files=(DATA_PARQUET,),
)
