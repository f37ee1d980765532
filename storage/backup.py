"""A copy of a whole data folder, made while it is in use, and a folder made of such a copy.

While the copy of the database is read no checkpoint is made (storage/connections.py), so its file stays as it is and the
log beside it only grows: the copy is the file and the log up to the last commit, and raters notice nothing. The copy
travels as a tar stream, so that a running workbench can give it over HTTP without a second copy on its disk. The last
member is `backup.json`, with the size and SHA-256 of every file: a stream that broke off is known by its absence.

    DIR/backup.json            what is in it, as of which rating event
        worldline.duckdb(.wal) the database and its log
        snapshots/, runs/, searches/, …   everything else of the folder but logs and what belongs to the running process
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from core.trace import utc_now
from storage import cards, people, ratings
from storage.connections import Still
from storage.database import DATABASE
from storage.errors import BackupError
from storage.log_file import log_of
from storage.migrations import SCHEMA_VERSION
from storage.store import Store

MANIFEST = "backup.json"
FORMAT, FORMAT_VERSION = "worldline-backup", 1
PIECE = 1 << 20  # bytes read at a time
_OF_THE_PROCESS = ("owner.json", "owner.token")


@dataclass(frozen=True)
class Backup:
    """What a backup holds. event_seq: its last rating event; files: {path: [bytes, sha256]}."""

    created_at: str
    event_seq: int
    worldline_version: str
    schema_version: int
    files: dict[str, tuple[int, str]]

    @property
    def size(self) -> int:
        return sum(size for size, _ in self.files.values())

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}


# ---- making one


def stream(store: Store) -> Iterator[bytes]:
    """The backup as the bytes of a tar file. Raises BackupError when the store is closed meanwhile, StoreError."""
    files: dict[str, tuple[int, str]] = {}
    with store.connections.still() as still:
        committed, seq = store.write(_where_we_are, log_of(store.folder / DATABASE)).result()
        database = store.folder / DATABASE
        yield from _member(database, DATABASE, database.stat().st_size, files, still)
        if committed:
            log = log_of(database)
            yield from _member(log, log.name, committed, files, still)
    for path in _others(store.folder):
        try:
            size = path.stat().st_size
        except FileNotFoundError:  # a job or a run has just put it elsewhere
            continue
        yield from _member(path, path.relative_to(store.folder).as_posix(), size, files, None)
    made = Backup(utc_now(), seq, cards.worldline_version(), SCHEMA_VERSION, files)
    text = (json.dumps(made.to_json(), indent=2) + "\n").encode()
    yield _head(MANIFEST, len(text)) + _padded(text) + bytes(2 * tarfile.BLOCKSIZE)


def _where_we_are(con: duckdb.DuckDBPyConnection, logs: Sequence[Path]) -> list[tuple[int, int]]:
    """Writer's operation: the length of the log and the last event in it. Nothing is committed while it runs; what is
    about to be, in the same transaction as this, another cursor does not see.
    """
    with con.cursor() as committed:
        return [(log.stat().st_size if log.exists() else 0, ratings.last_seq(committed)) for log in logs]


def _others(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        ours = not parts[0].startswith(DATABASE) and parts[0] not in (MANIFEST, *_OF_THE_PROCESS)
        if ours and path.is_file() and not path.is_symlink() and not any(p.startswith(".") for p in parts):
            if len(parts) == 1 and path.suffix == ".log":
                continue  # what vLLM said
            yield path


def _member(
    path: Path, name: str, size: int, files: dict[str, tuple[int, str]], still: Still | None
) -> Iterator[bytes]:
    """The first `size` bytes of a file: what is appended meanwhile is not part of it."""
    digest, left = hashlib.sha256(), size
    yield _head(name, size)
    with _opened(path, still) as read:
        while left:
            piece = read(min(PIECE, left))
            if not piece:
                raise BackupError(f"{path} became shorter while it was copied; begin the backup again.")
            _refuse_broken(still)
            digest.update(piece)
            left -= len(piece)
            yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)
    files[name] = (size, digest.hexdigest())


@contextmanager
def _opened(path: Path, still: Still | None) -> Iterator[Callable[[int], bytes]]:
    """What reads the next bytes of a file. The database file is never opened here: see Connections.still."""
    if still is not None and path.name == DATABASE:
        yield _reader(still)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        _refuse_broken(still)  # then it is no wonder that the log is gone
        raise BackupError(f"{path} cannot be copied: {error.strerror}.") from None
    with file:
        yield file.read


def _reader(still: Still) -> Callable[[int], bytes]:
    at = 0

    def read(most: int) -> bytes:
        nonlocal at
        _refuse_broken(still)
        try:
            piece = os.pread(still.file, most, at)
        except OSError as error:
            _refuse_broken(still)  # the store was closed, and the descriptor with it
            raise BackupError(f"{DATABASE} cannot be copied: {error.strerror}.") from None
        at += len(piece)
        return piece

    return read


def _refuse_broken(still: Still | None) -> None:
    if still is not None and still.broken:
        raise BackupError("The store was closed while it was copied; begin the backup again.")


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600  # what people wrote and who they are is for the owner alone
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % tarfile.BLOCKSIZE)


# ---- taking one in


def write(pieces: Iterable[bytes], target: Path) -> Backup:
    """Unpack a stream into a new or empty folder, whole or not at all. Raises BackupError."""
    target = Path(target).expanduser().absolute()
    with _new_folder(target) as work:
        source: Any = _Pieces(pieces)  # tarfile's types ask for more of a file than it uses
        try:
            with tarfile.open(fileobj=source, mode="r|") as tar:
                for member in tar:
                    tar.extract(member, work, filter="data")
        except tarfile.TarError as error:
            raise BackupError(
                f"The backup broke off ({error}); nothing was kept in {target}. Begin it again."
            ) from None
        if not (work / MANIFEST).is_file():
            raise BackupError(f"The backup broke off; nothing was kept in {target}. Begin it again.")
        return check(work)


def check(folder: Path) -> Backup:
    """Read a backup and compare every file with its checksum. Raises BackupError naming the first that is wrong."""
    path = Path(folder) / MANIFEST
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if row.pop("format") != FORMAT or row.pop("format_version") != FORMAT_VERSION:
            raise ValueError("another format")
        row["files"] = {name: (int(size), str(digest)) for name, (size, digest) in row["files"].items()}
        made = Backup(**row)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError(f"{folder} is not a backup: {path} cannot be read ({error}).") from None
    for name, (size, digest) in made.files.items():
        file = path.parent / name
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise BackupError(f"{path} names {name!r}, which lies outside the backup; it was not made by Worldline.")
        if not file.is_file():
            raise BackupError(f"{file} is missing; the backup is not whole. Use another.")
        if file.stat().st_size != size or cards.sha256_of(file) != digest:
            raise BackupError(f"{file} was changed after the backup was made; use another backup.")
    return made


def restore(backup: Path, data: Path) -> Backup:
    """Make a new data folder of a backup, which stays as it is; everybody logs in anew. Raises BackupError; StoreError when the copy does not open."""
    data = Path(data).expanduser().absolute()
    made = check(backup)
    with _new_folder(data) as work:
        for name in made.files:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(backup) / name, work / name)
        with Store.open(work) as store:
            found = store.event_seq()
            # Who logged out, or was disabled, after the backup was made must not be in again by an old cookie.
            store.write(people.end_all_logins, None).result()
        if found != made.event_seq:
            raise BackupError(
                f"The backup ends with rating event {found}, but was made at {made.event_seq}; use another backup."
            )
    return made


def refuse_used(target: Path) -> None:
    """Raises BackupError when there is something at `target` already."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target} is there already and not empty; nothing was changed. Name a new folder.")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A work folder beside `target` that becomes it when the block ends well."""
    refuse_used(target)
    work = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    try:
        work.mkdir(parents=True, mode=0o700)
        yield work
        for path in work.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if target.exists():
            target.rmdir()
        work.rename(target)
    except OSError as error:
        raise BackupError(
            f"{target} could not be written: {error.strerror or error}. Nothing was kept; make room, or name another folder."
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Pieces:
    """A file to read from, made of pieces of bytes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest = iter(pieces), b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (more := next(self._pieces, None)) is not None:
            self._rest += more
        found, self._rest = self._rest[:size], self._rest[size:]
        return found
