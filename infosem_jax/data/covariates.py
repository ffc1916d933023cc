"""Covariates of cells, such as their batch, donor or depth, taken out of expression."""

import logging
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from infosem_jax.data.dataset import MIN_CELLS, Dataset, Normalisation, normalise

_log = logging.getLogger("infosem_jax")

# Singular value, as a share of the largest, below which a covariate follows from the others.
NOTHING = 1e-8
# So many whole numbers, or fewer, may well be names, of batches or clusters.
FEW = 20


def regress_out(
    data: Dataset,
    covariates: pd.DataFrame,
    how: Normalisation = "zscore",
    *,
    clip: float = 10.0,
) -> Dataset:
    """Take what is linear in covariates out of normalised expression.

    With C the covariates, centred, of rank k, ``x <- sqrt(n / (n - k)) (1 - C C^+) x``. A
    regression of a gene on genes from which the covariates were taken out is that on genes and
    covariates together, with a flat prior of the covariates' effects, if the n cells count as n - k
    (Frisch & Waugh 1933, Lovell 1963); both engines count so by ``Dataset.lost``.

    Parameters
    ----------
    data
        Expression as read, or normalised.
    covariates
        One column each, with the names of the cells as index. Numbers are standardised; anything
        else, such as strings, categories and truth values, makes an indicator of each level but
        the first.
    how, clip
        As in `infosem_jax.data.normalise`, for data as read.

    Raises
    ------
    ValueError
        If cells are missing from the table, a covariate lacks values, is the same in all cells or
        another in each, or too few cells are left to count; or if covariates were taken out before.
    """
    if data.covariates:
        raise ValueError(
            f"{data.name}: covariates were taken out before ({', '.join(data.covariates)}); give "
            "all of them at once."
        )
    missing = [cell for cell in data.cells if cell not in covariates.index]
    if missing or not covariates.index.is_unique:
        raise ValueError(
            f"{data.name}: expected covariates of every cell, one row each, with the names of the "
            f"cells as index, found {len(missing)} of {len(data.cells)} cells without "
            f"({', '.join(missing[:3]) or 'rows of one name'})."
        )
    table = covariates.loc[list(data.cells)]
    words, columns = [], []
    for name in map(str, table):
        text, part = _coded(name, table[name], data.name)
        words.append(text)
        columns.append(part - part.mean(0))
    basis, sizes, _ = np.linalg.svd(np.concatenate(columns, 1), full_matrices=False)
    basis = basis[:, sizes > NOTHING * sizes[0]]
    n, lost = basis.shape
    if n - lost < MIN_CELLS:
        raise ValueError(
            f"{data.name}: expected at least {MIN_CELLS} more cells than covariates, found {n} "
            f"cells and {lost} covariates ({', '.join(words)}); take fewer, or coarser ones."
        )
    scaled = normalise(data, how, clip=clip) if data.normalisation == "none" else data
    x = scaled.x.astype(np.float64)
    left = np.sqrt(n / (n - lost)) * (x - basis @ (basis.T @ x))
    share = 1 - ((n - lost) / n) * (left**2).sum() / (x**2).sum()
    note = f"covariates taken out: {', '.join(words)}; {share:.1%} of the variance of all genes"
    notes = [note, *(_hint(name, table[name]) for name in table if _may_be_names(table[name]))]
    for each in notes:
        _log.info("%s: %s", data.name, each)
    return scaled._replace(
        x=left.astype(np.float32),
        covariates=tuple(words),
        lost=lost,
        notes=(*scaled.notes, *notes),
    )


def _may_be_names(values: Any) -> bool:
    kinds = pd.api.types
    if not kinds.is_numeric_dtype(values) or kinds.is_bool_dtype(values):
        return False
    levels = np.unique(values.to_numpy(np.float64))
    return 2 < len(levels) <= FEW and bool((levels == np.round(levels)).all())


def _hint(name: Any, values: Any) -> str:
    return (
        f"covariate {name} is taken as a quantity; if its {values.nunique()} whole numbers are "
        "names, make them text: "
        f"adata.obs[{str(name)!r}] = adata.obs[{str(name)!r}].astype(str)"
    )


def _coded(name: str, values: Any, data: str) -> tuple[str, Float64[np.ndarray, "cells columns"]]:
    """Return a covariate in numbers, and what it was taken for."""
    what = f"{data}: covariate {name!r}"
    empty = values.isna().to_numpy()
    if empty.any():
        raise ValueError(
            f"{what}: expected a value for every cell, found none for {empty.sum()} "
            f"({values.index[empty][0]}, ...); fill them in, or leave these cells out."
        )
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    levels = pd.unique(values if number else values.astype(str).to_numpy(object))
    if len(levels) == 1:
        raise ValueError(f"{what}: is {levels[0]} in all cells; leave it out.")
    if number:
        x = values.to_numpy(np.float64)
        if not np.isfinite(x).all():
            raise ValueError(f"{what}: expected finite numbers, found {x[~np.isfinite(x)][0]}.")
        return f"{name} (number)", ((x - x.mean()) / x.std())[:, None]
    if len(levels) == len(values):
        raise ValueError(
            f"{what}: is another in each of the {len(values)} cells, as a name is; leave it out, "
            "or give numbers as numbers."
        )
    indicators = values.astype(str).to_numpy(object)[:, None] == levels[1:]
    return f"{name} ({len(levels)} levels)", indicators.astype(np.float64)
