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
from infosem_jax.grn.priors.arithmetic import LearnedStrength as LearnedStrength
from infosem_jax.grn.priors.arithmetic import Sum as Sum
from infosem_jax.grn.priors.arithmetic import Weakened as Weakened
from infosem_jax.grn.priors.arithmetic import learned_strength as learned_strength
from infosem_jax.grn.priors.arithmetic import scan as scan
from infosem_jax.grn.priors.binding import Bindable as Bindable
from infosem_jax.grn.priors.binding import BoundPrior as BoundPrior
from infosem_jax.grn.priors.binding import GeneContext as GeneContext
from infosem_jax.grn.priors.binding import Prior as Prior
from infosem_jax.grn.priors.binding import bind as bind
from infosem_jax.grn.priors.binding import coverage as coverage
from infosem_jax.grn.priors.binding import fixed, positive
from infosem_jax.grn.priors.binding import pair_matrix as pair_matrix
from infosem_jax.grn.priors.embedded import shuffled as shuffled
from infosem_jax.grn.priors.graph_smooth import GraphSmooth as GraphSmooth
from infosem_jax.grn.priors.learned_edges import LearnedEdges as LearnedEdges
from infosem_jax.grn.priors.mixture import Mixture as Mixture
from infosem_jax.grn.priors.mixture import learned as learned
from infosem_jax.grn.priors.relabelled import Relabelled as Relabelled
from infosem_jax.grn.priors.shrinkage import GeneScales as GeneScales
from infosem_jax.grn.priors.shrinkage import RegularisedHorseshoe as RegularisedHorseshoe
from infosem_jax.grn.priors.shrinkage import RelaxedGate as RelaxedGate
from infosem_jax.grn.priors.signed import OtherNetwork as OtherNetwork
from infosem_jax.grn.priors.signed import SignedEdges as SignedEdges
from infosem_jax.grn.priors.similarity import GeneSimilarity as GeneSimilarity


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
        if not 0 < self.probability < 1:
            raise ValueError(
                f"SpikeAndSlab: expected 0 < probability < 1, found {self.probability}."
            )
        shares = jnp.array([[[1 - self.probability, self.probability]]])
        scales = jnp.array([[[positive(self, "spike"), positive(self, "slab")]]])
        mixture = dist.MixtureSameFamily(dist.Categorical(probs=shares), dist.Normal(0.0, scales))
        return fixed(mixture, context)
