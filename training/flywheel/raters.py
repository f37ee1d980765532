"""Simulated raters: the exact oracle with a chosen error rate, who take work from the store's queues and rate by events.

Their names begin with `storage.snapshots.SIMULATED`, so that a snapshot says that no person judged. What they would say of a
trace follows from the seed and the trace alone: whichever queue hands it to them, they judge it alike, and arms differ in
what they chose only.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import Any

import duckdb

from core.trace import Trace
from storage.events import RatingEvent
from storage.queues.assignments import Assignment
from storage.queues.settings import Config, Queue, save_queues
from storage.snapshots import SIMULATED
from storage.store import Store
from training.flywheel.sampled import hash_seed
from training.labels import oracle


def name_of(error: float) -> str:
    """The rater's name."""
    return f"{SIMULATED}oracle-with-{error:.0%}-errors"


def judgement(trace: Trace, error: float, seed: int) -> tuple[list[int], int]:
    """A rating a step and a verdict, +1 or −1 each; with probability `error` each is turned round, on its own."""
    rng = random.Random(f"{seed}/{trace.trace_id}")
    truth = [*oracle.label(trace), float(trace.solved is True)]
    said = [(1 if y else -1) * (-1 if rng.random() < error else 1) for y in truth]
    return said[:-1], said[-1]


def events(given: Assignment, trace: Trace, error: float, seed: int) -> list[RatingEvent]:
    """What the rater does with one assignment."""
    ratings, verdict = judgement(trace, error, seed)
    acts: list[dict[str, Any]] = [
        {"action": "set", "target": "step", "step_idx": i, "dimension": "correctness", "value": float(value)}
        for i, value in enumerate(ratings)
    ]
    acts += [
        {"action": "set", "target": "trace", "dimension": "verdict", "value": float(verdict)},
        {"action": "submit"},
    ]
    return [
        # An id that follows from the act: rated again after a kill, it is the same event.
        RatingEvent(
            str(uuid.uuid5(uuid.NAMESPACE_OID, f"{given.assignment_id}/{i}")),
            given.assignment_id,
            given.rater_id,
            i,
            **act,
        )
        for i, act in enumerate(acts)
    ]


def make_queue(store: Store, queue_id: str, sampling: str, model: str) -> None:
    """A queue over all traces of a model, one rating each."""
    queue = Queue(queue_id, queue_id, overlap=1, sampling=sampling, config=Config(model=model))
    store.write(save_queues, queue).result()


def rate(
    store: Store, queue_id: str, upto: int, *, error: float, seed: int, first: Sequence[str] = ()
) -> dict[str, int]:
    """Rate until the queue has `upto` submitted traces: the named ones first, then what its sampling hands out.

    Returns how many came by which rule of the sampling. Raises ValueError when the queue has no more.
    """
    rater = name_of(error)
    store.add_rater(rater, f"Simulated rater (oracle, {error:.0%} errors)").result()
    done = _submitted(store, queue_id)
    named = iter([trace_id for trace_id in first if trace_id not in done])
    while len(done) < upto:
        _fix_chance(store, hash_seed(seed, queue_id, len(done)))
        trace_id = next(named, None)
        given = store.open_assignment(rater, trace_id, queue_id) if trace_id else store.next_assignment(rater, queue_id)
        if given is None:
            raise ValueError(f"the queue {queue_id} has {len(done)} traces to rate, and {upto} were asked for")
        trace = store.trace(given.trace_id)
        assert trace is not None
        acts = events(given, trace, error, seed)
        kept = store.add_rating_events(acts).result()
        if len(kept) != len(acts):
            raise RuntimeError("; ".join(store.why_rejected(acts).values()))
        done.add(given.trace_id)
    return dict(
        store.query(
            "select sampled_by, count(*) from assignment where queue_id = ? and status = 'submitted' group by all order by all",
            [queue_id],
        )
    )


def _submitted(store: Store, queue_id: str) -> set[str]:
    rows = store.query("select trace_id from assignment where queue_id = ? and status = 'submitted'", [queue_id])
    return {row[0] for row in rows}


def _fix_chance(store: Store, seed: int) -> None:
    """The store draws by Python's and by DuckDB's generator, on this thread and on the one that writes: seed them all."""

    def fix(con: duckdb.DuckDBPyConnection, items: Sequence[Any]) -> list[None]:
        con.execute("select setseed(?)", [seed / 2**62])
        return [None] * len(items)

    random.seed(seed)
    store.read(lambda con: fix(con, [None]))
    store.write(fix, None).result()
