"""Gold: items whose right judgement is known. Making them, handing them out unseen among the others, scoring the answers.

Screening items come before anything else of a queue, gold items among the rest at the queue's `gold_share`; raters are never
told which is which before they have submitted. What is scored is the *first* submission: the answer is shown afterwards, and
a rater may then reopen and mend. Whether somebody may go on is decided when they ask for work, on the writer thread, and
written down as their standing; so a figure that falls after a submission cannot be missed and needs no timer. `OnHold` is a
sentence for the rater. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from storage.clock import later_than_all
from storage.errors import StoreError
from storage.events import DIMENSIONS, UNSURE, VALUES, format_utc
from storage.queues.settings import Item, Queue, need_queue
from storage.ratings import utc_now

KINDS = ("gold", "screening")
STATES = ("paused", "passed", "open")
# Judgements that can be right or wrong. Not: remarks, corrections of the tree, where exactly an error stands in its step.
SCORED = {
    "step": ("correctness", "first_error"),
    "decision": DIMENSIONS["decision"],
    "trace": ("verdict",),
    "pair": ("preference",),
}
MOST_FEEDBACK = 4000  # characters
MOST_ANSWERS = 10_000


class OnHold(StoreError):
    """No work for this rater now; the message is a sentence for them. standing: what is to be written down of it: the
    claim it was raised in is rolled back.
    """

    def __init__(self, sentence: str, standing: Standing | None = None) -> None:
        super().__init__(sentence)
        self.standing = standing


@dataclass(frozen=True)
class Answer:
    """One judgement that is right. Values as in storage/events.py, of a pair in its canonical order."""

    target: str
    step_idx: int | None
    dimension: str
    value: float | None
    value_text: str | None = None

    @property
    def place(self) -> tuple[str, int | None, str]:
        return self.target, self.step_idx, self.dimension


@dataclass(frozen=True)
class Gold:
    """item_id: a trace, or a pair. feedback: what a rater reads afterwards. active False ends it; answers given stay scored."""

    queue_id: str
    item_id: str
    kind: str
    answers: tuple[Answer, ...]
    feedback: str
    active: bool
    created_by: str
    created_at: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "answers": [asdict(answer) for answer in self.answers]}


@dataclass(frozen=True)
class Compared:
    """What was given beside what is right; given None with no text: nothing."""

    target: str
    step_idx: int | None
    dimension: str
    expected: float | None
    expected_text: str | None
    given: float | None
    given_text: str | None
    right: bool


@dataclass(frozen=True)
class Score:
    """One rater's first submission of one gold item. share: of its judgements, how many were right, 0 to 1."""

    assignment_id: str
    rater_id: str
    item_id: str
    kind: str
    submitted_at: datetime
    feedback: str
    compared: tuple[Compared, ...]

    @property
    def right(self) -> int:
        return sum(one.right for one in self.compared)

    @property
    def share(self) -> float:
        return self.right / len(self.compared) if self.compared else 1.0


@dataclass(frozen=True)
class Standing:
    """Whether a rater may go on in a queue. state: paused, passed (the screening) or open (let in again by an admin)."""

    rater_id: str
    queue_id: str
    state: str
    reason: str
    set_by: str
    set_at: datetime


# ---------------------------------------------------------------- making gold


def add_gold(con: duckdb.DuckDBPyConnection, items: Sequence[Gold]) -> list[Gold]:
    """Writer's operation: append each, so that the latest of an item counts. Raises StoreError naming the field."""
    kept = []
    for item in items:
        check(con, item)
        now = later_than_all(con, "gold")
        con.execute(
            "insert into gold (queue_id, item_id, kind, answers, feedback, active, created_by, created_at) "
            "values (?, ?, ?, ?, ?, ?, ?, ?)",
            [item.queue_id, item.item_id, item.kind, json.dumps([asdict(a) for a in item.answers]), item.feedback.strip(),
             item.active, item.created_by, now],
        )  # fmt: skip
        kept.append(replace(item, created_at=format_utc(now)))
    return kept


def check(con: duckdb.DuckDBPyConnection, item: Gold) -> None:
    """Raises StoreError with a sentence."""
    queue = need_queue(con, item.queue_id)
    if item.kind not in KINDS:
        raise StoreError(f'"kind" is {item.kind[:60]!r}; it must be one of {", ".join(KINDS)}.')
    if len(item.feedback) > MOST_FEEDBACK:
        raise StoreError(f'"feedback" has {len(item.feedback)} characters; at most {MOST_FEEDBACK} are kept.')
    n_steps = _steps_of(con, queue, item.item_id)
    if not item.answers:
        raise StoreError('"answers" is empty: nothing in it was judged, so nobody could be right. Rate the item first.')
    if len(item.answers) > MOST_ANSWERS:
        raise StoreError(f'"answers" has {len(item.answers)} entries; at most {MOST_ANSWERS} are kept.')
    for answer in item.answers:
        if answer.dimension not in SCORED.get(answer.target, ()):
            raise StoreError(f'"answers" holds {answer.target} {answer.dimension!r}, which cannot be right or wrong.')
        allowed = VALUES[answer.dimension]
        if answer.value not in allowed and not (answer.value is None and answer.value_text):
            raise StoreError(f'"answers" holds {answer.value!r} for {answer.dimension}; it takes {allowed}.')
        if (
            answer.target in ("step", "decision")
            and not 0 <= (answer.step_idx if answer.step_idx is not None else -1) < n_steps
        ):
            raise StoreError(
                f'"answers" names step {answer.step_idx}, but the trace has {n_steps} steps, counted from 0.'
            )


