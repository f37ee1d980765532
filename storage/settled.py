"""What counts in finished work, kept ready: the latest-wins view over a million events takes a second, a page may not.

The events stay the truth. Once an assignment is submitted or skipped, the events of it that count are copied into
`settled` and counted into `tally`, in the transaction that finished it; reopening takes them out again. Work in hand
is read from its events, and is little. `worldline doctor` compares both with the events and can rebuild them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import duckdb

from storage.database import insert

_COUNTS = """
    count(*) filter (r.dimension = 'correctness' and value > 0) as good,
    count(*) filter (r.dimension = 'correctness' and value = 0) as neutral,
    count(*) filter (r.dimension = 'correctness' and value < 0) as bad,
    count(*) filter (r.dimension = 'correctness' and value is null) as unsure, count(r.assignment_id) as judgements"""

_COUNTED = (
    "select a.assignment_id, any_value(a.trace_id) as trace_id, any_value(a.rater_id) as rater_id, "
    f"{_COUNTS} from assignment a left join settled r using (assignment_id) where {{chosen}} group by a.assignment_id"
)

FINISHED = "status in ('submitted', 'skipped')"

# The columns of `rating_event` and `settled`, and what tells one judgement from another.
EVENT = {
    "server_seq": "bigint", "event_id": "varchar", "assignment_id": "varchar", "rater_id": "varchar", "seq": "bigint",
    "ts_client": "timestamp", "ts_server": "timestamp", "action": "varchar", "target": "varchar", "segmentation_id": "varchar",
    "step_idx": "integer", "dimension": "varchar", "value": "double", "value_text": "varchar", "input_method": "varchar",
    "dwell_ms": "integer", "prelabel_visible": "boolean", "ui_build": "varchar",
}  # fmt: skip
_AT = {name: i for i, name in enumerate(EVENT)}
_JUDGEMENT = ("assignment_id", "target", "segmentation_id", "step_idx", "dimension")
_TALLY = {
    "assignment_id": "varchar", "trace_id": "varchar", "rater_id": "varchar", "good": "integer", "neutral": "integer",
    "bad": "integer", "unsure": "integer", "judgements": "integer",
}  # fmt: skip
_GOOD, _NEUTRAL, _BAD, _UNSURE, _JUDGEMENTS = range(3, 8)

# Everything anew, from the events: what a migration and the doctor run.
REBUILD = (
    "delete from settled; delete from tally; insert into settled by name select * from rating_latest "
    f"semi join (select assignment_id from assignment where {FINISHED}) using (assignment_id) order by server_seq; "
    f"insert into tally by name {_COUNTED.format(chosen=FINISHED)};"
)


def settle(con: duckdb.DuckDBPyConnection, assignment_ids: Collection[str], before: Collection[str]) -> set[str]:
    """Bring `settled` and `tally` in step with the events of these assignments; returns those that are finished. `before`:
    those of them that were settled already. What counts is chosen here, as in the view rating_latest: for a trace's few
    events the database takes longer to plan its windows and joins than everything else of a submit takes.
    """
    ids = list(assignment_ids)
    for table in ("settled", "tally") if before else ():
        con.execute(f"delete from {table} where assignment_id in (select unnest(?::varchar[]))", [list(before)])
    found = con.execute(
        "select assignment_id, trace_id, rater_id from assignment "
        f"where {FINISHED} and assignment_id in (select unnest(?::varchar[]))",
        [ids],
    ).fetchall()
    if not found:
        return set()
    counting = _counting(con, [row[0] for row in found])
    if counting:
        insert(
            con, "settled", {n: (kind, [event[i] for event in counting]) for i, (n, kind) in enumerate(EVENT.items())}
        )
    counts = {row[0]: [*row, 0, 0, 0, 0, 0] for row in found}
    for event in counting:
        tally, value = counts[event[_AT["assignment_id"]]], event[_AT["value"]]
        if event[_AT["dimension"]] == "correctness":
            tally[_UNSURE if value is None else _GOOD if value > 0 else _NEUTRAL if value == 0 else _BAD] += 1
        tally[_JUDGEMENTS] += 1
    insert(con, "tally", {n: (kind, [row[i] for row in counts.values()]) for i, (n, kind) in enumerate(_TALLY.items())})
    return {row[0] for row in found}


def _counting(con: duckdb.DuckDBPyConnection, ids: list[str]) -> list[tuple[Any, ...]]:
    """The events of these assignments that count, in the order of commit: the latest of each judgement, unless it clears it."""
    events = con.execute(
        f"select {', '.join(EVENT)} from rating_event where action in ('set', 'clear') "
        "and assignment_id in (select unnest(?::varchar[]))",
        [ids],
    ).fetchall()
    latest: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for event in sorted(events, key=lambda e: (e[_AT["seq"]], e[0])):
        latest[tuple(event[_AT[name]] for name in _JUDGEMENT)] = event
    return sorted((e for e in latest.values() if e[_AT["action"]] == "set"), key=lambda e: e[0])


def differences(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Assignments whose settled rows are not what their events say, whose counts are not those of their rows, and
    finished ones that are not settled at all; by these three names, only what there is.
    """
    (rows,) = con.execute(
        "with due as (select * from rating_latest semi join tally using (assignment_id)), "
        "off as ((select * from due except all select * from settled) union all (select * from settled except all select * from due)) "
        "select count(distinct assignment_id) from off"
    ).fetchall()[0]
    counted = _COUNTED.format(chosen="a.assignment_id in (select assignment_id from tally)")
    (counts,) = con.execute(
        f"with due as ({counted}), "
        "off as ((select * from due except all select * from tally) union all (select * from tally except all select * from due)) "
        "select count(distinct assignment_id) from off"
    ).fetchall()[0]
    (missing,) = con.execute(
        f"select count(*) from assignment anti join tally using (assignment_id) where {FINISHED}"
    ).fetchall()[0]
    found = {"rows": rows, "counts": counts, "missing": missing}
    return {name: number for name, number in found.items() if number}
