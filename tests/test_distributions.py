import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax import random
from scipy import integrate, stats

from infosem_jax.grn.priors.distributions import Horseshoe, Ordered, Tempered, pool, spread, weaken


def horseshoe_density(b: float, scale: float) -> float:
    """Integrate the local scale s = tan(a) out: HalfCauchy(1) is uniform in the angle a."""

    def integrand(angle):
        return stats.norm.pdf(b, scale=scale * np.tan(angle)) * 2 / np.pi

    return integrate.quad(integrand, 0, np.pi / 2, epsabs=0, epsrel=1e-9, limit=200)[0]


@pytest.mark.parametrize("scale", [0.01, 1.0])
@pytest.mark.parametrize("ratio", [1e-3, 0.3, 1.0, 1.5, 5.0, 100.0])
def test_horseshoe_density_is_the_scale_mixture(scale, ratio):
    expected = np.log(horseshoe_density(ratio * scale, scale))
    found = Horseshoe(scale).log_prob(jnp.array([ratio * scale, -ratio * scale]))
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("scale", [0.01, 3.0])
def test_horseshoe_integrates_to_one(scale):
    log_b = np.linspace(np.log(1e-9), np.log(5e4), 20_001)
    density = np.exp(Horseshoe(scale).log_prob(jnp.exp(log_b) * scale)) * np.exp(log_b) * scale
    assert 2 * integrate.trapezoid(density, log_b) == pytest.approx(1, abs=1e-4)


def test_horseshoe_draws_follow_the_density():
    # The draws are fixed by the key; a sound sampler fails for one key in 10,000.
    draws = np.abs(Horseshoe(0.5).sample(random.key(0), (20_000,)))
    log_b = np.linspace(np.log(1e-9), np.log(5e4), 20_001)
    density = 2 * np.exp(Horseshoe(0.5).log_prob(np.exp(log_b)) + log_b)
    cumulative = integrate.cumulative_trapezoid(density, log_b, initial=0)
    test = stats.kstest(np.log(draws), lambda at: np.interp(at, log_b, cumulative))
    assert test.pvalue > 1e-4


def test_horseshoe_falls_from_its_peak_to_its_tail():
    b = jnp.array([0.0, 1e-30, 1e-8, 1.0, 1e6])
    value, slope = jax.vmap(jax.value_and_grad(Horseshoe(0.01).log_prob))(b)
    assert bool(jnp.isfinite(value).all() and jnp.isfinite(slope).all())
    assert bool((jnp.diff(value) <= 0).all())
    # The density has a peak without a top at zero, and a tail like that of a Cauchy density.
    assert value[1] > value[2] + 0.5
    np.testing.assert_allclose(slope[3:] * b[3:], -2, rtol=1e-3)
    both = Horseshoe(0.01).log_prob(b[2] * jnp.array([0.999, 1.001]))
    np.testing.assert_allclose(slope[2], jnp.diff(both)[0] / (2e-3 * b[2]), rtol=0.1)


def test_horseshoe_shapes_and_mean():
    prior = Horseshoe(jnp.array([0.1, 0.2, 0.3]))
    assert prior.batch_shape == prior.mean.shape == (3,)
    assert prior.sample(random.key(0), (5,)).shape == (5, 3)


def test_tempered_counts_the_density_so_many_times():
    base = dist.StudentT(3.0, 0.5, 2.0)
    x = jnp.linspace(-5, 5, 11)
    half = Tempered(base, 0.25)
    np.testing.assert_allclose(half.log_prob(x), 0.25 * base.log_prob(x), rtol=1e-6)
    np.testing.assert_array_equal(Tempered(base, 0.0).log_prob(x), 0)
    key = random.key(0)
    np.testing.assert_array_equal(half.sample(key, (4,)), base.sample(key, (4,)))
    assert float(half.mean) == float(base.mean) == 0.5


def test_tempered_is_a_pytree_with_its_weight():
    half = Tempered(dist.StudentT(3.0, 0.5, 2.0), 0.25)
    found = jax.jit(lambda prior, x: prior.log_prob(x))(half, 1.0)
    np.testing.assert_allclose(found, half.log_prob(1.0), rtol=1e-6)


@pytest.mark.parametrize("family", [dist.Normal, dist.Laplace])
@pytest.mark.parametrize("weight", [0.1, 1.0, 4.0])
def test_weakened_density_is_the_power_up_to_a_constant(family, weight):
    prior = family(jnp.full((2, 3), 0.2), 0.5).to_event(2)
    weak = weaken(prior, weight)
    x = random.normal(random.key(0), (6, 2, 3))
    constant = weak.log_prob(x) - weight * prior.log_prob(x)
    np.testing.assert_allclose(constant, constant[0], atol=1e-4)
    # Still normalised: it is a distribution of the same family, so draws are those of the power.
    assert isinstance(weak.base_dist, family)
    expected = 0.5 / (weight**0.5 if family is dist.Normal else weight)
    np.testing.assert_allclose(weak.base_dist.scale, expected, rtol=1e-6)
    np.testing.assert_allclose(weak.base_dist.loc, 0.2, rtol=1e-6)


