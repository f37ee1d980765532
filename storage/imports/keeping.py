"""What a file says that people said, kept: events of imported raters, in assignments of their own queue.

A trace is found by its content, so that ratings meet the trace that is stored, under whatever id it came. The ids of
assignments and events are made from what they say: the same file again adds nothing, a mended one adds what is new. An
imported rater has a name that begins with `import:` and can never log in; their queue hands out nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import duckdb

from core.trace import Trace, new_id
from storage import pairs
from storage.database import insert
from storage.errors import StoreError
from storage.events import MAX_DWELL_MS, EventError, RatingEvent, format_utc, parse_utc
from storage.imports.judged import Judgement, Rated, rater_name
from storage.queues.settings import Queue, read_queue, save_queues
from storage.ratings import utc_now
from storage.store import Store
from storage.traces import content_hash

QUEUE, PAIR_QUEUE = "imported", "imported-pairs"
_EVENTS = uuid.UUID("6f1b0f53-59f3-4e0e-9d0a-0f7f6a3c2b11")  # the name space of events that came from files
MOST_PROBLEMS = 100


@dataclass(frozen=True)
class Ref:
    """A trace by its content, and where its steps end (code points): ratings are of these steps and no others."""

    content: str
    response_sha256: str
    ends: tuple[int, ...]


@dataclass(frozen=True)
class Wanted:
    """What is to be kept of one rater and trace (or pair). Plain values, so that it can be sent."""

    rater: str
    trace: Ref
    other: Ref | None
    judgements: tuple[Judgement, ...]
    at: str
    spent_ms: int | None
    exit: str
    gold: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Wanted:
        """Raises StoreError where it is not one."""
        try:
            refs = [
                None if r is None else Ref(r["content"], r["response_sha256"], tuple(r["ends"]))
                for r in (row["trace"], row["other"])
            ]
            said = tuple(
                Judgement(j["target"], j["dimension"], j["step"], j["value"], j["text"]) for j in row["judgements"]
            )
            assert refs[0] is not None
            rest = {name: row[name] for name in ("at", "spent_ms", "exit", "gold")}
            return cls(rater_name(str(row["rater"]), ""), refs[0], refs[1], said, **rest)
        except (KeyError, TypeError, AssertionError) as error:
            raise StoreError(
                f"A rating that was sent is not one ({error!r}); send what this version of Worldline makes."
            ) from None


@dataclass
class Kept:
    """What became of them: assignments and judgements that are in the log now, and sentences about the others."""

    assignments: int = 0
    judgements: int = 0
    problems: list[str] | None = None

    def to_json(self) -> dict[str, Any]:
        return {"assignments": self.assignments, "judgements": self.judgements, "problems": self.problems or []}


def wanted(said: Iterable[Rated], otherwise: str) -> list[Wanted]:
    """As it can be kept or sent. otherwise: who is meant where the file names nobody."""
    return [
        Wanted(
            rater_name(one.rater, otherwise), _ref(one.trace), None if one.other is None else _ref(one.other),
            one.judgements, one.at, one.spent_ms, one.exit, one.gold,
        )
        for one in said
    ]  # fmt: skip


def _ref(trace: Trace) -> Ref:
    digest = hashlib.sha256(trace.response.encode()).hexdigest()
    return Ref(content_hash(trace.prompt, trace.response), digest, tuple(step.end for step in trace.steps))


def keep(store: Store, ratings: Sequence[Wanted], name: str) -> Kept:
    """Keep ratings whose traces are stored; `name` begins the sentences about those that cannot be."""
    kept, problems = Kept(), list[str]()
    found: list[tuple[_Place | None, str]] = store.write(_places, ratings).result()
    # Every import counts on from the clock: a later file outweighs an earlier one where they differ.
    seq = time.time_ns() // 1_000_000
    for one, (place, problem) in zip(ratings, found, strict=True):
        if place is None:
            problems.append(f"{name}: {problem}")
            continue
        try:
            events = list(_events(one, place, seq))
        except EventError as error:
            problems.append(f"{name}: a judgement of {one.rater!r} cannot be kept: {error}")
            continue
        accepted = set(store.add_rating_events(events).result())
        if len(accepted) < len({event.event_id for event in events}):
            why = store.why_rejected([event for event in events if event.event_id not in accepted])
            problems += [f"{name}: a judgement of {one.rater!r} cannot be kept: {reason}" for reason in why.values()]
        kept.assignments += 1
        kept.judgements += sum(event.event_id in accepted for event in events if event.action == "set")
    counts = Counter(problems)
    kept.problems = [f"{text} ({n} times)" if n > 1 else text for text, n in counts.items()][:MOST_PROBLEMS]
    return kept


@dataclass(frozen=True)
class _Place:
    """The assignment that takes the judgements; flipped: the pair holds the two traces the other way round."""

    assignment_id: str
    rater: str
    flipped: bool


def _events(one: Wanted, place: _Place, seq: int) -> Iterable[RatingEvent]:
    at = one.at if _is_time(one.at) else ""
    rows: list[dict[str, Any]] = []
    for said in one.judgements:
        value = 0 - said.value if place.flipped and said.value is not None and said.target == "pair" else said.value
        rows.append({
            "action": "set", "target": said.target, "dimension": said.dimension, "step_idx": said.step, "value": value,
            "value_text": said.text,
        })  # fmt: skip
    end = {"action": "skip", "value_text": one.exit} if one.exit else {"action": "submit"}
    spent = None if one.spent_ms is None else min(one.spent_ms, MAX_DWELL_MS)
    rows.append(
        {**end, "target": "trace", "dwell_ms": spent, "of": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}
    )
    for i, row in enumerate(rows):
        event_id = str(uuid.uuid5(_EVENTS, json.dumps([place.assignment_id, row])))
        row.pop("of", None)
        yield RatingEvent.from_json({
            **row, "event_id": event_id, "assignment_id": place.assignment_id, "rater_id": place.rater, "seq": seq + i,
            "ts_client": at, "ui_build": "import",
        })  # fmt: skip


def _is_time(text: str) -> bool:
    try:
        parse_utc(text)
    except (ValueError, TypeError, OverflowError):
        return False
    return bool(text)


# ---- on the writer's thread


def _places(con: duckdb.DuckDBPyConnection, calls: Sequence[Sequence[Wanted]]) -> list[list[tuple[_Place | None, str]]]:
    """Writer's operation: an assignment for each, made where there is none; or the sentence why there cannot be."""
    return [_of_call(con, ratings) for ratings in calls]


