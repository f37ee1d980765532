"""The rating log: appending events, and reading what counts now.

Events are only ever appended. The writer's side (`RatingLog`) remembers which ids an assignment already has, so that
a replay adds nothing, and keeps the assignment's status in step. Knows no HTTP and no screen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from storage.database import insert
from storage.events import CurrentRating, RatingEvent, format_utc, offsets_of, parse_utc, problem_of
from storage.settled import EVENT, settle

# Assignments whose event ids are kept in memory: more than raters at work at once; one that fell out is read again
# (20 ms at 1M events).
REMEMBERED = 512
STATUS_OF = {"submit": "submitted", "reopen": "leased", "skip": "skipped"}


@dataclass
class _Known:
    """What must be known of an assignment to judge and append an event."""

    rater_id: str
    segmentation_id: str
    n_steps: int
    is_pair: bool
    lease_minutes: int
    status_seq: int
    lease_expires_at: datetime
    settled: bool
    event_ids: set[str] = field(default_factory=set)


class RatingLog:
    """The writer's side. Every method but the constructor runs on the writer thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._next_seq: int | None = None

    def forget(self) -> None:
        """After a rollback: what was remembered may never have happened."""
        self._known.clear()
        self._next_seq = None

    def append(self, con: duckdb.DuckDBPyConnection, calls: Sequence[Sequence[RatingEvent]]) -> list[list[str]]:
        """Writer's operation: for each call the ids that are in the log now, new or not; events that cannot be kept
        are left out.
        """
        if self._next_seq is None:
            self._next_seq = last_seq(con) + 1
        now = utc_now()
        fresh: list[tuple[RatingEvent, _Known]] = []
        results: list[list[str]] = []
        touched: dict[str, _Known] = {}
        for events in calls:
            committed: list[str] = []
            for event in events:
                known = self._assignment(con, event.assignment_id)
                if known is None or refusal(
                    con, event, known.rater_id, known.segmentation_id, known.n_steps, known.is_pair
                ):
                    continue
                committed.append(event.event_id)
                if event.event_id not in known.event_ids:
                    known.event_ids.add(event.event_id)
                    fresh.append((event, known))
                    touched[event.assignment_id] = known
            results.append(committed)
        if fresh:
            self._insert(con, fresh, now)
            self._follow(con, [e for e, _ in fresh], touched, now)
            self._settle(con, [e for e, _ in fresh], touched)
        return results

    def _assignment(self, con: duckdb.DuckDBPyConnection, assignment_id: str) -> _Known | None:
        known = self._known.get(assignment_id)
        if known is not None:
            self._known.move_to_end(assignment_id)
            return known
        row = con.execute(
            "select a.rater_id, a.segmentation_id, g.n_steps, a.pair_id is not null, coalesce(q.lease_minutes, 60), a.status_seq, "
            "a.lease_expires_at, t.assignment_id is not null "
            "from assignment a join segmentation g using (segmentation_id) left join queue q using (queue_id) "
            "left join tally t on t.assignment_id = a.assignment_id "
            "where a.assignment_id = ? limit 1",
            [assignment_id],
        ).fetchone()
        if row is None:
            return None
        known = _Known(*row)
        ids = con.execute("select event_id from rating_event where assignment_id = ?", [assignment_id]).fetchall()
        known.event_ids.update(event_id for (event_id,) in ids)
        self._known[assignment_id] = known
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _insert(self, con: duckdb.DuckDBPyConnection, fresh: list[tuple[RatingEvent, _Known]], now: datetime) -> None:
        events = [e for e, _ in fresh]
        first = self._next_seq or 1
        self._next_seq = first + len(events)
        made: dict[str, list[Any]] = {
            "server_seq": list(range(first, first + len(events))),
            "ts_client": [parse_utc(e.ts_client) if e.ts_client else None for e in events],
            "ts_server": [now] * len(events),
            "segmentation_id": [known.segmentation_id for _, known in fresh],
        }
        columns = {n: (kind, made.get(n) or [getattr(e, n) for e in events]) for n, kind in EVENT.items()}
        insert(con, "rating_event", columns)

    def _follow(
        self, con: duckdb.DuckDBPyConnection, events: list[RatingEvent], touched: dict[str, _Known], now: datetime
    ) -> None:
        """The assignment's status after its latest submit, reopen or skip (in the client's order), and its lease
        while work goes on.
        """
        latest: dict[str, RatingEvent] = {}
        for event in events:
            known = touched[event.assignment_id]
            if event.action in STATUS_OF and event.seq >= known.status_seq:
                known.status_seq = event.seq
                latest[event.assignment_id] = event
        for assignment_id, event in latest.items():
            if event.action != "skip":
                self._see_if_late(con, assignment_id, now)
            con.execute(
                "update assignment set status = ?, status_reason = ?, status_seq = ?, submitted_at = ?, "
                "updated_at = ? where assignment_id = ?",
                [
                    STATUS_OF[event.action],
                    (event.value_text or "skip") if event.action == "skip" else "",
                    event.seq,
                    now if event.action == "submit" else None,
                    now,
                    assignment_id,
                ],
            )
        for assignment_id, known in touched.items():
            lease = timedelta(minutes=known.lease_minutes)
            if known.lease_expires_at - now < lease / 2:  # not on every key press: an update costs more than an append
                self._see_if_late(con, assignment_id, now)  # not by what is remembered: an admin may have released it
                known.lease_expires_at = now + lease
                con.execute(
                    "update assignment set lease_expires_at = ?, status = if(status = 'offered', 'leased', status) "
                    "where assignment_id = ?",
                    [known.lease_expires_at, assignment_id],
                )

    def _see_if_late(self, con: duckdb.DuckDBPyConnection, assignment_id: str, now: datetime) -> None:
        """A lease may have ended, or the item been skipped, and its place been taken: the work is kept, as an extra rating."""
        from storage.queues.claims import lost_place  # which knows this module

        lasting = con.execute(
            "select 1 from assignment where assignment_id = ? and lease_expires_at >= ? and status <> 'skipped' and not late",
            [assignment_id, now],
        ).fetchone()
        if lasting:  # nobody can have taken its place; nearly all work ends so
            return
        late = lost_place(con, assignment_id, now)
        con.execute("update assignment set late = ? where assignment_id = ? and late <> ?", [late, assignment_id, late])

    def _settle(self, con: duckdb.DuckDBPyConnection, events: list[RatingEvent], touched: dict[str, _Known]) -> None:
        """Where work ended, was taken up again, or was changed after its end. A key press in between costs nothing here."""
        concerned = {e.assignment_id for e in events if e.action in STATUS_OF or touched[e.assignment_id].settled}
        if concerned:
            finished = settle(con, concerned, [a for a in concerned if touched[a].settled])
            for assignment_id in concerned:
                touched[assignment_id].settled = assignment_id in finished


