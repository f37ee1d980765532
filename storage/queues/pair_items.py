"""Which pairs are in a queue, and which of them are open: SQL that claims, counts and rankings share, as `items` is of traces.

No filter of the queue chooses pairs: they are made for it (storage/pairing.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from storage.queues.items import HAD, HOLDS_A_PLACE
from storage.queues.settings import Queue


def pair_items(queue: Queue, *, facts: bool = False) -> tuple[str, dict[str, Any]]:
    """A select of (pair_id, left_trace_id, right_trace_id, created_at, taken, submitted) for every pair of the queue, and its
    parameters but `$now`. facts: also n_steps and n_backtracks (of both together) and model (the two, in one order). Gold items
    come by another way and are not in it.
    """
    more, joins = "", ""
    if facts:
        more = """, l.n_steps + r.n_steps as n_steps, l.n_backtracks + r.n_backtracks as n_backtracks,
        concat(least(l.model, r.model), chr(30), greatest(l.model, r.model)) as model"""
        joins = "join trace l on l.trace_id = p.left_trace_id join trace r on r.trace_id = p.right_trace_id"
    sql = f"""
    select p.pair_id, p.left_trace_id, p.right_trace_id, p.created_at, coalesce(held.n, 0) as taken,
        coalesce(held.submitted, 0) as submitted{more}
    from pair p {joins} left join (
        select pair_id, count(*) as n, count(*) filter (status = 'submitted') as submitted from assignment
        where queue_id = $queue and pair_id is not null and gold is null and {HOLDS_A_PLACE} group by pair_id) held using (pair_id)
    where p.queue_id = $queue and p.pair_id not in (
        select item_id from gold where queue_id = $queue
        qualify row_number() over (partition by item_id order by created_at desc, rowid desc) = 1 and active)"""
    return sql, {"queue": queue.queue_id}


def open_pairs(queue: Queue, *, facts: bool = False) -> tuple[str, dict[str, Any]]:
    """Those of `pair_items` that have a free place."""
    sql, params = pair_items(queue, facts=facts)
    if queue.overlap is not None:
        sql += " and coalesce(held.n, 0) < $overlap"
        params["overlap"] = queue.overlap
    return sql, params


def pairs_open_to(queue: Queue, rater_id: str, now: datetime, *, facts: bool = False) -> tuple[str, dict[str, Any]]:
    """Those that have a free place and that this rater has not had."""
    sql, params = open_pairs(queue, facts=facts)
    sql += (
        " and p.pair_id not in (select pair_id from assignment where queue_id = $queue and rater_id = $rater "
        f"and pair_id is not null and {HAD})"
    )
    return sql, {**params, "rater": rater_id, "now": now}
