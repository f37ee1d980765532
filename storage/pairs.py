"""Pairs: two answers to one question, compared by people who do not know whose they are.

A pair is stored in canonical order (the earlier trace is "left", whoever made the pair), and judgements count in that
order. On which side a trace was shown is in the assignment: `swapped` says that the right one stood on the left. The first
side of a pair is a hash of its id, and every further rater sees it the other way round, so that over an even number of
raters a liking for one side of the screen cancels out; how large it is can be read off (`position_bias`).

Which pairs are made is in `pairing.py`, what raters think of them in `verdicts.py`. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb

from storage import rubrics
from storage.database import insert
from storage.errors import StoreError
from storage.events import format_utc, parse_utc
from storage.queues.pair_items import pair_items, pairs_open_to
from storage.queues.settings import Item, Queue, read_queue, save_queues
from storage.sampling import drawn
from storage.sampling.base import Slice

DEFAULT_PAIR_QUEUE = "pairs"
PAIR_RUBRIC = ("pairs", 1)
PAIR_GUIDELINES = """Read both to the end, then say which you would rather have, and by how much: **much**, **clearly** or **slightly**.

* What counts most is that the steps are true. A right answer reached by wrong steps is worth less than it looks.
* Turning back is no fault: a search that leaves a dead end in time is better than one that walks on in it.
* Longer is not better. Nor is shorter.

**Tie**: both are as good. **Both bad**: you would want neither. **Unsure**: you cannot tell.

Each criterion is judged by itself; it may point the other way."""
PAIR_CRITERIA = (
    ("correct", "Steps are true"),
    ("search", "Explores and turns back well"),
    ("clear", "Easy to follow"),
)


@dataclass(frozen=True)
class Pair:
    """left and right in canonical order. shared_steps: how many first steps both have, byte for byte. source: how it came
    to be a pair (a policy of `pairing.py`).
    """

    pair_id: str
    queue_id: str
    problem_id: str
    left_trace_id: str
    right_trace_id: str
    shared_steps: int
    source: str
    created_at: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def canonical(a: str, b: str) -> tuple[str, str]:
    """Two trace ids in the order in which a pair holds them: ids sort by the time at which they were made."""
    return (a, b) if a < b else (b, a)


def flipped(value: float | None, swapped: bool) -> float | None:
    """A strength as it was shown in canonical order, or the other way round: it is its own inverse."""
    return 0 - value if value is not None and swapped else value


def side(pair_id: str, earlier: int) -> bool:
    """Whether the `earlier`-th rater of a pair (counted from 0) sees it swapped."""
    return (hashlib.sha256(pair_id.encode()).digest()[0] + earlier) % 2 == 1


# ---- keeping and reading


def set_up_pairs(con: duckdb.DuckDBPyConnection, calls: Sequence[None]) -> list[None]:
    """Writer's operation: the standard queue of pairs and its rubric, where they are not there yet."""
    if rubrics.read_rubric(con, *PAIR_RUBRIC) is None:
        asked = rubrics.Questions(criteria=PAIR_CRITERIA)
        rubrics.add_versions(con, [rubrics.Rubric(*PAIR_RUBRIC, PAIR_GUIDELINES, asked)])
    if read_queue(con, DEFAULT_PAIR_QUEUE) is None:
        rubric_id, version = PAIR_RUBRIC
        save_queues(con, [Queue(DEFAULT_PAIR_QUEUE, "Pairs", "pair", rubric_id=rubric_id, rubric_version=version)])
    return [None] * len(calls)


def add_pairs(con: duckdb.DuckDBPyConnection, calls: Sequence[Sequence[Pair]]) -> list[int]:
    """Writer's operation: how many of each call's pairs are new. A queue holds two traces as a pair once."""
    made = []
    for pairs in calls:
        fresh = _new(con, pairs)
        made.append(len(fresh))
        if fresh:
            texts = ("pair_id", "queue_id", "problem_id", "left_trace_id", "right_trace_id", "source")
            insert(
                con,
                "pair",
                {
                    **{name: ("varchar", [getattr(p, name) for p in fresh]) for name in texts},
                    "shared_steps": ("integer", [p.shared_steps for p in fresh]),
                    "created_at": ("timestamp", [parse_utc(p.created_at) for p in fresh]),
                },
            )
    return made


