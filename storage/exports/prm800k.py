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

from storage.exports.columns import beside, chosen
from storage.exports.labels import sources
from storage.exports.policies import Policies
from storage.exports.writing import Format, Looking, Plan, Row
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

LATER = "later turns"  # counted beside what is left out, and taken out again by `look`
READ = (
    "trace_id", "earlier", "answer", "reference", "model", "rater_id", "assignment_id", "segmentation_id", "step_end", "rating",
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
    made = ((source["at"], source) for source in sources(snapshot, options, READ, left))
    for texts, at, found in beside(snapshot, ("prompt", "response", "step_text"), made):
        left[LATER] += sum(bool(row.get("earlier")) for row in found)
        yield _batch(snapshot.snapshot_id, options, texts, at, found)


def _batch(
    snapshot_id: str, options: Prm800kOptions, texts: pa.RecordBatch, at: Sequence[int], found: Sequence[Row]
) -> pa.RecordBatch:
    import pyarrow as pa

    whole = options.steps == "walk"
    columns = schema(options)
    orders = [list(range(len(row["rating"]))) if whole else way_to_the_end(row["parent"]) for row in found]
    tails: list[str | None] = [None] * len(found)
    if whole:
        responses = texts["response"].take(pa.array(at)).to_pylist()
        tails = [response[row["step_end"][-1] :] for response, row in zip(responses, found, strict=True)]

    def struct(name: str, values: dict[str, Any]) -> pa.StructArray:
        """A struct column of these fields; the others are null."""
        fields = list(columns.field(name).type)
        nulls = [None] * len(found)
        arrays = [
            given if isinstance(given := values.get(f.name, nulls), pa.Array) else pa.array(given, f.type)
            for f in fields
        ]
        return pa.StructArray.from_arrays(arrays, fields=fields)

    question = struct("question", {
        "problem": texts["prompt"].take(pa.array(at)), "pre_generated_steps": chosen(texts["step_text"], at, orders),
        "pre_generated_answer": [row["answer"] for row in found],
        "ground_truth_answer": [row.get("reference") for row in found],  # snapshots of before November 2026 have none
    })  # fmt: skip
    label = struct("label", {
        "steps": _steps(columns.field("label").type.field("steps").type, texts, at, found, orders, whole),
        "total_time": [row.get("spent_ms") for row in found],
        "finish_reason": ["found_error" if -1 in row["rating"] else "solution" for row in found],
    })  # fmt: skip
    own = struct("worldline", {
        **{name: [row[name] for row in found] for name in ("trace_id", "assignment_id", "model", "split", "verdict", "note")},
        "snapshot_id": [snapshot_id] * len(found), "step_gap": ["" if whole else None] * len(found), "tail": tails,
        "unsure": [[i for i, said in enumerate(row["unsure"]) if said] if whole else [] for row in found],
        "first_error": [row["first_error"] if whole else None for row in found],
    })  # fmt: skip
    return pa.RecordBatch.from_pydict({
        "labeler": [row["rater_id"] for row in found], "timestamp": [row["submitted_at"] for row in found],
        "generation": [None] * len(found),
        "is_quality_control_question": [row.get("gold") == "gold" for row in found],
        "is_initial_screening_question": [row.get("gold") == "screening" for row in found],
        "question": question, "label": label, "worldline": own,
    }, schema=columns)  # fmt: skip


def _steps(
    kind: pa.ListType,
    texts: pa.RecordBatch,
    at: Sequence[int],
    found: Sequence[Row],
    orders: Sequence[list[int]],
    whole: bool,
) -> pa.ListArray:
    """`label.steps`: of each row the steps up to the last judged one, each with what was offered in its place."""
    import pyarrow as pa

    ends, where = [0], list[int]()
    offered, humans, picked, ratings = list[list[int]](), list[Row | None](), list[int](), list[int | None]()
    for number, row, order in zip(at, found, orders, strict=True):
        better = row.get("better")
        upto = next((n for n in range(len(order), 0, -1) if _is_judged(row, better, order[n - 1])), 0)
        for i in order[:upto]:
            here = [i] if whole else [j for j, other in enumerate(row["parent"]) if other == row["parent"][i]]
            written = better[i] if better else None
            offered.append(here)
            humans.append(None if written is None else {"text": written, "source": "human", "flagged": False})
            picked.append(here.index(i))
            ratings += [row["rating"][j] for j in here]
        where += [number] * upto
        ends.append(ends[-1] + upto)
    step = kind.value_type
    completion = step.field("completions").type.value_type
    said = chosen(texts["step_text"], where, offered)
    arrays = [said.values, pa.array(ratings, pa.int8()), pa.nulls(len(ratings), pa.bool_())]
    completions = pa.ListArray.from_arrays(said.offsets, pa.StructArray.from_arrays(arrays, fields=list(completion)))
    humans_array = pa.array(humans, step.field("human_completion").type)
    steps = pa.StructArray.from_arrays([completions, humans_array, pa.array(picked, pa.int32())], fields=list(step))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), steps)


def _is_judged(source: Row, better: Sequence[str | None] | None, i: int) -> bool:
    return source["rating"][i] is not None or source["unsure"][i] or bool(better and better[i] is not None)


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
)
