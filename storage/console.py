"""SQL over a frozen snapshot, for looking: read only, bounded in time, memory and rows, without a file or a network.

A query runs in a process of its own (`python -m storage.console`), in a fresh DuckDB in memory that sees the snapshot as
views and nothing else. DuckDB is told to open no file, then its settings are locked; the process has a limit of memory that
holds where DuckDB's own does not (one string may be larger than it), and is killed when it does not end. What a query does
to its database is gone with it. Knows no HTTP and no live store.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StoreError
from storage.snapshots import DATA, PAIRS, Snapshot

if TYPE_CHECKING:
    import duckdb

TIMEOUT_S = 10.0
MOST_ROWS = 5_000
MOST_SQL_CHARS = 20_000
MOST_CELL_CHARS = 2_000  # of one value; a response of a megabyte helps nobody in a table
MOST_ANSWER_CHARS = 4_000_000  # of all values together: what a page can take
MEMORY = "1GB"
ADDRESS_SPACE = 4 << 30  # bytes; libraries reserve far more than they use, so this is only the end of it
AT_ONCE = 2  # queries; each may use a core
_slots = threading.BoundedSemaphore(AT_ONCE)

# One row a step, which is what most questions are about; columns of the snapshot that have an entry for each step.
PER_STEP = ("step_text", "rating", "unsure", "kind", "parent", "is_backtrack", "severity", "error_type", "rationale", "better",
            "recovered", "adjudicated")  # fmt: skip
OF_ROW = ("trace_id", "problem_id", "model", "rater_id", "assignment_id", "first_error", "split")


class ConsoleError(StoreError):
    """A sentence about the query: what is wrong with it, or which limit it met."""


class ConsoleBusy(ConsoleError):
    """Too many queries run already."""


@dataclass(frozen=True)
class Answer:
    """columns and their types, rows of plain JSON values; `cut` says that there was more; seconds: in the database."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    cut: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def ask(snapshot: Snapshot, sql: str, limit: int = 200, timeout_s: float = TIMEOUT_S) -> Answer:
    """The answer to one query, from a process that is gone afterwards. Raises ConsoleError, ConsoleBusy."""
    if len(sql) > MOST_SQL_CHARS:
        raise ConsoleError(f"The query has {len(sql):,} characters; at most {MOST_SQL_CHARS:,} are taken.")
    if not _slots.acquire(blocking=False):
        raise ConsoleBusy(f"{AT_ONCE} queries are running already; wait until one has ended.")
    try:
        asked = {"folder": str(snapshot.folder), "sql": sql, "limit": limit, "timeout_s": timeout_s}
        done = subprocess.run(
            [sys.executable, "-m", "storage.console"], input=json.dumps(asked).encode(), capture_output=True,
            timeout=timeout_s + 10, cwd=Path(__file__).parents[1], check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ConsoleError(_too_long(timeout_s)) from None
    finally:
        _slots.release()
    try:
        said = json.loads(done.stdout)
    except ValueError:
        raise ConsoleError("The query needed more memory than it may have; ask for less at once.") from None
    if "error" in said:
        raise ConsoleError(said["error"])
    return Answer(**said)


def answer(folder: Path, sql: str, limit: int, timeout_s: float) -> Answer:
    """The same within this process: what the child does. Raises ConsoleError."""
    import time

    import duckdb

    limit = max(1, min(limit, MOST_ROWS))
    with _database(folder) as con:
        _check(duckdb, sql)
        clock = threading.Timer(timeout_s, con.interrupt)
        clock.daemon = True
        clock.start()
        begun = time.perf_counter()
        try:
            found = con.sql(sql)
            if found is None:
                raise ConsoleError("The query has no result; write a select.")
            rows = found.limit(limit + 1).fetchall()
        except duckdb.InterruptException:
            raise ConsoleError(_too_long(timeout_s)) from None
        except (duckdb.OutOfMemoryException, MemoryError):
            raise ConsoleError("The query needed more memory than it may have; ask for less at once.") from None
        except duckdb.PermissionException:
            raise ConsoleError("The console opens no files and no network: it sees this snapshot alone.") from None
        except duckdb.CatalogException as error:
            said = _sentence(error)
            if "Table with name" in said:  # or it proposes one of the database's own
                there = ", ".join(
                    name
                    for (name,) in con.execute(
                        "select view_name from duckdb_views() where not internal order by 1"
                    ).fetchall()
                )
                said = f"{said.split(' Did you mean')[0]} The console has {there}."
            raise ConsoleError(said) from None
        except duckdb.Error as error:
            raise ConsoleError(_sentence(error)) from None
        finally:
            clock.cancel()
        seconds = time.perf_counter() - begun
        shown, chars = list[list[Any]](), 0
        for row in rows[:limit]:
            cells = [_plain(value) for value in row]
            chars += sum(len(c) if isinstance(c, str) else 8 for c in cells)
            if chars > MOST_ANSWER_CHARS:
                break
            shown.append(cells)
        return Answer(
            list(found.columns), [str(t) for t in found.types], shown, len(shown) < len(rows), round(seconds, 3)
        )


def _database(folder: Path) -> duckdb.DuckDBPyConnection:
    """In memory, with the snapshot as views, and then locked. The views read through Arrow: DuckDB itself opens nothing."""
    import duckdb
    import pyarrow.dataset as arrow

    con = duckdb.connect(config={
        "autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "python_enable_replacements": "false",
        "memory_limit": MEMORY, "threads": 2, "temp_directory": "",
    })  # fmt: skip
    con.execute("set enable_progress_bar = false")  # stdout is for the answer
    data = arrow.dataset(folder / DATA)
    con.register("ratings", data)
    if (folder / PAIRS).is_file():
        con.register("comparisons", arrow.dataset(folder / PAIRS))
    there = set(data.schema.names)
    lists = ", ".join(f"unnest({name}) as {name}" for name in PER_STEP if name in there)
    plain = ", ".join(name for name in OF_ROW if name in there)
    con.execute(f"create view steps as select {plain}, unnest(range(len(rating))) as step, {lists} from ratings")
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")
    return con


def _check(duckdb: Any, sql: str) -> None:
    """Exactly one statement, and one that reads."""
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise ConsoleError(_sentence(error)) from None
    if len(statements) != 1:
        raise ConsoleError(f"The console takes one statement at a time; this is {len(statements)}.")
    if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        kind = statements[0].type.name.lower()
        raise ConsoleError(f"The console only reads: this is a statement of the kind {kind}; write a select.")


def _sentence(error: Exception) -> str:
    """DuckDB's own words, which name the place; without the page of context."""
    text = str(error).strip().split("\n\n")[0].split("\nLINE")[0].replace("\n", " ")
    return text[:500] or "The query could not be run."


def _too_long(timeout_s: float) -> str:
    return f"The query ran longer than {timeout_s:g} seconds and was stopped; ask for less, or work on the Parquet file itself."


def _plain(value: Any) -> Any:
    """A value as JSON has it; long texts and lists are shortened."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping | list | tuple):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= MOST_CELL_CHARS else f"{text[:MOST_CELL_CHARS]}… ({len(text):,} characters)"


def main() -> None:
    """The child: one question on stdin, one answer on stdout."""
    import resource

    asked = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    seconds = math.ceil(asked["timeout_s"]) * 4 + 10  # of processor time, over both threads: the last resort
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        said = answer(Path(asked["folder"]), asked["sql"], asked["limit"], asked["timeout_s"]).to_json()
    except ConsoleError as error:
        said = {"error": str(error)}
    except MemoryError:
        said = {"error": "The query needed more memory than it may have; ask for less at once."}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
