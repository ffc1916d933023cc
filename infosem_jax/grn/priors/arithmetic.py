"""The arithmetic of priors: ``a + b`` bears on every edge twice, ``0.5 * a`` counts half."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array
from numpyro import handlers
from numpyro.distributions import constraints

from infosem_jax.grn.priors import distributions
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, Prior, bind, coverage

# Beyond a thousand times its strength either way, a prior is as good as absent or certain.
STRENGTHS = constraints.interval(1e-3, 1e3)


class Arithmetic:
    """Priors add and can be weakened by a number."""

    def __add__(self, other: Prior) -> "Sum":
        return Sum((self, other))

    def __mul__(self, weight: float) -> "Weakened":
        return Weakened(self, weight)

    __rmul__ = __mul__


@dataclass(frozen=True)
class Weakened(Arithmetic):
    """A prior whose log density counts ``weight`` times: 1 leaves it as it is, 0 silences it."""

    prior: Any
    weight: float

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the prior to the genes."""
        if not 0 <= self.weight < np.inf:
            raise ValueError(f"Expected a finite weight of at least 0, found {self.weight}.")
        bound = bind(self.prior, context)
        weight = jnp.float32(self.weight)
        observe = bound.observe and Partial(_weakened_observation, bound.observe, weight)
        return BoundPrior(Partial(_weakened, bound.distribution, weight), observe)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Tell what the prior covers, and its weight."""
        return {**coverage(self.prior, context), "weight": self.weight}


@dataclass(frozen=True)
class Sum(Arithmetic):
    """Several normal priors that all bear on every edge: their densities multiply."""

    parts: tuple[Any, ...]

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align every part to the genes."""
        bound = [bind(part, context) for part in self.parts]
        observed = [b.observe for b in bound if b.observe is not None]
        return BoundPrior(
            Partial(_pooled, [b.distribution for b in bound]),
            Partial(observe_all, observed) if observed else None,
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Tell what each part covers."""
        return {
            f"{type(part).__name__}: {key}": value
            for part in self.parts
            for key, value in coverage(part, context).items()
        }


@dataclass(frozen=True)
class LearnedStrength(Arithmetic):
    """A normal or Laplace prior whose weight is a parameter, see `learned_strength`."""

    prior: Any

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the prior to the genes."""
        bound = bind(self.prior, context)
        families = (dist.Normal, dist.Laplace)
        require_family(bound, families, "A strength is learned for normal and Laplace priors only")
        return bound._replace(distribution=Partial(_strengthened, bound.distribution))

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Tell what the prior covers."""
        return coverage(self.prior, context)


def learned_strength(prior: Prior) -> LearnedStrength:
    """Return the prior with a weight that is learned with the fit (empirical Bayes).

    The density is ``p(effect)^w``, normalised, with w between 0.001 and 1000 a parameter without a
    prior of its own; what the prior samples or observes besides counts as before. Use it with
    ``guide="normal"``: a point estimate has no spread that would hold w back, and may shrink
    effects and scale to zero together. `infosem_jax.grn.priors.learned` finds w.

    Parameters
    ----------
    prior
        A prior that is normal or Laplace; binding refuses others with a ValueError.
    """
    return LearnedStrength(prior)


def scan(prior: Prior, weights: Iterable[float | int]) -> dict[str, Prior]:
    """Return the prior at several strengths, by name, as `infosem_jax.grn.fit_many` takes them.

    Parameters
    ----------
    prior
        Any prior.
    weights
        Distinct weights of its log density.

    Raises
    ------
    ValueError
        If there are no weights, or two are alike.
    """
    strengths = [float(weight) for weight in weights]
    found: dict[str, Prior] = {f"{weight:g}": Weakened(prior, weight) for weight in strengths}
    if not found or len(found) < len(strengths):
        raise ValueError(f"Expected weights that differ, found {strengths}.")
    return found


def require_family(bound: BoundPrior, families: tuple[type, ...], expected: str) -> None:
    """Refuse a prior that is not of one of some families, before it is fitted.

    Parameters
    ----------
    bound
        The prior.
    families
        Classes of distributions.
    expected
        What is expected, for the message.

    Raises
    ------
    ValueError
        Starting with what is expected.
    """
    found: list[Any] = []

    def probe(distribution: Partial) -> None:
        with handlers.block(), handlers.seed(rng_seed=0):
            found.append(distributions.elementwise(distribution()))

    # Its family shows when it is traced; nothing is computed.
    jax.eval_shape(probe, bound.distribution)
    if not isinstance(found[0], families):
        plain = getattr(found[0], "base_dist", found[0])
        raise ValueError(f"{expected}, found {type(plain).__name__}.")


def scoped(i: int, part: Partial) -> dist.Distribution:
    """Call a part of a prior; what it declares is found under its number."""
    with handlers.scope(prefix=str(i)):
        return part()


def observe_all(parts: list[Partial], logit: Array) -> None:
    """Let every part observe its labels."""
    for i, observe in enumerate(parts):
        with handlers.scope(prefix=str(i)):
            observe(logit)


def _weakened(distribution: Partial, weight: Array) -> dist.Distribution:
    # Labels that a prior observes count less as well; so does, with sampled divergences, what it
    # samples.
    with handlers.scale(scale=jnp.maximum(weight, distributions.FLAT)):
        prior = distribution()
    return distributions.weaken(prior, weight)


def _weakened_observation(observe: Partial, weight: Array, logit: Array) -> None:
    with handlers.scale(scale=weight):
        observe(logit)


def _pooled(parts: list[Partial]) -> dist.Distribution:
    return distributions.pool([scoped(i, part) for i, part in enumerate(parts)])


def _strengthened(distribution: Partial) -> dist.Distribution:
    weight = jnp.asarray(numpyro.param("strength", jnp.ones(()), constraint=STRENGTHS))
    return distributions.weaken(distribution(), weight)
