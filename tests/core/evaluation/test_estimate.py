"""The estimators against brute force: every subset in every order, through the voting that a search itself uses."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluation import estimate
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
    pool: list[Drawn], weighted: bool, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, min(4, len(pool))))
    each = [decided(order, "weighted" if weighted else "majority") for order in itertools.permutations(pool, k)]
    found = vote_at_k(pool, k, weighted=weighted)
    # 0.1 + 0.2 and 0.3 tie for us; the search's own sums differ there in the last bit, as they do in any other order.
    close = weighted and len({round(d.score or 0, 1) for d in pool} & {0.1, 0.2, 0.3}) == 3
    if not close:
        assert found is not None and found.exact
        assert found.value == pytest.approx(sum(each) / len(each))
    exact = [voted(order, weighted=weighted) for order in itertools.permutations(pool, k)]
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


def test_a_pool_of_64_with_a_reward_models_scores_is_exact_or_says_that_it_is_not() -> None:
    few = [Drawn("abcdefgh"[i % 8], i % 8 == 0, (i * 37 % 64) / 64) for i in range(64)]
    many = [Drawn(str(i % 40), i % 40 == 0, (i * 37 % 64) / 64) for i in range(64)]
    started = time.monotonic()
    for pool, exact in ((few, True), (many, True), ([Drawn("one", i % 3 == 0, 1 / (i + 2)) for i in range(64)], False)):
        majority, weighted = (vote_at_k(pool, 16, weighted=w) for w in (False, True))
        assert majority is not None and majority.exact
        assert weighted is not None and weighted.exact == exact
    assert time.monotonic() - started < 20


def test_where_counting_is_too_much_drawn_subsets_come_close(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = [Drawn("abc"[i % 3], i % 3 == 1, (i * 7 % 12) / 12) for i in range(12)]
    exact = vote_at_k(pool, 5, weighted=True)
    monkeypatch.setattr(estimate, "MOST_SUMS", 3)
    estimate._vote_at_k.cache_clear()
    drawn = vote_at_k(pool, 5, weighted=True)
    estimate._vote_at_k.cache_clear()
    assert exact is not None and drawn is not None
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.value == pytest.approx(exact.value, abs=0.03)


def test_a_vote_without_scores_is_no_weighted_vote_and_k_has_bounds() -> None:
    pool = [Drawn("a", True), Drawn("b", False)]
    assert vote_at_k(pool, 2, weighted=True) is None and best_at_k(pool, 1) is None
    assert vote_at_k(pool, 2, weighted=False) == estimate.Estimate(0.5)
    for k in (0, 3):
        with pytest.raises(ValueError, match="between 1 and the 2"):
            vote_at_k(pool, k, weighted=False)
