"""From the event log to the rows of a snapshot: one SQL statement, read as of one event sequence number.

Knows no folder layout and no manifest (`snapshots.py` does). The rating view of the schema shows *now*; a snapshot
needs *then*, so the same latest-wins rule is written out here with a bound on the sequence number. Adjudications have no
such number: of them the latest at the moment of freezing counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.ratings import utc_now
from storage.store import Store

if TYPE_CHECKING:
    from storage.snapshots import SnapshotSpec


@dataclass(frozen=True)
class Selection:
    """What was chosen: `rows` without their texts, the pair assignments, the reasons why others were not, and the event
    and the moment (UTC) they are as of.
    """

    event_seq: int
    as_of: datetime
    rows: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    excluded: dict[str, int]


# $1: event sequence number. Columns of `status`: the assignment's last submit, reopen or skip up to that event.
_AS_OF = """
with ev as (select * from rating_event where server_seq <= $seq),
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
    select segmentation_id, target, step_idx, value::tinyint as value from adjudication
    where created_at <= $as_of and dimension in ('correctness', 'verdict')
    qualify row_number() over (
        partition by segmentation_id, target, step_idx, dimension order by created_at desc, rowid desc) = 1)
"""

_SUMMARY = (
    _AS_OF
    + """
select a.assignment_id, a.rater_id, a.queue_id, t.trace_id, t.model, t.solved, status.action,
    coalesce(status.value_text, 'skip') as reason,
    coalesce(b.n_rated, 0) as n_rated, coalesce(b.n_judgements, 0) as n_judgements
from assignment a join trace t using (trace_id) left join status using (assignment_id)
left join by_assignment b using (assignment_id)
where a.pair_id is null and a.assignment_id in (select distinct assignment_id from ev)
order by a.assignment_id
"""
)

_SPLIT = "case when ('0x' || left(sha256({}.problem_id), 8))::bigint % 1000 < $test then 'test' else 'train' end"

_LIGHT = {
    "trace_id": "t.trace_id",
    "problem_id": "t.problem_id",
    "model": "t.model",
    "rater_id": "a.rater_id",
    "assignment_id": "a.assignment_id",
    "segmentation_id": "a.segmentation_id",
    "rating": "s.rating",
    "unsure": "s.unsure",
    "first_error": "b.first_error",
    "worth_exploring": "s.worth_exploring",
    "left_in_time": "s.left_in_time",
    "right_return": "s.right_return",
    "corrected_parent": "s.corrected_parent",
    "corrected_kind": "s.corrected_kind",
    "cuts": "s.cuts",
    "joined": "s.joined",
    "better": "s.better",
    "recovered": "s.recovered",
    "adjudicated": "s.adjudicated",
    "verdict": "b.verdict",
    "earlier": "t.earlier",
    "queue_id": "a.queue_id",
    "gold": "a.gold",
    "late": "a.late",
    "prelabel_visible": "coalesce(b.prelabel_visible, false)",
    "split": _SPLIT.format("t"),
    "rubric_id": "a.rubric_id",
    "rubric_version": "a.rubric_version",
}

_FULL = {
    "trace_id": _LIGHT["trace_id"],
    "problem_id": _LIGHT["problem_id"],
    "prompt": "t.prompt",
    "earlier": "t.earlier",
    "response": "t.response",
    "answer": "t.answer",
    "finish_reason": "t.finish_reason",
    "model": "t.model",
    "format": "t.format",
    "solved": "t.solved",
    "rater_id": "a.rater_id",
    "assignment_id": "a.assignment_id",
    "segmentation_id": "a.segmentation_id",
    "step_text": "s.step_text",
    "step_start": "s.step_start",
    "step_end": "s.step_end",
    "rating": "s.rating",
    "unsure": "s.unsure",
    "first_error": "b.first_error",
    "decision": "s.decision",
    "parent": "s.parent",
    "is_backtrack": "s.is_backtrack",
    "resumes": "s.resumes",
    "kind": "s.kind",
    "corrected_parent": "s.corrected_parent",
    "corrected_kind": "s.corrected_kind",
    "cuts": "s.cuts",
    "joined": "s.joined",
    "span": "s.span",
    "error_type": "s.error_type",
    "severity": "s.severity",
    "rationale": "s.rationale",
    "better": "s.better",
    "recovered": "s.recovered",
    "adjudicated": "s.adjudicated",
    "worth_exploring": "s.worth_exploring",
    "left_in_time": "s.left_in_time",
    "right_return": "s.right_return",
    "verdict": "b.verdict",
    "adjudicated_verdict": "v.value",
    "note": "coalesce(b.note, '')",
    "tags": "coalesce(b.tags, '')",
    "prelabel_visible": _LIGHT["prelabel_visible"],
    "spent_ms": "spent.spent_ms",
    "queue_id": "a.queue_id",
    "rubric_id": "a.rubric_id",
    "rubric_version": "a.rubric_version",
    "gold": "a.gold",
    "late": "a.late",
    "sampled_by": "a.sampled_by",
    "submitted_at": "strftime(status.ts_server, '%Y-%m-%dT%H:%M:%S.%gZ')",
    "split": _LIGHT["split"],
}

_TEXTS = {
    "step_text": "substr(t.response, st.char_start + 1, st.char_end - st.char_start)",
    "step_start": "st.char_start",
    "step_end": "st.char_end",
    "decision": "st.decision",
    "parent": "e.parent_idx",
    "is_backtrack": "e.is_backtrack",
    "resumes": "e.resumes_idx",
    "kind": "coalesce(e.kind, '')",
}
_JUDGED = {
    "rating": "r.rating",
    "unsure": "coalesce(r.unsure, false)",
    "worth_exploring": "r.worth_exploring",
    "left_in_time": "r.left_in_time",
    "right_return": "r.right_return",
    "corrected_parent": "r.corrected_parent",
    "corrected_kind": "r.corrected_kind",
    "cuts": "coalesce(r.cuts, [])",
    "joined": "coalesce(r.joined, false)",
    "span": "coalesce(r.span, [])",
    "error_type": "r.error_type",
    "severity": "r.severity",
    "rationale": "r.rationale",
    "better": "r.better",
    "recovered": "r.recovered",
    "adjudicated": "d.value",
}

_PAIRS = (
    _AS_OF
    + """
