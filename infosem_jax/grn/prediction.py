"""The expression that each cell's regulators predict."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float

from infosem_jax.data.dataset import Dataset, counts_of_cells
from infosem_jax.grn import exact
from infosem_jax.grn.posterior import decode, mechanism, over_draws
from infosem_jax.grn.result import Fit
from infosem_jax.grn.states import as_fitted, inferred_states


def predict(
    fitted: Fit | exact.Fit, data: Dataset, *, draws: int = 16, key: int = 0
) -> Float[np.ndarray, "cells genes"]:
    """Predict the expression of every gene of every cell from its regulators.

    Of an exact fit, ``x_hat = x_R W`` with the candidate regulators and the mean of their effects.
    Of an svi fit,
    ``x_hat = f(u_R W + m)`` with the decoder f, the states ``u_R`` that the model infers for the
    genes with a row, their effects W (no gene acts on itself) and the prior mean m of the noise;
    averaged over draws of the posterior and over sound seeds. The remainder of
    ``rows = "regulators+K"``, which a gene has a part in itself, is left out. Then the
    normalisation of the fit (see `infosem_jax.data.normalise`) is undone: z-scores become
    ``mean + sd x_hat`` with the mean and sd that z-scores of ``data`` are made with,
    ``log1p_cpm`` becomes ``total (exp(x_hat) - 1) / 1e6`` with the total of the cell, and
    ``cell_range`` becomes ``min + (max - min) x_hat`` with the range of the cell.

    Parameters
    ----------
    fitted
        A fit.
    data
        Cells with the genes of the fit: those that were fitted, or others, which are brought to
        scale by their own mean and sd.
    draws
        Draws from the posterior of each seed; one where the guide is a point. (The mean of an
        exact fit needs none.)
    key
        Seeds the random numbers.

    Returns
    -------
    Expression in the unit of ``data``, as read or normalised, in its order of cells and genes.

    Raises
    ------
    ValueError
        If the data have other genes or another normalisation, there is no draw, or every seed
        diverged.
    """
    if draws < 1:
        raise ValueError(f"Expected at least 1 draw, found {draws}.")
    scaled = as_fitted(fitted, data)
    if isinstance(fitted, exact.Fit):
        at = {gene: i for i, gene in enumerate(data.genes)}
        rows, columns = (
            [at[name] for name in names] for names in (fitted.regulators, fitted.genes)
        )
        predicted = np.empty_like(scaled.x)
        predicted[:, columns] = scaled.x[:, rows] @ fitted.weight
    else:
        order = np.argsort(np.asarray(data.genes))
        x = jnp.asarray(scaled.x[:, order])
        found = over_draws(_from_regulators, fitted, x, draws=draws, key=random.key(key)).mean(0)
        predicted = found[:, np.argsort(order)]
    if data.normalisation != "none":
        return predicted
    return _as_read(predicted, data, scaled.normalisation)


def _from_regulators(fitted: Fit, key: Array, x: Any) -> Array:
    drawn = mechanism(fitted, key)
    u = inferred_states(fitted, x, key)
    return decode(fitted, u[:, drawn.rows] @ drawn.W + drawn.location[None])


def _as_read(x: np.ndarray, data: Dataset, how: str) -> np.ndarray:
    """Undo the normalisation of values that are on its scale."""
    raw = data.x.astype(np.float64)
    low, width = np.zeros((len(raw), 1)), np.ones((len(raw), 1))
    if how.startswith("log1p_cpm"):
        width = counts_of_cells(data) / 1e6
        raw = np.log1p(raw / width)
    if how == "cell_range_zscore":
        low, high = raw.min(1, keepdims=True), raw.max(1, keepdims=True)
        width = high - low
        raw = (raw - low) / width
    if "zscore" in how:
        counted = data.observed if how == "zscore_nonzero" else np.ones(raw.shape, bool)
        mean = raw.mean(0, where=counted)
        x = mean + np.sqrt(((raw - mean) ** 2).mean(0, where=counted)) * x
    if how.startswith("log1p_cpm"):
        x = np.expm1(x)
    return (low + width * x).astype(np.float32)
