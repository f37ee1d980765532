"""Items of a queue ordered by what the last reward model said of them: traces by their steps, pairs by their two traces."""

from __future__ import annotations

import duckdb

from storage.queues.items import open_items
from storage.queues.pair_items import open_pairs
from storage.queues.settings import Queue
from storage.ratings import utc_now
from storage.sampling.base import SHORTLIST

# What a trace's latest scores come to, aggregated as they were meant to be (core/scoring/prm.py has the same four).
_AGGREGATED = """case aggregation when 'min' then list_min(step_values) when 'prod' then list_product(step_values)
    when 'mean' then list_avg(step_values) else step_values[len(step_values)] end"""


def by_scores(con: duckdb.DuckDBPyConnection, queue: Queue, order: str, where: str = "true") -> list[str]:
    """Open traces with scores, by `order` over `p` (a list, one value a step; the latest scores of each trace). `where` is
    over the columns of `trace`, as `t`.
    """
    sql, params = open_items(queue)
    rows = con.execute(
        f"""
    with item as ({sql}), latest as (
        select trace_id, max(created_at) as created_at from model_score group by trace_id
    ), scored as (
        select s.trace_id, s.step_values as p from model_score s join latest using (trace_id, created_at)
    )
    select trace_id from item join scored using (trace_id) join trace t using (trace_id)
    where len(p) > 0 and {where} order by {order}, trace_id limit {SHORTLIST}""",
        {**params, "now": utc_now()},
    ).fetchall()
    return list(dict.fromkeys(row[0] for row in rows))


def by_difference(con: duckdb.DuckDBPyConnection, queue: Queue, order: str, where: str = "true") -> list[str]:
    """Open pairs of which one reward model has scored both traces, by `order` over `l.score` and `r.score` and whether they are
    solved, `l.solved` and `r.solved`.
    """
    sql, params = open_pairs(queue)
    rows = con.execute(
        f"""
    with item as ({sql}), side as (
        select left_trace_id as trace_id from item union select right_trace_id from item
    ), scored as (
        select trace_id, solved, scorer, scorer_version, {_AGGREGATED} as score
        from model_score semi join side using (trace_id) join trace using (trace_id) where len(step_values) > 0
        qualify row_number() over (partition by trace_id order by model_score.created_at desc) = 1
    )
    select pair_id from item join scored l on l.trace_id = left_trace_id join scored r on r.trace_id = right_trace_id
    where l.scorer = r.scorer and l.scorer_version = r.scorer_version and {where} order by {order}, pair_id limit {SHORTLIST}""",
        {**params, "now": utc_now()},
    ).fetchall()
    return [row[0] for row in rows]
