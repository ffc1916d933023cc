"""Cells that a network has not seen: how well it predicts every gene from the others, how surely.

Each fold of cells is left out in turn, and hyper-parameters, effects and noise come from the other
cells. A gene of a new cell, whose genes that act are z, is then Student-t,

    x_j | z, cells  ~  t(noise + cells; z' w_j, s_j^2 (1 + z' P_j z))

with ``s_j^2 P_j`` the posterior covariance of its effects, itself left out, so that intervals
hold the noise of the gene as well as what is not known of its effects. Folds of cells drawn at
random have near copies of the cells left out among the others; folds that are states of cells do
not, and tell what carries over.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cholesky, solve_triangular

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn.exact.decomposition import (
    Spectrum,
    count_as,
    padded,
    spectrum,
    spectrum_of_cells,
)
from infosem_jax.grn.exact.fitting import FEW, Fit, Task, solve_for, task
from infosem_jax.grn.exact.statistics import Moments, add
from infosem_jax.grn.priors import Prior
from infosem_jax.grn.states import as_fitted

LEVELS = np.arange(1, 10) / 10
FOLDS = 5
COMPONENTS = 20


class HeldOut(NamedTuple):
    """How cells were predicted by fits that had not seen them.

    Attributes
    ----------
    density
        Log density of each cell given each of its genes' others, in nats per value, [cells].
    coverage
        Share of the values within their central intervals at the `LEVELS`, [levels].
    explained
        Share of the variance of all genes that predictions explain.
    """

    density: Float[np.ndarray, " cells"]
    coverage: Float[np.ndarray, " levels"]
    explained: float


def random_folds(
    cells: Sequence[str], key: int, *, folds: int = FOLDS
) -> Int[np.ndarray, " cells"]:
    """Deal cells to folds, at random by their names.

    Parameters
    ----------
    cells
        Names.
    key
        Seed.
    folds
        How many.
    """
    order = np.argsort(np.asarray(cells))[np.random.default_rng(key).permutation(len(cells))]
    found = np.empty(len(cells), int)
    found[order] = np.arange(len(cells)) % folds
    return found


def state_folds(
    x: Float[np.ndarray, "cells genes"], *, folds: int = FOLDS
) -> Int[np.ndarray, " cells"]:
    """Put cells that are alike into one fold: k-means of their first principal components.

    Parameters
    ----------
    x
        Normalised expression.
    folds
        How many.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    components = min(COMPONENTS, *x.shape)
    scores = PCA(components, svd_solver="randomized", random_state=0).fit_transform(x)
    return KMeans(folds, random_state=0).fit_predict(scores)


def without_folds(
    x: Float[np.ndarray, "cells genes"],
    rows: Int[np.ndarray, " rows"],
    folds: Int[np.ndarray, " cells"],
) -> dict[int, Spectrum]:
    """Decompose the cells without each fold, by its number: sums of all, less its own.

    Parameters
    ----------
    x
        Normalised expression.
    rows
        Which genes act.
    folds
        Which fold each cell is in.

    Raises
    ------
    ValueError
        If a fold holds all cells.
    """
    numbers = [int(fold) for fold in np.unique(folds)]
    if len(numbers) < 2:
        raise ValueError("Expected at least two folds of cells, found one.")
    if len(rows) > FEW:
        z = x[:, rows].astype(np.float64)
        gram, kept = z @ z.T, {fold: np.flatnonzero(folds != fold) for fold in numbers}
        most = max(map(len, kept.values()))
        return {
            fold: padded(spectrum_of_cells(x[at], rows, gram[np.ix_(at, at)]), most)
            for fold, at in kept.items()
        }
    sums = {fold: _sums(x[folds == fold].astype(np.float64), rows) for fold in numbers}
    whole = add(sums.values())
    return {
        fold: spectrum(jax.tree.map(np.subtract, whole, own), rows) for fold, own in sums.items()
    }


def held_out(
    fitted: Fit,
    data: Dataset,
    effect: Prior | None,
    folds: Int[np.ndarray, " cells"],
    *,
    key: int = 0,
    others: dict[int, Spectrum] | None = None,
) -> HeldOut:
    """Predict each fold of cells from a fit to the others.

    Expression is brought to scale with all cells; rows and settings are those of the fit.

    Parameters
    ----------
    fitted, data, effect
        A fit, the data that it was made of, and the prior of its effects. (A prior of edges has no
        part in the density of expression.)
    folds
        Which fold each cell is in.
    key
        As in `fit`.
    others
        What `without_folds` found for the same cells, where several priors share it.

    Raises
    ------
    ValueError
        If the data are not those of the fit, or a fold holds all cells.
    """
    from scipy.stats import t as student

    given = task(as_fitted(fitted, data), effect, None, replace(fitted.config, hyper="map"))
    cells: Any = given.data  # as `as_fitted` returns them
    x, rows = cells.x, given.rows
    others = without_folds(x, rows, folds) if others is None else others
    density, residual, total = np.empty(len(folds)), 0.0, 0.0
    within = np.zeros(len(LEVELS))
    for fold, basis in others.items():
        out = folds == fold
        basis = count_as(basis, float(basis.cells) - cells.lost)
        freedom, location, spread = _student(given, basis, x[~out], x[out], key)
        off = x[out] - location
        density[out] = (student.logpdf(off / spread, freedom) - np.log(spread)).mean(1)
        bounds = student.ppf((1 + LEVELS) / 2, freedom)
        within += [(np.abs(off) <= bound * spread).sum() for bound in bounds]
        residual, total = residual + (off**2).sum(), total + (x[out] ** 2).sum()
    return HeldOut(density, within / x.size, float(1 - residual / total))