@pytest.mark.parametrize(
    "prior", [dist.Normal(0.1, 0.01), dist.Laplace(0.1, 0.01), Horseshoe(0.01), dist.Cauchy()]
)
def test_weight_zero_is_flat(prior):
    weak = weaken(prior.expand((2, 3)).to_event(2), 0.0)
    slope = jax.grad(weak.log_prob)(random.normal(random.key(0), (2, 3)))
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_pooled_normals_multiply():
    first = dist.Normal(jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 0.5]])).to_event(2)
    second = dist.Normal(jnp.array([[2.0, -1.0]]), jnp.array([[0.5, 2.0]])).to_event(2)
    pooled = pool([first, second])
    assert pooled.event_shape == (1, 2)
    np.testing.assert_allclose(pooled.base_dist.loc, [[1.6, 3.75 / 4.25]], rtol=1e-6)
    np.testing.assert_allclose(pooled.base_dist.scale, [[5**-0.5, 4.25**-0.5]], rtol=1e-6)
    x = random.normal(random.key(0), (6, 1, 2))
    constant = pooled.log_prob(x) - first.log_prob(x) - second.log_prob(x)
    np.testing.assert_allclose(constant, constant[0], atol=1e-5)


def test_pool_of_one_is_itself_and_order_does_not_matter():
    parts = [dist.Normal(jnp.full((2, 2), m), s).to_event(2) for m, s in ((0.0, 1.0), (1.0, 0.3))]
    np.testing.assert_allclose(pool(parts[1:]).base_dist.loc, 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        pool(parts).base_dist.loc, pool(parts[::-1]).base_dist.loc, rtol=1e-6
    )


def test_pool_refuses_other_families():
    with pytest.raises(TypeError, match=r"Only normal priors can be added, found Laplace"):
        pool([dist.Normal(jnp.zeros((2, 2)), 1.0).to_event(2), dist.Laplace(jnp.zeros((2, 2)))])


@pytest.mark.parametrize(
    "prior",
    [
        dist.Normal(0.0, 1.0),
        dist.Laplace(jnp.zeros(4), 1.0),
        dist.StudentT(3.0, jnp.zeros((3, 1))),
        dist.Normal(jnp.zeros((3, 4)), 1.0).to_event(2),
        Horseshoe(0.1),
    ],
)
def test_spread_gives_rows_and_genes(prior):
    out = spread(prior, (3, 4))
    assert (out.batch_shape, out.event_shape) == ((), (3, 4))
    draw = out.sample(random.key(0))
    assert draw.shape == (3, 4)
    np.testing.assert_allclose(out.log_prob(draw), prior.log_prob(draw).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    "prior",
    [
        dist.Normal(jnp.zeros(5), 1.0),
        dist.Normal(jnp.zeros((4, 3)), 1.0).to_event(2),
        dist.Normal(jnp.zeros((2, 3, 4)), 1.0),
        dist.MultivariateNormal(jnp.zeros(4), jnp.eye(4)),
    ],
)
def test_spread_refuses_other_shapes(prior):
    with pytest.raises(ValueError, match=r"broadcasts to \[rows, genes\] = \[3, 4\], found batch"):
        spread(prior, (3, 4))


@pytest.mark.parametrize("prior", [dist.HalfNormal(1.0), dist.Gamma(1.0), dist.Bernoulli(0.5)])
def test_spread_refuses_what_is_not_over_real_numbers(prior):
    with pytest.raises(ValueError, match="real"):
        spread(prior, (3, 4))


def test_ordered_parts_do_not_depend_on_the_order_of_numpyro(monkeypatch):
    prior = dist.Normal(jnp.zeros((2, 3)), jnp.full((2, 3), 0.5)).to_event(2)
    first, treedef = jax.tree.flatten(Ordered(prior))
    again = jax.tree.unflatten(treedef, first).distribution
    np.testing.assert_array_equal(
        again.log_prob(jnp.ones((2, 3))), prior.log_prob(jnp.ones((2, 3)))
    )
    for kind in (dist.Normal, dist.Independent):
        names = kind.gather_pytree_data_fields()[::-1]
        monkeypatch.setattr(kind, "gather_pytree_data_fields", lambda names=names: names)
    turned, treedef = jax.tree.flatten(Ordered(prior))
    for one, other in zip(first, turned, strict=True):
        np.testing.assert_array_equal(one, other)
    again = jax.tree.unflatten(treedef, turned).distribution
    np.testing.assert_array_equal(again.base_dist.scale, 0.5)
