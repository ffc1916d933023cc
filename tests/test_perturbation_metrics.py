"""Measures of predicted responses, by hand and by brute force, and their guards."""

import numpy as np
import perturbed as made
import pytest
from scipy import sparse

from infosem_jax.perturbation.baselines import METHODS, mean_response
from infosem_jax.perturbation.counting import count, posterior, rates
from infosem_jax.perturbation.data import take
from infosem_jax.perturbation.de import Changes, signs
from infosem_jax.perturbation.guards import from_profiles
from infosem_jax.perturbation.metrics import (
    calibrate,
    discrimination,
    evaluate,
    pearson,
)
from infosem_jax.perturbation.screen import predicted_changes, screen_of_cells
from infosem_jax.perturbation.splits import Split
from infosem_jax.perturbation.task import Prediction, make_problem


def problem(responses=None):
    return make_problem(responses or made.values(), made.split(), made.knowledge())


def predicted(change):
    change = np.asarray(change, np.float32)
    return Prediction(change, np.abs(change), change)


def test_the_truth_has_the_best_scores_and_the_mean_response_earns_nothing():
    own = problem()
    usual = mean_response(own.task).change
    best = evaluate(predicted(own.truth.delta), own.truth, usual).metrics
    for name in ("pearson_delta", "pearson_reference", "wr2", "discrimination_l1",
                 "discrimination_cosine", "centroid_accuracy", "direction_match"):  # fmt: skip
        if np.isfinite(best[name]):
            assert best[name] == pytest.approx(1.0, abs=1e-6), name
    assert best["mae_delta"] == best["wmse"] == 0
    mean = evaluate(predicted(usual), own.truth, usual).metrics
    assert mean["pearson_reference"] == 0 and abs(mean["wr2"]) < 1e-6
    assert mean["discrimination_l2"] == pytest.approx(0.5, abs=1e-6)


def test_weighted_r2_by_hand():
    own = problem()
    rng = np.random.default_rng(0)
    change, usual = rng.normal(size=(2, *own.truth.delta.shape))
    found = evaluate(predicted(change), own.truth, usual.astype(np.float32))
    w = (own.truth.delta - usual) ** 2
    error = (w * (change - own.truth.delta) ** 2).sum(1)
    right = 1 - error / (w * (own.truth.delta - usual) ** 2).sum(1)
    np.testing.assert_allclose(found.each["wr2"], right, rtol=1e-3)


def test_pearson_is_numpys_and_constants_count_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 9))
    right = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(pearson(a, b), right, rtol=1e-9)
    assert pearson(np.ones((1, 5)), rng.normal(size=(1, 5)))[0] == 0


@pytest.mark.parametrize("metric", ["l1", "l2", "cosine"])
def test_discrimination_by_brute_force(metric):
    rng = np.random.default_rng(0)
    predicted, truth = rng.normal(size=(2, 6, 8))
    own = np.zeros((6, 8), bool)
    own[range(6), range(6)] = True
    found = discrimination(predicted, truth, own, metric)
    for i in range(6):
        kept = ~own[i]
        x = predicted[i, kept]
        if metric == "l1":
            d = np.abs(truth[:, kept] - x).sum(1)
        elif metric == "l2":
            d = np.sqrt(((truth[:, kept] - x) ** 2).sum(1))
        else:
            d = 1 - truth[:, kept] @ x / np.linalg.norm(truth[:, kept], axis=1)
        assert found[i] == pytest.approx(1 - (d < d[i] - 1e-12).sum() / 5) or metric == "cosine"
    if metric == "cosine":
        scaled = discrimination(3 * predicted, truth, own, metric)
        np.testing.assert_allclose(found, scaled)


def test_the_knocked_down_gene_alone_gives_nothing_away():
    truth = -5 * np.eye(6)
    own = np.eye(6, dtype=bool)
    # Predicting the knock-down of its own target would be perfect if that gene were counted.
    assert discrimination(truth, truth, np.zeros_like(own), "l2").min() == 1
    assert discrimination(truth, truth, own, "l1").mean() == pytest.approx(1.0)
    nothing = discrimination(np.zeros((6, 6)), truth, np.zeros_like(own), "l2")
    np.testing.assert_allclose(nothing, 0.5)


def test_measures_of_signs_per_gene_are_not_fooled_by_rates():
    own = problem(made.signed())
    mean = METHODS["mean"].predict([own.task], 0)[0]
    rates = evaluate(mean, own.truth).metrics
    assert rates["de_auroc"] == pytest.approx(0.5)
    near = METHODS["neighbours"].predict([own.task], 0)[0]
    found = evaluate(near, own.truth).metrics
    assert found["de_auroc"] == 1


