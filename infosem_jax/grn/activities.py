"""How active each regulator is in each cell, read from its targets.

The effects of a fit are the loadings of a factor model, in which the regulators' activities are the
factors:

    x_cj | a_c, W  ~  Normal(sum_r W_rj a_cr, s_j^2)
    a_cr           ~  Normal(0, 1)
    W_rj           =  gate_rj effect_rj,   gate_rj ~ Bernoulli(p_rj),   effect_rj ~ (m_rj, v_rj)

with the mean m and variance v of each effect from the fit. Its probability p is that of the fit or,
if larger, that of not being zero among all effects (see `shrunk_effects`), which
does not miss weak edges where there are many. What is not known of the effects on a target is noise
of it: with ``M = E[W]``, ``V = Var[W]``, ``e_r = E[a_cr^2]`` and D the diagonal matrix of
``s_j^2 + sum_r V_rj e_r``, the activities of all cells share one precision,

    Q    = I + M D^-1 M'
    a_c  = Q^-1 M D^-1 x_c

so that an edge counts by its weight, with its sign, and less the less sure it is. The unexplained
variances are those that explain the cells best, by expectation maximisation. What a regulator
itself expresses takes no part in its activity.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jaxtyping import Array, Float

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import exact
from infosem_jax.grn.exact.deviations import share_believed
from infosem_jax.grn.exact.hyper import scale_of
from infosem_jax.grn.exact.same_cells import warn_of_others
from infosem_jax.grn.false_signs import Shrunk, shrink, spread_without_edges
from infosem_jax.grn.networks import candidate_pairs
from infosem_jax.grn.result import Fit, network
from infosem_jax.grn.states import as_fitted

# Rounds of expectation maximisation, and the most cells that unexplained variances are learned of.
SWEEPS, CELLS = 20, 2000
# Least unexplained share of a target's variance.
LEAST = 0.01
# Least share of an effect that is believed, where no cell bears it.
LEAST_BELIEVED = 1e-6
# Columns of a comparison that are no group.
OF_REGULATORS = ("regulator", "sd", "range", "between")


class Activity(NamedTuple):
    """Activities of regulators in cells, in standard deviations of the regulator's expression.

    Attributes
    ----------
    cells, regulators
        Names.
    mean
        Posterior mean, [cells, regulators].
    sd
        Posterior standard deviation, the same in all cells, [regulators]; near 1 for a regulator
        whose targets say nothing.
    """

    cells: tuple[str, ...]
    regulators: tuple[str, ...]
    mean: Float[np.ndarray, "cells regulators"]
    sd: Float[np.ndarray, " regulators"]


def activity(fitted: Fit | exact.Fit, data: Dataset) -> Activity:
    """Infer the activity of each regulator in each cell, with its uncertainty.

    Activities of cells that were fitted together are on one scale: those of several data sets can
    be compared if `infosem_jax.data.join` made one data set of them before the fit.

    Parameters
    ----------
    fitted
        A fit of either engine.
    data
        The data of the fit, as read or as normalised for it.

    Raises
    ------
    ValueError
        If the data are those of other genes, or normalised otherwise.
    """
    x = centred_cells(fitted, data)
    mean, variance = loadings(fitted, x)
    some = np.unique(np.linspace(0, len(x) - 1, CELLS).astype(int))
    filtered, sd = _filter(jnp.asarray(x[some]), jnp.asarray(mean), jnp.asarray(variance))
    found = jnp.matmul(jnp.asarray(x), filtered, precision=lax.Precision.HIGHEST)
    return Activity(data.cells, fitted.regulators, np.asarray(found), np.asarray(sd))


def centred_cells(fitted: Fit | exact.Fit, data: Dataset) -> Float[np.ndarray, "cells genes"]:
    """Return the cells of a fit on its scale, centred, genes in its order.

    Parameters
    ----------
    fitted, data
        As in `activity`.

    Raises
    ------
    ValueError
        As `activity`.
    """
    ready = as_fitted(fitted, data)
    if isinstance(fitted, exact.Fit):
        warn_of_others(fitted.spreads, ready)
    x = ready.x
    order = pd.Index(data.genes).get_indexer(pd.Index(fitted.genes))
    return x[:, order] - x.mean(0)[order]


def loadings(
    fitted: Fit | exact.Fit, x: Float[np.ndarray, "cells genes"]
) -> tuple[Float[np.ndarray, "regulators genes"], Float[np.ndarray, "regulators genes"]]:
    """Return mean and variance of each effect times whether there is an edge.

    Effects of the svi engine are gated already.

    Parameters
    ----------
    fitted
        A fit.
    x
        Its cells, as `centred_cells` returns them.
    """
    if isinstance(fitted, Fit):
        net = network(fitted)
        return np.asarray(net.weight), np.asarray(net.sd) ** 2
    gate = np.maximum(fitted.probability, shrunk_effects(fitted, x).nonzero)
    gate = np.where(candidate_pairs(fitted), gate, 0.0)
    mean = gate * fitted.weight
    variance = gate * (fitted.sd**2 + fitted.weight**2) - mean**2
    return mean.astype(np.float32), variance.astype(np.float32)


def shrunk_effects(fitted: exact.Fit, x: Float[np.ndarray, "cells genes"]) -> Shrunk:
    """Learn which effects are not zero from what the cells alone tell of all of them.

    What the cells tell (`told_effects`) is less sure where z values of no edge vary more than by
    chance (``infosem_jax.grn.false_signs.spread_without_edges``).

    Parameters
    ----------
    fitted, x
        As in `loadings`.
    """
    estimate, error = told_effects(fitted, x)
    return shrink(estimate, error * spread_without_edges(estimate / error, np.isfinite(error)))


def told_effects(
    fitted: exact.Fit, x: Float[np.ndarray, "cells genes"]
) -> tuple[Float[np.ndarray, "regulators genes"], Float[np.ndarray, "regulators genes"]]:
    """Return what the cells alone tell of each effect, and its standard error.

    It is the posterior less the prior, both normal, and less sure where few cells bear it: its z
    value is shrunk as that of the score is, by ``k / (k + 4)`` for k cells that share two rare
    genes (``infosem_jax.grn.exact.deviations``). The error of a gene on itself is infinite.

    Parameters
    ----------
    fitted, x
        As in `loadings`.
    """
    at = [fitted.genes.index(gene) for gene in fitted.regulators]
    own = np.asarray(at)[:, None] == np.arange(len(fitted.genes))
    share = float(np.mean(fitted.learned.get("r2", fitted.config.r2)))
    noise = ((x - x[:, at] @ fitted.weight) ** 2).mean(0)
    before = np.maximum(float(scale_of(share, len(fitted.rows))) ** 2 * noise, 1e-12)
    after = np.maximum(np.where(own, 1.0, fitted.sd) ** 2, 1e-12)
    # What the cells say is at least a thousandth of what the prior does: rounding.
    information = np.maximum(1 / after - 1 / before, 1e-3 / before)
    estimate = fitted.prior_mean + (fitted.weight - fitted.prior_mean) / after / information
    error = np.sqrt(1 / information) / np.maximum(_believed(x, at), LEAST_BELIEVED)
    return estimate, np.where(own, np.inf, error)


def compare_activity(found: Activity, groups: "np.ndarray") -> pd.DataFrame:
    """Compare the activities of groups of cells, those that groups tell apart most surely first.

    Activities are drawn to zero as far as the targets of a regulator say little, by another factor
    for each regulator, and means of few cells are far from zero by chance. So regulators are
    compared by the share of the variance of their activity over cells that is between groups.

    Parameters
    ----------
    found
        Activities.
    groups
        The group of each cell, [cells].

    Returns
    -------
    DataFrame
        ``regulator, sd``, the mean activity in each group, ``range``, the largest mean less the
        smallest, and ``between``, the share of the variance of the regulator's posterior means that
        is between groups, by which it is sorted; of one group, the surest regulators come first.

    Raises
    ------
    ValueError
        If there is not one group for each cell.
    """
    if len(groups) != len(found.cells):
        raise ValueError(
            f"Expected a group for each of {len(found.cells)} cells, found {len(groups)}."
        )
    names = pd.Index(found.regulators)
    means = pd.DataFrame(found.mean, columns=names).groupby(np.asarray(groups))
    table = means.mean().T
    size = means.size().to_numpy()
    away = table.to_numpy() - np.average(table, axis=1, weights=size)[:, None]
    total = found.mean.var(0) * len(found.mean)
    share = away**2 @ size / np.where(total > 0, total, 1)
    width = table.max(axis=1) - table.min(axis=1)
    table.insert(0, "between", share if len(size) > 1 else 0.0)
    table.insert(0, "range", width)
    table.insert(0, "sd", found.sd)
    table = table.sort_values(["between", "sd"], ascending=[False, True], kind="stable")
    return table.rename_axis("regulator").reset_index()


def add_to_anndata(found: Activity, adata: Any, *, key: str = "infosem_activity") -> None:
    """Put activities into ``obsm[key]``, a table with the regulators' names, of these cells.

    Their standard deviations go to ``uns[key + "_sd"]``. Cells that have no activity are NaN.

    Parameters
    ----------
    found
        Activities.
    adata
        An AnnData object with these cells, which is changed.
    key
        Name of the entries.

    Raises
    ------
    ValueError
        If cells are missing from it.
    """
    missing = set(found.cells) - set(adata.obs_names)
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(found.cells)} cells are not in the AnnData, such as "
            f"{min(missing)}; give the data that were fitted."
        )
    table = pd.DataFrame(found.mean, pd.Index(found.cells), pd.Index(found.regulators))
    adata.obsm[key] = table.reindex(adata.obs_names)
    adata.uns[f"{key}_sd"] = dict(zip(found.regulators, map(float, found.sd), strict=True))


def _believed(
    x: Float[np.ndarray, "cells genes"], at: list[int]
) -> Float[np.ndarray, "regulators genes"]:
    """Return the share of each effect that the cells which share both genes make believable."""
    square = (x**2).mean(0)
    height = np.divide((x * x * x).mean(0), square, out=np.zeros_like(square), where=square > 0)
    pairs = (square[at, None] * square, height[at, None] * height, x[:, at].T @ x / len(x))
    return np.asarray(share_believed(len(x), *map(jnp.asarray, pairs)))


@jax.jit
def _filter(
    x: Float[Array, "cells genes"],
    mean: Float[Array, "regulators genes"],
    variance: Float[Array, "regulators genes"],
) -> tuple[Float[Array, "genes regulators"], Float[Array, " regulators"]]:
    """Return the matrix that takes expression to activities, and their standard deviations."""
    total = jnp.maximum((x**2).mean(0), 1e-12)
    product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)

    def given(noise):
        precision = product(mean / noise, mean.T) + jnp.eye(len(mean))
        factor = jax.scipy.linalg.cho_factor(precision)
        covariance = jax.scipy.linalg.cho_solve(factor, jnp.eye(len(mean)))
        return product(covariance, mean), covariance

    def sweep(_, noise):
        loaded, covariance = given(noise)
        a = product(x, (loaded / noise).T)
        size = (a**2).mean(0) + jnp.diagonal(covariance)
        left = ((x - product(a, mean)) ** 2).mean(0)
        left += (loaded * mean).sum(0) + size @ variance
        return jnp.clip(left, LEAST * total, None)

    noise = lax.fori_loop(0, SWEEPS, sweep, total)
    loaded, covariance = given(noise)
    return (loaded / noise).T, jnp.sqrt(jnp.diagonal(covariance))
