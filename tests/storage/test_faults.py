"""Disks that are full or read-only, clocks that are set, logs that end too early: a sentence, and a store that opens again."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage import connections, log_file
from storage.database import DATABASE
from storage.queues.settings import DEFAULT_QUEUE
from storage.store import CorruptFolder, RatingEvent, Store, StoreError
from tests.storage.helpers import Rater, make_trace, rate

LONG = "x" * 5000

resource = pytest.importorskip("resource", reason="there are no limits to a file's size on Windows")


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """As on a full disk, every write beyond `size` bytes of a file fails. (Python ignores the signal that comes with it.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _hand(store: Store, rater: str = "ann") -> Rater:
    trace = make_trace()
    store.add_trace(trace).result()
    return Rater(store, store.open_assignment(rater, trace.trace_id))


def _note(hand: Rater) -> RatingEvent:
    return hand.event("set", target="trace", dimension="note", value_text=LONG)


def _log(store: Store) -> Path:
    return log_file.log_of(store.folder / DATABASE)


def _ids(store: Store) -> list[str]:
    return [event_id for (event_id,) in store.query("select event_id from rating_event order by server_seq")]


def test_a_full_disk_refuses_in_a_sentence_and_goes_on_when_there_is_room(store: Store) -> None:
    hand = _hand(store)
    kept: list[str] = []
    with no_file_beyond(_log(store).stat().st_size + 60_000):
        refused = None
        while refused is None:
            waiting = store.add_rating_events([_note(hand)])
            refused = waiting.exception()
            kept += [] if refused else waiting.result()
        assert "the disk of the data folder is full. Make room" in str(refused)
        assert kept, "there was room for some"
        assert _ids(store) == kept, "it can still be read"
        group = [store.add_rating_events([_note(hand)]) for _ in range(5)]  # fails one by one
        assert all(isinstance(future.exception(), StoreError) for future in group)
    kept += store.add_rating_events([_note(hand)]).result()
    assert _ids(store) == kept
    store.close()
    with Store.open(store.folder) as again:
        assert _ids(again) == kept


def test_a_checkpoint_is_not_begun_without_room_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hand = _hand(store)
    usage = shutil.disk_usage(store.folder)
    # The disk first: the writer asks whether a checkpoint is due after it has acknowledged, so perhaps only now.
    monkeypatch.setattr(connections.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    monkeypatch.setattr(connections, "CHECKPOINT_BYTES", 1000)
    before = _log(store).stat().st_size
    hand.step(0, 1)
    assert _log(store).stat().st_size > before, "nothing was checkpointed"
    hand.step(1, 1)
    assert "1 MB left; make room" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(connections, "CHECKPOINT_BYTES", 1000)
    hand.step(2, 1)
    store.close()
    assert not _log(store).exists()


def test_an_instance_that_a_full_disk_ended_is_opened_again_in_place(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A checkpoint that fails ends DuckDB's instance; with other readers about, the same store goes on."""
    monkeypatch.setattr(connections, "ROOM", 0)  # as if somebody else had filled the disk just now
    monkeypatch.setattr(connections, "ROOM_LEAST", 0)
    hand, kept = _hand(store), list[str]()
    with ThreadPoolExecutor(4) as readers:
        list(readers.map(lambda _: store.stats(), range(8)))
        kept += store.add_rating_events([_note(hand) for _ in range(10)]).result()
        monkeypatch.setattr(connections, "CHECKPOINT_BYTES", 1000)
        with no_file_beyond(max(p.stat().st_size for p in store.folder.iterdir()) + 20_000):
            kept += store.add_rating_events([_note(hand)]).result()  # acknowledged; the checkpoint after it fails
            counts = list(readers.map(lambda _: len(_ids(store)), range(8)))
            for _ in range(300):  # the readers may all have been done before the checkpoint failed
                if "was opened again" in caplog.text:
                    break
                time.sleep(0.1)
        assert counts == [len(kept)] * 8
        assert "was opened again" in caplog.text
        kept += store.add_rating_events([_note(hand)]).result()
        assert _ids(store) == kept
    store.close()
    with Store.open(store.folder) as again:
        assert _ids(again) == kept


def test_a_read_only_disk_is_refused_in_a_sentence_and_nothing_is_changed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Store.open(data) as store:
        _hand(store)
    before = {p.name: p.read_bytes() for p in data.iterdir()}
    with _read_only(data), pytest.raises(StoreError) as refused:
        Store.open(data)
    assert "permissions" in str(refused.value) or "read-only" in str(refused.value).lower()
    assert "--data" in str(refused.value)
    assert {p.name: p.read_bytes() for p in data.iterdir()} == before
    Store.open(data).close()


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        modes = {p: p.stat().st_mode for p in (*folder.iterdir(), folder)}
        for path in modes:
            path.chmod(0o500 if path.is_dir() else 0o400)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    bind = ["mount", "--bind", str(folder), str(folder)]  # modes do not hold root back
    if shutil.which("mount") is None or subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("root may write everywhere, and may not mount here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_turns_read_only_under_a_store_refuses_in_a_sentence(tmp_path: Path) -> None:
    """As a disk does after an error of its own. What was acknowledged is read on, and is there when the disk was checked."""
    with _disk(tmp_path) as (folder, turn_read_only, mend):
        store = Store.open(folder / "data")
        hand = _hand(store)
        kept = store.add_rating_events([_note(hand)]).result()
        turn_read_only()
        for _ in range(2):
            refused = store.add_rating_events([_note(hand)]).exception()
            assert isinstance(refused, StoreError) and "can only be read now" in str(refused)
        assert _ids(store) == kept and store.trace(hand.assignment.trace_id) is not None
        store.close()
        with pytest.raises(StoreError, match="--data"):
            Store.open(folder / "data")
        mend()
        with Store.open(folder / "data") as again:
            assert _ids(again) == kept
            again.add_rating_events([_note(hand)]).result()


@contextlib.contextmanager
def _disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], object], Callable[[], None]]]:
    """A disk of its own: where it is mounted, what makes it find an error, and what has it checked and mounted anew."""
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64_000_000)
    mount = ["mount", "-o", "loop,errors=remount-ro", str(image), str(folder)]
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "e2fsck", "mount", "umount"))):
        pytest.skip("only root can make a disk of its own, with mkfs.ext4, e2fsck and mount")
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk of its own may be mounted here")

    device = next(line.split()[0] for line in Path("/proc/mounts").read_text().splitlines() if f" {folder} " in line)
    trigger = Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error")

    def mend() -> None:
        subprocess.run(["umount", str(folder)], check=True)
        subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True)
        subprocess.run(mount, check=True)

    try:
        if not trigger.exists():
            pytest.skip("this kernel cannot be asked to find an error on a disk")
        yield folder, lambda: trigger.write_text("asked for by a test"), mend
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_log_that_ends_anywhere_opens_with_all_that_was_committed_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.open(tmp_path / "data")
    hand, sizes, ids = _hand(store), list[int](), list[str]()
    for i in range(8):
        ids.append(hand.step(i % 3, 1).event_id)
        sizes.append(_log(store).stat().st_size)
    base, log = (store.folder / DATABASE).read_bytes(), _log(store).read_bytes()
    store.close()
    between = [sizes[3] + (sizes[4] - sizes[3]) * i // 6 for i in range(7)]  # within one commit, and at its borders
    for at in [0, 3, 40, sizes[0] // 2, *between, len(log) - 1, len(log)]:
        folder = tmp_path / f"cut at {at}"
        folder.mkdir()
        (folder / DATABASE).write_bytes(base)
        log_file.log_of(folder / DATABASE).write_bytes(log[:at])
        whole = sum(size <= at for size in sizes)
        caplog.clear()
        with caplog.at_level(logging.WARNING), Store.open(folder) as found:
            if at >= sizes[0]:
                assert _ids(found) == ids[:whole]
                assert ("in the midst of a commit" in caplog.text) == (at not in sizes)
                Rater(found, found.open_assignment("ann", hand.assignment.trace_id)).step(0, -1)
        with Store.open(folder) as found:
            assert len(_ids(found)) == (whole + 1 if at >= sizes[0] else 0), "what came after is kept as well"


def test_a_log_that_is_damaged_inside_is_refused_unchanged_and_can_be_cut(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data")
    hand, ids = _hand(store), list[str]()
    for i in range(6):
        ids.append(hand.step(i % 3, 1).event_id)
        if i == 3:
            whole = _log(store).stat().st_size
    base, log = (store.folder / DATABASE).read_bytes(), bytearray(_log(store).read_bytes())
    store.close()
    log[whole + 30] ^= 0xFF
    (store.folder / DATABASE).write_bytes(base)
    _log(store).write_bytes(log)
    with pytest.raises(CorruptFolder, match="worldline doctor") as refused:
        Store.open(store.folder)
    assert _log(store).read_bytes() == log
    at = log_file.damage(str(refused.value))
    assert at is not None and at >= whole
    kept = log_file.cut(_log(store), at)
    assert kept.read_bytes() == log
    assert _log(store).stat().st_size == whole, "or opening would say that nobody was told of what is cut in the midst"
    with Store.open(store.folder) as found:
        assert _ids(found) == ids[:4]


def test_a_clock_that_is_set_loses_doubles_and_reorders_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward a year and back to before everything: leases end or last, the order of commit stands."""
    from storage import ratings
    from storage.queues import claims, progress

    shift = [timedelta()]
    for module in (ratings, claims, progress):
        monkeypatch.setattr(module, "utc_now", lambda: datetime.now(UTC).replace(tzinfo=None) + shift[0])
    store.set_queue(overlap=1).result()
    hand, sent = _hand(store), list[str]()
    for days in (0, 400, -9000, -1, 0):
        shift[0] = timedelta(days=days)
        sent.append(hand.step(0, 1).event_id)
        sent.append(hand.step(1, -1).event_id)
        mine = store.next_assignment("ann")
        assert mine is not None and mine.assignment_id == hand.assignment.assignment_id, "work in hand stays in hand"
    shift[0] = timedelta(days=1)  # the lease is over: another may have the trace
    other = store.next_assignment("ben")
    assert other is not None and other.trace_id == hand.assignment.trace_id
    shift[0] = timedelta()
    assert store.next_assignment("cleo") is None, "both leases last again, and no third is handed out"
    sent.append(hand.send("submit").event_id)
    assert _ids(store) == sent
    found = store.assignment(hand.assignment.assignment_id)
    assert found is not None and found.status == "submitted"
    assert {r.step_idx: r.value for r in store.current_ratings(found.assignment_id)} == {0: 1.0, 1: -1.0}


def test_what_is_decided_after_the_clock_was_set_back_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from storage import adjudication, clock
    from storage.snapshots import SnapshotSpec, freeze, load_snapshot

    trace = make_trace()
    rate(store, trace, "ann", (1, 0, -1))

    def decide(value: float) -> None:
        decision = adjudication.Decision(
            DEFAULT_QUEUE, trace.trace_id, "correctness", 0, value, None, "boss", "The sum is wrong.", False
        )
        store.write(adjudication.decide, decision).result()

    decide(1)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "utc_now", lambda: datetime.now(UTC).replace(tzinfo=None) + timedelta(days=400))
        decide(0)
    decide(-1)  # the clock is right again, 400 days before the decision that was made last
    assert [d.value for d in store.read(lambda con: adjudication.current(con, DEFAULT_QUEUE))] == [-1]
    every = store.read(lambda con: adjudication.decisions_on(con, DEFAULT_QUEUE, trace.trace_id, 0, "correctness"))
    assert [d.value for d in every] == [-1, 0, 1]
    info = freeze(store, store.folder / "snapshots", SnapshotSpec(), "boss")
    rows = pq.read_table(
        store.folder / "snapshots" / info.snapshot_id / "data.parquet", columns=["adjudicated"]
    ).to_pylist()
    assert [row["adjudicated"][0] for row in rows] == [-1]
    assert load_snapshot(store.folder / "snapshots", info.snapshot_id).manifest["counts"]["adjudicated_steps"] == 1
    unsure = adjudication.Decision(
        DEFAULT_QUEUE, trace.trace_id, "correctness", 0, None, "unsure", "boss", "Nobody can tell.", False
    )
    store.write(adjudication.decide, unsure).result()
    later = freeze(store, store.folder / "snapshots", SnapshotSpec(), "boss")
    assert load_snapshot(store.folder / "snapshots", later.snapshot_id).manifest["counts"]["adjudicated_steps"] == 0
