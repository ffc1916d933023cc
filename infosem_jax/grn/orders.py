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
from jaxtyping import Float, Int
from scipy.linalg import cholesky, solve_triangular

from infosem_jax.grn.exact.config import Config
from infosem_jax.grn.exact.hyper import likeliest_share, scale_of
from infosem_jax.grn.exact.posterior import count_as, project, spectrum, spectrum_of_cells
from infosem_jax.grn.exact.statistics import moments


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
    before, order = np.full(genes, regulators), np.arange(regulators)
    for draw in range(draws):
        order = order[::-1] if draw % 2 else rng.permutation(regulators)
        own = rows[order]
        before[own] = np.arange(regulators)
        seen = np.arange(regulators)[:, None] < before
        L = cholesky(A[np.ix_(order, order)], lower=True)
        F = np.where(seen, solve_triangular(L, B[order], lower=True), 0.0)
        left = weight * sums.GG + precision * (seen * mean[order] ** 2).sum(0) - (F**2).sum(0)
        shape, rate = (config.noise + cells) / 2, (config.noise + np.maximum(left, 0)) / 2
        sd = np.sqrt(rate / rng.gamma(shape, size=genes))
        F += np.where(seen, sd * rng.normal(size=F.shape), 0.0)
        first = np.zeros((regulators, len(held)))
        first[np.argsort(order)[held], np.arange(len(held))] = 1
        paths = solve_triangular(L.T - F[:, own], first, trans=1).T
        response = paths @ F
        response[:, own] = paths @ L.T
        yield response
