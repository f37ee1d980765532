"""What is counted: the judgements of submitted work that raters can differ in, and the SQL that counts them.

A vote is one rater's value for one unit (an item and, where there is one, a step of it). Not votes: unsure and "both bad",
which have no place on the scale; answers to gold items, whose right judgement is known and shown; what is not submitted.
Everything reads `settled` (storage/settled.py), which holds what counts in finished work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from storage.errors import StoreError
from storage.quality import figures


@dataclass(frozen=True)
class Judged:
    """Something that is judged: where it is found, its scale in order, and how people call it."""

    target: str
    dimension: str
    scale: tuple[float, ...]
    title: str


JUDGED = {
    one.dimension: one
    for one in (
        Judged("step", "correctness", (-1, 0, 1), "Steps"),
        Judged("decision", "worth_exploring", (0, 1), "Worth exploring?"),
        Judged("decision", "left_in_time", (0, 1), "Left in time?"),
        Judged("decision", "right_return", (0, 1), "Right place?"),
        Judged("trace", "verdict", (-1, 0, 1), "Traces"),
        Judged("pair", "preference", (-3, -2, -1, 0, 1, 2, 3), "Pairs"),
    )
}

# What every statement of this folder is about; "late" ratings are ratings like others. Parameters: judged_params.
VOTE = """
with vote as (
    select s.assignment_id, a.trace_id, a.pair_id, s.segmentation_id, coalesce(a.pair_id, s.segmentation_id) as item,
        s.step_idx, s.rater_id, s.value, s.value_text, s.dwell_ms
    from settled s join assignment a using (assignment_id)
    where a.queue_id = $queue and a.status = 'submitted' and a.gold is null
        and s.target = $target and s.dimension = $dimension)
"""


def judged_of(dimension: str) -> Judged:
    """Raises StoreError with a sentence."""
    found = JUDGED.get(dimension)
    if found is None:
        raise StoreError(f'"dimension" is {dimension[:60]!r}; it must be one of {", ".join(JUDGED)}.')
    return found


def params(queue_id: str, judged: Judged) -> dict[str, Any]:
    return {"queue": queue_id, "target": judged.target, "dimension": judged.dimension}


def agreement(con: duckdb.DuckDBPyConnection, queue_id: str, judged: Judged) -> figures.Agreement:
    """Agreement of a queue's raters on one thing that is judged."""
    import numpy as np

    names = figures.columns(len(judged.scale))
    found = con.execute(_sums(judged), params(queue_id, judged)).fetchnumpy()
    by_trace = np.stack([np.ma.filled(found[name], 0).astype(float) for name in names], axis=1)
    return figures.agreement(by_trace, len(judged.scale))


def _sums(judged: Judged) -> str:
    """One row a trace, with the sums that `figures.columns` names."""
    scale = range(len(judged.scale))
    counts = ", ".join(f"count(*) filter (value = {v:g}) as n_{k}" for k, v in enumerate(judged.scale))
    shares = ", ".join(f"sum(n_{k} / m) as share_{k}" for k in scale)
    met = ", ".join(
        f"coalesce(sum(n_{c} * (n_{k}{' - 1' if c == k else ''}) / (m - 1)) filter (m > 1), 0) as o_{c}_{k}"
        for c in scale
        for k in scale
        if k >= c
    )
    agree = " + ".join(f"n_{k} * (n_{k} - 1)" for k in scale)
    return f"""{VOTE}, unit as (
        select any_value(trace_id) as trace_id, count(*) as m, {counts} from vote where value is not null
        group by item, step_idx)
    select count(*) filter (m > 1) as units, coalesce(sum(m) filter (m > 1), 0) as ratings,
        coalesce(sum(({agree}) / (m * (m - 1))) filter (m > 1), 0) as agree, count(*) as rated, {shares}, {met}
    from unit group by trace_id order by trace_id"""


@dataclass(frozen=True)
class Pairwise:
    """Two raters who judged the same: n units in n_traces traces, on how many of them they agree, and κ."""

    one: str
    other: str
    n: int
    n_traces: int
    percent: float
    kappa: figures.Figure


