"""Traces in and out of the database: problem, raw text, steps and tree, each in its table. Knows no rating.

A trace is stored once and never changed; storing it again under the same id is harmless, another text under the same
id is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from core.trace import Earlier, Origin, Placed, Step, Trace
from storage.database import insert
from storage.errors import StoreError
from storage.events import format_utc, parse_utc

LIST_PROMPT_CHARS = 500  # a list shows one line of a question; a 1 MB question must not travel with it
LIST_MOST = 1000  # rows of one page of the list
FAMILY_MOST = 5000  # forks of one trace that a page can show


@dataclass(frozen=True)
class TraceRow:
    """One line of a list of traces: never the raw text. `prompt` is cut to 500 characters.

    n_ratings: step ratings (good, neutral, bad, unsure) that count now, of all raters; n_submitted: finished
    assignments.
    """

    trace_id: str
    problem_id: str
    prompt: str
    model: str
    finish_reason: str
    solved: bool | None
    created_at: str
    n_steps: int
    n_backtracks: int
    n_ratings: int
    n_submitted: int
    source: str


@dataclass(frozen=True)
class WorldLine:
    """One trace of a family: the first, or a fork (`origin` says where it left which other)."""

    trace_id: str
    origin: Origin | None
    model: str
    finish_reason: str | None  # None while it runs
    solved: bool | None
    n_steps: int
    n_backtracks: int


@dataclass(frozen=True)
class Held:
    """What the store has of a batch: content hashes that are stored under any id, and trace ids that are taken."""

    contents: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


def content_hash(prompt: str, response: str) -> str:
    """SHA-256 of prompt and response (of their two hashes, so that no border between them can be mistaken)."""
    parts = (hashlib.sha256(text.encode()).hexdigest() for text in (prompt, response))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def held(con: duckdb.DuckDBPyConnection, traces: Sequence[Trace]) -> Held:
    """Which of these are stored already, by content or by id. One pass over the table a batch, which reads no response."""
    rows = con.execute(
        "select prompt, response_sha256 from trace where response_sha256 in (select unnest(?::varchar[]))",
        [[hashlib.sha256(t.response.encode()).hexdigest() for t in traces]],
    ).fetchall()
    contents = (
        hashlib.sha256((hashlib.sha256(prompt.encode()).hexdigest() + digest).encode()).hexdigest()
        for prompt, digest in rows
    )
    ids = con.execute(
        "select trace_id from trace where trace_id in (select unnest(?::varchar[]))", [[t.trace_id for t in traces]]
    ).fetchall()
    return Held(frozenset(contents), frozenset(row[0] for row in ids))


def check_storable(trace: Trace) -> None:
    """Raises StoreError for what no database column can hold, before anything is queued."""
    texts = [
        (name, getattr(trace, name))
        for name in ("trace_id", "problem_id", "prompt", "response", "answer", "model", "format", "error")
    ]
    texts += [
        (f"steps[{s.index}].{n}", getattr(s, n))
        for s in trace.steps
        for n in ("name", "thought", "summary", "reflection")
    ]
    texts += [(f"earlier.trace_ids[{i}]", x) for i, x in enumerate(trace.earlier.trace_ids if trace.earlier else ())]
    texts += [(f"origin.{n}", getattr(trace.origin, n)) for n in ("root", "trace_id") if trace.origin]
    for name, text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise StoreError(
                f'"{name}" of trace {trace.trace_id!r} has half of a surrogate pair at character {error.start}, '
                "which is not text; replace it with U+FFFD."
            ) from None
    try:
        parse_utc(trace.created_at)
    except (ValueError, OverflowError):
        raise StoreError(
            f'"created_at" of trace {trace.trace_id} is {trace.created_at!r}; it must be a time in ISO 8601, '
            "such as 2026-11-20T12:00:00Z."
        ) from None


def add_traces(con: duckdb.DuckDBPyConnection, items: Sequence[tuple[Trace, str]]) -> list[None]:
    """Writer's operation: (trace, source) pairs in one go."""
    digests = {t.trace_id: hashlib.sha256(t.response.encode()).hexdigest() for t, _ in items}
    known = dict(
        con.execute(
            "select trace_id, response_sha256 from trace where trace_id in (select unnest(?::varchar[]))",
            [list(digests)],
        ).fetchall()
    )
    fresh: dict[str, tuple[Trace, str]] = {}
    for trace, source in items:
        digest = hashlib.sha256(trace.response.encode()).hexdigest()
        if known.setdefault(trace.trace_id, digest) != digest:
            raise StoreError(
                f"A trace with the id {trace.trace_id} is already stored, with another text. Give this one an id "
                "of its own."
            )
        fresh.setdefault(trace.trace_id, (trace, source))
    stored = con.execute(
        "select trace_id from trace where trace_id in (select unnest(?::varchar[]))", [list(fresh)]
    ).fetchall()
    for (trace_id,) in stored:
        del fresh[trace_id]
    if fresh:
        _insert_problems(con, [t for t, _ in fresh.values()])
        _insert_traces(con, list(fresh.values()), digests)
        _insert_steps(con, [t for t, _ in fresh.values()])
    return [None] * len(items)