def test_overlap_by_hand():
    own = problem()
    truth = own.truth
    lfc = np.where(truth.sign != 0, truth.sign * np.arange(1, 13), 0).astype(np.float32)
    fdr = np.where(truth.sign != 0, 0.01, 1).astype(np.float32)
    truth = truth._replace(changes=Changes(lfc, fdr))
    calls = fdr.copy()
    # Of four real genes of each row, one is not called, and one that is not real is.
    for i in range(3):
        calls[i, 4 * i] = 1.0
        calls[i, (4 * i + 5) % 12] = 0.01
    guess = np.where(lfc == 0, 0.1, lfc).astype(np.float32)
    scores = evaluate(predicted(truth.delta), truth, None, changes=Changes(guess, calls))
    assert scores.metrics["overlap_at_50"] == pytest.approx(0.75)
    assert scores.metrics["precision_at_50"] == pytest.approx(0.75)
    assert scores.metrics["de_recall"] == pytest.approx(0.75)
    nothing = Changes(guess, np.ones_like(fdr))
    empty = evaluate(predicted(truth.delta), truth, None, changes=nothing)
    assert empty.metrics["overlap_at_50"] == 0


def test_scores_do_not_depend_on_the_order_of_perturbations_and_genes():
    own = problem()
    rng = np.random.default_rng(0)
    change = rng.normal(size=own.truth.delta.shape).astype(np.float32)
    usual = mean_response(own.task).change
    rows, genes = rng.permutation(3), rng.permutation(12)
    moved = take(own.truth, rows)
    moved = moved._replace(
        genes=tuple(moved.genes[i] for i in genes),
        sign=moved.sign[:, genes],
        known=moved.known[:, genes],
        delta=moved.delta[:, genes],
        control=moved.control[:, genes],
    )
    a = evaluate(predicted(change), own.truth, usual).metrics
    b = evaluate(predicted(change[rows][:, genes]), moved, usual[rows][:, genes]).metrics
    for name, value in a.items():
        assert b[name] == pytest.approx(value, rel=1e-4, nan_ok=True), name


def test_calibration_places_mean_and_replicate():
    mean, replicate = {"wmse": 2.0, "wr2": 0.0}, {"wmse": 1.0, "wr2": 0.5}
    assert calibrate(mean, mean, replicate) == {"wmse": 0.0, "wr2": 0.0}
    assert calibrate(replicate, mean, replicate) == {"wmse": 1.0, "wr2": 1.0}
    assert np.isnan(calibrate({"wr2": 1.0}, {"wr2": 0.5}, {"wr2": 0.4})["wr2"])


