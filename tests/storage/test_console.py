"""The SQL console reads a snapshot and nothing else: no file, no setting, no more time, memory or rows than it may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.cards import sha256_of
from storage.console import ConsoleError, answer, ask
from storage.snapshots import freeze, load_snapshot
from storage.store import Store
from tests.storage.helpers import make_trace, rate

FORBIDDEN = [
    "copy (select 1) to '{folder}/data.parquet'", "select * from read_text('/etc/hostname')", "select * from '{folder}/data.parquet'",
    "select * from glob('/etc/*')", "attach '{folder}/x.db'", "install httpfs", "load json", "create table t as select 1",
    "drop view ratings", "set enable_external_access = true", "pragma enable_profiling", "export database '{folder}'",
    "select 1; select 2", "", "insert into ratings select * from ratings", "prepare p as select 1", "call pragma_version()",
    "select * from sniff_csv('/etc/hostname')", "select * from parquet_metadata('{folder}/data.parquet')", "select * from con",
    "from read_csv('http://127.0.0.1:1/x.csv')", "select 1) union (select 2", "select no_such_column from ratings",
]  # fmt: skip


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> Path:
    rate(store, make_trace((None, 0, 0)), "ann", [1, -1, "unsure"])
    return freeze(store, tmp_path / "snapshots").folder


def test_a_query_reads_steps_and_ratings(folder: Path) -> None:
    snapshot = load_snapshot(folder.parent, folder.name)
    found = ask(snapshot, "select step, rating, unsure from steps order by step -- all of them")
    assert (found.columns, found.rows, found.cut) == (
        ["step", "rating", "unsure"], [[0, 1, False], [1, -1, False], [2, None, True]], False,
    )  # fmt: skip
    cut = answer(folder, "select x, repeat('ab', 3000) as long, 'nan'::double, [1, null] from range(10) r(x)", 2, 5)
    assert cut.cut and [row[0] for row in cut.rows] == [0, 1]
    assert cut.rows[0][1].endswith("… (6,000 characters)") and cut.rows[0][2:] == ["nan", "[1, null]"]
    assert answer(folder, "describe ratings", 100, 5).rows[0][0] == "trace_id"


def test_nothing_but_reading_the_snapshot_is_possible(folder: Path, tmp_path: Path) -> None:
    before = {path: sha256_of(path) for path in tmp_path.rglob("*") if path.is_file()}
    for sql in FORBIDDEN:
        with pytest.raises(ConsoleError) as refused:
            answer(folder, sql.replace("{folder}", str(folder)), 10, 5)
        assert str(folder) not in str(refused.value) and "Traceback" not in str(refused.value), sql
    assert {path: sha256_of(path) for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_table_that_is_not_there_is_answered_with_those_that_are(folder: Path) -> None:
    with pytest.raises(ConsoleError, match=r"comparisons does not exist! The console has ratings, steps\.$"):
        answer(folder, "select * from comparisons", 10, 5)


def test_a_query_has_only_so_much_time_and_memory(folder: Path) -> None:
    snapshot = load_snapshot(folder.parent, folder.name)
    with pytest.raises(ConsoleError, match=r"ran longer than 0\.3 seconds"):
        answer(folder, "select count(*) from range(100000000000) a, range(1000) b", 10, 0.3)
    with pytest.raises(ConsoleError, match="more memory than it may have"):
        ask(snapshot, "select repeat('x', 4000000000), repeat('y', 4000000000)")
