"""The rankings of queues, computed beside the thread that writes, and kept for a while.

A ranking reads all scores, or all ratings, of a queue: a third of a second at a million. A claim must not wait for that, nor
may the commits behind it; it takes the first of the ranked that is still open to the rater, which it sees to itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import duckdb

from storage.queues.settings import Queue
from storage.sampling import order_of

# A ranking is kept for so many times what it cost: at most 1 % of a core goes into them, and in a small store they are fresh.
KEPT_TIMES = 100

Read = Callable[[Callable[[duckdb.DuckDBPyConnection], dict[str, tuple[str, ...]]]], dict[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Ranking:
    """For each ranked slice of a queue (by its `sampled_by`): ids of traces or pairs, the best first."""

    of: Queue
    until: float
    lists: dict[str, tuple[str, ...]]

    @property
    def lacking(self) -> str:
        """The sentence when the strategy has nothing to go by; empty when it has, or needs nothing."""
        return order_of(self.of).lacking if self.lists and not any(self.lists.values()) else ""


class Rankings:
    """The latest ranking of each queue. Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, Ranking] = {}
        self._lock = threading.Lock()

    def of(self, queue: Queue, read: Read) -> Ranking:
        """The ranking of a queue as it is set now, new or a while old. `read` is the store's."""
        ranked = [s for s in order_of(queue).slices(queue) if s.rank]
        if not ranked:
            return Ranking(queue, 0.0, {})
        with self._lock:  # whoever asks meanwhile waits for this one instead of computing it again
            kept = self._kept.get(queue.queue_id)
            began = self._clock()
            if kept is None or kept.of != queue or began > kept.until:
                lists = read(lambda con: {s.sampled_by: tuple(s.rank(con, queue)) for s in ranked if s.rank})
                now = self._clock()
                kept = self._kept[queue.queue_id] = Ranking(queue, now + KEPT_TIMES * (now - began), lists)
            return kept
