"""The expression data of one fit: a matrix with names, validated and normalised once."""

import logging
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped

from infosem_jax._shown import shown
from infosem_jax._typing import Names
from infosem_jax.data._copies import copies
from infosem_jax.data._names import (
    describes_cells,
    describes_genes,
    match_regulators,
    some,
    spoilt_names,
)
from infosem_jax.data.units import MISSING, Units, describe_units

Normalisation = Literal[
    "auto", "none", "zscore", "zscore_nonzero", "cell_range_zscore", "log1p_cpm", "log1p_cpm_zscore"
]
NORMALISATIONS: tuple[str, ...] = get_args(Normalisation)

MIN_CELLS = 10

_log = logging.getLogger("infosem_jax")


@shown("x", "genes", "regulators", "normalisation", "notes")
class Dataset(NamedTuple):
    """Expression of one population of cells, with the names that the network will carry.

    Attributes
    ----------
    x
        Expression, [cells, genes].
    observed
        Which entries were measured as non-zero, [cells, genes].
    genes, cells
        Names of the columns and rows of ``x``.
    regulators
        Candidate regulators, a subset of ``genes`` in the order of ``genes``.
    name
        What the data are called in reports.
    normalisation
        Names of the steps that made ``x`` from the values that were read.
    totals
        Counts of each cell over all genes of the file, where it tells; else None, [cells].
    notes
        What was left out or changed on the way here, a sentence each.
    covariates, lost
        What was taken out by `infosem_jax.data.regress_out`, and how many cells it counts for.
    """

    x: Float32[np.ndarray, "cells genes"]
    observed: Bool[np.ndarray, "cells genes"]
    genes: tuple[str, ...]
    cells: tuple[str, ...]
    regulators: tuple[str, ...]
    name: str = "data"
    normalisation: str = "none"
    totals: Float32[np.ndarray, " cells"] | None = None
    notes: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    lost: int = 0


def dataset(
    x: np.ndarray,
    genes: Names,
    regulators: Names | None = None,
    *,
    cells: Names | None = None,
    name: str = "data",
    totals: np.ndarray | None = None,
) -> Dataset:
    """Validate expression values and names, and put them together.

    Cells without any value other than zero, genes with one value in all cells, genes without a
    name, columns that describe cells (``n_counts``, ``leiden``) or genes (``Length``), and all but
    the first of several genes of one name are left out; cells of one name are numbered. Each is
    told in ``notes`` and logged.

    Parameters
    ----------
    x
        Expression as read: counts or log expression, [cells, genes].
    genes
        Gene symbols, one for each column.
    regulators
        Candidate regulators; those that were not measured are left out, all genes where None.
    cells
        Cell names; numbered where None.
    name
        What the data are called in reports.
    totals
        Counts of each cell over more genes than these, [cells].

    Raises
    ------
    ValueError
        On shapes that do not agree, values that are not finite or are negative, fewer than ten
        cells or two genes that are left, and if few of the regulators are among the genes.

    Examples
    --------
    >>> x = np.random.default_rng(0).gamma(2.0, size=(50, 3))
    >>> dataset(x, ["TP53", "MYC", "ACTB"], ["MYC", "TP53"], name="a trial")
    Dataset a trial
      x              50 cells × 3 genes
      genes          3: TP53, MYC, ACTB
      regulators     2: TP53, MYC
      normalisation  none
    """
    x = np.asarray(x)
    if x.ndim != 2:
        raise ValueError(f"Expected expression as [cells, genes], found shape {x.shape}.")
    genes = tuple("" if gene is None or gene != gene else str(gene) for gene in genes)
    cells = (
        tuple(map(str, cells)) if cells is not None else tuple(f"cell{i}" for i in range(len(x)))
    )
    _check_shape(x, genes, cells, name)
    _check_values(x, genes, name)
    rows, columns, notes = _usable(x, genes, cells)
    cells, renamed = numbered([cells[i] for i in np.flatnonzero(rows)])
    genes = tuple(gene for gene, kept in zip(genes, columns, strict=True) if kept)
    x = x[np.ix_(rows, columns)] if notes else x
    _check_size(x, name)
    candidates, matched = genes, []
    if regulators is not None:
        candidates, matched = match_regulators(genes, regulators)
    spoilt = spoilt_names(genes)
    if spoilt:
        matched = [
            *matched,
            f"{len(spoilt)} genes are called by dates ({some(spoilt, 5)}), to which a spreadsheet "
            "turned symbols such as MARCH1 and SEPT2; take the table from before that",
        ]
    notes = (*notes, *renamed, *copies(x), *matched)
    for note in notes:
        _log.info("%s: %s", name, note)
    return Dataset(
        x=np.ascontiguousarray(x, np.float32),
        observed=x != 0,
        genes=genes,
        cells=cells,
        regulators=candidates,
        name=name,
        totals=None if totals is None else np.asarray(totals, np.float32)[rows],
        notes=notes,
    )


