"""What is kept in memory is never older than the last commit."""

from __future__ import annotations

from dataclasses import replace

from storage.kept import Kept
from storage.queues.settings import DEFAULT_QUEUE, save_queues
from storage.store import Store


def test_what_was_read_before_a_change_is_not_kept() -> None:
    kept = Kept()

    def read() -> str:
        kept.changed()  # a commit, after this had read
        return "old"

    assert kept.get("queue", read) == "old"
    assert kept.get("queue", lambda: "new") == "new"
    assert kept.get("queue", lambda: "never read") == "new"


def test_a_queue_is_as_it_was_saved_last(store: Store) -> None:
    before = store.need_queue(DEFAULT_QUEUE)
    for title in ("First", "Second"):
        store.write(save_queues, replace(before, title=title)).result()
        assert store.need_queue(DEFAULT_QUEUE).title == title
    assert store.queue("none") is None
    store.write(save_queues, replace(before, queue_id="none", title="Made later")).result()
    assert store.need_queue("none").title == "Made later"
