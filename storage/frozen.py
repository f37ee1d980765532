"""Which rows a snapshot has: assignments and pairs chosen from the event log as of one event, and counts of them.

Knows no folder layout and no manifest (`snapshots.py` does). The rating view of the schema shows *now*; a snapshot
needs *then*, so the same latest-wins rule is written out here with a bound on the sequence number. Adjudications have no
such number: of them the latest at the moment of freezing counts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from storage import agreement
from storage.clock import later_than_all

if TYPE_CHECKING:
    import duckdb

    from storage.snapshots import SnapshotSpec


@dataclass(frozen=True)
class Selection:
    """What was chosen, counted: a million ratings must not become Python objects.

    totals: sums over the chosen assignments, by the names of _TOTALS; by: how many there are of each rater, model and rubric.
    pairs: the pair assignments; excluded: how many others were left out, by reason. event_seq and as_of (UTC): the event and
    the moment they are as of. Only to freeze: `chosen`, the assignments in their order with the
    times and the bytes of their traces, and `agreement`, as the manifest has it.
    """

    event_seq: int
    as_of: datetime
    totals: dict[str, int]
    by: dict[str, dict[str, int]]
    pairs: list[dict[str, Any]]
    excluded: dict[str, int]
    chosen: list[tuple[str, datetime, int]]
    agreement: dict[str, Any] | str


# $1: event sequence number. Columns of `status`: the assignment's last submit, reopen or skip up to that event.
_AS_OF = """
with part as ({part}),
ev as (select * from rating_event where server_seq <= $seq and assignment_id in (select assignment_id from part)),
current as (
    select * from ev where action in ('set', 'clear')
    qualify row_number() over (
        partition by assignment_id, target, segmentation_id, step_idx, dimension
        order by seq desc, server_seq desc) = 1),
counted as (select * from current where action = 'set'),
status as (
    select assignment_id, action, value_text, ts_server from ev where action in ('submit', 'reopen', 'skip')
    qualify row_number() over (partition by assignment_id order by seq desc, server_seq desc) = 1),
by_step as (
    select assignment_id, step_idx,
        max(value) filter (dimension = 'correctness')::tinyint as rating,
        coalesce(bool_or(value_text = 'unsure' and value is null) filter (dimension = 'correctness'), false) as unsure,
        max(value) filter (dimension = 'worth_exploring')::tinyint as worth_exploring,
        max(value) filter (dimension = 'left_in_time')::tinyint as left_in_time,
        max(value) filter (dimension = 'right_return')::tinyint as right_return,
        max(value) filter (dimension = 'parent')::integer as corrected_parent,
        max(value_text) filter (dimension = 'kind') as corrected_kind,
        string_split(max(value_text) filter (dimension = 'cuts'), ' ')::integer[] as cuts,
        coalesce(bool_or(value = 1) filter (dimension = 'joined'), false) as joined,
        string_split(max(value_text) filter (dimension = 'span'), ' ')::integer[] as span,
        max(value_text) filter (dimension = 'error_type') as error_type,
        max(value) filter (dimension = 'severity')::tinyint as severity,
        max(value_text) filter (dimension = 'rationale') as rationale,
        max(value_text) filter (dimension = 'better') as better,
        max(value) filter (dimension = 'recovered')::integer as recovered
    from counted where target in ('step', 'decision') group by assignment_id, step_idx),
by_assignment as (
    select assignment_id,
        arg_max(step_idx, (seq, server_seq)) filter (dimension = 'first_error')::integer as first_error,
        max(value) filter (dimension = 'verdict')::tinyint as verdict,
        coalesce(max(value_text) filter (dimension = 'note'), '') as note,
        coalesce(max(value_text) filter (dimension = 'tags'), '') as tags,
        coalesce(bool_or(prelabel_visible), false) as prelabel_visible,
        count(*) filter (dimension = 'correctness' and value is not null) as n_rated,
        count(*) filter (dimension not in ('note', 'tags', 'exit')) as n_judgements,
        max(value) filter (target = 'pair' and dimension = 'preference')::tinyint as preference,
        coalesce(bool_or(value_text = 'both_bad') filter (target = 'pair' and dimension = 'preference'), false) as both_bad,
        to_json(map(
            list(substr(dimension, 12) order by dimension) filter (starts_with(dimension, 'preference.')),
            list(coalesce(value_text, value::integer::varchar) order by dimension)
                filter (starts_with(dimension, 'preference.'))))::varchar as criteria
    from counted group by assignment_id),
