"""Cells that never fit in memory: read block by block, sparse until a minibatch is made dense."""

import hashlib
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path as FilePath
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float32, Int

from infosem_jax._shown import shown
from infosem_jax._typing import Array, Names, Path
from infosem_jax.data._anndata import hinted, refuse_negative
from infosem_jax.data._names import describes_cells, match_regulators, some
from infosem_jax.data._sparse import (
    Features,
    Matrix,
    Moments,
    find_matrix,
    keep,
    measure,
    open_store,
    read_features,
    read_rows,
    read_totals,
    transform,
)
from infosem_jax.data._store_check import check_store
from infosem_jax.data.dataset import (
    MIN_CELLS,
    NORMALISATIONS,
    Dataset,
    Normalisation,
    usual_normalisation,
)
from infosem_jax.data.units import describe_units

_log = logging.getLogger("infosem_jax")


@shown("path", "n_cells", "genes", "regulators", "normalisation", "notes")
class Stream(NamedTuple):
    """Expression that stays in its file, with what is needed to normalise any part of it.

    Attributes
    ----------
    path, layer
        Where the values lie: an h5ad file or zarr folder, and a layer of it, or None for ``X``.
    genes
        Names of the genes that are kept.
    regulators
        Candidate regulators, a subset of ``genes`` in the order of ``genes``.
    n_cells
        Number of cells.
    name
        What the data are called in reports.
    normalisation
        How ``densify`` brings values to the scale of the model, as ``normalise``.
    mean, sd
        What is subtracted and divided by for each gene; 0 and 1 without z-scores. The ``sd`` is
        infinite for a gene whose z-scores are zero because it has no scale of its own.
    clip
        Bound of the z-scores; infinite without z-scores.
    slots
        Largest number of non-zero values of kept genes in any cell.
    kept
        Column of each kept gene in the file.
    fingerprint
        Digest of all values, names and settings above: streams with equal fingerprints give equal
        blocks, so an interrupted fit may go on.
    notes
        What was left out, a sentence each.
    totals
        Counts of each cell over more genes than the file holds, where it tells; else None.
    cells
        Digest of the values of the kept genes and how they are scaled, whatever the regulators.
    """

    path: str
    layer: str | None
    genes: tuple[str, ...]
    regulators: tuple[str, ...]
    n_cells: int
    name: str
    normalisation: str
    mean: Float32[np.ndarray, " genes"]
    sd: Float32[np.ndarray, " genes"]
    clip: float
    slots: int
    kept: Int[np.ndarray, " genes"]
    fingerprint: str
    notes: tuple[str, ...] = ()
    totals: Float32[np.ndarray, " cells"] | None = None
    cells: str = ""


class CellBlock(NamedTuple):
    """Some cells of a stream, sparse, in arrays whose shape is the same for every block.

    Attributes
    ----------
    values
        Non-zero values before z-scoring: as stored, ``log1p_cpm`` of them, or shares of the cell's
        range; 0 in unused slots.
    columns
        Their genes, numbered as in ``Stream.genes``; the number of genes in unused slots.
    n_cells
        Number of rows that are cells; the rows after them are unused.
    """

    values: Float32[Array, "cells slots"]
    columns: Int[Array, "cells slots"]
    n_cells: int


