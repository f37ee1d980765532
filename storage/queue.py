"""Who rates what: handing out traces as leases.

Select-then-insert from several threads hands the same trace out twice without a single error (measured: 27 of 40). So
every
claim runs on the one writer thread, which is the lock, and the key of the table `slot` is the safety net below it. A
lease that
ran out is free again by query; nobody has to clean up. Knows nothing of ratings but the status they leave behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb

from core.trace import new_id
from storage.errors import StoreError
from storage.events import format_utc
from storage.ratings import utc_now

DEFAULT_QUEUE = "default"
# A long trace takes a rater a quarter of an hour; the lease is renewed while events arrive.
LEASE_MINUTES = 60
RUBRIC = ("steps", 1)
GUIDELINES = """Good: a person who knows the subject would accept this step; it is true and it helps.
Neutral: true, but it brings nothing, or it is odd without being wrong.
Bad: it holds an error, or it leads the wrong way.
Unsure: you cannot tell. Marking the first error leaves the later steps unrated.
At a turn back: was the branch worth exploring, was it left at the right time, did it return to the right place?"""


@dataclass(frozen=True)
class Assignment:
    """One rater's work on one trace. status: leased, submitted or skipped (`status_reason` says why).

    events_seq: the largest client seq in its log (−1: none); a client goes on from there.
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

    @property
    def scores_visible(self) -> bool:
        """Model scores are hidden until the rater has committed, unless the queue is in verify mode."""
        return self.verify_mode or self.status == "submitted"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "scores_visible": self.scores_visible}


@dataclass(frozen=True)
class Claim:
    """A wish for work. `trace_id` None: the next one of the queue."""

    rater_id: str
    queue_id: str = DEFAULT_QUEUE
    trace_id: str | None = None


_ASSIGNMENT = (
    "select a.assignment_id, a.queue_id, a.trace_id, a.segmentation_id, a.rater_id, a.status, a.status_reason, "
    "a.leased_at, "
    "a.lease_expires_at, a.submitted_at, coalesce(q.verify_mode, false) from assignment a left join queue q "
    "using (queue_id) "
)


def read_assignment(con: duckdb.DuckDBPyConnection, assignment_id: str) -> Assignment | None:
    rows = _assignments(con, "where a.assignment_id = ? limit 1", [assignment_id])
    return rows[0] if rows else None


def has_had(con: duckdb.DuckDBPyConnection, rater_id: str, trace_id: str) -> bool:
    """Whether this rater was ever given this trace, in whatever queue."""
    found = con.execute(
        "select 1 from assignment where rater_id = ? and trace_id = ? limit 1", [rater_id, trace_id]
    ).fetchone()
    return found is not None


def recent_assignments(con: duckdb.DuckDBPyConnection, rater_id: str, limit: int) -> list[Assignment]:
    """A rater's last assignments, latest first: the way back to what was submitted."""
    return _assignments(
        con, "where a.rater_id = ? order by a.updated_at desc, a.assignment_id desc limit ?", [rater_id, limit]
    )


def _assignments(con: duckdb.DuckDBPyConnection, where: str, params: list[Any]) -> list[Assignment]:
    rows = con.execute(_ASSIGNMENT + where, params).fetchall()
    seqs = dict(
        con.execute(
            "select assignment_id, max(seq) from rating_event where assignment_id in (select "
            "unnest(?::varchar[])) group by all",
            [[row[0] for row in rows]],
        ).fetchall()
    )
    return [Assignment(*(*row[:7], *map(format_utc, row[7:10]), row[10], seqs.get(row[0], -1))) for row in rows]


def claim(con: duckdb.DuckDBPyConnection, claims: Sequence[Claim]) -> list[Assignment | None]:
    """Writer's operation: one assignment (or None) for each claim."""
    return [_claim(con, c) for c in claims]


def _claim(con: duckdb.DuckDBPyConnection, wish: Claim) -> Assignment | None:
    now = utc_now()
    queue = con.execute(
        "select overlap, lease_minutes, rubric_id, rubric_version from queue where queue_id = ? limit 1",
        [wish.queue_id],
    ).fetchone()
    if queue is None:
        raise StoreError(f"There is no queue {wish.queue_id!r}.")
    overlap, minutes, rubric_id, rubric_version = queue
    expires = now + timedelta(minutes=minutes)
    add_raters(con, [(wish.rater_id, wish.rater_id, "rater")])
    mine = con.execute(
        "select assignment_id from assignment where queue_id = ? and rater_id = ? and "
        + ("status = 'leased' order by updated_at desc limit 1" if wish.trace_id is None else "trace_id = ? limit 1"),
        [wish.queue_id, wish.rater_id] + ([] if wish.trace_id is None else [wish.trace_id]),
    ).fetchone()
    if mine is not None:
        con.execute(
            "update assignment set lease_expires_at = ?, updated_at = ? where assignment_id = ?",
            [expires, now, mine[0]],
        )
        return read_assignment(con, mine[0])
    found = _named(con, wish.trace_id) if wish.trace_id is not None else _next(con, wish, overlap, now)
    if found is None:
        return None
    trace_id, segmentation_id = found
    # Slot numbers are never used twice, so the table is only appended to; how many are *taken* is counted from
    # assignments.
    taken = con.execute(
        "select count(*) from slot where queue_id = ? and item_id = ?", [wish.queue_id, trace_id]
    ).fetchone()
    con.execute(
        "insert into slot values (?, ?, ?, ?)", [wish.queue_id, trace_id, taken[0] if taken else 0, wish.rater_id]
    )
    assignment_id = new_id()
    con.execute(
        "insert into assignment values (?, ?, ?, ?, ?, ?, ?, 'leased', '', -1, ?, ?, null, ?, null, null, false, null, '')",
        [
            assignment_id,
            wish.queue_id,
            trace_id,
            segmentation_id,
            wish.rater_id,
            rubric_id,
            rubric_version,
            now,
            expires,
            now,
        ],
    )
    return read_assignment(con, assignment_id)


