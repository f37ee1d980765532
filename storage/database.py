"""Opening the one DuckDB file of a data folder, and refusing to, in sentences.

One process owns the file; a second cannot open it even to read. A file that is not ours, or cannot be read, is first
looked at
read-only, so that refusing it leaves every byte as it was. Knows no trace and no rating: only files, versions and the
schema text.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from storage.errors import CorruptFolder, FolderInUse, ForeignFolder, StoreError
from storage.log_file import damage, log_of, tail
from storage.migrations import MIGRATIONS, SCHEMA_VERSION

log = logging.getLogger("worldline.storage")

DATABASE = "worldline.duckdb"
# Readable by every DuckDB from 1.5.0 on, 2.x included; a file in 2.0's own format could not be read by 1.5.
STORAGE_VERSION = "v1.5.0"
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": STORAGE_VERSION,
    # No request leaves the machine: without these two DuckDB may fetch an extension on its own.
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # The log is written into the file when we say so (storage/connections.py): on a full disk a checkpoint ends the instance.
    "wal_autocheckpoint": "1TB",
    # What a thread has freed goes back to the system: by default up to 128 MB of every thread's stay with the process.
    "allocator_flush_threshold": "8MB",
    "allocator_bulk_deallocation_flush_threshold": "16MB",
}
# What DuckDB may hold of tables and intermediate results; beyond that it writes to the data folder. Not all a server needs.
MEMORY_VARIABLE, MEMORY = "WORLDLINE_MEMORY", "384MB"
MEMORY_LEAST = "64MB"  # with less not even a small store opens
# Events or steps up to which every query of a page is a few milliseconds on one thread.
SMALL = 200_000
# What a data folder may hold before its database exists (a server may have made these first).
_OURS = {
    "snapshots", "exports", "jobs", "models", "runs", "searches", "evals", "probes", "owner.json", "owner.token", DATABASE, DATABASE + ".wal",
}  # fmt: skip
_HOLDER = re.compile(r"Conflicting lock is held in (.*?) ?\(PID (\d+)")


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open (or create) the database of `folder` for writing.

    Raises FolderInUse, ForeignFolder (CorruptFolder where the file cannot be read), StoreError where the folder
    cannot be written to.
    """
    path = folder / DATABASE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds hashes of passwords
    except (FileExistsError, NotADirectoryError):
        raise ForeignFolder(f"{folder} is a file, not a folder; choose a folder for the data with --data.") from None
    except OSError as error:
        raise StoreError(
            f"The data folder {folder} cannot be made: {error.strerror}. Choose another with --data."
        ) from None
    if path.is_dir():
        raise ForeignFolder(
            f"{path} is a folder where the database file should be; choose another data folder with --data."
        )
    if path.exists() and path.stat().st_size == 0 and not log_of(path).exists():
        path.unlink()  # left by a process that was killed before it wrote anything: there is nothing in it to lose
    if path.exists():
        _look(folder, path)
        torn = tail(log_of(path))
        if torn is not None and torn.beyond:
            log.warning(torn.sentence(log_of(path)))
    else:
        _refuse_others_files(folder)
    con = _open(folder, path, read_only=False)
    try:
        if not _tables(con):
            con.execute("begin")
            con.execute(resources.files("storage").joinpath("schema.sql").read_text(encoding="utf-8"))
            con.execute("insert into worldline_meta values ('schema_version', ?)", [str(SCHEMA_VERSION)])
            con.execute("commit")
        else:
            _migrate(con)
        if _is_small(con):
            con.execute("set threads = 1")
    except duckdb.Error as error:
        con.close()
        raise StoreError(f"The database in {folder} could not be set up: {first_line(error)}") from None
    return con


