"""`infosem check`: what is planted is found and said in words, and sound fits are left in peace."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import typer
from handmade import dataset_of, linear_fit, random_effects
from typer.testing import CliRunner

from infosem_jax.calibration.check import check, read_run
from infosem_jax.calibration.findings import agreement, convergence, from_prior, hubs, moved
from infosem_jax.calibration.findings_held_out import RANDOM, STATES, judge_held_out
from infosem_jax.calibration.findings_simulated import judge_predictive
from infosem_jax.calibration.page import write_check
from infosem_jax.calibration.predictive import predictive_checks, simulate_expression
from infosem_jax.cli.check import check as command
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.engine.types import Losses
from infosem_jax.grn.config import Config
from infosem_jax.grn.exact.held_out import LEVELS, HeldOut
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.priors import Normal
from infosem_jax.grn.priors.binding import Priors
from infosem_jax.grn.run_folder import write_run

GENES = tuple(f"g{i:02d}" for i in range(20))
ROWS = GENES[:8]
TINY = Config(rows="regulators", hidden=4, knots=0, epochs=3, batch_size=10, start="zero")


def sound(seed: int = 0, seeds: int = 2, **settings):
    """A linear fit, and cells that come from it."""
    W = random_effects(ROWS, GENES, np.random.default_rng(seed), size=0.3)
    fitted = linear_fit(W, GENES, ROWS, seeds=seeds, observation_sd=0.3, **settings)
    return fitted, simulate_expression(fitted, 500, jax.random.key(seed))


def data_of(x, observed=None):
    return dataset_of(x, GENES, ROWS, observed)


def verdicts(findings) -> dict[str, str]:
    return {finding.topic: finding.verdict for finding in findings}


def judged(fitted, data):
    found = predictive_checks(fitted, data)
    return found, judge_predictive(found, fitted)


def test_expression_that_comes_from_the_fit_looks_fine():
    fitted, x = sound()
    found, findings = judged(fitted, data_of(x))
    assert set(verdicts(findings).values()) == {"fine"}
    mean = found.simulated.drop(columns=["seed", "draw"]).mean()
    for name in ("variance", "correlation_size", "eigenvalue_1"):
        assert mean[name] == pytest.approx(found.measured[name], rel=0.1)
    # As many other cells agree as well as halves say they would.
    assert mean["correlation_slope"] == pytest.approx(found.measured["correlation_slope"], abs=0.1)
    assert 0.8 < found.explained < 1
    assert not found.genes["zeros"].notna().any()


def test_planted_misfits_are_found_and_explained():
    fitted, x = sound()
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(500, 1)) * 3
    _, findings = judged(fitted, data_of(2 * x))
    assert verdicts(findings)["variance"] == "looks wrong"
    _, findings = judged(fitted, data_of((x + shared) / np.std(x + shared, 0) * x.std(0)))
    by_topic = {finding.topic: finding for finding in findings}
    assert by_topic["main axis of variation"].verdict == "looks wrong"
    assert "batch" in by_topic["main axis of variation"].because
    assert by_topic["gene-gene correlations"].verdict == "looks wrong"
    assert verdicts(findings)["variance"] == "fine"
    alone = rng.permuted(x, axis=0)
    by_topic = {finding.topic: finding for finding in judged(fitted, data_of(alone))[1]}
    assert by_topic["gene-gene correlations"].verdict == "looks wrong"


def test_zeros_are_compared_at_the_midpoint():
    fitted, x = sound()
    # Rectified at the 30 % quantile: zeros at one value, the next a step above it.
    cut = np.quantile(x, 0.3, axis=0)
    observed = x > cut
    data = data_of(np.where(observed, x + 0.0, cut - 1e-3), observed)
    found, findings = judged(fitted, data)
    assert found.measured["zeros"] == pytest.approx(0.3, abs=0.01)
    assert found.simulated["zeros"].mean() == pytest.approx(0.3, abs=0.03)
    assert verdicts(findings)["zeros"] == "fine"
    # Dropout: half of the values of any size are lost.
    lost = np.random.default_rng(0).random(x.shape) < 0.5
    data = data_of(np.where(lost, x.min(0) - 1, x), ~lost)
    assert verdicts(judged(fitted, data)[1])["zeros"] == "looks wrong"
    masked = fitted._replace(config=Config(**vars(fitted.config) | {"observe": "nonzero"}))
    zeros = judged(masked, data)[1][-1]
    assert (zeros.topic, zeros.verdict) == ("zeros", "note") and "not scored" in zeros.because


def test_a_model_that_ignores_the_cells_is_found():
    fitted, x = sound()
    fitted.params["decoder$params"]["Dense_2"]["kernel"][:] = 0
    found, findings = judged(fitted, data_of(x))
    assert abs(found.explained) < 0.02
    by_topic = {finding.topic: finding for finding in findings}
    assert by_topic["reconstruction"].verdict == "looks wrong"
    assert by_topic["variance"].do == "see reconstruction first"


def curves(train, held_out=None, **settings):
    fitted, _ = sound(seeds=1, **settings)
    train = np.asarray(train, float)[None]
    held = np.full_like(train, np.nan) if held_out is None else np.asarray(held_out)[None]
    return fitted._replace(losses=Losses(train, held))


def test_convergence_reads_the_curves():
    settled, falling = np.exp(-np.arange(50.0)), -np.arange(50.0)
    alone = {"phase_networks": 0, "phase_edges": 0}
    assert verdicts(convergence(curves(settled, **alone))) == {"training": "fine"}
    (found,) = convergence(curves(falling, **alone))
    assert found.verdict == "looks wrong" and "still falling" in found.what
    assert found.values["share_of_fall_in_last_tenth"] == pytest.approx(5 / 49)
    # DeepSEM's recipe stops on the way by design.
    (found,) = convergence(curves(falling))
    assert found.verdict == "note" and "by design" in found.because
    (found,) = convergence(curves(-falling, **alone))
    assert found.verdict == "looks wrong" and "did not fall" in found.what
    rising = np.concatenate([np.linspace(1, 0, 25), np.linspace(0, 0.5, 25)])
    assert verdicts(convergence(curves(settled, rising)))["held-out cells"] == "looks wrong"
    assert verdicts(convergence(curves(settled, settled)))["held-out cells"] == "fine"
    broken = sound(seeds=2)[0]._replace(diverged=np.array([-1, 12]))
    assert "1 of 2 seeds diverged" in convergence(broken)[0].what


def test_agreement_and_start():
    fitted, _ = sound(seeds=3)
    assert verdicts(agreement(fitted)) == {"seeds": "fine"}
    rng = np.random.default_rng(0)
    fitted.weight[:] = rng.normal(size=fitted.weight.shape)
    assert verdicts(agreement(fitted)) == {"seeds": "looks wrong"}
    alone, _ = sound(seeds=1)
    assert verdicts(agreement(alone)) == {"seeds": "note"}
    # Edges that differ by the noise of their start only.
    start = 1 / 19 + 2e-4 * rng.random(fitted.weight.shape)
    assert verdicts(moved(fitted._replace(weight=start))) == {"edges": "looks wrong"}
    assert verdicts(moved(fitted)) == {"edges": "fine"}
    zero, _ = sound(start="zero")
    assert moved(zero) == []


def test_what_the_prior_did():
    fitted, _ = sound()
    assert "prefers no edge" in from_prior(fitted)[0].what
    repeated = fitted._replace(prior_mean=0.9 * fitted.weight)
    (found,) = from_prior(repeated)
    assert found.verdict == "looks wrong" and "explains 100%" in found.what
    noise = np.random.default_rng(0).normal(size=fitted.weight.shape)
    assert from_prior(fitted._replace(prior_mean=noise))[0].verdict == "fine"
    for gate, verdict in ((np.abs(fitted.weight), "looks wrong"), (noise**2, "fine")):
        of_edges, of_effects = from_prior(fitted._replace(probability=gate))
        assert (of_edges.topic, of_edges.verdict) == ("prior of edges", verdict)
        assert of_effects.topic == "prior of effects"


def test_hubs():
    fitted, _ = sound()
    assert hubs(fitted).verdict == "fine"
    rows = np.linspace(0.1, 1, 8)[:, None] * np.ones(20)
    by_regulator = fitted._replace(weight=np.stack([rows, rows]).astype(np.float32))
    found = hubs(by_regulator)
    assert found.verdict == "note" and found.values["between_regulators"] == pytest.approx(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as `infosem fit` leaves it, with its inputs beside it."""
    out = tmp_path_factory.mktemp("check")
    simulation = simulate(SimulationConfig(genes=20, regulators=5, cells=40), 0)
    data = simulation.data._replace(name="x.csv")
    table = "\n".join(
        [",".join(["cell", *data.genes])]
        + [",".join([c, *map(str, row)]) for c, row in zip(data.cells, data.x, strict=True)]
    )
    (out / "x.csv").write_text(table + "\n")
    (out / "regulators.txt").write_text("\n".join(data.regulators))
    (out / "run").mkdir()
    prior = Normal(0.1)
    fitted = fit(data, prior, config=TINY, seeds=2)
    priors = Priors(prior, record={"effect": {"prior": "normal", "scale": 0.1}})
    record = {
        "command": "infosem fit",
        "expression": [str(out / "x.csv")],
        "regulators": str(out / "regulators.txt"),
        "orientation": "genes_in_columns",
    }
    write_run(out / "run", data, fitted, priors, record=record, title="A run")
    return out


