"""Effects whose mean comes from embeddings of the two genes: InfoSEM-B."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float
from numpyro.contrib.module import flax_module

from infosem_jax._typing import Orthologues
from infosem_jax.data.io import Embedding
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, fixed, positive
from infosem_jax.grn.priors.embedded import embedding_coverage, unit_vectors_of


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

    The exact engine takes linear roles, ``a(h) . b(h') = h' A h'`` of the first ``rank`` principal
    components, for which A has a posterior in closed form (``infosem_jax.grn.exact.roles``).

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
        scale = positive(self, "scale")
        if context.learned is not None:
            mean = jnp.asarray(scale * context.learned.roles(H, self.rank), jnp.float32)
            return fixed(dist.Normal(mean, scale), context)
        at = {gene: i for i, gene in enumerate(context.genes)}
        return BoundPrior(
            Partial(
                _embedding_distribution(self.hidden, self.rank),
                jnp.asarray(H, jnp.float32),
                jnp.asarray(known),
                jnp.array([at[row] for row in context.rows]),
                jnp.float32(scale),
                jnp.float32(positive(self, "reach")),
            )
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count genes and rows with an embedding."""
        return embedding_coverage(self, context)


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
        mean = jnp.where(known[rows][:, None] & known[None], mean, 0.0)
        return dist.Normal(mean, scale).to_event(2)

    return distribution
