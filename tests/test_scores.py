"""Areas against scikit-learn, and intervals that hold the truth as often as they say."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from infosem_jax.scores import LEVEL, auroc, draws_interval, mean_interval


def test_areas_are_scikit_learns_with_ties_and_nan_where_a_class_is_missing():
    rng = np.random.default_rng(0)
    score, positive = rng.integers(0, 5, (6, 40)).astype(float), rng.random((6, 40)) < 0.3
    positive[2], positive[4] = True, False
    right = [roc_auc_score(positive[i], score[i]) for i in (0, 1, 3, 5)]
    np.testing.assert_allclose(auroc(score, positive)[[0, 1, 3, 5]], right)
    assert np.isnan(auroc(score, positive)[[2, 4]]).all()
    assert isinstance(auroc(score[0], positive[0]), float)
    assert np.isnan(auroc(np.zeros(0), np.zeros(0, bool)))


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    runs, n, shared = 2000, 5, 0.25
    # Values that share a part of their deviation, which their spread does not tell.
    common = rng.normal(size=(runs, 1)) * np.sqrt(shared)
    found = [mean_interval(row, shared=shared) for row in rng.normal(size=(runs, n)) + common]
    held = np.mean([each.low < 0 < each.high for each in found])
    assert held == pytest.approx(LEVEL, abs=4 * np.sqrt(LEVEL * (1 - LEVEL) / runs))
    narrow = [mean_interval(row) for row in rng.normal(size=(runs, n)) + common]
    assert np.mean([each.low < 0 < each.high for each in narrow]) < 0.9


def test_what_is_undefined_is_left_out_and_said():
    one = mean_interval([0.5, np.nan])
    assert (one.mean, one.n, one.won, one.verdict) == (0.5, 1, 1, "–")
    assert np.isnan([one.low, one.high]).all() and np.isnan(mean_interval([]).mean)
    assert mean_interval([0.5, 0.6, 0.5]).verdict == "above"
    assert mean_interval([-0.5, -0.6, -0.5]).verdict == "below"
    assert mean_interval([-0.5, 0.6, 0.5]).verdict == "open"
    low, high = draws_interval(np.arange(1001.0))
    assert (low, high) == (25, 975)
    assert np.isnan(draws_interval(np.array([1.0, np.nan]))).all()
    assert np.isnan(draws_interval(np.zeros(0))).all()
