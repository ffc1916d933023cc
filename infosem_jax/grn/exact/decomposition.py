"""Moments of cells in the basis in which the genes that act are uncorrelated."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int

from infosem_jax.grn.exact.statistics import Moments

# Variance of a component, as a share of the largest, that rounding leaves where there is none.
NOTHING = 1e-10
# Components of the fewest cells, so that groups of cells of unlike size share compiled programs,
# which take seconds each to compile; a product with so many takes milliseconds.
FEWEST = 256


class Spectrum(NamedTuple):
    """Moments in the basis in which the rows are uncorrelated, scaled by the number of cells.

    There are as many components as rows or, where cells are fewer, at least as many as these;
    those without variance are then vectors of zeros.

    Attributes
    ----------
    values, vectors
        Of ``X_R'X_R / cells``, [components] and [rows, components].
    outside
        Share of each row that no vector covers, ``1 - sum(vectors^2)``, [rows].
    cross
        ``X_R'X / cells`` in that basis, [components, genes].
    total
        Mean square of each gene, [genes].
    height
        Third central moment of each gene over its variance, [genes]: in a gene of few cells, what
        stands out in these.
    own
        Which row each target is, -1 for those that act on nothing, [genes].
    cells
        Number of cells.
    """

    values: Float[Array, " components"]
    vectors: Float[Array, "rows components"]
    outside: Float[Array, " rows"]
    cross: Float[Array, "components genes"]
    total: Float[Array, " genes"]
    height: Float[Array, " genes"]
    own: Int[Array, " genes"]
    cells: Float[Array, ""]

    @property
    def n_rows(self) -> int:
        """Number of genes that act."""
        return len(self.vectors)

    @property
    def itself(self) -> Bool[Array, "rows genes"]:
        """Which pairs are of a gene with itself."""
        return jnp.arange(self.n_rows)[:, None] == self.own[None]


def spectrum(summed: Moments, rows: Int[np.ndarray, " rows"]) -> Spectrum:
    """Decompose sums over cells once, in float64.

    Parameters
    ----------
    summed
        Sums over cells.
    rows
        Which gene each row is.
    """
    n = summed.cells
    values, vectors = np.linalg.eigh(summed.RR / n)
    cross = vectors.T @ (summed.RG / n)
    powers = (part / n for part in (summed.G, summed.GG, summed.GGG))
    return _spectrum(np.maximum(values, 0), vectors, cross, powers, rows, n)


def spectrum_of_cells(
    x: Float[np.ndarray, "cells genes"],
    rows: Int[np.ndarray, " rows"],
    gram: Float64[np.ndarray, "cells cells"] | None = None,
) -> Spectrum:
    """Decompose few cells with many rows: the same from ``X_R X_R'``, in float64.

    Parameters
    ----------
    x
        Normalised expression.
    rows
        Which gene each row is.
    gram
        ``X_R X_R'``, where it is known.
    """
    n, x = len(x), x.astype(np.float64)
    gram = x[:, rows] @ x[:, rows].T if gram is None else gram
    values, cells = np.linalg.eigh(gram / n)
    size = np.sqrt(np.where(values > NOTHING * values[-1], values, 0))
    cross = size[:, None] * (cells.T @ x) / np.sqrt(n)
    vectors = cross[:, rows].T / np.where(size > 0, size**2, 1)
    powers = (x.mean(0), (x * x).mean(0), (x * x * x).mean(0))
    basis = _spectrum(size**2, vectors, cross, powers, rows, float(n))
    return padded(basis, _common_size(n))


def padded(basis: Spectrum, components: int) -> Spectrum:
    """Add components without variance, so that one program serves spectra of several sizes.

    Parameters
    ----------
    basis
        The moments.
    components
        Their number afterwards, at most one less than the rows: as many as rows cover each row.
    """
    more = min(components, basis.n_rows - 1) - len(basis.values)
    if more <= 0:
        return basis
    wide = {
        "values": np.pad(basis.values, (0, more)),
        "vectors": np.pad(basis.vectors, ((0, 0), (0, more))),
        "cross": np.pad(basis.cross, ((0, more), (0, 0))),
    }
    return basis._replace(**{name: jnp.asarray(part) for name, part in wide.items()})


def trimmed(basis: Spectrum) -> Spectrum:
    """Leave out components without variance, unless there are as many components as rows."""
    kept = np.flatnonzero(np.asarray(basis.values) > 0)
    if len(basis.values) in (len(kept), basis.n_rows):
        return basis
    return basis._replace(
        values=basis.values[kept], vectors=basis.vectors[:, kept], cross=basis.cross[kept]
    )


def count_as(basis: Spectrum, cells: float | int | None) -> Spectrum:
    """Let all cells together count as so many independent ones (None: as many as they are).

    Raises
    ------
    ValueError
        If the number is not positive, or larger than that of the cells.
    """
    if cells is None:
        return basis
    if not 0 < cells <= basis.cells:
        raise ValueError(
            f"Expected the cells to be worth more than 0 and at most {basis.cells:g} independent "
            f"ones, found {cells}."
        )
    return basis._replace(cells=jnp.asarray(cells, float))


def _common_size(cells: int) -> int:
    """Round up to a quarter of a power of two, and to one size where cells are few."""
    cells = max(cells, FEWEST)
    step = 2 ** ((cells - 1).bit_length() - 1) // 4
    return -(-cells // step) * step


def _spectrum(values, vectors, cross, powers, rows: np.ndarray, n: float) -> Spectrum:
    mean, total, cube = powers
    variance, third = total - mean**2, cube - 3 * mean * total + 2 * mean**3
    height = np.divide(third, variance, out=np.zeros_like(third), where=variance > NOTHING * total)
    own = np.full(len(total), -1)
    own[rows] = np.arange(len(rows))
    outside = np.maximum(1 - (vectors**2).sum(1), 0) * (len(values) < len(rows))
    parts = (values, vectors, outside, cross, total, height)
    parts = (jnp.asarray(part, float) for part in parts)
    return Spectrum(*parts, own=jnp.asarray(own), cells=jnp.asarray(n, float))
