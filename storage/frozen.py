"""From the event log to the rows of a snapshot: one SQL statement, read as of one event sequence number.

Knows no folder layout and no manifest (`snapshots.py` does). The rating view of the schema shows *now*; a snapshot
needs *then*,
so the same latest-wins rule is written out here with a bound on the sequence number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.store import Store

if TYPE_CHECKING:
    from storage.snapshots import SnapshotSpec


@dataclass(frozen=True)
class Selection:
    """What was chosen: `rows` without their texts, the reasons why others were not, and the event they are as of."""

    event_seq: int
    rows: list[dict[str, Any]]
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
        coalesce(bool_or(value = 1) filter (dimension = 'joined'), false) as joined
    from counted where target in ('step', 'decision') group by assignment_id, step_idx),
by_assignment as (
    select assignment_id,
        arg_max(step_idx, (seq, server_seq)) filter (dimension = 'first_error')::integer as first_error,
        max(value) filter (dimension = 'verdict')::tinyint as verdict,
        coalesce(max(value_text) filter (dimension = 'note'), '') as note,
        coalesce(bool_or(prelabel_visible), false) as prelabel_visible,
        count(*) filter (dimension = 'correctness' and value is not null) as n_rated,
        count(*) filter (dimension not in ('note', 'exit')) as n_judgements
    from counted group by assignment_id)
"""

_SUMMARY = (
    _AS_OF
    + """
select a.assignment_id, a.rater_id, t.trace_id, t.model, t.solved, status.action,
    coalesce(status.value_text, 'skip') as reason,
    coalesce(b.n_rated, 0) as n_rated, coalesce(b.n_judgements, 0) as n_judgements
from assignment a join trace t using (trace_id) left join status using (assignment_id)
left join by_assignment b using (assignment_id)
where a.assignment_id in (select distinct assignment_id from ev)
order by a.assignment_id
"""
)

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
    "verdict": "b.verdict",
    "earlier": "t.earlier",
    "prelabel_visible": "coalesce(b.prelabel_visible, false)",
    "split": "case when ('0x' || left(sha256(t.problem_id), 8))::bigint % 1000 < $test then 'test' else 'train' end",
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
    "worth_exploring": "s.worth_exploring",
    "left_in_time": "s.left_in_time",
    "right_return": "s.right_return",
    "verdict": "b.verdict",
    "note": "coalesce(b.note, '')",
    "prelabel_visible": _LIGHT["prelabel_visible"],
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
}


def select(store: Store, spec: SnapshotSpec) -> Selection:
    """Choose the assignments of a snapshot, and say why others were left out."""
    seq = store.event_seq()
    excluded: dict[str, int] = {}
    chosen: list[str] = []
    for row in store.query(_SUMMARY, {"seq": seq}):
        reason = _why_not(spec, *row[1:])
        if reason:
            excluded[reason] = excluded.get(reason, 0) + 1
        else:
            chosen.append(row[0])
    rows: list[dict[str, Any]] = []
    if chosen:
        found = store.query(_statement(_LIGHT, _JUDGED), _params(seq, spec, chosen))
        rows = [dict(zip(_LIGHT, row, strict=True)) for row in found]
    return Selection(seq, rows, dict(sorted(excluded.items())))


def write_parquet(store: Store, spec: SnapshotSpec, selection: Selection, path: Path) -> None:
    """The rows of a selection with their texts, streamed by the database itself: nothing has to fit in Python's
    memory.
    """
    chosen = [row["assignment_id"] for row in selection.rows]
    target = str(path).replace("'", "''")
    statement = _statement(_FULL, {**_TEXTS, **_JUDGED})
    store.query(
        f"copy ({statement}) to '{target}' (format parquet, compression zstd)",
        _params(selection.event_seq, spec, chosen),
    )


def split_of(problem_id: str, test_percent: int = 10) -> str:
    """ "train" or "test", the same rule as in SQL: it depends on the problem alone."""
    digest = hashlib.sha256(problem_id.encode()).hexdigest()
    return "test" if int(digest[:8], 16) % 1000 < 10 * test_percent else "train"


def _why_not(
    spec: SnapshotSpec,
    rater: str,
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
        and (not spec.trace_ids or trace_id in spec.trace_ids)
        and (spec.solved is None or solved is spec.solved)
    )
    if not chosen:
        return "not asked for by the spec"
    if action == "skip":
        return f"skipped ({reason})"
    if action != "submit":
        return "not submitted"
    if not judged:
        return "submitted without a rating"
    if rated < spec.min_rated_steps:
        return f"with fewer than {spec.min_rated_steps} rated steps"
    return ""


def _params(seq: int, spec: SnapshotSpec, chosen: Sequence[str]) -> dict[str, Any]:
    return {"seq": seq, "test": 10 * spec.test_percent, "chosen": list(chosen)}


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
    where a.assignment_id in (select unnest($chosen::varchar[]))
    group by a.assignment_id)
select {shown}
from assignment a join trace t using (trace_id) join steps s using (assignment_id)
left join by_assignment b using (assignment_id) left join status using (assignment_id)
order by t.created_at, t.trace_id, a.rater_id, a.assignment_id"""
