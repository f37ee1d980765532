"""One rater's work on one item: reading it, and a rater's last ones. Knows no ordering and no HTTP."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from storage.events import format_utc

# offered: fetched ahead, or let go untouched; the place is held while the lease lasts, and the rater has not seen it.
STATUSES = ("offered", "leased", "submitted", "skipped")


@dataclass(frozen=True)
class Assignment:
    """One rater's work on one trace or pair. status: offered, leased, submitted or skipped (`status_reason` says why).

    events_seq: the largest client seq in its log (−1: none); a client goes on from there. Whether an item is gold is not
    here: what raters are told is made of this.
    """

    assignment_id: str
    queue_id: str
    trace_id: str
    segmentation_id: str
    rater_id: str
    status: str
    status_reason: str
    leased_at: str
    lease_expires_at: str
    submitted_at: str
    verify_mode: bool
    events_seq: int
    pair_id: str | None = None
    swapped: bool | None = None
    late: bool = False
    rubric_id: str = ""
    rubric_version: int = 0

    @property
    def scores_visible(self) -> bool:
        """Model scores are hidden until the rater has committed, unless the queue is in verify mode."""
        return self.verify_mode or self.status == "submitted"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "scores_visible": self.scores_visible}


_ASSIGNMENT = (
    "select a.assignment_id, a.queue_id, a.trace_id, a.segmentation_id, a.rater_id, a.status, a.status_reason, "
    "a.leased_at, a.lease_expires_at, a.submitted_at, coalesce(q.verify_mode, false), a.pair_id, a.swapped, a.late, "
    "a.rubric_id, a.rubric_version from assignment a left join queue q using (queue_id) "
)


def read_assignment(con: duckdb.DuckDBPyConnection, assignment_id: str) -> Assignment | None:
    rows = _assignments(con, "where a.assignment_id = ? limit 1", [assignment_id])
    return rows[0] if rows else None


def has_had(con: duckdb.DuckDBPyConnection, rater_id: str, trace_id: str, queue_id: str) -> bool:
    """Whether this queue ever gave this rater this trace by itself.

    In a pair does not count: a rater who skipped a blind pair could open its trace alone, and read whose it is.
    """
    found = con.execute(
        "select 1 from assignment where rater_id = ? and queue_id = ? and trace_id = ? and pair_id is null limit 1",
        [rater_id, queue_id, trace_id],
    ).fetchone()
    return found is not None


def recent_assignments(con: duckdb.DuckDBPyConnection, rater_id: str, limit: int) -> list[Assignment]:
    """A rater's last assignments, latest first: the way back to what was submitted."""
    return _assignments(
        con,
        "where a.rater_id = ? and a.status <> 'offered' order by a.updated_at desc, a.assignment_id desc limit ?",
        [rater_id, limit],
    )


def _assignments(con: duckdb.DuckDBPyConnection, where: str, params: list[Any]) -> list[Assignment]:
    rows = con.execute(_ASSIGNMENT + where, params).fetchall()
    seqs = dict(
        con.execute(
            "select assignment_id, max(seq) from rating_event where assignment_id in (select unnest(?::varchar[])) "
            "group by all",
            [[row[0] for row in rows]],
        ).fetchall()
    )
    return [
        Assignment(*(*row[:7], *map(format_utc, row[7:10]), row[10], seqs.get(row[0], -1), *row[11:])) for row in rows
    ]