def subset(
    data: Dataset,
    *,
    cells: Shaped[np.ndarray, " cells"] | None = None,
    genes: Shaped[np.ndarray, " genes"] | None = None,
) -> Dataset:
    """Keep some cells and genes, in the order given.

    Parameters
    ----------
    data
        Expression.
    cells, genes
        Places or masks of those to keep; None keeps all.
    """
    row = np.arange(len(data.cells)) if cells is None else np.arange(len(data.cells))[cells]
    column = np.arange(len(data.genes)) if genes is None else np.arange(len(data.genes))[genes]
    kept = tuple(data.genes[i] for i in column)
    acting = set(data.regulators)
    return data._replace(
        x=data.x[np.ix_(row, column)],
        observed=data.observed[np.ix_(row, column)],
        genes=kept,
        cells=tuple(data.cells[i] for i in row),
        regulators=tuple(gene for gene in kept if gene in acting),
        totals=None if data.totals is None else data.totals[row],
    )


def normalise(data: Dataset, how: Normalisation = "zscore", *, clip: float = 10.0) -> Dataset:
    """Bring expression to the scale that the model works on.

    ``auto``
        ``log1p_cpm_zscore`` for counts and other linear values, ``zscore`` for log expression.
    ``none``
        Leave the values alone.
    ``zscore``
        Per gene, ``(x - mean) / sd`` (DeepSEM's choice for non-specific networks). Log expression
        expected.
    ``zscore_nonzero``
        The same with the mean and sd of the gene's non-zero values, so that dropouts do not shift
        them (DeepSEM's choice for cell-type-specific networks). Log expression expected.
    ``cell_range_zscore``
        Per cell, ``(x - min) / (max - min)`` over its genes, then ``zscore``, so that depth shared
        by all genes of a cell does not tie them together (RegDiffusion's choice). Log expression
        expected.
    ``log1p_cpm``
        Per cell, ``log(1 + 1e6 x / sum(x))``, or over ``totals`` where the data have them. Counts
        expected, or other linear values.
    ``log1p_cpm_zscore``
        ``log1p_cpm``, then ``zscore``. Counts expected, or other linear values.

    Parameters
    ----------
    data
        Expression as read.
    how
        One of the names above.
    clip
        z-scores are clipped to [-clip, clip]; cell and gene counts decide how often that matters.

    Raises
    ------
    ValueError
        On an unknown name, data that were normalised before, counts where log expression is
        expected or the reverse, cells without any count, and cells without a range.
    """
    if how not in NORMALISATIONS:
        raise ValueError(
            f"Unknown normalisation {how!r}; choose one of {', '.join(NORMALISATIONS)}."
        )
    if not clip > 0:
        raise ValueError(f"Expected a positive clip, found {clip}.")
    if how == "none":
        return data
    if data.normalisation != "none":
        raise ValueError(
            f"{data.name}: already normalised ({data.normalisation}); give the values as read."
        )
    units = describe_units(data.x, name=data.name)
    how = usual_normalisation(units, data.name) if how == "auto" else how
    check_scale(how, units, data.name)
    x = data.x.astype(np.float64)
    if how.startswith("log1p_cpm"):
        x = _log1p_cpm(x, data)
    if how == "cell_range_zscore":
        x = _cell_range(x, data)
    if how.endswith("zscore"):
        x = np.clip((x - x.mean(0)) / _positive(x.std(0)), -clip, clip)
    if how == "zscore_nonzero":
        x = _zscore_nonzero(x, data.observed, clip)
    return data._replace(x=x.astype(np.float32), normalisation=how)