def refusal(
    con: duckdb.DuckDBPyConnection, event: RatingEvent, rater_id: str, segmentation_id: str, n_steps: int, is_pair: bool
) -> str:
    """Why an event cannot be kept for an assignment of `rater_id`, of a pair or over `n_steps` steps; empty when it can."""
    if event.rater_id != rater_id:
        return f"The assignment {event.assignment_id} is not that of {event.rater_id!r}; take one of your own."
    if event.step_idx is not None and event.step_idx >= n_steps:
        return f'"step_idx" is {event.step_idx}, but the trace has {n_steps} steps, counted from 0.'
    if event.action in ("set", "clear") and (event.target == "pair") is not is_pair:
        of = 'a pair; "target" must be "pair"' if is_pair else 'a trace; "target" must be step, decision or trace'
        return f'"target" is "{event.target}", but the assignment is of {of}.'
    problem = problem_of(event)
    if problem or event.action != "set":
        return problem
    if event.dimension in ("cuts", "span"):
        return _outside(con, event, segmentation_id)
    if event.dimension == "recovered" and (event.value or 0) >= n_steps:
        return f'"value" is {event.value:g}, but the trace has {n_steps} steps, counted from 0.'
    return ""


def _outside(con: duckdb.DuckDBPyConnection, event: RatingEvent, segmentation_id: str) -> str:
    """What is wrong with cuts that do not lie strictly inside their step, or a span that leaves it; empty when nothing is."""
    start, end = con.execute(
        "select char_start, char_end from step where segmentation_id = ? and step_idx = ?",
        [segmentation_id, event.step_idx],
    ).fetchall()[0]
    if event.dimension == "span":
        first, last = offsets_of(event.value_text)
        if start <= first and last <= end:
            return ""
        return (
            f'"value_text" is {event.value_text!r}; a span of step {event.step_idx} lies inside it, from {start} to {end} '
            "(code points into the response)."
        )
    wrong = [at for at in offsets_of(event.value_text) if not start < at < end]
    if not wrong:
        return ""
    if end - start < 2:
        return f"Step {event.step_idx} has {end - start} characters, so there is no place inside it to cut."
    return (
        f'"value_text" cuts at {wrong[0]}; a cut of step {event.step_idx} lies inside it, from {start + 1} to {end - 1} '
        "(code points into the response)."
    )


