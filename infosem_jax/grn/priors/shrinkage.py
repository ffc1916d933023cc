"""Priors that know no gene, but how effects are spread: how few matter, and whose are large."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array, Float

from infosem_jax.grn.priors import distributions
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import (
    BoundPrior,
    GeneContext,
    fixed,
    for_edges,
    log_odds,
    positive,
    share,
)


@dataclass(frozen=True)
class RegularisedHorseshoe(Arithmetic):
    """A horseshoe whose strong effects are held within a slab.

    ``effect ~ Horseshoe(scale)`` times ``exp(-effect^2 / (2 slab^2))``: small effects are shrunk as
    by the horseshoe, large ones as by ``Normal(0, slab)``, so that nothing runs away.

    Parameters
    ----------
    scale
        Global scale of the horseshoe.
    slab
        Standard deviation of the largest effects.
    """

    scale: float = 0.01
    slab: float = 0.1

    def bind(self, context: GeneContext) -> BoundPrior:
        """Spread the distribution over all pairs."""
        scale, slab = positive(self, "scale"), positive(self, "slab")
        return fixed(distributions.RegularisedHorseshoe(scale, slab), context)


@dataclass(frozen=True)
class RelaxedGate(Arithmetic):
    """Spike and slab with a relaxed gate: each gate is close to 0 or to 1.

    ``logit ~ Logistic(log_odds(probability) / temperature, 1 / temperature)``, so that
    ``sigmoid(logit)`` has the binary concrete distribution, which nears a coin toss as the
    temperature falls. The slab is the prior of the effects. A cold gate is hard to open once shut:
    let the prior's weight rise over ``Config.anneal_epochs``.
    Source: Maddison, Mnih & Teh, ICLR 2017.

    Parameters
    ----------
    probability
        Of an edge, at low temperature.
    temperature
        Below 1, gates gather at both ends; the lower, the more.
    """

    probability: float = 0.2
    temperature: float = 0.5

    def bind(self, context: GeneContext) -> BoundPrior:
        """Spread the distribution over all pairs."""
        for_edges(self, context)
        temperature = positive(self, "temperature")
        centre = float(log_odds(share(self, "probability"))) / temperature
        return fixed(dist.Logistic(centre, 1 / temperature), context)


@dataclass(frozen=True)
class GeneScales(Arithmetic):
    """Regulators and targets have scales of their own, learned with the fit.

    ``effect[i, j] ~ Normal(0, scale * (1 + exp(a_i + b_j)) / 2)`` with
    ``a_i ~ Normal(0, regulator_spread)`` and ``b_j ~ Normal(0, target_spread)``. No scale falls
    below ``scale / 2``: without that floor a point estimate would send the effects of a silent gene
    and their scale to zero together.

    Parameters
    ----------
    scale
        Standard deviation of the effects between average genes.
    regulator_spread, target_spread
        Standard deviations of a and b, in units of log scale; 0 leaves one out.
    """

    scale: float = 0.03
    regulator_spread: float = 1.0
    target_spread: float = 0.5

    def bind(self, context: GeneContext) -> BoundPrior:
        """Give every row and every gene a scale."""
        spreads = (self.regulator_spread, self.target_spread)
        if not all(np.isfinite(spread) and spread >= 0 for spread in spreads) or not any(spreads):
            raise ValueError(
                "GeneScales: expected spreads of at least 0, and one above it, found "
                f"regulator_spread {spreads[0]} and target_spread {spreads[1]}; without spread, "
                "use Normal."
            )
        regulator, target = (
            jnp.full(n, spread, jnp.float32) if spread else None
            for n, spread in zip(context.shape, spreads, strict=True)
        )
        size = jnp.full(context.shape, positive(self, "scale"), jnp.float32)
        return BoundPrior(Partial(_scaled, size, regulator, target))


def _scaled(
    size: Float[Array, "rows genes"],
    regulator: Float[Array, " rows"] | None,
    target: Float[Array, " genes"] | None,
) -> dist.Distribution:
    a = jnp.zeros(1) if regulator is None else _log_sizes("regulator_size", regulator)
    b = jnp.zeros(1) if target is None else _log_sizes("target_size", target)
    scale = size * (1 + jnp.exp(a[:, None] + b[None])) / 2
    return dist.Normal(jnp.zeros_like(scale), scale).to_event(2)


def _log_sizes(name: str, spread: Float[Array, " genes"]) -> Array:
    return jnp.asarray(
        numpyro.sample(name, dist.Normal(jnp.zeros_like(spread), spread).to_event(1))
    )