def _insert_problems(con: duckdb.DuckDBPyConnection, traces: list[Trace]) -> None:
    prompts = {t.problem_id: t.prompt for t in reversed(traces)}
    known = con.execute(
        "select problem_id from problem where problem_id in (select unnest(?::varchar[]))", [list(prompts)]
    ).fetchall()
    for (problem_id,) in known:
        del prompts[problem_id]
    if prompts:
        insert(
            con,
            "problem",
            {
                "problem_id": ("varchar", list(prompts)),
                "prompt": ("varchar", list(prompts.values())),
                "created_at": ("timestamp", [_now()] * len(prompts)),
            },
        )


def _insert_traces(con: duckdb.DuckDBPyConnection, items: list[tuple[Trace, str]], digests: dict[str, str]) -> None:
    traces = [t for t, _ in items]
    text = {
        name: ("varchar", [getattr(t, name) for t in traces])
        for name in (
            "trace_id",
            "problem_id",
            "prompt",
            "response",
            "answer",
            "finish_reason",
            "model",
            "format",
            "error",
        )
    }
    insert(
        con,
        "trace",
        {
            **text,
            "response_sha256": ("varchar", [digests[t.trace_id] for t in traces]),
            "sampling": ("varchar", [json.dumps(t.sampling) for t in traces]),
            "stats": ("varchar", [json.dumps(t.stats) for t in traces]),
            "solved": ("boolean", [t.solved for t in traces]),
            "created_at": ("timestamp", [parse_utc(t.created_at) for t in traces]),
            "created_text": ("varchar", [t.created_at for t in traces]),
            "n_steps": ("integer", [len(t.steps) for t in traces]),
            "n_backtracks": ("integer", [sum(n.is_backtrack for n in t.nodes) for t in traces]),
            "source": ("varchar", [source for _, source in items]),
            "origin": ("varchar", [json.dumps(asdict(t.origin)) if t.origin else None for t in traces]),
            "earlier": ("varchar", [json.dumps(t.earlier.to_json()) if t.earlier else None for t in traces]),
            "origin_root": ("varchar", [t.origin.root if t.origin else None for t in traces]),
            "stored_at": ("timestamp", [_now()] * len(traces)),
        },
    )
    insert(
        con,
        "segmentation",
        {
            "segmentation_id": ("varchar", [t.segmentation_id for t in traces]),
            "trace_id": ("varchar", [t.trace_id for t in traces]),
            "segmenter": ("varchar", [t.format for t in traces]),
            "n_steps": ("integer", [len(t.steps) for t in traces]),
        },
    )


