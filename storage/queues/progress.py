"""How far a queue is, and how far a rater is in it: counts, pace, open leases, the last ones. Reads only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb

from storage.events import format_utc
from storage.queues.items import IN_HAND, count_items, count_open_to
from storage.queues.pair_items import pair_items, pairs_open_to
from storage.queues.settings import Queue
from storage.ratings import utc_now

PACE_OF = 20  # the last traces a rater's pace is taken from: an hour or two, so that it follows the day
PROMPT_CHARS = 160  # of a question in a list: one line


@dataclass(frozen=True)
class Mine:
    """One rater in one queue. remaining: what they could still rate, open leases included. submitted_today: since midnight
    UTC. minutes_each: median time from when a trace was shown to when it was submitted, of the last 20; None before any.
    """

    queue_id: str
    submitted: int
    skipped: int
    remaining: int
    submitted_today: int
    minutes_each: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RaterProgress:
    """A line of a queue's table of raters. last_at: when they last took or left something."""

    rater_id: str
    submitted: int
    skipped: int
    late: int
    open: int
    minutes_each: float | None
    last_at: str


@dataclass(frozen=True)
class Lease:
    """Something a rater has in hand. ahead: fetched ahead, not yet shown. n_events: what was done in it so far."""

    assignment_id: str
    rater_id: str
    trace_id: str
    pair_id: str | None
    prompt: str
    ahead: bool
    leased_at: str
    lease_expires_at: str
    n_events: int


@dataclass(frozen=True)
class QueueProgress:
    """Items of a queue. complete: as many have submitted as the overlap asks for (without overlap: anybody has)."""

    items: int
    complete: int
    under_way: int
    untouched: int
    raters: list[RaterProgress]
    leases: list[Lease]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Done:
    """A line of a rater's history."""

    assignment_id: str
    queue_id: str
    trace_id: str
    pair_id: str | None
    prompt: str
    status: str
    status_reason: str
    updated_at: str


def remaining(con: duckdb.DuckDBPyConnection, rater_id: str, queue: Queue) -> int:
    """How many items this rater could still rate, the ones now leased to them included."""
    return mine(con, rater_id, queue).remaining


def _not_begun(con: duckdb.DuckDBPyConnection, rater_id: str, queue: Queue, now: datetime) -> int:
    if queue.unit == "pair":
        sql, params = pairs_open_to(queue, rater_id, now)
        sql = f"select count(*) from ({sql})"
    else:
        sql, params = count_open_to(queue, rater_id, now)
    return _count(con, sql, params)


def mine(con: duckdb.DuckDBPyConnection, rater_id: str, queue: Queue) -> Mine:
    """One rater's progress and pace in a queue."""
    now = utc_now()
    row = con.execute(
        f"""
select count(*) filter (status = 'submitted'), count(*) filter (status = 'skipped'),
    count(*) filter (status = 'submitted' and submitted_at >= $midnight), count(*) filter ({IN_HAND}),
    count(*) filter ({IN_HAND} and gold is null),
    list_median(max_by(epoch(submitted_at) - epoch(leased_at), submitted_at, {PACE_OF}) filter (status = 'submitted')) / 60
from assignment where queue_id = $queue and rater_id = $rater""",
        {"midnight": now.replace(hour=0, minute=0, second=0, microsecond=0), "now": now, "queue": queue.queue_id, "rater": rater_id},
    ).fetchone()  # fmt: skip
    assert row is not None  # an aggregate without GROUP BY always has one row
    submitted, skipped, today, in_hand, plain, pace = row
    # A gold item is not among those not begun: were it counted in hand, the sum would grow by one and tell it from the others.
    left = max(_not_begun(con, rater_id, queue, now) + plain, min(in_hand, 1))
    return Mine(queue.queue_id, submitted, skipped, left, today, pace)


def queue_progress(con: duckdb.DuckDBPyConnection, queue: Queue) -> QueueProgress:
    """Counts for a queue, its raters, and what is out."""
    now = utc_now()
    if queue.unit == "pair":
        sql, params = pair_items(queue)
        sql = (
            "select count(*), count(*) filter (submitted >= $full), count(*) filter (taken > 0 and submitted < $full) "
            f"from ({sql})"
        )
    else:
        sql, params = count_items(queue)
    total, complete, under_way = con.execute(sql, {**params, "now": now, "full": queue.overlap or 1}).fetchall()[0]
    raters = con.execute(
        "select rater_id, count(*) filter (status = 'submitted'), count(*) filter (status = 'skipped'), "
        "count(*) filter (late), count(*) filter (status = 'leased' and lease_expires_at > $now), "
        "median(epoch(submitted_at) - epoch(leased_at)) filter (status = 'submitted') / 60, max(updated_at) "
        "from assignment where queue_id = $queue and status <> 'offered' group by rater_id order by 2 desc, 1",
        {"queue": queue.queue_id, "now": now},
    ).fetchall()
    return QueueProgress(
        total, complete, under_way, total - complete - under_way,
        [RaterProgress(*(*row[:6], format_utc(row[6]))) for row in raters], leases(con, queue.queue_id, now),
    )  # fmt: skip


def leases(con: duckdb.DuckDBPyConnection, queue_id: str, now: datetime) -> list[Lease]:
    """What is out of a queue now, the oldest lease first."""
    rows = con.execute(
        "with out as (select * from assignment where queue_id = $queue and status in ('leased', 'offered') and "
        "lease_expires_at > $now), done as (select assignment_id, count(*) as n from rating_event where assignment_id in "
        "(select assignment_id from out) group by all) "
        f"select assignment_id, rater_id, trace_id, pair_id, left(prompt, {PROMPT_CHARS}), status = 'offered', leased_at, "
        "lease_expires_at, coalesce(n, 0) from out join trace using (trace_id) left join done using (assignment_id) "
        "order by leased_at, assignment_id",
        {"queue": queue_id, "now": now},
    ).fetchall()
    return [Lease(*(*row[:6], format_utc(row[6]), format_utc(row[7]), row[8])) for row in rows]


def history(con: duckdb.DuckDBPyConnection, rater_id: str, limit: int, unit: str | None = None) -> list[Done]:
    """A rater's last submitted and skipped items, over all queues, latest first. unit: "trace" or "pair" alone."""
    of = {None: "", "trace": "and pair_id is null", "pair": "and pair_id is not null"}[unit]
    rows = con.execute(
        f"with last as (select * from assignment where rater_id = ? and status in ('submitted', 'skipped') {of} "
        "order by updated_at desc, assignment_id desc limit ?) "
        f"select assignment_id, queue_id, trace_id, pair_id, left(prompt, {PROMPT_CHARS}), status, status_reason, updated_at "
        "from last join trace using (trace_id) order by updated_at desc, assignment_id desc",
        [rater_id, limit],
    ).fetchall()
    return [Done(*(*row[:7], format_utc(row[7]))) for row in rows]


def _count(con: duckdb.DuckDBPyConnection, sql: str, params: dict[str, Any]) -> int:
    row = con.execute(sql, params).fetchone()
    return int(row[0]) if row else 0