select a.assignment_id, a.rater_id, a.queue_id, a.rubric_id, a.rubric_version, a.swapped, a.gold, a.late,
    p.pair_id, p.problem_id, p.left_trace_id, p.right_trace_id, p.shared_steps, p.source,
    l.prompt, l.response as left_response, r.response as right_response, l.model as left_model, r.model as right_model,
    b.preference, coalesce(b.both_bad, false) as both_bad, coalesce(b.criteria, '{}') as criteria,
    coalesce(b.note, '') as note, spent.spent_ms,
    strftime(status.ts_server, '%Y-%m-%dT%H:%M:%S.%gZ') as submitted_at, {split} as split
from assignment a join pair p using (pair_id)
join trace l on l.trace_id = p.left_trace_id join trace r on r.trace_id = p.right_trace_id
join status using (assignment_id) left join by_assignment b using (assignment_id) left join spent using (assignment_id)
where a.assignment_id in (select unnest($chosen::varchar[]))
order by p.pair_id, a.rater_id, a.assignment_id"""
)

_PAIR_SUMMARY = (
    _AS_OF
    + """
select a.assignment_id, a.rater_id, a.queue_id, p.left_trace_id, p.right_trace_id, l.model, r.model, status.action,
    coalesce(status.value_text, 'skip'), b.preference, coalesce(b.both_bad, false), a.rubric_id, a.rubric_version, p.problem_id