def _is_small(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether one thread is enough: every other one is woken by every statement, and looks for work for a while before it
    sleeps again. Saving one rating took 5.9 ms of processor time with two and 3.4 ms with one.
    """
    rows = con.execute("select greatest((select count(*) from rating_event), (select count(*) from step))").fetchone()
    return rows is not None and rows[0] < SMALL


def _migrate(con: duckdb.DuckDBPyConnection) -> None:
    version = _version(con)
    if version == SCHEMA_VERSION:
        return
    con.execute("begin")
    for old in range(version or 0, SCHEMA_VERSION):
        con.execute(MIGRATIONS[old])
    con.execute("update worldline_meta set value = ? where key = 'schema_version'", [str(SCHEMA_VERSION)])
    con.execute("commit")


def _version(con: duckdb.DuckDBPyConnection) -> int | None:
    row = con.execute("select value from worldline_meta where key = 'schema_version'").fetchone()
    return int(row[0]) if row and row[0].isdigit() else None


FEW_ROWS = 2  # that are inserted as they are, not as lists


def insert(con: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
    """Append rows given as {column: (SQL type, values)} in one statement (50 rows: 1.7 ms; executemany needs 30 ms; one or two
    rows are quicker as they are than as lists: 1.5 for 2.5 ms).
    """
    names, rows = ", ".join(columns), list(zip(*(values for _, values in columns.values()), strict=True))
    if len(rows) <= FEW_ROWS:
        if rows:
            told = ", ".join([f"({', '.join('?' * len(columns))})"] * len(rows))
            con.execute(f"insert into {table} ({names}) values {told}", [value for row in rows for value in row])
        return
    unnested = ", ".join(f"unnest(?::{sql_type}[])" for sql_type, _ in columns.values())
    con.execute(f"insert into {table} ({names}) select {unnested}", [list(values) for _, values in columns.values()])


def first_line(error: BaseException) -> str:
    """The first line of an error from DuckDB, which may add a page of context."""
    return str(error).strip().split("\n")[0]


def _look(folder: Path, path: Path) -> None:
    """Read-only: is it a database, is it ours, can this version read it?"""
    con = _open(folder, path, read_only=True)
    try:
        tables = _tables(con)
        if not tables:
            return  # made by a process that was killed before its schema was committed
        if "worldline_meta" not in tables:
            raise ForeignFolder(
                f"{path} is a DuckDB database, but not one of Worldline's (its tables: "
                f"{', '.join(sorted(tables)[:4])}). "
                "Nothing was changed; choose another data folder with --data."
            )
        version = _version(con)
    except duckdb.Error as error:
        raise _corrupt(path, error) from None
    finally:
        con.close()
    if version != SCHEMA_VERSION and version not in MIGRATIONS:
        raise ForeignFolder(
            f"{path} has schema version {version or 'none'}; this Worldline reads version {SCHEMA_VERSION}. "
            "Nothing was changed; open it with the version of Worldline that made it, or choose another data "
            "folder with --data."
        )


def _tables(con: duckdb.DuckDBPyConnection) -> set[str]:
    return {name for (name,) in con.execute("select table_name from duckdb_tables() where not internal").fetchall()}


def _refuse_others_files(folder: Path) -> None:
    try:
        others = sorted(p.name for p in folder.iterdir() if p.name not in _OURS and not p.name.startswith("."))
    except OSError as error:
        raise StoreError(
            f"The data folder {folder} cannot be read: {error.strerror}. Choose another with --data."
        ) from None
    others = [name for name in others if not name.endswith(".log")]
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise ForeignFolder(
            f"{folder} is not a Worldline data folder: it has no {DATABASE} and holds other files ({shown}). "
            "Nothing was changed; give --data a new or an empty folder."
        )


def _memory() -> str:
    """As DuckDB reads it. Raises StoreError for a setting that cannot be used."""
    asked = os.environ.get(MEMORY_VARIABLE, "").strip() or MEMORY
    found = re.fullmatch(r"([0-9]{1,6}) ?([MG])B", asked, re.IGNORECASE)
    if found is None or int(found[1]) * (1 if found[2] in "mM" else 1000) < int(MEMORY_LEAST.removesuffix("MB")):
        raise StoreError(
            f"{MEMORY_VARIABLE} is {asked[:60]!r}; it must be a size of at least {MEMORY_LEAST}, such as {MEMORY} or 2GB."
        )
    return asked


def too_small() -> str:
    """What to do when the database needs more memory than it may have."""
    has = _memory()
    more = re.sub("[0-9]+", lambda found: str(4 * int(found[0])), has).replace(" ", "")
    return (
        f"The database needed more than the {has} of memory that it may have: long traces take more. Start with more, such as "
        f"{MEMORY_VARIABLE}={more}."
    )


def _open(folder: Path, path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    config = CONFIG | {"memory_limit": _memory()}
    try:
        return duckdb.connect(str(path), read_only=read_only, config=config)
    except duckdb.Error as error:
        text = str(error)
        if "Could not set lock" in text or "different configuration" in text or "being used by another process" in text:
            raise in_use(folder, text) from None
        if isinstance(error, duckdb.IOException) and re.search(
            "permission denied|read-only file system|cannot open file", text, re.I
        ):
            raise StoreError(
                f"{path} cannot be opened: {first_line(error)}. Check its permissions, or choose another --data."
            ) from None
        raise _corrupt(path, error) from None
    except (RuntimeError, UnicodeDecodeError) as error:  # a damaged header can surface as either
        raise _corrupt(path, error) from None


def in_use(folder: Path, detail: str = "", own_pid: int | None = None) -> FolderInUse:
    """The refusal for a folder that another process owns, with its PID and, where it says so, its address."""
    held = _HOLDER.search(detail)
    pid = own_pid if own_pid is not None else int(held.group(2)) if held else None
    address = ""
    try:
        owner = json.loads((folder / "owner.json").read_text(encoding="utf-8"))
        if pid is None or owner.get("pid") == pid:
            pid = owner.get("pid") if pid is None else pid
            address = f" at {owner['url']}" if owner.get("url") else ""
    except (OSError, ValueError, AttributeError):
        pass  # owner.json is a courtesy of whoever owns the folder
    who = f"process {pid}" if pid is not None else "another process"
    return FolderInUse(
        f"The data folder {folder} is in use by {who}{address}. Use that Worldline, stop it, or choose another "
        "folder with --data.",
        pid,
    )


def _corrupt(path: Path, error: BaseException) -> CorruptFolder:
    mend = "restore it from a backup" if damage(str(error)) is None else "`worldline doctor` says what can be saved"
    return CorruptFolder(
        f"{path} cannot be read as a database ({first_line(error)}). Nothing was changed; "
        f"{mend}, or choose another data folder with --data. Snapshots beside it can be read without it."
    )
