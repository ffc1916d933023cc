"""Vectors of genes made from their expression, and several embeddings joined to one."""

import numpy as np
from jaxtyping import Float

from infosem_jax._typing import Names
from infosem_jax.data._embeddings import Embedding, align_embedding, embedding
from infosem_jax.data.dataset import Dataset


def expression_embedding(data: Dataset, *, components: int = 32) -> Embedding:
    """Describe each gene by how it varies with the others, and by how much there is of it.

    Its loadings on the first principal components of z-scored expression over cells (scaled to the
    standard deviation of the component), then its mean, standard deviation and the share of cells
    that express it, each brought to mean 0 and variance 1 over genes. The sign of a component is
    such that the largest loading is positive.

    Parameters
    ----------
    data
        Expression, not normalised: z-scores have no mean left to tell.
    components
        Number of principal components, at most one fewer than cells.

    Raises
    ------
    ValueError
        On normalised data, and on fewer than one component or more than there are.
    """
    from scipy.sparse.linalg import svds

    if data.normalisation != "none":
        raise ValueError(
            f"{data.name}: expected expression as read, found it normalised ({data.normalisation})."
        )
    most = min(data.x.shape) - 1
    if not 1 <= components <= most:
        raise ValueError(
            f"{data.name}: expected 1 to {most} components, found {components}; there is one fewer "
            "than cells and genes."
        )
    x = data.x.astype(np.float64)
    z = _standardised(x) / np.sqrt(len(x))
    _, size, directions = svds(z, k=components, v0=np.ones(min(z.shape)))
    loadings = (directions * size[:, None])[::-1].T
    loadings *= np.sign(loadings[np.abs(loadings).argmax(0), np.arange(components)])
    summary = np.stack([x.mean(0), x.std(0), data.observed.mean(0)], 1)
    size = np.sqrt((loadings**2).mean())
    return embedding(data.genes, np.concatenate([loadings / size, _standardised(summary)], 1))


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


def _standardised(x: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    spread = x.std(0)
    return (x - x.mean(0)) / np.where(spread > 0, spread, 1)
