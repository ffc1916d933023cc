"""Perturbation screens of single cells from files."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# pyright: reportOptionalSubscript=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from infosem_jax.data._anndata import (
    PathOrAnnData,
    by_rows,
    cell_totals,
    open_anndata,
    refuse_negative,
    title,
)
from infosem_jax.data._copies import copies
from infosem_jax.data._files import STREAM_LIMITS
from infosem_jax.data._names import some
from infosem_jax.data.units import BASES, describe_units, evenly
from infosem_jax.perturbation.data import Cells
from infosem_jax.perturbation.labels import choose, sentences
from infosem_jax.perturbation.units import normalise

LINE = ("cell_line", "cell_type", "celltype", "line", "cell_context")
BATCH = ("batch", "gem_group", "batch_var", "gem", "bio_rep", "replicate", "lane", "donor")
_CHUNK = 4096
# Bytes of expression that are held at once.
_IN_MEMORY = 2**30


class Columns(NamedTuple):
    """Where a screen holds what.

    Attributes
    ----------
    perturbation
        Column of ``obs``; chosen by what it holds where None, see ``labels.choose``.
    line, batch
        Columns of ``obs``; the first of a known name where None.
    control
        What control cells are called, one name or several; any usual name where None. Numbered
        ones (``NT_1`` of ``NT``) count where the name alone does not occur.
    separator
        Between the genes of a combination; chosen by what gives names of genes where None.
    genes
        Column of ``var`` with the names of genes, or ``index``; chosen where None.
    layer
        Layer to read instead of ``X``, or ``raw``.
    """

    perturbation: str | None = None
    line: str | None = None
    batch: str | None = None
    control: str | Sequence[str] | None = None
    separator: str | None = None
    genes: str | None = None
    layer: str | None = None

    @property
    def controls(self) -> Sequence[str]:
        """What control cells are called; empty where any usual name will do."""
        return [self.control] if isinstance(self.control, str) else self.control or ()


AUTO = Columns()


def read_cells(
    path: PathOrAnnData,
    columns: Columns = AUTO,
    *,
    top_genes: int = 0,
    most_cells: int = 0,
    least_counts: float = 0.0,
    keep: Sequence[tuple[str, float]] = (),
    seed: int = 0,
) -> Cells:
    """Read a single-cell screen from AnnData; a file in pieces, so that it may exceed memory.

    Raw counts are brought to the median total of the cells and to ``log(1 + x)``; logarithms to
    base 2 or 10, where that can be told, to natural ones; others are taken as they are. The
    conventions of scPerturb, GEARS, pertpy, and of the files of Replogle et al. (2022) and Nadig et
    al. (2025) (``gene``, ``gem_group``, ``gene_name``) are recognised.

    Parameters
    ----------
    path
        The h5ad file, or an AnnData object, which is left as it is.
    columns
        Where it holds what, as far as its content does not tell.
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
    with open_anndata(path, "perturbation screen", columns.layer, limits=STREAM_LIMITS) as file:
        obs = file.obs
        reading, place, names = choose(
            obs, file.var, column=columns.perturbation, genes=columns.genes,
            controls=columns.controls, separator=columns.separator,
        )  # fmt: skip
        notes = [*file.notes, *sentences(reading, place, names)]
        perturbed = [reading.perturbed[i] for i in reading.code]
        lines, batches = _column(obs, columns.line, LINE), _column(obs, columns.batch, BATCH)
        line, batch = (
            ["all"] * len(obs) if name is None else obs[name].astype(str).tolist()
            for name in (lines, batches)
        )
        if len(kinds := sorted(set(line))) > 1:
            notes.append(f"cell lines from obs[{lines!r}]: {some(kinds, 5)}")
        rows = _rows(obs, perturbed, line, keep, most_cells, seed)
        unnamed = sum(genes is None for genes in perturbed)
        notes += [f"{unnamed} cells without a named perturbation were left out"] * (unnamed > 0)
        # What fits is read once, and all else piece by piece as it is needed.
        source = by_rows(file.matrix)
        if math.prod(source.shape) * 4 <= _IN_MEMORY:
            source = _checked(source[:])
        read = partial(_dense, source, file.columns)
        first = read(evenly(rows, _CHUNK))
        refuse_negative(first, file.others)
        units = describe_units(first, base=file.base)
        kind = "log" if units.kind == "log" else "counts"
        if units.kind in ("linear", "differences") or units.least < 0:
            raise ValueError(
                "expected raw counts or logarithms log(1 + x), found values that look like "
                f"{units} ({units.why}); give one of the two (scanpy.pp.log1p takes "
                "logarithms of linear values)."
            )
        scale = math.log(BASES[units.base]) if units.base in BASES else 1.0
        if kind == "log":
            told = "" if scale == 1 else ", brought to natural ones"
            notes.append(f"values are {units} ({units.why}){told}")
        unique = np.sort(np.unique(names, return_index=True)[1])
        total = np.concatenate([read(part).sum(1) for part in _parts(rows)])
        if kind == "counts":
            told, note = cell_totals(obs.iloc[rows], total)
            total = total if told is None else told
            notes += note
            rich = total >= max(least_counts, 1)
            poor = f"{(~rich).sum()} cells with fewer than {max(least_counts, 1):g} counts"
            notes += [f"{poor} were left out"] * (not rich.all())
            rows, total = rows[rich], total[rich]
            size = f"{np.median(total):.4g}"
            notes.append(f"counts were brought to {size} per cell and log(1 + x)")
        at = unique
        if top_genes:
            at = _variable(read, rows, total, kind, unique, names, perturbed, top_genes)
        x = [
            normalise(read(part), own, float(np.median(total)), kind)[:, at]
            for part, own in zip(_parts(rows), _parts(total), strict=True)
        ]
        x = np.concatenate(x)
        x = x if scale == 1 else np.float32(scale) * x
        notes += copies(x)
        return Cells(
            FilePath(title(path)).name.removesuffix(".h5ad"),
            x,
            tuple(names[i] for i in at),
            tuple(perturbed[i] for i in rows),
            tuple(line[i] for i in rows),
            tuple(batch[i] for i in rows),
            tuple(notes),
        )


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


def _variable(
    read, rows, total, kind, unique, names, perturbed, top_genes
) -> np.ndarray:  # fmt: skip
    n, mean, squares = 0, np.zeros(len(unique)), np.zeros(len(unique))
    for part, own in zip(_parts(rows), _parts(total), strict=True):
        x = normalise(read(part), own, float(np.median(total)), kind)
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


def _dense(source: Any, columns: slice | np.ndarray, rows: np.ndarray) -> np.ndarray:
    x = _checked(source[rows])[:, columns]
    x = x.toarray() if sparse.issparse(x) else np.asarray(x)
    return x.astype(np.float32)


def _checked(x: Any) -> Any:
    """Refuse sparse values outside of their matrix, which end the process where they are used."""
    if sparse.issparse(x):
        x.check_format(full_check=True)
    return x
