"""Who rates what: handing out items as leases.

Select-then-insert from several threads hands the same trace out twice without a single error (measured: 27 of 40). So every
claim runs on the one writer thread, which is the lock, and the key of the table `slot` is the safety net below it. A lease
that ran out is free again by query; nobody has to clean up. Knows nothing of ratings but the status they leave behind.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import duckdb

from core.trace import new_id
from storage import rubrics, sampling
from storage.errors import StoreError
from storage.events import format_utc, parse_utc
from storage.gold import Gold, Standing, gold_for, read_gold
from storage.queues.assignments import Assignment, read_assignment
from storage.queues.items import HAD, HOLDS_A_PLACE, IN_HAND, items, open_to, still_open_to
from storage.queues.settings import DEFAULT_QUEUE, RUBRIC, Item, Queue, need_queue, read_queue, save_queues
from storage.ratings import utc_now

# What is fetched ahead is held this long: about as long as a rater needs for the trace before it.
AHEAD_MINUTES = 10
# Traces that are looked out for one claim: more than there are claims in the same moment, few enough to be checked at once.
LOOKED_OUT = 64
# Of what is kept ready in order, this much is looked at first: more than raters take until it is made anew.
FRONT = 512


@dataclass(frozen=True)
class Claim:
    """A wish for work. `trace_id` None: the next one of the queue. ahead: to be shown later, beside the work in hand.

    rankings: what `storage.sampling.rankings` has of the queue. draw: 0 to 1, which slice of the sampling it falls in.
    looked_out: what `look_out` found beside the thread that writes. known: what is in memory (None: looked up).
    """

    rater_id: str
    queue_id: str = DEFAULT_QUEUE
    trace_id: str | None = None
    ahead: bool = False
    rankings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    draw: float = field(default_factory=random.random)
    looked_out: tuple[str, tuple[str, ...]] | None = None
    known: Known | None = None


@dataclass(frozen=True)
class Known:
    """What need not be looked up on the thread that writes, where a statement is a millisecond in which nobody else's rating
    is saved. rater: that this one has a row. golds, standings: those of the queue.
    """

    queue: Queue
    rater: bool
    golds: tuple[Gold, ...]
    standings: Mapping[str, Standing]


def claim(con: duckdb.DuckDBPyConnection, claims: Sequence[Claim]) -> list[Assignment | None]:
    """Writer's operation: one assignment (or None) for each claim."""
    return [_claim(con, c) for c in claims]


def _claim(con: duckdb.DuckDBPyConnection, wish: Claim) -> Assignment | None:
    queue, now = wish.known.queue if wish.known else need_queue(con, wish.queue_id), utc_now()
    if wish.known is None or not wish.known.rater:
        add_raters(con, [(wish.rater_id, wish.rater_id, "rater")])
    held = _held(con, queue, wish)
    mine = held.get(wish.trace_id) if wish.trace_id is not None else _in_hand(con, queue, held, now, wish.ahead)
    if mine is not None:
        if wish.trace_id is not None:
            _extra_if_full(con, queue, mine, now)
        return _take_up(con, queue, mine, now, ahead=wish.ahead)
    if queue.archived:
        raise StoreError(f"The queue {queue.title!r} is archived; nothing more is handed out from it.")
    item = _named(con, wish.trace_id) if wish.trace_id is not None else _next(con, queue, wish, now)
    return None if item is None else _hand_out(con, queue, item, wish, now, held.get(item.item_id))


# ---- what the rater has already


@dataclass(frozen=True)
class _Held:
    """An assignment of the rater that is not at its end."""

    assignment_id: str
    status: str
    expires: datetime


