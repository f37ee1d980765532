"""The log of ratings: latest wins, replays change nothing, undo is an event."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.events import RatingEvent
from storage.store import Store, StoreError
from tests.storage.helpers import Rater, make_trace, rate

N_STEPS = 3
SETTINGS = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

_step = st.tuples(
    st.just("step"), st.integers(0, N_STEPS - 1), st.just("correctness"), st.sampled_from([1.0, 0.0, -1.0, None])
)
_error = st.tuples(st.just("step"), st.integers(0, N_STEPS - 1), st.just("first_error"), st.just(1.0))
_decision = st.tuples(
    st.just("decision"),
    st.integers(0, N_STEPS - 1),
    st.sampled_from(["worth_exploring", "right_return"]),
    st.sampled_from([1.0, 0.0]),
)
_verdict = st.tuples(st.just("trace"), st.none(), st.just("verdict"), st.sampled_from([1.0, 0.0, -1.0, None]))
_what = st.one_of(_step, _error, _decision, _verdict)
_acts = st.lists(st.tuples(st.sampled_from(["set", "set", "set", "clear"]), _what), max_size=25)


def _opened(store: Store) -> Rater:
    trace = make_trace((None, 0, 0))
    store.add_trace(trace).result()
    return Rater(store, store.open_assignment("ann", trace.trace_id))


def _event(hand: Rater, action: str, what: tuple[str, int | None, str, float | None]) -> RatingEvent:
    target, step, dimension, value = what
    fields: dict[str, Any] = {"target": target, "dimension": dimension, "step_idx": step}
    if action == "set":
        fields |= {"value": value} if value is not None else {"value_text": "unsure"}
    return hand.event(action, **fields)


def _model(events: list[RatingEvent]) -> dict[tuple[str, int | None, str], tuple[float | None, str | None]]:
    """What a plain Python dictionary says counts now."""
    current: dict[tuple[str, int | None, str], tuple[float | None, str | None]] = {}
    for event in sorted(events, key=lambda e: e.seq):  # stable: among equals the later committed wins
        key = (event.target, event.step_idx, event.dimension)
        if event.action == "set":
            current[key] = (event.value, event.value_text)
        else:
            current.pop(key, None)
    return current


def _current(store: Store, hand: Rater) -> dict[tuple[str, int | None, str], tuple[float | None, str | None]]:
    found = store.current_ratings(hand.assignment.assignment_id)
    assert len({(r.target, r.step_idx, r.dimension) for r in found}) == len(found)
    return {(r.target, r.step_idx, r.dimension): (r.value, r.value_text) for r in found}


@SETTINGS
@given(acts=_acts, seed=st.integers(0, 2**16))
def test_latest_wins_however_events_arrive(store: Store, acts: list[Any], seed: int) -> None:
    """In order, shuffled on the way, in pieces, and with replays: the view is what a dictionary says."""
    hand = _opened(store)
    events = [_event(hand, action, what) for action, what in acts]
    chance = random.Random(seed)
    sent = events + chance.sample(events, k=len(events) // 2)
    chance.shuffle(sent)
    futures = []
    while sent:
        n = chance.randint(1, 4)
        futures.append(store.add_rating_events(sent[:n]))
        sent = sent[n:]
    for future in futures:
        future.result()
    assert _current(store, hand) == _model(events)
    assert len(store.events(hand.assignment.assignment_id)) == len(events)


@SETTINGS
@given(acts=_acts)
def test_replaying_a_whole_log_changes_nothing(store: Store, acts: list[Any]) -> None:
    hand = _opened(store)
    events = [_event(hand, action, what) for action, what in acts]
    ids = [e.event_id for e in events]
    assert store.add_rating_events(events).result() == ids
    before, seq = store.events(hand.assignment.assignment_id), store.event_seq()
    assert store.add_rating_events(events).result() == ids, "a replay is acknowledged like the first time"
    assert store.add_rating_events(list(reversed(events))).result() == ids[::-1]
    assert store.events(hand.assignment.assignment_id) == before
    assert store.event_seq() == seq


def test_a_replay_after_a_restart_changes_nothing(store: Store) -> None:
    hand = _opened(store)
    events = [hand.step(i, 1) for i in range(N_STEPS)]
    store.close()
    with Store.open(store.folder) as again:
        assert again.add_rating_events(events).result() == [e.event_id for e in events]
        assert [(e.event_id, e.seq, e.value) for e in again.events(hand.assignment.assignment_id)] == [
            (e.event_id, e.seq, e.value) for e in events
        ]
        assert again.event_seq() == N_STEPS


def test_undo_is_an_event(store: Store) -> None:
    hand = _opened(store)
    key = ("step", 0, "correctness")
    hand.step(0, 1)
    hand.step(0, -1)
    assert _current(store, hand)[key] == (-1.0, None)
    hand.step(0, 1)  # undo: the value before
    assert _current(store, hand)[key] == (1.0, None)
    hand.send("clear", target="step", step_idx=0, dimension="correctness")  # and the one before that: nothing
    assert key not in _current(store, hand)
    assert len(store.events(hand.assignment.assignment_id)) == 4, "nothing was forgotten"


def test_neutral_unsure_and_unrated_are_three_things(store: Store) -> None:
    hand = _opened(store)
    hand.step(0, 0)
    hand.step(1, None)
    assert _current(store, hand) == {
        ("step", 0, "correctness"): (0.0, None),
        ("step", 1, "correctness"): (None, "unsure"),
    }


def test_status_follows_the_clients_order_not_the_order_of_arrival(store: Store) -> None:
    hand = _opened(store)
    submit, reopen, again = hand.event("submit"), hand.event("reopen"), hand.event("submit")
    store.add_rating_events([again]).result()
    store.add_rating_events([submit, reopen]).result()
    found = store.assignment(hand.assignment.assignment_id)
    assert found is not None
    assert (found.status, found.events_seq) == ("submitted", again.seq)
    assert found.scores_visible
    hand.send("reopen")
    found = store.assignment(hand.assignment.assignment_id)
    assert found is not None
    assert found.status == "leased"
    assert not found.scores_visible
    hand.send("skip", value_text="bad_problem")
    found = store.assignment(hand.assignment.assignment_id)
    assert found is not None
    assert (found.status, found.status_reason) == ("skipped", "bad_problem")


def test_events_that_cannot_be_kept_are_left_out_and_explained(store: Store) -> None:
    hand = _opened(store)
    good = hand.event("set", target="step", step_idx=0, dimension="correctness", value=1)
    beyond = replace(good, event_id=str(uuid.uuid4()), step_idx=N_STEPS)
    stranger = replace(good, event_id=str(uuid.uuid4()), rater_id="eve")
    lost = replace(good, event_id=str(uuid.uuid4()), assignment_id="nowhere")
    events = [beyond, good, stranger, lost]
    assert store.add_rating_events(events).result() == [good.event_id]
    reasons = store.why_rejected(events)
    assert set(reasons) == {beyond.event_id, stranger.event_id, lost.event_id}
    assert "3 steps, counted from 0" in reasons[beyond.event_id]
    assert "not that of 'eve'" in reasons[stranger.event_id]
    assert "no assignment nowhere" in reasons[lost.event_id]


def test_an_operation_that_fails_leaves_no_trace_of_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids remembered for idempotence must not outlive a rollback: a retry would be acknowledged but not kept."""
    from storage import ratings

    hand = _opened(store)
    event = hand.event("set", target="step", step_idx=0, dimension="correctness", value=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            ratings.RatingLog, "_follow", lambda *_: (_ for _ in ()).throw(OSError("No space left on device"))
        )
        with pytest.raises(StoreError, match="Nothing was saved: the disk of the data folder is full"):
            store.add_rating_events([event]).result()
    assert store.events(hand.assignment.assignment_id) == []
    assert store.add_rating_events([event]).result() == [event.event_id]
    assert [e.event_id for e in store.events(hand.assignment.assignment_id)] == [event.event_id]


def test_two_raters_never_mix(store: Store) -> None:
    trace = make_trace()
    ann = rate(store, trace, "ann", [1, 1, 1])
    bob = rate(store, trace, "bob", [-1, None, None])
    assert _current(store, ann) == {("step", i, "correctness"): (1.0, None) for i in range(3)}
    assert _current(store, bob) == {("step", 0, "correctness"): (-1.0, None)}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dimension": "parent", "value": 1}, "an earlier step"),
        ({"dimension": "parent", "value": -2}, "an earlier step"),
        ({"dimension": "parent", "value": 0.5}, "an earlier step"),
        ({"dimension": "parent", "value_text": "unsure"}, "an earlier step"),
        ({"dimension": "kind", "value_text": "magic"}, "a kind is one of"),
    ],
)
def test_a_correction_that_cannot_be_is_refused(store: Store, fields: dict[str, Any], says: str) -> None:
    hand = _opened(store)
    with pytest.raises(ValueError, match=says):
        hand.event("set", target="step", step_idx=1, **fields)
