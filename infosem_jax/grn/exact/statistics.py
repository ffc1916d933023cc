"""What the exact engine needs of the cells: products of genes, summed over cells."""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

BLOCK = 4096


class Moments(NamedTuple):
    """Sums over cells of products of genes, in float64; they add over blocks, devices and hosts.

    Attributes
    ----------
    RR
        ``X_R' X_R`` of the genes that act, [rows, rows].
    RG
        ``X_R' X``, [rows, genes].
    GG
        ``sum(x^2)`` of each gene, [genes].
    cells
        Number of cells.
    """

    RR: Float64[np.ndarray, "rows rows"]
    RG: Float64[np.ndarray, "rows genes"]
    GG: Float64[np.ndarray, " genes"]
    cells: float


def moments(
    x: Float[np.ndarray, "cells genes"], rows: Int[np.ndarray, " rows"], *, block: int = BLOCK
) -> Moments:
    """Sum up the cells of a matrix, a block at a time.

    Products within a block are float32, sums over blocks float64.

    Parameters
    ----------
    x
        Normalised expression, [cells, genes].
    rows
        Which genes act, as columns of ``x``.
    block
        Cells at a time; the last block is filled up with cells of zeros, which add nothing.

    Raises
    ------
    ValueError
        If there is no cell, or a value is not finite.
    """
    size = min(block, len(x))
    if not (size and np.isfinite(x).all()):
        raise ValueError(
            f"Expected cells with finite expression, found {len(x)} cells with "
            f"{(~np.isfinite(x)).sum()} values that are not; give normalised expression."
        )
    parts = (x[start : start + size] for start in range(0, len(x), size))
    return add(of_block(_filled(part, size), rows, float(len(part))) for part in parts)


def of_block(
    x: Float[Array | np.ndarray, "cells genes"],
    rows: Int[Array | np.ndarray, " rows"],
    cells: float,
) -> Moments:
    """Sum up one block of cells.

    Parameters
    ----------
    x
        Normalised expression; cells of zeros add nothing, [cells, genes].
    rows
        Which genes act.
    cells
        How many of the cells are real.
    """
    product, squares = _products(jnp.asarray(x, jnp.float32), jnp.asarray(rows))
    RG = np.asarray(product, np.float64)
    return Moments(RG[:, np.asarray(rows)], RG, np.asarray(squares, np.float64), cells)


def add(parts: Iterable[Moments]) -> Moments:
    """Add the moments of disjoint sets of cells, at least one."""
    return reduce(_sum, parts)


def worth(summed: Moments, cells: float | int | None) -> Moments:
    """Let all cells together count as so many independent ones (None: as many as they are).

    Raises
    ------
    ValueError
        If the number is not positive, or larger than that of the cells.
    """
    if cells is None:
        return summed
    if not 0 < cells <= summed.cells:
        raise ValueError(
            f"Expected the cells to be worth more than 0 and at most {summed.cells:g} independent "
            f"ones, found {cells}."
        )
    eta = cells / summed.cells
    return Moments(eta * summed.RR, eta * summed.RG, eta * summed.GG, eta * summed.cells)


def _sum(a: Moments, b: Moments) -> Moments:
    return Moments(a.RR + b.RR, a.RG + b.RG, a.GG + b.GG, a.cells + b.cells)


@jax.jit
def _products(x: Array, rows: Array) -> tuple[Array, Array]:
    precision = jax.lax.Precision.HIGHEST
    return jnp.matmul(x[:, rows].T, x, precision=precision), (x**2).sum(0)


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    return np.pad(x, ((0, size - len(x)), (0, 0)))