spent as (select assignment_id, sum(dwell_ms)::bigint as spent_ms from ev group by assignment_id),
settled as (
    select segmentation_id, target, step_idx, value::tinyint as value from (
        select *, rowid as place from adjudication
        where created_at <= $as_of and dimension in ('correctness', 'verdict')
        qualify row_number() over (
            partition by queue_id, segmentation_id, target, step_idx, dimension order by created_at desc, rowid desc) = 1)
    where value is not null  -- what was taken back in one queue says nothing of a decision in another
    qualify row_number() over (
        partition by segmentation_id, target, step_idx, dimension order by created_at desc, place desc) = 1),
decided as (
    select pair_id, value::tinyint as value from adjudication
    where created_at <= $as_of and pair_id is not null and dimension = 'preference'
    qualify row_number() over (partition by pair_id order by created_at desc, rowid desc) = 1)
"""

CHOSEN = _AS_OF.replace("{part}", "select unnest($chosen::varchar[]) as assignment_id")
_COMPARED = _AS_OF.replace("{part}", "select assignment_id from assignment where pair_id is not null")

SPLIT = "case when ('0x' || left(sha256({}.problem_id), 8))::bigint % 1000 < $test then 'test' else 'train' end"

# What counts now, of finished work (storage/settled.py keeps it ready): within the transaction that reads the event sequence
# number it is what the events up to that number say, without a window over all of them.
_NOW = """
with counted as (select * from main.settled),
status as (
    select assignment_id, action, value_text from rating_event where action in ('submit', 'reopen', 'skip')
    qualify row_number() over (partition by assignment_id order by seq desc, server_seq desc) = 1),
decisions as (
    select segmentation_id, count(distinct step_idx) filter (value is not null) as n from (
        select segmentation_id, step_idx, value from adjudication
        where created_at <= $as_of and dimension = 'correctness' and target = 'step'
        qualify row_number() over (
            partition by queue_id, segmentation_id, step_idx order by created_at desc, rowid desc) = 1)
    group by segmentation_id),
counts as (
    select assignment_id,
        max(value) filter (dimension = 'verdict') as verdict, bool_or(prelabel_visible) as prelabel_visible,
        count(*) filter (dimension not in ('note', 'tags', 'exit')) as n_judgements,
        count(*) filter (dimension = 'correctness' and value > 0) as good,
        count(*) filter (dimension = 'correctness' and value = 0) as neutral,
        count(*) filter (dimension = 'correctness' and value < 0) as bad,
        count(*) filter (dimension = 'correctness' and value is null and value_text = 'unsure') as unsure,
        max(step_idx + 1) filter (dimension = 'correctness' and value is not null) as rated_to,
        count(distinct step_idx) filter (
            dimension in ('worth_exploring', 'left_in_time', 'right_return') and value is not null) as backtracks,
        count(*) filter (dimension = 'parent' and value is not null) as parents,
        count(*) filter (dimension = 'kind' and value_text is not null) as kinds,
        sum(len(string_split(value_text, ' '))) filter (dimension = 'cuts') as cuts,
        count(*) filter (dimension = 'joined' and value = 1) as joins,
        count(distinct step_idx) filter (dimension = 'cuts' or (dimension = 'joined' and value = 1)) as recut,
        count(*) filter (dimension = 'better' and value_text is not null) as better
    from counted group by assignment_id)
"""

# One row an assignment; `why` it is left out, null where it is chosen.
_CHOOSING = (
    "create temp table choosing as "
    + _NOW
    + f"""
