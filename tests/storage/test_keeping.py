"""Backups made while raters go on, folders made of them, and a doctor that finds what is wrong."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from storage import backup, connections, doctor, log_file, people
from storage.database import DATABASE
from storage.errors import BackupError
from storage.ratings import utc_now
from storage.snapshots import freeze, load_snapshot
from storage.store import Store, StoreError
from tests.storage.helpers import Rater, make_trace, rate


def _event_ids(store: Store) -> list[tuple[int, str]]:
    return store.query("select server_seq, event_id from rating_event order by server_seq")  # type: ignore[return-value]


def _damaged(store: Store, sql: str) -> None:
    store.write(lambda con, sqls: [con.execute(sql) and None for sql in sqls], sql).result()


def test_a_backup_made_while_raters_go_on_is_a_whole_moment(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CHECKPOINT_BYTES", 3000)  # checkpoints all the time, but for the backup
    monkeypatch.setattr(backup, "PIECE", 4096)  # many pieces, so that there is time for ratings between them
    rate(store, make_trace(prompt="Another."), "cleo", [1, 1, -1])
    frozen = freeze(store, store.folder / "snapshots")
    (store.folder / "owner.token").write_text("secret")
    trace = make_trace()
    store.add_trace(trace).result()
    hands = [Rater(store, store.open_assignment(name, trace.trace_id)) for name in ("ann", "ben")]
    stop, some, acknowledged = threading.Event(), threading.Semaphore(0), list[str]()

    def go_on(hand: Rater) -> None:
        while not stop.is_set():
            acknowledged.append(hand.step(hand.seq % 3, 1).event_id)
            some.release()

    threads = [threading.Thread(target=go_on, args=(hand,)) for hand in hands]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            some.acquire()
        before = set(acknowledged)
        made = backup.write(backup.stream(store), tmp_path / "backup")
        during = len(acknowledged) - len(before)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert during, "ratings went on while the backup was made"
    assert "owner.token" not in made.files
    backup.restore(tmp_path / "backup", tmp_path / "restored")
    with Store.open(tmp_path / "restored") as found:
        ids = _event_ids(found)
        assert ids == _event_ids(store)[: made.event_seq], "the beginning of the log, without a hole"
        assert before <= {event_id for _, event_id in ids}, "all that was acknowledged before it began"
        assert doctor.examine(found).findings == []
    assert load_snapshot(tmp_path / "restored" / "snapshots", frozen.snapshot_id).info.sha256 == frozen.sha256


def test_a_backup_that_broke_off_or_was_changed_is_refused(store: Store, tmp_path: Path) -> None:
    rate(store, make_trace(), "ann", [1, 1, -1])
    whole = list(backup.stream(store))
    for cut in (1, len(whole) // 2, len(whole) - 1):
        with pytest.raises(BackupError, match="broke off"):
            backup.write(whole[:cut], tmp_path / "backup")
    assert not [p for p in tmp_path.iterdir() if p.name != "data"], "nothing half done is left"
    backup.write(whole, tmp_path / "backup")
    with pytest.raises(BackupError, match="not empty"):
        backup.write(whole, tmp_path / "backup")
    with pytest.raises(BackupError, match="not empty"):
        backup.restore(tmp_path / "backup", store.folder)
    with (tmp_path / "backup" / DATABASE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(BackupError, match=rf"{DATABASE} was changed"):
        backup.restore(tmp_path / "backup", tmp_path / "restored")
    manifest = json.loads((tmp_path / "backup" / backup.MANIFEST).read_text())
    (tmp_path / "backup" / backup.MANIFEST).write_text(json.dumps({**manifest, "files": {"../../x": [1, "0"]}}))
    with pytest.raises(BackupError, match="outside"):
        backup.check(tmp_path / "backup")
    assert not (tmp_path / "restored").exists()


def test_a_backup_leaves_the_folder_to_the_process_that_has_it(store: Store) -> None:
    """POSIX: closing a descriptor of a file ends the process's locks on it, and a second process would write into it."""
    for _ in range(2):
        assert sum(len(piece) for piece in backup.stream(store))
    opening = f"from storage.store import Store; Store.open({str(store.folder)!r})"
    other = subprocess.run([sys.executable, "-c", opening], capture_output=True, text=True, check=False)
    assert "FolderInUse" in other.stderr, other.stderr


def test_closing_the_store_ends_a_backup_instead_of_waiting_for_it(store: Store) -> None:
    rate(store, make_trace(), "ann", [1])
    pieces: Iterator[bytes] = backup.stream(store)
    list(itertools.islice(pieces, 2))
    store.close()
    with pytest.raises(StoreError, match="closed while it was copied"):
        list(pieces)


