"""The exact engine against brute force: per-target regression, integrals, finite differences."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from infosem_jax.grn.exact import hyper, statistics
from infosem_jax.grn.exact import posterior as exact
from infosem_jax.grn.exact.decomposition import count_as, spectrum, spectrum_of_cells, trimmed
from infosem_jax.grn.exact.deviations import median_over

CELLS, GENES = 60, 9
ROWS = np.array([0, 2, 3, 7, 8])
NOISE = 3.0
# Fewer cells than rows.
FEW, MANY_ROWS = 11, np.array([0, 1, 2, 4, 5, 6, 7, 9, 11, 12, 13, 15, 16, 18])


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


@pytest.fixture
def wide():
    """Cells, rows and means with fewer cells than rows, two of them alike."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(FEW, 20)) + rng.normal(size=(FEW, 1))
    x[1] = x[0]
    mean = rng.normal(0, 0.2, (len(MANY_ROWS), 20))
    mean[np.arange(len(MANY_ROWS)), MANY_ROWS] = 0
    return x.astype(np.float32), MANY_ROWS, mean


def brute_force(x, rows, scale, mean):
    """Means, unit variances, noise rates and log evidence by one regression a target."""
    x = x.astype(np.float64)
    cells, genes = x.shape
    out = [np.zeros((len(rows), genes)), np.zeros((len(rows), genes)), [], []]
    for j in range(genes):
        keep = j != rows
        Z, m, t = x[:, rows[keep]], mean[keep, j], scale[keep, j]
        covariance = np.eye(cells) + (Z * t**2) @ Z.T
        residual = x[:, j] - Z @ m
        quadratic = residual @ np.linalg.solve(covariance, residual)
        inverse = np.linalg.inv(Z.T @ Z + np.diag(1 / t**2))
        out[0][keep, j] = m + inverse @ Z.T @ residual
        out[1][keep, j] = np.diag(inverse)
        out[2].append((NOISE + quadratic) / 2)
        student = stats.multivariate_t(np.zeros(cells), covariance, df=NOISE)
        out[3].append(student.logpdf(residual))
    return out


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("few", [False, True])
def test_posterior_is_that_of_one_regression_a_target(x, mean, wide, common, few):
    x, rows, mean = wide if few else (x, ROWS, mean)
    if few:
        basis = spectrum_of_cells(x, rows)
    else:
        basis = spectrum(statistics.moments(x, rows, block=17), rows)
    scale = np.full(mean.shape, 0.3)
    wanted = jnp.array([3, 1])
    if common:
        given = (basis, 0.3, jnp.asarray(mean), NOISE)
        found, some = exact.posterior(*given), exact.posterior(*given, wanted)
    else:
        scale = np.random.default_rng(2).uniform(0.05, 0.6, mean.shape)
        given = (basis, jnp.asarray(scale), jnp.asarray(mean), NOISE)
        found = exact.posterior_by_pair(*given, block=4)
        some = exact.posterior_by_pair(*given, wanted, block=4)
    weight, variance, rate, evidence = brute_force(x, rows, scale, mean)
    np.testing.assert_allclose(found.mean, weight, atol=1e-5)
    np.testing.assert_allclose(found.unit_variance, variance, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.rate, rate, rtol=1e-4)
    np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-5)
    freedom = NOISE + len(x)
    sure = exact.positive_probability(found)
    spread = np.sqrt(variance * np.asarray(rate) / (freedom / 2))
    known = np.where(spread > 0, spread, 1)
    np.testing.assert_allclose(sure, stats.t.cdf(weight / known, freedom), atol=2e-5)
    for part, whole in zip(some[:2], found[:2], strict=True):
        np.testing.assert_allclose(part, whole[wanted], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(some.log_evidence, found.log_evidence, rtol=1e-6)
    if common:
        without = exact.log_evidence(basis, 0.3, None, NOISE)
        evidence = brute_force(x, rows, scale, 0 * mean)[3]
        np.testing.assert_allclose(without, evidence, rtol=1e-5)


@pytest.mark.parametrize("freedom", [6, 40, 1e5])
def test_probabilities_are_those_of_student_s_t(freedom):
    t = np.linspace(-9, 9, 41)
    nothing = jnp.zeros(41)
    found = exact.Posterior(
        jnp.asarray(t)[None], jnp.ones((1, 41)), jnp.asarray(freedom / 2), nothing, nothing
    )
    found = found._replace(rate=jnp.full(41, freedom / 2))
    np.testing.assert_allclose(
        exact.positive_probability(found)[0], stats.t.cdf(t, freedom), atol=2e-6
    )


def test_evidence_is_the_integral_of_the_likelihood(x):
    rows = np.array([0])
    summed = statistics.moments(x[:12, :2], rows)
    found = exact.log_evidence(spectrum(summed, rows), 0.7, None, NOISE)
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


@pytest.mark.parametrize("informed", [False, True])
def test_the_likeliest_share_has_the_highest_evidence_of_all(x, mean, informed):
    basis = spectrum(statistics.moments(x, ROWS), ROWS)
    prior = exact.project(basis, jnp.asarray(mean, jnp.float32)) if informed else None
    each = [float(exact.log_evidence(basis, hyper.scale_of(share, 5), prior, NOISE).sum())
            for share in hyper.SHARES]  # fmt: skip
    found = hyper._evidence_of_shares(basis, prior, NOISE)
    np.testing.assert_allclose(found, each, rtol=1e-5)
    assert hyper.likeliest_share(basis, prior, NOISE) == hyper.SHARES[np.argmax(each)]


@pytest.mark.parametrize("seed", range(20))
def test_the_median_is_that_of_sorted_values(seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 9)))
    values = (rng.normal(size=shape) * rng.choice([1e-3, 1.0, 1e3])).astype(np.float32)
    values[rng.random(shape) < 0.2] = rng.choice([0.0, -0.0, 1.0])
    pairs = rng.random(shape) < 0.8
    pairs.flat[0] = True
    assert median_over(values, pairs) == np.median(values[pairs])


