"""Priors on the effects and on the existence of edges.

A prior is a NumPyro distribution over one number or over [rows, genes], or a function of the
`GeneContext` that returns one and may itself declare parameters or sample sites. The classes here
are such functions that also align tables and embeddings to the genes of the data, and tell how much
of the data they cover. Priors add (``a + b``: both bear on every edge) and weaken (``0.5 * a``).
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpyro.distributions as dist

from infosem_jax.grn.priors import distributions
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, fixed, positive, share


@dataclass(frozen=True)
class Laplace(Arithmetic):
    """``effect ~ Laplace(0, scale)``: few strong effects, most near zero."""

    scale: float = 0.1

    def bind(self, context: GeneContext) -> BoundPrior:
        """Spread the distribution over all pairs."""
        return fixed(dist.Laplace(0.0, positive(self, "scale")), context)


@dataclass(frozen=True)
class MeanAbsolute(Arithmetic):
    """DeepSEM's penalty ``alpha * mean |W|`` beside a mean squared error, as a Laplace prior.

    ``effect ~ Laplace(0, rows / (alpha * cells))``, since the sum of squared errors over cells and
    genes is minus twice the log-likelihood at variance 1/2. With the rows of the data (None), as in
    DeepSEM, each effect is penalised in proportion to 1 / rows, which silences sets of few genes;
    a number of rows fixes the penalty at what it is for so many, which is about what DeepSEM was
    published with. Source: DeepSEM, Model.py and README; the fixed number is a choice made here.
    """

    alpha: float = 100.0
    rows: float | None = 1000.0

    def bind(self, context: GeneContext) -> BoundPrior:
        """Spread the distribution over all pairs."""
        rows = len(context.rows) if self.rows is None else positive(self, "rows")
        scale = rows / (positive(self, "alpha") * context.cells)
        return fixed(dist.Laplace(0.0, scale), context)


@dataclass(frozen=True)
class Normal(Arithmetic):
    """``effect ~ Normal(0, scale)``: many small effects."""

    scale: float = 0.1

    def bind(self, context: GeneContext) -> BoundPrior:
        """Spread the distribution over all pairs."""
        return fixed(dist.Normal(0.0, positive(self, "scale")), context)


@dataclass(frozen=True)
class Horseshoe(Arithmetic):
    """``effect ~ Horseshoe(scale)``: most effects near zero, strong ones left alone."""

    scale: float = 0.01

    def bind(self, context: GeneContext) -> BoundPrior:
        """Spread the distribution over all pairs."""
        return fixed(distributions.Horseshoe(positive(self, "scale")), context)


@dataclass(frozen=True)
class SpikeAndSlab(Arithmetic):
    """``effect ~ probability * Normal(0, slab) + (1 - probability) * Normal(0, spike)``."""

    spike: float = 0.005
    slab: float = 0.1
    probability: float = 0.05

    def bind(self, context: GeneContext) -> BoundPrior:
        """Spread the distribution over all pairs."""
        probability = share(self, "probability")
        shares = jnp.array([[[1 - probability, probability]]])
        scales = jnp.array([[[positive(self, "spike"), positive(self, "slab")]]])
        mixture = dist.MixtureSameFamily(dist.Categorical(probs=shares), dist.Normal(0.0, scales))
        return fixed(mixture, context)
