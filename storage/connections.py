"""The open database: one connection for the writer, a cursor for each reading thread, and what keeps them alive.

Two things DuckDB would do by itself are done here. It writes its log into the database file when the log has grown
(a checkpoint), and a disk that fills up in the midst of that ends the whole instance, though nothing is lost: so we say
when, after looking at the room there is. And when the instance has ended all the same, the file is opened again in place,
so that a server need not be started anew. Knows no table.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import duckdb

from storage import database
from storage.errors import StoreError
from storage.log_file import log_of

log = logging.getLogger("worldline.storage")

T = TypeVar("T")
CHECKPOINT_BYTES = 16_000_000  # of log; replaying it takes well under a second, and a checkpoint of it 50 ms
# A checkpoint writes what is in the log into the database file, row groups it touches anew: measured below twice the log.
ROOM = 3
ROOM_LEAST = 32_000_000
READERS_END_S = 30.0  # an ended instance answers every statement with an error at once; a reader longer than this hangs


class Connections:
    """Owns the connections to one folder's database."""

    def __init__(self, folder: Path) -> None:
        """Raises what `database.connect` raises."""
        self.folder = folder
        self._con = database.connect(folder)
        self._local = threading.local()
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()  # gone with their threads
        self._writer_at_work = threading.RLock()  # taken before the gate, never after it
        self._gate = threading.Condition()
        self._reading = 0
        self._generation = 0
        self._usable, self._closed = True, False
        self._stills: set[Still] = set()
        self._file: int | None = None
        self._warned = False

    # ---- reading

    def read(self, read: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Read with this thread's cursor. Raises StoreError with a sentence."""
        try:
            return self._read(read)
        except duckdb.Error as error:
            if isinstance(error, duckdb.FatalException) and not getattr(self._local, "depth", 0) and not self._closed:
                self.reopen()  # raises when that does not work either
                return self._read(read)
            if self._closed:
                raise StoreError("The store is closed.") from None
            if isinstance(error, duckdb.OutOfMemoryException):
                raise StoreError(database.too_small()) from None
            raise StoreError(
                f"The database in {self.folder} could not be read: {database.first_line(error)}. "
                "If this stays so, run `worldline doctor`; snapshots in the folder can be read without the database."
            ) from None

    def _read(self, read: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        with self._gate:
            cursor = self._cursor()
            self._reading += 1
        self._local.depth = getattr(self._local, "depth", 0) + 1  # a read may read again, with the same cursor
        try:
            return read(cursor)
        finally:
            self._local.depth -= 1
            with self._gate:
                self._reading -= 1
                self._gate.notify_all()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        if self._closed:
            raise StoreError("The store is closed.")
        found: tuple[int, duckdb.DuckDBPyConnection] | None = getattr(self._local, "found", None)
        if found is None or found[0] != self._generation:
            if not self._usable:
                self._open_again()
            found = self._local.found = (self._generation, self._con.cursor())
            self._cursors.add(found[1])
        return found[1]

    # ---- writing: all on the writer's thread

    @contextlib.contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The writer's own cursor; while it is in use the database is not opened again under it. Raises StoreError."""
        with self._writer_at_work:
            with self._gate:
                cursor = self._cursor()
            yield cursor

    def checkpoint_if_due(self) -> None:
        """Write the log into the database file when it has grown and there is room; nobody waits for an answer now."""
        size = self.log_size()
        if size < CHECKPOINT_BYTES or self._stills:
            return
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:  # the disk is gone: the next commit says so to whoever waits for it
            return
        if free < ROOM * size + ROOM_LEAST:
            if not self._warned:
                log.warning(
                    "The disk of %s has %.0f MB left; make room. Ratings are kept as long as there is any.",
                    self.folder, free / 1e6,
                )  # fmt: skip
            self._warned = True
            return
        self._warned = False
        try:
            with self.writing() as con:
                con.execute("checkpoint")
        except duckdb.FatalException as error:
            log.error("The database is opened again: %s", database.first_line(error))
            with contextlib.suppress(StoreError):  # whoever comes next is told
                self.reopen()
        except StoreError:
            pass  # not open at the moment: whoever comes next opens it, or is told why not
        except duckdb.Error as error:  # something else is going on in the database; the next commit comes back to it
            log.info("a checkpoint was put off: %s", database.first_line(error))

    def log_size(self) -> int:
        """Bytes of the log that are not in the database file yet."""
        try:
            return log_of(self.folder / database.DATABASE).stat().st_size
        except OSError:  # there is none after a checkpoint
            return 0

    # ---- after a fatal error

    def reopen(self) -> None:
        """Open the file again after the instance has ended. Raises StoreError when that is not possible (yet)."""
        with self._writer_at_work, self._gate:
            if self._closed:
                raise StoreError("The store is closed.")
            if self._usable and self._alive():
                return  # another thread was here first
            self._usable = False
            self._open_again()

    def _alive(self) -> bool:
        try:
            self._con.cursor().execute("select 1").fetchone()
        except duckdb.Error:
            return False
        return True

    def _open_again(self) -> None:
        self._break_stills()
        if not self._gate.wait_for(lambda: self._reading == 0, READERS_END_S):
            raise StoreError(f"The database in {self.folder} has to be opened again, but is still read; try again.")
        for cursor in list(self._cursors):
            cursor.close()
        self._con.close()
        self._con = database.connect(self.folder)
        self._generation += 1
        self._usable = True
        log.warning("The database in %s was opened again; everything acknowledged is there.", self.folder)

    # ---- standing still, for a backup

    @contextlib.contextmanager
    def still(self) -> Iterator[Still]:
        """While this lasts no checkpoint is made: the database file does not change, the log only grows."""
        with self._gate:
            if self._closed:
                raise StoreError("The store is closed.")
            if self._file is None:
                # Closed with the store alone: closing any descriptor of a file ends every POSIX lock of the process on
                # it, and DuckDB's own is what keeps a second process from writing into the file at the same time.
                self._file = os.open(self.folder / database.DATABASE, os.O_RDONLY | os.O_CLOEXEC)
            hold = Still(self._file)
            self._stills.add(hold)
        try:
            yield hold
        finally:
            with self._gate:
                self._stills.discard(hold)

    def _break_stills(self) -> None:
        for hold in self._stills:
            hold.broken = True
        self._stills.clear()

    def close(self) -> None:
        """Closing twice is harmless. What is in the log goes into the file, where there is room for it."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._break_stills()
            for cursor in list(self._cursors):
                with contextlib.suppress(duckdb.Error):  # closed already, where the instance was opened again
                    cursor.interrupt()
            self._gate.wait_for(lambda: self._reading == 0, READERS_END_S)
            for cursor in list(self._cursors):
                cursor.close()
            self._con.close()
            if self._file is not None:
                os.close(self._file)


class Still:
    """A time without checkpoints; `broken` says that it ended early (the store was closed). file: a descriptor of the
    database file, to be read at given places and never to be closed.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self.broken = False
