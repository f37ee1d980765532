"""PRM800K's lines (Lightman et al. 2023, "Let's Verify Step by Step"): one a rater and trace, every judgement as it was given.

    {"labeler", "timestamp", "generation", "is_quality_control_question", "is_initial_screening_question",
     "question": {"problem", "ground_truth_solution", "ground_truth_answer", "pre_generated_steps",
                  "pre_generated_answer", "pre_generated_verifier_score"},
     "label": {"steps": [{"completions": [{"text", "rating", "flagged"}], "human_completion", "chosen_completion"}],
               "total_time", "finish_reason"},
     "worldline": {...}}

This is the raw export: no rater is averaged, no rating is reinterpreted, gold items are in it and marked as PRM800K marks them.
`label.steps` ends with the last judged step, `pre_generated_steps` has them all. One key more than PRM800K has, `worldline`,
says where a line comes from and holds what the format has no place for, so that the line can be read back whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.exports.bulk import NONE, UNSURE, Traces, traces
from storage.exports.columns import begins, column, packed, pieces, record
from storage.exports.policies import Policies
from storage.exports.writing import DATA_JSONL, Format, Looking, Plan
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.exports.bulk import Ints

LATER = "later turns"  # counted beside what is left out, and taken out again by `look`
READ = (
    "trace_id", "prompt", "response", "step_text", "earlier", "answer", "reference", "model", "rater_id", "assignment_id", "segmentation_id", "rating",
    "unsure", "first_error", "parent", "better", "verdict", "note", "spent_ms", "gold", "split", "submitted_at",
)  # fmt: skip


@dataclass(frozen=True)
class Prm800kOptions(Policies):
    """steps: "walk" has every step in the order in which the model wrote it; "path" has the steps from the question to the end
    along the tree, and at each the siblings as further completions, the one that led on chosen.
    """

    adjudicated: str = "ignored"
    gold: str = "keep"
    steps: str = "walk"


def schema(options: Any) -> pa.Schema:
    import pyarrow as pa

    text, flag, whole, rating = pa.string(), pa.bool_(), pa.int32(), pa.int8()
    completion = pa.struct([("text", text), ("rating", rating), ("flagged", flag)])
    human = pa.struct(
        [("text", text), ("rating", rating), ("source", text), ("flagged", flag), ("corrected_rating", rating)]
    )
    step = pa.struct([("completions", pa.list_(completion)), ("human_completion", human), ("chosen_completion", whole)])
    question = pa.struct([
        ("problem", text), ("ground_truth_solution", text), ("ground_truth_answer", text),
        ("pre_generated_steps", pa.list_(text)), ("pre_generated_answer", text),
        ("pre_generated_verifier_score", pa.float64()),
    ])  # fmt: skip
    label = pa.struct([("steps", pa.list_(step)), ("total_time", pa.int64()), ("finish_reason", text)])
    own = pa.struct([
        ("trace_id", text), ("assignment_id", text), ("snapshot_id", text), ("model", text), ("split", text),
        ("step_gap", text), ("tail", text), ("unsure", pa.list_(whole)), ("first_error", whole), ("verdict", rating),
        ("note", text),
    ])  # fmt: skip
    return pa.schema([
        ("labeler", text), ("timestamp", text), ("generation", whole), ("is_quality_control_question", flag),
        ("is_initial_screening_question", flag), ("question", question), ("label", label), ("worldline", own),
    ])  # fmt: skip


def rows(snapshot: Snapshot, options: Prm800kOptions, left: Counter[str]) -> Iterator[pa.RecordBatch]:
    """A line for every rater and trace."""
    for found in traces(snapshot, options, READ, left):
        if "earlier" in found.rows.schema.names:
            left[LATER] += found.rows.num_rows - found.rows["earlier"].null_count
        for part, _ in found.parts(range(found.firsts.num_rows), lambda texts, rows, steps: 2 * texts * rows):
            yield _batch(snapshot.snapshot_id, options, part)


def _batch(snapshot_id: str, options: Prm800kOptions, found: Traces) -> pa.RecordBatch:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    rows, ends = found.rows, found.ratings.ends
    n, form, whole = rows.num_rows, schema(options), options.steps == "walk"

    def given(name: str) -> Any:
        """A column of the snapshot; snapshots of before November 2026 have no reference, label sets no times and no gold items."""
        return rows[name] if name in rows.schema.names else [None] * n

    def struct(name: str, values: dict[str, Any]) -> pa.StructArray:
        return _struct(form.field(name).type, values, n)

    unsure = np.flatnonzero(found.ratings.why == UNSURE)
    row = np.repeat(np.arange(n), np.diff(ends))
    bad = np.bincount(row[found.ratings.values == -1], minlength=n) > 0
    order = np.arange(len(row)) if whole else _paths(found)
    known = pa.array(given("gold"), pa.string())
    question = struct("question", {
        "problem": rows["prompt"], "pre_generated_answer": rows["answer"], "ground_truth_answer": given("reference"),
        "pre_generated_steps": _lists(row[order], rows["step_text"].flatten().take(pa.array(order)), n),
    })  # fmt: skip
    label = struct("label", {
        "steps": _steps(form.field("label").type.field("steps").type, found, row, order, whole),
        "total_time": given("spent_ms"),
        "finish_reason": pa.array(["solution", "found_error"]).take(pa.array(bad.astype(np.int8))),
    })  # fmt: skip
    walked = {
        "step_gap": [""] * n, "tail": _tails(found), "first_error": rows["first_error"],
        "unsure": _lists(row[unsure], pa.array(unsure - ends[row[unsure]], pa.int32()), n),
    }  # fmt: skip
    own = struct("worldline", {
        **{name: rows[name] for name in ("trace_id", "assignment_id", "model", "split", "verdict", "note")},
        "snapshot_id": [snapshot_id] * n, **(walked if whole else {"unsure": [[]] * n}),
    })  # fmt: skip
    return record({
        "labeler": rows["rater_id"], "timestamp": rows["submitted_at"],
        "is_quality_control_question": pc.equal(known, "gold").fill_null(False),
        "is_initial_screening_question": pc.equal(known, "screening").fill_null(False),
        "question": question, "label": label, "worldline": own,
    }, form)  # fmt: skip


def _struct(kind: pa.StructType, values: dict[str, Any], n: int, mask: pa.Array | None = None) -> pa.StructArray:
    """A struct column of these fields; the others are null."""
    import pyarrow as pa

    nothing = [None] * n
    made = [column(values.get(field.name, nothing), field.type) for field in kind]
    return pa.StructArray.from_arrays(made, fields=list(kind), mask=mask)


def _lists(row: Ints, values: pa.Array, n: int) -> pa.ListArray:
    """The values of each of `n` rows, which stand side by side."""
    import numpy as np
    import pyarrow as pa

    ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


def _tails(found: Traces) -> pa.StringArray:
    """Of each response what stands after its last step: steps stand one after the other, so it is beyond all their bytes."""
    responses = found.rows["response"]
    at, of_steps = begins(responses), begins(found.rows["step_text"].flatten())[found.ratings.ends]
    return packed(pieces(responses, at[:-1] + of_steps[1:] - of_steps[:-1], at[1:]))


def _paths(found: Traces) -> Ints:
    """The steps of each row from the question to its last step along the tree, counted through all rows."""
    import numpy as np

    parents = found.rows["parent"].to_pylist()
    ways = (
        np.array(way_to_the_end(each), np.int64) + begin
        for each, begin in zip(parents, found.ratings.ends, strict=False)
    )
    return np.concatenate([np.zeros(0, np.int64), *ways])


def _offered(found: Traces, row: Ints, steps: Ints) -> tuple[Ints, Ints, Ints]:
    """What there was in the place of each step: its siblings and itself, counted through all rows; of which of `steps` each is
    such; and which one was taken.
    """
    import numpy as np

    parents = found.rows["parent"].flatten().fill_null(-1).to_numpy(zero_copy_only=False)
    ends = found.ratings.ends
    here = [
        np.flatnonzero(parents[ends[r] : ends[r + 1]] == parents[i]) + ends[r]
        for i, r in zip(steps, row[steps], strict=True)
    ]
    which = np.repeat(np.arange(len(steps)), [len(each) for each in here])
    picked = np.array([np.searchsorted(each, i) for each, i in zip(here, steps, strict=True)], np.int64)
    return np.concatenate([np.zeros(0, np.int64), *here]), which, picked


def _steps(kind: pa.ListType, found: Traces, row: Ints, order: Ints, whole: bool) -> pa.ListArray:
    """`label.steps`: of each row the steps up to the last judged one, each with what was offered in its place."""
    import numpy as np
    import pyarrow as pa

    n = found.rows.num_rows
    names = found.rows.schema.names
    written = found.rows["better"].flatten() if "better" in names else pa.nulls(len(row), pa.string())
    judged = (found.codes() >= 0) | written.is_valid().to_numpy(zero_copy_only=False)
    at = np.flatnonzero(judged[order])
    last = np.full(n, -1)
    last[row[order[at]]] = at  # the last one is written last
    steps = order[np.arange(len(order)) <= last[row[order]]]
    offered, which, picked = (
        (steps, np.arange(len(steps)), np.zeros(len(steps), np.int64)) if whole else _offered(found, row, steps)
    )
    values, step = found.ratings.values[offered], kind.value_type
    completions = _struct(step.field("completions").type.value_type, {
        "text": found.rows["step_text"].flatten().take(pa.array(offered)), "rating": pa.array(values, mask=values == NONE),
    }, len(offered))  # fmt: skip
    humans = written.take(pa.array(steps))
    said = {"text": humans, "source": ["human"] * len(steps), "flagged": [False] * len(steps)}
    made = {
        "completions": _lists(which, completions, len(steps)), "chosen_completion": picked,
        "human_completion": _struct(step.field("human_completion").type, said, len(steps), mask=humans.is_null()),
    }  # fmt: skip
    return _lists(row[steps], _struct(step, made, len(steps)), n)


def way_to_the_end(parents: Sequence[int | None]) -> list[int]:
    """The steps from the question to the last step, along the tree; the others belong to abandoned branches."""
    way: list[int] = []
    step: int | None = len(parents) - 1 if parents else None
    while step is not None and step not in way:
        way.append(step)
        step = parents[step]
    return way[::-1]


def look(at: Looking) -> Plan:
    """How many of each rating, and what the format says of whole lines."""
    import numpy as np
    import pyarrow.compute as pc

    plan = Plan(histogram={"good": 0, "neutral": 0, "bad": 0, "unrated": 0})
    names = {1: "good", 0: "neutral", -1: "bad", None: "unrated"}
    ends: Counter[str] = Counter()
    raters: set[str] = set()
    empty = known = 0
    for batch in at.made:
        plan.rows += batch.num_rows
        raters.update(batch["labeler"].to_pylist())
        steps, reasons = batch["label"].field("steps"), batch["label"].field("finish_reason")
        ends.update(reasons.to_pylist())
        empty += int(np.count_nonzero(np.diff(steps.offsets.to_numpy()) == 0))
        known += pc.or_(batch["is_quality_control_question"], batch["is_initial_screening_question"]).true_count
        completions, picked = steps.values.field("completions"), steps.values.field("chosen_completion")
        ratings = completions.values.field("rating").take(pc.add(completions.offsets[:-1], picked))
        for value, n in Counter(ratings.to_pylist()).items():
            plan.histogram[names[value]] += n
    plan.figures = {"labelers": len(raters), "finish_reasons": dict(sorted(ends.items())), "gold_lines": known}
    if not plan.rows:
        plan.warnings.append("There is no line to write: nothing of this snapshot is left by the policies above.")
    if later := at.left.pop(LATER, 0):
        plan.warnings.append(
            f"{later} of {plan.rows} lines are of later turns of a conversation: PRM800K has no place for what was said before, so "
            "their question stands alone."
        )
    if empty:
        plan.warnings.append(f"{empty} of {plan.rows} lines have no judged step (a verdict or a note alone).")
    return plan


FORMAT = Format(
    name="prm800k",
    summary="PRM800K's lines: every rater's own ratings of every step, raw.",
    options=Prm800kOptions,
    uses=("min_raters", "gold", "split"),
    choices={"steps": ("walk", "path")},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "labeler": "who rated (string)",
        "question": "problem, pre_generated_steps (all of them), pre_generated_answer",
        "label": "steps with completions (text, rating −1, 0, 1 or null), human_completion and chosen_completion; total_time in "
        "milliseconds; finish_reason found_error or solution",
        "worldline": "where the line comes from, and what PRM800K has no place for",
    },
    cannot=(
        "what was said before the question of a later turn",
        "error spans, types, severity, rationales and recoveries; tags; judgements of backtracks; corrections of the tree",
        "with steps=path: abandoned branches beyond their first step, and which steps were unsure",
        "finish reasons give_up and bad_problem: such work is skipped, and a snapshot holds what was submitted",
    ),
    files=(DATA_JSONL,),
)