from assignment a join pair p using (pair_id)
join trace l on l.trace_id = p.left_trace_id join trace r on r.trace_id = p.right_trace_id
left join status using (assignment_id) left join by_assignment b using (assignment_id)
where a.assignment_id in (select distinct assignment_id from ev)
order by a.assignment_id"""
)


def select(store: Store, spec: SnapshotSpec) -> Selection:
    """Choose the assignments of a snapshot, and say why others were left out."""
    seq, as_of = store.event_seq(), utc_now()
    excluded: dict[str, int] = {}
    chosen: list[str] = []
    pairs: list[dict[str, Any]] = []
    then = {"seq": seq, "as_of": as_of}

    def kept(reason: str) -> bool:
        if reason:
            excluded[reason] = excluded.get(reason, 0) + 1
        return not reason

    for row in store.query(_SUMMARY, then):
        if kept(_why_not(spec, *row[1:])):
            chosen.append(row[0])
    compared = store.query("select 1 from assignment where pair_id is not null limit 1")
    for row in store.query(_PAIR_SUMMARY, then) if compared else ():
        if kept(_why_no_pair(spec, *row[1:11])):
            names = ("assignment_id", "rater_id", "preference", "both_bad", "rubric_id", "rubric_version", "problem_id")
            pairs.append(dict(zip(names, (*row[:2], *row[9:]), strict=True)))
    rows: list[dict[str, Any]] = []
    if chosen:
        found = store.query(_statement(_LIGHT, _JUDGED), _params(seq, as_of, spec, chosen))
        rows = [dict(zip(_LIGHT, row, strict=True)) for row in found]
    return Selection(seq, as_of, rows, pairs, dict(sorted(excluded.items())))


def write_parquet(store: Store, spec: SnapshotSpec, selection: Selection, path: Path) -> None:
    """The rows of a selection with their texts, streamed by the database itself: nothing has to fit in Python's
    memory.
    """
    _copy(store, spec, selection, _statement(_FULL, {**_TEXTS, **_JUDGED}), selection.rows, path)


def write_pairs(store: Store, spec: SnapshotSpec, selection: Selection, path: Path) -> None:
    """The pairs of a selection with both texts, one row a pair and rater."""
    _copy(store, spec, selection, _PAIRS.replace("{split}", _SPLIT.format("p")), selection.pairs, path)


def _copy(
    store: Store, spec: SnapshotSpec, selection: Selection, statement: str, rows: Sequence[dict[str, Any]], path: Path
) -> None:
    chosen = [row["assignment_id"] for row in rows]
    target = str(path).replace("'", "''")
    store.query(
        f"copy ({statement}) to '{target}' (format parquet, compression zstd)",
        _params(selection.event_seq, selection.as_of, spec, chosen),
    )


def split_of(problem_id: str, test_percent: int = 10) -> str:
    """ "train" or "test", the same rule as in SQL: it depends on the problem alone."""
    digest = hashlib.sha256(problem_id.encode()).hexdigest()
    return "test" if int(digest[:8], 16) % 1000 < 10 * test_percent else "train"


def _why_not(
    spec: SnapshotSpec,
    rater: str,
    queue: str,
    trace_id: str,
    model: str,
    solved: bool | None,
    action: str | None,
    reason: str,
    rated: int,
    judged: int,
) -> str:
    chosen = (
        (not spec.models or model in spec.models)
        and (not spec.raters or rater in spec.raters)
        and (not spec.queues or queue in spec.queues)
        and (not spec.trace_ids or trace_id in spec.trace_ids)
        and (spec.solved is None or solved is spec.solved)
    )
    if not chosen or action != "submit":
        return _unfinished(chosen, action, reason)
    if not judged:
        return "submitted without a rating"
    if rated < spec.min_rated_steps:
        return f"with fewer than {spec.min_rated_steps} rated steps"
    return ""


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
    if not chosen or action != "submit":
        return _unfinished(chosen, action, reason)
    return "" if preference is not None or both_bad else "pairs without a preference"


def _unfinished(chosen: bool, action: str | None, reason: str) -> str:
    if not chosen:
        return "not asked for by the spec"
    return f"skipped ({reason})" if action == "skip" else "not submitted"


def _params(seq: int, as_of: datetime, spec: SnapshotSpec, chosen: Sequence[str]) -> dict[str, Any]:
    return {"seq": seq, "as_of": as_of, "test": 10 * spec.test_percent, "chosen": list(chosen)}


def _statement(columns: dict[str, str], lists: dict[str, str]) -> str:
    """One row an assignment, ordered so that rows of one trace stand together and the file is the same each time."""
    gathered = ", ".join(f"list({expression} order by st.step_idx) as {name}" for name, expression in lists.items())
    shown = ", ".join(f"{expression} as {name}" for name, expression in columns.items())
    return f"""{_AS_OF},
steps as (
    select a.assignment_id, {gathered}
    from assignment a join trace t using (trace_id)
    join step st on st.segmentation_id = a.segmentation_id
    join tree_edge e on e.segmentation_id = st.segmentation_id and e.child_idx = st.step_idx
    left join by_step r on r.assignment_id = a.assignment_id and r.step_idx = st.step_idx
    left join settled d on d.segmentation_id = st.segmentation_id and d.step_idx = st.step_idx and d.target = 'step'
    where a.assignment_id in (select unnest($chosen::varchar[]))
    group by a.assignment_id)
select {shown}
from assignment a join trace t using (trace_id) join steps s using (assignment_id)
left join by_assignment b using (assignment_id) left join status using (assignment_id)
left join spent using (assignment_id)
left join settled v on v.segmentation_id = a.segmentation_id and v.target = 'trace'
order by t.created_at, t.trace_id, a.rater_id, a.assignment_id"""
