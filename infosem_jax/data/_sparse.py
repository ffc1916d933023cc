"""Matrices of cells that stay in their file, AnnData in HDF5 or zarr: read by rows, measured."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path as FilePath
from typing import Any, NamedTuple, cast

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Bool, Float, Float32, Int

from infosem_jax._typing import Path
from infosem_jax.data._anndata import (
    GENE_TOTALS,
    TOTALS,
    cell_totals,
    choices,
    gene_columns,
    gene_names,
    matrix_place,
    refuse_negative,
)
from infosem_jax.data._files import reading
from infosem_jax.data._sources import _marked
from infosem_jax.data._store_check import KIND, marker
from infosem_jax.data._tables import pick
from infosem_jax.data.dataset import check_scale
from infosem_jax.data.units import Look, decide, look_at, merge


class Matrix(NamedTuple):
    """A matrix [cells, genes] in an open store.

    Attributes
    ----------
    file
        The file that messages name.
    shape
        Number of cells and genes.
    data
        Dense values, or the stored values of CSR, as HDF5 dataset or zarr array.
    indices, indptr
        The rest of CSR; None for dense values. ``indptr`` is in memory.
    others
        What else of the store ``layer`` may name.
    """

    file: FilePath
    shape: tuple[int, int]
    data: Any
    indices: Any = None
    indptr: Int[np.ndarray, " bounds"] | None = None
    others: tuple[str, ...] = ()


@contextmanager
def open_store(path: Path) -> Iterator[Any]:
    """Open an h5ad file or a zarr folder for reading, in the thread that will read.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or none that can be opened.
    ImportError
        If a folder is given and zarr is not installed.
    """
    file = marker(path)
    if FilePath(path).is_dir():
        try:
            import zarr
        except ImportError as error:
            raise ImportError(
                f"{path}: reading a folder in zarr format needs the package zarr; install it."
            ) from error
        with reading(file, KIND):
            # Consolidated metadata are a copy that may disagree with what was checked.
            store = zarr.open_group(FilePath(path), mode="r", use_consolidated=False)
    else:
        with reading(file, KIND):
            store = h5py.File(path, "r")
    with store if isinstance(store, h5py.File) else nullcontext(store):
        yield store


class Features(NamedTuple):
    """What the columns of a matrix are.

    Attributes
    ----------
    var
        Table of the genes.
    names
        Names of all columns.
    genes
        Columns that are genes, see `gene_columns`.
    regulators
        Genes that a boolean ``is_tf`` or ``regulator`` column marks; None where there is none.
    notes
        What was left out, a sentence each.
    """

    var: pd.DataFrame
    names: tuple[str, ...]
    genes: Int[np.ndarray, " genes"]
    regulators: tuple[str, ...] | None
    notes: tuple[str, ...]


def read_features(
    store: Any, path: Path, layer: str | None, names: str | None, marked: bool
) -> Features:
    """Read what the columns are, and which of them are genes.

    Parameters
    ----------
    store, path
        The open store, and where it lies.
    layer, names
        As `open_stream`.
    marked
        Whether the marks are asked for.

    Raises
    ------
    ValueError
        If var cannot be read as a table, or the column as marks.
    """
    with reading(marker(path), KIND):
        var = _read_table(_member(store, matrix_place(store, layer)[1]))
        if not isinstance(var, pd.DataFrame):
            raise ValueError("var is no table; write the store again with current AnnData.")
        named = tuple(gene_names(var, names))
        columns, notes = gene_columns(var)
        at = np.arange(len(var))[columns]
        var = var.iloc[at]
        flag = pick(var.columns, "is_tf", "regulator") if marked else None
        genes = tuple(named[i] for i in at)
        marks = _marked(genes, var[flag].to_numpy(), flag) if flag else None
        return Features(var, named, at, marks, notes)


def find_matrix(store: Any, path: Path, layer: str | None) -> Matrix:
    """Find ``X``, ``raw`` or a layer, without reading more of it than where its rows begin.

    Raises
    ------
    ValueError
        If it is not there, is stored by columns, or does not agree with its own shape or obs.
    """
    file = marker(path)
    with reading(file, KIND):
        name, _ = matrix_place(store, layer)
        item = store[name]
        kind = item.attrs.get("encoding-type", "array")
        if kind == "csc_matrix":
            raise ValueError(
                f"{name} is stored by genes (CSC), so that a block of cells is all over the file; "
                "store it by cells: adata.X = adata.X.tocsr(), and write it again."
            )
        if kind == "csr_matrix":
            matrix = _csr(file, item)
        elif kind == "array" and len(getattr(item, "shape", ())) == 2:
            matrix = Matrix(file, (int(item.shape[0]), int(item.shape[1])), item)
        else:
            raise ValueError(f"{name} is a {kind}; expected CSR or a dense matrix.")
        dtype = np.dtype(matrix.data.dtype)
        if not (np.issubdtype(dtype, np.number) and dtype.kind != "c"):
            raise ValueError(f"expected real numbers, found values of type {dtype}.")
        obs = _member(store, "obs")
        index = _member(obs, str(obs.attrs.get("_index", "_index")))
        # Names that may be missing are stored as values and a mask.
        cells = (index if hasattr(index, "shape") else _member(index, "values")).shape[0]
        if cells != matrix.shape[0]:
            raise ValueError(f"obs names {cells} cells, {name} has {matrix.shape[0]} rows.")
        others = tuple(other for other in choices(store) if matrix_place(store, other)[0] != name)
        return matrix._replace(others=others)


def read_totals(
    store: Any, matrix: Matrix, genes: Int[np.ndarray, " genes"]
) -> tuple[Float32[np.ndarray, " cells"] | None, list[str]]:
    """Return the totals of all cells that obs tells of more genes, and a note; see `cell_totals`.

    Whether they are of more genes is told by the first cells.

    Parameters
    ----------
    store, matrix
        The open store, and its values.
    genes
        Columns that are genes; totals of other features do not count.
    """
    known = TOTALS if len(genes) == matrix.shape[1] else GENE_TOTALS
    column = pick(store["obs"], *known)
    if column is None or len(getattr(store["obs"][column], "shape", ())) != 1:
        return None, []
    totals = np.asarray(store["obs"][column][:])
    first = keep(read_rows(matrix, 0, min(matrix.shape[0], 1024)), genes)
    if totals.dtype.kind not in "iuf" or not np.isfinite(totals).all():
        return None, []
    obs = pd.DataFrame({column: totals[: first.shape[0]]})  # pyright: ignore[reportOptionalSubscript]
    told, note = cell_totals(obs, np.asarray(first.sum(axis=1)).ravel())
    return (None, []) if told is None else (totals.astype(np.float32), note)


def read_rows(matrix: Matrix, start: int, stop: int) -> sp.csr_array:
    """Read contiguous rows: sorted columns, no duplicates, no zeros among the stored values.

    Raises
    ------
    ValueError
        If they cannot be read, or name columns outside the matrix.
    """
    with reading(matrix.file, KIND):
        if matrix.indptr is None:
            rows = sp.csr_array(np.asarray(matrix.data[start:stop]))
        else:
            low, high = int(matrix.indptr[start]), int(matrix.indptr[stop])
            rows = sp.csr_array(
                (
                    np.asarray(matrix.data[low:high]),
                    np.asarray(matrix.indices[low:high]),
                    matrix.indptr[start : stop + 1] - low,
                ),
                shape=(stop - start, matrix.shape[1]),
            )
            # Only the full check looks at every index; using wrong ones is not safe.
            rows.check_format(full_check=True)
            rows.sum_duplicates()
    rows.eliminate_zeros()
    return rows


class Moments(NamedTuple):
    """What a pass over the file finds out about the genes that it keeps, and about all cells.

    ``n`` cells have a value other than zero; ``mean`` and ``squares``, the summed squared
    deviations, are of the values before z-scoring that count for the normalisation.
    """

    kept: Int[np.ndarray, " genes"]
    n: Int[np.ndarray, " genes"]
    mean: Float[np.ndarray, " genes"]
    squares: Float[np.ndarray, " genes"]
    constant: Bool[np.ndarray, " genes"]
    slots: int
    digest: str


def measure(
    matrix: Matrix,
    names: tuple[str, ...],
    how: str,
    name: str,
    chunk_cells: int,
    on_chunk: Callable[[int, int], object] | None,
    totals: Float32[np.ndarray, " cells"] | None,
    kept: Int[np.ndarray, " genes"],
) -> Moments:
    """Pass over the file once, looking at the genes in some columns and at all cells.

    Parameters
    ----------
    matrix, names
        The values, and the genes in all of its columns.
    how, name
        Normalisation, and what the data are called.
    chunk_cells, on_chunk
        Cells read at a time, and what is called after each time with those done and all.
    totals
        Counts of each cell over more genes than these; None for none.
    kept
        The columns.

    Raises
    ------
    ValueError
        On values that are not finite or are negative, counts where log expression is expected or
        the reverse, and cells without any count or range.
    """
    n_cells, size = matrix.shape[0], len(kept)
    weight, n, same = (np.zeros(size, int) for _ in range(3))
    mean, squares, first = (np.zeros(size) for _ in range(3))
    slots, facts = 0, None
    # Lengths, columns and values apart, so that the digest does not depend on the chunks.
    digests = [hashlib.sha256() for _ in range(3)]
    for start in range(0, n_cells, chunk_cells):
        cells = np.arange(start, min(start + chunk_cells, n_cells))
        rows = read_rows(matrix, start, start + len(cells))
        _check_values(rows, start, names, name, matrix.others)
        for digest, part, dtype in zip(
            digests,
            (np.diff(rows.indptr), rows.indices, rows.data),
            (np.int32, np.int32, np.float32),
            strict=True,
        ):
            digest.update(part.astype(dtype).tobytes())
        rows = keep(rows, kept)
        facts = look_at(rows, 64) if facts is None else merge(facts, look_at(rows, 64))
        if start == 0 and len(cells) >= 1000:  # enough to tell, before the rest is read
            check_scale(how, decide(facts, name=name), name)
        if start == 0:
            first = rows[[0]].toarray()[0]
        columns = rows.indices.astype(np.intp)
        count = np.bincount(columns, minlength=size)
        n += count
        same += np.bincount(columns[rows.data == first[columns]], minlength=size)
        slots = max(slots, int(np.diff(rows.indptr).max()))
        values = transform(rows, how, cells, name, totals).data
        # Moments of the chunk, then merged (Chan et al. 1983): stable, unlike a sum of squares.
        add = count if how == "zscore_nonzero" else np.full(size, len(cells))
        center = np.bincount(columns, values, size) / np.maximum(add, 1)
        spread = np.bincount(columns, (values - center[columns]) ** 2, size)
        spread += (add - count) * center**2
        share = add / np.maximum(weight + add, 1)
        squares += spread + (center - mean) ** 2 * weight * share
        mean += (center - mean) * share
        weight += add
        if on_chunk is not None:
            on_chunk(int(cells[-1]) + 1, n_cells)
    check_scale(how, decide(cast(Look, facts), name=name), name)
    constant = np.where(first == 0, n == 0, same == n_cells)
    digest = hashlib.sha256(b"".join(part.digest() for part in digests)).hexdigest()
    return Moments(kept, n, mean, squares, constant, slots, digest)


def keep(rows: sp.csr_array, kept: Int[np.ndarray, " genes"]) -> sp.csr_array:
    """Return some columns, as numbers of the precision that a data set in memory has."""
    if len(kept) < rows.shape[1]:  # pyright: ignore[reportOptionalSubscript]
        rows = rows[:, kept]
    rows.data = rows.data.astype(np.float32).astype(np.float64)
    return rows


def transform(
    rows: sp.csr_array,
    how: str,
    cells: Int[np.ndarray, " cells"],
    name: str,
    totals: Float32[np.ndarray, " all"] | None = None,
) -> sp.csr_array:
    """Take the steps of a normalisation that come before z-scores.

    Parameters
    ----------
    rows, how
        Values, and the normalisation.
    cells, name
        Which cells they are, and what the data are called.
    totals
        Counts of all cells over more genes than these; None for none.
    """
    if how.startswith("log1p_cpm"):
        total = np.asarray(rows.sum(axis=1))
        total = total if totals is None else np.maximum(total, totals[cells])
        if not total.all():
            empty = cells[total == 0]
            raise ValueError(
                f"{name}: {len(empty)} cells have no counts (first: row {empty[0]}); "
                "leave them out."
            )
        rows.data = np.log1p(1e6 * rows.data / np.repeat(total, np.diff(rows.indptr)))
    if how == "cell_range_zscore":
        # The smallest value is zero: a stream with a cell where it is not is never opened.
        high = rows.max(axis=1).toarray().ravel()
        if not high.all():
            flat = cells[high == 0]
            raise ValueError(
                f"{name}: {len(flat)} cells have the same value for every gene (first: row "
                f"{flat[0]}) and so no range to scale by; leave them out."
            )
        rows.data = rows.data / np.repeat(high, np.diff(rows.indptr))
    return rows


def _read_table(group: Any) -> Any:
    """Read a table; machines that only measure speed may do so without anndata."""
    try:
        from anndata.io import read_elem
    except ImportError:
        index = group[group.attrs["_index"]].asstr()[:]
        return pd.DataFrame(
            {name: group[name][:] for name in group.attrs["column-order"]}, index=index
        )
    return read_elem(group)


def _member(group: Any, key: str) -> Any:
    if key not in group:
        folder, _, name = key.rpartition("/")
        beside = sorted(group[folder]) if folder and folder in group else sorted(group)
        raise ValueError(
            f"it has no {folder + ' ' if folder else ''}{name!r} as AnnData writes it; "
            f"choose from what is there: {', '.join(map(str, beside)) or 'nothing'}."
        )
    return group[key]


def _csr(file: FilePath, group: Any) -> Matrix:
    rows, columns = map(int, group.attrs["shape"])
    data, indices = _member(group, "data"), _member(group, "indices")
    indptr = np.asarray(_member(group, "indptr")[:])
    if not all(np.dtype(part.dtype).kind in "iu" for part in (indices, indptr)):
        raise ValueError("the indices of the sparse matrix are no whole numbers.")
    indptr = indptr.astype(np.int64)
    if (
        indptr.shape != (rows + 1,)
        or indptr[0] != 0
        or np.any(np.diff(indptr) < 0)
        or not indptr[-1] == data.shape[0] == indices.shape[0]
    ):
        raise ValueError(
            f"the index of the sparse matrix does not fit {rows} rows and {data.shape[0]} values."
        )
    return Matrix(file, (rows, columns), data, indices, indptr)


def _check_values(
    rows: sp.csr_array, start: int, names: tuple[str, ...], name: str, others: tuple[str, ...]
) -> None:
    refuse_negative(rows, others)
    # What float32 cannot hold would turn infinite later.
    finite = np.abs(rows.data) <= np.finfo(np.float32).max
    for what, bad, remedy in (
        ("NaN or infinite", ~finite, "remove or impute them"),
        (
            "negative",
            rows.data < 0,
            "give counts or log expression, not z-scores; normalisation is done here",
        ),
    ):
        if bad.any():
            entry = int(bad.argmax())
            row = start + int(np.searchsorted(rows.indptr, entry, side="right")) - 1
            raise ValueError(
                f"{name}: values are {what} (first: row {row}, gene "
                f"{names[rows.indices[entry]]}); {remedy}."
            )
