"""Total effects in a linear network whose order is not known: `responses`.

A regression tells how a gene goes with others, not which of them acts. Given an order of the R
regulators, with every other gene after them, gene j is regressed on the regulators P before it,

    x_j | w, s_j  ~  Normal(X_P w_j, s_j^2),   w_j | s_j ~ Normal(m_j, t^2 s_j^2)

and no other is needed (what comes later tells what a gene did, not what is done to it). Nothing in
linear Gaussian expression tells complete orders apart, so all are as likely, and draws of effects
are of an order each. Their spread holds what cells leave open of effects and of directions, if
there is no feed-back and no common cause that is not measured.

With ``A = X_R'X_R + 1 / t^2 = L L'`` in an order, every regression of the order is in one factor,

    w_j  =  L_PP^-T f_j,    f_j = (L^-1 (X_R'X + M / t^2))_Pj + s_j e,    e ~ Normal(0, 1)

and the rows of ``T = (I - W)^-1``, total effects over all paths, are ``U^-1 L'`` on regulators and
``U^-1 F`` on other genes, where ``U = L' - F_R`` is triangular.
"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.linalg import cholesky, solve_triangular

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import exact
from infosem_jax.grn.exact.config import Config
from infosem_jax.grn.exact.decomposition import count_as, spectrum, spectrum_of_cells
from infosem_jax.grn.exact.hyper import likeliest_share, scale_of
from infosem_jax.grn.exact.posterior import project
from infosem_jax.grn.exact.same_cells import warn_of_others
from infosem_jax.grn.exact.statistics import moments
from infosem_jax.grn.states import as_fitted


def draws_of(
    fitted: exact.Fit, data: Dataset, chosen: tuple[str, ...], *, draws: int, key: int
) -> Iterator[Float[np.ndarray, "chosen genes"]]:
    """Draw how the genes of a fit respond to some of its regulators, see `responses`.

    Parameters
    ----------
    fitted, data
        A fit and its cells.
    chosen
        The regulators.
    draws, key
        How many, and what seeds them.

    Raises
    ------
    ValueError
        If the data have other genes.
    """
    ready = as_fitted(fitted, data)
    warn_of_others(fitted.spreads, ready)
    genes, regulators = pd.Index(fitted.genes), pd.Index(fitted.regulators)
    x = ready.x[:, pd.Index(ready.genes).get_indexer(genes)]
    return responses(
        x - x.mean(0),
        genes.get_indexer(regulators),
        regulators.get_indexer(pd.Index(chosen)),
        fitted.prior_mean,
        fitted.config,
        cells=float(fitted.learned.get("cells", len(x) - ready.lost)),
        draws=draws,
        key=key,
    )


def responses(
    x: Float[np.ndarray, "cells genes"],
    rows: Int[np.ndarray, " regulators"],
    held: Int[np.ndarray, " held"],
    mean: Float[np.ndarray, "regulators genes"],
    config: Config,
    *,
    cells: float,
    draws: int,
    key: int,
) -> Iterator[Float[np.ndarray, "held genes"]]:
    """Draw the total effects of regulators on all genes; one on themselves.

    Orders come in pairs, each with its reverse, so that either of two genes is as often first.
    Draws do not depend on which regulators are asked for.

    Parameters
    ----------
    x
        Expression on the scale of a fit, centred.
    rows
        Columns of the regulators.
    held
        Which of them are asked for.
    mean
        Prior means of effects.
    config
        Settings; of them ``r2`` and ``noise``. The scale t is that of the highest evidence, given
        regulators alone.
    cells
        Number of independent cells that all are worth.
    draws, key
        How many, and what seeds them.
    """
    rng = np.random.default_rng(key)
    regulators, genes = len(rows), x.shape[1]
    mean = np.where(rows[:, None] == np.arange(genes), 0.0, mean)
    sums = moments(x, rows)
    few = len(x) < regulators
    basis = count_as(spectrum_of_cells(x, rows) if few else spectrum(sums, rows), cells)
    share = config.r2
    if share is None:
        prior = project(basis, jnp.asarray(mean, jnp.float32)) if mean.any() else None
        share = likeliest_share(basis, prior, config.noise)
    precision, weight = 1 / float(scale_of(share, regulators)) ** 2, cells / sums.cells
    A = weight * sums.RR + precision * np.eye(regulators)
    B = weight * sums.RG + precision * mean
    among, single = B[:, rows], B.astype(np.float32)
    # A gene that acts on nothing is after all regulators, in whatever order these are.
    fitted = solve_triangular(cholesky(A, lower=True), B, lower=True)
    left = weight * sums.GG + precision * (mean**2).sum(0) - (fitted**2).sum(0)
    before, order = np.triu(np.ones((regulators, regulators), bool), 1), np.arange(regulators)
    shape = (config.noise + cells) / 2
    for draw in range(draws):
        order = order[::-1] if draw % 2 else rng.permutation(regulators)
        own, square = rows[order], np.ix_(order, order)
        L = cholesky(A[square], lower=True)
        within = np.where(before, solve_triangular(L, among[square], lower=True), 0.0)
        size = (np.where(before, mean[order][:, own], 0.0) ** 2).sum(0)
        left[own] = weight * sums.GG[own] + precision * size - (within**2).sum(0)
        rate = (config.noise + np.maximum(left, 0)) / 2
        sd, noise = np.sqrt(rate / rng.gamma(shape, size=genes)), rng.normal(size=B.shape)
        within += np.where(before, sd[own] * noise[:, own], 0.0)
        place = np.argsort(order)
        first = np.zeros((regulators, len(held)))
        first[place[held], np.arange(len(held))] = 1
        paths = solve_triangular(L.T - within, first, trans=1).T
        # U^-1 F of all genes, in single precision as nothing else is solved from it.
        noise *= sd
        along = solve_triangular(L, paths.T, lower=True, trans=1).T[:, place]
        response = along.astype(np.float32) @ single
        response += paths.astype(np.float32) @ noise.astype(np.float32)
        response[:, own] = paths @ L.T
        yield response
