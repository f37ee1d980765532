"""Agreement against published figures, aggregation against raters who are known to be bad, gold that pauses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from storage import gold
from storage.errors import StoreError
from storage.quality import aggregate as aggregation
from storage.quality import disputes, raters, votes
from storage.quality.aggregate import METHODS, aggregate
from storage.quality.figures import ALL_EQUAL, NO_UNIT, ONE_TRACE, ONE_VALUE, agreement, kappas, sums_of
from storage.queues.settings import DEFAULT_QUEUE, need_queue, save_queues
from storage.ratings import utc_now
from storage.store import Store
from tests.storage.helpers import Rater, make_trace, rate

# Four observers, twelve units, "." where nothing was said: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011),
# section C; also Gwet's cac.raw4raters. Published: α ordinal 0.815; AC1 0.77544 and agreement 0.81818 (irrCAC).
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def by_unit(units: Sequence[Sequence[int]], n_values: int):
    """Every unit as a trace of its own."""
    import numpy as np

    return np.stack([sums_of([unit], n_values) for unit in units])


def kappas_of(joint: Sequence[tuple[tuple[int, int], int]], n_values: int):
    """κ of two raters from how often they gave each two values, every unit a trace of its own."""
    import numpy as np

    said = [values for values, n in joint for _ in range(n)]
    sums = np.zeros((len(said), 1 + 2 * n_values))
    for row, (one, other) in zip(sums, said, strict=True):
        row[0], row[1 + one], row[1 + n_values + other] = one == other, 1, 1
    return kappas(sums, np.zeros(len(said), int), np.arange(len(said)), n_values)


def test_figures_are_those_published() -> None:
    units = [[sum(o[u] == str(v) for o in OBSERVERS) for v in range(1, 6)] for u in range(12)]
    found = agreement(by_unit(units, 5), 5)
    assert (found.n_units, found.n_ratings) == (11, 40)
    assert found.alpha.value == pytest.approx(0.815, abs=5e-4)
    assert found.ac1.value == pytest.approx(0.77544, abs=5e-6)
    assert found.percent.value == pytest.approx(81.818, abs=5e-4)
    for figure in (found.alpha, found.ac1, found.percent):
        assert figure.low is not None and figure.high is not None
        assert figure.low < figure.value < figure.high
    assert found == agreement(by_unit(units, 5), 5), "the interval is drawn anew each time"
    # Two readers of 50 proposals, of which both accept 20 and both reject 15: κ = 0.4 (the usual textbook example).
    (two,) = kappas_of([((0, 0), 20), ((0, 1), 5), ((1, 0), 10), ((1, 1), 15)], 2)
    assert two.value == pytest.approx(0.4)
    # Its standard error by the delta method (Fleiss, Cohen and Everitt 1969) is 0.1274: the drawn interval is as wide.
    assert two.low == pytest.approx(0.4 - 1.96 * 0.1274, abs=0.04)
    assert two.high == pytest.approx(0.4 + 1.96 * 0.1274, abs=0.04)


def test_what_is_undefined_says_why() -> None:
    same = agreement(by_unit([[0, 0, 3]] * 4, 3), 3)
    assert (same.percent.value, same.ac1.value, same.alpha.value) == (100, 1, None)
    assert same.alpha.sentence == ALL_EQUAL
    (equal,) = kappas_of([((1, 1), 9)], 2)
    assert (equal.value, equal.low, equal.sentence) == (None, None, ONE_VALUE)
    (met_once,) = kappas_of([((0, 1), 1)], 2)
    assert (met_once.value, met_once.low, met_once.sentence) == (0, None, ONE_TRACE)
    single = agreement(by_unit([[0, 0, 1]], 3), 3)
    assert (single.n_units, single.percent.sentence) == (0, NO_UNIT)
    one_trace = agreement(by_unit([[1, 0, 2]], 3), 3)
    assert one_trace.alpha.value is not None and one_trace.alpha.low is None
    assert "there is one" in one_trace.alpha.sentence


def test_aggregation_finds_who_is_bad_and_is_righter_than_a_majority() -> None:
    dice = random.Random(7)
    accuracy = {"ada": 0.95, "bob": 0.9, "cyd": 0.9, "dot": 0.0, "eve": 0.0}
    truth = [dice.choice((-1.0, 0.0, 1.0, 1.0)) for _ in range(300)]

    def say(unit: int, skill: float) -> float:
        return truth[unit] if dice.random() < skill else dice.choice((-1.0, 0.0, 1.0))

    cast = [((unit, "step"), who, say(unit, skill)) for unit in range(300) for who, skill in accuracy.items()]
    right = {}
    for method in METHODS:
        found = aggregate(cast, method)
        good, bad = ([found.competence[who] for who in names] for names in (("ada", "bob", "cyd"), ("dot", "eve")))
        assert min(good) > max(bad) + 0.1, (method, found.competence)
        right[method] = sum(found.labels.get((unit, "step")) == truth[unit] for unit in range(300))
    assert min(right["dawid_skene"], right["mace"]) > max(right["majority"], 280)
    assert aggregate([(1, "a", 1.0), (1, "b", -1.0)], "majority").labels == {}, "a tie has no majority"
    assert "one rater" in aggregate([(1, "a", 1.0)], "mace").sentence
    with pytest.raises(StoreError, match="dawid_skene"):
        aggregate([], "guess")


@pytest.mark.parametrize("method", METHODS)
def test_every_step_has_a_label_by_its_name_whatever_the_order_of_the_votes(method: str) -> None:
    import pandas as pd

    dice = random.Random(3)
    truth = {(f"s{n}", step): dice.choice((-1.0, 1.0, 1.0)) for n in range(40) for step in range(3)}
    cast = [
        (*unit, who, value if dice.random() < skill else dice.choice((-1.0, 0.0, 1.0)))
        for unit, value in truth.items()
        for who, skill in (("ada", 0.98), ("bob", 0.95), ("cyd", 0.9), ("eve", 0.0))
    ]
    cast = [*cast, ("alone", 7, "ada", -1.0)]
    names = ["segmentation_id", "step_idx", "rater_id", "value"]
    found = aggregation.aggregated(method, pd.DataFrame(cast, columns=names))
    dice.shuffle(cast)
    again = aggregation.aggregated(method, pd.DataFrame(cast, columns=names))
    assert again.keys() == found.keys() and found["alone", 7][0] == -1
    assert all(again[unit] == pytest.approx(found[unit]) for unit in found)
    assert all(type(step) is int and 0 <= sure <= 1 for (_, step), (_, sure) in found.items())
    if method in ("dawid_skene", "mace"):
        assert found.keys() == {*truth, ("alone", 7)}
        assert sum(found[unit][0] == value for unit, value in truth.items()) >= 117
    assert aggregation.aggregated(method, pd.DataFrame([], columns=names)) == {}


def test_many_votes_are_counted_in_a_process_of_their_own_and_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = [(unit, rater, float((unit + i) % 3 - 1)) for unit in range(20) for i, rater in enumerate(("a", "b", "b2"))]
    here = aggregate(votes, "mean")
    monkeypatch.setattr(aggregation, "LARGE", 10)
    assert aggregate(votes, "mean") == here and len(here.labels) == 20


def test_a_queue_is_summed_as_its_votes_say(store: Store) -> None:
    """The SQL against the arithmetic on the same votes: what is not submitted, unsure or gold is no vote."""
    traces = [make_trace(prompt=f"Reach {n} from 1, 2 and 3.") for n in range(3)]
    said = {"ada": (1, 0, -1), "bob": (1, -1, -1), "cyd": (1, "unsure", 1)}
    for trace in traces[:2]:
        for who, values in said.items():
            rate(store, trace, who, values)
    open_work = rate(store, traces[2], "ada", (1, 1, 1))
    Rater(store, store.open_assignment("bob", traces[2].trace_id)).step(0, -1)  # not submitted
    open_work.send("reopen")
    steps = votes.JUDGED["correctness"]
    found = store.read(lambda con: votes.agreement(con, DEFAULT_QUEUE, steps))
    units = [[0, 0, 3], [1, 1, 0], [2, 0, 1]]
    import numpy as np

    expected = agreement(np.stack([sums_of(units, 3)] * 2), 3)
    for name in ("percent", "alpha", "ac1"):
        assert getattr(found, name).value == pytest.approx(getattr(expected, name).value)
    assert (found.n_units, found.n_ratings, found.n_traces) == (6, 16, 2)
    pairs = {(p.one, p.other): p for p in store.read(lambda con: votes.pairwise(con, DEFAULT_QUEUE, steps))}
    assert {names: p.n for names, p in pairs.items()} == {("ada", "bob"): 6, ("ada", "cyd"): 4, ("bob", "cyd"): 4}
    assert pairs["ada", "bob"].percent == pytest.approx(100 * 2 / 3)
    # Their table of each trace: both 1, 0 against −1, both −1; so chance is 1/3 * 1/3 + 1/3 * 2/3 and κ (2/3 − 1/3) / (2/3).
    assert (pairs["ada", "bob"].n_traces, pairs["ada", "bob"].kappa.value) == (2, pytest.approx(0.5))
    assert pairs["ada", "bob"].kappa.low == pairs["ada", "bob"].kappa.high == pytest.approx(0.5), (
        "both traces are alike"
    )
    errors = store.read(lambda con: votes.first_errors(con, DEFAULT_QUEUE))
    # ada: step 2, bob: step 1, cyd: none; in both traces.
    assert (errors.n_traces, errors.n_pairs, errors.same, errors.one_sided, errors.apart) == (2, 6, 0, 4, {1: 2})
    assert (errors.percent.value, errors.percent.low, errors.percent.high) == (0, 0, 0)
    widest = store.read(lambda con: disputes.disputes(con, DEFAULT_QUEUE, steps)).rows
    assert [(d.step_idx, d.votes, d.unsure, d.spread) for d in widest] == [
        (2, (2, 0, 1), 0, 2), (2, (2, 0, 1), 0, 2), (1, (1, 1, 0), 1, 1), (1, (1, 1, 0), 1, 1)
    ]  # fmt: skip
    empty = store.read(lambda con: votes.agreement(con, "nobody's", steps))
    assert empty.alpha.sentence == NO_UNIT


def test_first_errors_have_an_interval_over_traces(store: Store) -> None:
    for n in range(12):
        trace = make_trace(prompt=f"Reach {n} from 1, 2 and 3.")
        rate(store, trace, "ada", (1, -1, 1))
        rate(store, trace, "bob", (1, -1, 1) if n % 3 else (1, 1, -1))
    found = store.read(lambda con: votes.first_errors(con, DEFAULT_QUEUE))
    assert (found.n_traces, found.n_pairs, found.same, found.apart) == (12, 12, 8, {0: 8, 1: 4})
    low, high = found.percent.low, found.percent.high
    assert low is not None and high is not None
    assert found.percent.value == pytest.approx(100 * 2 / 3)
    assert 30 < low < 60 and 75 < high < 100
    nothing = store.read(lambda con: votes.first_errors(con, "nobody's"))
    assert (nothing.percent.value, nothing.sentence) == (None, nothing.percent.sentence)


def test_a_rater_is_the_same_letter_among_the_opinions_and_in_the_history(store: Store) -> None:
    """Over so many units that two ways of dealing letters would differ in one of them."""
    trace = make_trace((None, 0, 1, 2, 3, 4))
    said = {"ann": 1, "bob": -1, "cyd": 0}
    for who, value in said.items():
        rate(store, trace, who, [value] * 6)
    judged, dealt = votes.JUDGED["correctness"], set()
    for step in range(6):
        found = store.read(lambda con, at=step: disputes.opinions(con, DEFAULT_QUEUE, trace.trace_id, at, judged))
        past = store.read(lambda con, at=step: disputes.history(con, DEFAULT_QUEUE, trace.trace_id, at, names=False))
        letters = {o.rater: o.value for o in found}
        assert letters == {e.rater: e.value for e in past if e.dimension == "correctness"}
        assert [o.rater for o in found] == ["Rater A", "Rater B", "Rater C"]
        dealt.add(tuple(o.value for o in found))
    assert len(dealt) > 1, "the letters are dealt anew for every step"


def test_the_time_on_a_step_is_without_the_look_at_the_whole_before_submitting(store: Store) -> None:
    trace = make_trace((None, 0))
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    for step, value, dwell_ms in ((0, 1, 700), (1, 1, 900), (0, -1, 400)):
        hand.send("set", target="step", step_idx=step, dimension="correctness", value=value, dwell_ms=dwell_ms)
    hand.send("set", target="trace", dimension="verdict", value=1, dwell_ms=2000)
    hand.send("submit", dwell_ms=30_000)

    def spent(step: int | None, dimension: str) -> list[int]:
        judged = votes.JUDGED[dimension]
        found = store.read(lambda con: disputes.opinions(con, DEFAULT_QUEUE, trace.trace_id, step, judged))
        return [opinion.dwell_ms for opinion in found]

    assert spent(0, "correctness") == [1100]
    assert spent(1, "correctness") == [900]
    assert spent(None, "verdict") == [32_000]


def work_on(store: Store, who: str, values: Sequence[int]) -> str:
    """Take the next item, answer, submit; what it was: gold, screening or empty."""
    found = store.next_assignment(who)
    assert found is not None
    hand = Rater(store, found)
    for i, value in enumerate(values):
        hand.step(i, value)
    hand.submit()
    ((kind,),) = store.query("select coalesce(gold, '') from assignment where assignment_id = ?", [found.assignment_id])
    return kind


def test_screening_comes_first_gold_is_mixed_in_and_failing_it_pauses(store: Store) -> None:
    traces = [make_trace(prompt=f"Reach {n} from 1, 2 and 3.") for n in range(10)]
    for n, trace in enumerate(traces):
        store.add_trace(trace).result()
        if n < 5:
            hand = rate(store, trace, "boss", (1, 0, -1))
            answers = store.read(lambda con, one=hand.assignment.assignment_id: gold.answers_of_assignment(con, one))
            kind = "screening" if n == 0 else "gold"
            made = gold.Gold(DEFAULT_QUEUE, trace.trace_id, kind, answers, "Step 3 adds wrongly.", True, "boss")
            store.write(gold.add_gold, made).result()
    queue = store.read(lambda con: need_queue(con, DEFAULT_QUEUE))
    rules = replace(queue.config, pause_below=0.7, pause_after=2)
    store.write(save_queues, replace(queue, gold_share=0.8, config=rules)).result()

    assert work_on(store, "ada", (1, 0, -1)) == "screening"
    kinds = [work_on(store, "ada", (1, 0, -1)) for _ in range(7)]
    assert set(kinds) == {"", "gold"}

    assert work_on(store, "eve", (1, 0, -1)) == "screening"
    failed = 0
    while failed < 2:
        failed += work_on(store, "eve", (1, 1, 1)) == "gold"
    with pytest.raises(gold.OnHold, match="33 % of your judgements on the last 2 items"):
        store.next_assignment("eve")
    assert store.next_assignment("eve", ahead=True) is None
    states = {s.rater_id: s.state for s in store.read(lambda con: gold.standings(con, DEFAULT_QUEUE))}
    assert states == {"ada": "passed", "eve": "paused"}
    (eve,) = (r for r in store.read(lambda con: raters.raters(con, DEFAULT_QUEUE)) if r.rater_id == "eve")
    assert (eve.n_gold, eve.state) == (3, "paused")
    assert eve.gold == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)

    opened = gold.Standing("eve", DEFAULT_QUEUE, "open", "Read the guidelines.", "boss", utc_now())
    store.write(gold.set_standing, opened).result()
    assert store.next_assignment("eve") is not None, "what was wrong before does not count again"


def test_a_gold_item_in_hand_does_not_show_in_what_is_left(store: Store) -> None:
    for n in range(3):
        store.add_trace(make_trace(prompt=f"Reach {n} from 1, 2 and 3.")).result()
    known = make_trace(prompt="Reach 9 from 1, 2 and 3.")
    store.add_trace(known).result()
    answer = (gold.Answer("step", 0, "correctness", 1.0),)
    store.write(gold.add_gold, gold.Gold(DEFAULT_QUEUE, known.trace_id, "gold", answer, "", True, "boss")).result()
    queue = store.read(lambda con: need_queue(con, DEFAULT_QUEUE))
    store.write(save_queues, replace(queue, gold_share=1.0)).result()
    assert store.remaining("ada") == 3
    taken = store.next_assignment("ada")
    assert taken is not None
    assert (taken.trace_id, store.remaining("ada")) == (known.trace_id, 3)
    Rater(store, taken).submit()
    for left in (3, 2, 1):
        assert work_in_hand(store, "ada") == left
    assert store.remaining("ada") == 0


def work_in_hand(store: Store, who: str) -> int:
    """What is left while the next item is in hand; then it is submitted."""
    found = store.next_assignment(who)
    assert found is not None
    left = store.remaining(who)
    Rater(store, found).submit()
    return left


def test_a_pause_ends_though_the_clock_was_set_back_since(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rate(store, make_trace(), "eve", (1, 0, -1))
    ahead = utc_now() + timedelta(days=400)
    with monkeypatch.context() as patch:
        patch.setattr(gold, "utc_now", lambda: ahead)
        store.write(gold.set_standing, gold.Standing("eve", DEFAULT_QUEUE, "paused", "Ask.", "boss", ahead)).result()
    with pytest.raises(gold.OnHold, match="Ask"):
        store.next_assignment("eve")
    store.write(gold.set_standing, gold.Standing("eve", DEFAULT_QUEUE, "open", "Go on.", "boss", ahead)).result()
    assert store.next_assignment("eve") is None, "there is nothing left, and nothing in the way"


def test_who_is_paused_between_two_traces_gets_no_other(store: Store) -> None:
    """What is known of a queue is kept in memory; a pause must be seen by the very next claim."""
    for i in range(3):
        store.add_trace(make_trace(prompt=f"q{i}")).result()
    had = store.next_assignment("eve")
    assert had is not None
    Rater(store, had).submit()
    store.write(gold.set_standing, gold.Standing("eve", DEFAULT_QUEUE, "paused", "Ask.", "boss", utc_now())).result()
    with pytest.raises(gold.OnHold, match="Ask"):
        store.next_assignment("eve")
    assert store.next_assignment("ada") is not None
    store.write(gold.set_standing, gold.Standing("eve", DEFAULT_QUEUE, "open", "", "boss", utc_now())).result()
    assert store.next_assignment("eve") is not None


def test_a_failed_screening_stops_before_any_work_and_a_mended_answer_changes_nothing(store: Store) -> None:
    first, second = (make_trace(prompt=f"Reach {n} from 1, 2 and 3.") for n in (1, 2))
    hand = rate(store, first, "boss", (1, 0, -1))
    store.add_trace(second).result()
    answers = store.read(lambda con: gold.answers_of_assignment(con, hand.assignment.assignment_id))
    store.write(
        gold.add_gold, gold.Gold(DEFAULT_QUEUE, first.trace_id, "screening", answers, "", True, "boss")
    ).result()
    queue = store.read(lambda con: need_queue(con, DEFAULT_QUEUE))
    store.write(save_queues, replace(queue, config=replace(queue.config, pause_below=0.9))).result()

    found = store.next_assignment("eve")
    assert found is not None
    eve = Rater(store, found)
    for i in range(3):
        eve.step(i, 1)
    assert store.next_assignment("eve", ahead=True) is None, "nothing is fetched ahead before the screening is done"
    eve.submit()
    eve.send("reopen")
    eve.step(1, 0)
    eve.step(2, -1)
    eve.submit()
    with pytest.raises(gold.OnHold, match="the screening were right, and 90 %"):
        store.next_assignment("eve")
    (score,) = store.read(lambda con: gold.scores(con, DEFAULT_QUEUE, "eve"))
    assert [(c.step_idx, c.expected, c.given) for c in score.compared] == [(0, 1, 1), (1, 0, 1), (2, -1, 1)]


def test_who_had_an_item_before_it_was_a_screening_item_is_not_judged_by_it(store: Store) -> None:
    traces = [make_trace(prompt=f"Reach {n} from 1, 2 and 3.") for n in range(3)]
    for trace in traces:
        store.add_trace(trace).result()
    queue = store.read(lambda con: need_queue(con, DEFAULT_QUEUE))
    store.write(save_queues, replace(queue, config=replace(queue.config, pause_below=0.9))).result()
    assert work_on(store, "ann", (1, 1, 1)) == ""
    ((had,),) = store.query("select trace_id from assignment where rater_id = 'ann'")
    hand = rate(store, make_trace(prompt="Reach 9 from 1, 2 and 3."), "boss", (1, 0, -1))
    answers = store.read(lambda con: gold.answers_of_assignment(con, hand.assignment.assignment_id))
    store.write(gold.add_gold, gold.Gold(DEFAULT_QUEUE, had, "screening", answers, "", True, "boss")).result()
    assert work_on(store, "ann", (1, 1, 1)) == "", "ann goes on; nothing was asked of her"
    assert not [s for s in store.read(lambda con: gold.standings(con, DEFAULT_QUEUE)) if s.rater_id == "ann"]
    assert work_on(store, "eve", (1, 0, -1)) == "screening", "of who comes new it is asked"


def test_who_had_an_item_as_gold_is_not_judged_when_it_becomes_a_screening_item(store: Store) -> None:
    traces = [make_trace(prompt=f"Reach {n} from 1, 2 and 3.") for n in range(3)]
    for trace in traces:
        store.add_trace(trace).result()
    hand = rate(store, make_trace(prompt="Reach 9 from 1, 2 and 3."), "boss", (1, 0, -1))
    item = hand.assignment.trace_id
    answers = store.read(lambda con: gold.answers_of_assignment(con, hand.assignment.assignment_id))
    queue = store.read(lambda con: need_queue(con, DEFAULT_QUEUE))
    store.write(save_queues, replace(queue, gold_share=1.0, config=replace(queue.config, pause_below=0.9))).result()
    store.write(gold.add_gold, gold.Gold(DEFAULT_QUEUE, item, "gold", answers, "", True, "boss")).result()
    assert work_on(store, "eve", (1, 0, -1)) == "gold"
    store.write(gold.add_gold, gold.Gold(DEFAULT_QUEUE, item, "screening", answers, "", True, "boss")).result()
    assert work_on(store, "eve", (1, 1, 1)) == ""
    assert not [s for s in store.read(lambda con: gold.standings(con, DEFAULT_QUEUE)) if s.rater_id == "eve"]
