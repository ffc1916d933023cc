"""Posterior predictive checks: whether a fitted model brings forth expression like that measured.

Cells are simulated from the mechanism, ``z -> u -> x`` with observation noise, as many as were
measured and on the scale of the fit, once for each draw of the posterior and each seed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import random
from jaxtyping import Array, Bool, Float

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn.posterior import decode, mechanism
from infosem_jax.grn.result import Fit
from infosem_jax.grn.sem import propagate
from infosem_jax.grn.states import as_fitted, inferred_states

EIGENVALUES = 5
# Replicates from each seed.
DRAWS = 2


class Predictive(NamedTuple):
    """How simulated expression compares with that measured.

    Attributes
    ----------
    measured
        Each statistic in the data, see `predictive_checks`.
    simulated
        The same in simulated data, one row for each replicate.
    explained
        Share of the variance of the data that reconstructions have, mean over seeds; 0 where the
        model ignores the cells.
    genes
        For each gene ``variance, variance_simulated, zeros, zeros_simulated``: variance, and share
        of zeros (NaN where it has none), simulated ones as means over replicates.
    """

    measured: dict[str, float]
    simulated: pd.DataFrame
    explained: float
    genes: pd.DataFrame


def predictive_checks(fitted: Fit, data: Dataset) -> Predictive:
    """Compare a fit's simulated expression with the data that it was fitted to.

    Statistics, each of the data and of every replicate:

    ``correlation_agreement``
        Correlation of the replicate's gene-gene correlations with those measured.
    ``correlation_slope``
        Slope of the replicate's gene-gene correlations on those measured. For this one and the one
        above, the figure of the data is what as many other cells of the same kind would reach,
        from one half of the cells against the other (Spearman-Brown).
    ``correlation_size``
        Root mean square of the gene-gene correlations.
    ``eigenvalue_1``, ...
        Largest eigenvalues of the matrix of correlations, over the number of genes.
    ``variance``
        Mean variance of a gene.
    ``zeros``
        Share of zeros. A simulated value counts as one where it lies below the midpoint between the
        gene's zero and its smallest other value, on the scale of the fit.

    Parameters
    ----------
    fitted
        A fit.
    data
        The data that were fitted, as read or as normalised for the fit.

    Raises
    ------
    ValueError
        If the data are others, or every seed diverged.
    """
    sound = np.flatnonzero(fitted.diverged < 0)
    if not len(sound):
        raise ValueError(f"{fitted.name}: every seed diverged; there is nothing to simulate from.")
    scaled = as_fitted(fitted, data)
    x = scaled.x[:, np.argsort(np.asarray(data.genes))]
    observed = scaled.observed[:, np.argsort(np.asarray(data.genes))]
    zero_below = _midpoints(x, observed)
    correlation = _correlations(x)
    measured = _statistics(x, correlation)
    measured |= dict.fromkeys(("correlation_agreement", "correlation_slope"), _reliability(x))
    measured["zeros"] = float((~observed).mean())
    rows, variances, zeros = [], [], []
    for seed in map(int, sound):
        for draw in range(DRAWS):
            replicate_key = random.fold_in(random.fold_in(random.key(0), seed), draw)
            simulated = simulate_expression(fitted, len(x), replicate_key, seed=seed)
            again = _correlations(simulated)
            pairs = np.triu_indices(len(again), 1)
            a, b = correlation[pairs], again[pairs]
            below = simulated < zero_below
            row = _statistics(simulated, again)
            row["correlation_agreement"] = _correlate(a, b)
            row["correlation_slope"] = float(((a - a.mean()) * b).mean() / max(a.var(), 1e-12))
            row["zeros"] = float(below.mean())
            rows.append({"seed": seed, "draw": draw, **row})
            variances.append(simulated.var(0))
            zeros.append(below.mean(0))
    genes = pd.DataFrame(
        {
            "gene": sorted(data.genes),
            "variance": x.var(0),
            "variance_simulated": np.mean(variances, 0),
            "zeros": np.where(observed.all(0), np.nan, (~observed).mean(0)),
            "zeros_simulated": np.where(observed.all(0), np.nan, np.mean(zeros, 0)),
        }
    )
    explained = float(np.mean([_explained(fitted, x, observed, seed) for seed in map(int, sound)]))
    return Predictive(measured, pd.DataFrame(rows), explained, genes)


def simulate_expression(
    fitted: Fit, cells: int, key: Array, *, seed: int = 0
) -> Float[np.ndarray, "cells genes"]:
    """Simulate cells from one draw of the mechanism, on the scale of the fit, genes by name.

    Parameters
    ----------
    fitted
        A fit.
    cells
        How many cells.
    key
        Random key: of the edges, the noise and the observation.
    seed
        Which seed of the fit.
    """
    edge_key, noise_key, observation_key = random.split(key, 3)
    drawn = mechanism(fitted, edge_key, seed=seed)
    shape = (cells, len(fitted.genes))
    z = drawn.location + drawn.scale * random.normal(noise_key, shape)
    u = propagate(z, drawn.W, drawn.rows, drawn.remainder)
    noise = fitted.config.observation_sd * random.normal(observation_key, shape)
    return np.asarray(decode(fitted, u, seed=seed) + noise)


def _explained(fitted: Fit, x: np.ndarray, observed: np.ndarray, seed: int) -> float:
    """Return 1 - sum of squares left / sum of squares around the mean, over scored entries."""
    u = inferred_states(fitted, jnp.asarray(x), random.key(0), seed=seed)
    scored = observed if fitted.config.observe == "nonzero" else np.ones(x.shape, bool)
    left = (x - np.asarray(decode(fitted, u, seed=seed)))[scored]
    return float(1 - (left**2).mean() / max(x[scored].var(), 1e-12))


def _statistics(x: np.ndarray, correlation: np.ndarray) -> dict[str, float]:
    n = len(correlation)
    pairs = correlation[np.triu_indices(n, 1)]
    # Of correlations, the singular values are the eigenvalues; the smaller side is enough.
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    smaller = z @ z.T / len(z) if len(z) < n else correlation
    top = np.linalg.eigvalsh(smaller)[::-1][:EIGENVALUES] / n
    return {
        "correlation_size": float(np.sqrt((pairs**2).mean())),
        **{f"eigenvalue_{i + 1}": float(value) for i, value in enumerate(top)},
        "variance": float(x.var(0).mean()),
    }


def _correlations(x: np.ndarray) -> np.ndarray:
    z = jnp.asarray((x - x.mean(0)) / np.maximum(x.std(0), 1e-12))
    with jax.default_matmul_precision("float32"):
        return np.asarray(z.T @ z / len(z))


def _reliability(x: np.ndarray) -> float:
    """Return how well gene-gene correlations of all cells would repeat in as many other cells."""
    order = np.random.default_rng(0).permutation(len(x))
    halves = [_correlations(x[half]) for half in np.array_split(order, 2)]
    pairs = np.triu_indices(x.shape[1], 1)
    r = max(_correlate(*(half[pairs] for half in halves)), 0.0)
    return 2 * r / (1 + r)


def _correlate(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() < 1e-12 or b.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _midpoints(
    x: Float[np.ndarray, "cells genes"], observed: Bool[np.ndarray, "cells genes"]
) -> Float[np.ndarray, " genes"]:
    """Return the midpoint of each gene between its zeros and its smallest other value."""
    zero = np.where(observed, -np.inf, x).max(0)
    smallest = np.where(observed, x, np.inf).min(0)
    has_both = np.isfinite(zero) & np.isfinite(smallest)
    safe = (np.where(has_both, value, 0) for value in (zero, smallest))
    return np.where(has_both, sum(safe) / 2, np.where(np.isfinite(zero), np.inf, -np.inf))
