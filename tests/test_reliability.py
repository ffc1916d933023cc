"""Calibration of edge probabilities: tables with known answers, and maps learned on simulations."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from infosem_jax.calibration.matching import matched_priors, matched_simulation
from infosem_jax.calibration.recalibrate import (
    Fitted,
    fit_simulations,
    learn,
    recalibrate,
    true_edges,
)
from infosem_jax.calibration.reliability import (
    calibration_error,
    reliability_figure,
    reliability_scores,
    reliability_table,
)
from infosem_jax.data.dataset import normalise
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import Network, converged
from infosem_jax.grn.demo import SIMULATION
from infosem_jax.grn.networks import candidate_pairs
from infosem_jax.grn.priors import GeneEmbedding, KnownEdges, Normal

SMALL = SimulationConfig(genes=30, regulators=8, cells=60)


def stated(n: int, seed: int = 0):
    """Probabilities, and edges that come up as often as these say."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 2, n)
    return p, rng.random(n) < p


def test_a_table_with_known_entries():
    p = np.array([0.05, 0.05, 0.15, 0.95, 1.0])
    table = reliability_table(p, np.array([0, 1, 0, 1, 1], bool))
    assert table["pairs"].tolist() == [2, 1, 2]
    np.testing.assert_allclose(table["stated"], [0.05, 0.15, 0.975])
    np.testing.assert_allclose(table["found"], [0.5, 0, 1])
    assert table["low"].tolist()[1:] != [0, 0] and table["low"][1] == 0 and table["high"][2] == 1
    error = (2 * 0.45 + 1 * 0.15 + 2 * 0.025) / 5
    assert calibration_error(table) == pytest.approx(error)


def test_intervals_are_those_of_jeffreys():
    # Brown, Cai & DasGupta (2001), Statistical Science 16, table 5: n = 10 and x = 0, 3.
    for edges, low, high in ((0, 0, 0.217), (3, 0.093, 0.606)):
        truth = np.arange(10) < edges
        (row,) = reliability_table(np.full(10, 0.5), truth).to_dict("records")
        assert row["low"] == pytest.approx(low, abs=1e-3)
        assert row["high"] == pytest.approx(high, abs=1e-3)


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(40):
        table = reliability_table(*stated(2000, seed), adaptive=True)
        held += list((table["low"] <= table["stated"]) & (table["stated"] <= table["high"]))
    assert 0.92 < np.mean(held) < 0.98


def test_adaptive_bins_have_equal_numbers_and_keep_ties_together():
    p, edge = stated(1000)
    assert reliability_table(p, edge, adaptive=True)["pairs"].tolist() == [100] * 10
    tied = np.repeat([0.1, 0.9], [70, 30])
    assert reliability_table(tied, tied > 0.5, adaptive=True)["pairs"].tolist() == [70, 30]


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_scores_tell_probabilities_that_are_too_large_or_too_small(power):
    p, edge = stated(20_000)
    scores = reliability_scores(p**power, edge)
    wrong = power != 1
    assert (scores["ece"] > 0.05) == (scores["ece_adaptive"] > 0.05) == wrong
    assert (scores["ece_top"] > 0.1) == wrong
    # Ranks are the same whatever the power is.
    assert scores["auprc"] == pytest.approx(reliability_scores(p, edge)["auprc"], abs=1e-9)


def test_the_base_rate_is_calibrated_and_has_no_skill():
    truth = np.arange(100) < 7
    scores = reliability_scores(np.full(100, 0.07), truth)
    assert scores["ece"] == pytest.approx(0) and scores["brier_skill"] == pytest.approx(0)
    assert scores["auprc"] == pytest.approx(0.07) and scores["base_rate"] == pytest.approx(0.07)
    best = reliability_scores(truth.astype(float), truth)
    assert best["brier_skill"] == 1 and best["ece_top"] == 0


@pytest.mark.parametrize(
    ("p", "truth", "bins", "message"),
    [
        ([], [], 10, "found 0 and 0"),
        ([1.5], [True], 10, r"in \[0, 1\], found 1.5"),
        ([np.nan], [True], 10, r"in \[0, 1\], found nan"),
        ([0.5], [True], 0, "at least one bin"),
    ],
)
def test_what_is_no_probability_is_refused(p, truth, bins, message):
    with pytest.raises(ValueError, match=message):
        reliability_table(np.array(p, float), np.array(truth, bool), bins=bins)


