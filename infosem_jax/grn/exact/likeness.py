"""Vectors of genes from their expression, which labels of some genes carry over to others by."""

import numpy as np
from jaxtyping import Float

from infosem_jax.data.dataset import Dataset
from infosem_jax.data.stream import Stream
from infosem_jax.grn.exact.decomposition import NOTHING, Spectrum

COMPONENTS = 32


def levels_of(data: Dataset | Stream) -> Float[np.ndarray, "genes 3"] | None:
    """Return mean, standard deviation and share of cells with expression of each gene.

    Parameters
    ----------
    data
        Expression as read; streams and normalised data have no levels.
    """
    if isinstance(data, Stream) or data.normalisation != "none":
        return None
    x = data.x
    return np.stack([x.mean(0), x.std(0), data.observed.mean(0)], 1).astype(np.float64)


def vectors_of(
    basis: Spectrum, levels: Float[np.ndarray, "genes 3"] | None
) -> Float[np.ndarray, "genes features"]:
    """Describe each gene by its covariance with the main components of the rows, and its levels.

    Parameters
    ----------
    basis
        Moments of the cells.
    levels
        See `levels_of`; None leaves them out.
    """
    size = np.asarray(basis.values, np.float64)
    main = np.argsort(size)[::-1][:COMPONENTS]
    main = main[size[main] > NOTHING * size.max()]
    loadings = (np.asarray(basis.cross, np.float64)[main] / np.sqrt(size[main])[:, None]).T
    loadings /= np.sqrt((loadings**2).mean()) or 1.0
    if levels is None:
        return loadings
    spread = levels.std(0)
    scaled = (levels - levels.mean(0)) / np.where(spread > 0, spread, 1)
    return np.concatenate([loadings, scaled], 1)
