"""How many independent cells all cells are worth: cells of one state err together."""

import numpy as np
from jaxtyping import Float, Int

from infosem_jax.grn.exact.decomposition import Spectrum
from infosem_jax.grn.exact.hyper import scale_of
from infosem_jax.grn.exact.posterior import posterior

STATES, COMPONENTS, TARGETS = 16, 10, 200
# Share of variance that effects explain a priori; the ratio depends little on it.
R2 = 0.5


def effective_cells(
    x: Float[np.ndarray, "cells genes"], rows: Int[np.ndarray, " rows"], basis: Spectrum
) -> float:
    """Estimate how many independent cells the cells are worth for the effects of regulators.

    With residuals e of the regressions, the effects vary by ``P Z' e`` with P the posterior
    covariance in units of the noise. If cells are independent, its variance is ``P Z'Z P s^2``; if
    those of one state err together, it is the sum of squares of each state's share of it (the
    variance of Liang and Zeger, robust to clusters). The number of cells is reduced by the ratio of
    the two, summed over effects. States are clusters of cells in the first principal components of
    every other gene; the rest are the targets, as cells that were put together by a target err
    together in it.

    Parameters
    ----------
    x
        Normalised expression, [cells, genes].
    rows
        Which genes act.
    basis
        Moments of the same cells.

    Returns
    -------
    A number of at most that of the cells.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    n, genes = float(basis.cells), x.shape[1]
    markers, targets = np.arange(0, genes, 2), np.arange(1, genes, 2)
    components = PCA(min(COMPONENTS, len(x), len(markers)), random_state=0).fit_transform(
        x[:, markers]
    )
    state = KMeans(min(STATES, len(x)), n_init="auto", random_state=0).fit_predict(components)
    targets = targets[np.unique(np.linspace(0, len(targets) - 1, TARGETS).astype(int))]
    z, vectors, values, own = (
        np.asarray(part, np.float64)
        for part in (x[:, rows], basis.vectors, basis.values, basis.own)
    )
    scale = float(scale_of(R2, len(rows)))
    inverse = scale**2 / (1 + scale**2 * n * values)
    # P, and P Z'Z P; a target that acts itself is taken out of both by its own row.
    P = scale**2 * np.eye(len(rows)) + (vectors * (inverse - scale**2)) @ vectors.T
    sampling = (vectors * (inverse**2 * n * values)) @ vectors.T
    residual = x[:, targets] - z @ np.asarray(posterior(basis, scale).mean)[:, targets]
    at = own[targets].astype(int)
    column = P[:, at] * (at >= 0)
    pivot = np.where(at >= 0, P[at, at], 1.0)
    taken = column / pivot
    expected = np.diag(sampling)[:, None] - taken * (
        2 * sampling[:, at] - taken * np.where(at >= 0, sampling[at, at], 0.0)
    )
    expected = expected * (residual**2).mean(0)
    found = np.zeros_like(expected)
    for each in range(state.max() + 1):
        share = P @ (z[state == each].T @ residual[state == each])
        found += (share - taken * np.where(at >= 0, share[at, np.arange(len(at))], 0.0)) ** 2
    acts = np.arange(len(rows))[:, None] != at
    return n * min(1.0, float(expected[acts].sum() / found[acts].sum()))
