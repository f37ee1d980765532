"""What counts in finished work, kept ready: the latest-wins view over a million events takes a second, a page may not.

The events stay the truth. Once an assignment is submitted or skipped, the events of it that count are copied into
`settled` and counted into `tally`, in the transaction that finished it; reopening takes them out again. Work in hand
is read from its events, and is little. `worldline doctor` compares both with the events and can rebuild them.
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb

# The view rating_latest, with the choice of assignments inside: a filter by a list of ids does not reach through it.
_LATEST = """
select * exclude (rn) from (
    select *, row_number() over (
        partition by assignment_id, target, segmentation_id, step_idx, dimension order by seq desc, server_seq desc) as rn
    from rating_event where action in ('set', 'clear') and assignment_id in (select unnest($ids::varchar[])))
where rn = 1 and action = 'set' order by server_seq"""

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

# Everything anew, from the events: what a migration and the doctor run.
REBUILD = (
    "delete from settled; delete from tally; insert into settled by name select * from rating_latest "
    f"semi join (select assignment_id from assignment where {FINISHED}) using (assignment_id) order by server_seq; "
    f"insert into tally by name {_COUNTED.format(chosen=FINISHED)};"
)


def settle(con: duckdb.DuckDBPyConnection, assignment_ids: Collection[str]) -> set[str]:
    """Bring `settled` and `tally` in step with the events of these assignments; returns those that are finished."""
    ids = list(assignment_ids)
    for table in ("settled", "tally"):
        con.execute(f"delete from {table} where assignment_id in (select unnest(?::varchar[]))", [ids])
    found = con.execute(
        "select assignment_id, trace_id, rater_id from assignment "
        f"where {FINISHED} and assignment_id in (select unnest(?::varchar[]))",
        [ids],
    ).fetchall()
    if found:
        con.execute(f"insert into settled by name {_LATEST}", {"ids": [row[0] for row in found]})
        names = ("assignment_id", "trace_id", "rater_id")
        con.execute(  # the work is given, not joined: a join reads the ids of all work there is, in the thread that writes
            f"insert into tally by name with work as (select {', '.join(f'unnest(${n}::varchar[]) as {n}' for n in names)}), "
            f"counts as (select r.assignment_id, {_COUNTS} from settled r "
            "where r.assignment_id in (select unnest($assignment_id::varchar[])) group by all) "
            "select work.*, coalesce(good, 0) as good, coalesce(neutral, 0) as neutral, coalesce(bad, 0) as bad, "
            "coalesce(unsure, 0) as unsure, coalesce(judgements, 0) as judgements from work left join counts using (assignment_id)",
            {name: [row[i] for row in found] for i, name in enumerate(names)},
        )
    return {row[0] for row in found}


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
