"""Guides of users: AutoGuides of NumPyro, and functions that declare the posterior themselves."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pandas as pd
import pytest
from compilations import compilations
from jax import random
from numpyro.infer import Predictive, init_to_median
from numpyro.infer.autoguide import (
    AutoDiagonalNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoNormal,
)

from infosem_jax import grn
from infosem_jax.data import simulate
from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.engine.saver import Saver

SIZES = simulate.SimulationConfig(genes=6, regulators=3, cells=40, mean_in_degree=1)
LINEAR = grn.converged(
    guide=AutoNormal,
    guide_draws=50,
    decoder="identity",
    latent_prior="standard",
    absorbed="location",
    epochs=3,
    rate_edges=5e-3,
)
PRIOR = grn.priors.Normal(0.2)


@pytest.fixture(scope="module")
def data():
    return simulate.simulate(SIZES, seed=0).data


def narrow(edges):
    """Be sure of the effects from the start, and learn where they are."""
    location = numpyro.param("where", jnp.zeros(edges.shape))
    numpyro.sample("effect", dist.Normal(location, 0.01).to_event(2))


def learned_scale(context):
    return dist.Normal(0.0, numpyro.sample("scale", dist.HalfNormal(0.5)))


def test_seeds_share_one_trace_and_draws_are_kept(data, tmp_path):
    with compilations() as compiled:
        fitted = grn.fit(data, PRIOR, config=LINEAR, seeds=2)
    assert compiled.count("run_chunk") == 1 and compiled.count("draw") == 1
    with compilations() as again:
        grn.fit(data._replace(name="other", x=data.x[::-1]), PRIOR, config=LINEAR, seeds=2)
    assert not {"run_chunk", "init", "draw"} & set(again)
    draws = fitted.params["draws"]["effect"]
    assert draws.shape == (2, 50, 3, 6)
    off = np.asarray(fitted.rows)[:, None] != np.asarray(sorted(fitted.genes))
    order = np.argsort(np.asarray(fitted.genes))
    np.testing.assert_allclose(draws.mean(1)[:, off], fitted.weight[..., order][:, off], atol=1e-5)
    assert np.ptp(draws, axis=(0, 1)).min() > 0
    assert fitted.config.guide == "own"
    grn.save(tmp_path / "fit.npz", fitted)
    loaded = grn.load(tmp_path / "fit.npz")
    assert loaded.config == fitted.config
    jax.tree.map(np.testing.assert_array_equal, loaded.params, fitted.params)
    with pytest.raises(ValueError, match="own is the record of a guide"):
        grn.fit(data, PRIOR, config=loaded.config)
    raw = loaded.raw(data, PRIOR)
    drawn = Predictive(raw.model, guide=raw.guide, params=raw.params, num_samples=3)(random.key(0))
    assert np.ptp(drawn["x"], axis=0).min() > 0
    found: Any = grn.to_arviz(loaded)
    np.testing.assert_array_equal(found.posterior["effect"], draws)


def test_a_function_declares_the_posterior(data):
    own = replace(LINEAR, guide=narrow, epochs=40, rate_edges=1e-2)
    fitted = grn.fit(data, PRIOR, config=own)
    np.testing.assert_allclose(fitted.sd[fitted.sd > 0], 0.01, rtol=0.5)
    assert np.abs(fitted.weight).max() > 0.1


@pytest.mark.slow
def test_training_resumes_to_the_bit(data, tmp_path):
    own = replace(LINEAR, epochs=40, optimiser=optax.adam(5e-3))
    whole = grn.fit(data, PRIOR, config=own, seeds=2)
    with pytest.raises(Interrupted):
        grn.fit(data, PRIOR, config=own, seeds=2, saver=Saver(tmp_path, {}, stop=lambda: True))
    for change in ({"guide": narrow}, {"optimiser": optax.adam(1e-3)}):
        with pytest.raises(ValueError, match=next(iter(change))):
            other = replace(own, **change)
            grn.fit(data, PRIOR, config=other, seeds=2, saver=Saver(tmp_path, {}, resume=True))
    resumed = grn.fit(data, PRIOR, config=own, seeds=2, saver=Saver(tmp_path, {}, resume=True))
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)


@pytest.mark.slow
def test_an_own_mean_field_posterior_is_that_of_the_guide_normal(data):
    """As close as two seeds of one guide are."""
    near = partial(AutoNormal, init_loc_fn=init_to_median)
    trained = replace(LINEAR, guide=near, epochs=1500, guide_draws=1000)
    ours = grn.fit(data, PRIOR, config=replace(trained, guide="normal"), seeds=2)
    own = grn.fit(data, PRIOR, config=trained, seeds=2)
    off = ours.sd[0] > 0
    apart = (own.weight - ours.weight)[:, off] / ours.sd[:, off]
    seeds = (ours.weight[0] - ours.weight[1])[off] / ours.sd[0][off]
    # Means of 1,000 draws are off by 0.03 sd.
    assert apart.std() < 1.5 * (seeds.std() + 0.03)
    np.testing.assert_allclose((own.sd[:, off] / ours.sd[:, off]).mean(), 1, atol=0.03)


@pytest.mark.slow
def test_what_priors_sample_is_drawn_with_the_edges(data):
    labels = pd.DataFrame({"source": [data.regulators[0]], "target": [data.genes[-1]]})
    edge = grn.priors.KnownEdges(labels)
    rank = partial(AutoLowRankMultivariateNormal, rank=2)
    own = replace(LINEAR, guide=rank, divergence="sampled", rows="regulators+2", epochs=30)
    fitted = grn.fit(data, learned_scale, edge, config=own)
    draws = fitted.params["draws"]
    assert set(draws) >= {"effect", "logit", "effect_prior/scale", "remainder/source"}
    assert (draws["effect_prior/scale"] > 0).all()
    assert fitted.probability is not None and np.isfinite(fitted.probability).all()


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (lambda edges: None, r"expected the sites \{'effect': \(3, 6\)\}.*found \{\}"),
        (AutoLaplaceApproximation, "found AutoLaplaceApproximation.*AutoMultivariateNormal"),
        (AutoDiagonalNormal, r"order of the model \(effect_prior/scale, effect\).*'sampled'"),
        (partial(AutoNormal), "at most 268,435,456 numbers in the draws"),
    ],
)
def test_what_is_no_posterior_of_the_edges_is_refused(data, guide, message):
    prior = learned_scale if guide is AutoDiagonalNormal else PRIOR
    many = 10**8 if isinstance(guide, partial) else 50
    with pytest.raises(ValueError, match=message):
        grn.fit(data, prior, config=replace(LINEAR, guide=guide, guide_draws=many))