@dataclass(frozen=True)
class _Stored:
    trace_id: str
    problem_id: str
    segmentation_id: str
    ends: tuple[int, ...]


def _of_call(con: duckdb.DuckDBPyConnection, ratings: Sequence[Wanted]) -> list[tuple[_Place | None, str]]:
    if not ratings:
        return []
    queues = {unit: _queue(con, queue_id, unit) for queue_id, unit in ((QUEUE, "trace"), (PAIR_QUEUE, "pair"))}
    stored = _stored(con, [ref for one in ratings for ref in (one.trace, one.other) if ref is not None])
    places: list[tuple[_Place | None, str]] = []
    rows: dict[str, tuple[Wanted, Queue, _Stored, str | None]] = {}
    for one in ratings:
        here, there = stored.get(one.trace.content), stored.get(one.other.content) if one.other else None
        problem = _problem(one.trace, here) or (_problem(one.other, there) if one.other else "")
        if one.other and here and there and here.trace_id == there.trace_id:
            problem = "a comparison is of one and the same trace"
        if problem or here is None:
            places.append((None, f"the rating of {one.rater!r} was not kept: {problem}."))
            continue
        pair, flipped, left = None, False, here
        if there is not None:
            flipped = pairs.canonical(here.trace_id, there.trace_id)[0] != here.trace_id
            left, right = (there, here) if flipped else (here, there)
            pair = _pair(con, left, right)
        queue = queues["trace" if pair is None else "pair"]
        key = json.dumps([queue.queue_id, one.rater, pair or here.trace_id])
        assignment_id = "i" + hashlib.sha256(key.encode()).hexdigest()[:25]
        rows[assignment_id] = (one, queue, left, pair)
        places.append((_Place(assignment_id, one.rater, flipped), ""))
    _insert(con, rows)
    return places


def _problem(ref: Ref, stored: _Stored | None) -> str:
    if stored is None:
        return "its trace is not stored"
    if stored.ends != ref.ends:
        return f"the stored trace {stored.trace_id} is cut into other steps, which these ratings are not of"
    return ""


