"""Rows of searches that have ended: kept once, given back as they were, newest first; the doctor and a backup know of them."""

from __future__ import annotations

from pathlib import Path

from storage import backup, doctor
from storage.searches import SearchRow, add_searches, list_searches, read_search
from storage.store import Store
from tests.storage.helpers import make_trace


def row(search_id: str = "01k0", **changes: object) -> SearchRow:
    values = {
        "search_id": search_id, "problem_id": "p", "prompt": "Reach 24 from 4, 7, 8 and 8.", "strategy": "beam",
        "params": {"width": 2, "vote": "weighted"}, "model": "pocket", "scorer": "countdown-oracle", "seed": 2**62,
        "started_by": "ada", "correct": True, "answer": "8 × 3", "nodes": 17, "prompt_tokens": 900, "cached_tokens": 800,
        "generated_tokens": 321, "scorer_tokens": 0, "solver_flops": 1.5e9, "scorer_flops": 0.0, "seconds": 1.25, "calls": 9,
        "created_at": "2026-11-20T12:00:00.000Z",
    }  # fmt: skip
    return SearchRow(**{**values, **changes})  # type: ignore[arg-type]


def test_a_search_is_given_back_as_it_was_and_kept_once(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        first, second = row(), row("01k1", correct=None, solver_flops=None, trace_id=None, reason="cancelled")
        for one in (first, second, first, row("01k0", reason="error")):  # a search that has ended ended once
            store.write(add_searches, one).result()
        found = store.read(lambda con: list_searches(con, 10))
        assert [f.search_id for f in found] == ["01k1", "01k0"]
        assert all(f.ended_at.endswith("Z") for f in found)
        assert [SearchRow(**{**vars(f), "ended_at": ""}) for f in found] == [second, first]
        assert store.read(lambda con: read_search(con, "01k1")) == found[0]
        assert store.read(lambda con: read_search(con, "01k2")) is None
        assert len(store.read(lambda con: list_searches(con, 1))) == 1


def test_the_doctor_finds_a_choice_that_is_gone_and_notes_a_log_that_is(tmp_path: Path) -> None:
    trace = make_trace()
    with Store.open(tmp_path) as store:
        store.add_trace(trace).result()
        store.write(add_searches, row(trace_id=trace.trace_id)).result()
        (tmp_path / "searches").mkdir()
        log = tmp_path / "searches" / "01k0.jsonl"
        log.write_text("{}\n")
        report = doctor.examine(store)
        assert (report.findings, report.notes, report.counts["search"]) == ([], [], 1)
        log.rename(log.with_suffix(".broken"))
        store.write(add_searches, row("01k1", trace_id="nobody")).result()
        report = doctor.examine(store)
        assert report.findings == [f"1 searches chose a trace that is not here. {doctor.BACKUP}"]
        assert len(report.notes) == 2
        assert report.notes[0].startswith("The logs of 2 searches are gone")
        assert "01k0.broken" in report.notes[1]


def test_a_backup_holds_the_logs(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data") as store:
        store.write(add_searches, row()).result()
        (tmp_path / "data" / "searches").mkdir()
        (tmp_path / "data" / "searches" / "01k0.jsonl").write_text('{"type": "start"}\n')
        made = backup.write(backup.stream(store), tmp_path / "copy")
    assert "searches/01k0.jsonl" in made.files
    backup.restore(tmp_path / "copy", tmp_path / "again")
    assert (tmp_path / "again" / "searches" / "01k0.jsonl").read_text() == '{"type": "start"}\n'
    with Store.open(tmp_path / "again") as store:
        assert store.query("select search_id from search") == [("01k0",)]