def pairwise(con: duckdb.DuckDBPyConnection, queue_id: str, judged: Judged) -> list[Pairwise]:
    """Every two raters with units in common, by name."""
    import numpy as np

    gave = ", ".join(
        f"count(*) filter ({side}.value = {v:g}) as {who}_{k}"
        for side, who in (("a", "one"), ("b", "other"))
        for k, v in enumerate(judged.scale)
    )
    found = con.execute(
        f"{VOTE}, valued as (select item, step_idx, trace_id, rater_id, value from vote where value is not null), met as ("
        f"select a.rater_id as one, b.rater_id as other, a.trace_id, count(*) filter (a.value = b.value) as same, {gave} "
        "from valued a join valued b on a.item = b.item and a.step_idx is not distinct from b.step_idx "
        "and a.rater_id < b.rater_id group by all) "
        "select *, dense_rank() over (order by one, other) - 1 as pair, dense_rank() over (order by trace_id) - 1 as trace "
        "from met order by pair, trace",
        params(queue_id, judged),
    ).fetchnumpy()
    pair = np.asarray(found["pair"])
    if not len(pair):
        return []
    sums = np.stack([np.asarray(found[name]) for name in figures.kappa_columns(len(judged.scale))], axis=1).astype(
        float
    )
    kappas = figures.kappas(sums, pair, np.asarray(found["trace"]), len(judged.scale))
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    rows = []
    for at, first, last in zip(range(len(kappas)), starts, [*starts[1:], len(pair)], strict=True):
        total = sums[first:last].sum(axis=0)
        n = round(total[1 : 1 + len(judged.scale)].sum())
        names = str(found["one"][first]), str(found["other"][first])
        rows.append(Pairwise(*names, n, int(last - first), float(100 * total[0] / n), kappas[at]))
    return rows


@dataclass(frozen=True)
class FirstErrors:
    """Where raters see a trace's first error. A rater's is the step they marked as such, else the first they called bad,
    else there is none.

    n_pairs: pairs of raters over the same trace. same: both none, or both the same step; percent: their share, with its
    interval. one_sided: only one of them saw an error. apart: {distance in steps: pairs}, of those in which both saw one.
    """

    n_traces: int
    n_pairs: int
    same: int
    both_none: int
    one_sided: int
    apart: dict[int, int]
    percent: figures.Figure
    sentence: str


def first_errors(con: duckdb.DuckDBPyConnection, queue_id: str) -> FirstErrors:
    """Agreement on the position of the first error, from how many raters of a trace chose each position."""
    import numpy as np

    found = con.execute(
        """
with said as (
    select a.trace_id, s.segmentation_id, s.assignment_id,
        coalesce(min(step_idx) filter (dimension = 'first_error' and value = 1), min(step_idx) filter (value < 0), -1) as place
    from settled s join assignment a using (assignment_id)
    where a.queue_id = $queue and a.status = 'submitted' and a.gold is null and s.target = 'step'
        and s.dimension in ('correctness', 'first_error')
    group by all),
position as (select trace_id, segmentation_id, place, count(*) as n from said group by all),
met as (
    select a.trace_id, a.place as one, b.place as other, if(a.place = b.place, a.n * (a.n - 1) // 2, a.n * b.n) as pairs
    from position a join position b on a.segmentation_id = b.segmentation_id and a.place <= b.place)
select dense_rank() over (order by trace_id) - 1 as trace, if(one = -1, if(other = -1, 0, 1), 2) as saw,
    if(one = -1, 0, other - one) as apart, sum(pairs)::bigint as pairs
from met where pairs > 0 group by trace_id, saw, apart order by all""",
        {"queue": queue_id},
    ).fetchnumpy()
    trace, saw, apart, pairs = (np.asarray(found[name]) for name in ("trace", "saw", "apart", "pairs"))
    if not len(trace):
        sentence = "Undefined: no trace was rated by two raters yet."
        return FirstErrors(0, 0, 0, 0, 0, {}, figures.Figure(None, sentence=sentence), sentence)
    same = pairs * ((saw == 0) | ((saw == 2) & (apart == 0)))
    by_trace = np.stack([np.bincount(trace, weights=column) for column in (same, pairs)], axis=1, dtype=float)
    none, one_sided, both = (pairs * (saw == kind) for kind in range(3))
    distances = {int(d): int(both[apart == d].sum()) for d in np.unique(apart[saw == 2])}
    sentence = "" if distances else "No distances: in no trace did two raters both see an error."
    return FirstErrors(
        len(by_trace), int(pairs.sum()), int(same.sum()), int(none.sum()), int(one_sided.sum()), distances,
        figures.share(by_trace), sentence,
    )  # fmt: skip
