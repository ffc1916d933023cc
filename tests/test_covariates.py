"""Covariates of cells are taken out as if they were in the regressions."""

import re
import tomllib
from dataclasses import replace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from infosem_jax import grn
from infosem_jax.calibration.check import check, read_run
from infosem_jax.cli.app import app
from infosem_jax.data import dataset, normalise, regress_out, simulate
from infosem_jax.data.simulate import SimulationConfig

# JAX runs in this process already, with the devices that it has.
DEVICES = {"JAX_NUM_CPU_DEVICES": "1"}
R2, NOISE = 0.3, 1.0
EXACT = grn.exact.Config(rows="regulators", r2=R2, noise=NOISE, normalisation="zscore")


def expression(cells: int = 60, genes: int = 8, seed: int = 0):
    """Return cells of two batches, in which half of the genes are shifted, and their covariates."""
    rng = np.random.default_rng(seed)
    batch = rng.integers(0, 2, cells)
    x = rng.gamma(4.0, size=(cells, genes)) + 3.0 * batch[:, None] * (np.arange(genes) % 2)
    names = [f"G{i}" for i in rng.permutation(genes)]
    data = dataset(x, names, names[: genes // 2], cells=[f"c{i}" for i in range(cells)])
    table = pd.DataFrame(
        {"batch": np.where(batch, "late", "early"), "depth": rng.normal(9, 2, cells)},
        index=pd.Index(data.cells[::-1]),
    )
    table["batch"] = table["batch"].to_numpy()[::-1]
    return data, table


def indicators(data, table) -> np.ndarray:
    mine = table.loc[list(data.cells)]
    c = np.stack([mine["batch"] == "late", mine["depth"]], 1).astype(float)
    return c - c.mean(0)


@pytest.mark.parametrize("cells", [14, 60])
def test_effects_are_those_of_regressions_with_the_covariates(cells):
    """Conjugate regressions on regulators and covariates, the latter with a flat prior."""
    data, table = expression(cells, genes=40 if cells == 14 else 8)
    fitted = grn.fit(data, config=EXACT, covariates=table)
    x, c = normalise(data).x.astype(float), indicators(data, table)
    rows = [data.genes.index(name) for name in data.regulators]
    precision = len(rows) * (1 - R2) / R2
    for j, gene in enumerate(data.genes):
        others = [i for i, row in enumerate(rows) if row != j]
        design = np.concatenate([x[:, [rows[i] for i in others]], c], 1)
        A = design.T @ design + np.diag([precision] * len(others) + [0.0] * c.shape[1])
        inverse = np.linalg.inv(A)
        mean = inverse @ design.T @ x[:, j]
        quadratic = x[:, j] @ (x[:, j] - design @ mean)
        freedom = NOISE + cells - c.shape[1]
        variance = np.diag(inverse) * (NOISE + quadratic) / (freedom - 2)
        k = len(others)
        np.testing.assert_allclose(fitted.weight[others, j], mean[:k], atol=2e-4, err_msg=gene)
        np.testing.assert_allclose(fitted.sd[others, j], variance[:k] ** 0.5, rtol=2e-3)


@pytest.mark.slow
def test_the_density_of_the_linear_model_has_the_covariates_integrated_out():
    """That of as many cells fewer, in a basis that the covariates have no part in."""
    data, table = expression(genes=4)
    config = grn.converged(
        guide="nuts",
        nuts_warmup=20,
        nuts_draws=20,
        decoder="identity",
        latent_prior="standard",
        absorbed="location",
    )
    fitted = grn.fit(data, grn.priors.Normal(0.3), config=config, covariates=table)
    order = np.argsort(np.asarray(data.genes))
    x, c = normalise(data).x.astype(float)[:, order], indicators(data, table)
    rotated = np.linalg.svd(c, full_matrices=True)[0][:, c.shape[1] :].T @ x
    genes = sorted(data.genes)
    rows = [genes.index(row) for row in fitted.rows]
    for draw in range(4):
        effect = fitted.params["draws"]["effect"][0, draw].astype(float)
        A = np.eye(4)
        A[rows] -= np.where(np.arange(4) == np.array(rows)[:, None], 0, effect)
        inverse = np.linalg.inv(A)
        covariance: Any = inverse.T @ inverse + config.observation_sd**2 * np.eye(4)
        cells: Any = stats.multivariate_normal(np.zeros(4), covariance)
        density = cells.logpdf(rotated).sum() + stats.norm.logpdf(effect, 0, 0.3).sum()
        assert fitted.losses.train[0, draw] == pytest.approx(-density / x.size, rel=1e-4)


@pytest.mark.parametrize("engine", ["exact", pytest.param("svi", marks=pytest.mark.slow)])
def test_a_batch_makes_false_edges_unless_it_is_taken_out(engine):
    """Genes that a batch shifts, half of them, go together for no other reason."""
    data, table = expression(cells=200, genes=20)
    config: Any = grn.exact.Config(rows="regulators")
    if engine == "svi":
        config = grn.converged(hidden=8, epochs=60)
    shifted = np.array([data.genes.index(g) % 2 for g in data.genes], bool)
    rows = np.array([data.genes.index(g) for g in data.regulators])
    pairs = rows[:, None] != np.arange(len(shifted))
    both = (shifted[rows][:, None] & shifted)[pairs]

    def excess(fitted) -> float:
        """Return by how much pairs of shifted genes have larger effects than others."""
        size = np.abs(grn.network(fitted).weight)[pairs]
        return size[both].mean() / size[~both].mean()

    own = {"config": config} if engine == "exact" else {"config": config, "effect": None}
    own |= {"effect": grn.priors.Normal(0.1)} if engine == "svi" else {}
    assert excess(grn.fit(data, **own)) > 2
    assert excess(grn.fit(data, covariates=table[["batch"]], **own)) < 1.5


def test_what_was_taken_out_is_counted_once():
    data, table = expression()
    doubled = table.assign(again=table["batch"], half=table["depth"] / 2)
    one, other = (regress_out(data, covariates) for covariates in (table, doubled))
    assert (one.lost, other.lost) == (2, 2)
    np.testing.assert_allclose(one.x, other.x, atol=1e-5)
    assert one.covariates == ("batch (2 levels)", "depth (number)")
    np.testing.assert_allclose(indicators(data, table).T @ one.x, 0, atol=1e-3)
    with pytest.raises(ValueError, match="taken out before"):
        regress_out(one, table)


def test_whole_numbers_that_may_be_names_are_told():
    data, table = expression()
    plate = np.arange(len(table)) % 3
    told = {kind: regress_out(data, table.assign(plate=plate.astype(kind))) for kind in (int, str)}
    assert "covariate plate is taken as a quantity; if its 3 whole" in told[int].notes[-1]
    assert "plate" not in told[str].notes[-1].replace("plate (3 levels)", "")
    assert told[str].lost == told[int].lost + 1 == 4


def levels(table, values):
    return table.assign(batch=values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[1:], "found 1 of 60 cells without"),
        (lambda t: levels(t, ["a"] * 60), "'batch': is a in all cells"),
        (lambda t: levels(t, 3), "'batch': is 3 in all cells"),
        (lambda t: levels(t, t.index), "'batch': is another in each of the 60 cells"),
        (
            lambda t: levels(t, [None, *["a", "b"] * 29, "a"]),
            "'batch': expected a value.*none for 1",
        ),
        (lambda t: levels(t, [np.inf, *range(59)]), "'batch': expected finite numbers, found inf"),
        (
            lambda t: levels(t, [f"d{i // 2 if i < 10 else i}" for i in range(59)] + ["d58"]),
            "at least 10 more cells than covariates, found 60 cells and",
        ),
    ],
)
def test_what_is_no_covariate_is_refused(change, message):
    data, table = expression()
    with pytest.raises(ValueError, match=message):
        regress_out(data, change(table))


