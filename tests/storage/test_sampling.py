"""In which order items come, who may have them, and what becomes of what was fetched ahead."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from storage import gold, sampling
from storage.queues import claims, items, progress
from storage.queues.claims import Claim
from storage.queues.settings import Config, Queue, SettingError, need_queue, read_queue, save_queues
from storage.ratings import utc_now
from storage.references import read_reference, set_references
from storage.rubrics import Questions, Rubric, RubricError, add_versions, read_versions
from storage.sampling import shortlist
from storage.store import Assignment, Store, StoreError
from tests.storage.helpers import Rater, make_trace, rate

Q = "mine"


def make(store: Store, **settings: Any) -> Queue:
    config = Config(**settings.pop("config", {}))
    return store.write(save_queues, Queue(Q, "Mine", config=config, **settings)).result()


def fill(store: Store, n: int, **changes: Any) -> list[str]:
    traces = [
        make_trace(prompt=f"q{i}", created_at=f"2026-11-20T12:{i % 60:02d}:{i // 60:02d}Z", **changes) for i in range(n)
    ]
    for future in [store.add_trace(t) for t in traces]:
        future.result()
    return [t.trace_id for t in traces]


def take(store: Store, rater: str, **how: Any) -> Assignment:
    found = store.next_assignment(rater, Q, **how)
    assert found is not None
    return found


def lapse(store: Store) -> None:
    """Every lease ended a while ago."""

    def end(con: Any, items: Any) -> list[None]:
        con.execute("update assignment set lease_expires_at = timestamp '2020-01-01'")
        return [None] * len(items)

    store.write(end, None).result()


def chosen_by(store: Store) -> dict[str, str]:
    return dict(store.query("select trace_id, sampled_by from assignment"))


def test_8_threads_never_share_a_place(store: Store) -> None:
    """Claims as threads make them, until nothing is left: every item once. WORLDLINE_LEASE_ITEMS=1000 takes half a minute."""
    n = int(os.environ.get("WORLDLINE_LEASE_ITEMS", "200"))

    def insert(con: Any, items: Any) -> list[None]:
        con.execute(
            "insert into trace select 't' || i, 'p', 'q' || i, '', '', '', 'stop', 'm', 'plain', '{}', '{}', null, '', "
            "timestamp '2026-01-01' + to_seconds(i), '', 1, 0, 'run', timestamp '2026-01-01', null, null, null from range(?) r(i)",
            [n],
        )
        con.execute("insert into segmentation select 's' || i, 't' || i, 'plain', 1 from range(?) r(i)", [n])
        return [None] * len(items)

    store.write(insert, None).result()
    make(store, overlap=1, sampling="random")
    taken: list[tuple[str, str]] = []

    def claim_and_leave(con: Any, raters: Any) -> list[str | None]:
        """What a rater does in a day, in one go: the next item, and away with it."""
        found = [claims.claim(con, [Claim(rater, Q)])[0] for rater in raters]
        con.execute("update assignment set status = 'submitted' where status = 'leased'")
        return [f and f.trace_id for f in found]

    def work(rater: str) -> None:
        while (trace_id := store.write(claim_and_leave, rater).result()) is not None:
            taken.append((rater, trace_id))

    threads = [threading.Thread(target=work, args=(f"rater {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(trace for _, trace in taken) == {f"t{i}": 1 for i in range(n)}
    assert store.query("select count(*), count(distinct item_id) from slot")[0] == (n, n)
    assert len({rater for rater, _ in taken}) > 1


def test_what_is_fetched_ahead_is_kept_apart_and_begins_when_it_is_shown(store: Store) -> None:
    first, second, third = fill(store, 3)
    make(store, overlap=1, sampling="oldest")
    now = take(store, "ann")
    ahead = take(store, "ann", ahead=True)
    assert (now.trace_id, ahead.trace_id, ahead.status) == (first, second, "offered")
    assert take(store, "ann").assignment_id == now.assignment_id, "a reload comes back to the work in hand"
    assert take(store, "ann", ahead=True).assignment_id == ahead.assignment_id, "and asks for no third"
    assert take(store, "bob").trace_id == third, "its place is held"
    assert store.remaining("ann", Q) == 2
    Rater(store, now).submit()
    begun = store.begin(ahead.assignment_id, "ann")
    assert begun is not None
    assert (begun.status, begun.lease_expires_at > ahead.lease_expires_at) == ("leased", True)
    assert take(store, "ann").assignment_id == ahead.assignment_id
    with pytest.raises(StoreError, match="not that of 'bob'"):
        store.begin(ahead.assignment_id, "bob")


def test_what_was_fetched_ahead_and_never_shown_is_free_again(store: Store) -> None:
    fill(store, 1)
    make(store, overlap=1)
    ahead = take(store, "ann", ahead=True)
    assert store.next_assignment("bob", Q) is None
    lapse(store)
    assert take(store, "bob", ahead=True).trace_id == ahead.trace_id
    assert store.begin(ahead.assignment_id, "ann") is None, "another has it"
    lapse(store)
    again = take(store, "ann")  # the same row, for the slot is hers already
    assert (again.assignment_id, again.status) == (ahead.assignment_id, "leased")


def test_a_lapsed_lease_is_let_go_untouched_and_kept_with_work_in_it(store: Store) -> None:
    """And what is submitted after its place was taken is an extra rating, of its rater alone."""
    fill(store, 1)
    make(store, overlap=1)
    idle = take(store, "idle")
    lapse(store)
    busy = Rater(store, take(store, "busy"))
    assert store.next_assignment("idle", Q) is None, "nothing was done in it, and busy has it"
    busy.step(0, 1)
    assert store.write(claims.release, busy.assignment.assignment_id).result() is True
    assert store.write(claims.release, busy.assignment.assignment_id).result() is False
    quick = Rater(store, take(store, "idle"))
    assert quick.assignment.assignment_id == idle.assignment_id
    assert take(store, "busy").assignment_id == busy.assignment.assignment_id, "work is never taken away"
    quick.submit()
    busy.submit()
    late = dict(store.query("select rater_id, late from assignment"))
    assert late == {"idle": False, "busy": True}
    assert store.stats()["submitted"] == 2


def test_a_filter_says_which_traces_are_in_a_queue(store: Store) -> None:
    wrong = fill(store, 2, solved=False, model="a%b")
    fill(store, 2, solved=True, model="other")
    make(store, config={"solved": "wrong", "model": "a%b", "text": "Q1"})
    assert take(store, "ann").trace_id == wrong[1]
    assert store.remaining("ann", Q) == 1


def scored(store: Store, trace_id: str, *values: float) -> None:
    trace = store.trace(trace_id)
    assert trace is not None
    store.add_scores(trace_id, trace.segmentation_id, "prm", "v1", values, "last").result()


def claim(store: Store, rater: str, draw: float) -> Assignment:
    """A claim whose draw is given: which slice of the sampling it falls in."""
    queue = store.read(lambda con: read_queue(con, Q))
    assert queue is not None
    lists = {
        s.sampled_by: tuple(store.read(lambda con, s=s: s.rank(con, queue)))
        for s in sampling.order_of(queue).slices(queue)
        if s.rank
    }
    found = store.write(claims.claim, Claim(rater, Q, rankings=lists, draw=draw)).result()
    assert found is not None
    return found


def test_convincing_wrong_answers_come_first_with_a_logged_random_slice(store: Store) -> None:
    mild, strong = fill(store, 2, solved=False)
    right, plain = fill(store, 2, solved=True)
    queue = make(store, sampling="convincing_wrong", config={"random_share": 0.1})
    assert "so the least rated comes first" in store.sampling_lacks(queue)
    assert claim(store, "early", 0.0).trace_id == mild, "nothing to go by: least rated"
    for trace_id, last in ((mild, 0.6), (strong, 0.9), (right, 0.8)):
        scored(store, trace_id, 0.1, 0.1, last)
    shares = {s.sampled_by: round(s.share, 3) for s in sampling.STRATEGIES["convincing_wrong"].traces.slices(queue)}
    assert shares == {"convincing_wrong": 0.72, "convincing_other": 0.18, "random_slice": 0.1}
    assert claim(store, "ann", 0.5).trace_id == strong
    assert claim(store, "bob", 0.8).trace_id == right
    lucky = claim(store, "eve", 0.95)
    logged = store.query("select rater_id, sampled_by from assignment order by rater_id")
    assert dict(logged) == {
        "ann": "convincing_wrong",
        "bob": "convincing_other",
        "early": "least_rated",
        "eve": "random_slice",
    }
    assert lucky.trace_id in (mild, strong, right, plain)


def test_uncertainty_and_disagreement_go_where_another_opinion_helps(store: Store) -> None:
    sure, unsure = fill(store, 2)
    make(store, sampling="uncertainty", config={"random_share": 0.0})
    scored(store, sure, 0.95, 0.9, 0.02)
    scored(store, unsure, 0.5, 0.6, 0.45)
    assert claim(store, "ann", 0.5).trace_id == unsure
    agreed, split = make_trace(prompt="agreed"), make_trace(prompt="split")
    queue = make(store, sampling="disagreement", config={"random_share": 0.0})
    for trace, ratings in ((agreed, ((1, 1), (1, 1))), (split, ((1, 1), (1, -1)))):
        store.add_trace(trace).result()
        for rater, values in zip(("ann", "bob"), ratings, strict=True):
            hand = Rater(store, store.open_assignment(rater, trace.trace_id, Q))
            for step, value in enumerate(values):
                hand.step(step, value)
            hand.submit()
    assert store.sampling_lacks(queue) == ""
    assert claim(store, "eve", 0.5).trace_id == split.trace_id
    assert chosen_by(store)[split.trace_id] in ("chosen", "disagreement")


def test_strata_are_kept_in_balance(store: Store) -> None:
    """Six of one model and two of another: of four raters' work, half goes to each."""
    common = fill(store, 6, model="common")
    rare = fill(store, 2, model="rare")
    make(store, sampling="stratified", overlap=1, config={"strata": ("model",)})
    got = [take(store, f"rater {i}").trace_id for i in range(4)]
    assert (len(set(got) & set(common)), len(set(got) & set(rare))) == (2, 2)


