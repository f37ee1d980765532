"""The rows of a snapshot as Parquet: assignments and pairs with their texts, as of one event. Which they are says `frozen.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from storage.frozen import CHOSEN, SPLIT, Selection, as_of
from storage.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from storage.snapshots import SnapshotSpec

# The columns of data.parquet in their order: of an assignment, or (empty) with an entry for each step.
_FULL = {
    "trace_id": "t.trace_id",
    "problem_id": "t.problem_id",
    "prompt": "t.prompt",
    "earlier": "t.earlier",
    "response": "t.response",
    "answer": "t.answer",
    "reference": "q.answer",
    "finish_reason": "t.finish_reason",
    "model": "t.model",
    "format": "t.format",
    "solved": "t.solved",
    # Of a search's answer: how it was found and what the whole search cost, as JSON; else null.
    "search": "json_extract_string(t.sampling, '$.search')",
    "ledger": "json_extract_string(t.stats, '$.ledger')",
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
    "score": "m.step_values",
    "scorer": "m.scorer",
    "scorer_version": "m.scorer_version",
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
    "split": SPLIT.format("t"),
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
# A part of the rows at a time: the times of its traces let the database pass over the texts of all others.
_HEADS = (
    CHOSEN
    + f"""
select {", ".join(f"{sql} as {name}" for name, sql in _FULL.items() if sql)}, g.n_steps
from assignment a join trace t using (trace_id) join segmentation g on g.segmentation_id = a.segmentation_id
left join (select problem_id, any_value(answer) as answer from problem group by problem_id) q on q.problem_id = t.problem_id
left join by_assignment b using (assignment_id) left join status using (assignment_id)
left join spent using (assignment_id)
left join settled v on v.segmentation_id = a.segmentation_id and v.target = 'trace'
left join (
    select segmentation_id, scorer, scorer_version, step_values from model_score
    where segmentation_id in (select segmentation_id from assignment semi join part using (assignment_id))
    qualify row_number() over (partition by segmentation_id order by created_at desc, rowid desc) = 1) m
    on m.segmentation_id = a.segmentation_id and len(m.step_values) = g.n_steps
where a.assignment_id in (select assignment_id from part) and t.created_at between $first and $last
{_ORDER}"""
)
_STEPS = (
    CHOSEN
    + f"""
select a.assignment_id, {", ".join(f"{sql} as {name}" for name, sql in _OF_STEP.items())}
from assignment a join trace t using (trace_id)
join step st on st.segmentation_id = a.segmentation_id
join tree_edge e on e.segmentation_id = st.segmentation_id and e.child_idx = st.step_idx
left join by_step r on r.assignment_id = a.assignment_id and r.step_idx = st.step_idx
left join settled d on d.segmentation_id = st.segmentation_id and d.step_idx = st.step_idx and d.target = 'step'
where a.assignment_id in (select assignment_id from part)
{_ORDER}, st.step_idx"""
)

_PAIRS = (
    CHOSEN
    + """
select a.assignment_id, a.rater_id, a.queue_id, a.rubric_id, a.rubric_version, a.swapped, a.gold, a.late,
    p.pair_id, p.problem_id, p.left_trace_id, p.right_trace_id, p.shared_steps, p.source,
    l.prompt, l.earlier, l.response as left_response, r.response as right_response, l.model as left_model,
    r.model as right_model,
    b.preference, coalesce(b.both_bad, false) as both_bad, coalesce(b.criteria, '{}') as criteria,
    coalesce(b.note, '') as note, spent.spent_ms,
    strftime(status.ts_server, '%Y-%m-%dT%H:%M:%S.%gZ') as submitted_at, {split} as split, d.value as adjudicated
