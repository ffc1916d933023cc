"""Activities of regulators: recovery, what edges count for, data sets together, and the command."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from typer.testing import CliRunner

from infosem_jax import grn
from infosem_jax.cli.app import app
from infosem_jax.data import dataset, join, normalise, read_expression
from infosem_jax.grn import exact
from infosem_jax.grn.activities import loadings

REGULATORS = [f"R{i}" for i in range(8)]


def simulated(seed=0, cells=300, targets=80, shift=0.0, noise=1.0):
    """Expression whose regulators' activities are known and measured with noise, as log counts."""
    rng = np.random.default_rng(seed)
    n = len(REGULATORS)
    W = np.where(rng.random((n, targets)) < 0.3, rng.normal(0, 0.6, (n, targets)), 0.0)
    a = rng.normal(size=(cells, n))
    a[cells // 2 :, 0] += shift
    x = np.hstack([a + noise * rng.normal(size=a.shape), a @ W + rng.normal(size=(cells, targets))])
    names = [*REGULATORS, *(f"G{i:02d}" for i in range(targets))]
    return dataset(x - x.min() + 0.1, names, REGULATORS), a, W


def fitted_on(data):
    return grn.fit(data, config=exact.Config(rows="regulators"))


def ulm(x, weight):
    """t value of each cell's univariate linear model of expression on a regulon, as decoupler's."""
    x = x - x.mean(1, keepdims=True)
    w = weight - weight.mean(1, keepdims=True)
    r = (x @ w.T) / np.sqrt((x**2).sum(1)[:, None] * (w**2).sum(1))
    return r * np.sqrt((x.shape[1] - 2) / (1 - r**2))


def within(found, truth):
    return np.array([np.corrcoef(f, t)[0, 1] for f, t in zip(found.T, truth.T, strict=True)])


def test_activities_are_recovered_better_than_by_ulm_on_the_strongest_targets():
    gains = []
    for seed in range(4):
        data, a, _ = simulated(seed)
        fitted = fitted_on(data)
        found = grn.activity(fitted, data)
        size = np.abs(fitted.weight)
        cut = np.sort(size, axis=1)[:, -20:-19]
        strong = np.where(size >= cut, fitted.weight, 0.0)
        x = normalise(data, "zscore").x
        gains.append(within(found.mean, a) - within(ulm(x, strong), a))
    gain = np.concatenate(gains)
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def test_ulm_of_this_file_is_that_of_decoupler():
    decoupler = pytest.importorskip("decoupler")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 30)), rng.normal(size=(2, 30))
    genes = [f"g{i}" for i in range(30)]
    net = pd.DataFrame(
        [(f"r{i}", g, w[i, j]) for i in range(2) for j, g in enumerate(genes)],
        columns=pd.Index(["source", "target", "weight"]),
    )
    found, _ = decoupler.mt.ulm(pd.DataFrame(x, columns=pd.Index(genes)), net, tmin=1)
    np.testing.assert_allclose(found.to_numpy(), ulm(x, w), rtol=1e-4)


def test_it_is_the_posterior_of_the_factor_model():
    data, _, _ = simulated()
    fitted = fitted_on(data)
    found = grn.activity(fitted, data)
    x = normalise(data, "zscore").x
    mean, variance = loadings(fitted, x - x.mean(0))
    # Of the unexplained variances it is a fixed point: those that explain the cells best.
    noise = np.ones(x.shape[1])
    for _ in range(20):
        Q = np.eye(8) + (mean / noise) @ mean.T
        P = np.linalg.inv(Q)
        a = x @ (P @ (mean / noise)).T
        noise = ((x - a @ mean) ** 2).mean(0) + np.einsum("rj,rs,sj->j", mean, P, mean)
        noise = np.maximum(noise + ((a**2).mean(0) + np.diag(P)) @ variance, 0.01)
    Q = np.eye(8) + (mean / noise) @ mean.T
    np.testing.assert_allclose(
        found.mean, x @ (np.linalg.solve(Q, mean / noise)).T, rtol=2e-3, atol=2e-3
    )
    np.testing.assert_allclose(found.sd, np.sqrt(np.diag(np.linalg.inv(Q))), rtol=1e-3)


