"""Traces go in and come out unchanged, whatever their text."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.formats import parse_response
from core.trace import Earlier, Origin, Trace, new_id, problem_id_of
from storage.store import Store, StoreError
from tests.storage.helpers import HOSTILE, Rater, make_trace, rate


def test_a_trace_comes_back_as_it_was_stored(store: Store) -> None:
    trace = make_trace(
        (None, 0, 0, 2), sampling={"temperature": 1.0, "seed": 7}, stats={"steps": 4, "tokens_per_s": 151.2},
        solved=True, created_at="2026-11-20T12:00:00Z", finish_reason="step_limit",
        earlier=Earlier(("one", "two"), "full"),
    )  # fmt: skip
    store.add_trace(trace).result()
    assert store.trace(trace.trace_id) == trace
    assert store.trace("no such trace") is None


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_round_trip(store: Store, text: str) -> None:
    trace = make_trace((None, 0), names=[text, text], prompt=text or " ", model=text, answer=text, error=text)
    store.add_trace(trace).result()
    assert store.trace(trace.trace_id) == trace
    assert store.traces()[0].prompt == trace.prompt
    hand = Rater(store, store.open_assignment("rater " + text, trace.trace_id))
    hand.send("set", target="trace", dimension="note", value_text=text)
    assert [r.value_text for r in store.current_ratings(hand.assignment.assignment_id)] == [text]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.text(min_size=1, max_size=40), response=st.text(max_size=200))
def test_any_text_round_trips(store: Store, prompt: str, response: str) -> None:
    steps, nodes, answer, form = parse_response(prompt, response)
    trace = Trace(new_id(), problem_id_of(prompt), prompt, response, tuple(steps), tuple(nodes), answer, format=form)
    store.add_trace(trace).result()
    assert store.trace(trace.trace_id) == trace


def test_text_that_is_no_text_is_refused_in_a_sentence(store: Store) -> None:
    with pytest.raises(StoreError, match=r'"response" of trace .* half of a surrogate pair'):
        store.add_trace(make_trace((None,), names=["\ud83d"]))
    with pytest.raises(StoreError, match=r'"earlier.trace_ids\[1\]" of trace .* half of a surrogate pair'):
        store.add_trace(make_trace(earlier=Earlier(("one", "\ud83d"), "full")))
    with pytest.raises(StoreError, match=r'"origin.root" of trace .* half of a surrogate pair'):
        store.add_trace(make_trace(origin=Origin("\ud83d", "one", 0, 1, "continue")))


def test_storing_a_trace_again_changes_nothing_and_another_text_is_refused(store: Store) -> None:
    trace = make_trace()
    futures = [store.add_trace(trace) for _ in range(5)]
    for future in futures:
        future.result()
    assert store.stats()["traces"] == 1
    assert store.stats()["steps"] == 3
    other, fine = make_trace((None,), trace_id=trace.trace_id), make_trace()
    refused, kept = store.add_trace(other), store.add_trace(fine)
    with pytest.raises(StoreError, match="already stored, with another text"):
        refused.result()
    kept.result()  # one bad write does not take its neighbours with it
    assert store.trace(trace.trace_id) == trace
    assert store.trace(fine.trace_id) == fine


def test_pages_are_complete_and_newest_first(store: Store) -> None:
    traces = [
        make_trace(prompt=f"Reach {i} from 1, 2 and 3.", created_at=f"2026-11-20T12:00:{i // 3:02d}Z")
        for i in range(20)
    ]
    for future in [store.add_trace(trace) for trace in traces]:
        future.result()
    seen, after = [], None
    while page := store.traces(limit=7, after=after):
        seen += page
        after = page[-1].trace_id
    assert [row.trace_id for row in seen] == [
        t.trace_id for t in sorted(traces, key=lambda t: (t.created_at, t.trace_id), reverse=True)
    ]
    assert [row.prompt for row in store.traces(text="REACH 13 ")] == ["Reach 13 from 1, 2 and 3."]
    assert store.traces(model="another") == []
    assert len(store.traces(model="pocket", limit=5)) == 5


def test_the_list_counts_steps_backtracks_and_ratings(store: Store) -> None:
    trace = make_trace((None, 0, 0, None))
    rate(store, trace, "ann", [1, -1, "unsure", None])
    rate(store, trace, "bob", [1, None, None, None])
    row = store.traces()[0]
    assert (row.n_steps, row.n_backtracks, row.n_ratings, row.n_submitted) == (4, 2, 4, 2)


def test_a_long_prompt_is_cut_in_lists_only(store: Store) -> None:
    trace = make_trace(prompt="x" * 100_000)
    store.add_trace(trace).result()
    assert len(store.traces()[0].prompt) == 500
    assert store.trace(trace.trace_id) == trace


def test_scores_stand_apart_from_ratings_and_the_latest_counts(store: Store) -> None:
    trace = make_trace()
    store.add_trace(trace).result()
    for values in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]):
        store.add_scores(trace.trace_id, trace.segmentation_id, "prm", "job1", values, "min").result()
    store.add_scores(trace.trace_id, trace.segmentation_id, "prm", "job2", [1, 1, 1], "prod").result()
    found = {s.scorer_version: s for s in store.scores(trace.trace_id)}
    assert found["job1"].values == (0.4, 0.5, 0.6)
    assert found["job2"].to_json()["values"] == [1.0, 1.0, 1.0]
    assert store.stats()["ratings"] == 0


def test_statistics_count_what_counts_now(store: Store) -> None:
    hand = rate(store, make_trace(solved=True), "ann", [1, 0, -1])
    hand.step(0, None)
    rate(store, make_trace(model="other"), "bob", [1, None, None], verdict=1)
    stats = store.stats()
    assert stats["rating_histogram"] == {"good": 1, "neutral": 1, "bad": 1, "unsure": 1}
    assert (stats["traces"], stats["steps"], stats["ratings"], stats["judgements"], stats["submitted"]) == (
        2,
        6,
        4,
        5,
        2,
    )
    assert stats["by_rater"] == [
        {"rater_id": "ann", "ratings": 3, "submitted": 1}, {"rater_id": "bob", "ratings": 1, "submitted": 1},
    ]  # fmt: skip
    assert [m["model"] for m in stats["by_model"]] == ["other", "pocket"]


def test_threads_read_while_others_write_and_nobody_gets_anothers_row(store: Store) -> None:
    traces = [make_trace(prompt=f"question {i}") for i in range(12)]
    wrong: list[object] = []

    def work(mine: list[Trace]) -> None:
        for trace in mine:
            store.add_trace(trace).result()
            wrong.extend(t for t in mine[: mine.index(trace) + 1] if store.trace(t.trace_id) != t)

    threads = [threading.Thread(target=work, args=(traces[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert store.stats()["traces"] == 12


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    waiting = [store.add_trace(make_trace()) for _ in range(20)]
    store.close()
    store.close()
    assert all(future.done() and future.exception() is None for future in waiting)
    with pytest.raises(StoreError, match="closed"):
        store.add_trace(make_trace())
    with pytest.raises(StoreError, match="closed"):
        store.traces()
    with Store.open(tmp_path) as again:
        assert again.stats()["traces"] == 20


def test_cursors_go_with_their_threads(store: Store) -> None:
    for _ in range(20):
        thread = threading.Thread(target=store.stats)
        thread.start()
        thread.join()
    gc.collect()
    assert len(store.connections._cursors) <= 2, "a server that runs for weeks must not gather connections"