from assignment a join pair p using (pair_id) left join decided d using (pair_id)
join trace l on l.trace_id = p.left_trace_id join trace r on r.trace_id = p.right_trace_id
join status using (assignment_id) left join by_assignment b using (assignment_id) left join spent using (assignment_id)
where a.assignment_id in (select assignment_id from part)
order by p.pair_id, a.rater_id, a.assignment_id"""
)


def write_rows(store: Store, spec: SnapshotSpec, selection: Selection, path: Path) -> None:
    """The rows of a selection with their texts, a part at a time: sorting all texts at once took 2.7 GB. Of each part the
    assignments and their steps are read in one order, and the lists are cut out of the steps by their lengths, because the
    database needs far longer to gather them (40 s for 22 lists of a million steps).
    """
    import pyarrow.parquet as pq

    def parts_to(con: duckdb.DuckDBPyConnection) -> None:
        writer = None
        try:
            for part in _parts(selection.chosen):
                params = as_of(selection, [assignment_id for assignment_id, *_ in part])
                steps = con.execute(_STEPS, params).to_arrow_table()
                first, last = (part[0][1], part[-1][1]) if part else (None, None)
                heads = con.execute(_HEADS, {**params, "test": 10 * spec.test_percent, "first": first, "last": last})
                for table in _with_lists(heads.to_arrow_table(), steps):
                    writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
                    writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()

    store.read(parts_to)


PART = 16_384  # assignments read at a time, at most. Every part costs a look at all events (0.5 s of a million)
PART_BYTES = 24_000_000  # of their texts: the database sorts them in the memory that it has
ROWS_AT_ONCE = 2048  # of them become Python's strings at a time, and a row group
BYTES_AT_ONCE = 16_000_000


def _parts(chosen: Sequence[tuple[str, datetime, int]]) -> Iterator[Sequence[tuple[str, datetime, int]]]:
    """In their order; one alone may be longer than a part should be. Comparisons alone: one empty part, for the columns."""
    if not chosen:
        yield []
    for first, end in _runs([size for *_, size in chosen], PART, PART_BYTES):
        yield chosen[first:end]


def _runs(sizes: Sequence[int], most: int, size: int) -> Iterator[tuple[int, int]]:
    """Neighbours together, as many as both limits allow: the first of them and the end."""
    first = held = 0
    for i, one in enumerate(sizes):
        if i > first and (i - first == most or held + one > size):
            yield first, i
            first, held = i, 0
        held += one
    if sizes:
        yield first, len(sizes)


def _with_lists(heads: pa.Table, steps: pa.Table) -> Iterator[pa.Table]:
    """Both of a part as row groups, at least one."""
    import pyarrow.compute as pc

    assert (pc.sum(heads["n_steps"]).as_py() or 0) == steps.num_rows  # as many steps as the segmentations say
    done = 0
    sizes = pc.binary_length(heads["response"]).to_pylist()
    for at, end in list(_runs(sizes, ROWS_AT_ONCE, BYTES_AT_ONCE)) or [(0, 0)]:
        rows = heads.slice(at, end - at)
        n = pc.sum(rows["n_steps"]).as_py() or 0
        yield _row_group(rows, steps.slice(done, n))
        done += n


def _row_group(heads: pa.Table, steps: pa.Table) -> pa.Table:
    """Assignments with a list for each column of their steps, and the steps' texts out of the response."""
    import numpy as np
    import pyarrow as pa

    lengths = heads["n_steps"].to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    firsts = steps["assignment_id"].take(pa.array(offsets[:-1]))
    assert firsts.to_pylist() == heads["assignment_id"].to_pylist(), "both are in one order"
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
            columns[name] = pa.ListArray.from_arrays(offsets, _one_chunk(steps[name]))
        else:
            columns[name] = heads[name]
    return pa.table(columns)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)


def write_pairs(store: Store, spec: SnapshotSpec, selection: Selection, path: Path) -> None:
    """The pairs of a selection with both texts, one row a pair and rater."""
    target = str(path).replace("'", "''")
    statement = _PAIRS.replace("{split}", SPLIT.format("p"))
    params = as_of(selection, [row["assignment_id"] for row in selection.pairs])
    store.query(
        f"copy ({statement}) to '{target}' (format parquet, compression zstd, row_group_size {ROWS_AT_ONCE})",
        {**params, "test": 10 * spec.test_percent},
    )
