"""Where raters differ most: another opinion helps there most.

A trace counts with the mean over its steps of the difference between the best and the worst rating; it needs two raters who
have submitted. A pair counts with the difference between the strongest preferences for either side.
"""

from __future__ import annotations

import duckdb

from storage.queues.items import open_items
from storage.queues.pair_items import open_pairs
from storage.queues.settings import Queue
from storage.ratings import utc_now
from storage.sampling.base import SHORTLIST, Order, Slice, Strategy, with_chance


def rank(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    """The traces whose raters differ, those that differ most first."""
    sql, params = open_items(queue)
    rows = con.execute(
        f"""
    with mine as (
        select assignment_id, trace_id from assignment semi join ({sql}) using (trace_id)
        where queue_id = $queue and status = 'submitted' and gold is null
    ), step as (
        select trace_id, step_idx, max(value) - min(value) as spread from settled join mine using (assignment_id)
        where target = 'step' and dimension = 'correctness' group by all having count(value) > 1
    )
    select trace_id from step group by trace_id having max(spread) > 0 order by avg(spread) desc, trace_id limit {SHORTLIST}""",
        {**params, "now": utc_now()},
    ).fetchall()
    return [row[0] for row in rows]


def rank_pairs(con: duckdb.DuckDBPyConnection, queue: Queue) -> list[str]:
    """The pairs whose raters differ, those that differ most first."""
    sql, params = open_pairs(queue)
    rows = con.execute(
        f"""
    with mine as (
        select assignment_id, pair_id from assignment semi join ({sql}) using (pair_id)
        where queue_id = $queue and status = 'submitted' and gold is null)
    select pair_id from settled join mine using (assignment_id)
    where target = 'pair' and dimension = 'preference' group by pair_id having max(value) > min(value)
    order by max(value) - min(value) desc, stddev_pop(value) desc, pair_id limit {SHORTLIST}""",
        {**params, "now": utc_now()},
    ).fetchall()
    return [row[0] for row in rows]


STRATEGY = Strategy(
    "disagreement",
    "Where raters differ",
    Order(
        "The trace whose raters differ most so far, with a random slice.",
        lambda queue: with_chance(queue, Slice("disagreement", rank=rank)),
        "No open trace of this queue has two raters who differ, so the least rated comes first.",
    ),
    Order(
        "The pair whose raters differ most so far, with a random slice.",
        lambda queue: with_chance(queue, Slice("disagreement", rank=rank_pairs)),
        "No open pair of this queue has two raters who differ, so the least rated comes first.",
    ),
)
