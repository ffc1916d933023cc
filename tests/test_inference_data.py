"""Posterior draws for ArviZ, see `infosem_jax.grn.to_arviz`."""

from dataclasses import replace

import arviz
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from infosem_jax import grn
from infosem_jax.data import normalise, simulate
from infosem_jax.grn import linear

SIZES = simulate.SimulationConfig(genes=8, regulators=3, cells=40, mean_in_degree=1.5)
LINEAR = grn.converged(
    guide="normal",
    decoder="identity",
    latent_prior="standard",
    absorbed="location",
    epochs=40,
    rate_edges=1e-2,
)
PRIOR = grn.priors.Normal(0.2)


@pytest.fixture(scope="module")
def data():
    return simulate.simulate(SIZES, seed=0).data


@pytest.fixture(scope="module")
def fitted(data):
    return grn.fit(data, PRIOR, config=LINEAR, seeds=2)


def test_draws_are_of_the_posterior(fitted):
    effect = grn.to_arviz(fitted, draws=400).posterior["effect"]
    assert effect.dims == ("chain", "draw", "row", "gene")
    assert effect.sizes["chain"] == 2
    regulator, gene = fitted.regulators[0], fitted.genes[-1]
    ours = effect.sel(row=regulator, gene=gene)
    sd = fitted.sd[:, 0, -1]
    assert (np.abs(ours.mean("draw") - fitted.weight[:, 0, -1]) < 0.2 * sd).all()
    np.testing.assert_allclose(ours.std("draw"), sd, rtol=0.15)


def test_log_likelihood_has_the_noise_of_cells_integrated_out(fitted, data):
    found = grn.to_arviz(fitted, data, draws=100)
    ours = found.log_likelihood["x"].sel(chain=0).sum("cell")
    scaled = normalise(data, LINEAR.normalisation)
    x = scaled.x[:, np.argsort(np.asarray(data.genes))]
    genes = sorted(fitted.genes)
    rows = np.array([genes.index(row) for row in fitted.rows])
    for draw in range(10):
        W = np.array(found.posterior["effect"].sel(chain=0).isel(draw=draw))
        W[np.arange(len(rows)), rows] = 0
        A = linear.structure(jnp.asarray(W), jnp.asarray(rows), None)
        cells = linear.scatter(jnp.asarray(x), len(x))
        exact = linear.log_likelihood(cells, A, LINEAR.observation_sd)
        np.testing.assert_allclose(ours[draw], exact, rtol=2e-3)
    assert list(found.log_likelihood["x"]["cell"].values) == list(data.cells)
    loo = arviz.loo(found)
    assert loo.elpd_loo < float(found.log_likelihood["x"].mean(("chain", "draw")).sum())
    assert loo.n_data_points == len(data.cells)


# Cells that decide on an effect are not left out well by weighing.
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_exact_fits_are_drawn_given_their_cells(data):
    fitted = grn.fit(data, config=grn.exact.Config(rows="regulators"))
    found = grn.to_arviz(fitted, data, draws=400)
    effect, variance = (np.asarray(found.posterior[name])[0] for name in ("effect", "variance"))
    assert found.posterior["effect"].dims == ("chain", "draw", "row", "gene")
    assert list(found.posterior["gene"].values) == list(fitted.genes)
    off = fitted.sd > 0
    assert np.abs((effect.mean(0) - fitted.weight)[off] / fitted.sd[off]).max() < 4 / 400**0.5
    x = normalise(data).x
    rows = [data.genes.index(row) for row in fitted.rows]
    nats = stats.norm.logpdf(x, x[:, rows] @ effect[7], np.sqrt(variance[7])).sum(1)
    np.testing.assert_allclose(found.log_likelihood["x"][0, 7], nats, rtol=1e-4)
    loo = arviz.loo(found)
    assert loo.elpd_loo < float(found.log_likelihood["x"].mean(("chain", "draw")).sum())
    with pytest.raises(ValueError, match="expected the cells of the exact fit"):
        grn.to_arviz(fitted)


@pytest.mark.slow
def test_chains_keep_their_order(data):
    settings = replace(LINEAR, guide="nuts", nuts_warmup=20, nuts_draws=15, epochs=1)
    chains = grn.fit(data, PRIOR, config=settings, seeds=2)
    found = grn.to_arviz(chains, data)
    np.testing.assert_array_equal(found.posterior["effect"], chains.params["draws"]["effect"])
    np.testing.assert_array_equal(found.sample_stats["diverging"], chains.params["diverging"])
    assert found.log_likelihood["x"].shape == (2, 15, len(data.cells))
    # The densest draws by the sampler fit the cells better than the others.
    by_cells = found.log_likelihood["x"].sum("cell").values.ravel()
    assert np.corrcoef(by_cells, found.sample_stats["lp"].values.ravel())[0, 1] > 0.1
