"""Trees with what people corrected in them: data for a better extractor, and the tree as it was mended.

    {"prompt": str, "steps": [str, ...], "parent": [int, ...], "kind": [str, ...], "corrected_parent": [...],
     "corrected_kind": [...], "cuts": [[int, ...], ...], "joined": [bool, ...],
     "mended_steps": [str, ...], "mended_parent": [...], ...}

The first columns have one entry for each step as inferred: `parent` and `kind` are what was inferred, the corrections
null (empty, false) where the rater left them. The `mended_` columns are the tree that comes of it, re-cut and re-hung by
the rules of `storage/recut.py`; without a correction they repeat what was inferred. The question is -1. A step without a
correction was not necessarily looked at: only a corrected or rated step says that a person saw it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.exports.labels import SEARCHED, groups, searched
from storage.exports.policies import COUNTED, Policies
from storage.exports.writing import Format, Looking, Plan, Row
from storage.recut import agreed, corrections, n_recut, pieces, seen
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

QUESTION = -1
NEW = -1
READ = (
    "prompt", "response", "step_text", "step_start", "step_end", "parent", "is_backtrack", "kind", "corrected_parent",
    "corrected_kind", "cuts", "joined", "rating", "trace_id", "problem_id", "assignment_id", "segmentation_id", "rater_id",
    "model", "format", "split", *SEARCHED,
)  # fmt: skip
_KEPT = ("trace_id", "problem_id", "assignment_id", "segmentation_id", "rater_id", "model", "format", "split")


@dataclass(frozen=True)
class TreeOptions(Policies):
    """traces: those in which something was corrected, or all of the snapshot. With raters as majority or mean a boundary,
    parent or kind changes where more than half of those who saw the step want the same; ties change nothing.
    """

    adjudicated: str = "ignored"  # what a rater saw is that rater's own
    traces: str = "corrected"


def schema(options: Any) -> pa.Schema:
    import pyarrow as pa

    text, whole, flag = pa.string(), pa.int32(), pa.bool_()
    lists = {
        "steps": text, "parent": whole, "is_backtrack": flag, "kind": text, "corrected_parent": whole,
        "corrected_kind": text, "cuts": pa.list_(whole), "joined": flag, "seen": flag,
        "mended_steps": text, "mended_start": whole, "mended_end": whole, "mended_parent": whole,
        "mended_is_backtrack": flag, "mended_kind": text, "mended_from": whole,
    }  # fmt: skip
    return pa.schema(
        [
            ("prompt", text), *((name, pa.list_(kind)) for name, kind in lists.items()), *((name, text) for name in _KEPT),
            ("snapshot_id", text), *((name, text) for name in SEARCHED),
        ]
    )  # fmt: skip


def rows(snapshot: Snapshot, options: TreeOptions, left: Counter[str]) -> Iterator[Row]:
    """One row a rater and trace, or one a trace."""
    traces = groups(snapshot, options, READ, left)
    each = options.raters == "each"
    for group in ([row] for together in traces for row in together) if each else traces:
        unsaid = [None] * len(group[0]["step_text"])
        group = [{"corrected_parent": unsaid, "corrected_kind": unsaid, **row} for row in group]  # label sets have none
        row = agreed(group)
        if options.traces == "corrected" and not _corrected(row):
            left["without a correction"] += len(group)
            continue
        cuts, joined = corrections(row)
        mended = pieces(row)
        yield {
            "prompt": row["prompt"], "steps": row["step_text"], "parent": [QUESTION if p is None else p for p in row["parent"]],
            "is_backtrack": row["is_backtrack"], "kind": row["kind"], "corrected_parent": row["corrected_parent"],
            "corrected_kind": row["corrected_kind"], "cuts": cuts, "joined": joined,
            "seen": [any(said) for said in zip(*map(seen, group), strict=True)],
            "mended_steps": [row["response"][p.start : p.end] for p in mended],
            "mended_start": [p.start for p in mended], "mended_end": [p.end for p in mended],
            "mended_parent": [QUESTION if p.parent is None else p.parent for p in mended],
            "mended_is_backtrack": [p.is_backtrack for p in mended], "mended_kind": [p.kind for p in mended],
            "mended_from": [NEW if p.of is None else p.of for p in mended],
            **{name: row[name] for name in _KEPT}, "snapshot_id": snapshot.snapshot_id, **searched(row),
        }  # fmt: skip


def _corrected(row: Mapping[str, Any]) -> bool:
    """Whether anything of the row's tree was corrected."""
    said = (*row["corrected_parent"], *row["corrected_kind"])
    return n_recut(row) > 0 or any(value is not None for value in said)


def look(at: Looking) -> Plan:
    """How much was corrected."""
    plan = Plan()
    parents = kinds = seen_steps = steps = cuts = joins = mended = 0
    for row in at.made:
        plan.rows += 1
        steps += len(row["steps"])
        parents += sum(p is not None for p in row["corrected_parent"])
        kinds += sum(k is not None for k in row["corrected_kind"])
        cuts += sum(map(len, row["cuts"]))
        joins += sum(row["joined"])
        seen_steps += sum(row["seen"])
        mended += len(row["mended_steps"])
    plan.figures = {
        "steps": steps, "steps_seen": seen_steps, "parents_corrected": parents, "kinds_corrected": kinds, "cuts": cuts,
        "joins": joins, "steps_as_mended": mended,
    }  # fmt: skip
    plan.histogram = {"parents corrected": parents, "kinds corrected": kinds, "cuts": cuts, "joins": joins}
    if not plan.rows:
        plan.warnings.append(
            "There is no row to write: nobody corrected a tree in this snapshot. Correct one on the Rate page, or "
            "set traces=all."
        )
    elif seen_steps < steps:
        plan.warnings.append(
            f"{steps - seen_steps} of {steps} steps were neither rated nor corrected: that what was inferred of them stands "
            "is not a person's word."
        )
    return plan


FORMAT = Format(
    name="tree",
    summary="Search trees with people's corrections: steps, parents and kinds as inferred and as mended.",
    options=TreeOptions,
    uses=("raters", "min_raters", "gold", "split"),
    choices={"traces": ("corrected", "all"), "raters": COUNTED},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question (string)",
        "steps": "the raw step texts as inferred, in order (list of strings)",
        "parent": "the inferred parent of each step, -1 the question (list of integers)",
        "kind": "what each step was taken for (list of strings, empty where nothing says)",
        "corrected_parent": "what a person said instead, null where nothing was said (list of integers)",
        "corrected_kind": "likewise for the kind (list of strings)",
        "cuts": "where each step should be cut: offsets into the response in code points (list of lists of integers)",
        "joined": "whether the step belongs together with the one before (list of booleans)",
        "seen": "whether the rater rated or corrected the step (list of booleans)",
        "mended_steps": "the step texts as re-cut (list of strings); all mended_ columns have one entry for each of them",
        "mended_start": "where each begins in the response, in code points (list of integers)",
        "mended_end": "where each ends (list of integers)",
        "mended_parent": "its parent among the mended steps, -1 the question (list of integers)",
        "mended_is_backtrack": "whether it goes back to that parent (list of booleans)",
        "mended_kind": "what it does, as corrected; empty for a new piece (list of strings)",
        "mended_from": "the inferred step it stands for, -1 where it is new (list of integers)",
    },
    cannot=("ratings, verdicts and notes: only whether a step was seen",),
)
