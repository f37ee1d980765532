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

from storage.exports.labels import sources
from storage.exports.policies import Policies
from storage.exports.writing import Format, Looking, Plan, Row
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

READ = (
    "trace_id", "prompt", "response", "answer", "model", "rater_id", "assignment_id", "segmentation_id", "step_text",
    "step_end", "rating", "unsure", "first_error", "parent", "better", "verdict", "note", "spent_ms", "gold", "split",
    "submitted_at",
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


def rows(snapshot: Snapshot, options: Prm800kOptions, left: Counter[str]) -> Iterator[Row]:
    """A line for every rater and trace."""
    for source in sources(snapshot, options, READ, left):
        order = way_to_the_end(source["parent"]) if options.steps == "path" else list(range(len(source["step_text"])))
        judged = [i for i in order if _is_judged(source, i)]
        upto = order.index(judged[-1]) + 1 if judged else 0
        wrong = any(value == -1 for value in source["rating"])
        whole = options.steps == "walk"
        yield {
            "labeler": source["rater_id"], "timestamp": source["submitted_at"], "generation": None,
            "is_quality_control_question": source.get("gold") == "gold",
            "is_initial_screening_question": source.get("gold") == "screening",
            "question": {
                "problem": source["prompt"], "ground_truth_solution": None, "ground_truth_answer": None,
                "pre_generated_steps": [source["step_text"][i] for i in order],
                "pre_generated_answer": source["answer"], "pre_generated_verifier_score": None,
            },
            "label": {
                "steps": [_step(source, i, siblings=not whole) for i in order[:upto]],
                "total_time": source.get("spent_ms"), "finish_reason": "found_error" if wrong else "solution",
            },
            "worldline": {
                "trace_id": source["trace_id"], "assignment_id": source["assignment_id"],
                "snapshot_id": snapshot.snapshot_id, "model": source["model"], "split": source["split"],
                "step_gap": "" if whole else None,
                "tail": source["response"][source["step_end"][-1] :] if whole else None,
                "unsure": [i for i, said in enumerate(source["unsure"]) if said] if whole else [],
                "first_error": source["first_error"] if whole else None,
                "verdict": source["verdict"], "note": source["note"],
            },
        }  # fmt: skip


def _is_judged(source: Row, i: int) -> bool:
    better = source.get("better")
    return source["rating"][i] is not None or source["unsure"][i] or bool(better and better[i] is not None)


def _step(source: Row, i: int, *, siblings: bool) -> Row:
    parent = source["parent"][i]
    offered = [j for j, other in enumerate(source["parent"]) if other == parent] if siblings else [i]
    written = (source.get("better") or {i: None})[i]
    human = {"text": written, "rating": None, "source": "human", "flagged": False, "corrected_rating": None}
    return {
        "completions": [{"text": source["step_text"][j], "rating": source["rating"][j], "flagged": None} for j in offered],
        "human_completion": None if written is None else human, "chosen_completion": offered.index(i),
    }  # fmt: skip


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
    plan = Plan(histogram={"good": 0, "neutral": 0, "bad": 0, "unrated": 0})
    names = {1: "good", 0: "neutral", -1: "bad", None: "unrated"}
    ends: Counter[str] = Counter()
    raters: set[str] = set()
    empty = known = 0
    for row in at.made:
        plan.rows += 1
        raters.add(row["labeler"])
        ends[row["label"]["finish_reason"]] += 1
        empty += not row["label"]["steps"]
        known += row["is_quality_control_question"] or row["is_initial_screening_question"]
        for step in row["label"]["steps"]:
            plan.histogram[names[step["completions"][step["chosen_completion"]]["rating"]]] += 1
    plan.figures = {"labelers": len(raters), "finish_reasons": dict(sorted(ends.items())), "gold_lines": known}
    if not plan.rows:
        plan.warnings.append("There is no line to write: nothing of this snapshot is left by the policies above.")
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
        "error spans, types, severity, rationales and recoveries; tags; judgements of backtracks; corrections of the tree",
        "with steps=path: abandoned branches beyond their first step, and which steps were unsure",
        "finish reasons give_up and bad_problem: such work is skipped, and a snapshot holds what was submitted",
    ),
)