def _stored(con: duckdb.DuckDBPyConnection, refs: Sequence[Ref]) -> dict[str, _Stored]:
    """content -> the stored trace."""
    found = con.execute(
        "select t.trace_id, t.problem_id, t.prompt, t.response_sha256, g.segmentation_id, list(s.char_end order by s.step_idx) "
        "from trace t join segmentation g using (trace_id) join step s using (segmentation_id) "
        "where t.response_sha256 in (select unnest(?::varchar[])) group by all",
        [sorted({ref.response_sha256 for ref in refs})],
    ).fetchall()
    stored = dict[str, _Stored]()
    for trace_id, problem_id, prompt, digest, segmentation_id, ends in found:
        content = hashlib.sha256((hashlib.sha256(prompt.encode()).hexdigest() + digest).encode()).hexdigest()
        stored.setdefault(content, _Stored(trace_id, problem_id, segmentation_id, tuple(ends)))
    return stored


def _queue(con: duckdb.DuckDBPyConnection, queue_id: str, unit: str) -> Queue:
    queue = read_queue(con, queue_id)
    if queue is None:
        title = "Imported ratings" if unit == "trace" else "Imported comparisons"
        rubric: dict[str, Any] = {}
        if unit == "pair":
            pairs.set_up_pairs(con, [None])
            rubric = dict(zip(("rubric_id", "rubric_version"), pairs.PAIR_RUBRIC, strict=True))
        (queue,) = save_queues(con, [Queue(queue_id, title, unit, archived=True, **rubric)])
    return queue


def _pair(con: duckdb.DuckDBPyConnection, left: _Stored, right: _Stored) -> str:
    now = format_utc(utc_now())
    pairs.add_pairs(
        con, [[pairs.Pair(new_id(), PAIR_QUEUE, left.problem_id, left.trace_id, right.trace_id, 0, "import", now)]]
    )
    found = con.execute(
        "select pair_id from pair where queue_id = ? and left_trace_id = ? and right_trace_id = ?",
        [PAIR_QUEUE, left.trace_id, right.trace_id],
    ).fetchall()
    pair_id: str = found[0][0]
    return pair_id


def _insert(con: duckdb.DuckDBPyConnection, rows: dict[str, tuple[Wanted, Queue, _Stored, str | None]]) -> None:
    """Raters and assignments that are not there yet."""
    now = utc_now()
    names = sorted({one.rater for one, *_ in rows.values()})
    known = {
        r
        for (r,) in con.execute(
            "select rater_id from rater where rater_id in (select unnest(?::varchar[]))", [names]
        ).fetchall()
    }
    names = [name for name in names if name not in known]
    if names:
        insert(con, "rater", {
            "rater_id": ("varchar", names), "display_name": ("varchar", names), "role": ("varchar", ["rater"] * len(names)),
            "created_at": ("timestamp", [now] * len(names)), "active": ("boolean", [False] * len(names)),
        })  # fmt: skip
    there = con.execute(
        "select assignment_id from assignment where assignment_id in (select unnest(?::varchar[]))", [list(rows)]
    ).fetchall()
    fresh = {key: row for key, row in rows.items() if key not in {found for (found,) in there}}
    if not fresh:
        return
    values, n = list(fresh.values()), len(fresh)
    insert(con, "assignment", {
        "assignment_id": ("varchar", list(fresh)), "queue_id": ("varchar", [q.queue_id for _, q, _, _ in values]),
        "trace_id": ("varchar", [t.trace_id for *_, t, _ in values]),
        "segmentation_id": ("varchar", [t.segmentation_id for *_, t, _ in values]),
        "rater_id": ("varchar", [one.rater for one, *_ in values]),
        "rubric_id": ("varchar", [q.rubric_id for _, q, _, _ in values]),
        "rubric_version": ("integer", [q.rubric_version for _, q, _, _ in values]),
        "status": ("varchar", ["leased"] * n), "status_reason": ("varchar", [""] * n), "status_seq": ("bigint", [-1] * n),
        "leased_at": ("timestamp", [now] * n), "lease_expires_at": ("timestamp", [now + timedelta(minutes=1)] * n),
        "updated_at": ("timestamp", [now] * n), "pair_id": ("varchar", [pair for *_, pair in values]),
        "swapped": ("boolean", [None if pair is None else False for *_, pair in values]), "late": ("boolean", [False] * n),
        "gold": ("varchar", [one.gold for one, *_ in values]), "sampled_by": ("varchar", ["import"] * n),
    })  # fmt: skip