def _sums(x: np.ndarray, rows: np.ndarray) -> Moments:
    RG = x[:, rows].T @ x
    return Moments(RG[:, rows], RG, x.sum(0), (x**2).sum(0), (x**3).sum(0), float(len(x)))


def _student(
    given: Task, basis: Spectrum, x: np.ndarray, new: np.ndarray, key: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Degrees of freedom, location and scale of every gene of new cells."""
    config, data = given.config, given.data
    if isinstance(config.cells, float | int):
        config = replace(config, cells=min(config.cells, float(basis.cells)))
    given = given._replace(config=config, data=data._replace(x=x))  # pyright: ignore
    # What effects predict is a product with few cells, for which one row of them is enough.
    solved = solve_for(given, basis, np.arange(1), key)
    counted = float(solved.learned.get("cells", basis.cells))
    mean = None if solved.mean is None else np.asarray(solved.mean)
    z = new[:, given.rows].astype(np.float64)
    told = predicted(basis._replace(cells=counted), np.asarray(solved.scale), mean, z)
    spread = np.sqrt(np.asarray(solved.effects.noise) * (1 + np.maximum(told.variance, 0)))
    return config.noise + counted, told.location, spread


class Predicted(NamedTuple):
    """What effects predict of the genes of new cells.

    Attributes
    ----------
    location
        Posterior mean, [cells, genes].
    variance
        Posterior variance, in units of the noise, [cells, genes].
    """

    location: Float[np.ndarray, "cells genes"]
    variance: Float[np.ndarray, "cells genes"]


def predicted(
    basis: Spectrum,
    scale: Float[np.ndarray, "*pairs"],
    mean: Float[np.ndarray, "rows genes"] | None,
    z: Float[np.ndarray, "cells rows"],
) -> Predicted:
    """Predict every gene of new cells, without the effects of all pairs.

    Parameters
    ----------
    basis
        Moments of the cells that were seen.
    scale, mean
        Of the effects a priori, see `infosem_jax.grn.exact.solving.Solved`.
    z
        Expression of the genes that act, in the new cells.
    """
    n, own = float(basis.cells), np.asarray(basis.own)
    parts = (basis.vectors, basis.values, basis.cross)
    vectors, values, cross = (np.asarray(part, np.float64) for part in parts)
    location = 0.0
    if mean is not None:
        # In single precision as the matrix is, of which a copy in double would be twice as large.
        mean = np.where(basis.itself, np.float32(0), mean)
        location = z.astype(np.float32) @ mean
        cross = cross - values[:, None] * (np.asarray(basis.vectors).T @ mean)
    if scale.ndim == 0:
        # Where rows outnumber the vectors, the precision outside of these is the prior's alone.
        variance = float(scale) ** 2
        outside = variance * (len(values) < len(vectors))
        told = variance / (1 + variance * n * values)
        across = z @ vectors
        reach = across * (told - outside) @ vectors.T + outside * z
        acts = own >= 0
        pivot = np.where(acts, (vectors**2 @ (told - outside) + outside)[own], 1.0)
        column = np.where(acts, reach[:, own], 0.0)
        shrunk = n * told[:, None] * cross
        at_own = np.einsum("jk,kj->j", vectors[own], shrunk)
        location = location + across @ shrunk - column * (at_own / pivot)
        return Predicted(location, (reach * z).sum(1)[:, None] - column**2 / pivot)
    gram = n * (vectors * values) @ vectors.T
    change, spread = np.empty((2, len(z), len(own)))
    for j, t in enumerate(np.where(basis.itself, 0.0, scale).T):
        factor = cholesky(np.eye(len(t)) + t[:, None] * gram * t, lower=True)
        across = solve_triangular(factor, (z * t).T, lower=True)
        told = solve_triangular(factor, n * t * (vectors @ cross[:, j]), lower=True)
        change[:, j], spread[:, j] = told @ across, (across**2).sum(0)
    return Predicted(location + change, spread)
