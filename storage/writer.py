"""One thread that writes, with group commit.

Whoever wants something written hands over an operation and gets a future, which is resolved only after COMMIT. What has
gathered while the last commit was running goes into the next transaction, and neighbours with the same operation go into
one statement: 20 clients cost about as much as one. Of what waits, ratings go first: a key press must not wait until work
has been handed out to everybody else. But not for ever: where ratings alone would fill the time, what has waited long takes turns
with them. Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from enum import Enum
from itertools import groupby
from typing import Any

import duckdb

from storage.connections import Connections
from storage.database import first_line
from storage.errors import StoreError

# An operation takes everything of its kind that goes into one transaction, and returns one result for each.
Operation = Callable[[duckdb.DuckDBPyConnection, Sequence[Any]], Sequence[Any]]

# The largest group: far above what 20 fast raters gather in one commit (a few ms); it bounds the memory of a bulk
# import.
MAX_GROUP = 512
# How long others let ratings go first. Without an end to it, fifty raters on a machine that was busy with other work kept somebody
# waiting for a next item for more than a minute.
PATIENCE_S = 0.25


# Of what takes many statements each, so many go into one transaction: they share its commit, and a rating waits no longer than that.
FEW = 4


class Lane(Enum):
    """How a write travels. FIRST: ahead of others that have not waited long, in the order among themselves. TOGETHER: with its neighbours. FEW: many
    statements, so with no more than a few of its kind, between two groups of which those of FIRST go.
    """

    FIRST = "first"
    TOGETHER = "together"
    FEW = "few"


class _Job:
    __slots__ = ("at", "future", "lane", "operation", "payload")

    def __init__(self, operation: Operation, payload: Any, lane: Lane) -> None:
        self.operation, self.payload, self.lane = operation, payload, lane
        self.at = time.monotonic()
        self.future: Future[Any] = Future()
        # A write that was handed over is done even if whoever waits for it goes away: it can no longer be cancelled.
        self.future.set_running_or_notify_cancel()


class Writer:
    """Owns the writing side of `connections`. `forget` is called after every rollback: operations drop what they
    remembered of the failed transaction. `changed` is called after a commit of anything but ratings and claims (which leave
    every setting as it is), before whoever waits for it is told.
    """

    def __init__(
        self, connections: Connections, forget: Callable[[], None], changed: Callable[[], None],
        patience: float = PATIENCE_S,
    ) -> None:  # fmt: skip
        self._patience = patience
        self._connections, self._forget, self._changed = connections, forget, changed
        self._first: deque[_Job] = deque()
        self._others: deque[_Job] = deque()
        self._waiting = threading.Condition()
        self._closed = False
        self._waited_for = False  # the last turn was that of others, ahead of ratings
        self._thread = threading.Thread(target=self._loop, name="worldline-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation, payload: Any, lane: Lane = Lane.TOGETHER) -> Future[Any]:
        """Queue one write; order is kept within FIRST, and among all others. Raises StoreError when the store is closed."""
        job = _Job(operation, payload, lane)
        with self._waiting:
            if self._closed:
                raise StoreError("The store is closed; nothing more can be saved to it.")
            (self._first if lane is Lane.FIRST else self._others).append(job)
            self._waiting.notify()
        return job.future

    def close(self) -> None:
        """Write what is queued, then stop."""
        with self._waiting:
            self._closed = True
            self._waiting.notify()
        self._thread.join()

    def _loop(self) -> None:
        while group := self._next():
            self._commit(group)
            self._connections.checkpoint_if_due()

    def _next(self) -> list[_Job]:
        """What goes into the next transaction; nothing when the store is closed and all is written."""
        with self._waiting:
            self._waiting.wait_for(lambda: self._first or self._others or self._closed)
            jobs, group = self._whose_turn(), list[_Job]()
            heavy = bool(jobs) and jobs[0].lane is Lane.FEW
            while jobs and len(group) < (FEW if heavy else MAX_GROUP) and (jobs[0].lane is Lane.FEW) is heavy:
                group.append(jobs.popleft())
            return group

    def _whose_turn(self) -> deque[_Job]:
        late = bool(self._others) and time.monotonic() - self._others[0].at > self._patience
        self._waited_for = bool(self._first) and late and not self._waited_for
        return self._others if self._waited_for or not self._first else self._first

    def _commit(self, group: list[_Job]) -> None:
        try:
            results = self._transact(group)
        except Exception as error:
            self._forget()
            failure = error
        else:
            if any(job.lane is Lane.TOGETHER for job in group):
                self._changed()
            for job, result in zip(group, results, strict=True):
                job.future.set_result(result)
            return
        if isinstance(failure, duckdb.FatalException):
            self._start_over(group, failure)
        elif len(group) == 1:
            group[0].future.set_exception(_in_a_sentence(failure))
        else:  # one bad apple: each gets a transaction of its own, so that only the culprit fails
            for job in group:
                self._commit([job])

    def _transact(self, group: list[_Job]) -> list[Any]:
        with self._connections.writing() as con:
            try:
                con.execute("begin")
                results: list[Any] = []
                for operation, jobs in groupby(group, key=lambda job: job.operation):
                    results += operation(con, [job.payload for job in jobs])
                con.execute("commit")
            except Exception:
                with contextlib.suppress(duckdb.Error):  # there may be no transaction left to roll back
                    con.execute("rollback")
                raise
            return results

    def _start_over(self, group: list[_Job], failure: Exception) -> None:
        """The instance has ended, before or after it wrote: nobody is told that it was saved, and what is sent again does
        no harm.
        """
        told = StoreError(f"The database had to be opened again ({first_line(failure)}); send this once more.")
        try:
            self._connections.reopen()
        except StoreError as error:
            told = error
        for job in group:
            job.future.set_exception(told)


_FULL = re.compile("no space left|file too large|quota exceeded", re.IGNORECASE)
_READ_ONLY = re.compile("read-only file system", re.IGNORECASE)


def _in_a_sentence(error: Exception) -> Exception:
    if isinstance(error, StoreError):
        return error
    if isinstance(error, duckdb.Error | OSError):
        if _FULL.search(str(error)):
            return StoreError(
                "Nothing was saved: the disk of the data folder is full. Make room on it, then try again; "
                "what was acknowledged before is kept."
            )
        if _READ_ONLY.search(str(error)):
            return StoreError(
                "Nothing was saved: the disk of the data folder can only be read now, as a disk does after an error of its "
                "own. Have it checked, then start Worldline again; what was acknowledged before is kept and can be read."
            )
        return StoreError(f"Nothing was saved: {first_line(error)}. Check the disk of the data folder, then try again.")
    return error
