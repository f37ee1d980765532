"""The first open traces of a large queue by an ordering, kept ready like a ranking: a claim need not pass over every trace."""

from __future__ import annotations

import duckdb

from storage.queues.items import items, open_items
from storage.queues.settings import Queue
from storage.ratings import utc_now
from storage.sampling.base import SHORTLIST, Slice


def shortlist(con: duckdb.DuckDBPyConnection, queue: Queue, part: Slice) -> tuple[str, ...] | None:
    """Ids in the order in which they are to be handed out, or None where fewer are open than a list is long."""
    sql, params = open_items(queue)
    order = part.order
    if part.stratum:  # each counts as if those before it in its stratum had been handed out
        sql = (
            f"with balance as (select {part.stratum} as stratum, sum(taken) as done from ({items(queue)[0]}) group by all) "
            f"select * exclude (done), done + row_number() over (partition by stratum order by taken, random()) as done "
            f"from (select *, {part.stratum} as stratum from ({sql})) join balance using (stratum)"
        )
    rows = con.execute(
        f"select trace_id from ({sql}) order by {order} limit {SHORTLIST}", {**params, "now": utc_now()}
    ).fetchall()
    return tuple(row[0] for row in rows) if len(rows) == SHORTLIST else None
