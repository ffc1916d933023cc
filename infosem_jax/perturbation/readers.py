"""Perturbation screens of single cells from files."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# pyright: reportOptionalSubscript=false
# Inferred from its source, the types of pandas are unions that no call narrows.

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from infosem_jax._typing import Path
from infosem_jax.data._files import check_h5, read_element, reading
from infosem_jax.data.units import declared_base, describe_units
from infosem_jax.perturbation.data import Cells
from infosem_jax.perturbation.units import normalise

PERTURBATION = (
    *("perturbation", "condition", "gene_target", "target_gene", "target", "gene", "guide_target"),
    *("perturbation_name", "guide_identity"),
)
LINE = ("cell_line", "cell_type", "celltype", "line", "cell_context")
BATCH = ("batch", "gem_group", "batch_var", "gem", "bio_rep", "replicate", "lane", "donor")
CONTROLS = frozenset(
    {"control", "ctrl", "non-targeting", "nontargeting", "non_targeting", "nt", "ntc", "negctrl",
     "neg_control", "non-targeting control", "unperturbed", "safe-targeting", "dmso"}
)  # fmt: skip
_CHUNK = 4096
# Bytes of expression that are held at once.
_IN_MEMORY = 2**30


class Columns(NamedTuple):
    """Where a screen holds what; None for the first column of a known name.

    Attributes
    ----------
    perturbation, line, batch
        Columns of ``obs``.
    control
        What control cells are called there; any usual name where None.
    separator
        Between the genes of a combination; ``+`` where None, and ``_`` in files with a column
        ``nperts``, as scPerturb writes them.
    """

    perturbation: str | None = None
    line: str | None = None
    batch: str | None = None
    control: str | None = None
    separator: str | None = None


AUTO = Columns()


def read_cells(
    path: Path,
    columns: Columns = AUTO,
    *,
    top_genes: int = 0,
    most_cells: int = 0,
    least_counts: float = 0.0,
    keep: Sequence[tuple[str, float]] = (),
    seed: int = 0,
) -> Cells:
    """Read a single-cell screen, ``.h5ad``, in pieces, so that it may be larger than memory.

    Raw counts are brought to the median total of the cells and to ``log(1 + x)``; logarithms are
    taken as they are. The conventions of scPerturb, GEARS, pertpy, and of the files of Replogle et
    al. (2022) and Nadig et al. (2025) (``gene``, ``gem_group``, ``gene_name``) are recognised.

    Parameters
    ----------
    path
        The file.
    columns
        Columns of ``obs`` that are not called as usual.
    top_genes
        Keep so many genes that vary most over all cells, and those that are perturbed; 0 keeps all.
    most_cells
        Cells of a perturbation at most, and ten times as many controls, drawn at random; 0 for all.
    least_counts
        Cells with fewer counts in all are left out; of raw counts only.
    keep
        Columns of ``obs`` with a least value, such as ``("guide_frac", 0.5)``.
    seed
        Seeds the draw of cells.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If no column says what was perturbed, no cell is a control, or values are neither counts
        nor logarithms.
    """
    import anndata
    import h5py

    check_h5(path)
    with reading(path, "perturbation screen"):
        with h5py.File(path, "r") as file:
            obs, var = read_element(file, "obs"), read_element(file, "var")
            base = declared_base(file.get("uns"))
        perturbed, line, batch = _labels(obs, columns)
        rows = _rows(obs, perturbed, line, keep, most_cells, seed)
        unnamed = sum(genes is None for genes in perturbed)
        notes = [f"{unnamed} cells without a named perturbation were left out"] * (unnamed > 0)
        backed = anndata.read_h5ad(path, backed="r")
        try:
            # What fits is read once, and all else piece by piece as it is needed.
            small = backed.n_obs * backed.n_vars * 4 <= _IN_MEMORY
            source = _checked(backed.X[:]) if small else backed.X
            first = _dense(source, rows[:_CHUNK])
            units = describe_units(first, base=base)
            kind = "log" if units.kind == "log" else "counts"
            if units.kind in ("linear", "differences") or units.least < 0:
                raise ValueError(
                    "expected raw counts or logarithms log(1 + x), found values that look like "
                    f"{units} ({units.why}); give one of the two (scanpy.pp.log1p takes "
                    "logarithms of linear values)."
                )
            names, unique = _genes(var)
            total = np.concatenate([_dense(source, part).sum(1) for part in _parts(rows)])
            if kind == "counts":
                rich = total >= max(least_counts, 1)
                rows, total = rows[rich], total[rich]
                size = f"{np.median(total):.4g}"
                notes.append(f"counts were brought to {size} per cell and log(1 + x)")
            at = unique
            if top_genes:
                at = _variable(source, rows, total, kind, unique, names, perturbed, top_genes)
            x = [
                normalise(_dense(source, part), own, float(np.median(total)), kind)[:, at]
                for part, own in zip(_parts(rows), _parts(total), strict=True)
            ]
        finally:
            backed.file.close()
        cells = Cells(
            FilePath(path).name.removesuffix(".h5ad"),
            np.concatenate(x),
            tuple(names[i] for i in at),
            tuple(perturbed[i] for i in rows),
            tuple(line[i] for i in rows),
            tuple(batch[i] for i in rows),
            tuple(notes),
        )
        if all(cells.perturbed):
            raise ValueError(
                "no cell is a control; name what controls are called (control=...). Names found: "
                f"{', '.join(sorted({'+'.join(p) for p in cells.perturbed})[:5])}."
            )
        return cells


def _labels(
    obs: pd.DataFrame, columns: Columns
) -> tuple[list[tuple[str, ...] | None], list[str], list[str]]:
    """Return the perturbed genes of each cell, None where there is no name, its line and batch."""
    name = _column(obs, columns.perturbation, PERTURBATION)
    if name is None:
        raise ValueError(
            f"no column of obs says what was perturbed: expected one of {', '.join(PERTURBATION)}, "
            f"found {', '.join(map(str, obs.columns))}; name it (perturbation=...)."
        )
    text = obs[name].astype(str).to_numpy()
    separator = columns.separator or ("_" if "nperts" in obs else "+")
    controls = CONTROLS if columns.control is None else {columns.control.lower()}
    known = {each: _parse(each, separator, controls) for each in set(text)}
    line, batch = (
        _column(obs, given, usual)
        for given, usual in ((columns.line, LINE), (columns.batch, BATCH))
    )
    return (
        [known[each] for each in text],
        ["all"] * len(obs) if line is None else obs[line].astype(str).tolist(),
        ["all"] * len(obs) if batch is None else obs[batch].astype(str).tolist(),
    )


def _parse(text: str, separator: str, controls) -> tuple[str, ...] | None:
    # A cell whose guide was not read is no control.
    if text in ("", "nan", "None", "NaN", "<NA>"):
        return None
    if text.lower() in controls:
        return ()
    parts = [part.strip() for part in text.split(separator)]
    return tuple(sorted({part for part in parts if part and part.lower() not in controls}))


def _column(obs: pd.DataFrame, given: str | None, usual: tuple[str, ...]) -> str | None:
    if given is not None and given not in obs:
        raise ValueError(f"obs has no column {given!r}; it has {', '.join(map(str, obs.columns))}.")
    return given or next((name for name in usual if name in obs), None)


def _rows(
    obs: pd.DataFrame,
    perturbed: list[tuple[str, ...] | None],
    line: list[str],
    keep: Sequence[tuple[str, float]],
    most_cells: int,
    seed: int,
) -> np.ndarray:
    good = np.array([genes is not None for genes in perturbed], bool)
    for name, least in keep:
        if name not in obs:
            raise ValueError(f"obs has no column {name!r} to keep cells by.")
        good &= pd.to_numeric(obs[name], errors="coerce").to_numpy() >= least
    rows = np.flatnonzero(good)
    if not len(rows):
        raise ValueError("no cell with a named perturbation is left; lower the least values.")
    if not most_cells:
        return rows
    places: dict[Any, list[int]] = {}
    for i in rows.tolist():
        places.setdefault((line[i], perturbed[i]), []).append(i)
    rng = np.random.default_rng(seed)
    kept = []
    for (_, genes), own in sorted(places.items()):
        most = most_cells if genes else 10 * most_cells
        kept.append(rng.permutation(own)[:most])
    return np.sort(np.concatenate(kept))


def _genes(var: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Return the names of genes, and the places of those whose name comes first."""
    column = next((name for name in ("gene_name", "gene_symbol", "symbol") if name in var), None)
    names = list(map(str, var.index if column is None else var[column]))
    _, first = np.unique(names, return_index=True)
    return names, np.sort(first)


