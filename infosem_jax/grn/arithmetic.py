"""The arithmetic of priors: ``a + b`` bears on every edge twice, ``0.5 * a`` counts half."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array
from numpyro import handlers

from infosem_jax.grn import distributions
from infosem_jax.grn.binding import BoundPrior, GeneContext, Prior, bind, coverage


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
            Partial(_observe_all, observed) if observed else None,
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Tell what each part covers."""
        return {
            f"{type(part).__name__}: {key}": value
            for part in self.parts
            for key, value in coverage(part, context).items()
        }


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
    return distributions.pool([_scoped(i, part) for i, part in enumerate(parts)])


def _scoped(i: int, part: Partial) -> dist.Distribution:
    with handlers.scope(prefix=str(i)):
        return part()


def _observe_all(parts: list[Partial], logit: Array) -> None:
    for i, observe in enumerate(parts):
        with handlers.scope(prefix=str(i)):
            observe(logit)
