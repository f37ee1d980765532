"""Which traces are in a queue, and which of them are open: SQL that claims, counts and rankings share.

All of it are passes over narrow columns of `trace` and `assignment` (DuckDB reads 100,000 rows of them in milliseconds);
no column of text is read but the question, and that only when the filter names a text.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from storage.queues.settings import Queue

# Who holds a place: whoever has submitted, or has a lease that lasts (on what they rate, or on what was fetched ahead).
HOLDS_A_PLACE = "(status = 'submitted' or (status in ('leased', 'offered') and lease_expires_at > $now))"
# What a rater has in hand, or waiting for them.
IN_HAND = "(status = 'leased' or (status = 'offered' and lease_expires_at > $now))"
# What a rater was given: not what was only fetched ahead and lapsed before they saw it.
HAD = "(status <> 'offered' or lease_expires_at > $now)"

_GOLD = """select item_id from gold where queue_id = $queue
        qualify row_number() over (partition by item_id order by created_at desc, rowid desc) = 1 and active"""

_SOLVED = {"any": "", "solved": "and t.solved", "wrong": "and not t.solved", "unchecked": "and t.solved is null"}


# What is done and under way of each trace, in one pass: a second over the same rows costs a small store as much again.
_WORK = f"""select trace_id, count(*) filter (gold is null and {HOLDS_A_PLACE}) as n,
        count(*) filter (gold is null and status = 'submitted') as submitted{{mine}} from assignment where queue_id = $queue group by trace_id"""


def items(queue: Queue, had: bool = False) -> tuple[str, dict[str, Any]]:
    """A select of (trace_id, created_at, n_steps, n_backtracks, model, taken, submitted) for every trace of the queue, and its
    parameters but `$now`. Traces without steps, and gold items (they come by another way), are not in it; with `had` those that
    `$rater` has had neither.
    """
    where, params = _belongs(queue)
    work = _WORK.format(mine=f", bool_or(rater_id = $rater and {HAD}) as had" if had else "")
    sql = f"""
    select t.trace_id, t.created_at, t.n_steps, t.n_backtracks, t.model, coalesce(taken.n, 0) as taken,
        coalesce(taken.submitted, 0) as submitted
    from trace t left join ({work}) taken using (trace_id)
    where {where} and t.trace_id not in ({_GOLD}){" and not coalesce(taken.had, false)" if had else ""}"""
    return sql, params


def _belongs(queue: Queue) -> tuple[str, dict[str, Any]]:
    """Which rows of `trace`, as `t`, are in the queue, but for gold items."""
    config = queue.config
    where, params = f"t.n_steps > 0 {_SOLVED[config.solved]}", {"queue": queue.queue_id}
    for name in ("model", "source"):
        if value := getattr(config, name):
            where += f" and t.{name} = ${name}"
            params[name] = value
    if config.text:
        where += " and contains(lower(t.prompt), lower($text))"
        params["text"] = config.text
    return where, params


def _is_everything(queue: Queue) -> bool:
    """Whether every trace with steps is in it: then what somebody was given is in it, and need not be looked up."""
    config = queue.config
    return config.solved == "any" and not (config.model or config.source or config.text)


def count_open_to(queue: Queue, rater_id: str, now: datetime) -> tuple[str, dict[str, Any]]:
    """How many `open_to` selects: all, less those that are not. What is full, gold or was had is little beside all there is,
    and counting all reads one narrow column.
    """
    where, params = _belongs(queue)
    closed = (
        f"{_GOLD} union all select trace_id from assignment where queue_id = $queue and rater_id = $rater and {HAD}"
    )
    if queue.overlap is not None:
        closed += (
            f" union all select trace_id from assignment where queue_id = $queue and gold is null and {HOLDS_A_PLACE} "
            "group by trace_id having count(*) >= $overlap"
        )
        params["overlap"] = queue.overlap
    out = f"select count(distinct trace_id) from ({closed}) c(trace_id)"
    if not _is_everything(queue):
        out = f"select count(*) from trace t where {where} and t.trace_id in ({closed})"
    sql = f"select (select count(*) from trace t where {where}) - ({out})"
    return sql, {**params, "rater": rater_id, "now": now}


def count_items(queue: Queue) -> tuple[str, dict[str, Any]]:
    """Counts of `items`: all, complete (as many have submitted as `$full` says) and under way. As above, all less what is gold
    is one count, and only what somebody has is looked at by itself.
    """
    where, params = _belongs(queue)
    belongs = (
        "" if _is_everything(queue) else f"semi join (select trace_id from trace t where {where}) using (trace_id)"
    )
    sql = f"""
    with known as ({_GOLD}), work as (
        select trace_id, count(*) filter (status = 'submitted') as submitted from assignment
        where queue_id = $queue and gold is null and {HOLDS_A_PLACE} group by trace_id),
    had as (select submitted from work {belongs} anti join known on known.item_id = work.trace_id)
    select (select count(*) from trace t where {where})
            - (select count(*) from trace t where {where} and t.trace_id in (from known)),
        count(*) filter (submitted >= $full), count(*) filter (submitted < $full) from had"""
    return sql, params


def open_items(queue: Queue, had: bool = False) -> tuple[str, dict[str, Any]]:
    """Those of `items` that have a free place."""
    sql, params = items(queue, had)
    if queue.overlap is not None:
        sql += " and coalesce(taken.n, 0) < $overlap"
        params["overlap"] = queue.overlap
    return sql, params


def open_to(queue: Queue, rater_id: str, now: datetime) -> tuple[str, dict[str, Any]]:
    """Those that have a free place and that this rater has not had."""
    sql, params = open_items(queue, had=True)
    return sql, {**params, "rater": rater_id, "now": now}


def still_open_to(queue: Queue, rater_id: str, now: datetime) -> tuple[str, dict[str, Any]]:
    """A select of (trace_id, place, taken) of those in `$among`, a list of ids of traces of the queue, that are open to this
    rater; place is their number in `$places`. What a trace is does not change, so its work alone is looked at.
    """
    sql = f"""
    select trace_id, place, coalesce(n, 0) as taken
    from (select unnest($among::varchar[]) as trace_id, unnest($places::integer[]) as place) left join (
        select trace_id, count(*) filter (gold is null and {HOLDS_A_PLACE}) as n, bool_or(rater_id = $rater and {HAD}) as had
        from assignment where queue_id = $queue and trace_id in (select unnest($among::varchar[])) group by trace_id)
        using (trace_id)
    where not coalesce(had, false) and trace_id not in ({_GOLD})"""
    params = {"queue": queue.queue_id, "rater": rater_id, "now": now}
    if queue.overlap is not None:
        sql += " and coalesce(n, 0) < $overlap"
        params["overlap"] = queue.overlap
    return sql, params
