"""The figures against brute force and against scikit-learn."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation import best_of, steps
from training.metrics import ScoredTrace, auc, first_error_f1

POOL = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=7)


@given(POOL, st.data())
@settings(max_examples=60, deadline=None)
def test_best_of_k_is_the_mean_over_all_subsets_with_ties_drawn_evenly(pool: list, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(pool)))
    each = []
    for subset in itertools.combinations(pool, k):
        best = max(score for score, _ in subset)
        tied = [right for score, right in subset if score == best]
        each.append(sum(tied) / len(tied))
    scores, right = [s for s, _ in pool], [c for _, c in pool]
    assert best_of.best_of_k(scores, right, k) == pytest.approx(sum(each) / len(each))
    hits = [any(c for _, c in subset) for subset in itertools.combinations(pool, k)]
    assert best_of.pass_at_k(right, k) == pytest.approx(sum(hits) / len(hits))


def test_best_of_one_is_chance_and_of_all_is_the_best() -> None:
    scores, right = [0.2, 0.9, 0.4], [True, False, True]
    assert best_of.best_of_k(scores, right, 1) == pytest.approx(2 / 3)
    assert best_of.best_of_k(scores, right, 3) == 0
    for k in (0, 4):
        with pytest.raises(ValueError, match="between 1 and the 3"):
            best_of.best_of_k(scores, right, k)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(4)
    inside = 0
    for trial in range(200):
        values = [float(rng.random() < 0.3) for _ in range(60)]
        low, high = best_of.interval(values, seed=trial) or (1, 0)
        inside += low <= 0.3 <= high
    assert 180 <= inside <= 199


def test_a_curve_says_how_many_problems_stand_behind_each_point() -> None:
    pools = {"a": [(0.9, True), (0.1, False)], "b": [(0.9, False)], "c": [(0.5, True), (0.5, False), (0.1, False)]}
    points = best_of.curve(pools, (1, 2, 3, 8))
    assert [(p.k, p.problems, p.left_out) for p in points] == [(1, 3, 0), (2, 2, 1), (3, 1, 2)]
    assert points[1].best == pytest.approx((1 + 1 / 2) / 2)
    assert points[0].best == points[0].random == pytest.approx((1 / 2 + 0 + 1 / 3) / 3)


def test_reliability_and_its_error_by_hand() -> None:
    scores, labels = [0.05, 0.05, 0.95, 1.0, 0.95, 0.95], [0, 1, 1, 1, 1, 0.5]
    bins = steps.reliability(scores, labels)
    assert (bins[0].n, bins[0].good, bins[9].n, bins[9].good) == (2, 0.5, 4, 0.875)
    assert sum(b.n for b in bins) == len(scores)
    assert steps.ece(bins) == pytest.approx((2 * abs(0.5 - 0.05) + 4 * abs(0.875 - 0.9625)) / 6)
    assert steps.ece(steps.reliability([], [])) is None


def test_perfectly_calibrated_scores_have_hardly_any_calibration_error() -> None:
    rng = random.Random(2)
    scores = [rng.random() for _ in range(20_000)]
    labels = [float(rng.random() < s) for s in scores]
    found = steps.ece(steps.reliability(scores, labels))
    assert found is not None and found < 0.02
    shifted = steps.ece(steps.reliability([s / 2 for s in scores], labels))
    assert shifted is not None and shifted > 0.2


def test_first_error_has_the_two_accuracies_of_processbench() -> None:
    nan = math.nan
    traces = [
        ScoredTrace("a", [0.9, 0.2, 0.9], [1, 0, nan]),  # found
        ScoredTrace("b", [0.4, 0.2, 0.9], [1, 0, nan]),  # too early
        ScoredTrace("c", [0.9, 0.8], [1, 1]),  # rightly none
        ScoredTrace("d", [0.9, 0.9], [1, 0]),  # missed
        ScoredTrace("e", [0.1], [nan]),  # nobody judged it
    ]
    found = steps.first_error(traces)
    assert (found.erroneous, found.correct, found.n_erroneous, found.n_correct) == (pytest.approx(1 / 3), 1.0, 3, 1)
    assert found.f1 == pytest.approx(0.5) == pytest.approx(first_error_f1(traces))


def test_slices_agree_with_scikit_learn() -> None:
    from sklearn.metrics import f1_score, roc_auc_score

    rng = random.Random(1)
    labels = [float(rng.random() < 0.7) for _ in range(300)]
    scores = [min(1, max(0, rng.gauss(0.35 + 0.3 * y, 0.25))) for y in labels]
    found = steps.slice_score("all", [*scores, 0.3], [*labels, math.nan])
    guess = [s >= 0.5 for s in scores]
    truth = [y == 1 for y in labels]
    good, bad = f1_score(truth, guess), f1_score([not y for y in truth], [not g for g in guess])
    assert (found.f1, found.negative_f1) == (pytest.approx(good), pytest.approx(bad))
    assert found.prm_score == pytest.approx((good + bad) / 2)
    assert found.auc == auc(scores, labels) == pytest.approx(roc_auc_score(truth, scores))
    assert (found.steps, found.bad) == (300, truth.count(False))


def test_drift_sees_a_model_that_judges_the_outcome() -> None:
    outcome = [[0.9, 0.8, 0.7, 0.1], [0.9, 0.9, 0.2]]
    found = steps.drift([*outcome, [0.3]])
    assert (found.solutions, found.at_last) == (2, 1.0)
    assert found.by_chance == pytest.approx((1 / 4 + 1 / 3) / 2)
    assert steps.drift([[0.5, 0.5], [0.1, 0.9]]).at_last == pytest.approx(0.25)
    assert steps.drift([[0.5]]).at_last is None
