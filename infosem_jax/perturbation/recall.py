"""Recalling responses of training perturbations, weighed by how near these are in graph and text.

The weight of a pair is the sum of all respects in which it is near (edges of each source,
neighbours in common, likeness of texts, genes in common), as of the neighbours of `baselines`.
Weights that were learned gained nothing on perturbations that were held out. A perturbation never
recalls itself.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int
from scipy import sparse

from infosem_jax.perturbation.counting import SHARES, count, posterior
from infosem_jax.perturbation.data import Responses, take


def recalled(
    weight: Float32[np.ndarray, "n train"],
    train: Responses,
    rows: Int[np.ndarray, " rows"],
    base: Float32[np.ndarray, "2 1 genes"],
    scale: float,
    near: sparse.csr_array | None,
) -> Float64[np.ndarray, "2 n genes"] | Float32[np.ndarray, "2 n genes"]:
    """Return what perturbations near to each did, in the form of the network's two outputs.

    Of values the mean change by weight, the mean response as one more, and the base's deviations;
    of signs the log-odds of weighted counts, see `counting.posterior`.

    Parameters
    ----------
    weight
        How near perturbations are to those of ``train``.
    train, rows
        Responses, and which of them may be recalled.
    base
        The mean response, see `prepare.base_of`.
    scale
        What values are divided by.
    near
        How near genes are to each other; None counts no near genes.
    """
    seen, weight = take(train, rows), weight[:, rows]
    if seen.delta is not None:
        change = (weight @ seen.delta / scale + base[0]) / (weight.sum(1, keepdims=True) + 1)
        return np.stack([change, np.broadcast_to(base[1], change.shape)])
    rate = 1 / (1 + np.exp(-base))
    parts = zip(count(seen, near), rate, SHARES, strict=True)
    p = np.stack([np.clip(posterior(weight, *part), 1e-4, 1 - 1e-4) for part in parts])
    return np.log(p) - np.log1p(-p)
