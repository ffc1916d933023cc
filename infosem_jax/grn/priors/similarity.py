"""A prior on effects that expects genes with like embeddings to act on each other."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from infosem_jax._typing import Orthologues
from infosem_jax.data.io import Embedding
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, fixed, positive
from infosem_jax.grn.priors.embedded import embedding_coverage, vectors_of

# Similarities beyond these many standard deviations say no more.
LEAST, MOST = -3.0, 6.0


@dataclass(frozen=True)
class GeneSimilarity(Arithmetic):
    """InfoSEM-B with similarity in place of learned roles: like genes act on each other.

    ``effect[i, j] ~ Normal(slope * c_ij, scale)`` with c the cosine of the angle between the genes'
    centred vectors, brought to mean 0 and variance 1 over pairs and clipped to [-3, 6]. Pairs with
    a gene that has no embedding get mean 0. Nothing is learned, so that vectors permuted among
    genes (`shuffled`) say nothing, where the networks of `GeneEmbedding` also learn from those
    which genes are alike. The form is a choice made here; the numbers were chosen on the
    transcription factors of BEELINE's mHSC-E, which no benchmark here reports.

    Parameters
    ----------
    embedding
        Vectors with gene names, see `infosem_jax.data.read_embedding`.
    slope
        Mean effect per standard deviation of similarity.
    scale
        Standard deviation of an effect around its mean.
    ignore_case, orthologues
        How gene names are matched to the embedding, see `infosem_jax.data.align_embedding`.
    """

    embedding: Embedding = field(compare=False, repr=False)
    slope: float = 0.05
    scale: float = 0.05
    ignore_case: bool = False
    orthologues: Orthologues | None = field(default=None, compare=False, repr=False)

    def bind(self, context: GeneContext) -> BoundPrior:
        """Compare the genes of every pair."""
        if not np.isfinite(self.slope):
            raise ValueError(f"GeneSimilarity: expected a finite slope, found {self.slope}.")
        mean = self.slope * self._similarity(context)
        return fixed(dist.Normal(jnp.asarray(mean, jnp.float32), positive(self, "scale")), context)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count genes and rows with an embedding."""
        return embedding_coverage(self, context)

    def _similarity(self, context: GeneContext) -> Float[np.ndarray, "rows genes"]:
        vectors, known = vectors_of(self, context.genes)
        centred = vectors.astype(np.float64)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
        at = {gene: i for i, gene in enumerate(context.genes)}
        rows = [at[row] for row in context.rows]
        cosine = unit[rows] @ unit.T
        pairs = known[rows][:, None] & known
        pairs[np.arange(len(rows)), rows] = False
        if not pairs.any():
            return np.zeros(context.shape)
        centre, spread = cosine[pairs].mean(), cosine[pairs].std() or 1.0
        return np.where(pairs, np.clip((cosine - centre) / spread, LEAST, MOST), 0.0)
