"""A prior made of several whose weights are learned, and what such numbers were learned to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array, Float
from numpyro.distributions import biject_to, constraints

from infosem_jax.grn.priors import distributions
from infosem_jax.grn.priors.arithmetic import (
    STRENGTHS,
    Arithmetic,
    observe_all,
    require_family,
    scoped,
)
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, bind, coverage, positive

# What the sites and parameters that priors here declare are called, and where they live.
SUPPORTS: dict[str, Any] = {
    "weights_loc": constraints.simplex,
    "trust_loc": constraints.unit_interval,
    "strength": STRENGTHS,
    "regulator_size_loc": constraints.real,
    "target_size_loc": constraints.real,
}


@dataclass(frozen=True)
class Mixture(Arithmetic):
    """Several normal priors, weighted by what the data make of them.

    The density is that of the parts, each to the power of its weight, normalised:
    ``p(effect) ~ prod_k p_k(effect)^w_k`` with ``w ~ Dirichlet(concentration)`` learned with the
    fit. For parts of one scale that is their means, averaged by weight. It stays normal. Say which
    of several embeddings a network follows by giving `GeneSimilarity` parts; those of
    `GeneEmbedding` also learn, so that their weights say less. `learned` finds the weights.

    Parameters
    ----------
    parts
        At least two priors that are normal.
    concentration
        Of the weights, at least 1; the larger, the more equal they are.
    """

    parts: tuple[Any, ...]
    concentration: float = 1.0

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align every part to the genes."""
        if len(self.parts) < 2:
            raise ValueError(f"Mixture: expected at least two parts, found {len(self.parts)}.")
        if positive(self, "concentration") < 1:
            raise ValueError(
                f"Mixture: expected a concentration of at least 1, found {self.concentration}; "
                "below, a point estimate runs into one part whatever the data."
            )
        bound = [bind(part, context) for part in self.parts]
        for one in bound:
            require_family(one, (dist.Normal,), "Mixture: expected normal parts")
        concentration = jnp.full(len(bound), self.concentration, jnp.float32)
        observed = [b.observe for b in bound if b.observe is not None]
        return BoundPrior(
            Partial(_mixed, [b.distribution for b in bound], concentration),
            Partial(observe_all, observed) if observed else None,
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Tell what each part covers."""
        return {
            f"part {i}: {key}": value
            for i, part in enumerate(self.parts)
            for key, value in coverage(part, context).items()
        }


def learned(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return what the numbers of priors were learned to be, by their place in the model.

    ``.../weights`` of a `Mixture` [seeds, parts], ``.../trust`` of an `OtherNetwork` [seeds],
    ``.../strength`` of `learned_strength` [seeds], and ``.../regulator_size`` and
    ``.../target_size`` of `GeneScales` (a and b there, rows and genes sorted by name). With
    ``guide="normal"`` they are at the centre of their posterior.

    Parameters
    ----------
    params
        Of a fit, ``fitted.params``.
    """
    found = {}
    for place, value in sorted(params.items()):
        *rooms, name = place.split("/")
        if rooms and name in SUPPORTS:
            transform = jax.vmap(biject_to(SUPPORTS[name]))
            key = "/".join([*rooms, name.removesuffix("_loc")])
            found[key] = np.asarray(transform(jnp.asarray(value)))
    return found


def _mixed(parts: list[Partial], concentration: Float[Array, " parts"]) -> dist.Distribution:
    weights = jnp.asarray(numpyro.sample("weights", dist.Dirichlet(concentration)))
    weakened = [distributions.weaken(scoped(i, part), weights[i]) for i, part in enumerate(parts)]
    return distributions.pool(weakened)
