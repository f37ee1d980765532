"""Handing out work: nobody gets what another is working on, nothing gets stuck."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest

from storage import ratings
from storage.queues import claims
from storage.queues.assignments import Assignment
from storage.ratings import utc_now
from storage.store import Store, StoreError
from tests.storage.helpers import Rater, make_trace, rate


def _fill(store: Store, n: int) -> list[str]:
    traces = [make_trace(prompt=f"q{i}", created_at=f"2026-11-20T12:{i:02d}:00Z") for i in range(n)]
    for future in [store.add_trace(t) for t in traces]:
        future.result()
    return [t.trace_id for t in traces]


def _take(store: Store, rater: str) -> Assignment:
    found = store.next_assignment(rater)
    assert found is not None
    return found


def test_8_threads_never_take_the_same_trace(store: Store) -> None:
    """One rater a trace: 40 traces, 8 threads, every trace is handed out exactly once."""
    ids = _fill(store, 40)
    store.set_queue(overlap=1).result()
    taken: list[str] = []

    def work(rater: str) -> None:
        while (assignment := store.next_assignment(rater)) is not None:
            taken.append(assignment.trace_id)
            Rater(store, assignment).submit()

    threads = [threading.Thread(target=work, args=(f"rater {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(taken) == Counter(ids)
    slots = store.query("select count(*), count(distinct item_id) from slot")[0]
    assert slots == (40, 40)


def test_without_a_limit_open_leases_spread_before_they_overlap(store: Store) -> None:
    ids = _fill(store, 4)
    first = [_take(store, f"rater {i}").trace_id for i in range(4)]
    assert first == ids, "oldest first, and nobody on what another has open"
    assert _take(store, "rater 4").trace_id == ids[0]


def test_an_open_lease_comes_back_after_a_reload(store: Store) -> None:
    _fill(store, 3)
    mine = _take(store, "ann")
    assert _take(store, "ann").assignment_id == mine.assignment_id
    hand = Rater(store, mine)
    hand.step(1, 1)
    back = _take(store, "ann")
    assert (back.assignment_id, back.events_seq) == (mine.assignment_id, hand.seq)
    hand.submit()
    assert _take(store, "ann").trace_id != mine.trace_id


@pytest.mark.parametrize("ahead", [False, True])
def test_what_is_handed_out_is_what_was_written(store: Store, ahead: bool) -> None:
    """The answer to a claim is made beside the row, not read from it: now, when it comes back, and when it lapsed unseen."""
    _fill(store, 2)
    store.set_queue(overlap=1).result()
    first = store.next_assignment("ada", ahead=ahead)
    assert first is not None and first == store.assignment(first.assignment_id)
    again = store.next_assignment("ada", ahead=ahead)
    assert again is not None and again.assignment_id == first.assignment_id
    assert again == store.assignment(first.assignment_id)
    if ahead:
        store.write(claims.release, first.assignment_id).result()
        lapsed = store.next_assignment("ada", ahead=True)
        assert lapsed is not None and lapsed.assignment_id == first.assignment_id  # the same place, taken up again
        assert lapsed == store.assignment(first.assignment_id)


def test_skipped_and_submitted_do_not_come_back_by_themselves(store: Store) -> None:
    ids = _fill(store, 2)
    assert store.remaining("ann") == 2
    Rater(store, _take(store, "ann")).send("skip", value_text="bad_problem")
    Rater(store, _take(store, "ann")).submit()
    assert store.next_assignment("ann") is None
    assert store.remaining("ann") == 0
    assert store.remaining("bob") == 2
    assert [a.trace_id for a in store.recent_assignments("ann")] == ids[::-1]


def test_a_submitted_trace_can_be_opened_again(store: Store) -> None:
    trace = make_trace()
    hand = rate(store, trace, "ann", [1, 1, 1])
    again = store.open_assignment("ann", trace.trace_id)
    assert (again.assignment_id, again.status) == (hand.assignment.assignment_id, "submitted")
    hand.send("reopen")
    assert _take(store, "ann").assignment_id == hand.assignment.assignment_id


def test_a_lease_that_ran_out_is_free_and_late_work_is_kept(store: Store) -> None:
    _fill(store, 1)
    store.set_queue(overlap=1).result()
    slow = Rater(store, _take(store, "slow"))
    assert store.next_assignment("quick") is None
    store._writer.submit(_expire, None).result()
    quick = Rater(store, _take(store, "quick"))
    assert quick.assignment.trace_id == slow.assignment.trace_id
    quick.step(0, 1)
    quick.submit()
    slow.step(0, -1)
    slow.submit()
    assert store.stats()["submitted"] == 2, "an extra rating, not a lost one"


def _expire(con: object, items: list[object]) -> list[None]:
    con.execute("update assignment set lease_expires_at = timestamp '2020-01-01'")  # type: ignore[attr-defined]
    return [None] * len(items)


def test_a_skip_taken_back_after_another_took_the_place_is_an_extra_rating(store: Store) -> None:
    _fill(store, 1)
    store.set_queue(overlap=1).result()
    first = Rater(store, _take(store, "first"))
    first.send("skip", value_text="unsure")
    second = Rater(store, _take(store, "second"))
    first.send("reopen")
    for hand in (first, second):
        hand.step(0, 1)
        hand.submit()
    assert _late(store) == {"first": True, "second": False}


def test_a_lease_that_was_released_is_not_renewed_over_whoever_has_the_place_now(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(store, 1)
    store.set_queue(overlap=1).result()
    first = Rater(store, _take(store, "first"))
    first.step(0, 1)
    assert store.write(claims.release, first.assignment.assignment_id).result()
    second = Rater(store, _take(store, "second"))
    later = utc_now() + timedelta(minutes=45)  # past half of the lease that was released
    for module in (claims, ratings):
        monkeypatch.setattr(module, "utc_now", lambda: later)
    for hand in (second, first):
        hand.step(1, 1)
    for hand in (first, second):
        hand.submit()
    assert _late(store) == {"first": True, "second": False}


def test_a_trace_opened_by_name_when_others_have_its_places_is_an_extra_rating(store: Store) -> None:
    (trace_id,) = _fill(store, 1)
    store.set_queue(overlap=1).result()
    _take(store, "untouched")
    store._writer.submit(_expire, None).result()
    second = Rater(store, _take(store, "second"))
    third, lapsed = (Rater(store, store.open_assignment(who, trace_id)) for who in ("third", "untouched"))
    for hand in (lapsed, third, second):
        hand.step(0, 1)
        hand.submit()
    assert _late(store) == {"untouched": True, "second": False, "third": True}


def _late(store: Store) -> dict[str, bool]:
    return dict(store.query("select rater_id, late from assignment"))


def test_the_slot_key_refuses_a_second_claim_of_the_same_slot(store: Store) -> None:
    (trace_id,) = _fill(store, 1)
    _take(store, "ann")

    def claim_again(con: object, items: list[object]) -> list[None]:
        con.execute("insert into slot values ('default', ?, 0, 'eve')", [trace_id])  # type: ignore[attr-defined]
        return [None] * len(items)

    with pytest.raises(StoreError, match="Nothing was saved"):
        store._writer.submit(claim_again, None).result()
    assert store.query("select rater_id from slot") == [("ann",)]


def test_a_trace_without_steps_is_not_handed_out(store: Store) -> None:
    trace = make_trace(())
    store.add_trace(trace).result()
    assert store.next_assignment("ann") is None
    with pytest.raises(StoreError, match="has no steps"):
        store.open_assignment("ann", trace.trace_id)
    with pytest.raises(StoreError, match="no trace 'nowhere'"):
        store.open_assignment("ann", "nowhere")
    with pytest.raises(StoreError, match="no queue 'other'"):
        store.next_assignment("ann", "other")
    with pytest.raises(StoreError, match="1 to 128 characters"):
        store.next_assignment("")


def test_scores_are_hidden_until_submitted_unless_the_queue_verifies(store: Store) -> None:
    _fill(store, 1)
    hand = Rater(store, _take(store, "ann"))
    assert not hand.assignment.scores_visible
    hand.submit()
    found = store.assignment(hand.assignment.assignment_id)
    assert found is not None
    assert found.scores_visible
    store.set_queue(verify_mode=True).result()
    assert _take(store, "bob").to_json()["scores_visible"] is True
