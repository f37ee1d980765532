"""From the event log to the rows of a snapshot: one SQL statement, read as of one event sequence number.

Knows no folder layout and no manifest (`snapshots.py` does). The rating view of the schema shows *now*; a snapshot
needs *then*, so the same latest-wins rule is written out here with a bound on the sequence number. Adjudications have no
such number: of them the latest at the moment of freezing counts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.ratings import utc_now
from storage.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from storage.snapshots import SnapshotSpec


@dataclass(frozen=True)
class Selection:
    """What was chosen: `rows` with counts instead of texts and lists (one entry an assignment; a million ratings must not
    become Python objects), `shared` the ratings of traces that several raters have, the pair assignments, the reasons why
    others were not, and the event and the moment (UTC) they are as of.
    """

    event_seq: int
    as_of: datetime
    rows: list[dict[str, Any]]
    shared: list[dict[str, Any]]
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

# What the manifest and the warnings count of a row; `rated_to` is the number of steps up to the last rated one.
_COUNTS = {
    "good": "count(*) filter (rating > 0)", "neutral": "count(*) filter (rating = 0)", "bad": "count(*) filter (rating < 0)",
    "unsure": "count(*) filter (unsure and rating is null)", "n_rated": "count(rating)",
    "rated_to": "max(step_idx + 1) filter (rating is not null)",
    "backtracks": "count(*) filter (coalesce(worth_exploring, left_in_time, right_return) is not null)",
    "parents": "count(corrected_parent)", "kinds": "count(corrected_kind)", "cuts": "sum(len(cuts))",
    "joins": "count(*) filter (joined)", "recut": "count(*) filter (joined or len(cuts) > 0)", "better": "count(better)",
}  # fmt: skip
_LIGHT = (
    "trace_id", "problem_id", "model", "later", "rater_id", "assignment_id", "segmentation_id", "n_steps", "verdict",
    "queue_id", "gold", "late", "prelabel_visible", "split", "rubric_id", "rubric_version", "adjudicated",
)  # fmt: skip
_SCALARS = (
    _AS_OF
    + f"""
select t.trace_id, t.problem_id, t.model, t.earlier is not null, a.rater_id, a.assignment_id, a.segmentation_id, g.n_steps,
    b.verdict, a.queue_id, a.gold, a.late, coalesce(b.prelabel_visible, false), {_SPLIT.format("t")}, a.rubric_id,
    a.rubric_version, coalesce(d.n, 0), {", ".join(f"coalesce(c.{name}, 0)" for name in _COUNTS)}
from assignment a join trace t using (trace_id) join segmentation g on g.segmentation_id = a.segmentation_id
left join by_assignment b using (assignment_id)
left join (select assignment_id, {", ".join(f"{sql} as {name}" for name, sql in _COUNTS.items())}
    from by_step group by assignment_id) c using (assignment_id)
left join (select segmentation_id, count(*) as n from settled where target = 'step' group by segmentation_id) d
    on d.segmentation_id = a.segmentation_id
where a.assignment_id in (select unnest($chosen::varchar[]))
order by t.created_at, t.trace_id, a.rater_id, a.assignment_id"""
)

_SHARED = (
    _AS_OF
    + """
select a.assignment_id, any_value(a.segmentation_id), any_value(a.rater_id), any_value(b.first_error),
    list(r.step_idx) filter (r.rating is not null), list(r.rating) filter (r.rating is not null)
from assignment a left join by_assignment b using (assignment_id) left join by_step r using (assignment_id)
where a.assignment_id in (select unnest($shared::varchar[])) group by a.assignment_id"""
)

# The columns of data.parquet in their order: of an assignment, or (empty) with an entry for each step.
_FULL = {
    "trace_id": "t.trace_id",
    "problem_id": "t.problem_id",
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
    "step_text": "",
    "step_start": "",
    "step_end": "",
    "rating": "",
    "unsure": "",
    "first_error": "b.first_error",
    "decision": "",
    "parent": "",
    "is_backtrack": "",
    "resumes": "",
    "kind": "",
    "corrected_parent": "",
    "corrected_kind": "",
    "cuts": "",
    "joined": "",
    "span": "",
    "error_type": "",
    "severity": "",
    "rationale": "",
    "better": "",
    "recovered": "",
    "adjudicated": "",
    "worth_exploring": "",
    "left_in_time": "",
    "right_return": "",
    "verdict": "b.verdict",
    "adjudicated_verdict": "v.value",
    "note": "coalesce(b.note, '')",
    "tags": "coalesce(b.tags, '')",
    "prelabel_visible": "coalesce(b.prelabel_visible, false)",
    "spent_ms": "spent.spent_ms",
    "queue_id": "a.queue_id",
    "rubric_id": "a.rubric_id",
    "rubric_version": "a.rubric_version",
    "gold": "a.gold",
    "late": "a.late",
    "sampled_by": "a.sampled_by",
    "submitted_at": "strftime(status.ts_server, '%Y-%m-%dT%H:%M:%S.%gZ')",
    "split": _SPLIT.format("t"),
}

_OF_STEP = {
    "step_start": "st.char_start",
    "step_end": "st.char_end",
    "decision": "st.decision",
    "parent": "e.parent_idx",
    "is_backtrack": "e.is_backtrack",
    "resumes": "e.resumes_idx",
    "kind": "coalesce(e.kind, '')",
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

_ORDER = "order by t.created_at, t.trace_id, a.rater_id, a.assignment_id"
_HEADS = (
    _AS_OF
    + f"""