@pytest.mark.parametrize("sampling_by", ["least_rated", "oldest", "random", "stratified"])
def test_a_large_queue_hands_out_from_a_list_that_is_kept_ready(
    store: Store, monkeypatch: pytest.MonkeyPatch, sampling_by: str
) -> None:
    """The list is shorter than the queue and older than the last claims: still every item once, and in the order asked for."""
    monkeypatch.setattr(shortlist, "SHORTLIST", 6)
    monkeypatch.setattr(claims, "FRONT", 2)
    ids = fill(store, 4) + fill(store, 8, model="other")
    queue = make(store, overlap=1, sampling=sampling_by, config={"strata": ("model",)})
    assert len(store.read(lambda con: shortlist.shortlist(con, queue, sampling.drawn(queue, 0.0)[0])) or ()) == 6
    taken = [take(store, f"r{i}") for i in range(12)]
    assert sorted(a.trace_id for a in taken) == sorted(ids)
    assert store.next_assignment("one more", Q) is None
    assert {*chosen_by(store).values()} == {sampling_by}
    if sampling_by in ("least_rated", "oldest"):
        oldest = store.query("select trace_id from trace order by created_at, trace_id limit 4")
        assert [a.trace_id for a in taken[:4]] == [row[0] for row in oldest]
    if sampling_by == "stratified":
        first = Counter(a.trace_id in ids[:4] for a in taken[:6])
        assert first[True] == 3, "half of each model, as long as the list was"