def _held(con: duckdb.DuckDBPyConnection, queue: Queue, wish: Claim) -> dict[str, _Held]:
    """What the rater has in the queue by item, the latest first: what is leased, and what was fetched ahead, lapsed or not;
    of a named trace whatever there is.
    """
    which, value = "status in ('leased', 'offered')", list[str]()
    if wish.trace_id is not None:
        which, value = "trace_id = ? and pair_id is null", [wish.trace_id]
    rows = con.execute(
        "select coalesce(pair_id, trace_id), assignment_id, status, lease_expires_at from assignment "
        f"where queue_id = ? and rater_id = ? and {which} order by updated_at desc",
        [queue.queue_id, wish.rater_id, *value],
    ).fetchall()
    return {item_id: _Held(*row) for item_id, *row in rows}


def _in_hand(
    con: duckdb.DuckDBPyConnection, queue: Queue, held: Mapping[str, _Held], now: datetime, ahead: bool
) -> _Held | None:
    """What the rater has open, or else what was fetched ahead. One that lapsed, untouched, and whose place was taken
    meanwhile is let go.
    """
    waiting = [one for one in held.values() if one.status == "offered" and one.expires > now]
    if ahead:  # one that lapsed unseen: its trace is among the open ones again
        return waiting[0] if waiting else None
    for one in held.values():
        if one.status != "leased":
            continue
        if one.expires > now or has_place(con, queue, one.assignment_id, now):
            return one
        if _touched(con, one.assignment_id):  # work is not taken away; it goes on as an extra rating
            con.execute("update assignment set late = true where assignment_id = ?", [one.assignment_id])
            return one
        con.execute("update assignment set status = 'offered' where assignment_id = ?", [one.assignment_id])
    return waiting[0] if waiting else None


def holds(con: duckdb.DuckDBPyConnection, wish: Claim) -> bool:
    """Whether the rater has something open in the queue, or waiting for them."""
    row = con.execute(
        f"select 1 from assignment where queue_id = $queue and rater_id = $rater and {IN_HAND} limit 1",
        {"queue": wish.queue_id, "rater": wish.rater_id, "now": utc_now()},
    ).fetchone()
    return row is not None


def has_place(con: duckdb.DuckDBPyConnection, queue: Queue, assignment_id: str, now: datetime) -> bool:
    """Whether an assignment has a place beside the others of its item, whose leases last or who have submitted in time."""
    if queue.overlap is None:
        return True
    row = con.execute(
        f"select count(*) from assignment where queue_id = $queue and assignment_id <> $mine and not late and gold is null "
        f"and {HOLDS_A_PLACE} and (trace_id, pair_id) is not distinct from (select (trace_id, pair_id) from assignment "
        "where assignment_id = $mine and gold is null)",
        {"queue": queue.queue_id, "mine": assignment_id, "now": now},
    ).fetchone()
    return row is None or row[0] < queue.overlap


def lost_place(con: duckdb.DuckDBPyConnection, assignment_id: str, now: datetime) -> bool:
    """Whether an assignment's place was taken by others after its lease had ended: what is submitted then is extra."""
    row = con.execute("select queue_id from assignment where assignment_id = ? limit 1", [assignment_id]).fetchone()
    queue = read_queue(con, row[0]) if row else None
    return queue is not None and not has_place(con, queue, assignment_id, now)


def _extra_if_full(con: duckdb.DuckDBPyConnection, queue: Queue, mine: _Held, now: datetime) -> None:
    """A trace can be opened by name when others have all its places: what comes of it is an extra rating."""
    if not has_place(con, queue, mine.assignment_id, now):
        con.execute(
            "update assignment set late = true where assignment_id = ? and status <> 'submitted'", [mine.assignment_id]
        )


def _touched(con: duckdb.DuckDBPyConnection, assignment_id: str) -> bool:
    found = con.execute("select 1 from rating_event where assignment_id = ? limit 1", [assignment_id]).fetchone()
    return found is not None


def _take_up(con: duckdb.DuckDBPyConnection, queue: Queue, mine: _Held, now: datetime, *, ahead: bool) -> Assignment:
    """The lease begins now: of what was open already it is renewed, what was fetched ahead is work in hand from here on."""
    expires = now + timedelta(minutes=_minutes(queue, ahead))
    con.execute(
        "update assignment set lease_expires_at = $expires, updated_at = $now, "
        "leased_at = if(status = 'offered', $now, leased_at), "
        "status = if(status = 'offered' and not $ahead, 'leased', status) where assignment_id = $id",
        {"expires": expires, "now": now, "ahead": ahead, "id": mine.assignment_id},
    )
    found = read_assignment(con, mine.assignment_id)
    assert found is not None  # its id was read in this transaction
    return found


