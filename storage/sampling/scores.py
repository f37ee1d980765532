"""Traces of a queue ordered by what the last reward model said of their steps."""

from __future__ import annotations

import duckdb

from storage.queues.items import open_items
from storage.queues.settings import Queue
from storage.ratings import utc_now
from storage.sampling.base import SHORTLIST


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