def _named(con: duckdb.DuckDBPyConnection, trace_id: str) -> tuple[str, str]:
    row = con.execute(
        "select trace_id, segmentation_id, n_steps from segmentation where trace_id = ? limit 1", [trace_id]
    ).fetchone()
    if row is None:
        raise StoreError(f"There is no trace {trace_id!r} to rate.")
    if row[2] == 0:
        raise StoreError(f"The trace {trace_id} has no steps, so there is nothing to rate in it.")
    return row[0], row[1]


_OPEN_TO_RATER = """
from trace t join segmentation g using (trace_id) left join (
    select trace_id, count(*) as n from assignment
    where queue_id = ? and (status = 'submitted' or (status = 'leased' and lease_expires_at > ?)) group by trace_id
) taken using (trace_id)
where t.n_steps > 0 and (?::integer is null or coalesce(taken.n, 0) < ?::integer)
  and t.trace_id not in (select trace_id from assignment where queue_id = ? and rater_id = ?)
"""


def _next(con: duckdb.DuckDBPyConnection, wish: Claim, overlap: int | None, now: datetime) -> tuple[str, str] | None:
    """The least rated, then oldest trace that this rater has not had and that is not fully taken."""
    row = con.execute(
        f"select t.trace_id, g.segmentation_id {_OPEN_TO_RATER} order by coalesce(taken.n, 0), t.created_at, "
        "t.trace_id limit 1",
        [wish.queue_id, now, overlap, overlap, wish.queue_id, wish.rater_id],
    ).fetchone()
    return None if row is None else (row[0], row[1])


def remaining(con: duckdb.DuckDBPyConnection, rater_id: str, queue_id: str) -> int:
    """How many traces this rater could still rate, the ones now leased to them included."""
    queue = con.execute("select overlap from queue where queue_id = ? limit 1", [queue_id]).fetchone()
    overlap = queue[0] if queue else None
    fresh = con.execute(
        f"select count(*) {_OPEN_TO_RATER}", [queue_id, utc_now(), overlap, overlap, queue_id, rater_id]
    ).fetchone()
    mine = con.execute(
        "select count(*) from assignment where queue_id = ? and rater_id = ? and status = 'leased'",
        [queue_id, rater_id],
    ).fetchone()
    return int(fresh[0] if fresh else 0) + int(mine[0] if mine else 0)


def add_raters(con: duckdb.DuckDBPyConnection, raters: Sequence[tuple[str, str, str]]) -> list[None]:
    """Writer's operation: (rater_id, display_name, role); one who is known is left as they are."""
    for rater_id, display_name, role in raters:
        known = con.execute("select 1 from rater where rater_id = ?", [rater_id]).fetchone()
        if known is None:
            con.execute("insert into rater values (?, ?, ?, ?, null, true)", [rater_id, display_name, role, utc_now()])
    return [None] * len(raters)


def set_queues(con: duckdb.DuckDBPyConnection, queues: Sequence[tuple[str, int | None, int, bool]]) -> list[None]:
    """Writer's operation: (queue_id, overlap, lease_minutes, verify_mode); made, or changed when it exists."""
    for queue_id, overlap, minutes, verify in queues:
        con.execute("delete from queue where queue_id = ?", [queue_id])
        con.execute(
            "insert into queue values (?, ?, 'trace', ?, ?, ?, ?, ?, true, 'least_rated', 0, '{}', false, ?)",
            [queue_id, queue_id, *RUBRIC, overlap, minutes, verify, utc_now()],
        )
    return [None] * len(queues)


def set_up(con: duckdb.DuckDBPyConnection) -> None:
    """The default queue and its rubric, in a new database."""
    if con.execute("select 1 from rubric where rubric_id = ? and version = ?", [*RUBRIC]).fetchone() is None:
        con.execute("insert into rubric values (?, ?, ?, ?, '{}', '')", [*RUBRIC, GUIDELINES, utc_now()])
    if con.execute("select 1 from queue where queue_id = ?", [DEFAULT_QUEUE]).fetchone() is None:
        set_queues(con, [(DEFAULT_QUEUE, None, LEASE_MINUTES, False)])