def count_new(con: duckdb.DuckDBPyConnection, pairs: Sequence[Pair]) -> int:
    """How many `add_pairs` would add."""
    return len(_new(con, pairs))


def _new(con: duckdb.DuckDBPyConnection, pairs: Sequence[Pair]) -> list[Pair]:
    distinct = {(p.queue_id, p.left_trace_id, p.right_trace_id): p for p in pairs}
    known = con.execute(
        "select queue_id, left_trace_id, right_trace_id from pair where queue_id in (select unnest(?::varchar[]))",
        [sorted({p.queue_id for p in pairs})],
    ).fetchall()
    for row in known:
        distinct.pop(row, None)
    return list(distinct.values())


_PAIR = (
    "select pair_id, queue_id, problem_id, left_trace_id, right_trace_id, shared_steps, source, created_at from pair "
)


def read_pair(con: duckdb.DuckDBPyConnection, pair_id: str) -> Pair | None:
    rows = _pairs(con, "where pair_id = ? limit 1", [pair_id])
    return rows[0] if rows else None


def read_pairs(con: duckdb.DuckDBPyConnection, queue_id: str, *, limit: int, after: str = "") -> list[Pair]:
    """A page of a queue's pairs, newest first; `after` is the pair_id of the last row of the page before."""
    older = "and (? = '' or pair_id < ?)"
    return _pairs(con, f"where queue_id = ? {older} order by pair_id desc limit ?", [queue_id, after, after, limit])


def _pairs(con: duckdb.DuckDBPyConnection, where: str, params: list[Any]) -> list[Pair]:
    return [Pair(*(*row[:7], format_utc(row[7]))) for row in con.execute(_PAIR + where, params).fetchall()]


# ---- handing out


def next_pair(
    con: duckdb.DuckDBPyConnection,
    queue: Queue,
    rater_id: str,
    now: datetime,
    rankings: Mapping[str, Sequence[str]],
    draw: float,
) -> Item | None:
    """The next pair for a rater, and on which side they see what; None when nothing is left. On the writer's thread.
    rankings and draw: as in `storage.queues.claims.Claim`.
    """
    for part in drawn(queue, draw):
        ranked = rankings.get(part.sampled_by) if part.rank else None
        if part.rank and not ranked:
            continue
        pair_id = _first(con, queue, rater_id, now, part, ranked)
        if pair_id is not None:
            return pair_item(con, queue.queue_id, pair_id, part.sampled_by)
        if not part.rank:
            return None  # an ordering passes over nothing: there is no open pair
    return None


def _first(
    con: duckdb.DuckDBPyConnection,
    queue: Queue,
    rater_id: str,
    now: datetime,
    part: Slice,
    ranked: Sequence[str] | None,
) -> str | None:
    sql, params = pairs_open_to(queue, rater_id, now, facts=bool(part.stratum))
    order = part.order
    if ranked is not None:
        sql = f"select * from ({sql}) join (select unnest($ids::varchar[]) as pair_id, unnest(range(len($ids))) as place) using (pair_id)"
        params, order = {**params, "ids": list(ranked)}, "place"
    elif part.stratum:
        of_all = pair_items(queue, facts=True)[0]
        sql = (
            f"with balance as (select {part.stratum} as stratum, sum(taken) as done from ({of_all}) group by all) "
            f"select * from (select *, {part.stratum} as stratum from ({sql})) join balance using (stratum)"
        )
    row = con.execute(f"select pair_id from ({sql}) order by {order} limit 1", params).fetchone()
    return None if row is None else row[0]


def pair_item(con: duckdb.DuckDBPyConnection, queue_id: str, pair_id: str, sampled_by: str) -> Item:
    """A pair as something to hand out. Raises StoreError when there is no such pair."""
    row = con.execute(
        "select p.left_trace_id, g.segmentation_id, (select count(*) from slot where queue_id = ? and item_id = ?) "
        "from pair p join segmentation g on g.trace_id = p.left_trace_id where p.pair_id = ? limit 1",
        [queue_id, pair_id, pair_id],
    ).fetchone()
    if row is None:
        raise StoreError(f"There is no pair {pair_id!r} to compare.")
    return Item(row[0], row[1], sampled_by, pair_id=pair_id, swapped=side(pair_id, row[2]))