def test_the_doctor_finds_every_kind_of_damage_and_makes_anew_what_follows_from_events(store: Store) -> None:
    hands = [rate(store, make_trace(prompt=f"Question {i}."), "ann", [1, -1, 0]) for i in range(9)]
    of = [hand.assignment for hand in hands]
    store.add_scores(of[0].trace_id, of[0].segmentation_id, "prm", "1", [0.5] * 3, "last").result()
    snapshot = freeze(store, store.folder / "snapshots")
    assert doctor.examine(store).findings == []
    # what follows from the events: found, made anew, gone
    for sql in (
        f"update assignment set status = 'leased' where assignment_id = '{of[0].assignment_id}'",
        f"update settled set value = 1 where assignment_id = '{of[1].assignment_id}'",
        f"delete from tally where assignment_id = '{of[2].assignment_id}'",
    ):
        _damaged(store, sql)
        assert any("--rebuild" in sentence for sentence in doctor.examine(store).findings), sql
        assert doctor.rebuild(store)
        assert doctor.examine(store).findings == []
        assert store.stats()["submitted"] == 9
    # what does not: found, with the way to a backup
    trace, segmentation = (
        (lambda i: f"trace_id = '{of[i].trace_id}'"),
        (lambda i: f"segmentation_id = '{of[i].segmentation_id}'"),
    )
    damages = {
        f"delete from problem where problem_id = (select problem_id from trace where {trace(0)})": "have no problem",
        f"update trace set response = response || 'x' where {trace(1)}": "responses are not the text",
        f"update step set char_end = char_end - 1 where {segmentation(2)} and step_idx = 1": "steps are not the text",
        f"delete from step where {segmentation(3)} and step_idx = 1": "lack steps",
        f"delete from segmentation where {segmentation(4)}": "not cut into steps",
        f"insert into rating_event select * replace (server_seq + 1000 as server_seq) from rating_event where {segmentation(5)} limit 1": "events are here twice",
        f"update rating_event set rater_id = 'eve' where {segmentation(6)} and step_idx = 0": "of another rater",
        f"update rating_event set step_idx = 77 where {segmentation(7)} and step_idx = 0": "beyond the end",
        f"delete from assignment where {trace(8)}": "belong to no assignment",
        "update model_score set step_values = [0.5]": "another number of steps",
        "delete from rater": "nobody who is known",
    }
    for sql in damages:
        _damaged(store, sql)
    manifest = store.folder / "snapshots" / snapshot.snapshot_id / "manifest.json"
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**said, "pairs": {"rows": 1, "sha256": "0" * 64}}))
    (manifest.parent / "pairs.parquet").write_bytes(b"x")
    assert any(f"{snapshot.snapshot_id} was changed" in s for s in doctor.examine(store).findings), (
        "its comparisons too"
    )
    manifest.write_text(json.dumps(said))
    (store.folder / "snapshots" / snapshot.snapshot_id / "data.parquet").write_bytes(b"x")
    found = doctor.examine(store).findings
    for says in (*damages.values(), "numbers have a gap", f"{snapshot.snapshot_id} was changed"):
        assert any(says in sentence and "backup" in sentence for sentence in found), says


def test_the_commands_keep_and_mend_a_folder(tmp_path: Path) -> None:
    data, command = tmp_path / "data", CliRunner()
    with Store.open(data) as store:
        hand = rate(store, make_trace(), "ann", [1, 1, -1])
        base, log = (data / DATABASE).read_bytes(), log_file.log_of(data / DATABASE).read_bytes()

    def run(*words: Any) -> tuple[int, str]:
        result = command.invoke(app, [str(word) for word in words])
        return result.exit_code, result.output

    assert run("doctor", "--data", data) == (
        0,
        "1 trace with 3 steps, 1 assignment, 4 rating events, 0 snapshots.\nAll is as it should be.\n",
    )
    assert run("backup", tmp_path / "kept", "--data", data)[0] == 0
    (data / DATABASE).write_bytes(base)
    broken = bytearray(log)
    broken[-200] ^= 0xFF  # in the commit of the submission
    log_file.log_of(data / DATABASE).write_bytes(broken)
    code, says = run("doctor", "--data", data)
    assert code == 1 and "damaged at byte" in says and "--rebuild" in says
    code, says = run("doctor", "--rebuild", "--data", data)
    assert code == 0 and "The log was cut" in says and "All is as it should be" in says
    assert run("restore", tmp_path / "kept", "--data", tmp_path / "again")[0] == 0
    with Store.open(tmp_path / "again") as store:
        assert len(store.events(hand.assignment.assignment_id)) == 4
    assert run("doctor", "--data", tmp_path / "nothing")[0] == 1
    assert not (tmp_path / "nothing").exists()


def test_a_restored_folder_has_nobody_logged_in(store: Store, tmp_path: Path) -> None:
    """A cookie that was thrown away after the backup would open the restored folder again."""
    store.write(people.add_accounts, people.NewAccount("ada", "Ada", "admin", "no hash")).result()
    store.write(people.begin_logins, people.Login("a" * 64, "ada", utc_now() + timedelta(days=1))).result()
    backup.write(backup.stream(store), tmp_path / "backup")
    backup.restore(tmp_path / "backup", tmp_path / "restored")
    assert store.query("select count(*) from login") == [(1,)]
    with Store.open(tmp_path / "restored") as found:
        assert found.query("select count(*) from login") == [(0,)]
        assert found.read(people.accounts_exist)


def test_one_id_in_two_assignments_is_no_damage(store: Store) -> None:
    """A script may choose its ids badly; nothing is lost by it, and a backup would lose what came since."""
    hands = [rate(store, make_trace(prompt=f"Question {i}."), "ann", [1, -1, 0]) for i in range(2)]
    for hand in hands:
        event = hand.event("comment", target="step", step_idx=0, value_text="odd")
        store.add_rating_events([replace(event, event_id="the same")]).result()
    assert not [s for s in doctor.examine(store).findings if "twice" in s]
