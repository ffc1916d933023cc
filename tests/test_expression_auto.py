"""Joined predictions: weights against their optimum, folds, budgets, and files that come back."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from infosem_jax.expression import (
    METHODS,
    Config,
    fit,
    group_folds,
    grouped_split,
    load,
    make_profiles,
    make_task,
    predict,
    random_split,
    save,
)
from infosem_jax.expression.auto import AutoConfig, FittedAuto, fit_auto, predict_auto
from infosem_jax.expression.baselines import kernel_path, ridge_path
from infosem_jax.expression.joining import effective_samples, inner_folds, join, simplex_weights
from infosem_jax.expression.methods import configured
from infosem_jax.expression.selection import greedy_order, linear_order
from infosem_jax.expression.splits import Split

SMALL = {"layers": 1, "channels": 3, "neighbours": 2, "epochs": 4, "check_every": 2}


def problem(samples=120, inputs=8, targets=30, seed=0, split=None):
    """Make genes of which half follow the levels of factors, and half their signs."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(samples, 4))
    of_levels, of_signs = rng.normal(size=(2, 4, targets // 2))
    x = np.concatenate(
        [factor @ rng.normal(size=(4, inputs)), factor @ of_levels, np.sign(factor) @ of_signs], 1
    )
    x = 8 + x + 0.3 * rng.normal(size=x.shape)
    data = make_profiles(x, [f"G{i}" for i in range(inputs + targets)])
    split = random_split(samples, seed=seed) if split is None else split
    return make_task(data, data.genes[:inputs], split, targets="rest")


def test_simplex_weights_are_the_best_there_are():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(20, 4, 6)) * np.array([1, 0.3, 2, 1])[:, None]
    factor[:, 3] += factor[:, 0]
    products = factor @ factor.swapaxes(1, 2)
    found = simplex_weights(products)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found.min() >= 0
    sums = {"type": "eq", "fun": lambda w: w.sum() - 1}
    for own, weights in zip(products, found, strict=True):
        best = minimize(
            lambda w, own=own: w @ own @ w, np.full(4, 0.25), bounds=[(0, 1)] * 4, constraints=sums
        )
        assert weights @ own @ weights <= best.fun * (1 + 1e-3) + 1e-6
    np.testing.assert_allclose(simplex_weights(np.zeros((1, 3, 3))), 1 / 3)


def test_parts_count_where_they_help():
    rng = np.random.default_rng(1)
    errors = rng.normal(size=(3, 200, 40))
    errors[0, :, :20] *= 0.1
    errors[1, :, 20:] *= 0.1
    folds = np.arange(200) % 5
    joined = join(errors.astype(np.float32), folds)
    np.testing.assert_allclose(joined.weights.sum(0), 1, rtol=1e-5)
    assert joined.weights[0, :20].min() > 0.6 and joined.weights[1, 20:].min() > 0.6
    # Errors of a fold are those of weights that have not seen it.
    seen = folds != 0
    others = join(errors[:, seen].astype(np.float32), folds[seen]).weights
    expected = np.einsum("kg,ksg->sg", others, errors[:, ~seen])
    np.testing.assert_allclose(joined.error[~seen], expected, atol=1e-4)


def test_weights_of_few_samples_lean_on_all_genes():
    rng = np.random.default_rng(2)
    errors = rng.normal(size=(2, 12, 300)).astype(np.float32)
    errors[1] *= 0.7
    weights = join(errors, np.arange(12) % 3).weights[1]
    alone = join(errors[:, :, :1], np.arange(12) % 3).weights[1]
    assert 0.55 < weights.mean() < 0.8 and weights.std() < 0.12
    assert alone.shape == (1,)


def test_samples_that_err_alike_count_as_their_groups():
    rng = np.random.default_rng(4)
    errors = rng.normal(size=(3, 12, 40)).astype(np.float32)
    errors[1] *= 0.8
    groups = np.repeat(np.arange(12), 15)
    repeated, folds = errors[:, groups], np.arange(12) % 3
    found = join(repeated, folds[groups], groups)
    once = join(errors, folds)
    np.testing.assert_allclose(found.weights, once.weights, atol=1e-5)
    np.testing.assert_allclose(found.error, once.error[groups], atol=1e-4)
    # Taken for independent samples, they would say more than they know of each gene.
    assert np.abs(join(repeated, folds[groups]).weights - once.weights).max() > 0.1
    apart = rng.normal(size=(180, 400))
    assert effective_samples(apart, groups) > 120
    assert effective_samples(apart[groups], groups) == pytest.approx(12)
    assert effective_samples(apart, np.arange(180)) == 180
    between = rng.normal(size=(12, 400))[groups]
    # Half of the variance lies between groups: 180 / (1 + 14 / 2).
    assert effective_samples(apart + between, groups) == pytest.approx(22.5, rel=0.15)


def test_one_strange_value_does_not_choose_settings():
    own = problem().task
    y = own.y_train.copy()
    y[3, 5] = 100
    config = AutoConfig(network=False)
    usual, strange = (fit_auto(each, config).settings for each in (own, own._replace(y_train=y)))
    # By squares, 15 neighbours would be taken in place of 3, and five times the penalty.
    assert usual["knn"] <= strange["knn"] < 10
    assert strange["ridge"] < 3 * usual["ridge"]


@pytest.mark.parametrize("how", ["grouped", "folds"])
def test_groups_stay_whole_in_inner_folds(how):
    donors = np.repeat(np.arange(10, 34), 5)
    split = grouped_split(donors) if how == "grouped" else group_folds(donors, 4)[0]
    task = problem(split=split).task
    own = donors[np.concatenate([split.train, split.valid])]
    np.testing.assert_array_equal(task.groups, own - 10)
    folds = inner_folds(task.groups, 5, 0)
    assert all(len(set(folds[task.groups == donor])) == 1 for donor in set(task.groups))
    assert np.ptp(np.bincount(folds)) <= 5 and folds.max() == 4
    assert problem().task.groups is None
    assert inner_folds(np.arange(3), 5, 0).max() == 2
    with pytest.raises(ValueError, match="at least two groups"):
        inner_folds(np.zeros(9, int), 5, 0)


def test_joined_is_no_worse_than_its_parts_and_knows_its_errors():
    gaps, within = [], []
    for seed in range(3):
        own = problem(samples=200, seed=seed)
        found = METHODS["auto"].function(own.task, seed, AutoConfig(network=False))
        error = np.abs(found.mean - own.y_test).mean()
        parts = ("least_squares", "ridge", "knn", "kernel")
        each = [np.abs(METHODS[p].predict(own.task, 0).mean - own.y_test).mean() for p in parts]
        gaps.append(error / min(each))
        within.append((np.abs(found.mean - own.y_test) <= 1.645 * found.sd).mean())
    assert max(gaps) < 1.0
    # Of 3 x 40 samples with 30 genes that share their errors, a few per cent are chance.
    assert abs(np.mean(within) - 0.9) < 0.05


def test_joined_fits_come_back_and_average_seeds(tmp_path):
    own, told = problem(), []
    config = Config(settings={"graph": SMALL})
    assert config.method == "auto"
    fitted = fit(own, config=config, seeds=2, on_chunk=told.append)
    member = fitted.members[0]
    assert isinstance(member, FittedAuto)
    assert member.parts == ("least_squares", "ridge", "knn", "kernel", "graph")
    assert told[-1].done == told[-1].total == 2 and not fitted.notes
    save(tmp_path / "model.npz", fitted)
    again = load(tmp_path / "model.npz")
    before, after = (predict(each, own) for each in (fitted, again))
    np.testing.assert_array_equal(before.mean, after.mean)
    np.testing.assert_array_equal(before.sd, after.sd)
    singles = [predict(fitted._replace(members=(m,)), own).mean for m in fitted.members]
    np.testing.assert_allclose(before.mean, np.mean(singles, 0), rtol=1e-5)
    # The sum of the parts, of which those without a network are the methods themselves.
    weights = member.weights[1].copy()
    np.testing.assert_allclose(member.weights.sum(0), 1, rtol=1e-5)
    ridge = next(iter(ridge_path(member.x, member.y, own.task.x_test, (member.settings["ridge"],))))
    only = member._replace(weights=np.zeros_like(member.weights))
    only.weights[1] = weights
    found = predict_auto(only, own.task.x_test, own.task.covariate_test)
    np.testing.assert_allclose(found.mean, weights * ridge, atol=1e-5)


def test_a_network_that_takes_too_long_is_left_out():
    own = problem().task
    config = configured("auto", {"graph": SMALL | {"epochs": 300}, "budget": 1e-4}).settings
    fitted = fit_auto(own, config)
    assert fitted.network is None and len(fitted.weights) == 4
    assert "network was left out" in fitted.notes[0] and "budget" in fitted.notes[0]
    without = fit_auto(own, replace(config, network=False, budget=0.0))
    np.testing.assert_array_equal(fitted.weights, without.weights)
    with pytest.raises(ValueError, match="budget"):
        configured("auto", {"budget": -1.0})


def test_nothing_of_the_test_samples_reaches_a_fit():
    own = problem().task
    config = AutoConfig(network=False)
    blind = fit_auto(own._replace(x_test=own.x_test[::-1] ** 2), config)
    seen = fit_auto(own, config)
    np.testing.assert_array_equal(blind.weights, seen.weights)
    np.testing.assert_array_equal(blind.sd, seen.sd)


def test_kernel_of_power_two_is_ridge():
    task = problem().task
    args = task.x_train, task.y_train, task.x_test
    (kernel,) = kernel_path(*args, ((2.0, 0.1),))
    # The penalty is in units of the trace, that of ridge in units of the variance of a feature.
    samples, inputs = task.x_train.shape
    (ridge,) = ridge_path(*args, (0.1 * inputs / samples,))
    np.testing.assert_allclose(kernel, ridge, atol=1e-3)


def test_greedy_finds_what_lines_do_not():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(150, 15))
    y = np.abs(x[:, [4]]) @ rng.normal(size=(1, 30)) + 0.3 * rng.normal(size=(150, 30))
    y[:, :3] += 0.2 * x[:, [7]]
    genes = [f"G{i}" for i in range(45)]
    data = make_profiles(np.concatenate([x, y], 1), genes)
    places = np.arange(150)
    parts = Split(places[:110], places[110:130], places[130:])
    task = make_task(data, genes[:15], parts, targets="rest").task
    assert greedy_order(task, 1, 0).tolist() == [4]
    assert linear_order(task, 1, 0).tolist() != [4]