def test_what_a_rater_had_is_passed_by_in_a_list_that_is_kept_ready(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without overlap nothing is ever full: one rater goes through all of it, another begins with what fewest have."""
    monkeypatch.setattr(shortlist, "SHORTLIST", 4)
    monkeypatch.setattr(claims, "FRONT", 2)
    ids = fill(store, 7)
    make(store)
    seen = []
    for _ in ids:
        work = take(store, "ann")
        seen.append(work.trace_id)
        Rater(store, work).send("submit")
    assert sorted(seen) == sorted(ids) and store.next_assignment("ann", Q) is None
    assert take(store, "ben").trace_id in ids


def test_settings_and_rubrics_that_cannot_be_are_refused_in_a_sentence(store: Store) -> None:
    queue = make(store, overlap=2)
    for change, words in (
        ({"overlap": 0}, '"overlap" is 0'),
        ({"lease_minutes": 0}, '"lease_minutes"'),
        ({"sampling": "magic"}, "\"sampling\" is 'magic'; it must be one of least_rated"),
        ({"gold_share": 1.5}, '"gold_share"'),
        ({"title": " "}, '"title"'),
        ({"unit": "pair"}, "make another queue"),
        ({"rubric_version": 9}, "does not have"),
        ({"config": Config(reference="maybe")}, '"reference"'),
        ({"sampling": "stratified", "config": Config(strata=())}, '"strata" is empty'),
    ):
        with pytest.raises(SettingError, match=words):
            store.write(save_queues, replace(queue, **change)).result()
    assert store.read(lambda con: read_queue(con, Q)) == queue
    for text, questions in (
        ("", Questions()),
        ("x", Questions(tags=("a", "a"))),
        ("x", Questions(criteria=(("No", "x"),))),
    ):
        with pytest.raises(RubricError):
            store.write(add_versions, Rubric("steps", 0, text, questions)).result()


def test_an_assignment_keeps_the_rubric_it_was_handed_out_with(store: Store) -> None:
    fill(store, 2)
    queue = make(store, overlap=1)
    before = take(store, "ann")
    asked = Questions(("slip",), ("neat",), (("clarity", "Which is clearer?"),))
    added = store.write(add_versions, Rubric("steps", 0, "New words", asked, "eve")).result()
    store.write(save_queues, replace(queue, rubric_version=added.version)).result()
    assert (before.rubric_version, take(store, "bob").rubric_version) == (1, 2)
    assert store.assignment(before.assignment_id).rubric_version == 1
    assert store.read(lambda con: read_versions(con, "steps"))[0].questions == asked


def test_progress_history_and_reference(store: Store) -> None:
    ids = fill(store, 3)
    queue = make(store, overlap=1, sampling="oldest")
    Rater(store, take(store, "ann")).submit()
    Rater(store, take(store, "ann")).send("skip", value_text="unsure")
    take(store, "ann")
    take(store, "bob", ahead=True)
    mine = store.read(lambda con: progress.mine(con, "ann", store.need_queue(Q)))
    assert (mine.submitted, mine.skipped, mine.remaining, mine.submitted_today) == (1, 1, 1, 1)
    assert mine.minutes_each is not None
    whole = store.read(lambda con: progress.queue_progress(con, queue))
    assert (whole.items, whole.complete, whole.under_way, whole.untouched) == (3, 1, 2, 0), "a skipped one went to bob"
    assert [(lease.rater_id, lease.ahead) for lease in whole.leases] == [("ann", False), ("bob", True)]
    assert [(r.rater_id, r.submitted, r.skipped, r.open) for r in whole.raters] == [("ann", 1, 1, 1)]
    last = store.read(lambda con: progress.history(con, "ann", 20))
    assert [(d.trace_id, d.status, d.status_reason) for d in last] == [
        (ids[1], "skipped", "unsure"),
        (ids[0], "submitted", ""),
    ]
    problem = store.trace(ids[0]).problem_id
    assert store.write(set_references, (problem, "24")).result() is True
    assert store.write(set_references, ("nowhere", "24")).result() is False
    assert store.read(lambda con: read_reference(con, problem)) == "24"
    assert rate(store, make_trace(prompt="q0"), "eve", [1, 1, 1]).assignment.queue_id == "default"


@given(
    overlap=st.sampled_from([None, 1, 2]),
    acts=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["take", "ahead", "submit", "release"])), max_size=12),
    gold_too=st.booleans(),
)
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_what_remains_is_as_many_as_are_open(overlap: int | None, acts: list[tuple[int, str]], gold_too: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "data") as store:
        kept = [make_trace(prompt=f"Question {i}") for i in range(4)]
        for trace in kept:
            store.add_trace(trace).result()
        store.set_queue(overlap=overlap).result()
        queue = store.read(lambda con: need_queue(con, "default"))
        if gold_too:
            answers = (gold.Answer("step", 0, "correctness", 1.0, None),)
            store.write(gold.add_gold, gold.Gold("default", kept[0].trace_id, "gold", answers, "", True, "me")).result()
        for number, act in acts:
            rater = f"rater {number}"
            work = store.next_assignment(rater, ahead=act == "ahead")
            if work is not None and act == "submit":
                Rater(store, work).send("submit")
            if work is not None and act == "release":
                store.write(claims.release, work.assignment_id).result()
        for rater in ("rater 0", "rater 1", "nobody yet"):
            now = utc_now()
            sql, params = items.open_to(queue, rater, now)
            assert store.query(*items.count_open_to(queue, rater, now)) == store.query(
                f"select count(*) from ({sql})", params
            )