def why_rejected(con: duckdb.DuckDBPyConnection, events: Sequence[RatingEvent]) -> dict[str, str]:
    """{event_id: sentence} for those events that the log would leave out."""
    rows = con.execute(
        "select a.assignment_id, a.rater_id, a.segmentation_id, g.n_steps, a.pair_id is not null from assignment a "
        "join segmentation g using (segmentation_id) "
        "where a.assignment_id in (select unnest(?::varchar[]))",
        [sorted({e.assignment_id for e in events})],
    ).fetchall()
    known = {assignment_id: tuple(of) for assignment_id, *of in rows}
    reasons = {}
    for event in events:
        if event.assignment_id not in known:
            reason = f"There is no assignment {event.assignment_id}; take the next trace first."
        else:
            reason = refusal(con, event, *known[event.assignment_id])
        if reason:
            reasons[event.event_id] = reason
    return reasons


def current_ratings(con: duckdb.DuckDBPyConnection, assignment_id: str) -> list[CurrentRating]:
    """The latest-wins view of one assignment, in the order of steps (trace-level judgements last)."""
    rows = con.execute(
        "select target, step_idx, dimension, value, value_text, seq, event_id, prelabel_visible from rating_latest "
        "where assignment_id = ? order by step_idx nulls last, target, dimension",
        [assignment_id],
    ).fetchall()
    return [CurrentRating(*row) for row in rows]


def events_of(con: duckdb.DuckDBPyConnection, assignment_id: str) -> list[RatingEvent]:
    """Every event of one assignment, in the order of commit."""
    rows = con.execute(
        "select event_id, assignment_id, rater_id, seq, action, target, step_idx, dimension, value, value_text, "
        "ts_client, input_method, "
        "dwell_ms, prelabel_visible, ui_build from rating_event where assignment_id = ? order by server_seq",
        [assignment_id],
    ).fetchall()
    return [RatingEvent(*(*row[:10], format_utc(row[10]), *row[11:])) for row in rows]


def last_seq(con: duckdb.DuckDBPyConnection) -> int:
    """The sequence number of the last event committed; 0 when there is none."""
    row = con.execute("select coalesce(max(server_seq), 0) from rating_event").fetchone()
    return int(row[0]) if row else 0


def statistics(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Figures for the Data page. `ratings` are the step ratings that count now; `judgements` are all that count now."""
    traces, steps = _one(con, "select count(*), coalesce(sum(n_steps), 0) from trace")
    in_hand = con.execute("select assignment_id from assignment where status in ('leased', 'offered')").fetchall()
    current = con.execute(
        "with latest as (select rater_id, action, dimension = 'correctness' as rates, value from rating_event "
        "where action in ('set', 'clear') and assignment_id in (select unnest($in_hand::varchar[])) "
        "qualify row_number() over (partition by assignment_id, target, segmentation_id, step_idx, dimension "
        "order by seq desc, server_seq desc) = 1), "
        "counts as (select rater_id, good, neutral, bad, unsure, judgements from tally union all by name "
        "select rater_id, count(*) filter (rates and value > 0) as good, count(*) filter (rates and value = 0) as neutral, "
        "count(*) filter (rates and value < 0) as bad, count(*) filter (rates and value is null) as unsure, "
        "count(*) as judgements from latest where action = 'set' group by rater_id) "
        "select rater_id, sum(good + neutral + bad + unsure), sum(judgements), sum(good), sum(neutral), sum(bad), sum(unsure) "
        "from counts group by rater_id having sum(judgements) > 0",
        {"in_hand": [assignment_id for (assignment_id,) in in_hand]},
    ).fetchall()
    current = [(rater, *map(int, sums)) for rater, *sums in current]
    submitted = dict(
        con.execute("select rater_id, count(*) from assignment where status = 'submitted' group by rater_id").fetchall()
    )
    by_model = con.execute(
        "select model, count(*), sum(n_steps), count(*) filter (solved), count(*) filter (solved is not null) "
        "from trace group by model order by 2 desc, 1"
    ).fetchall()
    rated = {row[0]: row[1] for row in current}
    return {
        "traces": traces,
        "steps": int(steps),
        "ratings": sum(rated.values()),
        "judgements": sum(row[2] for row in current),
        "submitted": sum(submitted.values()),
        "by_rater": [
            {"rater_id": r, "ratings": rated.get(r, 0), "submitted": submitted.get(r, 0)}
            for r in sorted({*rated, *submitted})
        ],
        "by_model": [
            {"model": m, "traces": n, "steps": int(s), "solved": ok, "checked": checked}
            for m, n, s, ok, checked in by_model
        ],
        "rating_histogram": {
            name: sum(row[i] for row in current) for i, name in enumerate(("good", "neutral", "bad", "unsure"), start=3)
        },
    }


def utc_now() -> datetime:
    """Now as a naive UTC datetime, which is what the TIMESTAMP columns hold."""
    return datetime.now(UTC).replace(tzinfo=None)


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = con.execute(sql).fetchone()
    assert row is not None  # an aggregate without GROUP BY always has one row
    return row
