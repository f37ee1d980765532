"""What an adjudicator decided where raters differ: appended, never changed; the latest of a (unit, dimension) counts.

A decision says why, and whether the guidelines have a gap there: that is what the next version of a rubric is written from.
In snapshots an adjudicated value wins over every vote. A decision without value takes the one before it back. Knows no votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from core.trace import new_id
from storage.clock import later_than_all
from storage.errors import StoreError
from storage.events import UNSURE, format_utc
from storage.quality.votes import judged_of

MOST_REASON = 4000  # characters


@dataclass(frozen=True)
class Decision:
    """One decision. item_id: a trace, or a pair. value None: "unsure" (`value_text`), or, without a text, taken back."""

    queue_id: str
    item_id: str
    dimension: str
    step_idx: int | None
    value: float | None
    value_text: str | None
    adjudicator: str
    reason: str
    guideline_gap: bool
    adjudication_id: str = ""
    created_at: str = ""

    @property
    def taken_back(self) -> bool:
        return self.value is None and self.value_text is None


def decide(con: duckdb.DuckDBPyConnection, decisions: Sequence[Decision]) -> list[Decision]:
    """Writer's operation: append each. Raises StoreError with a sentence: a value off the scale, no reason, no such item."""
    kept = []
    for decision in decisions:
        check(decision)
        judged, (trace_id, segmentation_id, pair_id) = judged_of(decision.dimension), _item(con, decision)
        now, made = later_than_all(con, "adjudication"), new_id()
        con.execute(
            "insert into adjudication (adjudication_id, queue_id, trace_id, segmentation_id, pair_id, target, step_idx, "
            "dimension, value, value_text, adjudicator, reason, guideline_gap, created_at) "
            "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [made, decision.queue_id, trace_id, segmentation_id, pair_id, judged.target, decision.step_idx,
             decision.dimension, decision.value, decision.value_text, decision.adjudicator, decision.reason.strip(),
             decision.guideline_gap, now],
        )  # fmt: skip
        kept.append(replace(decision, adjudication_id=made, created_at=format_utc(now)))
    return kept


def check(decision: Decision) -> None:
    """Raises StoreError naming the field."""
    judged = judged_of(decision.dimension)
    shown = ", ".join(f"{v:g}" for v in judged.scale)
    if decision.value is not None and decision.value not in judged.scale:
        raise StoreError(f'"value" is {decision.value:g}; {decision.dimension} takes {shown}, or "unsure" as text.')
    if decision.value_text not in (None, UNSURE) or (decision.value is not None and decision.value_text is not None):
        raise StoreError(f'"value_text" must be "{UNSURE}" with no value, or absent.')
    if not decision.reason.strip() and not decision.taken_back:
        raise StoreError('"reason" is empty; say in a sentence why, for the raters and for the guidelines.')
    if len(decision.reason) > MOST_REASON:
        raise StoreError(f'"reason" has {len(decision.reason)} characters; at most {MOST_REASON} are kept.')
    if (decision.step_idx is None) != (judged.target in ("trace", "pair")):
        wanted = "is left out for a whole trace or pair" if decision.step_idx is not None else "is missing"
        raise StoreError(f'"step_idx" {wanted}; {decision.dimension} is a judgement of a {judged.target}.')


def _item(con: duckdb.DuckDBPyConnection, decision: Decision) -> tuple[str, str, str | None]:
    """(trace_id, segmentation_id, pair_id) of what is decided on."""
    if judged_of(decision.dimension).target == "pair":
        row = con.execute(
            "select left_trace_id, segmentation_id, pair_id from pair join segmentation on trace_id = left_trace_id "
            "where pair_id = ? limit 1",
            [decision.item_id],
        ).fetchone()
    else:
        row = con.execute(
            "select trace_id, segmentation_id, null, n_steps from segmentation where trace_id = ? limit 1",
            [decision.item_id],
        ).fetchone()
        if row is not None and decision.step_idx is not None and not 0 <= decision.step_idx < row[3]:
            raise StoreError(f'"step_idx" is {decision.step_idx}, but the trace has {row[3]} steps, counted from 0.')
    if row is None:
        raise StoreError(
            f'There is no {"pair" if decision.dimension == "preference" else "trace"} "{decision.item_id[:100]}".'
        )
    return row[0], row[1], row[2]


_COLUMNS = (
    "queue_id, coalesce(pair_id, trace_id), dimension, step_idx, value, value_text, adjudicator, reason, guideline_gap, "
    "adjudication_id, created_at"
)


def decisions_on(
    con: duckdb.DuckDBPyConnection, queue_id: str, item_id: str, step_idx: int | None, dimension: str
) -> list[Decision]:
    """Every decision on one unit, the latest first, those taken back included."""
    return _read(
        con,
        "adjudication",
        "queue_id = ? and coalesce(pair_id, trace_id) = ? and step_idx is not distinct from ?::integer and dimension = ?",
        [queue_id, item_id, step_idx, dimension],
    )


def current(con: duckdb.DuckDBPyConnection, queue_id: str, *, gaps: bool = False) -> list[Decision]:
    """The decisions of a queue that count now, the latest first; gaps: only those that show a gap in the guidelines."""
    return _read(con, "adjudication_current", "queue_id = ?" + (" and guideline_gap" if gaps else ""), [queue_id])


def _read(con: duckdb.DuckDBPyConnection, table: str, where: str, values: list[Any]) -> list[Decision]:
    rows = con.execute(
        f"select {_COLUMNS} from {table} where {where} order by created_at desc, adjudication_id desc", values
    ).fetchall()
    return [
        Decision(queue, item, dimension, step, value, text, by, reason, gap, made, format_utc(at))
        for queue, item, dimension, step, value, text, by, reason, gap, made, at in rows
    ]