def begin(con: duckdb.DuckDBPyConnection, wishes: Sequence[tuple[str, str]]) -> list[Assignment | None]:
    """Writer's operation, for each (assignment_id, rater_id): what was fetched ahead is shown now, and its lease begins.
    None: it lapsed and its place is taken. Raises StoreError when it is not that rater's.
    """
    return [_begin(con, *wish) for wish in wishes]


def _begin(con: duckdb.DuckDBPyConnection, assignment_id: str, rater_id: str) -> Assignment | None:
    found, now = read_assignment(con, assignment_id), utc_now()
    if found is None or found.rater_id != rater_id:
        raise StoreError(f"The assignment {assignment_id} is not that of {rater_id!r}; take one of your own.")
    if found.status != "offered":
        return found
    queue = need_queue(con, found.queue_id)
    mine = _Held(assignment_id, found.status, parse_utc(found.lease_expires_at))
    if mine.expires <= now and not has_place(con, queue, assignment_id, now):
        return None
    return _take_up(con, queue, mine, now, ahead=False)


def release(con: duckdb.DuckDBPyConnection, assignment_ids: Sequence[str]) -> list[bool]:
    """Writer's operation: the lease ends now, and the place is free. What was rated stays, and may still be submitted.
    False: there was no lease to end.
    """
    now, ended = utc_now(), []
    for assignment_id in assignment_ids:
        row = con.execute(
            "update assignment set lease_expires_at = $now where assignment_id = $id and status in ('leased', 'offered') "
            "and lease_expires_at > $now returning 1",
            {"now": now, "id": assignment_id},
        ).fetchone()
        ended.append(row is not None)
    return ended


# ---- what comes next


def _named(con: duckdb.DuckDBPyConnection, trace_id: str) -> Item:
    row = con.execute(
        "select trace_id, segmentation_id, n_steps from segmentation where trace_id = ? limit 1", [trace_id]
    ).fetchone()
    if row is None:
        raise StoreError(f"There is no trace {trace_id!r} to rate.")
    if row[2] == 0:
        raise StoreError(f"The trace {trace_id} has no steps, so there is nothing to rate in it.")
    return Item(row[0], row[1], "chosen")


def _next(con: duckdb.DuckDBPyConnection, queue: Queue, wish: Claim, now: datetime) -> Item | None:
    """The next item for this rater. The places where other modules have their say, in this order: whether the rater may go
    on (a StoreError says why not), a gold item, then a pair or a trace.
    """
    known = wish.known
    item = gold_for(con, wish.rater_id, queue, now, known.golds if known else None, known.standings if known else None)
    if item is not None:
        return item
    if queue.unit == "pair":
        from storage.pairs import next_pair  # which knows queues

        return next_pair(con, queue, wish.rater_id, now, wish.rankings, wish.draw)
    return _next_trace(con, queue, wish, now)


def _next_trace(con: duckdb.DuckDBPyConnection, queue: Queue, wish: Claim, now: datetime) -> Item | None:
    if wish.looked_out:  # what was found beside this thread, if it is still open
        sampled_by, ids = wish.looked_out
        part = next((p for p in _parts(queue, wish) if p.sampled_by == sampled_by), None)  # None: another order by now
        trace_id = None if part is None else _still_open(con, queue, wish, part, ids, now)
        if trace_id is not None:
            return Item(trace_id, _named(con, trace_id).segmentation_id, sampled_by)
    found = look_out(con, queue, wish, now, most=1)
    return None if found is None else Item(found[1][0], _named(con, found[1][0]).segmentation_id, found[0])


