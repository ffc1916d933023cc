"""A prior on effects that expects genes with like texts to act on each other."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from infosem_jax.data.text_vectors import text_vectors
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext
from infosem_jax.grn.priors.similarity import GeneSimilarity


@dataclass(frozen=True)
class GeneTexts(Arithmetic):
    """`GeneSimilarity` of a table of texts about genes.

    They are made to vectors for the genes of the data, see `infosem_jax.data.text_vectors`.

    Parameters
    ----------
    table
        Columns ``symbol`` and ``text``, as `infosem_jax.data.read_gene_text` returns them.
    encoder
        What makes texts to vectors, see `infosem_jax.data.text_vectors`.
    slope, scale
        As in `GeneSimilarity`.
    """

    table: pd.DataFrame
    encoder: str = "auto"
    slope: float = 0.05
    scale: float = 0.05

    def bind(self, context: GeneContext) -> BoundPrior:
        """Compare the texts of every pair."""
        return self._similarity(context).bind(context)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count genes and rows with a text."""
        return self._similarity(context).coverage(context)

    def _similarity(self, context: GeneContext) -> GeneSimilarity:
        vectors = text_vectors(context.genes, self.table, encoder=self.encoder)
        return GeneSimilarity(vectors, self.slope, self.scale)
