"""AnnData, in memory or in HDF5, of which no more is read than is asked for."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import h5py
import numpy as np
import pandas as pd
import scipy.sparse
from jaxtyping import Float32, Int

from infosem_jax._typing import Names, Path
from infosem_jax.data._files import LIMITS, Limits, check_h5, read_element, reading
from infosem_jax.data._tables import pick
from infosem_jax.data.units import declared_base

if TYPE_CHECKING:
    import anndata

    PathOrAnnData: TypeAlias = Path | anndata.AnnData
else:
    PathOrAnnData = Any  # importing AnnData takes a second, which reading a table need not wait for

INDEX = "index"
# Of genes only, whatever other features were measured.
GENE_TOTALS = ("nCount_RNA", "nCount_SCT")
TOTALS = (
    *("total_counts", "n_counts", *GENE_TOTALS, "ncounts", "n_umis", "total_umis", "UMI_count"),
    *("umi_count", "nUMI", "n_umi", "sum"),
)
# As Cell Ranger, and the files of others, call features that are genes.
_GENE_KINDS = ("gene expression", "gex", "rna", "gene")


class Opened(NamedTuple):
    """An open file or an object in memory, with its tables.

    Attributes
    ----------
    obs, var
        Tables of cells and genes; ``var`` is that of the matrix, which ``raw`` has its own of.
    matrix
        The dataset, the group of a sparse matrix, or a matrix, [cells, features]; see `by_rows`.
    columns
        Its columns that ``var`` is about.
    notes
        What was left out, a sentence each.
    others
        What else ``layer`` may name.
    base
        Base of the logarithms that ``uns`` declares; None where unsaid.
    """

    obs: pd.DataFrame
    var: pd.DataFrame
    matrix: Any
    columns: slice | Int[np.ndarray, " genes"]
    notes: tuple[str, ...]
    others: tuple[str, ...]
    base: str | None


@contextmanager
def open_anndata(
    source: PathOrAnnData, kind: str, layer: str | None = None, *, limits: Limits = LIMITS
) -> Iterator[Opened]:
    """Open an h5ad file, or an object; only its tables and one matrix are looked at.

    Features that are no genes are left out, see `gene_columns`.

    Parameters
    ----------
    source
        The file, or an AnnData object.
    kind
        What it is called in messages.
    layer
        Layer to take instead of ``X``; ``raw`` for ``raw.X`` where no layer has that name.
    limits
        What a file may declare.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is unsafe, or no such file; if it has no such matrix, naming those that it has.
    """
    if not isinstance(source, str | os.PathLike):
        with _called(f"{title(source)}: cannot be used as {kind}"):
            yield _in_memory(source, layer)
        return
    with reading(source, kind):
        check_h5(source, limits, parts=(*places(layer), "obs", "uns/log1p"))
        with h5py.File(source, "r") as file:
            key, var = matrix_place(file, layer)
            tables = read_element(file, "obs"), read_element(file, var)
            if not all(isinstance(table, pd.DataFrame) for table in tables):
                raise ValueError(
                    "obs and var are no tables; write the file again with current AnnData."
                )
            obs, var = tables
            matrix: Any = file[key]
            found = getattr(matrix, "shape", None) or tuple(map(int, matrix.attrs["shape"]))
            if found != (len(obs), len(var)):
                raise ValueError(
                    f"obs and var name {len(obs)} x {len(var)} values, the matrix is {found}."
                )
            others = tuple(name for name in choices(file) if matrix_place(file, name)[0] != key)
            uns = file.get("uns")
            base = declared_base(uns) if isinstance(uns, h5py.Group) else None
            yield _of_genes(obs, var, matrix, others, base)


def title(source: PathOrAnnData) -> str:
    """Return what a file or an object is called in messages."""
    return str(source) if isinstance(source, str | os.PathLike) else "AnnData"


def holds_anndata(source: PathOrAnnData) -> bool:
    """Tell AnnData, in memory or by the ending of a file, from files of other kinds."""
    is_path = isinstance(source, str | os.PathLike)
    return not is_path or FilePath(source).suffix in (".h5ad", ".h5")


def by_rows(matrix: Any) -> Any:
    """Return a matrix of `Opened` as one whose rows can be taken, where it lies."""
    from anndata.io import sparse_dataset

    return sparse_dataset(matrix) if isinstance(matrix, h5py.Group) else matrix


@contextmanager
def _called(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _in_memory(source: Any, layer: str | None) -> Opened:
    if not all(hasattr(source, name) for name in ("obs", "var", "layers", "isbacked")):
        raise TypeError(
            f"Expected the path of a file or an AnnData object, found {type(source).__name__}."
        )
    source = source.to_memory() if source.isbacked else source
    matrices = {"X": source.X, **source.layers}
    if source.raw is not None:
        matrices.setdefault("raw", source.raw.X)
    found = [name for name, matrix in matrices.items() if matrix is not None]
    key = layer or "X"
    if key not in found:
        raise ValueError(_no_matrix(layer, found))
    of_raw = key == "raw" and "raw" not in source.layers
    var = source.raw.var if of_raw and source.raw is not None else source.var
    others = tuple(name for name in found if name != key)
    return _of_genes(source.obs, var, matrices[key], others, declared_base(source.uns))


def _of_genes(
    obs: pd.DataFrame, var: pd.DataFrame, matrix: Any, others: tuple[str, ...], base: str | None
) -> Opened:
    columns, notes = gene_columns(var)
    if notes:  # totals of all features are not those of genes
        known = [name for name in TOTALS if name in obs and name not in GENE_TOTALS]
        obs, var = obs.drop(columns=known), var.iloc[columns]
    return Opened(obs, var, matrix, columns, notes, others, base)


def places(layer: str | None) -> tuple[str, ...]:
    """Return where the matrix and the table of its genes may lie, see `matrix_place`."""
    key = "X" if layer in (None, "X") else f"layers/{layer}"
    return (key, "var", *(("raw/X", "raw/var") if layer == "raw" else ()))


def matrix_place(store: Any, layer: str | None) -> tuple[str, str]:
    """Return where a matrix lies, and the table of its genes.

    Parameters
    ----------
    store
        An open HDF5 file or zarr group.
    layer
        As `open_anndata`.

    Raises
    ------
    ValueError
        If there is no such matrix, naming those that are there.
    """
    key, var = places(layer)[:2]
    if key in store:
        return key, var
    if layer == "raw" and "raw/X" in store:
        return "raw/X", "raw/var"
    raise ValueError(_no_matrix(layer, choices(store), " as AnnData writes it"))


def _no_matrix(layer: str | None, found: list[str], how: str = "") -> str:
    name = "matrix X" if layer is None else f"layer {layer!r}"
    hint = "name it (--layer, layer=...)" if layer is None and found else "choose from these"
    return f"it has no {name}{how}; found {', '.join(found) or 'nothing'}; {hint}."


def choices(store: Any) -> list[str]:
    """Return what may be asked for as a layer."""
    layers = sorted(store["layers"]) if "layers" in store else []
    return [*(["X"] if "X" in store else []), *layers, *(["raw"] if "raw/X" in store else [])]


def gene_columns(
    var: pd.DataFrame,
) -> tuple[slice | Int[np.ndarray, " genes"], tuple[str, ...]]:
    """Return which features are genes, and what is said of antibodies, guides, peaks and others.

    Parameters
    ----------
    var
        Table of features, whose column ``feature_types`` tells their kinds; without one, or if it
        names no gene expression, all are genes.
    """
    column = pick(var.columns, "feature_types", "feature_type", "modality")
    if column is None:
        return slice(None), ()
    kinds = var[column].astype(object).where(var[column].notna(), "unknown").astype(str)
    is_gene = kinds.str.strip().str.lower().isin(_GENE_KINDS).to_numpy(bool)
    if is_gene.all() or not is_gene.any():
        return slice(None), ()
    count = Counter(kinds[~is_gene])
    told = ", ".join(f"{kind} ({n})" for kind, n in count.most_common())
    note = f"left out {len(var) - is_gene.sum()} features of other kinds than genes: {told}"
    return np.flatnonzero(is_gene), (note,)


def gene_names(var: pd.DataFrame, column: str | None = None) -> list[str]:
    """Return the names of genes in a column of var, or its index; the index where one has none.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    index = list(map(str, var.index))
    if column is None or (column == INDEX and column not in var):
        return index
    if column not in var:
        found = ", ".join(map(str, var.columns)) or "none"
        raise ValueError(f"var has no column {column!r}; its columns are: {found}.")
    text = var[column].astype(object).where(var[column].notna(), "").astype(str).str.strip()
    missing = text.str.lower().isin(("", "nan", "none", "na", "<na>"))
    return [at if gone else own for own, at, gone in zip(text, index, missing, strict=True)]


