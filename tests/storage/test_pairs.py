"""Pairs: a vote counts for the trace it was given to, on whichever side of the screen that stood."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.trace import Origin
from storage.errors import ExportError
from storage.exports import FORMATS, export, plan
from storage.gold import Answer, Gold, add_gold, scores
from storage.pairing import PairError, by_hand, under_policy
from storage.pairs import Pair, add_pairs, canonical, flipped, read_pairs
from storage.queues import claims
from storage.queues.assignments import has_had
from storage.queues.claims import Claim
from storage.queues.settings import Config, Queue, SettingError, read_queue, save_queues
from storage.snapshots import PAIRS, freeze, load_snapshot
from storage.store import Store
from storage.verdicts import pair_rows, position_bias
from tests.storage.helpers import Rater, make_trace

STRENGTHS = st.sampled_from([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])


def queue(store: Store, name: str = "pairs", **changes: Any) -> str:
    store.write(save_queues, Queue(name, name, unit="pair", **changes)).result()
    return name


def add(store: Store, pairs: Sequence[Pair]) -> int:
    made: int = store.write(add_pairs, pairs).result()
    return made


def two(store: Store, name: str = "pairs", **changes: Any) -> tuple[str, str]:
    """A queue with one pair; its traces in canonical order."""
    a, b = make_trace((None, 0), names=["one", "two"]), make_trace((None, 0), names=["one", "other"])
    for trace in (a, b):
        store.add_trace(trace).result()
    queue(store, name, **changes)
    pairs = store.read(lambda con: by_hand(con, name, [(b.trace_id, a.trace_id)]))
    assert add(store, pairs) == 1
    return canonical(a.trace_id, b.trace_id)


def vote(
    store: Store, rater: str, shown: float | None, *, name: str = "pairs", text: str | None = None, **more: float
) -> bool:
    """One rater compares: `shown` is −3 (what stands on the left of their screen) to 3. Whether they saw it swapped."""
    taken = store.next_assignment(rater, name)
    assert taken is not None
    assert taken.swapped is not None
    hand = Rater(store, taken)
    for dimension, value in {"preference": shown, **{f"preference.{k}": v for k, v in more.items()}}.items():
        hand.send("set", target="pair", dimension=dimension, value=flipped(value, taken.swapped), value_text=text)
    hand.submit()
    return taken.swapped


@given(STRENGTHS, st.booleans())
def test_swapping_twice_is_nothing(value: float, swapped: bool) -> None:
    assert flipped(flipped(value, swapped), swapped) == value
    assert (flipped(value, True) == value) == (value == 0)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STRENGTHS, min_size=1, max_size=4))
def test_a_vote_for_what_stood_on_the_right_of_a_swapped_pair_counts_for_the_left_trace(
    store: Store, shown: list[float]
) -> None:
    name = f"q{store.event_seq()}"
    left, right = two(store, name)
    swapped = [vote(store, f"rater {i}", value, name=name) for i, value in enumerate(shown)]
    assert all(a != b for a, b in pairwise(swapped))  # every further rater the other way round
    (row,) = store.read(lambda con: pair_rows(con, queue_id=name))
    meant = [-v if s else v for v, s in zip(shown, swapped, strict=True)]
    assert (row.n_left, row.n_right) == (sum(v < 0 for v in meant), sum(v > 0 for v in meant))
    assert row.mean == pytest.approx(sum(meant) / len(meant))
    if row.outcome in ("left", "right"):
        wanted = (left, right) if row.outcome == "left" else (right, left)
        assert (row.chosen_trace_id, row.rejected_trace_id) == wanted
        of_outcome = [abs(v) for v in meant if (v < 0) == (row.outcome == "left") and v]
        assert row.strength == pytest.approx(sum(of_outcome) / len(of_outcome))
        assert row.agreement == pytest.approx(len(of_outcome) / len(meant))
    else:
        assert row.chosen_trace_id is None
    bias = store.read(lambda con: position_bias(con, queue_id=name))
    assert (bias["n"], bias["left"]) == (sum(v != 0 for v in shown), sum(v < 0 for v in shown))


def test_both_bad_and_unsure_are_no_preference_and_criteria_stand_apart(store: Store) -> None:
    two(store)
    vote(store, "a", None, text="both_bad")
    swapped = vote(store, "b", 2, clarity=-1)
    vote(store, "c", None, text="unsure")
    (row,) = store.read(pair_rows)
    assert (row.n_both_bad, row.n_unsure, row.n_votes, row.outcome) == (1, 1, 2, "split")
    assert row.chosen_trace_id is None
    assert row.criteria == {"clarity": 1.0 if swapped else -1.0}
    # Opened again after submitting, it counts no more until it is submitted.
    found = next(a for a in store.recent_assignments("b") if a.pair_id)
    Rater(store, found).send("reopen")
    assert store.read(pair_rows)[0].n_votes == 1
    assert store.read(lambda con: pair_rows(con, pair_ids=["none of them"])) == []


def test_who_is_given_what(store: Store) -> None:
    two(store, overlap=2)
    taken = [store.next_assignment(rater, "pairs") for rater in ("a", "b", "c")]
    assert taken[0] is not None
    assert taken[1] is not None
    assert taken[2] is None  # two places
    again = store.next_assignment("a", "pairs")
    assert again is not None
    assert (again.assignment_id, again.swapped) == (taken[0].assignment_id, taken[0].swapped)
    assert taken[1].swapped is not taken[0].swapped
    assert [store.remaining(rater, "pairs") for rater in ("a", "b", "c")] == [1, 1, 0]
    # Having it in a blind pair does not let a rater open a trace alone, where its model can be read.
    trace_id = taken[0].trace_id
    assert not store.read(lambda con: has_had(con, "a", trace_id, "default"))
    store.open_assignment("a", trace_id)
    assert store.read(lambda con: has_had(con, "a", trace_id, "default"))


def test_pairs_under_a_policy(store: Store) -> None:
    base = make_trace((None, 0, 1), model="x", solved=True)
    end = base.steps[1].end
    kept = Origin(base.trace_id, base.trace_id, 1, end, "continue")
    fork = make_trace((None, 0, 1), names=["step 0", "step 1", "elsewhere"], model="x", solved=False, origin=kept)
    foreign = make_trace((None, 0), names=["a", "b"], model="y", solved=False)
    apart = make_trace((None, 0), prompt="Another question", model="y", solved=True)
    for trace in (base, fork, foreign, apart):
        store.add_trace(trace).result()
    queue(store)

    def made(policy: str) -> dict[frozenset[str], int]:
        pairs = store.read(lambda con: under_policy(con, "pairs", policy))
        assert all(p.left_trace_id < p.right_trace_id for p in pairs)
        return {frozenset((p.left_trace_id, p.right_trace_id)): p.shared_steps for p in pairs}

    b, f, g = base.trace_id, fork.trace_id, foreign.trace_id
    assert made("any") == {frozenset((b, f)): 2, frozenset((b, g)): 0, frozenset((f, g)): 0}
    assert made("outcome") == {frozenset((b, f)): 2, frozenset((b, g)): 0}
    assert made("models") == {frozenset((b, g)): 0, frozenset((f, g)): 0}
    assert made("siblings") == {frozenset((b, f)): 2}
    # Made again nothing is new, whichever way round; shared text really is the same.
    assert add(store, store.read(lambda con: under_policy(con, "pairs", "any"))) == 3
    assert add(store, store.read(lambda con: by_hand(con, "pairs", [(f, b)]))) == 0
    assert len(store.read(lambda con: read_pairs(con, "pairs", limit=2))) == 2
    with pytest.raises(PairError, match="two questions"):
        store.read(lambda con: by_hand(con, "pairs", [(b, f), (b, apart.trace_id)]))
    with pytest.raises(PairError, match="which there is not"):
        store.read(lambda con: by_hand(con, "pairs", [(b, "nobody")]))


NAMES = st.lists(st.sampled_from("ab"), max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, NAMES)
def test_shared_steps_are_the_same_characters(store: Store, one: list[str], other: list[str]) -> None:
    made = [
        make_trace([None, *range(len(n) - 1)][: len(n)], names=n, answer="x" * at) for at, n in enumerate((one, other))
    ]
    if made[0].response == made[1].response:
        return
    for trace in made:
        store.add_trace(trace).result()
    (pair,) = store.read(lambda con: by_hand(con, "pairs", [(made[0].trace_id, made[1].trace_id)]))
    n = pair.shared_steps
    texts = [[trace.step_text(i) for i in range(len(trace.steps))] for trace in made]
    assert texts[0][:n] == texts[1][:n]
    assert n == min(map(len, texts)) or texts[0][n] != texts[1][n]


def claimed(store: Store, rater: str, draw: float) -> tuple[str | None, str]:
    """The pair of a claim that falls in this slice of the sampling, and the rule that chose it."""
    asked = store.read(lambda con: read_queue(con, "pairs"))
    assert asked is not None
    lists = store._rankings.of(asked, store.read).lists
    found = store.write(claims.claim, Claim(rater, "pairs", rankings=lists, draw=draw)).result()
    assert found is not None
    logged = store.query("select sampled_by from assignment where assignment_id = ?", [found.assignment_id])
    return found.pair_id, logged[0][0]


def test_every_order_has_its_meaning_for_pairs(store: Store) -> None:
    """Three pairs: scores alike, the wrong answer scored higher, the right one scored higher."""
    made = {}
    for name, right, wrong in (("alike", 0.5, 0.45), ("fooled", 0.3, 0.9), ("sound", 0.9, 0.2)):
        solved, failed = (make_trace((None, 0), prompt=name, names=["a", end], solved=end == "y") for end in "yn")
        for trace, score in ((solved, right), (failed, wrong)):
            store.add_trace(trace).result()
            store.add_scores(trace.trace_id, trace.segmentation_id, "prm", "1", [0.99, score], "min").result()
        queue(store)
        (pair,) = store.read(lambda con, a=solved.trace_id, b=failed.trace_id: by_hand(con, "pairs", [(a, b)]))
        add(store, [pair])
        made[name] = pair.pair_id

    def first(sampling: str, rater: str, draw: float = 0.0) -> tuple[str | None, str]:
        queue(store, sampling=sampling)
        return claimed(store, rater, draw)

    assert first("oldest", "a") == (made["alike"], "oldest")
    assert first("least_rated", "b") == (made["fooled"], "least_rated")
    assert first("uncertainty", "c") == (made["alike"], "uncertainty")
    assert first("convincing_wrong", "d") == (made["fooled"], "convincing_wrong")
    assert first("convincing_wrong", "e", 0.8) == (made["alike"], "convincing_other")
    assert first("convincing_wrong", "f", 0.95)[1] == "random_slice"
    assert first("random", "g")[1] == "random"
    assert first("stratified", "h")[1] == "stratified"
    for rater, shown in (("v", 3.0), ("w", 3.0)):  # opposite sides of the screen: they differ
        queue(store, sampling="oldest")
        vote(store, rater, shown)
    assert first("disagreement", "i") == (made["alike"], "disagreement")
    with pytest.raises(SettingError, match="chooses single traces"):
        queue(store, config=Config(model="m"))
    with pytest.raises(SettingError, match="verify_mode"):
        queue(store, verify_mode=True)


def test_a_known_pair_comes_as_one_of_the_share_and_never_among_the_others(store: Store) -> None:
    left, _ = two(store)
    third = make_trace((None, 0), names=["one", "third"])
    store.add_trace(third).result()
    plain, known = (
        store.read(lambda con: by_hand(con, "pairs", [(left, third.trace_id)]))[0],
        store.read(lambda con: read_pairs(con, "pairs", limit=1))[0],
    )
    add(store, [plain])
    answer = Answer("pair", None, "preference", -2.0)
    store.write(add_gold, Gold("pairs", known.pair_id, "gold", (answer,), "Left is true.", True, "root")).result()
    assert claimed(store, "never", 0.0)[0] == plain.pair_id
    assert store.next_assignment("never", "pairs", ahead=True) is None, "the known one is not among the others"
    queue(store, gold_share=1.0)
    taken = store.next_assignment("ann", "pairs")
    assert taken is not None
    assert taken.pair_id == known.pair_id
    hand = Rater(store, taken)
    hand.send("set", target="pair", dimension="preference", value=2.0)
    hand.submit()
    (score,) = store.read(lambda con: scores(con, "pairs", "ann"))
    assert (score.share, score.feedback) == (0.0, "Left is true.")
    assert score.compared[0].expected == -2.0
    after = store.next_assignment("ann", "pairs")
    assert after is not None
    assert after.pair_id == plain.pair_id


def test_the_bound_of_siblings_counts_those_that_share_a_beginning(store: Store) -> None:
    """Forks that changed the first step share none: they must not take the places of those that do."""
    base = make_trace((None, 0, 1))
    end = base.steps[1].end
    forks = [
        make_trace(
            (None, 0, 1),
            names=["step 0", "step 1", f"on {i}"],
            origin=Origin(base.trace_id, base.trace_id, 1, end, "continue"),
        )
        for i in range(2)
    ]
    edits = [
        make_trace((None, 0), names=[f"edited {i}", "b"], origin=Origin(base.trace_id, base.trace_id, 0, 0, "edit"))
        for i in range(8)
    ]
    for trace in (base, *forks, *edits):
        store.add_trace(trace).result()
    queue(store)
    for most in (1, 2, 3, 50):
        found = store.read(lambda con, most=most: under_policy(con, "pairs", "siblings", most_a_problem=most))
        assert len(found) == min(most, 3)
        assert all(p.shared_steps >= 2 for p in found)


def test_a_data_set_folder_keeps_the_comparisons_that_the_policies_keep(store: Store, tmp_path: Path) -> None:
    two(store, overlap=None)
    vote(store, "ann", 2.0)
    vote(store, "bob", 1.0)
    snapshot = load_snapshot(tmp_path, freeze(store, tmp_path).snapshot_id)
    side = pl.read_parquet(tmp_path / snapshot.snapshot_id / PAIRS)["split"][0]
    other = "test" if side == "train" else "train"
    kept = {
        str(options): plan(snapshot, "hf_folder", options).figures["comparisons"]
        for options in ({}, {"split": side}, {"split": other}, {"min_raters": 2}, {"min_raters": 3})
    }
    assert list(kept.values()) == [2, 2, 0, 2, 0]
    export(snapshot, "hf_folder", tmp_path / "out", {"split": side})
    assert pl.read_parquet(tmp_path / "out" / "comparisons.parquet").height == 2
    with pytest.raises(ExportError, match="Nothing was written"):
        export(snapshot, "hf_folder", tmp_path / "none", {"split": other})
    assert plan(snapshot, "hf_folder", {"split": other}).left_out == {"by the policies": 2}


def test_comparisons_alone_are_rows_of_the_formats_that_have_a_place_for_them(store: Store, tmp_path: Path) -> None:
    two(store)
    vote(store, "ann", -2.0)
    snapshot = load_snapshot(tmp_path, freeze(store, tmp_path).snapshot_id)
    assert snapshot.info.n_rows == 0
    assert {form: plan(snapshot, form).rows for form in FORMATS} == {
        **dict.fromkeys(FORMATS, 0), "preference": 1, "hf_folder": 1,
    }  # fmt: skip
