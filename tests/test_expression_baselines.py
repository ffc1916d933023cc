"""Baselines: closed forms, other libraries, recovery, and that no test truth is needed."""

import numpy as np
import pytest
from compilations import compilations
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor

from infosem_jax.expression.auto import AutoConfig
from infosem_jax.expression.baselines import (
    features,
    least_squares,
    mlp,
    nearest,
    ridge,
    ridge_path,
    trees,
)
from infosem_jax.expression.methods import METHODS as EVERY
from infosem_jax.expression.metrics import gene_pearson
from infosem_jax.expression.mlp import MLPConfig, apply_mlp, train_mlp
from infosem_jax.expression.profiles import make_profiles, present
from infosem_jax.expression.readers import read_landmarks, read_profiles
from infosem_jax.expression.splits import random_split
from infosem_jax.expression.task import comparable, make_task
from infosem_jax.expression.trees import TreesConfig
from infosem_jax.expression.units import log_counts

METHODS = {name: method for name, method in EVERY.items() if not name.startswith("graph")}
SMALL = MLPConfig(hidden=(32,), epochs=60, patience=10, learning_rate=3e-3)
FEW = TreesConfig(components=3, iterations=20)


def problem(samples=90, inputs=8, targets=25, seed=0, curved=False, **kwargs):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(samples, 3))
    x = state @ rng.normal(size=(3, inputs)) + 0.2 * rng.normal(size=(samples, inputs))
    cause = np.tanh(2 * state) ** 2 if curved else state
    y = cause @ rng.normal(size=(3, targets)) + 0.2 * rng.normal(size=(samples, targets))
    names = [f"G{i}" for i in range(inputs + targets)]
    labels = {"tissue": np.where(state[:, 0] > 0, "a", "b")}
    data = make_profiles(10 + np.concatenate([x, y], 1), names, labels=labels)
    return make_task(data, names[:inputs], random_split(samples), targets="rest", **kwargs)


def run(name, task, seed=0):
    small = {"mlp": SMALL, "trees": FEW, "auto": AutoConfig(network=False)}
    method = METHODS[name]
    return method._replace(settings=small.get(name, method.settings)).predict(task, seed)


