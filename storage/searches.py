"""Searches that have ended: one row a search, only ever appended. The tree itself is in its log, `searches/ID.jsonl`.

Knows no strategy: what was asked and what was spent come as plain values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import duckdb

from storage.database import insert
from storage.events import format_utc, parse_utc
from storage.ratings import utc_now


@dataclass(frozen=True)
class SearchRow:
    """What a search was and what it came to.

    reason: finished, budget, cancelled or error. correct: whether the chosen response solves the problem, None where nobody knows.
    trace_id: the chosen response as a trace, None where none was chosen. Tokens and FLOPs are those of `core.search.ledger.Spent`.
    """

    search_id: str
    problem_id: str
    prompt: str
    strategy: str
    params: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    executor: str = ""
    scorer: str = ""
    seed: int = 0
    started_by: str = ""
    reason: str = "finished"
    correct: bool | None = None
    answer: str = ""
    trace_id: str | None = None
    nodes: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    scorer_tokens: int = 0
    solver_flops: float | None = None
    scorer_flops: float | None = None
    seconds: float = 0.0
    calls: int = 0
    created_at: str = ""
    ended_at: str = ""  # when the row was stored


_KINDS = {
    "seed": "bigint", "correct": "boolean", "nodes": "integer", "prompt_tokens": "bigint", "cached_tokens": "bigint",
    "generated_tokens": "bigint", "scorer_tokens": "bigint", "solver_flops": "double", "scorer_flops": "double",
    "seconds": "double", "calls": "integer", "created_at": "timestamp", "ended_at": "timestamp",
}  # fmt: skip
_NAMES = [f.name for f in fields(SearchRow)]


def add_searches(con: duckdb.DuckDBPyConnection, rows: Sequence[SearchRow]) -> list[None]:
    """Writer's operation. A search that is stored already stays as it is."""
    known = stored(con, [row.search_id for row in rows])
    fresh = list({row.search_id: row for row in rows if row.search_id not in known}.values())
    values = [
        {
            **asdict(row), "params": json.dumps(dict(row.params)), "created_at": parse_utc(row.created_at), "ended_at": utc_now(),
        }
        for row in fresh
    ]  # fmt: skip
    if values:
        insert(con, "search", {n: (_KINDS.get(n, "varchar"), [v[n] for v in values]) for n in _NAMES})
    return [None] * len(rows)


def stored(con: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> set[str]:
    """Which of these searches are here."""
    rows = con.execute("select search_id from search where search_id in (select unnest(?::varchar[]))", [list(ids)])
    return {row[0] for row in rows.fetchall()}


def read_search(con: duckdb.DuckDBPyConnection, search_id: str) -> SearchRow | None:
    """None: there is none, or it has not ended."""
    found = _rows(con, "where search_id = ?", [search_id])
    return found[0] if found else None


def list_searches(con: duckdb.DuckDBPyConnection, limit: int) -> list[SearchRow]:
    """The newest first."""
    return _rows(con, "order by search_id desc limit ?", [limit])


def _rows(con: duckdb.DuckDBPyConnection, rest: str, values: Sequence[Any]) -> list[SearchRow]:
    found = con.execute(f"select {', '.join(_NAMES)} from search {rest}", values).fetchall()
    return [_row(dict(zip(_NAMES, row, strict=True))) for row in found]


def _row(values: dict[str, Any]) -> SearchRow:
    times = {name: format_utc(values[name]) for name in ("created_at", "ended_at")}
    return SearchRow(**{**values, "params": json.loads(values["params"]), **times})