def _parts(queue: Queue, wish: Claim) -> list[sampling.Slice]:
    return sampling.drawn(queue, wish.draw)


def look_out(
    con: duckdb.DuckDBPyConnection, queue: Queue, wish: Claim, now: datetime, most: int = LOOKED_OUT
) -> tuple[str, tuple[str, ...]] | None:
    """What may come next for this rater: which rule chose, and the first traces by it. It passes over every trace of the
    queue, so it is done beside the thread that writes; that one sees to it that a trace is still open.
    """
    for part in _parts(queue, wish):
        if part.rank and not wish.rankings.get(part.sampled_by):
            continue
        ids = _first(con, queue, wish, part, now, most)
        if ids:
            return part.sampled_by, ids
        if not part.rank:
            return None  # an ordering passes over nothing: there is no open trace
    return None


def _first(
    con: duckdb.DuckDBPyConnection, queue: Queue, wish: Claim, part: sampling.Slice, now: datetime, most: int
) -> tuple[str, ...]:
    listed = wish.rankings.get(part.sampled_by, ())
    if "random()" in part.order and not part.stratum:
        listed = tuple(random.sample(listed, min(FRONT, len(listed))))
    for ids in (listed[:FRONT], listed[FRONT:]):
        found = _in_order(con, queue, wish, part, ids, now, most) if ids else ()
        if found:
            return found
    if part.rank:
        return ()
    sql, params = open_to(queue, wish.rater_id, now)
    if part.stratum:
        sql = (
            f"with balance as (select {part.stratum} as stratum, sum(taken) as done from ({items(queue)[0]}) group by all) "
            f"select * from (select *, {part.stratum} as stratum from ({sql})) join balance using (stratum)"
        )
    rows = con.execute(f"select trace_id from ({sql}) order by {part.order} limit {most}", params).fetchall()
    return tuple(row[0] for row in rows)


def _in_order(
    con: duckdb.DuckDBPyConnection,
    queue: Queue,
    wish: Claim,
    part: sampling.Slice,
    ids: Sequence[str],
    now: datetime,
    most: int,
) -> tuple[str, ...]:
    """Of these traces of the queue, in this order, the first that are open to the rater; those that fewest have come first
    where the slice says so.
    """
    sql, params = still_open_to(queue, wish.rater_id, now)
    spread = "taken, " if part.order.startswith("taken") else ""
    rows = con.execute(
        f"select trace_id from ({sql}) order by {spread}place limit {most}",
        {**params, "among": list(ids), "places": list(range(len(ids)))},
    ).fetchall()
    return tuple(row[0] for row in rows)


def _still_open(
    con: duckdb.DuckDBPyConnection, queue: Queue, wish: Claim, part: sampling.Slice, ids: tuple[str, ...], now: datetime
) -> str | None:
    """The first of these that is open now: others may have taken some. They are few, so their order is made here: planning
    the query that orders any number of them takes the thread that writes longer than all else of this.
    """
    golds = wish.known.golds if wish.known else read_gold(con, queue.queue_id)
    rows = con.execute(
        f"select trace_id, count(*) filter (gold is null and {HOLDS_A_PLACE}), bool_or(rater_id = $rater and {HAD}) "
        # Not a join with the unnested list: planning that takes half as long again as all else of this.
        "from assignment where queue_id = $queue and list_contains($among::varchar[], trace_id) group by trace_id",
        {"queue": queue.queue_id, "rater": wish.rater_id, "now": now, "among": list(ids)},
    ).fetchall()
    taken = {trace_id: n for trace_id, n, _ in rows}
    closed = {gold.item_id for gold in golds} | {trace_id for trace_id, _, had in rows if had}
    found = [
        i for i in ids if i not in closed and (queue.overlap is None or taken.get(i, 0) < queue.overlap)
    ]  # fmt: skip
    spread = part.order.startswith("taken")
    return min(found, key=lambda i: taken.get(i, 0) if spread else 0, default=None)


# ---- handing it out