select a.assignment_id, a.segmentation_id, a.rater_id, t.created_at, t.trace_id, t.problem_id, t.model, t.earlier is not null as later, g.n_steps,
    a.gold is not null as gold, a.late, {SPLIT.format("t")} as split, a.rubric_id || ' v' || a.rubric_version as rubric,
    coalesce(d.n, 0) as adjudicated, coalesce(good + neutral + bad, 0) as n_rated, c.* exclude (assignment_id),
    case
        when not (len($models) = 0 or list_contains($models, t.model)) or not (len($raters) = 0 or list_contains($raters, a.rater_id))
            or not (len($queues) = 0 or list_contains($queues, a.queue_id))
            or not (len($trace_ids) = 0 or list_contains($trace_ids, t.trace_id))
            or not ($solved is null or t.solved is not distinct from $solved) then 'not asked for by the spec'
        when s.action = 'skip' then 'skipped (' || coalesce(s.value_text, 'skip') || ')'
        when s.action is distinct from 'submit' then 'not submitted'
        when coalesce(n_judgements, 0) = 0 then 'submitted without a rating'
        when coalesce(good + neutral + bad, 0) < $least then 'with fewer than ' || $least || ' rated steps' end as why
from assignment a join trace t using (trace_id) join segmentation g on g.segmentation_id = a.segmentation_id
left join status s using (assignment_id) left join counts c using (assignment_id)
left join decisions d on d.segmentation_id = a.segmentation_id
where a.pair_id is null and (s.action is not null or a.assignment_id in (select assignment_id from rating_event))"""
)

_IN_ORDER = """
select c.assignment_id, c.created_at, strlen(t.prompt) + strlen(t.response) from choosing c join trace t using (trace_id)
where c.why is null order by c.created_at, trace_id, c.rater_id, c.assignment_id"""

# What the manifest and the warnings count of the chosen assignments.
_TOTALS = {
    "rows": "count(*)", "traces": "count(distinct trace_id)", "problems": "count(distinct problem_id)",
    "steps": "sum(n_steps)", "gaps": "count(*) filter (rated_to > n_rated)", "later": "count(*) filter (later)",
    "verdicts": "count(verdict)", "gold": "count(*) filter (gold)", "late": "count(*) filter (late)",
    "prelabel_visible": "count(*) filter (prelabel_visible)", "train": "count(*) filter (split = 'train')",
    "test": "count(*) filter (split = 'test')",
    **{name: f"sum({name})" for name in (
        "good", "neutral", "bad", "unsure", "backtracks", "parents", "kinds", "cuts", "joins", "recut", "better", "adjudicated",
    )},
}  # fmt: skip
_BY = {"rater": "rater_id", "model": "model", "rubric": "rubric"}

# The votes of different raters on one step, and where they see the first error (marked as such, else the first step called
# bad, as in storage/quality/votes.py): of one rater the last assignment counts.
_VOTES = """
with votes as (
    select c.segmentation_id, e.step_idx, c.rater_id, arg_max(e.value, c.assignment_id)::tinyint as vote
    from choosing c join main.settled e using (assignment_id)
    where c.why is null and e.dimension = 'correctness' and e.value is not null group by all)
select list(vote) from votes group by segmentation_id, step_idx having count(*) > 1"""
_MARKS = """
with said as (
    select assignment_id, coalesce(
        min(step_idx) filter (dimension = 'first_error' and value = 1),
        min(step_idx) filter (dimension = 'correctness' and value < 0), -1) as place
    from main.settled where target = 'step' and dimension in ('correctness', 'first_error') group by assignment_id),
marks as (
    select c.segmentation_id, c.rater_id, nullif(arg_max(s.place, c.assignment_id), -1) as mark
    from choosing c join said s using (assignment_id) where c.why is null group by all)
select list(mark) from marks group by segmentation_id having count(*) > 1"""

_PAIR_SUMMARY = (
    _COMPARED
    + """
select a.assignment_id, a.rater_id, a.queue_id, p.left_trace_id, p.right_trace_id, l.model, r.model, status.action,
    coalesce(status.value_text, 'skip'), b.preference, coalesce(b.both_bad, false), a.rubric_id, a.rubric_version, p.problem_id