def usual_normalisation(units: Units, name: str) -> Normalisation:
    """Return what ``auto`` stands for, and log what the values were taken for.

    Parameters
    ----------
    units
        What the values are.
    name
        What the data are called in the log.
    """
    how = "log1p_cpm_zscore" if units.countable else "zscore"
    scaled = "log(1 + counts per million), then z-scores of each gene"
    done = scaled if units.countable else "z-scores of each gene"
    _log.info("%s: values taken for %s (%s): %s", name, units, units.why, done)
    return how


def check_scale(how: str, units: Units, name: str) -> None:
    """Refuse values that a normalisation is not meant for, and say which one is.

    Parameters
    ----------
    how
        Name of the normalisation.
    units
        What the values are.
    name
        What the data are called in messages.

    Raises
    ------
    ValueError
        On counts and linear values where log expression is expected, or the reverse.
    """
    if how.startswith("log1p_cpm") and not units.countable:
        raise ValueError(
            f"{name}: {how} expects raw counts or other linear values, found what looks like "
            f"{units} ({units.why}). For log expression use 'zscore' or 'zscore_nonzero'."
        )
    if how.startswith(("zscore", "cell_range")) and units.countable:
        raise ValueError(
            f"{name}: {how} expects log expression, found values up to {units.most:.4g}, which "
            f"look like {units} ({units.why}). Use 'log1p_cpm_zscore', which takes logarithms."
        )


def _check_shape(x: np.ndarray, genes: tuple[str, ...], cells: tuple[str, ...], name: str) -> None:
    if x.shape != (len(cells), len(genes)):
        hint = " The matrix looks transposed." if x.shape == (len(genes), len(cells)) else ""
        raise ValueError(
            f"{name}: expected one column per gene and one row per cell, "
            f"{len(cells)} x {len(genes)}, found {x.shape[0]} x {x.shape[1]}.{hint}"
        )


def _check_size(x: np.ndarray, name: str) -> None:
    if len(x) < MIN_CELLS:
        raise ValueError(
            f"{name}: {len(x)} cells, at least {MIN_CELLS} are needed to estimate effects. "
            "If these are genes, transpose the matrix."
        )
    if x.shape[1] < 2:
        raise ValueError(
            f"{name}: found {x.shape[1]} genes that vary; a network needs at least two."
        )


def _usable(
    x: np.ndarray, genes: tuple[str, ...], cells: tuple[str, ...]
) -> tuple[Bool[np.ndarray, " cells"], Bool[np.ndarray, " genes"], tuple[str, ...]]:
    """Return which cells and genes can be used, and what is said of the others."""
    unnamed = np.array([not gene for gene in genes], bool)
    first = np.zeros(len(genes), bool)
    first[np.unique(np.asarray(genes, str), return_index=True)[1]] = True
    of_cells = np.array([describes_cells(gene) for gene in genes], bool)
    columns = first & ~unnamed & ~of_cells
    of_genes = np.array([describes_genes(cell) for cell in cells], bool)
    rows = np.asarray(x[:, ~of_cells].any(1)) & ~of_genes
    constant = np.zeros(len(genes), bool)
    if rows.any():
        while True:  # a cell may be empty once genes are gone, and a gene constant
            constant = columns & (x[rows].min(0) == x[rows].max(0))
            left = rows & x[:, columns & ~constant].any(1)
            if not left.any() or (left == rows).all():
                break
            rows = left
    names = np.asarray(genes, object)
    notes = (
        ((~rows & ~of_genes).sum(), "cells without any value other than 0", ""),
        (constant.sum(), "genes that have the same value in every cell", names[constant]),
        (unnamed.sum(), "genes without a name", ""),
        (of_cells.sum(), "columns that describe cells and are no genes", names[of_cells]),
        (of_genes.sum(), "columns that describe genes and are no cells",
         np.asarray(cells, object)[of_genes]),
        ((~first & ~unnamed).sum(), "genes whose name others have as well, of which the first of "
         "each name is kept", names[~first & ~unnamed]),
    )  # fmt: skip
    told = tuple(
        f"left out {n} {text}" + (f" ({some(names, 5)})" if len(names) else "")
        for n, text, names in notes
        if n
    )
    return rows, columns & ~constant, told