def correlation(problem, prediction):
    truth, mean = comparable(problem, prediction)
    return np.nanmean(gene_pearson(truth.astype(float), mean.astype(float)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method(name):
    given = problem(covariates=("tissue",))
    first, again = run(name, given.task), run(name, given.task)
    assert first.mean.shape == first.sd.shape == given.y_test.shape
    assert first.mean.dtype == first.sd.dtype == np.float32 and (first.sd > 0).all()
    np.testing.assert_array_equal(first.mean, again.mean)
    alone = run(
        name,
        given.task._replace(
            x_test=given.task.x_test[:3], covariate_test=given.task.covariate_test[:3]
        ),
    )
    np.testing.assert_allclose(alone.mean, first.mean[:3], atol=1e-4)
    error = np.sqrt(((first.mean - given.y_test) ** 2).mean())
    assert error == pytest.approx(np.sqrt((first.sd**2).mean()), rel=0.35)
    assert METHODS[name].about.endswith(".")
    if name != "mean":
        assert correlation(given, first) > 0.7
    assert METHODS[name].random == (run(name, given.task, seed=1).mean != first.mean).any()


@pytest.mark.parametrize("strength", [0.0, 0.01, 3.0])
def test_ridge_equals_its_closed_form(strength):
    task = problem().task
    x, y, new = task.x_train, task.y_train, task.x_test
    (found,) = ridge_path(x, y, new, (strength,))
    penalty = strength * len(x) * x.var(0).mean()
    model = Ridge(penalty, solver="cholesky") if strength else LinearRegression()
    expected = model.fit(x.astype(float), y.astype(float)).predict(new)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_path_is_that_of_single_strengths():
    task = problem(samples=20, inputs=30).task
    strengths = (0.0, 0.1, 10.0)
    path = ridge_path(task.x_train, task.y_train, task.x_test, strengths)
    for strength, values in zip(strengths, path, strict=True):
        (alone,) = ridge_path(task.x_train, task.y_train, task.x_test, (strength,))
        np.testing.assert_array_equal(values, alone)


def learned(task):
    """Return the samples that methods without a stopping time learn from in the end."""
    x = np.concatenate([task.x_train, task.x_valid])
    return x, np.concatenate([task.y_train, task.y_valid])


def test_more_inputs_than_samples_have_the_shortest_solution():
    task = problem(samples=20, inputs=30).task
    x, y = (part.astype(float) for part in learned(task))
    assert len(x) < x.shape[1]
    beta = np.linalg.lstsq(x - x.mean(0), y - y.mean(0), rcond=None)[0]
    expected = y.mean(0) + (task.x_test - x.mean(0)) @ beta
    np.testing.assert_allclose(least_squares(task).mean, expected, atol=1e-3)


def test_strengths_and_neighbours_are_those_that_validation_prefers():
    task = problem(samples=40, inputs=20).task
    strengths, numbers = (1e-3, 0.1, 10.0), (1, 4, 16)
    given = task.x_train, task.y_train
    near = [KNeighborsRegressor(k).fit(*given).predict(task.x_valid) for k in numbers]
    for method, name, settings, inferred in (
        (ridge, "strengths", strengths, ridge_path(*given, task.x_valid, strengths)),
        (nearest, "neighbours", numbers, near),
    ):
        errors = [((values - task.y_valid) ** 2).mean() for values in inferred]
        best = settings[int(np.argmin(errors))]
        chosen = method(task, **{name: settings}).mean
        np.testing.assert_array_equal(chosen, method(task, **{name: (best,)}).mean)


def test_neighbours_equal_those_of_scikit_learn():
    task = problem().task
    model = KNeighborsRegressor(7).fit(*learned(task))
    found = nearest(task, neighbours=(7,)).mean
    np.testing.assert_allclose(found, model.predict(task.x_test), atol=1e-5)
    few = problem(samples=10).task
    assert np.isfinite(nearest(few, neighbours=(500,)).mean).all()


def test_validation_samples_are_learned_from_in_the_end():
    task = problem().task
    x = np.concatenate([task.x_train, task.x_valid])
    y = np.concatenate([task.y_train, task.y_valid])
    expected = LinearRegression().fit(x.astype(float), y.astype(float)).predict(task.x_test)
    np.testing.assert_allclose(least_squares(task).mean, expected, atol=1e-4)


def test_covariates_are_inputs():
    rng = np.random.default_rng(0)
    organ = rng.integers(0, 4, 200)
    x = np.concatenate([rng.normal(size=(200, 3)), rng.normal(size=(4, 10))[organ]], 1)
    x += 8 + 0.1 * rng.normal(size=x.shape)
    data = make_profiles(x, [f"G{i}" for i in range(13)], labels={"organ": organ})
    for scaling in ("standard", "max"):
        kwargs = {"targets": "rest", "scaling": scaling}
        blind = make_task(data, data.genes[:3], random_split(200), **kwargs)
        told = make_task(data, data.genes[:3], random_split(200), covariates="organ", **kwargs)
        for name in set(METHODS) - {"mean"}:
            assert correlation(blind, run(name, blind.task)) < 0.4
            assert correlation(told, run(name, told.task)) > 0.7, name
        spread = features(told.task).train[:, 3:].max()
        assert spread == pytest.approx(np.sqrt(told.task.x_train.var(0).mean()), rel=1e-5)


def test_trees_and_perceptron_learn_what_is_curved():
    given = problem(samples=400, curved=True)
    linear = correlation(given, ridge(given.task))
    assert correlation(given, trees(given.task, config=TreesConfig(components=5))) > linear + 0.2
    assert correlation(given, mlp(given.task, 0, SMALL)) > linear + 0.2


def test_trees_keep_no_component_that_does_not_help():
    given = problem()
    noise = np.random.default_rng(0).normal(size=given.task.x_train.shape).astype(np.float32)
    found = trees(given.task._replace(x_train=noise), config=FEW)
    assert np.abs(found.mean).mean() < 0.3


def test_the_perceptron_keeps_its_best_and_is_compiled_once(monkeypatch):
    task = problem().task
    arguments = task.x_train, task.y_train, task.x_valid, task.y_valid
    long = MLPConfig(hidden=(32, 16), epochs=80, patience=80, learning_rate=1e-2, loss="l1")
    params = train_mlp(*arguments, long)
    kept = np.abs(apply_mlp(params, task.x_valid, long) - task.y_valid).mean()
    with compilations() as compiled:
        other = train_mlp(*arguments, long, seed=5)
    assert "run_chunk" not in compiled
    assert kept < 0.6 and np.isfinite(apply_mlp(other, task.x_test, long)).all()


def test_settings_out_of_range_are_refused():
    for settings, message in (
        ({"hidden": ()}, "one to three hidden layers"),
        ({"hidden": (3, 3, 3, 3)}, "one to three hidden layers"),
        ({"dropout": 1.0}, "dropout: expected a number below 1"),
        ({"epochs": 0}, "epochs: expected at least 1"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPConfig(**settings)
    task = problem().task
    wild = MLPConfig(hidden=(8,), learning_rate=1e30, epochs=5)
    with pytest.raises(FloatingPointError, match="diverged at step"):
        train_mlp(task.x_train, task.y_train, task.x_valid, task.y_valid, wild)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [("lcl_rnaseq_counts_129x8124", (0.64, 0.51)), ("tcga_brca_200x3437", (0.76, 0.62))],
)
def test_landmarks_to_targets_on_real_data(real_data, name, expected):
    data = read_profiles(real_data / "l1000" / f"{name}.npz")
    data = log_counts(data) if "counts" in name else data
    landmarks = present(read_landmarks(real_data / "l1000" / "geneinfo_beta.tsv.gz"), data)
    figures = []
    for seed in range(3):
        split = random_split(len(data.samples), seed=seed)
        given = make_task(data, landmarks, split, targets="rest")
        figures.append(
            [correlation(given, METHODS[m].predict(given.task, seed)) for m in ("ridge", "knn")]
        )
    # What other halves of so few samples give differs by about 0.03.
    np.testing.assert_allclose(np.mean(figures, 0), expected, atol=0.04)