from assignment a join pair p using (pair_id)
join trace l on l.trace_id = p.left_trace_id join trace r on r.trace_id = p.right_trace_id
left join status using (assignment_id) left join by_assignment b using (assignment_id)
where a.assignment_id in (select assignment_id from ev)
order by a.assignment_id"""
)


def select(con: duckdb.DuckDBPyConnection, spec: SnapshotSpec, *, to_freeze: bool = False) -> Selection:
    """Choose the assignments of a snapshot, and count why others were left out."""
    con.execute("begin transaction")
    try:
        return _select(con, spec, to_freeze)
    finally:
        con.execute("rollback")  # nothing was written; the temporary table goes with it


def _select(con: duckdb.DuckDBPyConnection, spec: SnapshotSpec, to_freeze: bool) -> Selection:
    def rows(sql: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return con.execute(sql, values or {}).fetchall()

    seq, as_of = (
        rows("select coalesce(max(server_seq), 0) from rating_event")[0][0],
        later_than_all(con, "adjudication"),
    )
    rows(_CHOOSING, {
        "as_of": as_of, "models": list(spec.models), "raters": list(spec.raters), "queues": list(spec.queues),
        "trace_ids": list(spec.trace_ids), "solved": spec.solved, "least": spec.min_rated_steps, "test": 10 * spec.test_percent,
    })  # fmt: skip
    excluded = Counter(dict(rows("select why, count(*) from choosing where why is not null group by why")))
    found = rows(
        f"select {', '.join(f'coalesce({sql}, 0)::bigint' for sql in _TOTALS.values())} from choosing where why is null"
    )
    by = {
        name: dict(rows(f"select {column}, count(*) from choosing where why is null group by 1"))
        for name, column in _BY.items()
    }
    pairs: list[dict[str, Any]] = []
    if rows("select 1 from assignment where pair_id is not null limit 1"):
        for row in rows(_PAIR_SUMMARY, {"seq": seq, "as_of": as_of}):
            reason = _why_no_pair(spec, *row[1:11])
            if reason:
                excluded[reason] += 1
            else:
                names = (
                    "assignment_id",
                    "rater_id",
                    "preference",
                    "both_bad",
                    "rubric_id",
                    "rubric_version",
                    "problem_id",
                )
                pairs.append(dict(zip(names, (*row[:2], *row[9:]), strict=True)))
    return Selection(
        seq, as_of, dict(zip(_TOTALS, found[0], strict=True)), by, pairs, dict(sorted(excluded.items())),
        rows(_IN_ORDER) if to_freeze else [],
        _agreement(rows, len(by["rater"])) if to_freeze else "not computed",
    )  # fmt: skip


def _agreement(rows: Callable[[str], list[tuple[Any, ...]]], n_raters: int) -> dict[str, Any] | str:
    if n_raters < 2:
        return "undefined: one rater" if n_raters else "undefined: no rater"
    return {
        "n_raters": n_raters,
        "steps": agreement.step_agreement(votes for (votes,) in rows(_VOTES)),
        "first_error": agreement.first_error_agreement(marks for (marks,) in rows(_MARKS)),
    }


def split_of(problem_id: str, test_percent: int = 10) -> str:
    """ "train" or "test", the same rule as in SQL: it depends on the problem alone."""
    digest = hashlib.sha256(problem_id.encode()).hexdigest()
    return "test" if int(digest[:8], 16) % 1000 < 10 * test_percent else "train"


def _why_no_pair(
    spec: SnapshotSpec,
    rater: str,
    queue: str,
    left: str,
    right: str,
    left_model: str,
    right_model: str,
    action: str | None,
    reason: str,
    preference: int | None,
    both_bad: bool,
) -> str:
    chosen = (
        (not spec.models or {left_model, right_model} <= set(spec.models))
        and (not spec.raters or rater in spec.raters)
        and (not spec.queues or queue in spec.queues)
        and (not spec.trace_ids or bool({left, right} & set(spec.trace_ids)))
        and spec.solved is None
    )
    if not chosen:
        return "not asked for by the spec"
    if action != "submit":
        return f"skipped ({reason})" if action == "skip" else "not submitted"
    return "" if preference is not None or both_bad else "pairs without a preference"


def as_of(selection: Selection, chosen: Sequence[str]) -> dict[str, Any]:
    """The parameters of CHOSEN: these assignments, at the moment of the selection."""
    return {"seq": selection.event_seq, "as_of": selection.as_of, "chosen": list(chosen)}
