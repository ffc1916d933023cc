"""Simulation-based calibration: right posteriors pass, planted faults are caught and named."""

from dataclasses import replace

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

from infosem_jax.calibration import sbc
from infosem_jax.grn.config import Config
from infosem_jax.grn.priors import KnownEdges, Normal

LINEAR = Config(
    rows="regulators",
    guide="nuts",
    nuts_warmup=150,
    nuts_draws=150,
    decoder="identity",
    latent_prior="standard",
    normalisation="none",
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_edges=4e-3,
    epochs=600,
    batch_size=1000,
)
PRIOR = Normal(0.3)
SIZE = sbc.Size(genes=3, regulators=2, cells=30, datasets=80)


def exact(factor: float = 1.0, shift: float = 0.0, datasets: int = 120, seed: int = 0) -> sbc.Draws:
    """Return draws from the known posterior of a normal mean, stretched and shifted on request."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(datasets, 4))
    seen = truth + rng.normal(size=truth.shape)
    mean, sd = seen / 2, 0.5**0.5
    draws = mean[:, None] + sd * (shift + factor * rng.normal(size=(datasets, 63, 4)))
    return sbc.Draws(truth, draws, tuple(("a", name) for name in "bcde"))


def test_ranks_count_the_draws_below():
    truth = np.array([[0.0, 1.5]])
    draws = np.array([[[-1.0, 1.0], [1.0, 2.0], [-2.0, 3.0]]])
    made = sbc.Draws(truth, draws, (("a", "b"), ("a", "c")))
    np.testing.assert_array_equal(sbc.ranks(made), [[2, 1]])


def test_uniformity_is_a_corrected_chi_square():
    # Two bins of 8 and 16 in 24 data sets: chi-square 8/3 with one degree of freedom.
    ranks = np.repeat([0, 1], [8, 16])[:, None]
    expected = 0.10247
    assert sbc.uniformity(np.tile(ranks, 1), 1)[0] == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(sbc.uniformity(np.tile(ranks, 3), 1), 3 * expected, rtol=1e-3)
    even = np.repeat(np.arange(10), 8)[:, None]
    assert sbc.uniformity(even, 9)[0] == 1
    # Bins that cannot be equal are expected to be unequal: ranks 0-3 in the first three of ten.
    uneven = np.repeat(np.arange(16), 10)[:, None]
    assert sbc.uniformity(uneven, 15)[0] == 1


def test_exact_posteriors_pass_about_as_often_as_they_should():
    lowest = [sbc.uniformity(sbc.ranks(exact(seed=seed)), 63).min() for seed in range(100)]
    # At a level of 5 % of all 100 runs, 5 +- 2 are beyond it.
    assert np.mean(np.asarray(lowest) < 0.05) <= 0.12
    shapes = [sbc.shape(sbc.ranks(exact(seed=seed)), 63) for seed in range(100)]
    assert shapes.count("uniform") >= 96


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"factor": 0.6}, "overconfident"),
        ({"factor": 1.7}, "underconfident"),
        ({"shift": 0.6}, "biased"),
        ({"shift": -0.6}, "biased"),
    ],
)
def test_planted_faults_are_caught_and_named(fault, word):
    for seed in range(5):
        ranks = sbc.ranks(exact(**fault, seed=seed))
        assert sbc.uniformity(ranks, 63).min() < 0.01
        assert sbc.shape(ranks, 63) == word


def test_stretching_keeps_means():
    made = exact()
    wide = sbc.stretched(made, 1.7)
    np.testing.assert_allclose(wide.draws.mean(1), made.draws.mean(1))
    np.testing.assert_allclose(wide.draws.std(1), 1.7 * made.draws.std(1))
    np.testing.assert_allclose(sbc.gap(wide, made), 0, atol=1e-9)
    moved = made._replace(draws=made.draws + 0.5 * made.draws.std(1, keepdims=True))
    np.testing.assert_allclose(sbc.gap(moved, made), 0.5)


def test_data_follow_the_model():
    size = sbc.Size(genes=4, regulators=2, cells=4000, datasets=3)
    made = sbc.simulate(Normal(0.5), config=replace(LINEAR, observation_sd=0.6), size=size, key=2)
    assert made.truth.shape == (3, 2, 4)
    assert (made.truth[:, [0, 1], [0, 1]] == 0).all()
    assert np.ptp(made.truth[:, 0, 1]) > 0
    for W, data in zip(made.truth, made.data, strict=True):
        inverse = np.linalg.inv(np.eye(4) - np.vstack([W, np.zeros((2, 4))]))
        covariance = inverse.T @ inverse + 0.36 * np.eye(4)
        found = data.x.T @ data.x / 4000
        sd = np.sqrt(np.diag(covariance))
        # An entry has a standard error of at most sqrt(2 / cells) sd_i sd_j; taken five times.
        assert (np.abs(found - covariance) < 5 * (2 / 4000) ** 0.5 * np.outer(sd, sd)).all()
        assert data.regulators == data.genes[:2]
    assert len({data.name for data in made.data}) == 3


def test_effects_follow_the_prior():
    size = sbc.Size(genes=3, regulators=3, cells=2, datasets=2000)
    made = sbc.simulate(hierarchical, config=replace(LINEAR, rows="all"), size=size)
    effects = made.truth[:, ~np.eye(3, dtype=bool)]
    # Normal given a scale of 0.2 or more: wide tails, and spreads that the data set shares.
    np.testing.assert_allclose(effects.mean(0), 0, atol=0.05)
    assert np.corrcoef(np.abs(effects[:, 0]), np.abs(effects[:, 5]))[0, 1] > 0.2
    gated = sbc.simulate(
        Normal(0.3), KnownEdges(labels("gene0000")), config=LINEAR, size=size._replace(regulators=2)
    )
    assert np.abs(gated.truth).mean() < 0.8 * 0.3 * (2 / np.pi) ** 0.5


def hierarchical(context):
    return dist.Normal(0.0, 0.2 + numpyro.sample("scale", dist.HalfNormal(0.5)))


def learned(context):
    return dist.Normal(numpyro.param("mean", 0.0), 0.3)


def labels(source: str) -> pd.DataFrame:
    return pd.DataFrame({"source": [source], "target": ["gene0002"], "label": [1]})


@pytest.fixture(scope="module")
def made():
    simulated = sbc.simulate(PRIOR, config=LINEAR, size=SIZE, key=1)
    chains = sbc.posterior_draws(simulated, PRIOR, config=LINEAR, draws=63)
    mean_field = replace(LINEAR, guide="normal")
    return chains, sbc.posterior_draws(simulated, PRIOR, config=mean_field, draws=300)


@pytest.mark.slow
def test_chains_are_calibrated_and_planted_faults_are_not(made):
    chains, _ = made
    n_draws = chains.draws.shape[1]
    assert n_draws >= 40
    assert chains.names == (
        ("gene0000", "gene0001"),
        ("gene0000", "gene0002"),
        ("gene0001", "gene0000"),
        ("gene0001", "gene0002"),
    )
    assert sbc.uniformity(sbc.ranks(chains), n_draws).min() > 0.01
    assert sbc.shape(sbc.ranks(chains), n_draws) == "uniform"
    for factor, word in ((0.5, "overconfident"), (2.0, "underconfident")):
        ranks = sbc.ranks(sbc.stretched(chains, factor))
        assert sbc.uniformity(ranks, n_draws).min() < 0.01
        assert sbc.shape(ranks, n_draws) == word


@pytest.mark.slow
def test_means_of_mean_field_are_near_those_of_chains(made):
    """Within a quarter of a standard deviation on average, 0.1 of which is the chains' own error.

    Data sets share the random numbers of training, and so a little of its error. What mean-field
    lacks is spread, where the direction of an effect is in doubt.
    """
    chains, mean_field = made
    assert np.abs(sbc.gap(mean_field, chains)).mean() < 0.25
    assert np.abs(sbc.gap(mean_field, chains).mean(0)).max() < 0.25
    ratio = (mean_field.draws.std(1) / chains.draws.std(1)).mean(0)
    assert (ratio < 1.05).all()
    # Between the regulators either may act on the other: the pair is correlated, and too narrow.
    assert ratio[[0, 2]].max() < ratio[[1, 3]].min()


REFUSED = {
    "no regulators": ({"size": SIZE._replace(regulators=0)}, "1 <= regulators <= genes"),
    "too many": ({"size": SIZE._replace(regulators=4)}, "1 <= regulators <= genes.*regulators = 4"),
    "networks": ({"config": replace(LINEAR, decoder="network")}, r"found decoder\$params"),
    "learned": ({"effect": learned}, "sample all they learn.*found effect_prior/mean"),
    "labels": (
        {"edge": KnownEdges(labels("gene0000"), observe=True)},
        "without observed labels; use observe=False",
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_has_no_truth_is_refused(case):
    changes, message = REFUSED[case]
    given = {"effect": PRIOR, "edge": None, "config": LINEAR, "size": SIZE} | changes
    with pytest.raises(ValueError, match=message):
        sbc.simulate(given.pop("effect"), given.pop("edge"), **given)


def test_too_few_ranks_or_draws_are_refused():
    with pytest.raises(ValueError, match="at least 16 data sets and 1 draw, found 15 and 9"):
        sbc.uniformity(np.zeros((15, 2), int), 9)
    with pytest.raises(ValueError, match="ranks from 0 to 9, found 0 to 10"):
        sbc.uniformity(np.arange(20)[:, None] % 11, 9)
    simulated = sbc.Simulated(np.zeros((1, 2, 3)), ())
    with pytest.raises(ValueError, match="nuts_draws of at least 200, found 150"):
        sbc.posterior_draws(simulated, PRIOR, config=LINEAR, draws=200)