def numbered(cells: Names) -> tuple[tuple[str, ...], list[str]]:
    """Tell cells of one name apart, and say so."""
    if len(set(cells)) == len(cells):
        return tuple(cells), []
    seen: dict[str, int] = {}
    taken, named = set(cells), []
    for cell in cells:
        times = seen.get(cell, 0)
        name = cell
        while times and (name := f"{cell}-{times}") in taken:
            times += 1
        seen[cell] = times + 1
        taken.add(name)
        named.append(name)
    twice = len(cells) - len(set(cells))
    return tuple(named), [f"numbered {twice} cells whose name others have as well"]


def _check_values(x: np.ndarray, genes: tuple[str, ...], name: str) -> None:
    if not (np.issubdtype(x.dtype, np.number) and np.isrealobj(x)):
        raise ValueError(f"{name}: expected real numbers, found values of type {x.dtype}.")
    columns = np.asarray(genes, str)
    missing = [(f"{mark:.0f}, which marks missing ones", x == mark) for mark in MISSING]
    for what, bad in (("NaN or infinite", ~np.isfinite(x)), *missing, ("negative", x < 0)):
        if bad.any():
            cell, gene = np.argwhere(bad)[0]
            remedy = (
                "remove or impute them"
                if what != "negative"
                else "give counts or log expression, not z-scores; normalisation is done here"
            )
            raise ValueError(
                f"{name}: {bad.sum()} values are {what} (first: row {cell}, gene "
                f"{columns[gene]}); {remedy}."
            )


def counts_of_cells(data: Dataset) -> Float64[np.ndarray, "cells 1"]:
    """Return the total of each cell: over all genes that were counted, where that is known."""
    total = data.x.sum(1, keepdims=True, dtype=np.float64)
    return total if data.totals is None else np.maximum(total, data.totals[:, None])


def _log1p_cpm(x: np.ndarray, data: Dataset) -> np.ndarray:
    total = counts_of_cells(data)
    empty = np.flatnonzero(total == 0)
    if len(empty):
        names = [data.cells[i] for i in empty]
        raise ValueError(f"{data.name}: {len(empty)} cells have no counts ({some(names, 5)}).")
    return np.log1p(1e6 * x / total)


def _cell_range(x: np.ndarray, data: Dataset) -> np.ndarray:
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    flat = np.flatnonzero(low == high)
    if len(flat):
        names = [data.cells[i] for i in flat]
        raise ValueError(
            f"{data.name}: {len(flat)} cells have the same value for every gene ({some(names, 5)}) "
            "and so no range to scale by; leave them out."
        )
    return (x - low) / (high - low)


def _zscore_nonzero(x: np.ndarray, observed: np.ndarray, clip: float) -> np.ndarray:
    n = np.maximum(observed.sum(0), 1)
    mean = x.sum(0) / n
    sd = np.sqrt((np.where(observed, x - mean, 0) ** 2).sum(0) / n)
    # A gene with one non-zero value, or equal ones, has no scale of its own: its z-scores are zero.
    z = np.divide(x - mean, sd, out=np.zeros_like(x), where=sd > 1e-12)
    return np.clip(z, -clip, clip)


def _positive(sd: np.ndarray) -> np.ndarray:
    return np.where(sd > 1e-12, sd, 1.0)
