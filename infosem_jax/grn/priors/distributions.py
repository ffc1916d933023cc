"""Distributions that NumPyro lacks, and the arithmetic of priors: weakening and pooling."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import random
from jax.core import Tracer
from jaxtyping import Array
from numpyro.distributions import constraints

FLAT = 1e-12


class Horseshoe(dist.Distribution):
    """Horseshoe with its local scales integrated out.

    With ``b | s ~ Normal(0, s scale)`` and ``s ~ HalfCauchy(1)``,
    ``p(b) = K / scale * exp(t) E1(t)``, ``t = b^2 / (2 scale^2)``, ``K = (2 pi^3)^(-1/2)``.
    The density has an integrable pole at 0, so a point estimate needs no local scales.
    Source: Carvalho, Polson & Scott, Biometrika 2010, theorem 1 and its proof.

    Parameters
    ----------
    scale
        Global scale, any batch shape.
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support: Any = constraints.real
    reparametrized_params: ClassVar = ["scale"]

    def __init__(self, scale=1.0, *, validate_args=None):
        self.scale = jnp.asarray(scale, float)
        super().__init__(batch_shape=jnp.shape(self.scale), validate_args=validate_args)

    def sample(self, key: Any, sample_shape=()):
        """Draw effects: a half-Cauchy local scale times a normal."""
        shape = sample_shape + self.batch_shape
        local, normal = random.split(key)
        return self.scale * random.cauchy(local, shape) * random.normal(normal, shape)

    def log_prob(self, value):
        """Return the log density of each value."""
        t = jnp.maximum(0.5 * (value / self.scale) ** 2, 1e-30)
        constant = 0.5 * jnp.log(2 * jnp.pi**3)
        return jnp.log(_scaled_exponential_integral(t)) - constant - jnp.log(self.scale)

    @property
    def mean(self):
        """Centre of symmetry; the distribution has no finite mean."""
        return jnp.zeros(self.batch_shape)


class RegularisedHorseshoe(dist.Distribution):
    """Horseshoe times a normal slab, with its local scales integrated out.

    ``p(b) = Horseshoe(b; scale) exp(-b^2 / (2 slab^2)) / Z``, as if 0 had been observed with
    standard deviation ``slab``; ``Z = (2 / pi) arccos(r) / sqrt(1 - r^2)``, ``r = scale / slab``.
    Given a uniform q, ``b ~ Normal(0, scale tan(q arccos r) / sqrt(1 - r^2))``; for r > 1 the
    hyperbolic functions take over. Source: Nishimura & Suchard, Bayesian Analysis 2023, for the
    form of the slab; Z and the draws follow from it.

    Parameters
    ----------
    scale, slab
        Global scale and standard deviation of the slab, any batch shapes.
    """

    arg_constraints: ClassVar = {"scale": constraints.positive, "slab": constraints.positive}
    support: Any = constraints.real

    def __init__(self, scale=1.0, slab=1.0, *, validate_args=None):
        self.scale, self.slab = jnp.broadcast_arrays(
            jnp.asarray(scale, float), jnp.asarray(slab, float)
        )
        super().__init__(batch_shape=jnp.shape(self.scale), validate_args=validate_args)

    def sample(self, key: Any, sample_shape=()):
        """Draw effects: the scale that is left of the local one, times a normal."""
        shape = sample_shape + self.batch_shape
        local, normal = random.split(key)
        q = random.uniform(local, shape)
        below, above, inside = self._angles()
        spread = jnp.where(
            inside, jnp.tan(q * below) / jnp.sin(below), jnp.tanh(q * above) / jnp.sinh(above)
        )
        return self.scale * spread * random.normal(normal, shape)

    def log_prob(self, value):
        """Return the log density of each value."""
        below, above, inside = self._angles()
        share = jnp.where(inside, below / jnp.sin(below), above / jnp.sinh(above))
        slab = -0.5 * (value / self.slab) ** 2 - jnp.log(2 / jnp.pi * share)
        return Horseshoe(self.scale).log_prob(value) + slab

    @property
    def mean(self):
        """Zero."""
        return jnp.zeros(self.batch_shape)

    def _angles(self) -> tuple[Array, Array, Array]:
        # Both branches are finite whatever the ratio, and meet at 1 to 1e-6.
        ratio = self.scale / self.slab
        below = jnp.arccos(jnp.minimum(ratio, 1 - 1e-6))
        above = jnp.arccosh(jnp.maximum(ratio, 1 + 1e-6))
        return below, above, ratio < 1


