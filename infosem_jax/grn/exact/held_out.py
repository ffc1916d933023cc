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
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.stats import t as student
from jaxtyping import Array, Float, Int

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn.exact import hyper
from infosem_jax.grn.exact.fitting import Fit, fit
from infosem_jax.grn.exact.priors import kind, local_scales, normals
from infosem_jax.grn.priors import GeneContext, Prior, bind
from infosem_jax.grn.states import as_fitted

LEVELS = np.arange(1, 10) / 10
FOLDS = 5
COMPONENTS = 20
BLOCK = 16


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


def held_out(
    fitted: Fit,
    data: Dataset,
    effect: Prior | None,
    folds: Int[np.ndarray, " cells"],
    *,
    key: int = 0,
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

    Raises
    ------
    ValueError
        If the data are not those of the fit, or a fold holds all cells.
    """
    ready = as_fitted(fitted, data)._replace(regulators=fitted.rows)
    config = replace(fitted.config, hyper="map")
    rows = np.array([ready.genes.index(name) for name in fitted.rows])
    density, residual = np.empty(len(folds)), np.zeros(len(ready.genes))
    within, total = np.zeros(len(LEVELS)), np.zeros(len(ready.genes))
    for fold in np.unique(folds):
        out = folds == fold
        if out.all():
            raise ValueError(f"{data.name}: expected at least two folds of cells, found one.")
        others = _cells(ready, ~out)
        if not (config.cells is None or isinstance(config.cells, str)):
            config = replace(config, cells=min(config.cells, float(len(others.cells))))
        own = fit(others, effect, config=config, key=key)
        counted = own.learned.get("cells", len(others.cells) - others.lost)
        eta = float(counted) / len(others.cells)
        scale = _scales(own, effect)
        predicted = _student(
            jnp.asarray(others.x), jnp.asarray(ready.x[out]), jnp.asarray(rows),
            jnp.asarray(own.weight), jnp.asarray(own.prior_mean), scale, config.noise, eta,
        )  # fmt: skip
        density[out] = np.asarray(student.logpdf(ready.x[out], *predicted).mean(1))
        freedom, location, spread = map(np.asarray, predicted)
        off = ready.x[out] - location
        within += _within(np.abs(off) / spread, float(freedom))
        residual += (off**2).sum(0)
        total += (ready.x[out] ** 2).sum(0)
    explained = 1 - residual.sum() / total.sum()
    return HeldOut(density, within / ready.x.size, float(explained))


def _cells(data: Dataset, chosen: np.ndarray) -> Dataset:
    names = tuple(np.asarray(data.cells)[chosen].tolist())
    return data._replace(x=data.x[chosen], observed=data.observed[chosen], cells=names)


def _within(t: np.ndarray, freedom: float) -> np.ndarray:
    from scipy.stats import t as reference

    bounds = reference.ppf((1 + LEVELS) / 2, freedom)
    return np.array([(t <= bound).sum() for bound in bounds], float)


def _scales(fitted: Fit, effect: Prior | None) -> Array:
    """Return the scale of the effects that a fit has settled at: one, or one of each pair."""
    r2 = fitted.config.r2 or fitted.learned["r2"]
    scale = hyper.scale_of(jnp.asarray(r2), len(fitted.rows))
    if effect is None:
        return scale
    prior = bind(effect, GeneContext(fitted.genes, fitted.rows, 1)).distribution
    what = kind(prior)
    if what.mixture:
        size = jnp.sqrt(jnp.asarray(fitted.weight) ** 2 + jnp.asarray(fitted.sd) ** 2)
        return local_scales(prior, jnp.maximum(size, 1e-6))
    learned = {name: jnp.asarray(value) for name, value in fitted.learned.items()}
    told = hyper.at(learned, prior) if what.learns else normals(prior)
    if bool(jnp.allclose(told.scale, told.scale[0, 0], rtol=1e-5)):
        return scale
    return scale * told.scale / jnp.sqrt((told.scale**2).mean())


@jax.jit
def _student(x, new, rows, weight, before, scale, noise, eta) -> tuple[Array, Array, Array]:
    """Degrees of freedom, location and scale of every gene of new cells."""
    z, at = x[:, rows], new[:, rows]
    gram = eta * z.T @ z
    freedom = noise + eta * len(x)
    quadratic = eta * ((x - z @ before) * (x - z @ weight)).sum(0)
    variance = (noise + jnp.maximum(quadratic, 0)) / freedom
    own = jnp.full(x.shape[1], -1).at[rows].set(jnp.arange(len(rows)))
    if scale.ndim == 0:
        inverse = jnp.linalg.inv(gram + jnp.eye(len(rows)) / scale**2)
        reach = at @ inverse
        itself = jnp.where(own >= 0, reach[:, own] ** 2 / jnp.diagonal(inverse)[own], 0.0)
        known = (reach * at).sum(1)[:, None] - itself
    else:
        known = lax.map(partial(_spread, gram, at), (scale.T, own), batch_size=BLOCK).T
    return freedom, at @ weight, jnp.sqrt(variance * (1 + jnp.maximum(known, 0)))


def _spread(gram: Array, at: Array, target) -> Array:
    """Variance of what one target's effects predict for new cells, in units of its noise."""
    scale, own = target
    scale = jnp.where(jnp.arange(len(gram)) == own, 0.0, scale)
    factor = jnp.linalg.cholesky(jnp.eye(len(gram)) + scale[:, None] * gram * scale)
    half = lax.linalg.triangular_solve(factor, (at * scale).T, left_side=True, lower=True)
    return (half**2).sum(0)