def _steps_of(con: duckdb.DuckDBPyConnection, queue: Queue, item_id: str) -> int:
    if queue.unit == "pair":
        row = con.execute("select 0 from pair where queue_id = ? and pair_id = ?", [queue.queue_id, item_id]).fetchone()
    else:
        row = con.execute("select n_steps from segmentation where trace_id = ? limit 1", [item_id]).fetchone()
    if row is None:
        raise StoreError(f'There is no {queue.unit} "{item_id[:100]}" in the queue {queue.title!r}.')
    return int(row[0])


def answers_of_assignment(con: duckdb.DuckDBPyConnection, assignment_id: str) -> tuple[Answer, ...]:
    """What one rater said of an item, as the right answer: what they were unsure of is left out."""
    rows = con.execute(
        "select target, step_idx, dimension, value, value_text from rating_latest where assignment_id = ? "
        "order by step_idx nulls last, target, dimension",
        [assignment_id],
    ).fetchall()
    return _answers(rows)


def answers_adjudicated(con: duckdb.DuckDBPyConnection, queue_id: str, item_id: str) -> tuple[Answer, ...]:
    """What was adjudicated of an item, and beside it what two raters or more agree on without exception."""
    rows = con.execute(
        """
with decided as (
    select target, step_idx, dimension, value, value_text from adjudication_current
    where queue_id = $queue and coalesce(pair_id, trace_id) = $item),
agreed as (
    select s.target, s.step_idx, s.dimension, any_value(s.value) as value, any_value(s.value_text) as value_text
    from settled s join assignment a using (assignment_id)
    where a.queue_id = $queue and coalesce(a.pair_id, a.trace_id) = $item and a.status = 'submitted' and s.value is not null
    group by all having count(*) > 1 and min(s.value) = max(s.value))
select * from decided union all by name select * from agreed a anti join decided d
    on a.target = d.target and a.step_idx is not distinct from d.step_idx and a.dimension = d.dimension
order by step_idx nulls last, target, dimension""",
        {"queue": queue_id, "item": item_id},
    ).fetchall()
    return _answers(rows)


def _answers(rows: Sequence[tuple[Any, ...]]) -> tuple[Answer, ...]:
    return tuple(Answer(*row) for row in rows if row[2] in SCORED.get(row[0], ()) and row[4] != UNSURE)


def read_gold(con: duckdb.DuckDBPyConnection, queue_id: str) -> list[Gold]:
    """The gold and screening items of a queue that count now, oldest first; of each the latest row."""
    return [item for item in _golds(con, queue_id) if item.active]


def _golds(con: duckdb.DuckDBPyConnection, queue_id: str) -> list[Gold]:
    rows = con.execute(
        "select queue_id, item_id, kind, answers, feedback, active, created_by, created_at from gold where queue_id = ? "
        "qualify row_number() over (partition by item_id order by created_at desc, rowid desc) = 1 order by created_at, item_id",
        [queue_id],
    ).fetchall()
    return [
        Gold(queue, item, kind, tuple(Answer(**a) for a in json.loads(answers)), feedback, active, by, format_utc(at))
        for queue, item, kind, answers, feedback, active, by, at in rows
    ]


# ---------------------------------------------------------------- handing it out


