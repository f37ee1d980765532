"""What nearly every request reads and few writes change (the settings of a queue), kept in memory until one of those commits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """Any thread may ask; the writer calls `changed` after a commit and before whoever waits for it is told."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """What is kept under this key, or else what `read` finds (kept unless it is None, or something changed meanwhile)."""
        with self._lock:
            if key in self._found:
                found: T = self._found[key]
                return found
            before = self._changes
        new = read()
        with self._lock:
            if before == self._changes and new is not None:  # anybody can ask for what there is not, under any name
                self._found[key] = new
        return new

    def changed(self) -> None:
        """Nothing is known any more."""
        with self._lock:
            self._changes += 1
            self._found.clear()
