"""Processes beside this one, for work that takes a core each. Knows no work."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process


def processes(workers: int) -> ProcessPoolExecutor:
    """A pool that leaves nothing behind, even where its owner is killed: a worker by itself would wait for work for ever.

    Started anew, not forked, because torch and the store have threads.
    """
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