def _insert_steps(con: duckdb.DuckDBPyConnection, traces: list[Trace]) -> None:
    cut = [(t, s, n) for t in traces for s, n in zip(t.steps, t.nodes, strict=True)]
    if not cut:
        return
    ids = ("varchar", [t.segmentation_id for t, _, _ in cut])
    fields = {
        name: ("varchar", [getattr(s, name) for _, s, _ in cut])
        for name in ("name", "thought", "summary", "reflection", "decision")
    }
    insert(
        con,
        "step",
        {
            "segmentation_id": ids,
            "step_idx": ("integer", [s.index for _, s, _ in cut]),
            "char_start": ("integer", [s.start for _, s, _ in cut]),
            "char_end": ("integer", [s.end for _, s, _ in cut]),
            **fields,
            "complete": ("boolean", [s.complete for _, s, _ in cut]),
            "text_sha256": (
                "varchar",
                [hashlib.sha256(t.response[s.start : s.end].encode()).hexdigest() for t, s, _ in cut],
            ),
        },
    )
    insert(
        con,
        "tree_edge",
        {
            "segmentation_id": ids,
            "child_idx": ("integer", [s.index for _, s, _ in cut]),
            "parent_idx": ("integer", [n.parent for _, _, n in cut]),
            "is_backtrack": ("boolean", [n.is_backtrack for _, _, n in cut]),
            "resumes_idx": ("integer", [n.resumes for _, _, n in cut]),
            "replaces_idx": ("integer", [n.replaces for _, _, n in cut]),
            "confidence": ("double", [n.confidence for _, _, n in cut]),
            "kind": ("varchar", [n.kind or None for _, _, n in cut]),
        },
    )


def read_trace(con: duckdb.DuckDBPyConnection, trace_id: str) -> Trace | None:
    """One trace exactly as it was stored, or None."""
    row = con.execute(
        "select trace_id, problem_id, prompt, response, answer, finish_reason, model, format, sampling, stats, "
        "created_text, solved, error, origin, earlier, rowid "
        "from trace where trace_id = ? limit 1",
        [trace_id],
    ).fetchone()
    if row is None:
        return None
    (
        found,
        problem_id,
        prompt,
        response,
        answer,
        finish_reason,
        model,
        form,
        sampling,
        stats,
        created,
        solved,
        error,
        origin,
        earlier,
        place,
    ) = row
    parts = _read_steps(con, _segmentation(con, trace_id, place))
    return Trace(
        trace_id=found, problem_id=problem_id, prompt=prompt, response=response,
        steps=tuple(Step(*p[:9]) for p in parts), nodes=tuple(Placed(*p[9:]) for p in parts),
        answer=answer, finish_reason=finish_reason, model=model, format=form, sampling=json.loads(sampling),
        stats=json.loads(stats), created_at=created, solved=solved, error=error, origin=_origin(origin),
        earlier=None if earlier is None else Earlier.from_json(json.loads(earlier)),
    )  # fmt: skip


_STEP = "step_idx, char_start, char_end, name, thought, summary, reflection, decision, complete"
_EDGE = "parent_idx, is_backtrack, resumes_idx, replaces_idx, confidence, coalesce(kind, '')"


def _segmentation(con: duckdb.DuckDBPyConnection, trace_id: str, place: int) -> str:
    """The segmentation of the trace in row `place`: in the row of the same number, as both are written at once."""
    row = con.execute("select segmentation_id from segmentation where rowid = ? and trace_id = ?", [place, trace_id])
    found = (
        row.fetchone()
        or con.execute("select segmentation_id from segmentation where trace_id = ? limit 1", [trace_id]).fetchone()
    )
    assert found is not None  # written with the trace
    return str(found[0])


def _read_steps(con: duckdb.DuckDBPyConnection, segmentation_id: str) -> list[tuple[Any, ...]]:
    """Each step with its place in the tree, in order.

    A comparison with an id reads the ids of all steps there are, so one table is asked for it; a trace's rows lie together,
    and both tables are filled row by row alike. Where they are not, the other one is asked as well.
    """
    row = con.execute(
        "select min(rowid), max(rowid), count(*) from step where segmentation_id = ?", [segmentation_id]
    ).fetchone()
    if row is None or not row[2]:
        return []
    first, last, n = row
    if last - first + 1 == n:
        steps = con.execute(f"select {_STEP} from step where rowid between ? and ? order by step_idx", [first, last])
        found = steps.fetchall()
        edges = con.execute(
            f"select segmentation_id, {_EDGE} from tree_edge where rowid between ? and ? order by child_idx",
            [first, last],
        ).fetchall()
        if len(edges) == n and all(edge[0] == segmentation_id for edge in edges):
            return [(*step, *edge[1:]) for step, edge in zip(found, edges, strict=True)]
    return con.execute(
        f"select {_STEP}, {_EDGE} from step s join tree_edge e on e.segmentation_id = s.segmentation_id and e.child_idx = s.step_idx "
        "where s.segmentation_id = $id and e.segmentation_id = $id order by step_idx",
        {"id": segmentation_id},
    ).fetchall()