def test_less_sure_effects_count_less_and_no_edge_says_nothing():
    data, _, _ = simulated()
    fitted = fitted_on(data)
    sure = grn.activity(fitted, data)
    unsure = grn.activity(fitted._replace(sd=fitted.sd + 0.3), data)
    assert (unsure.sd > sure.sd).all()
    x = normalise(data, "zscore").x
    mean, _ = loadings(fitted, x - x.mean(0))
    gate = mean[:, 8:] / fitted.weight[:, 8:]
    assert ((gate >= fitted.probability[:, 8:] - 1e-5) & (gate <= 1 + 1e-5)).all()
    # Noise alone has no targets: nothing is known of any activity.
    rng = np.random.default_rng(0)
    noise = dataset(rng.normal(size=(300, 88)) + 5, data.genes, REGULATORS)
    none = grn.activity(fitted_on(noise), noise)
    assert none.sd.min() > 0.95 and np.abs(none.mean).max() < 0.5


def test_weak_edges_that_are_many_are_not_missed():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 8))
    x = np.hstack([a + rng.normal(size=a.shape), a @ rng.normal(0, 0.25, (8, 80))])
    x[:, 8:] += rng.normal(size=(300, 80))
    data = dataset(x - x.min() + 1, simulated()[0].genes, REGULATORS)
    fitted = fitted_on(data)
    found = grn.activity(fitted._replace(probability=0 * fitted.probability), data)
    assert within(found.mean, a).min() > 0.5


def test_the_order_of_genes_does_not_matter_and_other_genes_are_refused():
    data, _, _ = simulated()
    fitted = fitted_on(data)
    order = np.random.default_rng(1).permutation(len(data.genes))
    other = data._replace(
        x=data.x[:, order],
        observed=data.observed[:, order],
        genes=tuple(np.asarray(data.genes)[order]),
    )
    np.testing.assert_allclose(
        grn.activity(fitted, other).mean, grn.activity(fitted, data).mean, atol=1e-4
    )
    with pytest.raises(ValueError, match="genes of the fit"):
        grn.activity(fitted, data._replace(genes=("x", *data.genes[1:])))


def test_data_sets_joined_are_on_one_scale():
    data, _, _ = simulated(shift=2.0)
    halves = {
        name: data._replace(x=data.x[at], observed=data.observed[at], cells=tuple(
            np.asarray(data.cells)[at]), name=name)
        for name, at in (("a", slice(0, 150)), ("b", slice(150, 300)))
    }  # fmt: skip
    halves["b"] = halves["b"]._replace(
        x=halves["b"].x[:, :-1], observed=halves["b"].observed[:, :-1], genes=data.genes[:-1]
    )
    together = join(halves)
    assert together.genes == data.genes[:-1] and len(together.cells) == 300
    assert "left out 1 genes" in together.notes[0]
    found = grn.activity(fitted_on(together), together)
    table = grn.compare_activity(found, np.repeat(["a", "b"], 150))
    assert table["regulator"][0] == "R0"
    assert table["b"][0] - table["a"][0] > 0.5
    twice = join({"a": halves["a"], "b": halves["a"]})
    assert len(set(twice.cells)) == 300 and twice.cells[0].startswith("a:")
    with pytest.raises(ValueError, match="as read"):
        join({"a": normalise(data, "zscore"), "b": data})
    counts = data._replace(x=np.round(np.expm1(data.x)))
    natural = data._replace(x=np.log1p(counts.x))
    base2 = data._replace(x=natural.x / np.float32(np.log(2)))
    assert len(join({"a": counts, "b": counts}).cells) == 600
    for one, other in ((counts, natural), (natural, base2)):
        with pytest.raises(ValueError, match=r"data sets in one unit.* found a: .*; b: log"):
            join({"a": one, "b": other})
    with pytest.raises(ValueError, match="genes and regulators in common"):
        join({"a": data, "b": data._replace(genes=tuple(f"z{g}" for g in data.genes))})