def gold_for(
    con: duckdb.DuckDBPyConnection, rater_id: str, queue: Queue, now: datetime, items: Sequence[Gold] | None = None,
    standings: Mapping[str, Standing] | None = None,
) -> Item | None:  # fmt: skip
    """On the writer thread, before ordinary sampling: the screening or gold item that is this rater's next, or None. `items`
    and `standings` (by rater) are those of the queue, where they are known.

    Raises OnHold with a sentence: the rater is paused, or is to be, or their screening is not finished yet.
    """
    items = read_gold(con, queue.queue_id) if items is None else items
    # With gold a claim itself may have written a standing since: a screening that is passed.
    if items or standings is None:
        standing = standing_of(con, rater_id, queue.queue_id)
    else:
        standing = standings.get(rater_id)
    if standing is not None and standing.state == "paused":
        raise OnHold(standing.reason)
    if not items:
        return None
    had = _had(con, rater_id, queue.queue_id, now)
    # What a rater had before it became a screening item says nothing of them, and cannot be handed out to them again.
    screening = [
        i for i in items if i.kind == "screening" and (i.item_id not in had or had[i.item_id].kind == "screening")
    ]
    # Who was let in by an admin, or passed, is not screened again when a screening item is added later.
    if screening and standing is None:
        for item in screening:
            if item.item_id not in had:
                return _item(con, queue, item, rater_id)
        if any(had[item.item_id].status in ("leased", "offered") for item in screening):
            raise OnHold("Your first traces of this queue are looked at before you go on; submit the one in hand.")
        _judge(con, rater_id, queue, "screening", 1)
    _judge(con, rater_id, queue, "gold", queue.config.pause_after)
    fresh = [item for item in items if item.kind == "gold" and item.item_id not in had]
    # Drawn anew for each item a rater gets, but the same however often the claim is repeated: nothing to be seen through.
    if fresh and random.Random(f"{queue.queue_id} {rater_id} {len(had)}").random() < queue.gold_share:
        return _item(con, queue, min(fresh, key=lambda item: _mixed(rater_id, item.item_id)), rater_id)
    return None


def _judge(con: duckdb.DuckDBPyConnection, rater_id: str, queue: Queue, kind: str, least: int) -> None:
    """Write down that a screening is passed, where that is due; raises OnHold where a pause is."""
    if kind == "gold" and not queue.config.pause_below:
        return
    found = accuracy(con, queue, rater_id, kind)
    if len(found) < least and kind == "gold":
        return
    share = sum(found) / len(found) if found else 0.0
    if share >= queue.config.pause_below:
        if kind == "screening":
            reason = f"Passed the screening with {100 * share:.0f} %."
            set_standing(con, [Standing(rater_id, queue.queue_id, "passed", reason, "", utc_now())])
        return
    last = "item" if len(found) == 1 else f"{len(found)} items"
    of = "the screening" if kind == "screening" else f"the last {last} whose answer is known"
    reason = (
        f"You are paused in this queue: {100 * share:.0f} % of your judgements on {of} were right, and {100 * queue.config.pause_below:.0f} % are "
        "needed. Nothing of your work is lost. Read the guidelines again, then ask an admin to let you go on."
    )
    raise OnHold(reason, Standing(rater_id, queue.queue_id, "paused", reason, "", utc_now()))


def accuracy(con: duckdb.DuckDBPyConnection, queue: Queue, rater_id: str, kind: str) -> list[float]:
    """The share of right judgements in each item that counts now, oldest first: of the screening all, of gold the last
    `pause_after`, and none from before an admin let the rater in again.
    """
    since = standing_of(con, rater_id, queue.queue_id)
    found = [
        score.share
        for score in scores(con, queue.queue_id, rater_id)
        if score.kind == kind and (since is None or score.submitted_at > since.set_at)
    ]
    return found if kind == "screening" else found[-queue.config.pause_after :]


class _Had(NamedTuple):
    """What became of an item, and as what it was handed out: gold, screening or "" (as any other)."""

    status: str
    kind: str


def _had(con: duckdb.DuckDBPyConnection, rater_id: str, queue_id: str, now: datetime) -> dict[str, _Had]:
    """What a rater has or had, by item; not what was fetched ahead and lapsed unseen."""
    rows = con.execute(
        "select coalesce(pair_id, trace_id), status, coalesce(gold, '') from assignment where queue_id = ? and rater_id = ? "
        "and (status <> 'offered' or lease_expires_at > ?)",
        [queue_id, rater_id, now],
    ).fetchall()
    return {item_id: _Had(status, kind) for item_id, status, kind in rows}


def _item(con: duckdb.DuckDBPyConnection, queue: Queue, gold: Gold, rater_id: str) -> Item:
    if queue.unit == "pair":
        sql = "select trace_id, segmentation_id from pair join segmentation on trace_id = left_trace_id where pair_id = ? limit 1"
        trace_id, segmentation_id = con.execute(sql, [gold.item_id]).fetchall()[0]
        swapped = _mixed(rater_id, gold.item_id)[0] in "01234567"
        return Item(trace_id, segmentation_id, gold.kind, pair_id=gold.item_id, swapped=swapped, gold=gold.kind)
    sql = "select trace_id, segmentation_id from segmentation where trace_id = ? limit 1"
    trace_id, segmentation_id = con.execute(sql, [gold.item_id]).fetchall()[0]
    return Item(trace_id, segmentation_id, gold.kind, gold=gold.kind)


def _mixed(rater_id: str, item_id: str) -> str:
    """An order of items that is another one for each rater, and always the same."""
    return hashlib.sha256(f"{rater_id} {item_id}".encode()).hexdigest()


