"""Priors compared by the exact engine: evidence, cells and states left out, and the page."""

import json

import anndata
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from typer.testing import CliRunner

from infosem_jax.cli.app import app
from infosem_jax.compare import compare
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import exact, priors
from infosem_jax.grn.exact.held_out import held_out

SETTINGS = exact.Config(r2=0.4, steps=30)


@pytest.fixture(scope="module")
def simulation():
    config = SimulationConfig(genes=20, regulators=8, cells=120, link="linear", dropout=0)
    return simulate(config, 0)


@pytest.fixture(scope="module")
def chosen(simulation):
    # Signs that are not those of the true effects, of the same pairs.
    wrong = simulation.network.assign(sign=lambda t: -t["sign"])
    return {
        "none": dist.Normal(0.0, 1.0),
        "true": priors.SignedEdges(simulation.network),
        "wrong": priors.SignedEdges(wrong),
    }


@pytest.fixture(scope="module")
def donors(simulation):
    return ["abc"[i % 3] for i in range(len(simulation.data.cells))]


@pytest.fixture(scope="module")
def found(simulation, chosen, donors):
    data = simulation.data._replace(name="s")
    return compare(
        data, chosen, truth=simulation.network, config=SETTINGS, states={"s": donors}, changes=3
    )


def one(table, **wanted):
    (row,) = table.loc[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)].to_dict("records")
    return row


def test_bayes_factors_are_differences_of_evidence(simulation, chosen, found):
    fits = {name: exact.fit(simulation.data, chosen[name], config=SETTINGS) for name in chosen}
    nats = {name: float(fitted.log_evidence.sum()) for name, fitted in fits.items()}
    row = one(found.paired, prior="true", against="none", measure="log_bayes_factor")
    assert row["difference"] == pytest.approx(nats["true"] - nats["none"], abs=0.05)
    assert row["low"] < row["difference"] < row["high"] and row["pairs"] == 20
    top = found.curves.loc[(found.curves["prior"] == "true") & ~found.curves["control"]]
    assert top["log_bayes_factor"].max() == pytest.approx(nats["true"] - nats["none"], abs=1.0)
    assert top.loc[top["strength"].abs().idxmin(), "log_bayes_factor"] == pytest.approx(0, abs=0.1)


def test_true_signs_win_by_evidence_and_by_cells_and_states_left_out(found):
    for measure in ("log_bayes_factor", "density", "density_states"):
        for against in ("none", "true (shuffled)"):
            assert one(found.paired, prior="true", against=against, measure=measure)["low"] > 0
    summary = found.summary.loc[found.summary["dataset"] == "s"].set_index(["prior", "control"])
    assert summary.loc[("true", False), "auprc"] > summary.loc[("true", True), "auprc"]
    assert 0.8 < summary.loc[("true", False), "covered"] < 1
    assert {"halves_spearman", "trust"} <= set(summary)
    assert len(found.changes) == 3 * 5  # controls have theirs


def test_states_are_left_out_one_after_the_other(simulation, chosen, donors, found):
    fitted = exact.fit(simulation.data, chosen["true"], config=SETTINGS)
    folds = np.unique(donors, return_inverse=True)[1]
    own = held_out(fitted, simulation.data, chosen["true"], folds).density.mean()
    measured = one(found.measures, prior="true", control=False, measure="density_states")
    assert measured["value"] == pytest.approx(own, abs=1e-4)


def test_what_cannot_be_compared_is_refused_before_anything_is_fitted(simulation):
    data = simulation.data._replace(name="s")
    for states, message in (
        ({"t": ["a"] * 120}, "states of the data sets s"),
        ({"s": ["a", "b"]}, "a state for each of 120 cells"),
        ({"s": ["a"] * 120}, "1 different ones"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(data, {"none": None}, config=SETTINGS, states=states)
    with pytest.raises(ValueError, match="no seeds"):
        compare(data, {"none": None}, config=SETTINGS, seeds=2)


def test_the_command_writes_the_page_and_says_what_is_better(simulation, donors, tmp_path):
    data = simulation.data
    table = pd.DataFrame(data.x, list(data.cells), list(data.genes)).astype("float32")
    obs = pd.DataFrame({"donor": donors}, index=list(data.cells))
    anndata.AnnData(table, obs=obs).write_h5ad(tmp_path / "x.h5ad")
    (tmp_path / "tfs.txt").write_text("\n".join(data.regulators))
    (tmp_path / "exact.toml").write_text("[exact]\nr2 = 0.4\nsteps = 40\n")
    simulation.network.to_csv(tmp_path / "signed.csv", index=False)
    words = ["compare", tmp_path / "x.h5ad", "--regulators", tmp_path / "tfs.txt", "--config"]
    words += [tmp_path / "exact.toml", "--effect", "none", "--out", tmp_path / "out"]
    words += ["--effect", f"signed-edges={tmp_path / 'signed.csv'}", "--no-halves"]

    def infosem(*more):
        done = CliRunner().invoke(app, [*map(str, words), *more], env={"JAX_NUM_CPU_DEVICES": "1"})
        return done.exit_code, " ".join(done.output.split())

    for option in ("--seeds", "--cells", "--samples", "--save-every"):
        code, told = infosem(option, "4")
        assert code == 2 and "add --engine svi" in told
    assert "no column 'patient'" in infosem("--states", "patient")[1]
    assert not (tmp_path / "out").exists()
    code, told = infosem("--states", "donor")
    assert code == 0, told
    assert "By the evidence of all cells, better than none: " in told
    page = (tmp_path / "out" / "report.html").read_text()
    assert "How strong should the prior be?" in page and "Exact fits" in page
    assert "One seed" not in page
    paired = pd.read_csv(tmp_path / "out" / "paired.csv")
    assert {"density", "density_states", "log_bayes_factor"} <= set(paired["measure"])
    assert "jax" in json.loads((tmp_path / "out" / "versions.json").read_text())
    assert "nothing to resume" in infosem("--resume")[1]