@pytest.mark.slow
def test_the_command_line_takes_columns_of_obs_out(tmp_path):
    sim = simulate.simulate(SimulationConfig(genes=12, regulators=4, cells=60), seed=0).data
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"batch": rng.choice(["a", "b"], 60), "depth": rng.normal(size=60)},
        index=pd.Index(sim.cells),
    )
    anndata.AnnData(sim.x, obs=obs, var=pd.DataFrame(index=pd.Index(sim.genes))).write_h5ad(
        tmp_path / "cells.h5ad"
    )

    def run(*more: str):
        arguments = ["fit", str(tmp_path / "cells.h5ad"), "--out", str(tmp_path / "run"), *more]
        return CliRunner().invoke(app, arguments, env=DEVICES)

    wrong = run("--covariates", "batch,depht")
    assert wrong.exit_code != 0 and "did you mean 'depth'" in re.sub(r"\s+", " ", wrong.output)
    streamed = run("--covariates", "batch", "--stream")
    assert streamed.exit_code != 0 and "found --stream" in re.sub(r"\s+", " ", streamed.output)
    done = run("--covariates", "batch, depth")
    assert done.exit_code == 0, done.output
    record = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert record["run"]["covariates"] == "batch, depth"
    assert "batch (2 levels), depth (number)" in (tmp_path / "run" / "report.html").read_text()
    fitted = grn.load(tmp_path / "run" / "fit.npz")
    read = read_run(tmp_path / "run")
    assert read.data.covariates == ("batch (2 levels)", "depth (number)")
    same = grn.fit(read.data, config=replace(fitted.config))
    np.testing.assert_allclose(same.weight, fitted.weight, atol=1e-5)
    assert check(read).findings