def open_stream(
    path: Path,
    *,
    regulators: Names | None = None,
    layer: str | None = None,
    names: str | None = None,
    normalisation: Normalisation = "zscore",
    clip: float = 10.0,
    chunk_cells: int = 1024,
    name: str | None = None,
    on_chunk: Callable[[int, int], object] | None = None,
) -> Stream:
    """Validate expression in an AnnData file and measure each gene, in one pass over the file.

    Means and standard deviations are those of ``normalise``, gathered in float64 by merging the
    moments of chunks. Memory holds a chunk of cells and the index of the rows. Genes with one
    value in all cells are left out; the file is passed over a second time if that is not zero.

    Parameters
    ----------
    path
        An h5ad file or zarr folder; values as CSR or dense, [cells, genes].
    regulators
        Symbols of candidate regulators, instead of those that a boolean ``is_tf`` or ``regulator``
        column of ``var`` marks; all genes where there is neither.
    layer
        Layer to read instead of ``X``; ``raw`` for ``raw.X``.
    names
        Column of ``var`` that names the genes; its index where None.
    normalisation, clip
        As ``normalise``.
    chunk_cells
        Cells read at a time.
    name
        What the data are called in reports; the file's name where None.
    on_chunk
        Called after each chunk with the numbers of cells done and in all.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        On unreadable or unsafe files, values stored by genes (CSC), and whatever ``dataset`` and
        ``normalise`` refuse, except duplicate cell names, which are not read; on a cell without
        zeros if ``normalisation`` is ``cell_range_zscore``.
    ImportError
        If a folder is given and zarr is not installed.
    """
    _check_options(regulators, normalisation, clip, chunk_cells)
    name = name or FilePath(path).resolve().stem
    check_store(path, layer)
    with open_store(path) as store:
        features = read_features(store, path, layer, names, regulators is None)
        genes = features.names
        matrix = find_matrix(store, path, layer)
        regulators = features.regulators if regulators is None else tuple(regulators)
        with hinted(features.var, regulators):
            _check_names(matrix, features, regulators, name)
        named, notes = _named_once(genes, features.genes)
        notes = (*features.notes, *notes)
        if normalisation == "auto":
            first = keep(read_rows(matrix, 0, min(matrix.shape[0], 1024)), named)
            refuse_negative(first, matrix.others)
            normalisation = usual_normalisation(describe_units(first, name=name), name)
        totals, told = None, []
        if normalisation.startswith("log1p_cpm"):
            totals, told = read_totals(store, matrix, features.genes)
        notes = (*told, *notes)
        look = partial(measure, matrix, genes, normalisation, name, chunk_cells, on_chunk, totals)
        found = look(named)
        if found.constant.any():
            varies = ~found.constant
            notes += _left_out(varies, [genes[column] for column in found.kept], name)
            # Only what is other than zero counts in the totals of the cells that it is left out of.
            again = found.n[found.constant].any()
            found = look(found.kept[varies]) if again else _select(found, varies)
    _check_zeros(found, normalisation, name)
    genes = tuple(genes[column] for column in found.kept)
    mean, sd, clip = _scale(found, matrix.shape[0], normalisation, clip)
    candidates, matched = genes, []
    if regulators is not None:
        candidates, matched = match_regulators(genes, regulators)
    notes = (*notes, *matched)
    for note in notes:
        _log.info("%s: %s", name, note)
    known = b"" if totals is None else totals.tobytes()

    def digest(*more: Names) -> str:
        record = json.dumps([genes, *more, matrix.shape, normalisation, clip, found.digest])
        return hashlib.sha256(record.encode() + known).hexdigest()

    return Stream(
        path=str(FilePath(path).resolve()),
        layer=layer,
        genes=genes,
        regulators=candidates,
        n_cells=matrix.shape[0],
        name=name,
        normalisation=normalisation,
        mean=mean,
        sd=sd,
        clip=clip,
        slots=found.slots,
        kept=found.kept,
        fingerprint=digest(candidates),
        notes=notes,
        totals=totals,
        cells=digest(),
    )


def as_read(data: object) -> Dataset | Stream:
    """Return cells that were read, in memory or on disk.

    Raises
    ------
    TypeError
        If they are anything else, such as an AnnData object or a path.
    """
    if isinstance(data, Dataset | Stream):
        return data
    raise TypeError(
        f"Expected a Dataset or a Stream, found {type(data).__name__}; read files and AnnData with "
        "infosem_jax.data.read_expression, arrays with infosem_jax.data.dataset, cells that stay "
        "on disk with infosem_jax.data.open_stream."
    )


def n_cells(data: Dataset | Stream) -> int:
    """Return the number of cells, in memory or on disk."""
    return data.n_cells if isinstance(data, Stream) else len(data.cells)


def read_block(
    stream: Stream, cells: Int[np.ndarray, " cells"], *, block_cells: int | None = None
) -> CellBlock:
    """Read some cells, in the order asked for; neighbours in the file are read together.

    Parameters
    ----------
    stream
        What ``open_stream`` returned.
    cells
        Row numbers, at least one.
    block_cells
        Rows of the block, the last ones unused; as many as cells where None. Give the same number
        for every block, so that one compiled program serves them all.

    Raises
    ------
    ValueError
        On rows that do not exist, more cells than rows of the block, and a file that changed.
    """
    size = len(cells) if block_cells is None else block_cells
    inside = np.all((cells >= 0) & (cells < stream.n_cells))
    if not (1 <= len(cells) <= size and inside):
        raise ValueError(
            f"Expected 1 to {size} row numbers below {stream.n_cells}, found {len(cells)} from "
            f"{cells.min(initial=0)} to {cells.max(initial=0)}."
        )
    unique, place = np.unique(cells, return_inverse=True)
    with open_store(stream.path) as store:
        matrix = find_matrix(store, stream.path, stream.layer)
        unchanged = matrix.shape[0] == stream.n_cells and matrix.shape[1] > stream.kept[-1]
        _check_unchanged(unchanged, stream)
        runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
        parts = [read_rows(matrix, int(run[0]), int(run[-1]) + 1) for run in runs]
    rows = keep(sp.csr_array(sp.vstack(parts))[place], stream.kept)
    rows = transform(rows, stream.normalisation, cells, stream.name, stream.totals)
    filled = np.arange(stream.slots) < np.diff(rows.indptr)[:, None]
    _check_unchanged(filled.sum() == rows.nnz, stream)
    values = np.zeros((size, stream.slots), np.float32)
    columns = np.full((size, stream.slots), len(stream.genes), np.int32)
    values[: len(cells)][filled] = rows.data
    columns[: len(cells)][filled] = rows.indices
    return CellBlock(values, columns, len(cells))