def test_the_figure_shows_every_table():
    tables = {name: reliability_table(*stated(200, i)) for i, name in enumerate("ab")}
    (ax,) = reliability_figure(tables).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def planted(seed: int, *, gate: float | None = None) -> Fitted:
    """A network whose weights are the true effects with noise; its gates are too sure."""
    simulation = simulate(SMALL, seed)
    rng = np.random.default_rng(seed)
    genes, regulators = simulation.data.genes, simulation.data.regulators
    rows = [genes.index(name) for name in regulators]
    weight = simulation.effect[rows] + rng.normal(0, 0.3, (len(rows), len(genes)))
    weight[np.arange(len(rows)), rows] = 0
    probability = None
    if gate is not None:
        odds = 2 * np.abs(weight) - 2 + rng.logistic(size=weight.shape)
        probability = 1 / (1 + np.exp(-gate * odds))
    sd = np.full(weight.shape, 0.3)
    return Fitted(simulation, Network(regulators, genes, weight, sd, sd, probability))


@pytest.mark.parametrize("gate", [None, 5.0])
def test_recalibrated_probabilities_mean_what_they_say(gate):
    learned = learn([planted(seed, gate=gate) for seed in range(8)], SMALL)
    fresh = [planted(seed, gate=gate) for seed in range(100, 108)]
    p = np.concatenate(
        [recalibrate(f.network, learned).probability[candidate_pairs(f.network)] for f in fresh]
    )
    truth = np.concatenate([true_edges(f) for f in fresh])
    scores = reliability_scores(p, truth)
    assert scores["ece"] < 0.03 and scores["ece_top"] < 0.12 and scores["brier_skill"] > 0.2
    assert p.min() > 0 and p.max() < 1
    # What was said of simulations left out holds for fresh ones.
    assert learned.scores.loc["recalibrated", "brier_skill"] == pytest.approx(
        scores["brier_skill"], abs=0.1
    )
    if gate is not None:
        assert learned.scores.loc["stated", "ece"] > 3 * scores["ece"]
        assert list(learned.tables) == ["stated", "recalibrated"]


def test_the_map_is_monotone_and_says_where_it_comes_from():
    fits = [planted(seed) for seed in range(3)]
    learned = learn(fits, SMALL)
    found = recalibrate(fits[0].network, learned)
    candidate = candidate_pairs(found)
    order = np.abs(found.weight[candidate]).argsort()
    assert (np.diff(found.probability[candidate][order]) >= 0).all()
    assert found.probability[~candidate].max() == 0
    assert found.name == "data (probabilities recalibrated)"
    np.testing.assert_array_equal(found.weight, fits[0].network.weight)
    assert "3 simulations of known networks (60 cells, 30 genes, 8 regulators" in learned.note
    assert min(learned.coefficients) >= 0
    with pytest.raises(ValueError, match="at least two simulations"):
        learn(fits[:1], SMALL)


@pytest.mark.parametrize("as_counts", [False, True])
def test_matched_simulations_are_like_the_data(as_counts):
    wanted = SimulationConfig(
        genes=60, regulators=10, cells=150, dropout=0.5, library_sd=0.6, as_counts=as_counts
    )
    data = simulate(wanted, 5).data
    found = matched_simulation(data)
    assert (found.genes, found.regulators, found.cells) == (60, 10, 150)
    assert found.as_counts == as_counts
    again = simulate(found, 9).data
    assert (again.x == 0).mean() == pytest.approx((data.x == 0).mean(), abs=0.08)
    assert found.library_sd == pytest.approx(0.6, abs=0.25)
    if not as_counts:
        with pytest.raises(ValueError, match="expected expression as read, found it normalised"):
            matched_simulation(normalise(data))


def test_matched_priors_know_the_simulated_genes():
    ours, theirs = simulate(SMALL, 0), simulate(SMALL, 1)
    given = {
        "effect": 0.5 * GeneEmbedding(ours.embedding, scale=0.07) + Normal(0.3),
        "edge": KnownEdges(ours.known, present=0.8),
    }
    effect, edge, _ = matched_priors(given, theirs)
    (weakened, normal) = effect.parts
    assert weakened.prior.embedding is theirs.embedding and weakened.prior.scale == 0.07
    assert weakened.weight == 0.5 and normal == Normal(0.3)
    pd.testing.assert_frame_equal(edge.table, theirs.known)
    assert edge.present == 0.8
    assert matched_priors(None, theirs)[:2] == (None, None)


@pytest.mark.slow
def test_edge_probabilities_of_the_demo_are_calibrated():
    def priors(simulation):
        return {
            "effect": GeneEmbedding(simulation.embedding, scale=0.05),
            "edge": KnownEdges(simulation.known),
        }

    run = partial(fit_simulations, SIMULATION, priors, model=converged())
    learned = learn(run(simulations=2), SIMULATION)
    (fresh,) = run(simulations=1, first=50)
    p = recalibrate(fresh.network, learned).probability[candidate_pairs(fresh.network)]
    scores = reliability_scores(p, true_edges(fresh))
    assert scores["ece"] < 0.05 and scores["ece_adaptive"] < 0.05
    assert scores["brier_skill"] > 0.25
    assert (
        learned.scores.loc["stated", "ece_top"] > 2 * learned.scores.loc["recalibrated", "ece_top"]
    )
