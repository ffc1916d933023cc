"""Cells left out of exact fits, and predictions: closed forms, and what users read."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_t
from typer.testing import CliRunner

from infosem_jax import grn
from infosem_jax.cli.app import app
from infosem_jax.data import dataset
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import exact
from infosem_jax.grn.exact import held_out as held_out_module
from infosem_jax.grn.exact.decomposition import spectrum_of_cells
from infosem_jax.grn.exact.fitting import decomposed, solve_for, task
from infosem_jax.grn.exact.held_out import held_out, predicted, random_folds, state_folds
from infosem_jax.grn.exact.posterior import log_evidence

R2 = 0.4
SETTINGS = exact.Config(r2=R2)


def linear(cells=60, genes=8, acting=4, seed=0):
    """Z-scored cells of which the first genes act on the others, and those effects."""
    rng = np.random.default_rng(seed)
    W = rng.normal(0, 0.5, (acting, genes - acting))
    z = rng.normal(size=(cells, acting))
    x = np.concatenate([z, z @ W + rng.normal(size=(cells, genes - acting))], 1)
    names = [f"g{i}" for i in range(genes)]
    data = dataset(x - x.min(), names, names[:acting])
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    return data._replace(x=x, normalisation="zscore")


@pytest.mark.parametrize("kind", ["alike", "by pair"])
def test_densities_of_cells_are_those_of_the_regression_with_all_else_integrated_out(kind):
    data = linear()
    scale = np.where(np.arange(8) < 5, 0.5, 1.5) * np.ones((8, 1))
    prior = None if kind == "alike" else priors_of(scale)
    fitted = exact.fit(data, prior, config=SETTINGS)
    folds = np.arange(60) % 3
    found = held_out(fitted, data, prior, folds)
    t = np.sqrt(R2 / (1 - R2) / 8) * (1 if prior is None else scale / np.sqrt((scale**2).mean()))
    t = np.broadcast_to(t, (8, 8))
    for cell in (0, 1, 17):
        train, expected = folds != folds[cell], []
        for j in range(8):
            others = np.arange(8) != j
            z = np.vstack([data.x[train], data.x[cell]])[:, others] * t[others, j]
            y = np.append(data.x[train, j], data.x[cell, j])
            shape = np.eye(len(y)) + z @ z.T
            whole = multivariate_t(shape=shape, df=1).logpdf(y)
            expected.append(whole - multivariate_t(shape=shape[:-1, :-1], df=1).logpdf(y[:-1]))
        assert found.density[cell] == pytest.approx(np.mean(expected), abs=2e-3)


def priors_of(scale):
    import numpyro.distributions as dist

    return dist.Normal(np.zeros((8, 8)), scale * np.ones((8, 8)))


@pytest.mark.parametrize("cells", [10, 60])
@pytest.mark.parametrize("kind", ["no prior", "means", "means and scales", "mixture"])
def test_products_with_cells_are_those_of_the_effects_of_all_pairs(kind, cells):
    import numpyro.distributions as dist

    data, pairs = linear(cells=cells, genes=16), (16, 16)
    rng = np.random.default_rng(0)
    mean, scales = rng.normal(size=pairs), np.exp(rng.normal(size=pairs))
    priors = {
        "no prior": None,
        "means": dist.Normal(mean, np.ones(pairs)),
        "means and scales": dist.Normal(mean, scales),
        "mixture": grn.priors.Horseshoe(),
    }
    given = task(data, priors[kind], None, exact.Config(rows="all", sweeps=3))
    basis = decomposed(data, given.rows)
    whole, alone = (solve_for(given, basis, rows) for rows in (np.arange(16), np.arange(1)))
    z = rng.normal(size=(5, 16))
    priori = None if alone.mean is None else np.asarray(alone.mean)
    found = predicted(basis, np.asarray(alone.scale), priori, z)
    expected = z @ np.asarray(whole.effects.weight)
    np.testing.assert_allclose(
        found.location, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max()
    )
    np.testing.assert_array_equal(whole.effects.noise, alone.effects.noise)


def test_folds_of_many_rows_are_decomposed_as_they_are_alone_and_of_one_shape(monkeypatch):
    monkeypatch.setattr(held_out_module, "FEW", 20)
    x = linear(cells=30, genes=40).x
    rows, folds = np.arange(39), np.array([0] * 5 + [1] * 9 + [3] * 16)
    found = held_out_module.without_folds(x, rows, folds)
    assert {basis.vectors.shape for basis in found.values()} == {(39, 38)}
    z = np.random.default_rng(1).normal(size=(3, 39))
    for fold, basis in found.items():
        alone = spectrum_of_cells(x[folds != fold], rows)
        for scale in (0.1, 1.0):
            a, b = (log_evidence(each, scale) for each in (basis, alone))
            np.testing.assert_allclose(a, b, rtol=1e-5)
            a, b = (predicted(each, np.asarray(scale), None, z) for each in (basis, alone))
            np.testing.assert_allclose(a.location, b.location, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(a.variance, b.variance, rtol=1e-4, atol=1e-5)


def test_intervals_hold_on_linear_data_and_not_where_cells_are_copies():
    data = linear(cells=300)
    fitted = exact.fit(data, config=SETTINGS)
    found = held_out(fitted, data, None, random_folds(data.cells, 0))
    np.testing.assert_allclose(found.coverage, np.arange(1, 10) / 10, atol=0.035)
    assert 0.1 < found.explained < 0.9
    # Each cell of the first 20 counts fifteen times: what is left out is not like the rest.
    copies = data._replace(x=np.tile(linear(cells=20).x, (15, 1)))
    fitted = exact.fit(copies, config=SETTINGS)
    by_state = held_out(fitted, copies, None, np.arange(300) % 20 // 4)
    assert by_state.coverage[-1] < 0.85


def test_folds_depend_on_names_and_states_on_expression():
    names = [f"c{i}" for i in range(20)]
    folds = dict(zip(names, random_folds(names, 0), strict=True))
    again = dict(zip(names[::-1], random_folds(names[::-1], 0), strict=True))
    assert folds == again and sorted(folds.values()) == sorted(list(range(5)) * 4)
    centres = np.repeat(np.eye(5) * 30, 10, 0)
    states = state_folds(centres + np.random.default_rng(0).normal(size=centres.shape))
    assert pd.crosstab(states, np.repeat(np.arange(5), 10)).astype(bool).sum().eq(1).all()


def test_predictions_are_in_the_unit_of_the_data():
    data = simulate(SimulationConfig(genes=12, regulators=4, cells=60, dropout=0), 0).data
    fitted = exact.fit(data, config=SETTINGS)
    mean, sd = data.x.mean(0), data.x.std(0)
    rows = [data.genes.index(name) for name in data.regulators]
    expected = mean + sd * (((data.x - mean) / sd)[:, rows] @ fitted.weight)
    np.testing.assert_allclose(grn.predict(fitted, data), expected, rtol=1e-3, atol=1e-3)


def test_check_reads_an_exact_run_and_says_whether_intervals_hold(tmp_path):
    data = linear(cells=100)
    pd.DataFrame(data.x - data.x.min(), list(data.cells), list(data.genes)).to_csv(
        tmp_path / "x.csv"
    )
    (tmp_path / "tfs.txt").write_text("\n".join(data.regulators))
    (tmp_path / "r2.toml").write_text(f'[exact]\nr2 = {R2}\nnormalisation = "zscore"\n')

    def infosem(*words):
        done = CliRunner().invoke(app, list(map(str, words)), env={"JAX_NUM_CPU_DEVICES": "1"})
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    known = ["--regulators", tmp_path / "tfs.txt", "--config", tmp_path / "r2.toml"]
    infosem("fit", tmp_path / "x.csv", *known, "--out", tmp_path / "run")
    told = infosem("check", tmp_path / "run", "--out", tmp_path / "check")
    assert "fine: intervals" in told and "states of cells are left out" in told
    record = json.loads((tmp_path / "check" / "check.json").read_text())
    assert record["held_out"]["cells at random"]["coverage"]["0.9"] == pytest.approx(0.9, abs=0.05)
    page = (tmp_path / "check" / "check.html").read_text()
    assert "Cells left out" in page and page.count("<svg") == 1 and "training" not in page
