"""NUTS: right where the posterior is known, and of one shape with all other fits."""

import logging
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from jax import random
from scipy import stats

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import nuts
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit, fit_many
from infosem_jax.grn.networks import edges
from infosem_jax.grn.posterior import draw_edges, draw_weights, mechanism
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors import KnownEdges, Normal
from infosem_jax.grn.result import loss_table, network

LINEAR = Config(
    rows="regulators",
    guide="nuts",
    nuts_warmup=200,
    nuts_draws=400,
    decoder="identity",
    latent_prior="standard",
    normalisation="none",
    observation_sd=0.6,
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_edges=2e-2,
    epochs=300,
    batch_size=1000,
)
GENES = tuple("abcd")
EFFECT = 0.7


def expression(cells: int, genes: int = 3, seed: int = 0) -> Dataset:
    """Return cells of the linear model in which gene a acts on b, and b on c."""
    rng = np.random.default_rng(seed)
    W = np.zeros((genes, genes))
    W[0, 1], W[1, 2] = EFFECT, -EFFECT
    x = rng.normal(size=(cells, genes)) @ np.linalg.inv(np.eye(genes) - W)
    x = (x + 0.6 * rng.normal(size=x.shape)).astype(np.float32)
    names = tuple(f"cell{i:03d}" for i in range(cells))
    return Dataset(x, x != 0, GENES[:genes], names, ("a", "b"), f"data{cells}")


