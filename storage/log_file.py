"""The log beside the database file (DuckDB's write-ahead log): how far it can be trusted, and mending a damaged one.

A commit is on disk when its entries, the last of them a flush, are in the log. A process that was killed, or a disk that
was full, can leave half a commit at the end: DuckDB leaves it out when the file is opened, silently; here it is counted,
so that it can be said. A log damaged in the middle is refused by DuckDB; it can be cut before the damage.

The format (DuckDB 1.x, log version 2): a header, then entries of `size` and `checksum` (8 bytes each, little-endian) and
`size` bytes, each a list of numbered fields that begins with the kind of the entry.
"""

from __future__ import annotations

import re
import shutil
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_FRAME = struct.Struct("<QQ")
_FLUSH = bytes([100, 0, 100, 255, 255])  # field 100, the kind: 100, the end of a transaction; end of fields
_END = b"\xff\xff"
_DAMAGE = re.compile(r"entry at byte position (\d+)")


@dataclass(frozen=True)
class Tail:
    """What lies behind the last whole commit. Not acknowledged to anybody."""

    committed: int  # bytes up to and with the last commit
    beyond: int  # bytes after it

    def sentence(self, path: Path) -> str:
        return (
            f"{path} ended in the midst of a commit ({self.beyond} bytes after the last whole one), as happens when a process "
            "is killed or its disk is full: nobody was told that this was saved, and it was left out. All before it is there."
        )


def log_of(database: Path) -> Path:
    """Where the log of a database file lies; there is none after a checkpoint."""
    return database.with_name(database.name + ".wal")


def tail(path: Path) -> Tail | None:
    """How far the log holds whole commits. None: there is no log, or it is written in a way that is not known here."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            at = _header(file.read(256))
            if at is None:
                return None
            committed = at
            while at + _FRAME.size <= size:
                file.seek(at)
                (length, _) = _FRAME.unpack(file.read(_FRAME.size))
                after = at + _FRAME.size + length
                if after > size:
                    break
                if length == len(_FLUSH) and file.read(length) == _FLUSH:
                    committed = after
                at = after
            return Tail(committed, size - committed)
    except OSError:
        return None


def _header(start: bytes) -> int | None:
    """Where the first entry begins. The header's fields are 100 (kind: 98), 101 (version: 2), 102 (a list of numbers,
    which file this belongs to), 103 (which checkpoint).
    """
    try:
        if start[:6] != bytes([100, 0, 98, 101, 0, 2]):
            return None
        at = 6
        if start[at : at + 2] == bytes([102, 0]):
            count, at = _number(start, at + 2)
            for _ in range(count):
                _, at = _number(start, at)
        if start[at : at + 2] == bytes([103, 0]):
            _, at = _number(start, at + 2)
        return at + 2 if start[at : at + 2] == _END else None
    except IndexError:
        return None


def _number(data: bytes, at: int) -> tuple[int, int]:
    """LEB128: seven bits a byte, the eighth says that another follows."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at


def damage(sentence: str) -> int | None:
    """Where the log is damaged, out of DuckDB's words for refusing it; None when they are about something else."""
    found = _DAMAGE.search(sentence)
    return int(found.group(1)) if found and "WAL" in sentence else None


def cut(path: Path, at: int) -> Path:
    """End the log with the last whole commit before byte `at`; all of it is kept beside, under the name that is returned.
    Raises OSError.
    """
    kept = path.with_name(f"{path.name}.damaged-{datetime.now():%Y%m%d-%H%M%S}.log")
    shutil.copy2(path, kept)
    with path.open("r+b") as file:
        file.truncate(at)
        whole = tail(path)
        if whole is not None:
            file.truncate(whole.committed)
    return kept
