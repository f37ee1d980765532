"""What models said of traces' steps on a second look: one row a refinement, only ever appended.

A layer of its own: what was inferred is never changed, and human ratings, model scores and refinements never share a table.
Only the steps that a model labelled are kept, by their index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from core.trace import Placed
from storage.database import insert
from storage.events import format_utc
from storage.ratings import utc_now


@dataclass(frozen=True)
class Refinement:
    """One model's labels of one way of cutting a trace. `stats` says how it went (state, error, counts, tokens, seconds)."""

    refinement_id: str
    trace_id: str
    segmentation_id: str
    model: str
    labels: Mapping[int, Placed]
    stats: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""  # when it was stored


def add_refinements(con: duckdb.DuckDBPyConnection, items: Sequence[Refinement]) -> list[None]:
    """Writer's operation."""
    columns = {
        "refinement_id": [r.refinement_id for r in items],
        "trace_id": [r.trace_id for r in items],
        "segmentation_id": [r.segmentation_id for r in items],
        "model": [r.model for r in items],
        "steps": [json.dumps([{"index": i, **vars(r.labels[i])} for i in sorted(r.labels)]) for r in items],
        "stats": [json.dumps(dict(r.stats)) for r in items],
    }
    values = {name: ("varchar", column) for name, column in columns.items()}
    insert(con, "refinement", {**values, "created_at": ("timestamp", [utc_now()] * len(items))})
    return [None] * len(items)


def read_refinements(con: duckdb.DuckDBPyConnection, trace_id: str) -> list[Refinement]:
    """All refinements of a trace, newest first."""
    rows = con.execute(
        "select refinement_id, trace_id, segmentation_id, model, steps, stats, created_at from refinement "
        "where trace_id = ? order by created_at desc, refinement_id desc",
        [trace_id],
    ).fetchall()
    return [
        Refinement(own, of, segmentation, model, _labels(steps), json.loads(stats), format_utc(created))
        for own, of, segmentation, model, steps, stats, created in rows
    ]


def _labels(text: str) -> dict[int, Placed]:
    return {step.pop("index"): Placed(**step) for step in json.loads(text)}
