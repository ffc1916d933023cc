"""Held-out density: against exact marginals, and what it must not depend on."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from infosem_jax.data.dataset import Dataset, dataset
from infosem_jax.engine import training
from infosem_jax.grn import evidence, fit_many, priors
from infosem_jax.grn.config import Config, converged
from infosem_jax.grn.evidence import density, held_out_cells
from infosem_jax.grn.posterior import decode, mechanism, parameters
from infosem_jax.grn.result import Fit

LINEAR = converged(decoder="identity", latent_prior="standard", hidden=4, knots=16, held_out=0.2)


def expression(genes: int = 5, cells: int = 30, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    names = [f"g{i}" for i in range(genes)]
    x = rng.normal(size=(cells, genes)) + 0.5 * rng.normal(size=(cells, 1)) + 5
    return dataset(x, names, names[:3])


def fitted(data: Dataset, config: Config, seeds: int = 1) -> Fit:
    ((_, found),) = fit_many(
        {data.name: data}, {"": priors.Normal(0.3)}, configs={"": config}, seeds=seeds
    )
    return found


@pytest.fixture(scope="module")
def data() -> Dataset:
    return expression()


@pytest.fixture(scope="module")
def linear(data: Dataset) -> Fit:
    return fitted(data, replace(LINEAR, epochs=20))


@pytest.fixture(scope="module")
def curved(data: Dataset) -> Fit:
    return fitted(data, converged(epochs=3, hidden=4, knots=16, held_out=0.2))


def normalised(data: Dataset) -> np.ndarray:
    return (data.x - data.x.mean(0)) / data.x.std(0)


def exact(found: Fit, x: np.ndarray) -> np.ndarray:
    """Log density where the decoder is the identity: a normal distribution."""
    noise = mechanism(found, training.random.key(0))
    A = np.eye(x.shape[1])
    A[np.asarray(noise.rows)] -= np.asarray(noise.W)
    back = np.linalg.inv(A)
    cov = back.T @ np.diag(np.asarray(noise.scale) ** 2) @ back
    cov += found.config.observation_sd**2 * np.eye(len(A))
    return multivariate_normal.logpdf(x, np.asarray(noise.location) @ back, cov)


def test_linear_model_has_the_exact_density(data: Dataset, linear: Fit):
    cells = np.arange(7)
    assert np.abs(linear.weight).max() > 0.05
    got = density(linear, data, cells, samples=16)
    np.testing.assert_allclose(got.nats, exact(linear, normalised(data)[cells]), atol=1e-3)
    np.testing.assert_allclose(got.effective, 16, rtol=1e-3)
    np.testing.assert_allclose(got.per_value, got.nats / 5)
    assert got.cells == data.cells[:7]


def test_low_rank_remainder_is_part_of_the_mechanism(data: Dataset):
    found = fitted(data, replace(LINEAR, rows="regulators+1", epochs=3))
    noise = mechanism(found, training.random.key(0))
    assert noise.remainder is not None
    A = np.eye(5)
    A[np.asarray(noise.rows)] -= np.asarray(noise.W)
    A -= np.asarray(noise.remainder.source @ noise.remainder.target)
    back = np.linalg.inv(A)
    x = normalised(data)[:3]
    want = multivariate_normal.logpdf(x, np.zeros(5), back.T @ back + 0.5 * np.eye(5))
    np.testing.assert_allclose(density(found, data, np.arange(3)).nats, want, atol=1e-3)


def test_unmeasured_values_are_integrated_out(data: Dataset, linear: Fit):
    hidden = data._replace(observed=np.array(data.observed))
    hidden.observed[0, 1:] = False
    found = linear._replace(config=replace(linear.config, observe="nonzero"))
    got = density(found, hidden, np.arange(1), samples=16)
    noise = mechanism(linear, training.random.key(0))
    A = np.eye(5)
    A[np.asarray(noise.rows)] -= np.asarray(noise.W)
    back = np.linalg.inv(A)
    sd = np.sqrt((back.T @ back)[0, 0] + 0.5)
    want = norm.logpdf(normalised(data)[0, 0], 0, sd)
    np.testing.assert_allclose(got.nats, want, atol=1e-3)
    assert got.values.tolist() == [1]


def test_curved_decoder_against_quadrature(data: Dataset, curved: Fit):
    """Without edges, genes are independent and each is a one-dimensional integral."""
    params = dict(curved.params) | {"effect_loc": np.zeros_like(curved.params["effect_loc"])}
    # Steeper, so that the decoder is no straight line over the width of the posterior.
    kernels = dict(params["decoder$params"])
    kernels["Dense_0"] = {name: 1.5 * np.asarray(leaf) for name, leaf in kernels["Dense_0"].items()}
    found = curved._replace(params=params | {"decoder$params": kernels})
    noise = mechanism(found, training.random.key(0))
    x = normalised(data)[0]
    u = np.linspace(-11, 11, 4001)
    mean = np.asarray(decode(found, jnp.asarray(u, jnp.float32)[:, None]))
    assert np.ptp(np.diff(mean[:, 0])) > 1e-3
    prior = norm.pdf(u[:, None], np.asarray(noise.location), np.asarray(noise.scale))
    likelihood = norm.pdf(x, mean, found.config.observation_sd)
    want = np.log(np.trapezoid(prior * likelihood, u, axis=0)).sum()
    got = density(found, data, np.arange(1), samples=4096)
    np.testing.assert_allclose(got.nats, want, atol=0.03)


def test_more_samples_only_tighten(data: Dataset, curved: Fit):
    cells = np.arange(len(data.cells))
    few, many, most = (density(curved, data, cells, samples=n).nats.mean() for n in (1, 64, 1024))
    assert few - most < 0.02
    assert abs(many - most) <= abs(few - most) + 1e-3


def test_order_of_genes_and_cells_does_not_matter(data: Dataset, curved: Fit):
    flip = np.arange(5)[::-1]
    other = data._replace(
        x=data.x[:, flip], observed=data.observed[:, flip], genes=tuple(data.genes[::-1])
    )
    cells = np.array([4, 2, 9])
    np.testing.assert_allclose(
        density(curved, other, cells).nats, density(curved, data, cells).nats, atol=1e-4
    )


def test_posterior_of_effects_is_averaged(data: Dataset, linear: Fit):
    spread = np.full_like(linear.params["effect_loc"], np.log(0.2))
    params = dict(linear.params) | {"effect_log_scale": spread}
    found = linear._replace(params=params, config=replace(linear.config, guide="normal"))
    cells = np.arange(4)
    one, four = (density(found, data, cells, draws=n).nats for n in (1, 4))
    assert np.abs(one - four).max() > 1e-3
    np.testing.assert_array_equal(four, density(found, data, cells).nats)


def test_held_out_cells_are_those_that_training_never_sees(data: Dataset):
    z = normalised(data).astype(np.float32)
    ready = data._replace(x=z, normalisation="zscore")
    config = converged(epochs=2, hidden=4, knots=16, held_out=0.2)
    kept = held_out_cells(ready, config, key=0, seed=1)
    assert len(kept) == 6
    base = fitted(ready, config, seeds=2).weight[1]
    x = z.copy()
    x[kept] += 1.0
    np.testing.assert_array_equal(fitted(ready._replace(x=x), config, seeds=2).weight[1], base)
    x = z.copy()
    x[np.setdiff1d(np.arange(30), kept)[0]] += 1.0
    assert np.abs(fitted(ready._replace(x=x), config, seeds=2).weight[1] - base).max() > 0


def test_held_out_cells_follow_names_not_places(data: Dataset):
    config = Config(held_out=0.2)
    order = np.random.default_rng(0).permutation(30)
    other = data._replace(x=data.x[order], cells=tuple(data.cells[i] for i in order))
    names = [data.cells[i] for i in held_out_cells(data, config, seed=3)]
    assert names == [other.cells[i] for i in held_out_cells(other, config, seed=3)]
    assert set(names) != {data.cells[i] for i in held_out_cells(data, config, seed=4)}


def test_bad_requests_are_refused(data: Dataset, linear: Fit, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="set it in the settings"):
        held_out_cells(data, Config())
    with pytest.raises(ValueError, match="give the data that were fitted"):
        density(linear, expression(6), np.arange(1))
    with pytest.raises(ValueError, match="at least one cell"):
        density(linear, data, np.arange(0))
    with pytest.raises(ValueError, match="diverged"):
        density(linear._replace(diverged=np.array([3])), data, np.arange(1))
    monkeypatch.setattr(evidence, "MOST_GENES", 4)
    with pytest.raises(ValueError, match="at most 4 genes"):
        density(linear, data, np.arange(1))


def test_identity_decoder_has_no_parameters(linear: Fit):
    assert "decoder$params" not in parameters(linear, 0)