def cell_totals(
    obs: pd.DataFrame | None, own: np.ndarray
) -> tuple[Float32[np.ndarray, " cells"] | None, list[str]]:
    """Return the totals that obs holds of counts over more genes, and a note of it.

    Parameters
    ----------
    obs
        Table of cells; None for none.
    own
        Totals of the counts of the genes that are here, [cells].
    """
    column = None if obs is None else pick(obs.columns, *TOTALS)
    if obs is None or column is None or not len(own):
        return None, []
    told = np.asarray(pd.to_numeric(obs[column], errors="coerce"), np.float64)
    if not ((told >= 0.999 * own).all() and (told > 1.001 * own + 0.5).mean() > 0.5):
        return None, []
    note = f"totals of cells are those of obs[{column!r}], of more genes than are here"
    return told.astype(np.float32), [note]


@contextmanager
def hinted(var: pd.DataFrame | None, wanted: Names | None) -> Iterator[None]:
    """Add to a refusal which column of var holds the names that were looked for.

    Parameters
    ----------
    var
        Table of genes; None for none.
    wanted
        Names of genes; None for none.
    """
    try:
        yield
    except ValueError as error:
        if var is None or wanted is None:
            raise
        held = {str(name): len(set(map(str, var[name])) & set(wanted)) for name in var}
        best = max(held, key=lambda name: held[name], default="")
        if not held or not held[best] or "regulators" not in str(error):
            raise
        raise ValueError(
            f"{error} The column {best} of var holds {held[best]} of {len(set(wanted))}; "
            f"name genes by it (--var-names {best}, names={best!r})."
        ) from error


def refuse_negative(values: Any, others: tuple[str, ...]) -> None:
    """Refuse values below 0 where a file holds other matrices that may be meant.

    Raises
    ------
    ValueError
        Naming these matrices.
    """
    numbers = values.data if scipy.sparse.issparse(values) else np.asarray(values)
    if others and numbers.size and numbers.dtype.kind in "if" and numbers.min() < 0:
        raise ValueError(
            f"values are negative, down to {numbers.min():.3g}, as of differences or z-scores; "
            f"take counts or logarithms, perhaps from another matrix of the file: "
            f"{', '.join(others)} (--layer, layer=...)."
        )