def _variable(
    source, rows, total, kind, unique, names, perturbed, top_genes
) -> np.ndarray:  # fmt: skip
    n, mean, squares = 0, np.zeros(len(unique)), np.zeros(len(unique))
    for part, own in zip(_parts(rows), _parts(total), strict=True):
        x = normalise(_dense(source, part), own, float(np.median(total)), kind)
        x = x[:, unique].astype(np.float64)
        # Moments of the piece, then merged (Chan et al. 1983): stable, unlike a sum of squares.
        center, share = x.mean(0), len(x) / (n + len(x))
        squares += np.square(x - center).sum(0) + np.square(center - mean) * n * share
        mean += (center - mean) * share
        n += len(x)
    wanted = {gene for i in rows for gene in perturbed[i]}
    own = np.array([names[i] in wanted for i in unique])
    order = np.argsort(-np.where(own, np.inf, squares), kind="stable")
    return np.sort(unique[order[: max(top_genes, int(own.sum()))]])


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]


def _dense(source: Any, rows: np.ndarray) -> np.ndarray:
    x = _checked(source[rows])
    x = x.toarray() if sparse.issparse(x) else np.asarray(x)
    return x.astype(np.float32)


def _checked(x: Any) -> Any:
    """Refuse sparse values outside of their matrix, which end the process where they are used."""
    if sparse.issparse(x):
        x.check_format(full_check=True)
    return x