def _hand_out(
    con: duckdb.DuckDBPyConnection, queue: Queue, item: Item, wish: Claim, now: datetime, lapsed: _Held | None
) -> Assignment:
    """lapsed: what was fetched ahead once and never shown; the same place is taken up again."""
    expires = now + timedelta(minutes=_minutes(queue, wish.ahead))
    made = Assignment(
        lapsed.assignment_id if lapsed else new_id(), queue.queue_id, item.trace_id, item.segmentation_id, wish.rater_id,
        status="offered" if wish.ahead else "leased", status_reason="", leased_at=format_utc(now),
        lease_expires_at=format_utc(expires), submitted_at="",
        verify_mode=queue.verify_mode, events_seq=-1, pair_id=item.pair_id, swapped=item.swapped,
        rubric_id=queue.rubric_id, rubric_version=queue.rubric_version,
    )  # fmt: skip
    if lapsed is not None:
        con.execute(
            "update assignment set status = ?, leased_at = ?, lease_expires_at = ?, updated_at = ?, rubric_id = ?, "
            "rubric_version = ?, sampled_by = ?, gold = ? where assignment_id = ?",
            [
                made.status,
                now,
                expires,
                now,
                queue.rubric_id,
                queue.rubric_version,
                item.sampled_by,
                item.gold,
                made.assignment_id,
            ],
        )
    else:
        # Slot numbers are never used twice, so the table is only appended to; how many are *taken* is counted from
        # assignments.
        con.execute(
            "insert into slot (queue_id, item_id, slot_no, rater_id) select $queue, $item, count(*), $rater from slot "
            "where queue_id = $queue and item_id = $item",
            {"queue": queue.queue_id, "item": item.item_id, "rater": wish.rater_id},
        )
        con.execute(
            "insert into assignment (assignment_id, queue_id, trace_id, segmentation_id, rater_id, rubric_id, "
            "rubric_version, status, status_reason, status_seq, leased_at, lease_expires_at, submitted_at, updated_at, "
            "pair_id, swapped, late, gold, sampled_by) values (?, ?, ?, ?, ?, ?, ?, ?, '', -1, ?, ?, null, ?, ?, ?, false, ?, ?)",
            [made.assignment_id, queue.queue_id, item.trace_id, item.segmentation_id, wish.rater_id, queue.rubric_id,
             queue.rubric_version, made.status, now, expires, now, item.pair_id, item.swapped, item.gold, item.sampled_by],
        )  # fmt: skip
    if lapsed is None and wish.trace_id is None:
        return made  # as it was written: reading it again takes as long as all that was written
    if wish.trace_id is not None:
        _extra_if_full(con, queue, _Held(made.assignment_id, made.status, expires), now)
    found = read_assignment(con, made.assignment_id)
    assert found is not None  # written in this transaction
    return found


def _minutes(queue: Queue, ahead: bool) -> int:
    return min(AHEAD_MINUTES, queue.lease_minutes) if ahead else queue.lease_minutes


def add_raters(con: duckdb.DuckDBPyConnection, raters: Sequence[tuple[str, str, str]]) -> list[None]:
    """Writer's operation: (rater_id, display_name, role); one who is known is left as they are."""
    for rater_id, display_name, role in raters:
        known = con.execute("select 1 from rater where rater_id = ?", [rater_id]).fetchone()
        if known is None:
            con.execute(
                "insert into rater (rater_id, display_name, role, created_at, password_hash, active) "
                "values (?, ?, ?, ?, null, true)",
                [rater_id, display_name, role, utc_now()],
            )
    return [None] * len(raters)


def set_up(con: duckdb.DuckDBPyConnection) -> None:
    """The default queue and its rubric, in a new database."""
    if rubrics.read_rubric(con, *RUBRIC) is None:
        rubrics.add_versions(con, [rubrics.Rubric(*RUBRIC, rubrics.GUIDELINES)])
    if read_queue(con, DEFAULT_QUEUE) is None:
        save_queues(con, [Queue(DEFAULT_QUEUE, "All traces")])