def _origin(text: str | None) -> Origin | None:
    return None if text is None else Origin.from_json(json.loads(text))


def read_family(con: duckdb.DuckDBPyConnection, root: str) -> list[WorldLine]:
    """The trace `root` and every fork of it or of its forks, oldest first."""
    rows = con.execute(
        "select trace_id, origin, model, finish_reason, solved, n_steps, n_backtracks from trace "
        "where trace_id = ? or origin_root = ? order by created_at, trace_id limit ?",
        [root, root, FAMILY_MOST],
    ).fetchall()
    return [WorldLine(row[0], _origin(row[1]), *row[2:]) for row in rows]


def list_traces(
    con: duckdb.DuckDBPyConnection, *, limit: int, after: str | None, model: str | None, text: str | None
) -> list[TraceRow]:
    """A page of the list, newest first. `after` is the trace_id of the last row of the page before (keyset
    pagination).
    """
    where, params = ["true"], list[Any]()
    if after:  # looked up first: as constants they let whole blocks of newer traces be passed by
        last = con.execute("select created_at, trace_id from trace where trace_id = ? limit 1", [after]).fetchone()
        if last is None:
            return []
        where.append("created_at <= ? and (created_at < ? or trace_id < ?)")
        params += [last[0], *last]
    if model:
        where.append("model = ?")
        params.append(model)
    if text:
        where.append("contains(lower(prompt), lower(?))")
        params.append(text)
    # Which rows first, by narrow columns; then the texts of those alone.
    chosen = con.execute(
        f"select rowid from trace where {' and '.join(where)} order by created_at desc, trace_id desc limit ?",
        [*params, max(1, min(limit, LIST_MOST))],
    ).fetchall()
    if not chosen:
        return []
    rows = con.execute(
        f"select trace_id, problem_id, left(prompt, {LIST_PROMPT_CHARS}), model, finish_reason, solved, created_at, n_steps, "
        f"n_backtracks, source from trace where rowid in ({', '.join(str(rowid) for (rowid,) in chosen)}) "
        "order by created_at desc, trace_id desc"
    ).fetchall()
    rated = _rated(con, [row[0] for row in rows])
    return [TraceRow(*(*row[:6], format_utc(row[6]), *row[7:9], *rated.get(row[0], (0, 0)), row[9])) for row in rows]


def _rated(con: duckdb.DuckDBPyConnection, trace_ids: list[str]) -> dict[str, tuple[int, int]]:
    """trace_id -> (step ratings that count now, submitted assignments), for the traces of one page."""
    if not trace_ids:
        return {}
    work = con.execute(
        "select assignment_id, trace_id, status = 'submitted' from assignment where trace_id in (select unnest(?::varchar[]))",
        [trace_ids],
    ).fetchall()
    tallied = dict(  # by its own ids, which lie in order of time; a join of both tables is four times as much
        con.execute(
            "select assignment_id, good + neutral + bad + unsure from tally "
            "where assignment_id in (select unnest(?::varchar[]))",
            [[row[0] for row in work]],
        ).fetchall()
    )
    rows = [(*row, tallied.get(row[0])) for row in work]
    in_hand = [row[0] for row in rows if row[3] is None]
    counts = dict(
        con.execute(  # the view rating_in_hand goes over the work of all pages
            "select assignment_id, count(*) from (select assignment_id, action from rating_event "
            "where assignment_id in (select unnest(?::varchar[])) and action in ('set', 'clear') and dimension = 'correctness' "
            "qualify row_number() over (partition by assignment_id, target, segmentation_id, step_idx "
            "order by seq desc, server_seq desc) = 1) where action = 'set' group by all",
            [in_hand],
        ).fetchall()
        if in_hand
        else ()
    )
    found: dict[str, tuple[int, int]] = {}
    for assignment_id, trace_id, submitted, n in rows:
        ratings, done = found.get(trace_id, (0, 0))
        found[trace_id] = ratings + (counts.get(assignment_id, 0) if n is None else n), done + submitted
    return found


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