def exact_moments(data: Dataset, sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and sd of the four effects by importance sampling from their prior."""
    rng = np.random.default_rng(1)
    effects = sd * rng.normal(size=(100_000, 4))
    A = np.tile(np.eye(3), (len(effects), 1, 1))
    for column, (i, j) in enumerate(((0, 1), (0, 2), (1, 0), (1, 2))):
        A[:, i, j] -= effects[:, column]
    inverse = np.linalg.inv(A)
    covariance = inverse.transpose(0, 2, 1) @ inverse + 0.36 * np.eye(3)
    scatter = data.x.T.astype(float) @ data.x
    fit_of = np.einsum("nij,ji->n", np.linalg.inv(covariance), scatter)
    log = -0.5 * (len(data.x) * np.linalg.slogdet(covariance)[1] + fit_of)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    assert 1 / (weight**2).sum() > 500
    mean = weight @ effects
    return mean, np.sqrt(weight @ (effects - mean) ** 2)


@pytest.fixture(scope="module")
def fitted():
    return fit(expression(30), Normal(0.4), config=LINEAR, seeds=2)


def away(matrix: Any) -> np.ndarray:
    """Return what is left without self-effects."""
    return np.asarray(matrix)[
        ..., np.asarray(("a", "b"))[:, None] != np.asarray(GENES[: matrix.shape[-1]])
    ]


def test_moments_are_those_of_the_exact_posterior(fitted):
    mean, sd = exact_moments(expression(30), 0.4)
    summary = network(fitted)
    # About 500 effective draws on either side: 0.06 standard deviations, twice and a bit.
    assert (np.abs(away(summary.weight) - mean) < 0.2 * sd).all()
    np.testing.assert_allclose(away(summary.sd), sd, rtol=0.15)
    # The prior alone would be 0 +- 0.4.
    assert np.abs(mean).max() > 0.2 and sd.min() < 0.25


def test_a_chain_is_a_fit_like_any_other(fitted):
    assert (fitted.diverged == -1).all()
    assert fitted.losses.train.shape == (2, 400)
    assert np.isfinite(fitted.losses.train).all()
    assert len(loss_table(fitted)) == 800
    assert fitted.probability is None
    assert (fitted.prior_mean == 0).all()
    assert np.isfinite(edges(network(fitted))[["weight", "sd", "sign_agreement"]]).all(axis=None)
    draws = fitted.params["draws"]["effect"]
    assert draws.shape == (2, 400, 2, 3)
    np.testing.assert_allclose(away(draws).mean(1), away(fitted.weight), atol=1e-5)
    np.testing.assert_allclose((away(draws) > 0).mean(1), away(fitted.positive), atol=1e-6)
    # What has no bearing on the data keeps its prior.
    own = draws[..., [0, 1], [0, 1]]
    np.testing.assert_allclose(own.std((0, 1)), 0.4, rtol=0.2)


def test_losses_are_the_log_density_of_the_draws(fitted):
    data = expression(30)
    effect = fitted.params["draws"]["effect"][0, 7].astype(float)
    A = np.eye(3)
    A[:2] -= np.where(np.eye(2, 3, dtype=bool), 0, effect)
    inverse = np.linalg.inv(A)
    covariance: Any = inverse.T @ inverse + 0.36 * np.eye(3)
    marginal: Any = stats.multivariate_normal(np.zeros(3), covariance)
    density = marginal.logpdf(data.x).sum() + stats.norm.logpdf(effect, 0, 0.4).sum()
    assert fitted.losses.train[0, 7] == pytest.approx(-density / 90, rel=1e-4)


def test_draws_are_what_goes_on_from_a_fit(fitted):
    chain = fitted.params["draws"]["effect"]
    for seed in (0, 1):
        one = np.asarray(draw_edges(fitted, random.key(3), seed=seed)["effect"])
        assert (one == chain[seed]).all((1, 2)).sum() >= 1
    several = np.asarray(draw_weights(fitted, random.key(0), draws=5))
    own = np.eye(2, 3, dtype=bool)
    expected = np.where(own, 0, chain[0][[0, 100, 200, 299, 399]])
    np.testing.assert_array_equal(several, expected)
    with pytest.raises(ValueError, match="at most 400 draws"):
        draw_weights(fitted, random.key(0), draws=401)
    drawn = mechanism(fitted, random.key(3))
    assert drawn.W.shape == (2, 3)


def test_diagnostics_tell_good_chains_from_bad(fitted, caplog):
    found = nuts.diagnostics(fitted).iloc[0]
    assert found["site"] == "effect"
    assert found["r_hat"] < 1.03
    assert 100 < found["size"] <= 2000
    with caplog.at_level(logging.INFO, logger="infosem_jax"):
        nuts.log_diagnostics(fitted)
        draws = fitted.params["draws"]["effect"].copy()
        draws[1] += 0.5
        apart = fitted._replace(params=fitted.params | {"draws": {"effect": draws}})
        assert nuts.diagnostics(apart)["r_hat"][0] > 1.2
        nuts.log_diagnostics(apart)
        stuck = np.broadcast_to(draws[:, :1], draws.shape)
        never = fitted._replace(params=fitted.params | {"draws": {"effect": stuck}})
        assert nuts.diagnostics(never)["r_hat"][0] == np.inf
        assert nuts.diagnostics(never)["size"][0] == 0
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "R-hat at most" in caplog.text
    with pytest.raises(ValueError, match="a fit with guide nuts, found point"):
        nuts.diagnostics(fitted._replace(config=replace(LINEAR, guide="point")))


@pytest.mark.slow
def test_guides_agree_where_they_should(fitted):
    """Means are within 0.4 standard deviations, and mean-field is hardly ever the wider one."""
    data = expression(30)
    mean, sd = away(network(fitted).weight), away(network(fitted).sd)
    for guide in ("normal", "lowrank"):
        config = replace(LINEAR, guide=guide, low_rank=2, epochs=600, rate_edges=5e-3)
        other = network(fit(data, Normal(0.4), config=config, seeds=4))
        assert (np.abs(away(other.weight) - mean) < 0.4 * sd).all(), guide
        assert (away(other.sd) < 1.25 * sd).all(), guide
        assert (away(other.sd) > 0.5 * sd).all(), guide


def test_without_information_the_posterior_is_the_prior():
    """Ten cells under noise that hides everything."""
    config = replace(LINEAR, observation_sd=1000.0)
    known = pd.DataFrame({"source": ["a", "b"], "target": ["c", "c"], "label": [1, 0]})
    edge = KnownEdges(known)
    result = fit(expression(10), Normal(0.3), edge, config=config, seeds=2)
    draws = result.params["draws"]
    effect, logit = (np.concatenate(list(draws[name])) for name in ("effect", "logit"))
    # Standard errors of means and sds of about 800 draws, taken five times.
    np.testing.assert_allclose(effect.mean(0), 0, atol=5 * 0.3 / 800**0.5)
    np.testing.assert_allclose(effect.std(0), 0.3, rtol=5 / 1600**0.5)
    assert logit[:, 0, 2].mean() > logit[:, 1, 2].mean() + 1
    assert result.probability is not None
    gate = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(result.probability.mean(0), gate.mean(0), atol=1e-5)


def learned_scale(context):
    scale = numpyro.sample("scale", dist.HalfNormal(0.5))
    return dist.Normal(0.0, scale)


@pytest.mark.slow
def test_noise_may_be_drawn_instead_of_integrated_out(fitted):
    """Where nothing is zero, scoring the non-zero entries only is the same posterior."""
    config = replace(LINEAR, observe="nonzero", hidden=3, knots=0)
    drawn = dict(
        fit_many([expression(30), expression(34)], {"": Normal(0.4)}, configs=config, seeds=1)
    )
    same = drawn[Job("data30", "", "")]
    # Of the chain, not of the shorter data set's padding.
    assert set(same.params["draws"]) == {"effect"}
    sd = away(network(fitted).sd)
    assert (np.abs(away(same.weight[0]) - away(network(fitted).weight)) < 0.35 * sd).all()
    np.testing.assert_allclose(away(same.sd[0]), sd, rtol=0.3)
    assert np.isfinite(drawn[Job("data34", "", "")].weight).all()


@pytest.mark.slow
def test_networks_are_trained_first_and_stay(monkeypatch):
    trained = []

    def note(objective, layout, fits, shared, params):
        trained.append(jax.tree.map(np.asarray, params))
        return run(objective, layout, fits, shared, params)

    run = nuts.run
    monkeypatch.setattr(nuts, "run", note)
    config = replace(
        LINEAR,
        decoder="network",
        hidden=3,
        knots=0,
        nuts_warmup=40,
        nuts_draws=30,
        epochs=5,
        normalisation="zscore",
    )
    result = fit(expression(12), learned_scale, config=config)
    for name in ("decoder$params", "encoder$params"):
        kept, before = (jax.tree.leaves(params[name]) for params in (result.params, trained[0]))
        for one, other in zip(kept, before, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not {name for name in result.params if name.endswith("_loc")}
    draws = result.params["draws"]
    assert set(draws) == {"effect", "effect_prior/scale"}
    assert (draws["effect_prior/scale"] > 0).all()
    assert np.ptp(draws["effect_prior/scale"]) > 0
    assert result.losses.train.shape == (1, 30)
    assert np.isfinite(result.weight).all()


def test_the_order_of_genes_and_cells_does_not_matter(fitted):
    data = expression(30)
    order, cells = [2, 0, 1], np.random.default_rng(0).permutation(30)
    moved = data._replace(
        x=data.x[cells][:, order],
        observed=data.observed[cells][:, order],
        genes=tuple(data.genes[i] for i in order),
        cells=tuple(data.cells[i] for i in cells),
    )
    other = fit(moved, Normal(0.4), config=LINEAR, seeds=2)
    np.testing.assert_array_equal(other.weight, fitted.weight[:, :, order])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nuts_unknowns": 5}, r"at most 5 unknowns \(nuts_unknowns\), found 6: 2 rows x 3 genes"),
        (
            {"nuts_unknowns": 90, "decoder": "network"},
            "found 96: 2 rows x 3 genes, and the noise of 30 cells. Take fewer",
        ),
        ({"nuts_draws": 3}, "nuts_draws of at least 4, which diagnostics take, found 3"),
        ({"held_out": 0.1}, "held_out = 0, found 0.1"),
        ({"weight_z": 0.01}, "weight_z = 1, as in a posterior, found 0.01"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(changes, message):
    with pytest.raises(ValueError, match=f"guide nuts: expected.*{message}"):
        fit_many([expression(30)], {"": Normal(0.4)}, configs=replace(LINEAR, **changes))