# ---------------------------------------------------------------- scoring and standing


def scores(
    con: duckdb.DuckDBPyConnection, queue_id: str, rater_id: str | None = None, assignment_id: str | None = None
) -> list[Score]:
    """The answers to gold and screening items of a queue, as they were first submitted, in that order; of one rater or one
    assignment only where it is named.
    """
    which = "queue_id = $queue and gold is not null and coalesce(rater_id = $rater, true) and coalesce(assignment_id = $one, true)"
    rows = con.execute(
        f"""
with asked as (
    select assignment_id, rater_id, coalesce(pair_id, trace_id) as item_id, gold from assignment where {which}),
ev as (select * from rating_event where assignment_id in (select assignment_id from asked)),
first as (
    select assignment_id, min(server_seq) as upto, min(ts_server) as submitted_at from ev where action = 'submit' group by all),
given as (
    select ev.* from ev join first using (assignment_id) where server_seq <= upto and action in ('set', 'clear')
    qualify row_number() over (
        partition by assignment_id, target, step_idx, dimension order by seq desc, server_seq desc) = 1)
select assignment_id, rater_id, item_id, gold, submitted_at, list((target, step_idx, dimension, value, value_text)) filter (action = 'set')
from asked join first using (assignment_id)
left join (select assignment_id, action, target, step_idx, dimension, value, value_text from given) using (assignment_id)
group by all order by submitted_at, assignment_id""",
        {"queue": queue_id, "rater": rater_id, "one": assignment_id},
    ).fetchall()
    known = {item.item_id: item for item in _golds(con, queue_id)} if rows else {}
    found = []
    for one, rater, item_id, kind, at, given in rows:
        if item_id in known:  # always, but for a row of gold that somebody removed by hand
            item = known[item_id]
            found.append(Score(one, rater, item_id, kind, at, item.feedback, _compare(item.answers, given or ())))
    return found


def _compare(answers: Sequence[Answer], given: Sequence[tuple[Any, ...]]) -> tuple[Compared, ...]:
    """Every answer beside what was given. Steps after the rater's own first error were not asked of them, and do not count."""
    said = {tuple(row[:3]): row[3:] for row in given}
    own_error = min((row[1] for row in given if row[2] == "first_error"), default=None)
    found = []
    for answer in answers:
        value, text = said.get(answer.place, (None, None))
        given_nothing = value is None and text is None
        later = own_error is not None and answer.step_idx is not None and answer.step_idx > own_error
        if given_nothing and later and answer.dimension != "first_error":
            continue
        right = not given_nothing and value == answer.value and (value is not None or text == answer.value_text)
        found.append(Compared(*answer.place, answer.value, answer.value_text, value, text, right))
    return tuple(found)


def standing_of(con: duckdb.DuckDBPyConnection, rater_id: str, queue_id: str) -> Standing | None:
    """The latest; None while nothing was ever said of this rater in this queue."""
    found = _standings(con, "queue_id = ? and rater_id = ?", [queue_id, rater_id])
    return found[0] if found else None


def standings(con: duckdb.DuckDBPyConnection, queue_id: str) -> list[Standing]:
    """The latest of each rater in a queue."""
    return _standings(con, "queue_id = ?", [queue_id])


def _standings(con: duckdb.DuckDBPyConnection, where: str, values: list[str]) -> list[Standing]:
    # By the order in which they were written, not by the clock: it may have been set back since a pause.
    rows = con.execute(
        f"select rater_id, queue_id, state, reason, set_by, set_at from standing where {where} "
        "qualify row_number() over (partition by rater_id order by rowid desc) = 1 order by rater_id",
        values,
    ).fetchall()
    return [Standing(*row) for row in rows]


def set_standing(con: duckdb.DuckDBPyConnection, rows: Sequence[Standing]) -> list[Standing]:
    """Writer's operation: append each; `set_at` becomes now. Raises StoreError for a state, queue or rater not known."""
    kept = []
    for row in rows:
        if row.state not in STATES:
            raise StoreError(f'"state" is {row.state[:60]!r}; it must be one of {", ".join(STATES)}.')
        need_queue(con, row.queue_id)
        if con.execute("select 1 from rater where rater_id = ?", [row.rater_id]).fetchone() is None:
            raise StoreError(f'There is no rater "{row.rater_id[:100]}".')
        if len(row.reason) > MOST_FEEDBACK:
            raise StoreError(f'"reason" has {len(row.reason)} characters; at most {MOST_FEEDBACK} are kept.')
        now = utc_now()
        con.execute(
            "insert into standing (rater_id, queue_id, state, reason, set_by, set_at) values (?, ?, ?, ?, ?, ?)",
            [row.rater_id, row.queue_id, row.state, row.reason, row.set_by, now],
        )
        kept.append(replace(row, set_at=now))
    return kept
