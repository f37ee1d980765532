"""Processes beside this one, for work that takes a core each. Knows no work."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import TypeVar

T = TypeVar("T")


def processes(workers: int) -> ProcessPoolExecutor:
    """A pool that leaves nothing behind, even where its owner is killed: a worker by itself would wait for work for ever.

    Started anew, not forked, because torch and the store have threads.
    """
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


class OneProcess:
    """A process beside this one that does one work after another. It ends when nobody has wanted anything of it for `kept_s`
    seconds: what it has loaded serves the next work, and what it took is given back. environment: what the process finds in its
    environment beside what is in this one's. To be used from the event loop.
    """

    def __init__(self, kept_s: float, environment: Mapping[str, str]) -> None:
        self._kept_s, self._environment = kept_s, environment
        self._idle: ProcessPoolExecutor | None = None
        self._ending: asyncio.TimerHandle | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """What the work makes, or raises. A caller that is cancelled does not wait for it. Raises BrokenProcessPool where the
        process was ended from outside.
        """
        pool, making = self._begun(work)
        try:
            made = await making
        except (BrokenProcessPool, asyncio.CancelledError):
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        except BaseException:
            self._keep(pool)
            raise
        self._keep(pool)
        return made

    def _begun(self, work: Callable[[], T]) -> tuple[ProcessPoolExecutor, asyncio.Future[T]]:
        """In the process that waits, or in a new one where there is none, or it was ended while it waited."""
        loop = asyncio.get_running_loop()
        if self._ending is not None:
            self._ending.cancel()
        pool, self._idle = self._idle or processes(1), None
        with _in_environment(self._environment):  # a process is begun when its first work is handed in
            try:
                return pool, loop.run_in_executor(pool, work)
            except BrokenProcessPool:
                pool = processes(1)
                return pool, loop.run_in_executor(pool, work)

    def _keep(self, pool: ProcessPoolExecutor) -> None:
        self.end()
        self._idle = pool
        self._ending = asyncio.get_running_loop().call_later(self._kept_s, self.end)

    def end(self) -> None:
        """Let it go now, if it has nothing to do."""
        if self._ending is not None:
            self._ending.cancel()
        if self._idle is not None:
            self._idle.shutdown(wait=False, cancel_futures=True)
        self._idle = self._ending = None


@contextmanager
def _in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