class Tempered(dist.Distribution):
    """A distribution whose log density counts ``weight`` times: ``p(b)^weight``, not normalised.

    Draws come from the distribution itself; at weight 0 every value is equally good.

    Parameters
    ----------
    base
        The distribution to weaken.
    weight
        At least 0.
    """

    arg_constraints: ClassVar = {"weight": constraints.nonnegative}
    pytree_data_fields = ("base", "weight")

    def __init__(self, base, weight, *, validate_args=None):
        self.base, self.weight = base, weight
        super().__init__(base.batch_shape, base.event_shape, validate_args=validate_args)

    @property
    def support(self):
        """Support of the base distribution."""
        return self.base.support

    def sample(self, key, sample_shape=()):
        """Draw from the base distribution."""
        return self.base.sample(key, sample_shape)

    def log_prob(self, value):
        """Return the weighted log density."""
        return self.weight * self.base.log_prob(value)

    @property
    def mean(self):
        """Mean of the base distribution."""
        return self.base.mean


def weaken(distribution: dist.Distribution, weight: float | Array) -> dist.Distribution:
    """Return ``p^weight``: normal and Laplace get a larger scale, others are tempered.

    Parameters
    ----------
    distribution
        Event shape [rows, genes].
    weight
        1 leaves it as it is, 0 makes it (all but) flat.
    """
    base = elementwise(distribution)
    bounded: Any = jnp.maximum(weight, FLAT)
    if isinstance(base, dist.Normal):
        scale: Any = base.scale
        return dist.Normal(base.loc, scale / jnp.sqrt(bounded)).to_event(2)
    if isinstance(base, dist.Laplace):
        scale = base.scale
        return dist.Laplace(base.loc, scale / bounded).to_event(2)
    return Tempered(distribution, weight)


def pool(distributions: list[dist.Distribution]) -> dist.Distribution:
    """Multiply normal densities: precisions add, means are averaged by precision.

    Raises
    ------
    TypeError
        If one is not normal, as products of other densities have no closed form.
    """
    parts = [elementwise(d) for d in distributions]
    for part in parts:
        if not isinstance(part, dist.Normal):
            raise TypeError(
                f"Only normal priors can be added, found {type(part).__name__}. Write a function "
                "of the gene context that returns the distribution you mean."
            )
    precision = [1 / part.scale**2 for part in parts]
    total = functools.reduce(jnp.add, precision)
    mean = functools.reduce(
        jnp.add, [p * part.loc for p, part in zip(precision, parts, strict=True)]
    )
    return dist.Normal(mean / total, total**-0.5).to_event(2)


def elementwise(distribution: dist.Distribution) -> Any:
    """Return what is distributed at each entry, whatever counts as one event."""
    while isinstance(distribution, dist.Independent):
        distribution = distribution.base_dist
    if isinstance(distribution, dist.ExpandedDistribution):
        base = distribution.base_dist
        if isinstance(base, dist.Normal | dist.Laplace):
            return _wide(base, distribution.batch_shape)
    return distribution


@jax.tree_util.register_pytree_node_class
class Ordered:
    """A distribution as a pytree whose parts are in the order of their names.

    NumPyro's own order differs between processes, so that a program that takes a distribution would
    be compiled again by each, cache or no cache.

    Parameters
    ----------
    distribution
        The distribution; those that it is made of are ordered as well.
    """

    def __init__(self, distribution: dist.Distribution):
        self.distribution = distribution

    def tree_flatten(self):
        """Return arrays by name, and what is fixed."""
        kind = type(self.distribution)
        data, fixed = self.distribution.tree_flatten()
        parts = {
            name: Ordered(part) if isinstance(part, dist.Distribution) else part
            for name, part in zip(kind.gather_pytree_data_fields(), data, strict=True)
        }
        rest = sorted(zip(kind.gather_pytree_aux_fields(), fixed, strict=True))
        return (parts,), (kind, tuple(rest))

    @classmethod
    def tree_unflatten(cls, fixed, parts):
        """Put the distribution together again."""
        kind, rest = fixed
        data = [
            part.distribution if isinstance(part, Ordered) else part
            for part in map(parts[0].get, kind.gather_pytree_data_fields())
        ]
        aux = tuple(map(dict(rest).get, kind.gather_pytree_aux_fields()))
        return cls(kind.tree_unflatten(aux, tuple(data)))


