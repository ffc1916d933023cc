"""Priors on the effects and on the existence of edges.

A prior is a NumPyro distribution over one number or over [rows, genes], or a function of the
`GeneContext` that returns one and may itself declare parameters or sample sites. The classes here
are such functions that also align tables and embeddings to the genes of the data, and tell how much
of the data they cover. Priors add (``a + b``: both bear on every edge) and weaken (``0.5 * a``).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float
from numpyro.contrib.module import flax_module

from infosem_jax._typing import Orthologues
from infosem_jax.data.io import Embedding
from infosem_jax.grn import distributions
from infosem_jax.grn.arithmetic import Arithmetic
from infosem_jax.grn.arithmetic import (
    LearnedStrength as LearnedStrength,
)
from infosem_jax.grn.arithmetic import (
    Sum as Sum,
)
from infosem_jax.grn.arithmetic import (
    Weakened as Weakened,
)
from infosem_jax.grn.arithmetic import (
    learned_strength as learned_strength,
)
from infosem_jax.grn.arithmetic import (
    scan as scan,
)
from infosem_jax.grn.binding import (
    Bindable as Bindable,
)
from infosem_jax.grn.binding import (
    BoundPrior as BoundPrior,
)
from infosem_jax.grn.binding import (
    GeneContext as GeneContext,
)
from infosem_jax.grn.binding import (
    Prior as Prior,
)
from infosem_jax.grn.binding import (
    bind as bind,
)
from infosem_jax.grn.binding import (
    coverage as coverage,
)
from infosem_jax.grn.binding import (
    fixed,
    log_odds,
    pair_labels,
    positive,
)
from infosem_jax.grn.binding import (
    pair_matrix as pair_matrix,
)
from infosem_jax.grn.embedded import embedding_coverage, unit_vectors_of
from infosem_jax.grn.embedded import (
    shuffled as shuffled,
)
from infosem_jax.grn.learned_edges import (
    LearnedEdges as LearnedEdges,
)
from infosem_jax.grn.pools import (
    Mixture as Mixture,
)
from infosem_jax.grn.pools import (
    learned as learned,
)
from infosem_jax.grn.relabelled import (
    Relabelled as Relabelled,
)
from infosem_jax.grn.shrinkage import (
    GeneScales as GeneScales,
)
from infosem_jax.grn.shrinkage import (
    RegularisedHorseshoe as RegularisedHorseshoe,
)
from infosem_jax.grn.shrinkage import (
    RelaxedGate as RelaxedGate,
)
from infosem_jax.grn.signed import (
    OtherNetwork as OtherNetwork,
)
from infosem_jax.grn.signed import (
    SignedEdges as SignedEdges,
)
from infosem_jax.grn.similarity import (
    GeneSimilarity as GeneSimilarity,
)
from infosem_jax.grn.smooth import (
    GraphSmooth as GraphSmooth,
)


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
        weights = dist.Categorical(probs=jnp.array([1 - self.probability, self.probability]))
        scales = jnp.array([positive(self, "spike"), positive(self, "slab")])
        return fixed(dist.MixtureSameFamily(weights, dist.Normal(0.0, scales)), context)


@dataclass(frozen=True)
class GeneEmbedding(Arithmetic):
    """InfoSEM-B: the mean of each effect comes from the embeddings of its two genes.

    ``effect[i, j] ~ Normal(m(h_i, h_j), scale)`` with
    ``m = scale * reach * tanh(a(h_i) . b(h_j) / (reach * sqrt(rank)))``, a and b two small networks
    (features - hidden - rank, tanh) for the regulator and the target role, learned with the fit.
    The bound keeps m within ``reach`` standard deviations of zero: without it m grows to undo the
    gates of an edge prior beside it. Pairs with a gene that has no
    embedding get mean 0. That the paper puts embeddings on the effects is known; the form of m, its
    sizes and the scale are choices made here, and settings.

    Parameters
    ----------
    embedding
        Vectors with gene names, see `infosem_jax.data.read_embedding`.
    scale
        Standard deviation of an effect around m.
    hidden, rank
        Widths of the two networks.
    reach
        Largest mean, in standard deviations.
    ignore_case, orthologues
        How gene names are matched to the embedding, see `infosem_jax.data.align_embedding`.
    """

    embedding: Embedding = field(compare=False, repr=False)
    scale: float = 0.01
    hidden: int = 64
    rank: int = 32
    reach: float = 3.0
    ignore_case: bool = False
    orthologues: Orthologues | None = field(default=None, compare=False, repr=False)

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the embedding to the genes and bring its features to unit variance."""
        H, known = unit_vectors_of(self, context.genes)
        at = {gene: i for i, gene in enumerate(context.genes)}
        return BoundPrior(
            Partial(
                _embedding_distribution(self.hidden, self.rank),
                jnp.asarray(H, jnp.float32),
                jnp.asarray(known),
                jnp.array([at[row] for row in context.rows]),
                jnp.float32(positive(self, "scale")),
                jnp.float32(positive(self, "reach")),
            )
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count genes and rows with an embedding."""
        return embedding_coverage(self, context)


@dataclass(frozen=True)
class KnownEdges(Arithmetic):
    """InfoSEM-C: labelled pairs shift the log-odds that an edge exists.

    As a prior, ``logit ~ Normal(mu(label), scale)``, ``sigmoid(mu)`` = present, absent or unknown.
    As an observation (``observe=True``), ``logit ~ Normal(mu(unknown), scale)`` and each label is a
    Bernoulli draw of its gate. That labels inform the logits is known from the paper; the means and
    the scale are choices made here, and settings.

    Parameters
    ----------
    table
        Columns source, target and, where absences are known too, label (1 or 0).
    present, absent
        Probability of an edge labelled present or absent.
    unknown
        Probability of an unlabelled one; None takes the share of present labels among the labelled
        pairs, or among all pairs where the table holds only present ones.
    scale
        Standard deviation of the log-odds.
    observe
        Whether labels are observations of the gate instead of prior means.
    """

    table: pd.DataFrame = field(compare=False, repr=False)
    present: float = 0.95
    absent: float = 0.05
    unknown: float | None = None
    scale: float = 1.0
    observe: bool = False

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the labels to the pairs of genes."""
        if context.site != "logit":
            raise ValueError(
                "KnownEdges says whether an edge exists: use it as the edge prior, not on effects."
            )
        for name in ("present", "absent", "unknown"):
            p = getattr(self, name)
            if p is not None and not 0 < p < 1:
                raise ValueError(f"KnownEdges: expected 0 < {name} < 1, found {p}.")
        present, absent = pair_labels(self.table, context)
        unknown = log_odds(np.float64(self._unknown(present, absent)))
        scale = positive(self, "scale")
        if self.observe:
            prior = dist.Normal(jnp.full(context.shape, unknown, jnp.float32), scale)
            observe = Partial(_observe_gate, jnp.asarray(present), jnp.asarray(present | absent))
            return fixed(prior, context)._replace(observe=observe)
        loc = np.select([present, absent], [log_odds(self.present), log_odds(self.absent)], unknown)
        return fixed(dist.Normal(jnp.asarray(loc, jnp.float32), scale), context)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count labelled pairs."""
        present, absent = pair_labels(self.table, context)
        rows = (present | absent).any(1).sum()
        return {
            "pairs labelled present": int(present.sum()),
            "pairs labelled absent": int(absent.sum()),
            "pairs in all": int(np.prod(context.shape)),
            "regulators with a label": f"{rows} of {len(context.rows)}",
            "probability of an unlabelled pair": round(self._unknown(present, absent), 4),
        }

    def _unknown(self, present: np.ndarray, absent: np.ndarray) -> float:
        if self.unknown is not None:
            return self.unknown
        n = (present | absent).sum() if absent.any() else present.size
        return float(np.clip(present.sum() / n, 0.01, 0.99))


@dataclass(frozen=True)
class GraphPrior(Arithmetic):
    """Edges of a knowledge graph or of another network may be strong, all others are small.

    On the effect, ``Normal(0, scale)`` where the graph has an edge and
    ``Normal(0, scale * elsewhere)`` where it has none; with a column ``sign`` the mean moves to
    ``sign * scale``. On the logit, ``Normal(mu, 1)`` with ``sigmoid(mu) = probability`` on edges
    and the share of edges among all pairs elsewhere. A column ``weight``, divided by its largest
    size, interpolates between the two.

    Parameters
    ----------
    graph
        Columns source, target and optionally weight, sign.
    scale
        Standard deviation of the effect of an edge in the graph.
    elsewhere
        How much smaller other effects are.
    probability
        Probability of an edge in the graph, for the logit.
    directed
        Whether source acts on target only; False uses both directions.
    """

    graph: pd.DataFrame = field(compare=False, repr=False)
    scale: float = 0.03
    elsewhere: float = 0.2
    probability: float = 0.8
    directed: bool = True

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the graph to the pairs of genes."""
        if positive(self, "elsewhere") > 1:
            raise ValueError(f"GraphPrior: expected elsewhere <= 1, found {self.elsewhere}.")
        if not 0 < self.probability < 1:
            raise ValueError(f"GraphPrior: expected 0 < probability < 1, found {self.probability}.")
        strength, sign = self._strength(context), self._matrix(context, "sign")
        if context.site == "logit":
            share = np.clip((strength > 0).mean(), 0.01, 0.99)
            p = share + np.maximum(self.probability - share, 0) * strength
            return fixed(dist.Normal(jnp.asarray(log_odds(p), jnp.float32), 1.0), context)
        sd = positive(self, "scale") * (self.elsewhere + (1 - self.elsewhere) * strength)
        mean = self.scale * strength * np.nan_to_num(sign)
        return fixed(
            dist.Normal(jnp.asarray(mean, jnp.float32), jnp.asarray(sd, jnp.float32)), context
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count edges of the graph between the genes."""
        strength = self._strength(context)
        return {
            "edges of the graph between the genes": int((strength > 0).sum()),
            "pairs in all": strength.size,
            "regulators with an edge": f"{(strength > 0).any(1).sum()} of {len(context.rows)}",
        }

    def _strength(self, context: GeneContext) -> np.ndarray:
        strength = np.abs(np.nan_to_num(self._matrix(context, "weight")))
        largest = strength.max()
        return strength / largest if largest > 0 else strength

    def _matrix(self, context: GeneContext, column: str) -> np.ndarray:
        if column == "sign" and "sign" not in self.graph:
            return np.zeros(context.shape)
        value = column if column in self.graph else None
        out = pair_matrix(self.graph, context, value, "graph", allow_none=not self.directed)
        if self.directed:
            return out
        back = self.graph.rename(columns={"source": "target", "target": "source"})
        reverse = pair_matrix(back, context, value, "graph", allow_none=True)
        if np.isnan(out).all() and np.isnan(reverse).all():
            pair_matrix(self.graph, context, value, "graph")
        return np.where(np.isnan(out), reverse, out)


class _RoleNetwork(nn.Module):
    hidden: int
    rank: int

    @nn.compact
    def __call__(self, h: Float[Array, "genes features"]) -> Float[Array, "genes rank"]:
        return nn.Dense(self.rank)(nn.tanh(nn.Dense(self.hidden)(h)))


@functools.cache
def _embedding_distribution(hidden: int, rank: int) -> Callable:
    """One function per size, so that equal settings are one compilation."""

    def distribution(
        H: Float[Array, "genes features"],
        known: Bool[Array, " genes"],
        rows: Array,
        scale: Array,
        reach: Array,
    ) -> dist.Distribution:
        network = _RoleNetwork(hidden, rank)
        regulator = flax_module("regulator_role", network, input_shape=H.shape)(H[rows])
        target = flax_module("target_role", network, input_shape=H.shape)(H)
        mean = scale * reach * jnp.tanh((regulator @ target.T) / (reach * rank**0.5))
        mean = jnp.where(known[rows][:, None] & known, mean, 0.0)
        return dist.Normal(mean, scale).to_event(2)

    return distribution


def _observe_gate(present: Array, labelled: Array, logit: Array) -> None:
    gate = dist.Bernoulli(logits=logit).mask(labelled).to_event(2)
    numpyro.sample("known_edges", gate, obs=present.astype(logit.dtype))
