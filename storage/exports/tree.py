"""Trees with what people corrected in them: data for a better extractor.

    {"prompt": str, "steps": [str, ...], "parent": [int, ...], "kind": [str, ...], "corrected_parent": [...], "corrected_kind": [...]}

`parent` and `kind` are what was inferred, the corrections null where the rater left them. The question is -1. A step
without a correction was not necessarily looked at: only a corrected or rated step says that a person saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.exports.writing import Format, Plan, Row
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

QUESTION = -1
READ = (
    "prompt", "step_text", "parent", "is_backtrack", "kind", "corrected_parent", "corrected_kind", "rating", "trace_id",
    "problem_id", "assignment_id", "segmentation_id", "rater_id", "model", "format", "split",
)  # fmt: skip
_KEPT = ("trace_id", "problem_id", "assignment_id", "segmentation_id", "rater_id", "model", "format", "split")


@dataclass(frozen=True)
class TreeOptions:
    """traces: those in which something was corrected, or all of the snapshot."""

    traces: str = "corrected"
    split: str = "all"


def schema() -> pa.Schema:
    import pyarrow as pa

    text, whole = pa.string(), pa.int32()
    return pa.schema(
        [
            ("prompt", text), ("steps", pa.list_(text)), ("parent", pa.list_(whole)), ("is_backtrack", pa.list_(pa.bool_())),
            ("kind", pa.list_(text)), ("corrected_parent", pa.list_(whole)), ("corrected_kind", pa.list_(text)),
            ("seen", pa.list_(pa.bool_())), *((name, text) for name in _KEPT), ("snapshot_id", text),
        ]
    )  # fmt: skip


def rows(snapshot: Snapshot, options: TreeOptions) -> Iterator[Row]:
    """One row a rater and trace."""
    for row in snapshot.rows(READ):
        if options.split not in ("all", row["split"]):
            continue
        corrected = [
            a is not None or b is not None for a, b in zip(row["corrected_parent"], row["corrected_kind"], strict=True)
        ]
        if options.traces == "corrected" and not any(corrected):
            continue
        yield {
            "prompt": row["prompt"], "steps": row["step_text"], "parent": [QUESTION if p is None else p for p in row["parent"]],
            "is_backtrack": row["is_backtrack"], "kind": row["kind"], "corrected_parent": row["corrected_parent"],
            "corrected_kind": row["corrected_kind"],
            "seen": [c or r is not None for c, r in zip(corrected, row["rating"], strict=True)],
            **{name: row[name] for name in _KEPT}, "snapshot_id": snapshot.snapshot_id,
        }  # fmt: skip


def look(
    snapshot: Snapshot, options: TreeOptions, made: Iterator[Row], count_tokens: Callable[[str], int], estimated: bool
) -> Plan:
    """How much was corrected."""
    plan = Plan()
    parents = kinds = seen = steps = 0
    for row in made:
        plan.rows += 1
        steps += len(row["steps"])
        parents += sum(p is not None for p in row["corrected_parent"])
        kinds += sum(k is not None for k in row["corrected_kind"])
        seen += sum(row["seen"])
    plan.figures = {"steps": steps, "steps_seen": seen, "parents_corrected": parents, "kinds_corrected": kinds}
    if not plan.rows:
        plan.warnings.append(
            "There is no row to write: nobody corrected a tree in this snapshot. Correct one on the Rate page, or "
            'export "all" traces.'
        )
    elif seen < steps:
        plan.warnings.append(
            f"{steps - seen} of {steps} steps were neither rated nor corrected: that their inferred parent stands is not "
            "a person's word."
        )
    return plan


FORMAT = Format(
    name="tree",
    summary="Search trees with people's corrections: parents and kinds as inferred and as mended.",
    options=TreeOptions,
    choices={"traces": ("corrected", "all"), "split": ("all", "train", "test")},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question (string)",
        "steps": "the raw step texts, in order (list of strings)",
        "parent": "the inferred parent of each step, -1 the question (list of integers)",
        "kind": "what each step was taken for (list of strings, empty where nothing says)",
        "corrected_parent": "what a person said instead, null where nothing was said (list of integers)",
        "corrected_kind": "likewise for the kind (list of strings)",
        "seen": "whether the rater rated or corrected the step (list of booleans)",
    },
)