def spread(distribution: dist.Distribution, shape: tuple[int, int]) -> dist.Distribution:
    """Give a distribution the event shape [rows, genes].

    Raises
    ------
    ValueError
        If its shape does not broadcast to [rows, genes], it is not over real numbers, or it has no
        mean.
    """
    distribution = _shifted(distribution)
    support: Any = distribution.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if support is not constraints.real:
        raise ValueError(
            f"Expected a prior over real numbers, found {type(distribution).__name__}: {support}."
        )
    if not _has_mean(distribution):
        raise ValueError(
            f"Expected a prior with a mean, which tells what is known before the data, found "
            f"{type(distribution).__name__} without one; take a distribution whose .mean is "
            "defined, such as a wide Normal for a flat prior."
        )
    if distribution.event_shape == shape and distribution.batch_shape == ():
        return distribution
    batch = distribution.batch_shape
    try:
        fits = distribution.event_shape == () and jnp.broadcast_shapes(batch, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"Expected a prior that broadcasts to [rows, genes] = {list(shape)}, found batch shape "
            f"{batch} and event shape {distribution.event_shape}."
        )
    if isinstance(distribution, dist.Normal | dist.Laplace):
        # Written out, so that closed-form divergences still recognise the family.
        return _wide(distribution, shape).to_event(2)
    return distribution.expand(shape).to_event(2)


def _has_mean(distribution: Any) -> bool:
    try:
        mean = distribution.mean
    except NotImplementedError:  # what NumPyro raises where a distribution has none
        return False
    if not isinstance(mean, Tracer):
        return bool(jnp.isfinite(mean).all())
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    # NumPyro has NaN for its mean.
    return not isinstance(distribution, dist.Cauchy)


def _wide(distribution: Any, shape: tuple[int, ...]) -> Any:
    """Give every entry of a normal or Laplace distribution its location and scale."""
    parts = (jnp.broadcast_to(part, shape) for part in (distribution.loc, distribution.scale))
    return type(distribution)(*parts)


def _shifted(distribution: dist.Distribution) -> dist.Distribution:
    """Write a normal or Laplace distribution that was moved and stretched as one of its family."""
    base: Any = getattr(distribution, "base_dist", None)
    steps: Any = getattr(distribution, "transforms", ())
    affine = [isinstance(step, dist.transforms.AffineTransform) for step in steps]
    if not (steps and all(affine) and isinstance(base, dist.Normal | dist.Laplace)):
        return distribution
    loc, scale = base.loc, base.scale
    for step in steps:
        loc, scale = step.loc + step.scale * loc, jnp.abs(step.scale) * scale
    return type(base)(loc, scale)


def _scaled_exponential_integral(t: Array) -> Array:
    """exp(t) E1(t) for t > 0 to about 1e-7 (Abramowitz & Stegun, section 5.1)."""
    small, large = jnp.minimum(t, 1.0), jnp.maximum(t, 1.0)
    inverse = 1 / large
    series = jnp.polyval(
        jnp.array([0.00107857, -0.00976004, 0.05519968, -0.24991055, 0.99999193, -0.57721566]),
        small,
    )
    top = jnp.polyval(
        jnp.array([0.2677737343, 8.6347608925, 18.059016973, 8.5733287401, 1]), inverse
    )
    bottom = jnp.polyval(
        jnp.array([3.9584969228, 21.0996530827, 25.6329561486, 9.5733223454, 1]), inverse
    )
    return jnp.where(t < 1, jnp.exp(small) * (series - jnp.log(small)), inverse * top / bottom)