def test_regulators_that_differ_in_most_cells_lead_however_little_their_targets_say():
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b"], 200)
    # R0 tells the groups apart and is drawn to zero; R1 moves less beside what else it does; R2
    # has no targets.
    mean = rng.normal(size=(400, 3)) * [0.1, 1.0, 0.0]
    mean[groups == "b"] += [0.3, 1.0, 0.0]
    found = grn.Activity(
        tuple(map(str, range(400))), ("R0", "R1", "R2"), mean, np.array([0.98, 0.2, 1.0])
    )
    table = grn.compare_activity(found, groups)
    assert list(table["regulator"]) == ["R0", "R1", "R2"]
    assert list(table["range"].round(1)) == [0.3, 1.0, 0.0]
    np.testing.assert_allclose(table["between"], [0.69, 0.2, 0.0], atol=0.05)
    # Of one group nothing differs: the surest come first.
    one = grn.compare_activity(found, np.repeat("a", 400))
    assert list(one["regulator"]) == ["R1", "R0", "R2"] and not one["between"].any()


def test_the_command_fits_files_together_and_writes_activities_by_name(tmp_path):
    data, _, _ = simulated(shift=3.0)
    for name, at in (("ctrl", slice(0, 150)), ("stim", slice(150, 300))):
        adata = anndata.AnnData(csr_array(data.x[at]))
        adata.obs_names, adata.var_names = data.cells[at], list(data.genes)
        adata.obsm["X_umap"] = np.zeros((150, 2))
        adata.obs["donor"] = "d1"
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    (tmp_path / "tf.txt").write_text("\n".join(REGULATORS))
    files = [str(tmp_path / f"{name}.h5ad") for name in ("ctrl", "stim")]
    command = ["activity", *files, "--regulators", str(tmp_path / "tf.txt"), "--out"]
    result = CliRunner().invoke(app, [*command, str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    cells = anndata.read_h5ad(tmp_path / "out" / "cells.h5ad")
    assert list(cells.obsm["infosem_activity"]) == REGULATORS
    assert set(cells.uns["infosem_activity_sd"]) == set(REGULATORS)
    assert {"group", "donor"} <= set(cells.obs) and "X_umap" in cells.obsm
    table = pd.read_csv(tmp_path / "out" / "regulators.csv")
    assert table["regulator"][0] == "R0" and list(table)[-2:] == ["ctrl", "stim"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "UMAP 1" in page and "R0" in page and "Activity of" in page
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "out")])
    assert checked.exit_code == 0 and "intervals" in checked.output, checked.output
    again = CliRunner().invoke(app, [*command, str(tmp_path / "out")])
    assert again.exit_code == 2 and "not empty" in again.output
    of_run = ["activity", *files, "--run", str(tmp_path / "out"), "--out", str(tmp_path / "two")]
    assert CliRunner().invoke(app, of_run).exit_code == 0
    both = pd.read_csv(tmp_path / "two" / "regulators.csv")
    pd.testing.assert_frame_equal(both, table, rtol=1e-3)


@pytest.mark.slow
def test_interferon_factors_are_up_in_stimulated_blood(real_data):
    folder = real_data / "expression"
    data = {name: read_expression(folder / f"human_pbmc_{name}.h5ad") for name in ("ctrl", "stim")}
    table = pd.read_csv(real_data / "tf" / "human_lambert2018.csv.gz")
    names = set(table.iloc[:, 0].astype(str))
    together = join(data)
    regulators = tuple(gene for gene in together.genes if gene in names)
    together = together._replace(regulators=regulators)
    fitted = grn.fit(together, config=exact.Config(rows="regulators", normalisation="auto"))
    found = grn.activity(fitted, together)
    groups = np.repeat(list(data), [len(part.cells) for part in data.values()])
    means = grn.compare_activity(found, groups).set_index("regulator")
    change = means["stim"] - means["ctrl"]
    assert (change[["STAT1", "STAT2", "IRF1", "IRF7"]] > 0).all()
    assert "IRF7" in change.nlargest(3)
