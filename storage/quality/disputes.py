"""Where raters differ: the units with the widest spread of votes, and one of them looked at closely.

Adjudicators do not see who said what: raters are letters, dealt anew for every unit, so that nobody can be followed from one to
the next. Who it was is in the history, for researchers. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from storage.events import format_utc
from storage.quality.votes import VOTE, Judged, params

MOST = 2000  # units kept of a queue, the widest first: weeks of adjudication
PROMPT_CHARS = 200
# What a rater says beside the judgement itself, and belongs next to it.
BESIDE = ("error_type", "severity", "rationale", "better", "recovered", "span", "note")


@dataclass(frozen=True)
class Dispute:
    """A unit on which votes differ. votes: how many gave each value of the scale, in its order; unsure: how many neither."""

    item_id: str
    segmentation_id: str
    step_idx: int | None
    votes: tuple[int, ...]
    unsure: int
    spread: float
    prompt: str


@dataclass(frozen=True)
class Disputes:
    """The widest first. n: how many units are disputed, of `n_units` judged by two or more."""

    n: int
    n_units: int
    rows: tuple[Dispute, ...]


def disputes(con: duckdb.DuckDBPyConnection, queue_id: str, judged: Judged) -> Disputes:
    """Sorted by spread, then by how evenly the votes are split, then by trace and step."""
    counts = ", ".join(f"count(*) filter (value = {v:g})" for v in judged.scale)
    found = con.execute(
        f"""{VOTE}, unit as (
            select coalesce(pair_id, trace_id) as item_id, any_value(trace_id) as trace_id, segmentation_id, step_idx,
                [{counts}] as votes, count(*) filter (value is null) as unsure, count(value) as n,
                max(value) - min(value) as spread, stddev_pop(value) as wide
            from vote group by coalesce(pair_id, trace_id), segmentation_id, step_idx having count(value) > 1)
        select item_id, segmentation_id, step_idx, votes, unsure, spread, left(t.prompt, {PROMPT_CHARS}),
            (select count(*) from unit where spread > 0), (select count(*) from unit)
        from (select * from unit where spread > 0 order by spread desc, wide desc, item_id, step_idx limit {MOST})
        join trace t using (trace_id) order by spread desc, wide desc, item_id, step_idx""",
        params(queue_id, judged),
    ).fetchall()
    if not found:
        n_units = con.execute(
            f"{VOTE} select count(*) from (select 1 from vote where value is not null group by item, step_idx having count(*) > 1)",
            params(queue_id, judged),
        ).fetchall()[0][0]
        return Disputes(0, n_units, ())
    rows = [
        Dispute(item, segmentation, step, tuple(votes), unsure, spread, prompt)
        for item, segmentation, step, votes, unsure, spread, prompt, _, _ in found
    ]
    return Disputes(found[0][7], found[0][8], tuple(rows))


@dataclass(frozen=True)
class Opinion:
    """What one rater, as a letter, said of a unit, and what stands beside it. changes: how often they changed their mind."""

    rater: str
    value: float | None
    value_text: str | None
    beside: dict[str, Any]
    dwell_ms: int
    changes: int


def opinions(
    con: duckdb.DuckDBPyConnection, queue_id: str, item_id: str, step_idx: int | None, judged: Judged
) -> list[Opinion]:
    """Every submitted judgement of one unit, in the order of the letters, which tells nothing of the raters."""
    events = _events(con, queue_id, item_id, step_idx)
    letters = _letters(events, item_id, step_idx)
    found = []
    for assignment_id in {e.assignment_id for e in events if e.status == "submitted"}:
        mine = [e for e in events if e.assignment_id == assignment_id]
        latest = {e.dimension: e for e in mine if e.action in ("set", "clear")}
        main = latest.get(judged.dimension)
        if main is None or main.action == "clear":
            continue
        beside = {
            name: latest[name].value_text if latest[name].value is None else latest[name].value
            for name in BESIDE
            if name in latest and latest[name].action == "set"
        }
        remarks = [e.value_text for e in mine if e.action == "comment" and e.value_text]
        if remarks:
            beside["comment"] = remarks[-1]
        own = [e for e in mine if e.dimension == judged.dimension and e.action == "set"]
        # Between the last judgement and the submission somebody looks at the whole, not at each of its steps.
        spent = [e for e in mine if step_idx is None or e.action in ("set", "clear", "comment")]
        dwell_ms = sum(e.dwell_ms or 0 for e in spent)
        found.append(Opinion(letters[main.rater], main.value, main.value_text, beside, dwell_ms, len(own) - 1))
    return sorted(found, key=lambda o: (len(o.rater), o.rater))


@dataclass(frozen=True)
class LabelEvent:
    """One act on one label. rater: a name, or a letter where names are hidden."""

    event_id: str
    assignment_id: str
    queue_id: str
    rater: str
    status: str
    action: str
    dimension: str
    value: float | None
    value_text: str | None
    at: str
    input_method: str
    dwell_ms: int | None
    prelabel_visible: bool


def history(
    con: duckdb.DuckDBPyConnection, queue_id: str | None, item_id: str, step_idx: int | None, *, names: bool
) -> list[LabelEvent]:
    """Everything that was ever done to one unit, whatever came of it, in the order of commit. queue_id None: in any queue;
    names False: letters.
    """
    events = _events(con, queue_id, item_id, step_idx)
    if names:
        return events
    letters = _letters(events, item_id, step_idx)
    return [replace(e, assignment_id="", rater=letters[e.rater]) for e in events]


def _letters(events: Sequence[LabelEvent], item_id: str, step_idx: int | None) -> dict[str, str]:
    """A letter for each rater of a unit, the same in the opinions and in the history. Dealt by the ids of their assignments,
    which nobody is told who is not told the names: whoever knows who rates could work out a hash of names.
    """
    first: dict[str, str] = {}
    for event in events:
        first[event.rater] = min(event.assignment_id, first.get(event.rater, event.assignment_id))
    dealt = sorted(first, key=lambda r: hashlib.sha256(f"{item_id} {step_idx} {first[r]}".encode()).digest())
    return {rater: _letter(i) for i, rater in enumerate(dealt)}


def _events(
    con: duckdb.DuckDBPyConnection, queue_id: str | None, item_id: str, step_idx: int | None
) -> list[LabelEvent]:
    rows = con.execute(
        "select e.event_id, assignment_id, a.queue_id, a.rater_id, a.status, e.action, e.dimension, e.value, e.value_text, "
        "e.ts_server, e.input_method, e.dwell_ms, e.prelabel_visible from rating_event e join assignment a using (assignment_id) "
        "where ($queue is null or a.queue_id = $queue) and coalesce(a.pair_id, a.trace_id) = $item and e.assignment_id in ("
        "select assignment_id from assignment where ($queue is null or queue_id = $queue) "
        "and coalesce(pair_id, trace_id) = $item) "
        "and (e.step_idx is not distinct from $step::integer or e.action in ('submit', 'reopen', 'skip')) order by e.server_seq",
        {"queue": queue_id, "item": item_id, "step": step_idx},
    ).fetchall()
    return [
        LabelEvent(event_id, assignment_id, queue, rater, status, action, dimension, value, text, format_utc(at), *rest)
        for event_id, assignment_id, queue, rater, status, action, dimension, value, text, at, *rest in rows
    ]


def _letter(i: int) -> str:
    return "Rater " + (chr(65 + i) if i < 26 else str(i + 1))
