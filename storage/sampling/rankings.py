"""The rankings of queues, computed beside the thread that writes, and kept for a while.

A ranking reads all scores, or all ratings, of a queue: a third of a second at a million. A claim must not wait for that, nor
may the commits behind it; it takes the first of the ranked that is still open to the rater, which it sees to itself. In a
large queue the same goes for an ordering, which passes over every trace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import duckdb

from storage.queues.settings import Queue
from storage.sampling import order_of
from storage.sampling.base import Slice
from storage.sampling.shortlist import shortlist

# A ranking is kept for so many times what it cost: at most 1 % of a core goes into them, and in a small store they are fresh.
KEPT_TIMES = 100

Read = Callable[[Callable[[duckdb.DuckDBPyConnection], dict[str, tuple[str, ...]]]], dict[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Ranking:
    """For each slice of a queue that is ranked, or of a large queue (by its `sampled_by`): ids of traces or pairs, the best first."""

    of: Queue
    until: float
    lists: dict[str, tuple[str, ...]]

    @property
    def lacking(self) -> str:
        """The sentence when the strategy has nothing to go by; empty when it has, or needs nothing."""
        ranked = [s.sampled_by for s in order_of(self.of).slices(self.of) if s.rank]
        return order_of(self.of).lacking if ranked and not any(self.lists.get(name) for name in ranked) else ""


class Rankings:
    """The latest ranking of each queue. Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, Ranking] = {}
        self._lock = threading.Lock()

    def of(self, queue: Queue, read: Read) -> Ranking:
        """The ranking of a queue as it is set now, new or a while old. `read` is the store's."""
        slices = [s for s in order_of(queue).slices(queue) if s.rank or queue.unit == "trace"]
        if not slices:
            return Ranking(queue, 0.0, {})
        kept = self._kept.get(queue.queue_id)
        lately = kept is not None and kept.of == queue
        if not self._lock.acquire(blocking=not lately):
            assert kept is not None
            return kept  # another thread makes the next one: the last is good for as long as that takes
        try:
            kept = self._kept.get(queue.queue_id)
            began = self._clock()
            if kept is None or kept.of != queue or began > kept.until:
                lists = read(
                    lambda con: {s.sampled_by: ids for s in slices if (ids := _list(con, queue, s)) is not None}
                )
                now = self._clock()
                kept = self._kept[queue.queue_id] = Ranking(queue, now + KEPT_TIMES * (now - began), lists)
            return kept
        finally:
            self._lock.release()


def _list(con: duckdb.DuckDBPyConnection, queue: Queue, part: Slice) -> tuple[str, ...] | None:
    """What is kept ready of a slice. Of an ordering nothing in a small queue: there a claim passes over all of it."""
    if part.rank:
        return tuple(part.rank(con, queue))
    return shortlist(con, queue, part)
