"""The response of similar training perturbations, which the network adds to.

The weight of a pair sums its similarities (edges of each source, neighbours in common, texts, genes
in common), as of the neighbours of `baselines`. Weights that were learned gained nothing on
perturbations that were held out. A perturbation is no neighbour of itself.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int
from scipy import sparse

from infosem_jax.perturbation.counting import SHARES, count, posterior
from infosem_jax.perturbation.data import Responses, take


def neighbour_outputs(
    weight: Float32[np.ndarray, "n train"],
    train: Responses,
    rows: Int[np.ndarray, " rows"],
    mean: Float32[np.ndarray, "2 1 genes"],
    scale: float,
    similarity: sparse.csr_array | None,
) -> Float64[np.ndarray, "2 n genes"] | Float32[np.ndarray, "2 n genes"]:
    """Return the weighted response of training perturbations, in the form of the network's outputs.

    Of values the mean change by weight, the mean response as one more, and the usual deviations; of
    signs the log-odds of weighted counts, see `counting.posterior`.

    Parameters
    ----------
    weight
        Similarity of perturbations to those of ``train``.
    train, rows
        Responses, and which of them may be used.
    mean
        The mean response, see `prepare.mean_outputs`.
    scale
        What changes are divided by.
    similarity
        Similarity of genes, see `counting.gene_similarity`; None counts each gene alone.
    """
    used, weight = take(train, rows), weight[:, rows]
    if used.delta is not None:
        change = (weight @ used.delta / scale + mean[0]) / (weight.sum(1, keepdims=True) + 1)
        return np.stack([change, np.broadcast_to(mean[1], change.shape)])
    rate = 1 / (1 + np.exp(-mean))
    shares = ((0.0, 0.0), (0.0, 0.0)) if similarity is None else SHARES
    parts = zip(count(used, similarity), rate, shares, strict=True)
    p = np.stack([np.clip(posterior(weight, *part), 1e-4, 1 - 1e-4) for part in parts])
    return np.log(p) - np.log1p(-p)