def test_gradients_of_the_evidence_are_those_of_finite_differences(x, mean):
    with jax.enable_x64(True):
        basis = spectrum(statistics.moments(x, ROWS), ROWS)
        projected = exact.project(basis, jnp.asarray(mean))

        @jax.jit
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


def test_devices_share_the_cells_of_a_block():
    code = """
import jax
jax.config.update("jax_num_cpu_devices", 3)
import numpy as np
from infosem_jax.grn.exact import moments
x, rows = np.random.default_rng(0).normal(size=(50, 9)).astype("float32"), np.array([0, 2, 5])
assert len(jax.devices()) == 3
one, all = (moments(x, rows, block=16, devices=devices) for devices in (1, 3))
np.testing.assert_allclose(one.RG, x[:, rows].T @ x, atol=1e-4)
for a, b in zip(one, all, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_order_of_genes_and_cells_does_not_matter(x, mean):
    rng = np.random.default_rng(3)
    order, cells = rng.permutation(GENES), rng.permutation(CELLS)
    place = np.argsort(order)
    rows = np.sort(place[ROWS])
    back = np.argsort(place[ROWS])
    moved = x[cells][:, order]
    a = exact.posterior(spectrum(statistics.moments(x, ROWS), ROWS), 0.3, jnp.asarray(mean))
    b = exact.posterior(
        spectrum(statistics.moments(moved, rows), rows),
        0.3,
        jnp.asarray(mean[back][:, order]),
    )
    np.testing.assert_allclose(np.asarray(a.mean)[back][:, order], b.mean, atol=2e-5)
    np.testing.assert_allclose(np.asarray(a.rate)[order], b.rate, rtol=1e-4)


@pytest.mark.parametrize("few", [False, True])
def test_draws_have_the_moments_of_the_posterior(x, mean, wide, few):
    if few:
        x, rows, mean = wide
        basis = spectrum_of_cells(x, rows)
    else:
        basis = spectrum(statistics.moments(x, ROWS), ROWS)
    found = exact.posterior(basis, 0.3, jnp.asarray(mean), NOISE)
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = partial(exact.draw, basis=basis, scale=0.3, mean=jnp.asarray(mean), noise=NOISE)
    draws, noise = jax.jit(jax.vmap(draw))(keys)
    sd = np.asarray(exact.standard_deviation(found))
    there = sd > 0
    off = np.abs(draws.mean(0) - found.mean)[there] / sd[there]
    assert off.max() < 5 / np.sqrt(2000)
    # The kurtosis of Student's t widens the error of its standard deviation.
    np.testing.assert_allclose(np.asarray(draws.std(0))[there], sd[there], rtol=0.09)
    assert (np.asarray(draws)[:, ~there] == 0).all()
    # The precision of the noise is gamma, with the mean shape over rate.
    np.testing.assert_allclose((1 / noise).mean(0), found.shape / found.rate, rtol=0.05)


def test_few_cells_say_the_same_decomposed_either_way(wide):
    x, rows, mean = wide
    one = spectrum_of_cells(x, rows)
    other = spectrum(statistics.moments(x, rows), rows)
    assert len(one.values) == len(rows) - 1 and len(other.values) == len(rows)
    assert len(trimmed(one).values) == FEW - 1 and trimmed(other) is other
    for a, b in zip(
        *(exact.posterior(basis, 0.4, jnp.asarray(mean)) for basis in (one, other)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    some = jnp.asarray(0.4), jnp.arange(5)
    np.testing.assert_allclose(exact.chance(one, *some), exact.chance(other, *some), rtol=1e-4)
    off = (x - x.mean(0)).astype(np.float64)
    height = (off**3).mean(0) / off.var(0)
    for basis in (one, other):
        np.testing.assert_allclose(basis.height, height, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_is_refused(x):
    with pytest.raises(ValueError, match="finite expression"):
        statistics.moments(np.full((12, 3), np.nan, np.float32), np.array([0]))
    with pytest.raises(ValueError, match="worth more than 0"):
        count_as(spectrum(statistics.moments(x, ROWS), ROWS), 61)
