"""Folders that are not ours, cannot be read, or belong to somebody else: a sentence, and not one byte changed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage import migrations
from storage.database import DATABASE, SCHEMA_VERSION
from storage.store import CorruptFolder, FolderInUse, ForeignFolder, Store, StoreError
from tests.storage.helpers import make_trace

ROOT = Path(__file__).parents[2]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _refused(folder: Path, kind: type[StoreError], sentence: str) -> StoreError:
    before = _bytes(folder)
    with pytest.raises(kind, match=sentence) as caught:
        Store.open(folder)
    assert _bytes(folder) == before, "a folder that is refused stays as it was"
    assert "--data" in str(caught.value), "the mend is named"
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_new_folder_is_made_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b c'd"
    with Store.open(folder) as store:
        store.add_trace(make_trace()).result()
    with Store.open(folder) as store:
        assert store.stats()["traces"] == 1
        version = store.query("select tags from duckdb_databases() where not internal")[0][0]["storage_version"]
        assert version.startswith("v1.5.0"), "later versions of DuckDB must be able to read the file, and 1.5 too"


def test_a_folder_owned_by_another_process_is_refused_with_its_pid(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from storage.store import Store\n"
        "store = Store.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    try:
        with pytest.raises(FolderInUse, match=f"in use by process {process.pid}") as caught:
            Store.open(tmp_path)
        assert caught.value.pid == process.pid
        (tmp_path / "owner.json").write_text(json.dumps({"pid": process.pid, "url": "http://127.0.0.1:7860"}))
        with pytest.raises(FolderInUse, match=r"at http://127\.0\.0\.1:7860"):
            Store.open(tmp_path)
    finally:
        process.communicate()
    with Store.open(tmp_path) as store:
        assert store.stats()["traces"] == 0


def test_the_same_process_cannot_open_a_folder_twice(tmp_path: Path) -> None:
    with Store.open(tmp_path):
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
            Store.open(tmp_path / ".." / tmp_path.name)
    Store.open(tmp_path).close()


@pytest.mark.parametrize("content", [b"not a database at all\n" * 500, b"\x00" * 12_288, b"DUCK"])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    _refused(tmp_path, CorruptFolder, "cannot be read as a database")


def test_a_database_cut_short_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.add_trace(make_trace()).result()
    whole = (tmp_path / DATABASE).read_bytes()
    (tmp_path / DATABASE).write_bytes(whole[:5000])
    _refused(tmp_path, CorruptFolder, "cannot be read as a database")


def test_a_database_with_damaged_pages_never_shows_a_traceback(tmp_path: Path) -> None:
    """Damage may show on opening or only when the page is read: both ways it is a StoreError, never something else."""
    with Store.open(tmp_path / "whole") as store:
        for future in [store.add_trace(make_trace()) for _ in range(50)]:
            future.result()
    whole = (tmp_path / "whole" / DATABASE).read_bytes()
    readable = []
    for i, start in enumerate(range(4096, len(whole), len(whole) // 6)):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / DATABASE).write_bytes(whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :])
        with contextlib.suppress(StoreError):
            readable.append(_read_all(folder))
    assert len(readable) < i + 1, "some of the damage was noticed"


def _read_all(folder: Path) -> int:
    with Store.open(folder) as store:
        return sum(len(trace.steps) for row in store.traces() if (trace := store.trace(row.trace_id)))


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / DATABASE)) as con:
        con.execute("create table customers(name varchar)")
    _refused(tmp_path, ForeignFolder, r"not one of Worldline's \(its tables: customers\)")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with duckdb.connect(str(tmp_path / DATABASE)) as con:
        con.execute("update worldline_meta set value = '99' where key = 'schema_version'")
    _refused(tmp_path, ForeignFolder, f"schema version 99; this Worldline reads version {SCHEMA_VERSION}")


OF_VERSION_3 = Path(__file__).parent / "old_schemas" / "3.sql"
# One rater in mid-work, as version 3 kept it: T, T_SEGMENTS are a trace and its segmentation.
WORK_OF_VERSION_3 = """
insert into rater values ('ada', 'Ada', 'rater', '2026-11-01');
insert into rubric values ('steps', 1, 'Judge.', '2026-11-01');
insert into queue values ('default', 'steps', 1, 2, 45, true);
insert into slot values ('default', $trace, 0, 'ada');
insert into assignment values ('a1', 'default', $trace, $segments, 'ada', 'steps', 1, 'leased', '', -1, '2026-11-01', '2026-11-02', null, '2026-11-01');
insert into rating_event values (7, '7d444840-9dc0-11d1-b245-5ffdce74fad2', 'a1', 'ada', 3, null, '2026-11-01', 'set', 'step', $segments, 0, 'correctness', 1, null, 'key', 5, false, '');
"""


def _to_version_2(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("drop table refinement")
    con.execute("alter table trace drop column earlier")


def _to_version_1(con: duckdb.DuckDBPyConnection) -> None:
    _to_version_2(con)
    con.execute("alter table tree_edge drop column kind")
    con.execute("alter table trace drop column origin")
    con.execute("alter table trace drop column origin_root")


@pytest.mark.parametrize(("version", "undo"), [("1", _to_version_1), ("2", _to_version_2), ("3", lambda _: None)])
def test_a_file_of_an_older_version_is_brought_up_to_date(tmp_path: Path, version: str, undo: Any) -> None:
    kept = make_trace()
    with Store.open(tmp_path / "new") as store:
        store.add_trace(kept).result()
        segmentation = store.query("select segmentation_id from segmentation")[0][0]
    old = tmp_path / "old"
    old.mkdir()
    with duckdb.connect(str(old / DATABASE)) as con:
        con.execute(OF_VERSION_3.read_text())
        con.execute("insert into worldline_meta values ('schema_version', ?)", [version])
        con.execute(f"attach '{tmp_path / 'new' / DATABASE}' as new (read_only)")
        for table in ("problem", "trace", "segmentation", "step", "tree_edge"):
            con.execute(f"insert into {table} by name select * from new.{table}")
        for statement in con.extract_statements(WORK_OF_VERSION_3):
            values = {"trace": kept.trace_id, "segments": segmentation}
            con.execute(statement, {n: v for n, v in values.items() if f"${n}" in statement.query})
        con.execute("detach new")
        undo(con)
    for _ in range(2):
        with Store.open(old) as store:
            assert store.trace(kept.trace_id) == kept
            work = store.next_assignment("ada")
            assert work is not None
            assert (work.assignment_id, work.verify_mode, work.events_seq) == ("a1", True, 3)
            assert [(r.dimension, r.value) for r in store.current_ratings("a1")] == [("correctness", 1.0)]
            assert store.event_seq() == 7
            assert store.query("select password_hash, active from rater where rater_id = 'ada'") == [(None, True)]
    assert _columns(old) == _columns(tmp_path / "new")


def test_a_file_of_version_4_gets_a_table_of_searches_and_keeps_its_rows(tmp_path: Path) -> None:
    Store.open(tmp_path / "new").close()
    old = tmp_path / "old"
    old.mkdir()
    with duckdb.connect(str(old / DATABASE)) as con:
        con.execute((Path(migrations.__file__).parent / "schemas" / "4.sql").read_text())
        con.execute("insert into worldline_meta values ('schema_version', '4')")
        con.execute("insert into problem values ('p', 'Reach 24.', null, null, null, '2026-11-01')")
    for _ in range(2):
        with Store.open(old) as store:
            assert store.query("select problem_id, prompt from problem") == [("p", "Reach 24.")]
            assert store.query("select count(*) from search") == [(0,)]
    assert _columns(old) == _columns(tmp_path / "new")


def _columns(folder: Path) -> set[tuple[str, str, str, bool]]:
    with duckdb.connect(str(folder / DATABASE)) as con:
        return set(
            con.execute("select table_name, column_name, data_type, is_nullable from duckdb_columns()").fetchall()
        )


def test_the_newest_schema_is_kept_as_it_is_for_later_versions() -> None:
    """Whoever changes schema.sql makes a new version of it, with a migration and a copy of its own."""
    folder = Path(migrations.__file__).parent
    kept = folder / "schemas" / f"{migrations.SCHEMA_VERSION}.sql"
    assert kept.read_text(encoding="utf-8") == (folder / "schema.sql").read_text(encoding="utf-8")
    assert sorted(migrations.MIGRATIONS) == list(range(1, migrations.SCHEMA_VERSION))


def test_memory_that_cannot_be_had_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLINE_MEMORY", "100 MB")
    with Store.open(tmp_path) as store:
        assert store.query("select current_setting('memory_limit')") == [("95.3 MiB",)]
    for wrong in ("lots", "10MB", "-1GB", "1e9GB", "80%"):
        monkeypatch.setenv("WORLDLINE_MEMORY", wrong)
        with pytest.raises(StoreError, match=r"WORLDLINE_MEMORY is .*; it must be a size of at least 64MB"):
            Store.open(tmp_path)


def test_what_needs_more_memory_says_how_to_give_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLINE_MEMORY", "64MB")
    with Store.open(tmp_path) as store:
        with pytest.raises(StoreError, match=r"more than the 64MB of memory .* such as WORLDLINE_MEMORY=256MB"):
            store.query("select length(string_agg(repeat('x', 1000), '')) from range(200000)")
        assert store.query("select 1") == [(1,)]


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    for name in ("thesis.tex", "a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("mine")
    _refused(tmp_path, ForeignFolder, r"holds other files \(a.txt, b.txt, c.txt and 1 more\)")


def test_what_a_server_makes_beforehand_is_no_obstacle(tmp_path: Path) -> None:
    for name in ("snapshots", "exports", "jobs"):
        (tmp_path / name).mkdir()
    (tmp_path / "owner.json").write_text("{}")
    (tmp_path / DATABASE).write_bytes(b"")  # a process killed before it wrote anything
    Store.open(tmp_path).close()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ForeignFolder, match="is a file, not a folder"):
        Store.open(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(StoreError):
        Store.open(tmp_path / "file" / "below")
    (tmp_path / "folder" / DATABASE).mkdir(parents=True)
    with pytest.raises(ForeignFolder, match="is a folder where the database file should be"):
        Store.open(tmp_path / "folder")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="--data"):
            Store.open(tmp_path)
    finally:
        tmp_path.chmod(0o700)