select {", ".join(f"{sql} as {name}" for name, sql in _FULL.items() if sql)}, g.n_steps
from assignment a join trace t using (trace_id) join segmentation g on g.segmentation_id = a.segmentation_id
left join by_assignment b using (assignment_id) left join status using (assignment_id)
left join spent using (assignment_id)
left join settled v on v.segmentation_id = a.segmentation_id and v.target = 'trace'
where a.assignment_id in (select unnest($chosen::varchar[]))
{_ORDER}"""
)
_STEPS = (
    _AS_OF
    + f"""
select a.assignment_id, {", ".join(f"{sql} as {name}" for name, sql in _OF_STEP.items())}
from assignment a join trace t using (trace_id)
join step st on st.segmentation_id = a.segmentation_id
join tree_edge e on e.segmentation_id = st.segmentation_id and e.child_idx = st.step_idx
left join by_step r on r.assignment_id = a.assignment_id and r.step_idx = st.step_idx
left join settled d on d.segmentation_id = st.segmentation_id and d.step_idx = st.step_idx and d.target = 'step'
where a.assignment_id in (select unnest($chosen::varchar[]))
{_ORDER}, st.step_idx"""
)

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
        found = store.query(_SCALARS, _params(seq, as_of, spec, chosen))
        rows = [dict(zip((*_LIGHT, *_COUNTS), row, strict=True)) for row in found]
    return Selection(seq, as_of, rows, _shared(store, rows, then), pairs, dict(sorted(excluded.items())))


def _shared(store: Store, rows: Sequence[dict[str, Any]], then: dict[str, Any]) -> list[dict[str, Any]]:
    """The ratings of those traces that several of the chosen raters have, as `agreement.of_rows` wants them."""
    times = Counter(row["segmentation_id"] for row in rows)
    of = {row["assignment_id"]: row["n_steps"] for row in rows if times[row["segmentation_id"]] > 1}
    if not of:
        return []
    found = store.query(_SHARED, {**then, "shared": list(of)})
    shared = []
    for assignment_id, segmentation_id, rater_id, first_error, steps, values in found:
        rating: list[int | None] = [None] * of[assignment_id]
        for step, value in zip(steps or (), values or (), strict=True):
            rating[step] = value
        shared.append(
            {"segmentation_id": segmentation_id, "rater_id": rater_id, "first_error": first_error, "rating": rating}
        )
    return shared


def write_parquet(store: Store, spec: SnapshotSpec, selection: Selection, path: Path) -> None:
    """The rows of a selection with their texts. Two sorted streams, one of assignments and one of their steps, are joined
    batch by batch, and the lists are cut out of the second by their lengths: nothing has to fit in memory, and no list is
    gathered by the database (22 sorted lists a row took it 40 s for a million steps).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    chosen = [row["assignment_id"] for row in selection.rows]
    params = _params(selection.event_seq, selection.as_of, spec, chosen)

    def stream(con: duckdb.DuckDBPyConnection) -> None:
        with con.cursor() as heads, con.cursor() as steps:
            flat = _Flat(
                steps.execute(_STEPS, {k: v for k, v in params.items() if k != "test"}).to_arrow_reader(STEPS_AT_ONCE)
            )
            found = heads.execute(_HEADS, params).to_arrow_reader(ROWS_AT_ONCE)
            none = pa.RecordBatch.from_pylist([], schema=found.schema)  # comparisons alone: the columns, and no row
            with pq.ParquetWriter(path, _with_lists(none, flat).schema, compression="zstd") as writer:
                for batch in found:
                    writer.write_table(_with_lists(batch, flat))

    store.read(stream)


ROWS_AT_ONCE = 4096
STEPS_AT_ONCE = 65_536


class _Flat:
    """Rows of steps in order, taken n at a time."""

    def __init__(self, batches: pa.RecordBatchReader) -> None:
        self._batches = iter(batches)
        self._held: pa.Table = batches.schema.empty_table()

    def take(self, n: int) -> pa.Table:
        import pyarrow as pa

        while self._held.num_rows < n:
            batch = next(self._batches, None)
            assert batch is not None  # every assignment has as many steps as its segmentation says
            self._held = pa.concat_tables([self._held, pa.Table.from_batches([batch])])
        taken, self._held = self._held.slice(0, n), self._held.slice(n)
        return taken


def _with_lists(heads: pa.RecordBatch, flat: _Flat) -> pa.Table:
    """A batch of assignments with a list for each column of their steps, and the steps' texts out of the response."""
    import numpy as np
    import pyarrow as pa

    lengths = heads["n_steps"].to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    steps = flat.take(int(offsets[-1]))
    firsts = steps["assignment_id"].take(pa.array(offsets[:-1]))
    assert firsts.to_pylist() == heads["assignment_id"].to_pylist(), "both streams are in one order"
    starts, ends = steps["step_start"].to_pylist(), steps["step_end"].to_pylist()
    texts = [
        response[starts[i] : ends[i]]
        for response, first, last in zip(heads["response"].to_pylist(), offsets[:-1], offsets[1:], strict=True)
        for i in range(first, last)
    ]
    columns = {}
    for name in _FULL:
        if name == "step_text":
            columns[name] = pa.ListArray.from_arrays(offsets, pa.array(texts, pa.string()))
        elif name in _OF_STEP:
            columns[name] = pa.ListArray.from_arrays(offsets, steps[name].combine_chunks())
        else:
            columns[name] = heads[name]
    return pa.table(columns)


def write_pairs(store: Store, spec: SnapshotSpec, selection: Selection, path: Path) -> None:
    """The pairs of a selection with both texts, one row a pair and rater."""
    target = str(path).replace("'", "''")
    statement = _PAIRS.replace("{split}", _SPLIT.format("p"))
    store.query(
        f"copy ({statement}) to '{target}' (format parquet, compression zstd)",
        _params(selection.event_seq, selection.as_of, spec, [row["assignment_id"] for row in selection.pairs]),
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
