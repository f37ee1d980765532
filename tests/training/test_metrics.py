"""AUC against its definition, first-error F1 against hand-made cases."""

from __future__ import annotations

import math
import random

import pytest

from training.metrics import ScoredTrace, auc, auc_interval, first_error_f1


def auc_by_definition(scores: list[float], labels: list[float]) -> float:
    good = [s for s, y in zip(scores, labels, strict=True) if y > 0.5]
    bad = [s for s, y in zip(scores, labels, strict=True) if y < 0.5]
    wins = sum(1.0 if g > b else 0.5 if g == b else 0.0 for g in good for b in bad)
    return wins / (len(good) * len(bad))


def test_auc_is_the_share_of_pairs_in_order_with_ties_as_half() -> None:
    rng = random.Random(0)
    for _ in range(50):
        n = rng.randint(2, 30)
        scores = [rng.choice([0.1, 0.2, 0.5, 0.9, rng.random()]) for _ in range(n)]
        labels = [0.0, 1.0, *(rng.choice([0.0, 0.3, 0.8, 1.0]) for _ in range(n - 2))]
        assert auc(scores, labels) == pytest.approx(auc_by_definition(scores, labels))


def test_auc_ignores_unjudged_and_undecided_steps_and_needs_both_classes() -> None:
    assert auc([0.9, 0.1, 0.99, 0.98], [1, 0, math.nan, 0.5]) == 1.0
    assert auc([0.9, 0.1], [1, 1]) is None
    assert auc([], []) is None
    assert auc([0.5] * 4, [1, 0, 1, 0]) == 0.5


def test_the_interval_resamples_problems() -> None:
    traces = [ScoredTrace(f"p{i}", [0.9, 0.2 + i / 100], [1.0, 0.0]) for i in range(10)]
    assert auc_interval(traces) == (1.0, 1.0)
    assert auc_interval(traces[:1]) is None


def test_first_error_f1_is_the_harmonic_mean_of_both_kinds() -> None:
    right = ScoredTrace("a", [0.9, 0.8], [1.0, 1.0])
    found = ScoredTrace("b", [0.9, 0.1, 0.9], [1.0, 0.0, math.nan])
    missed = ScoredTrace("c", [0.1, 0.9], [1.0, 0.0])
    assert first_error_f1([right, found]) == 1.0
    assert first_error_f1([right, found, missed]) == pytest.approx(2 * 1.0 * 0.5 / 1.5)
    assert first_error_f1([right]) is None


def test_a_first_error_f1_that_cannot_be_computed_says_why() -> None:
    from training.kinds.prm import held_out_figures

    found = held_out_figures([ScoredTrace("a", [0.9, 0.2], [1.0, 0.0])])
    assert found["auc"] == 1.0 and str(found["first_error_f1"]).startswith("undefined: it needs held-out traces")
