"""The exact engine against brute force: per-target regression, integrals, finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from infosem_jax.grn.exact import posterior as exact
from infosem_jax.grn.exact import statistics

CELLS, GENES = 60, 9
ROWS = np.array([0, 2, 3, 7, 8])
NOISE = 3.0


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(CELLS, GENES)) @ rng.normal(size=(GENES, GENES)) / 3
    return (x / x.std(0)).astype(np.float32)


@pytest.fixture
def mean():
    mean = np.random.default_rng(1).normal(0, 0.2, (len(ROWS), GENES))
    mean[np.arange(len(ROWS)), ROWS] = 0
    return mean


def brute_force(x, scale, mean):
    """Means, unit variances, noise rates and log evidence by one regression a target."""
    x = x.astype(np.float64)
    out = [np.zeros((len(ROWS), GENES)), np.zeros((len(ROWS), GENES)), [], []]
    for j in range(GENES):
        keep = j != ROWS
        Z, m, t = x[:, ROWS[keep]], mean[keep, j], scale[keep, j]
        covariance = np.eye(CELLS) + (Z * t**2) @ Z.T
        residual = x[:, j] - Z @ m
        quadratic = residual @ np.linalg.solve(covariance, residual)
        inverse = np.linalg.inv(Z.T @ Z + np.diag(1 / t**2))
        out[0][keep, j] = m + inverse @ Z.T @ residual
        out[1][keep, j] = np.diag(inverse)
        out[2].append((NOISE + quadratic) / 2)
        student = stats.multivariate_t(np.zeros(CELLS), covariance, df=NOISE)
        out[3].append(student.logpdf(residual))
    return out


@pytest.mark.parametrize("common", [True, False])
def test_posterior_is_that_of_one_regression_a_target(x, mean, common):
    summed = statistics.moments(x, ROWS, block=17)
    scale = np.full(mean.shape, 0.3)
    if common:
        found = exact.posterior(exact.spectrum(summed, ROWS), 0.3, jnp.asarray(mean), NOISE)
    else:
        scale = np.random.default_rng(2).uniform(0.05, 0.6, mean.shape)
        scaled = jnp.asarray(scale), jnp.asarray(mean)
        found = exact.posterior_by_pair(summed, ROWS, *scaled, NOISE, block=4)
    weight, variance, rate, evidence = brute_force(x, scale, mean)
    np.testing.assert_allclose(found.mean, weight, atol=1e-5)
    np.testing.assert_allclose(found.unit_variance, variance, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.rate, rate, rtol=1e-4)
    np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-5)
    sure = exact.positive_probability(found)
    spread = np.sqrt(variance * np.asarray(rate) / ((NOISE + CELLS) / 2))
    known = np.where(spread > 0, spread, 1)
    np.testing.assert_allclose(sure, stats.t.cdf(weight / known, NOISE + CELLS), atol=1e-5)


def test_evidence_is_the_integral_of_the_likelihood(x):
    rows = np.array([0])
    summed = statistics.moments(x[:12, :2], rows)
    found = exact.log_evidence(exact.spectrum(summed, rows), 0.7, None, NOISE)
    z, y = x[:12, 0].astype(float), x[:12, 1].astype(float)

    # A sum over a fine grid of effects and of log variances.
    w, log_variance = np.linspace(-6, 6, 601)[:, None], np.linspace(-4, 4, 401)
    sd = np.exp(log_variance / 2)
    log_density = (
        stats.norm.logpdf(y[:, None, None], w * z[:, None, None], sd).sum(0)
        + stats.norm.logpdf(w, 0, 0.7 * sd)
        + stats.invgamma.logpdf(sd**2, 1.5, scale=1.5)
        + log_variance
    )
    value = special.logsumexp(log_density) + np.log(0.02 * 0.02)
    assert float(found[1]) == pytest.approx(value, abs=1e-4)


def test_gradients_of_the_evidence_are_those_of_finite_differences(x, mean):
    with jax.enable_x64(True):
        basis = exact.spectrum(statistics.moments(x, ROWS), ROWS)
        projected = exact.project(basis, jnp.asarray(mean))

        def value(p):
            return exact.log_evidence(basis, jnp.exp(p[0]), p[1] * projected, NOISE).sum()

        at, step = jnp.array([-1.0, 0.8]), 1e-5
        gradient = jax.grad(value)(at)
        for i in range(2):
            shift = jnp.zeros(2).at[i].set(step)
            slope = (value(at + shift) - value(at - shift)) / (2 * step)
            assert float(gradient[i]) == pytest.approx(float(slope), rel=1e-6)


def test_blocks_are_one_pass_and_moments_add(x):
    one = statistics.moments(x, ROWS)
    halves = statistics.add(statistics.moments(half, ROWS) for half in (x[:25], x[25:]))
    for block in (7, 60, 100):
        for a, b in zip(one, statistics.moments(x, ROWS, block=block), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.RG, halves.RG, rtol=1e-5, atol=1e-5)
    assert halves.cells == CELLS


def test_order_of_genes_and_cells_does_not_matter(x, mean):
    rng = np.random.default_rng(3)
    order, cells = rng.permutation(GENES), rng.permutation(CELLS)
    place = np.argsort(order)
    rows = np.sort(place[ROWS])
    back = np.argsort(place[ROWS])
    moved = x[cells][:, order]
    a = exact.posterior(exact.spectrum(statistics.moments(x, ROWS), ROWS), 0.3, jnp.asarray(mean))
    b = exact.posterior(
        exact.spectrum(statistics.moments(moved, rows), rows),
        0.3,
        jnp.asarray(mean[back][:, order]),
    )
    np.testing.assert_allclose(np.asarray(a.mean)[back][:, order], b.mean, atol=2e-5)
    np.testing.assert_allclose(np.asarray(a.rate)[order], b.rate, rtol=1e-4)


def test_draws_have_the_moments_of_the_posterior(x, mean):
    basis = exact.spectrum(statistics.moments(x, ROWS), ROWS)
    found = exact.posterior(basis, 0.3, jnp.asarray(mean), NOISE)
    keys = jax.random.split(jax.random.key(0), 2000)
    draws = jax.vmap(lambda key: exact.draw(key, basis, 0.3, jnp.asarray(mean), NOISE))(keys)
    sd = np.asarray(exact.standard_deviation(found))
    there = sd > 0
    off = np.abs(draws.mean(0) - found.mean)[there] / sd[there]
    assert off.max() < 5 / np.sqrt(2000)
    np.testing.assert_allclose(np.asarray(draws.std(0))[there], sd[there], rtol=0.07)
    assert (np.asarray(draws)[:, ~there] == 0).all()


def test_what_cannot_be_is_refused(x):
    with pytest.raises(ValueError, match="finite expression"):
        statistics.moments(np.full((12, 3), np.nan, np.float32), np.array([0]))
    with pytest.raises(ValueError, match="worth more than 0"):
        statistics.worth(statistics.moments(x, ROWS), 61)
