"""AnnData in HDF5, opened to read no more of it than is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import scipy.sparse
from jaxtyping import Float32

from infosem_jax._typing import Names, Path
from infosem_jax.data._files import LIMITS, Limits, check_h5, read_element, reading
from infosem_jax.data._tables import pick
from infosem_jax.data.units import declared_base

INDEX = "index"
TOTALS = (
    *("total_counts", "n_counts", "nCount_RNA", "ncounts", "n_umis", "total_umis", "UMI_count"),
    *("umi_count", "nUMI", "n_umi", "nCount_SCT", "sum"),
)


class Opened(NamedTuple):
    """An open file, with its tables.

    Attributes
    ----------
    obs, var
        Tables of cells and genes; ``var`` is that of the matrix, which ``raw`` has its own of.
    matrix
        The dataset, or the group of a sparse matrix, [cells, genes].
    others
        What else ``layer`` may name.
    base
        Base of the logarithms that the file declares; None where unsaid.
    """

    obs: pd.DataFrame
    var: pd.DataFrame
    matrix: Any
    others: tuple[str, ...]
    base: str | None


@contextmanager
def open_anndata(
    path: Path, kind: str, layer: str | None = None, *, limits: Limits = LIMITS
) -> Iterator[Opened]:
    """Open an h5ad file; only its tables and one matrix are looked at.

    Parameters
    ----------
    path
        The file.
    kind
        What it is called in messages.
    layer
        Layer to take instead of ``X``; ``raw`` for ``raw.X`` where no layer has that name.
    limits
        What it may declare.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is unsafe, or no such file; if it has no such matrix, naming those that it has.
    """
    with reading(path, kind):
        check_h5(path, limits, parts=(*places(layer), "obs", "uns/log1p"))
        with h5py.File(path, "r") as file:
            key, var = matrix_place(file, layer)
            tables = read_element(file, "obs"), read_element(file, var)
            if not all(isinstance(table, pd.DataFrame) for table in tables):
                raise ValueError(
                    "obs and var are no tables; write the file again with current AnnData."
                )
            others = tuple(name for name in choices(file) if matrix_place(file, name)[0] != key)
            uns = file.get("uns")
            base = declared_base(uns) if isinstance(uns, h5py.Group) else None
            yield Opened(*tables, file[key], others, base)


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
    name = "matrix X" if layer is None else f"layer {layer!r}"
    found = ", ".join(choices(store)) or "nothing"
    hint = "name it with --layer" if layer is None and choices(store) else "choose from these"
    raise ValueError(f"it has no {name} as AnnData writes it; found {found}; {hint}.")


def choices(store: Any) -> list[str]:
    """Return what may be asked for as a layer."""
    layers = sorted(store["layers"]) if "layers" in store else []
    return [*(["X"] if "X" in store else []), *layers, *(["raw"] if "raw/X" in store else [])]


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