def test_predictions_that_hide_something_are_refused():
    own = problem()
    change = own.truth.delta.copy()
    with pytest.raises(ValueError, match="all test perturbations and genes"):
        evaluate(predicted(change[:2]), own.truth)
    change[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        evaluate(predicted(change), own.truth)
    bad = predicted(own.truth.delta)._replace(sd=-np.ones_like(change))
    with pytest.raises(ValueError, match="at least 0"):
        evaluate(bad, own.truth)


def test_own_control_cells_gain_nothing():
    """Shifting one's controls along with the prediction would move the change; here it cannot."""
    task = problem().task
    mean = task.control + 0.1
    names, genes = list(task.perturbed), list(task.genes)
    plain = from_profiles(mean, names, genes, task)
    np.testing.assert_allclose(plain.change, 0.1, atol=1e-6)
    order = [2, 0, 1]
    shuffled = from_profiles(mean[order], [names[i] for i in order], genes, task)
    np.testing.assert_allclose(shuffled.change, plain.change)
    with pytest.raises(ValueError, match="off the observed ones"):
        from_profiles(mean, names, genes, task, controls=task.control[0] + 0.5)
    honest = from_profiles(mean, names, genes, task, controls=task.control[0])
    np.testing.assert_allclose(honest.change, plain.change)


def test_raw_values_for_logarithms_and_missing_rows_are_refused():
    task = problem().task
    names, genes = list(task.perturbed), list(task.genes)
    with pytest.raises(ValueError, match="logarithms mixed"):
        from_profiles(np.expm1(task.control) * 2, names, genes, task)
    with pytest.raises(ValueError, match="differences"):
        from_profiles(-task.control, names, genes, task)
    with pytest.raises(ValueError, match="no prediction"):
        from_profiles(task.control[:2], names[:2], genes, task)
    with pytest.raises(ValueError, match="once"):
        from_profiles(task.control, [names[0]] * 3, genes, task)
    with pytest.raises(ValueError, match="no prediction"):
        from_profiles(task.control[:, :5], names, genes[:5], task)


def test_predicted_cells_are_tested_as_observed_ones(tmp_path):
    from infosem_jax.perturbation.readers import read_cells

    path = tmp_path / "screen.h5ad"
    made.cells().write_h5ad(path)
    screen = screen_of_cells(read_cells(path))
    truth = screen.responses
    right = predicted_changes(predicted(truth.delta), truth, screen.controls, 0)
    # What was moved is called; what only gave way a little, as totals are fixed, rarely is.
    called, moved = signs(right), made.values().sign
    assert (called == moved)[moved != 0].mean() > 0.9 and (called != 0)[moved == 0].mean() < 0.1
    scores = evaluate(predicted(truth.delta), truth, changes=right).metrics
    assert scores["precision_at_50"] > 0.9 and scores["direction_match"] == 1
    nothing = predicted_changes(predicted(0 * truth.delta), truth, screen.controls, 0)
    empty = evaluate(predicted(0 * truth.delta), truth, changes=nothing).metrics
    assert empty["de_recall"] < 0.2
    assert predicted_changes(predicted(truth.delta), truth, {}, 0) is None


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("kind", ["values", "signed"])
def test_baselines_see_no_test_response_and_answer_all(name, kind):
    responses = getattr(made, kind)()
    own = problem(responses)
    if name in ("additive", "gene_effects") and kind == "signed":
        with pytest.raises(ValueError, match="values"):
            METHODS[name].predict([own.task], 0)
        return
    found = METHODS[name].predict([own.task], 0)[0]
    evaluate(found, own.truth)
    # Other responses of the test perturbations leave everything as it is.
    sign = responses.sign.copy()
    test = made.split().test
    sign[test] = -sign[test]
    other = responses._replace(sign=sign)
    if responses.delta is not None:
        delta = responses.delta.copy()
        delta[test] += 7
        other = other._replace(delta=delta)
    again = METHODS[name].predict([problem(other).task], 0)[0]
    for a, b in zip(found[:3], again[:3], strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_genes_are_counted_beyond_their_own_rates():
    train = made.signed()
    rng = np.random.default_rng(0)
    near = sparse.csr_array(rng.random((12, 12)) * (rng.random((12, 12)) < 0.3))
    weight = rng.random((2, 15)).astype(np.float32)
    changed, rate, share = train.sign != 0, rates(train), (0.1, 0.02)
    questions = ((train.known, changed, rate[0]), (changed, train.sign > 0, rate[1]))
    every = share[0] * near.toarray() + share[1] + np.eye(12)
    for counts, (known, yes, own) in zip(count(train, near), questions, strict=True):
        found = posterior(weight, counts, own, share)
        seen, excess = known @ every.T, ((yes - own) * known) @ every.T
        right = own + weight @ excess / (weight @ seen + 1)
        np.testing.assert_allclose(found, right, rtol=1e-4)
        alone = (weight @ yes + own) / (weight @ known + 1)
        np.testing.assert_allclose(posterior(weight, counts, own), alone, rtol=1e-4)


def test_neighbours_and_ridge_find_the_groups():
    own = problem()
    usual = mean_response(own.task).change
    for name in ("graph_neighbours", "text_neighbours", "neighbours", "ridge", "ridge_text",
                 "ridge_graph"):  # fmt: skip
        found = METHODS[name].predict([own.task], 0)[0]
        assert evaluate(found, own.truth, usual).metrics["pearson_reference"] > 0.8, name


def test_additive_adds_what_single_perturbations_do():
    full = made.values(noise=0.0)
    names = (("p00", "p10"), *full.perturbed[1:])
    both = full._replace(perturbed=names)
    split = Split(np.arange(1, 15), np.zeros(0, int), np.array([0]), "made")
    known = both._replace(perturbed=(("p01", "p10"), *full.perturbed[1:]))
    own = make_problem(known, split, made.knowledge())
    found = METHODS["additive"].predict([own.task], 0)[0]
    right = full.delta[1] + full.delta[5]
    np.testing.assert_allclose(found.change[0], right, atol=1e-6)
    assert found.informed.tolist() == [True]
