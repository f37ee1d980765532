"""The time at which something was decided, in tables where the latest row counts: never before that of an older row.

A machine's clock may be set back. What is decided after that would otherwise lose to what was decided before, and a snapshot taken then
would leave out the decisions of the hours that, by its clock, have not come yet.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb

from storage.ratings import utc_now

A_MOMENT = timedelta(microseconds=1)  # the finest that a timestamp of the store tells apart


def later_than_all(con: duckdb.DuckDBPyConnection, table: str, column: str = "created_at") -> datetime:
    """Now, or just after the table's latest row. `table` and `column` are names of ours, never a user's."""
    latest = con.execute(f"select max({column}) from {table}").fetchone()
    assert latest is not None
    return utc_now() if latest[0] is None else max(utc_now(), latest[0] + A_MOMENT)
