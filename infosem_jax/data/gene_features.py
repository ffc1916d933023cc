"""Several embeddings of genes joined to one."""

import numpy as np
from jaxtyping import Float

from infosem_jax._typing import Names
from infosem_jax.data._embeddings import Embedding, align_embedding, embedding


def join_embeddings(genes: Names, *embeddings: Embedding, ignore_case: bool = False) -> Embedding:
    """Put the features of several embeddings side by side, each centred and of unit mean square.

    Parameters
    ----------
    genes
        Genes to keep; an embedding that lacks one contributes zeros, its average.
    embeddings
        What to join.
    ignore_case
        Also match names that differ in case only.

    Raises
    ------
    ValueError
        If an embedding knows none of the genes.
    """

    def scaled(part: Embedding) -> Float[np.ndarray, "genes features"]:
        vectors, known = align_embedding(part, genes, ignore_case=ignore_case)
        centred = np.where(known[:, None], vectors - vectors[known].mean(0), 0)
        return centred / (np.sqrt((centred[known] ** 2).mean()) or 1.0)

    return embedding(genes, np.concatenate([scaled(part) for part in embeddings], 1))
