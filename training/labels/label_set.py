"""Labels without people as a folder that trains, exports and evaluates like a snapshot, and says at every row who said so.

    <root>/<id>/data.parquet     a snapshot's columns; `rater_id` and `source` name the method, `soft` the share, and
                                 `right`, `total` the rollouts behind it, `low` and
                                 `high` the 95 % Wilson interval of their share
               manifest.json     "labels": "model" (a snapshot of people's ratings: "people"), the source and its settings

A set never holds a person's rating, and a snapshot of people's ratings never holds one of these: who wants both trains on one after
the other, knowingly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.trace import Trace, new_id, utc_now
from storage import cards
from storage.snapshots import FORMAT, FORMAT_VERSION, POLICIES
from training.labels.counts import Count

TEST_PER_MILLE = 100  # a tenth of the problems, by the same hash as in a snapshot


@dataclass(frozen=True)
class Labelled:
    """A trace with a label a step: 1 good, 0 bad, between by shares, None where nothing is known."""

    trace: Trace
    labels: Sequence[float | None]
    counts: Sequence[Count | None] = ()
    note: str = ""


def split_of(problem_id: str) -> str:
    """The side of the split, as snapshots decide it."""
    return "test" if int(hashlib.sha256(problem_id.encode()).hexdigest()[:8], 16) % 1000 < TEST_PER_MILLE else "train"


def row(one: Labelled, source: str) -> dict[str, Any]:
    """A row of data.parquet."""
    trace, n = one.trace, len(one.trace.steps)
    if len(one.labels) != n:
        raise ValueError(f"Trace {trace.trace_id} has {n} steps and {len(one.labels)} labels.")
    counts = list(one.counts) or [None] * n
    texts = [trace.step_text(i) for i in range(n)]
    return {
        "trace_id": trace.trace_id, "problem_id": trace.problem_id, "prompt": trace.prompt,
        "response": trace.response, "answer": trace.answer, "finish_reason": trace.finish_reason, "model": trace.model,
        "format": trace.format, "solved": trace.solved, "rater_id": source, "source": source,
        "assignment_id": f"{source}:{trace.trace_id}", "segmentation_id": trace.segmentation_id,
        "step_text": texts, "step_start": [s.start for s in trace.steps], "step_end": [s.end for s in trace.steps],
        # A vote where the label is one; a share that is none of the two is in `soft` alone.
        "rating": [None if y is None else 1 if y >= 0.5 else -1 for y in one.labels],
        "soft": list(one.labels), "right": [c.right if c else None for c in counts],
        "total": [c.total if c else None for c in counts], "low": [c.interval[0] if c else None for c in counts],
        "high": [c.interval[1] if c else None for c in counts], "unsure": [False] * n, "first_error": None,
        "decision": [s.decision for s in trace.steps], "parent": [p.parent for p in trace.nodes],
        "is_backtrack": [p.is_backtrack for p in trace.nodes], "resumes": [p.resumes for p in trace.nodes],
        "kind": [p.kind for p in trace.nodes], "worth_exploring": [None] * n, "left_in_time": [None] * n,
        "right_return": [None] * n, "verdict": None, "note": one.note, "tags": "", "prelabel_visible": False,
        "gold": None, "late": False, "submitted_at": utc_now(), "split": split_of(trace.problem_id),
    }  # fmt: skip


def write(
    root: Path, labelled: Sequence[Labelled], *, source: str, settings: dict[str, Any], name: str = "", caveat: str = ""
) -> Path:
    """Write a label set under `root` (whole or not at all) and return its folder. Raises ValueError when it is empty.

    caveat: what the method takes for granted, for whoever reads the labels.
    """
    import polars as pl

    if not labelled:
        raise ValueError("There is nothing to label: no trace with steps was given.")
    rows = [row(one, source) for one in labelled]
    ints, floats, texts = pl.List(pl.Int32), pl.List(pl.Float64), pl.List(pl.String)
    types: dict[str, Any] = {
        "solved": pl.Boolean, "first_error": pl.Int32, "verdict": pl.Int8, "gold": pl.String, "step_text": texts,
        "step_start": ints, "step_end": ints, "rating": pl.List(pl.Int8), "soft": floats, "low": floats, "high": floats, "right": ints, "total": ints,
        "unsure": pl.List(pl.Boolean), "decision": texts, "parent": ints, "is_backtrack": pl.List(pl.Boolean), "resumes": ints,
        "kind": texts, "worth_exploring": pl.List(pl.Int8), "left_in_time": pl.List(pl.Int8),
        "right_return": pl.List(pl.Int8),
    }  # fmt: skip
    snapshot_id = new_id()
    folder = root / snapshot_id
    labels = [y for r in rows for y in r["soft"]]
    good, bad = sum(y is not None and y >= 0.5 for y in labels), sum(y is not None and y < 0.5 for y in labels)
    with cards.whole_folder(folder) as work:
        data = work / "data.parquet"
        pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None).write_parquet(data)
        sides = [r["split"] for r in rows]
        manifest = {
            "format": FORMAT, "format_version": FORMAT_VERSION, "snapshot_id": snapshot_id, "name": name or source,
            "created_at": utc_now(), "created_by": source, "worldline_version": cards.worldline_version(),
            "labels": "model", "source": source, "settings": settings, "spec": {}, "event_seq": 0,
            "sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
            "counts": {
                "rows": len(rows), "traces": len({r["trace_id"] for r in rows}),
                "problems": len({r["problem_id"] for r in rows}), "steps": len(labels), "rated_steps": good + bad,
                "pairs": 0, "train_rows": sides.count("train"), "test_rows": sides.count("test"),
            },
            "class_balance": {
                "good": good, "neutral": 0, "bad": bad, "unsure": 0, "unrated": len(labels) - good - bad,
                "positive_share": round(good / (good + bad), 4) if good + bad else None,
            },
            "by_rater": {source: len(rows)}, "agreement": "undefined: no rater", "policies": POLICIES, "excluded": {},
            "warnings": [f"Labels by {source}, not by people.", *filter(None, [caveat])],
        }  # fmt: skip
        (work / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        (work / "README.md").write_text(
            f"# Step labels by {source}\n\nNo person judged these {len(rows)} traces. {good} steps good, {bad} bad; settings: "
            f"`{json.dumps(settings)}`. `soft` is the label as a share, `right` and `total` the rollouts behind it, `low` and `high` the 95 % "
            "Wilson interval of that share.\n" + (f"\n{caveat}\n" if caveat else ""),
            encoding="utf-8",
        )
    return folder
