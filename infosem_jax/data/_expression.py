"""Data sets from files: which side of a matrix is genes, and which cells belong together."""

import logging
from pathlib import Path as FilePath

import numpy as np

from infosem_jax._typing import Names
from infosem_jax.data._anndata import PathOrAnnData, cell_totals, hinted, holds_anndata, title
from infosem_jax.data._names import find_names, match_regulators, some
from infosem_jax.data._sources import Orientation, Source, read_source
from infosem_jax.data.dataset import MIN_CELLS, Dataset, dataset, numbered
from infosem_jax.data.units import describe_units

_log = logging.getLogger("infosem_jax")


def read_expression(
    path: PathOrAnnData,
    *,
    regulators: Names | None = None,
    layer: str | None = None,
    names: str | None = None,
    orientation: Orientation = "auto",
    variant: str | None = None,
    name: str | None = None,
) -> Dataset:
    """Read expression and candidate regulators from a file, a benchmark folder, or AnnData.

    ``.h5ad``, or an AnnData object in memory
        ``X`` or a layer, sparse or dense, [cells, genes]; regulators from a boolean ``is_tf`` or
        ``regulator`` column of ``var``.
    ``.npz``
        ``X`` [cells, genes] and ``genes``, optionally ``cells`` and a boolean ``is_tf``; or several
        matrices ``X_<variant>``, of which ``variant`` picks one.
    other files
        CSV or TSV, plain or gzipped, with names in the first column and in the header.
    folders
        ``expression.npz`` (with ``genes.csv.gz`` for regulators); BEELINE's ``ExpressionData.csv``;
        GENELink's ``BL--ExpressionData.csv`` with ``TF.csv``.

    Which side of the matrix the genes are on is logged at level INFO: with "auto", the side that
    holds the regulators' symbols. Where regulators are not given, the kind of file decides, and
    text tables need ``orientation``.

    Parameters
    ----------
    path
        The file or folder, or an AnnData object, [cells, genes], which is left as it is.
    regulators
        Symbols of candidate regulators, instead of those that the file names; all genes where
        neither does.
    layer
        Layer to read instead of ``X``, of AnnData; ``raw`` for its ``raw.X``.
    names
        Column of ``var`` that names the genes of AnnData; its index where None.
    orientation
        Where the genes are.
    variant
        Matrix of an npz file with several.
    name
        What the data are called in reports; the file's name, or AnnData, where None.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        On unreadable or unsafe files, unclear orientation, an unknown layer or variant, and
        whatever ``dataset`` refuses.
    """
    _check_options(path, regulators, layer, names, variant)
    source = read_source(path, layer, variant, names=names, marked=regulators is None)
    regulators = source.regulators if regulators is None else tuple(regulators)
    called = title(path)
    values, cells, genes = _orient(called, source, regulators, orientation)
    cells, told = numbered(cells)
    totals, notes = _totals(called, source._replace(notes=(*source.notes, *told)), values)
    with hinted(source.var, regulators):
        data = dataset(
            values, genes, regulators, cells=cells, name=name or _name(path), totals=totals
        )
    return data._replace(notes=(*notes, *data.notes))


