"""The estimators against brute force: every subset in every order, through the voting that a search itself uses."""

from __future__ import annotations

import itertools
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluation import estimate, weighted
from core.evaluation.estimate import Drawn, best_at_k, pass_at_k, vote_at_k, voted
from core.search.voting import Candidate, decide

SCORE = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.9])
DRAWN = st.builds(
    Drawn, st.sampled_from(["", "a", "b", "c"]), st.booleans(), SCORE, st.sampled_from([True, True, False])
)
POOL = st.lists(DRAWN, min_size=1, max_size=6)


def decided(drawn: tuple[Drawn, ...], vote: str) -> bool:
    """As a search decides over the same answers, in the same order."""
    found = [Candidate(i, d.answer, d.score) for i, d in enumerate(drawn) if d.finished]
    choice = decide(found, vote)  # type: ignore[arg-type]
    return choice.node is not None and drawn[choice.node].right


@given(POOL, st.booleans(), st.data())
@settings(max_examples=120, deadline=None)
def test_a_vote_at_k_is_the_mean_over_all_subsets_in_all_orders(
    pool: list[Drawn], by_score: bool, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, min(4, len(pool))))
    each = [decided(order, "weighted" if by_score else "majority") for order in itertools.permutations(pool, k)]
    found = vote_at_k(pool, k, weighted=by_score)
    # 0.1 + 0.2 and 0.3 tie for us; the search's own sums differ there in the last bit, as they do in any other order.
    close = by_score and len({round(d.score or 0, 1) for d in pool} & {0.1, 0.2, 0.3}) == 3
    if not close:
        assert found is not None and found.exact
        assert found.value == pytest.approx(sum(each) / len(each))
    exact = [voted(order, weighted=by_score) for order in itertools.permutations(pool, k)]
    assert found is not None and found.value == pytest.approx(sum(exact) / len(exact))


@given(POOL, st.data())
@settings(max_examples=60, deadline=None)
def test_best_and_pass_at_k_are_means_over_all_subsets(pool: list[Drawn], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(pool)))
    right = [d.right and d.finished for d in pool]
    each = []
    for subset in itertools.combinations(pool, k):
        finished = [d for d in subset if d.finished]
        readable = [d for d in finished if d.answer]
        best = max((d.score or 0.0 for d in readable), default=None)
        holders = [d for d in readable if d.score == best] if readable else finished
        each.append(sum(d.right for d in holders) / len(holders) if holders else 0.0)
    assert best_at_k(pool, k) == pytest.approx(sum(each) / len(each))
    hits = [any(c) for c in itertools.combinations(right, k)]
    assert pass_at_k(right, k) == pytest.approx(sum(hits) / len(hits))


def anew() -> None:
    estimate._vote_at_k.cache_clear()
    estimate._every_k.cache_clear()


# Scores that tie often, in few and in many votes.
TIES = st.builds(Drawn, st.sampled_from(["", "a", "b", "c"]), st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.123]))


@pytest.mark.parametrize("most", [(10**6, 0), (0, 10**6), (0, 0)], ids=["sums", "subsets", "parts"])
@given(POOL | st.lists(TIES, min_size=1, max_size=6), st.data())
@settings(max_examples=200, deadline=None)
def test_each_way_of_counting_is_the_mean_over_all_subsets_in_all_orders(
    most: tuple[int, int], pool: list[Drawn], data: st.DataObject
) -> None:
    """One sum after the other, one subset after the other, and by sums in whole parts."""
    k = data.draw(st.integers(1, min(4, len(pool))))
    each = [voted(order, weighted=True) for order in itertools.permutations(pool, k)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "MOST_SUMS", most[0])
        patch.setattr(estimate, "MOST_SUBSETS", most[1])
        anew()
        found = vote_at_k(pool, k, weighted=True)
        anew()
    assert found is not None and found.exact
    assert found.value == pytest.approx(sum(each) / len(each))


def test_of_16_answers_every_subset_is_gone_through_with_the_scores_as_they_are() -> None:
    draw = Random(3)
    pool = [Drawn("abcd"[i % 4], i % 4 == 0, draw.random()) for i in range(16)]
    for k in (1, 2, 4, 8, 16):
        each = [voted(subset, weighted=True) for subset in itertools.combinations(pool, k)]  # no two sums are equal
        found = vote_at_k(pool, k, weighted=True)
        assert found is not None and found.exact
        assert found.value == pytest.approx(sum(each) / len(each))


def test_of_many_answers_the_sums_are_counted_in_thousandths_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Random(4)
    scores = [draw.random() for _ in range(16)]
    pool = [Drawn("ab"[i % 2], i % 2 == 0, s) for i, s in enumerate(scores)]
    rounded = [Drawn("ab"[i % 2], i % 2 == 0, round(s, 3)) for i, s in enumerate(scores)]
    exact, of_rounded = (vote_at_k(one, 8, weighted=True) for one in (pool, rounded))
    monkeypatch.setattr(estimate, "MOST_SUBSETS", 0)
    anew()
    found, found_of_rounded = (vote_at_k(one, 8, weighted=True) for one in (pool, rounded))
    anew()
    assert exact is not None and found is not None and of_rounded is not None and found_of_rounded is not None
    assert (exact.exact, found.exact, found_of_rounded.exact) == (True, False, True)
    assert found.value == found_of_rounded.value == pytest.approx(of_rounded.value, abs=1e-9)
    assert found.value == pytest.approx(exact.value, abs=0.002)


def test_the_curves_of_40_pools_of_64_continuous_scores_take_a_few_seconds() -> None:
    draw = Random(5)
    pools = [[Drawn(str(int(draw.random() ** 2 * 9)), draw.random() < 0.4, draw.random()) for _ in range(64)] for _ in range(40)]  # fmt: skip
    started = time.monotonic()
    found = [vote_at_k(pool, k, weighted=True) for pool in pools for k in (1, 2, 4, 8, 16, 32, 64)]
    assert time.monotonic() - started < 30  # 5 s on an idle core
    assert all(one is not None and 0 <= one.value <= 1 for one in found)


def test_scores_that_are_whole_multiples_of_one_part_are_not_rounded() -> None:
    rollouts = [Drawn("abc"[i % 3], i % 3 == 0, (i % 9) / 8) for i in range(64)]
    found = vote_at_k(rollouts, 16, weighted=True)
    assert found is not None and found.exact
    assert weighted.parts_of([0.125, 0.5, 1.0]) == (8, True)
    assert weighted.parts_of([1 / 3, 0.25]) == (12, True)
    assert weighted.parts_of([0.1234567]) == (weighted.PARTS, False)


def test_a_vote_without_scores_is_no_weighted_vote_and_k_has_bounds() -> None:
    pool = [Drawn("a", True), Drawn("b", False)]
    assert vote_at_k(pool, 2, weighted=True) is None and best_at_k(pool, 1) is None
    assert vote_at_k(pool, 2, weighted=False) == estimate.Estimate(0.5)
    for k in (0, 3):
        with pytest.raises(ValueError, match="between 1 and the 2"):
            vote_at_k(pool, k, weighted=False)
