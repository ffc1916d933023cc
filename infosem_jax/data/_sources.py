"""The kinds of file that hold expression: h5ad, npz, text tables, and the folders of benchmarks."""

import os
from pathlib import Path as FilePath
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse

from infosem_jax._typing import Path
from infosem_jax.data._anndata import (
    PathOrAnnData,
    by_rows,
    gene_names,
    holds_anndata,
    open_anndata,
    refuse_negative,
    title,
)
from infosem_jax.data._files import LIMITS, load_npz, reading
from infosem_jax.data._kinds import describe_folder
from infosem_jax.data._names import are_regulators
from infosem_jax.data._tables import pick, read_matrix, read_table

Orientation = Literal["auto", "genes_in_rows", "genes_in_columns"]


class Source(NamedTuple):
    """Values as they lie in a file, with what the file says about them."""

    x: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    usual: Orientation  # of this kind of file; "auto" where there is no usual one
    regulators: tuple[str, ...] | None = None
    obs: pd.DataFrame | None = None
    var: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()  # what was left out
    base: str | None = None  # of logarithms, where the file declares one


def read_source(
    path: PathOrAnnData,
    layer: str | None,
    variant: str | None,
    *,
    names: str | None = None,
    marked: bool = True,
) -> Source:
    """Read a file or folder by its kind, which its ending tells, or AnnData; all else is text.

    Parameters
    ----------
    path, layer, variant, names
        As `read_expression`.
    marked
        Whether genes that the file marks as regulators are asked for.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        On unreadable or unsafe files, and an unknown layer or variant.
    """
    file = FilePath(title(path))
    if holds_anndata(path):
        source = _read_anndata(path, layer, names, marked)
    elif file.is_dir():
        source = _read_folder(file, variant)
    elif file.suffix == ".npz":
        source = _read_npz(file, variant)
    else:
        matrix = read_matrix(file, "expression table")
        source = Source(matrix.x, matrix.rows, matrix.columns, usual="auto")
    kind = source.x.dtype.kind
    if kind not in "biuf":
        raise ValueError(
            f"{file}: expected real numbers, found values of type {source.x.dtype}; turn them into "
            "numbers where they were made: adata.X = adata.X.astype(float)."
        )
    return source if kind != "b" else source._replace(x=source.x.astype(np.uint8))


def _read_folder(folder: FilePath, variant: str | None) -> Source:
    if (file := folder / "expression.npz").exists():
        source = _read_npz(file, variant)
        table = folder / "genes.csv.gz"
        if source.regulators is not None or not table.exists():
            return source
        genes = read_table(table, "table of genes")
        if not {"gene", "is_tf"} <= set(genes):
            raise ValueError(f"{table}: expected columns gene,is_tf, found {', '.join(genes)}.")
        with reading(table, "table of genes"):
            marks = are_regulators(list(genes["is_tf"]), "is_tf")
        return source._replace(regulators=tuple(genes["gene"][marks]))
    for name, table in (("BL--ExpressionData.csv", "TF.csv"), ("ExpressionData.csv", None)):
        places = (folder / name, folder / f"{name}.gz")
        file = next((place for place in places if place.exists()), None)
        if file is None:
            continue
        matrix = read_matrix(file, "expression table")
        source = Source(matrix.x, matrix.rows, matrix.columns, usual="genes_in_rows")
        if table and (folder / table).exists():
            frame = read_table(folder / table, "table of regulators")
            if "tf" not in frame:
                raise ValueError(
                    f"{folder / table}: expected a column TF, found {', '.join(frame)}."
                )
            source = source._replace(regulators=tuple(frame["tf"]))
        return source
    found = ", ".join(sorted(f.name for f in folder.iterdir() if f.name[0] != ".")[:8]) or "nothing"
    raise ValueError(
        f"{folder}: expected expression.npz, ExpressionData.csv (BEELINE) or "
        f"BL--ExpressionData.csv (GENELink) in this folder, found {found}; "
        f"give a folder with one of them, or the file.{describe_folder(folder)}"
    )


def _read_anndata(
    source: PathOrAnnData, layer: str | None, names: str | None, marked: bool
) -> Source:
    kind = "h5ad file" if isinstance(source, str | os.PathLike) else "expression"
    with open_anndata(source, kind, layer) as file:
        values = _dense(by_rows(file.matrix)[:], file.columns)
        if isinstance(file.matrix, np.ndarray):
            values = values.copy()  # whose it is may change it
        refuse_negative(values, file.others)
        flag = pick(file.var.columns, "is_tf", "regulator") if marked else None
        genes = tuple(gene_names(file.var, names))
        return Source(
            values,
            rows=tuple(map(str, file.obs.index)),
            columns=genes,
            usual="genes_in_columns",
            regulators=_marked(genes, file.var[flag].to_numpy(), flag) if flag else None,
            obs=file.obs,
            var=file.var,
            notes=file.notes,
            base=file.base,
        )


def _dense(values: Any, columns: slice | np.ndarray) -> np.ndarray:
    sparse = scipy.sparse.issparse(values)
    if sparse:
        # Only the full check looks at every index; expanding a matrix with wrong ones is not safe.
        values.check_format(full_check=True)
    values = values[:, columns]
    cells, genes = values.shape
    if cells * genes * 4 > LIMITS.size:
        raise ValueError(
            f"{cells} cells x {genes} genes exceed {LIMITS.size / 2**30:.0f} GiB as a dense "
            "matrix; keep fewer genes or cells."
        )
    return values.toarray() if sparse else np.asarray(values)


def _read_npz(path: Path, variant: str | None) -> Source:
    arrays = load_npz(path)
    with reading(path, "expression file"):
        variants = sorted(key[2:] for key in arrays if key.startswith("X_"))
        key = "X" if variant is None else f"X_{variant}"
        if key not in arrays:
            wanted = "X" if variant is None else f"variant {variant!r}"
            raise ValueError(
                f"it has no {wanted}; choose a variant: {', '.join(variants)}."
                if variants
                else f"expected an array {key} [cells, genes], found {', '.join(arrays)}."
            )
        x = arrays[key]
        if "genes" not in arrays or arrays["genes"].ndim != 1:
            raise ValueError(f"expected gene names as a list `genes`, found {', '.join(arrays)}.")
        if x.ndim != 2 or x.shape[1] != len(arrays["genes"]):
            raise ValueError(
                f"{key} has shape {x.shape} and there are {len(arrays['genes'])} genes; "
                "expected one column per gene."
            )
        genes = tuple(map(str, arrays["genes"]))
        cells = arrays.get("cells", np.array([f"cell{i}" for i in range(len(x))], str))
        if cells.shape != (len(x),):
            raise ValueError(f"{key} has {len(x)} rows and `cells` the shape {cells.shape}.")
        flag = arrays.get("is_tf")
        return Source(
            x,
            rows=tuple(map(str, cells)),
            columns=genes,
            usual="genes_in_columns",
            regulators=None if flag is None else _marked(genes, flag, "is_tf"),
        )


def _marked(genes: tuple[str, ...], flag: np.ndarray, name: str) -> tuple[str, ...]:
    flag = np.asarray(flag)
    if flag.shape != (len(genes),):
        raise ValueError(f"expected {name} as one true or false per gene.")
    marks = are_regulators(flag.tolist(), name)
    if not any(marks):
        raise ValueError(f"{name} marks no gene; leave it out or give regulators.")
    return tuple(gene for gene, is_regulator in zip(genes, marks, strict=True) if is_regulator)