def read_groups(
    path: PathOrAnnData,
    groupby: str,
    *,
    layer: str | None = None,
    names: str | None = None,
    regulators: Names | None = None,
    min_cells: int = MIN_CELLS,
) -> dict[str, Dataset]:
    """Read one data set for each value of an ``obs`` column of an h5ad file, or of AnnData.

    All groups share one list of genes: those that vary in every group that is kept. Cells without
    a value, groups with too few cells, and the number of genes left out are logged.

    Parameters
    ----------
    path
        The h5ad file or the AnnData object, [cells, genes].
    groupby
        Column of ``obs``, for instance a cell type.
    layer, names, regulators
        As ``read_expression``.
    min_cells
        Groups with fewer cells are left out; at least 10.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On an unknown column, if no group has enough cells, if fewer than two genes vary in all
        groups, and as ``read_expression``.
    """
    if min_cells < MIN_CELLS:
        raise ValueError(f"Expected min_cells of at least {MIN_CELLS}, found {min_cells}.")
    if not holds_anndata(path):
        raise ValueError(f"{path}: groups of cells are read from .h5ad files (AnnData) only.")
    _check_options(path, regulators, layer, names, None)
    source = read_source(path, layer, None, names=names, marked=regulators is None)
    called = title(path)
    obs = source.obs
    if obs is None or groupby not in obs:
        found = "none" if obs is None else ", ".join(map(str, obs.columns)) or "none"
        raise ValueError(f"{called}: obs has no column {groupby!r}; its columns are: {found}.")
    regulators = source.regulators if regulators is None else tuple(regulators)
    labels = obs[groupby].astype(object).where(obs[groupby].notna(), None).to_numpy()
    groups = {
        str(value): np.flatnonzero([label == value for label in labels])
        for value in sorted({label for label in labels if label is not None}, key=str)
    }
    small = {value: len(cells) for value, cells in groups.items() if len(cells) < min_cells}
    kept = {value: cells for value, cells in groups.items() if value not in small}
    if not kept:
        raise ValueError(
            f"{called}: none of the {len(groups)} values of {groupby!r} has {min_cells} cells "
            f"(largest: {max(small.values(), default=0)}); group by a coarser column."
        )
    if small:
        _log.info("%s: left out groups with fewer than %d cells: %s", called, min_cells, small)
    x = source.x
    varies = np.logical_and.reduce([x[cells].min(0) != x[cells].max(0) for cells in kept.values()])
    if varies.sum() < 2:
        raise ValueError(
            f"{called}: {varies.sum()} genes vary in every group of {groupby!r}; "
            "raise min_cells, so that small groups with many constant genes are left out."
        )
    _log.info(
        "%s: %d of %d genes vary in every group of %s and are kept; %d cells had no group",
        *(called, varies.sum(), len(varies), groupby, sum(label is None for label in labels)),
    )
    genes = np.asarray(source.columns, object)[varies]
    cells, told = numbered(source.rows)
    rows = np.asarray(cells, object)
    totals, notes = _totals(called, source._replace(notes=(*source.notes, *told)), x)
    groups = {}
    with hinted(source.var, regulators):
        for value, cells in kept.items():
            data = dataset(
                x[np.ix_(cells, varies)], genes.tolist(), regulators,
                cells=rows[cells].tolist(), name=f"{_name(path)} {value}",
                totals=None if totals is None else totals[cells],
            )  # fmt: skip
            groups[value] = data._replace(notes=(*notes, *data.notes))
    return groups


def _check_options(
    path: PathOrAnnData,
    regulators: Names | None,
    layer: str | None,
    names: str | None,
    variant: str | None,
) -> None:
    if isinstance(regulators, str):
        raise ValueError(
            f"Expected a list of regulators, found {regulators!r}; see read_regulators."
        )
    file = FilePath(title(path))
    for option, given in (("layer", layer), ("names", names)):
        if given is not None and not holds_anndata(path):
            raise ValueError(f"{path}: only .h5ad files have layers and var; leave {option} out.")
    if variant is not None and file.suffix != ".npz" and not file.is_dir():
        raise ValueError(f"{file}: only .npz files have variants; leave variant out.")


def _totals(
    called: str, source: Source, x: np.ndarray
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the totals of cells that obs tells, of counts only, and what was noted so far."""
    totals, notes = cell_totals(source.obs, x.sum(1, dtype=np.float64))
    if totals is None or not (x.min() >= 0 and describe_units(x).countable):
        totals, notes = None, []
    notes = (*source.notes, *notes)
    for note in notes:
        _log.info("%s: %s", called, note)
    return totals, notes


def _orient(
    called: str, source: Source, regulators: Names | None, orientation: Orientation
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return values [cells, genes], cells and genes."""
    values, rows, columns = source.x, source.rows, source.columns
    why = "as told"
    if orientation == "auto":
        orientation, why = _find_genes(called, source, regulators)
    _log.info("%s: %s (%s)", called, orientation.replace("_", " "), why)
    return (values.T, columns, rows) if orientation == "genes_in_rows" else (values, rows, columns)


def _find_genes(called: str, source: Source, regulators: Names | None) -> tuple[Orientation, str]:
    choose = "choose with orientation='genes_in_rows' or 'genes_in_columns'"
    counts = tuple(
        len(find_names(side, regulators or ())) for side in (source.rows, source.columns)
    )
    if counts[0] and not counts[1]:
        return "genes_in_rows", f"{counts[0]} regulators are there"
    if counts[1] and not counts[0]:
        return "genes_in_columns", f"{counts[1]} regulators are there"
    if source.usual != "auto":
        return source.usual, "usual for this kind of file"
    if regulators is None:
        raise ValueError(
            f"{called}: cannot tell whether genes are in rows ({some(source.rows)}) or columns "
            f"({some(source.columns)}) without regulators: give them, or {choose}."
        )
    if counts[0]:
        raise ValueError(
            f"{called}: regulators are in rows ({counts[0]}) and in columns ({counts[1]}); "
            f"{choose}."
        )
    reason = ""
    try:
        match_regulators(source.rows + source.columns, regulators)
    except ValueError as error:
        reason = str(error)
    raise ValueError(
        f"{called}: no regulator is among the rows ({some(source.rows)}) or columns "
        f"({some(source.columns)}). {reason} If the names are right, {choose}."
    )


def _name(path: PathOrAnnData) -> str:
    file = FilePath(title(path)).resolve()
    return file.name if file.is_dir() else file.name.removesuffix(".gz").rsplit(".", 1)[0]