@pytest.mark.slow
def test_activities_differences_and_what_follows_take_covariates_out(tmp_path):
    data, table = expression(cells=120, genes=30)
    table = table.loc[list(data.cells)]
    obs = table.assign(condition=np.where(np.arange(120) % 2, "b", "a"))
    file = str(tmp_path / "cells.h5ad")
    var = pd.DataFrame(index=pd.Index(data.genes))
    anndata.AnnData(data.x, obs=obs, var=var).write_h5ad(file)
    (tmp_path / "tf.txt").write_text("\n".join(data.regulators))

    def run(command: str, *arguments: str, out: str):
        more = ["--out", str(tmp_path / out)]
        return CliRunner().invoke(app, [command, *arguments, *more], env=DEVICES)

    shared = ["--regulators", str(tmp_path / "tf.txt"), "--covariates", "batch,depth"]
    shared += ["--groupby", "condition"]
    done = run("activity", file, *shared, out="activity")
    assert done.exit_code == 0, done.output
    ready = regress_out(data, table, "zscore")
    fitted = grn.fit(ready, config=grn.exact.Config(rows="regulators"))
    assert fitted.covariates == grn.load(tmp_path / "activity" / "fit.npz").covariates != ()
    expected = grn.activity(fitted, ready).mean
    written = pd.read_csv(tmp_path / "activity" / "activity.csv", index_col=0)
    np.testing.assert_allclose(written[list(fitted.regulators)], expected, atol=2e-3)
    with pytest.raises(ValueError, match="covariates of the fit taken out"):
        grn.activity(fitted, data)

    # What reads the folder knows what was taken out.
    gene, folder = fitted.regulators[0], str(tmp_path / "activity")
    assert (done := run("knockout", folder, gene, out="knockout")).exit_code == 0, done.output
    shifts = pd.read_csv(tmp_path / "knockout" / "shifts.csv").set_index("gene")["shift"]
    same = grn.knockout(fitted, gene, ready).set_index("gene")["shift"]
    np.testing.assert_allclose(shifts[same.index], same, atol=2e-3)
    assert (done := run("regulons", folder, out="regulons")).exit_code == 0, done.output
    again = run("activity", file, "--run", folder, "--covariates", "batch", out="again")
    assert again.exit_code != 0 and "the fit is made" in again.output
    assert (done := run("activity", file, "--run", folder, out="again")).exit_code == 0, done.output

    assert (done := run("contrast", file, *shared, out="contrast")).exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "contrast" / "differences.csv")
    settings = grn.exact.Config(rows="regulators")
    expected = grn.changes(grn.contrast(ready, obs["condition"].tolist(), config=settings))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-3, atol=1e-5, check_dtype=False)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["exact", "svi"])
def test_priors_are_compared_without_covariates(engine, tmp_path):
    data, table = expression(cells=80, genes=12)
    var = pd.DataFrame(index=pd.Index(data.genes))
    obs = table.loc[list(data.cells)]
    anndata.AnnData(data.x, obs=obs, var=var).write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "short.toml").write_text("[model]\nepochs = 2\nhidden = 4\n")
    command = ["compare", str(tmp_path / "cells.h5ad"), "--out", str(tmp_path / "out")]
    command += ["--covariates", "batch", "--no-controls", "--no-halves", "--effect", "normal"]
    if engine == "svi":
        command += ["--engine", "svi", "--seeds", "1", "--config", str(tmp_path / "short.toml")]
    done = CliRunner().invoke(app, [*command, "--effect", "none"], env=DEVICES)
    assert done.exit_code == 0, done.output
    record = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert record["run"]["covariates"] == "batch"
    wrong = [part.replace("batch", "bacth") for part in command]
    refused = CliRunner().invoke(app, [*wrong, "--overwrite"], env=DEVICES)
    assert refused.exit_code != 0 and "did you mean" in refused.output