def densify(
    values: Float32[Array, "batch slots"],
    columns: Int[Array, "batch slots"],
    mean: Float32[Array, " genes"],
    sd: Float32[Array, " genes"],
    clip: float | Array,
    n_genes: int,
) -> tuple[Float32[Array, "batch genes"], Bool[Array, "batch genes"]]:
    """Give rows of a block as ``normalise`` gives them: ``clip((x - mean) / sd)``, and observed.

    Parameters
    ----------
    values, columns
        Rows of a ``CellBlock``.
    mean, sd, clip
        As in the ``Stream``.
    n_genes
        Number of genes.

    Returns
    -------
    Expression, and which of its entries were measured as non-zero; unused rows are those of a
    cell without counts.
    """
    # No value is negative, so one scatter tells the values and where there are none.
    empty = jnp.full((values.shape[0], n_genes), -1, jnp.float32)
    rows = jnp.arange(values.shape[0])[:, None]
    raw = empty.at[rows, columns].set(values, mode="drop")
    observed = raw >= 0
    return jnp.clip((jnp.where(observed, raw, 0) - mean) / sd, -clip, clip), observed


def _select(found: Moments, genes: Bool[np.ndarray, " genes"]) -> Moments:
    arrays = (found.kept, found.n, found.mean, found.squares, found.constant)
    return Moments(*(array[genes] for array in arrays), found.slots, found.digest)  # pyright: ignore[reportCallIssue]


def _scale(
    found: Moments, n_cells: int, how: str, clip: float
) -> tuple[Float32[np.ndarray, " genes"], Float32[np.ndarray, " genes"], float]:
    if "zscore" not in how:
        return np.zeros(len(found.kept), np.float32), np.ones(len(found.kept), np.float32), np.inf
    nonzero = how == "zscore_nonzero"
    sd = np.sqrt(found.squares / (np.maximum(found.n, 1) if nonzero else n_cells))
    sd = np.where(sd > 1e-12, sd, np.inf if nonzero else 1.0)
    return found.mean.astype(np.float32), sd.astype(np.float32), float(clip)


def _check_options(
    regulators: Names | None, normalisation: str, clip: float, chunk_cells: int
) -> None:
    if isinstance(regulators, str):
        raise ValueError(
            f"Expected a list of regulators, found {regulators!r}; see read_regulators."
        )
    if normalisation not in NORMALISATIONS:
        raise ValueError(
            f"Unknown normalisation {normalisation!r}; choose one of {', '.join(NORMALISATIONS)}."
        )
    if not clip > 0:
        raise ValueError(f"Expected a positive clip, found {clip}.")
    if chunk_cells < 1:
        raise ValueError(f"Expected chunk_cells of at least 1, found {chunk_cells}.")


def _check_names(
    matrix: Matrix, features: Features, regulators: tuple[str, ...] | None, name: str
) -> None:
    """Refuse before the pass what names and shapes alone tell."""
    cells, columns = matrix.shape
    if columns != len(features.names):
        raise ValueError(
            f"{name}: var names {len(features.names)} genes, the matrix has {columns} columns."
        )
    genes = tuple(features.names[i] for i in features.genes)
    if cells < MIN_CELLS:
        raise ValueError(
            f"{name}: {cells} cells, at least {MIN_CELLS} are needed to estimate effects."
        )
    if len(genes) < 2:
        raise ValueError(f"{name}: found {len(genes)} genes; a network needs at least two.")
    if regulators is not None:
        match_regulators(genes, regulators)


def _named_once(
    names: tuple[str, ...], genes: Int[np.ndarray, " all"]
) -> tuple[Int[np.ndarray, " genes"], tuple[str, ...]]:
    """Return the first column of each name among the genes, and what is said of the others."""
    _, first = np.unique(np.asarray(names, str)[genes], return_index=True)
    named = np.sort([i for i in genes[first] if names[i] and not describes_cells(names[i])])
    of_cells = [names[i] for i in genes if describes_cells(names[i])]
    left = len(genes) - len(named) - len(of_cells)
    notes = ()
    if of_cells:
        notes += (f"left out columns that describe cells and are no genes ({some(of_cells, 5)})",)
    if left:
        notes += (f"left out {left} genes without a name, or of a name that an earlier one has",)
    return named.astype(int), notes


def _left_out(varies: Bool[np.ndarray, " genes"], names: list[str], name: str) -> tuple[str, ...]:
    if varies.sum() < 2:
        raise ValueError(
            f"{name}: {varies.sum()} genes vary between cells; a network needs at least two."
        )
    gone = np.asarray(names, object)[~varies]
    return (f"left out {len(gone)} genes that have the same value in every cell ({some(gone, 5)})",)


def _check_zeros(found: Moments, how: str, name: str) -> None:
    if how == "cell_range_zscore" and found.slots == len(found.kept):
        raise ValueError(
            f"{name}: a cell has no zero among its {found.slots} genes. Streams keep zeros at "
            f"zero, which {how} does not do for such a cell; read the data into memory, or choose "
            "another normalisation."
        )


def _check_unchanged(agrees: bool | np.bool_, stream: Stream) -> None:
    if not agrees:
        raise ValueError(
            f"{stream.path}: the file is not the one that was opened; call open_stream again."
        )