def infosem_check(*words):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_command_says_it_in_words_and_writes_it(folder, tmp_path):
    assert "fit.npz" in (folder / "run" / "report.html").read_text()
    done = infosem_check(folder / "run", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "seeds" in done.output and "fine: prior of effects" in done.output
    assert done.output.index("looks wrong:") < done.output.index("fine:")
    record = json.loads((tmp_path / "out" / "check.json").read_text())
    topics = {
        "training",
        "seeds",
        "prior of effects",
        "regulators",
        "variance",
        "zeros",
        "reconstruction",
    }
    assert topics <= {finding["topic"] for finding in record["findings"]} | {"training"}
    page = (tmp_path / "out" / "check.html").read_text()
    for finding in record["findings"]:
        assert finding["topic"] in page
    assert page.count("<svg") == 2 and "<script" not in page and "http" not in page.split("<svg")[0]


def test_moved_and_missing_files(folder, tmp_path):
    run = folder / "run"
    assert read_run(run).data.regulators == read_run(run).fitted.regulators
    elsewhere = tmp_path / "y.csv"
    (folder / "x.csv").rename(elsewhere)
    try:
        done = infosem_check(run)
        assert done.exit_code == 2 and "not there any more; pass --expression" in done.output
        assert read_run(run, elsewhere).data.x.shape == (40, 20)
    finally:
        elsewhere.rename(folder / "x.csv")
    other = tmp_path / "other.csv"
    other.write_text("cell,R01,b\n" + "".join(f"c{i},{i},{i * i}\n" for i in range(12)))
    with pytest.raises(ValueError, match="one data set with the 20 genes of the fit"):
        read_run(run, other)
    done = infosem_check(tmp_path / "nowhere")
    assert done.exit_code == 2 and "no such folder" in done.output
    done = infosem_check(tmp_path)
    assert done.exit_code == 2 and "found no run" in done.output
    (tmp_path / "edges.csv").write_text("source,target,weight\n")
    done = infosem_check(tmp_path)
    assert done.exit_code == 2 and "a run without fit.npz" in done.output
    done = infosem_check(run, "--out", folder / "x.csv")
    assert done.exit_code == 2 and "expected a folder" in done.output


def test_priors_that_cannot_be_had_again_are_said_at_once(folder):
    run = read_run(folder / "run")
    for prior, message in (
        ({"prior": "somewhere:something"}, "prior of its own, somewhere:something"),
        ({"prior": "gene-embedding", "file": "gone.npz"}, "Cannot build the run's prior"),
    ):
        with pytest.raises(ValueError, match=message):
            check(run._replace(settings={"effect": prior}), calibrate=True, on_step=pytest.fail)


@pytest.mark.slow
def test_edge_probabilities_are_judged_on_matched_simulations(folder, tmp_path):
    found = check(read_run(folder / "run"), calibrate=True)
    assert found.recalibration is not None
    assert found.recalibration.simulation.genes == 20
    (finding,) = [f for f in found.findings if f.topic == "edge probabilities"]
    assert finding.verdict == "note" and "states none" in finding.what
    write_check(tmp_path, found)
    assert "Share of true edges" in (tmp_path / "check.html").read_text()
    record = json.loads((tmp_path / "check.json").read_text())
    assert 0 <= record["calibration"]["recalibrated"]["ece"] < 0.2


@pytest.mark.parametrize(
    "share, verdict, said",
    [(0.7, "looks wrong", "too sure"), (0.9, "fine", ""), (0.97, "looks wrong", "too wide")],
)
def test_intervals_that_hold_too_much_are_not_called_too_sure(share, verdict, said):
    coverage = np.where(np.isclose(LEVELS, 0.9), share, LEVELS)
    held_out = HeldOut(np.zeros(5), coverage, 0.5)
    found = judge_held_out({RANDOM: held_out, STATES: held_out})[0]
    assert found.verdict == verdict
    assert said in found.do
    assert ("too sure" in found.do) == (share < 0.9)
