"""Anyone's predictions of a screen, from files, matched to the observed cells and scored."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportReturnType=false, reportGeneralTypeIssues=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from infosem_jax.data._anndata import PathOrAnnData, by_rows, cell_totals, open_anndata
from infosem_jax.data._files import STREAM_LIMITS
from infosem_jax.data.units import describe_units, evenly
from infosem_jax.engine.types import Progress
from infosem_jax.perturbation.data import LEAST_CELLS
from infosem_jax.perturbation.labels import choose, sentences
from infosem_jax.perturbation.matching import (
    match_genes,
    observed_line,
    predicted_line,
    predicted_perturbations,
    rows_of,
    to_score,
)
from infosem_jax.perturbation.metrics import Scores
from infosem_jax.perturbation.panel import SPLITS, Bounds, Panel, bounds, make_panel, place, score
from infosem_jax.perturbation.profiles import (
    Profiles,
    Values,
    mean_log,
    profiles_of_cells,
    profiles_of_means,
)
from infosem_jax.perturbation.readers import AUTO, Columns
from infosem_jax.perturbation.units import check_same_units

# Totals that logarithms of others are usually of, beside the median of the cells.
USUAL_TOTAL = 1e4
# Deviation of totals of cells that were brought to one, as a share of it.
EVEN = 0.01
# Factor between totals of mean profiles in the same units; of controls, which both have; and what
# is told of.
MOST_APART, CONTROLS_APART, TOLD_APART = 1.5, 1.2, 1.1
# Sum of values below 0 that expression may be predicted with, as a share of those above.
MOST_BELOW = 0.05
# Layer of infosem's own predictions that holds expression.
OWN_LAYER = "mean"


class Evaluation(NamedTuple):
    """Scores of anyone's predictions.

    Attributes
    ----------
    panel
        The observed cells.
    predicted
        Profiles of the predictions.
    scores
        Their scores, see ``panel.score``.
    bounds
        Those of the mean response and of the replicate.
    placed
        Scores between these, see ``panel.place``.
    notes
        What was matched, and what was left out, in sentences.
    """

    panel: Panel
    predicted: Profiles
    scores: Scores
    bounds: Bounds
    placed: dict[str, float]
    notes: tuple[str, ...]


def evaluate_predictions(
    predicted: PathOrAnnData,
    truth: PathOrAnnData,
    *,
    columns: Columns = AUTO,
    predicted_columns: Columns = AUTO,
    line: str | None = None,
    total: float | None = None,
    common_genes: bool = False,
    least_cells: int = LEAST_CELLS,
    splits: int = SPLITS,
    key: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """Score anyone's predictions of perturbations against the cells that were observed.

    Predictions hold cells of each perturbation, or one mean profile of each; of the same genes, in
    the same units as the truth: both counts, or both logarithms ``log(1 + x)`` of the same total.
    They are compared with the observed control cells, whatever controls they bring.

    Parameters
    ----------
    predicted, truth
        Files (h5ad) or AnnData objects.
    columns
        Where the truth holds what, see `readers.Columns`.
    predicted_columns
        The same of the predictions: ``perturbation`` (the column of ``obs``, or its index, with
        most names of the truth where None), ``genes`` and ``layer`` (of what infosem predicted the
        one with expression where None) are looked at.
    line
        Cell line to score, where the truth has several.
    total
        Bring counts of the truth to this total and to logarithms first, for predictions that are
        such logarithms; 0 takes the median of its cells, as ``infosem perturbation`` does, and as
        is done where that predicted.
    common_genes
        Whether genes that are not predicted are left out, and counted; else they are refused.
    least_cells
        Perturbations of which fewer cells were observed are left out, and counted.
    splits
        How often the observed cells are split for the replicate.
    key
        Seeds cells made of profiles, and splits.
    on_chunk
        Told of progress.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If perturbations, genes or units do not match, or there are no control cells.
    """
    steps = iter(range(1, 4))

    def tell(text: str) -> None:
        if on_chunk is not None:
            on_chunk(Progress(float(next(steps)), 3.0, "steps", text, None))

    if least_cells < 2 or splits < 0:
        raise ValueError(
            f"Expected least_cells of at least 2 and splits of at least 0, found {least_cells} and "
            f"{splits}."
        )
    observed = _not_below_0(_load(truth, columns.layer, "truth"), "The truth", 0.0)
    own_layer = _own_layer(predicted) if predicted_columns.layer is None else None
    other = _load(predicted, predicted_columns.layer or own_layer, "predictions")
    other = _not_below_0(other, "The predictions", MOST_BELOW)
    labels, column, names = choose(
        observed.obs, observed.var, column=columns.perturbation, genes=columns.genes,
        controls=columns.controls, separator=columns.separator,
    )  # fmt: skip
    notes = [*observed.notes, *other.notes, *sentences(labels, column, names)]
    notes += ["the layer 'mean' of what infosem predicted is scored"] * (own_layer is not None)
    of_line, line, note = observed_line(observed.obs, columns.line, line)
    notes += note
    named = np.array([genes is not None for genes in labels.perturbed])[labels.code] & of_line
    theirs_of_line, note = predicted_line(other.obs, columns.line, line)
    notes += note
    asked, note = predicted_perturbations(other.obs, predicted_columns, labels, names)
    asked = [genes if yes else None for genes, yes in zip(asked, theirs_of_line, strict=True)]
    notes += note
    genes, at, there, note = match_genes(
        names, other.var, column, predicted_columns.genes, common_genes
    )
    notes += note
    perturbed, rows, note = to_score(labels, named, asked, least_cells)
    notes += note
    is_free = np.array([genes == () for genes in labels.perturbed])[labels.code] & of_line
    if is_free.sum() < 2:
        raise ValueError(f"Expected at least 2 control cells in the truth, found {is_free.sum()}.")
    unit, x, target, note = _unit(observed, np.flatnonzero(named), total, own_layer is not None)
    notes += note
    x = x[:, at]
    controls = Values(sparse.csr_array(x[np.flatnonzero(is_free)]), unit, target)
    group = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    cells = Values(sparse.csr_array(x[np.concatenate(rows)]), unit, target)
    theirs = sparse.csr_array(other.x[:, there])
    places = rows_of(asked)
    own = [places[genes] for genes in perturbed]
    notes += _check_units(theirs, own, places.get(()), controls, other.base)
    tell("testing observed cells")
    panel = make_panel(cells, group, controls, perturbed, genes)
    tell("scoring predictions")
    found, note = _profiles(theirs, own, panel, key)
    scores = score(panel, found)
    tell("scoring the mean response and replicates")
    between = bounds(panel, splits=splits, seed=key)
    placed = place(scores.metrics, between)
    return Evaluation(panel, found, scores, between, placed, (*notes, *note))


class _Loaded(NamedTuple):
    obs: pd.DataFrame
    var: pd.DataFrame
    x: sparse.csr_array
    base: str | None
    notes: tuple[str, ...]


def _load(source: PathOrAnnData, layer: str | None, what: str) -> _Loaded:
    """Read tables and values, which must be finite."""
    with open_anndata(source, what, layer, limits=STREAM_LIMITS) as file:
        x = sparse.csr_array(by_rows(file.matrix)[:], dtype=np.float32)
        x.check_format(full_check=True)
        found = _Loaded(file.obs, file.var, x[:, file.columns], file.base, file.notes)
    if not np.isfinite(found.x.data).all():
        bad = (~np.isfinite(found.x.data)).sum()
        raise ValueError(f"The {what}: {bad} values are not finite.")
    found.x.sum_duplicates()
    found.x.eliminate_zeros()
    return found


def _own_layer(source: PathOrAnnData) -> str | None:
    """Return the layer that holds expression where infosem wrote the predictions, else None."""
    if not isinstance(source, str | os.PathLike):
        own = "infosem" in source.uns and OWN_LAYER in source.layers
    else:
        with open_anndata(source, "AnnData file", limits=STREAM_LIMITS) as file:
            own = "infosem" in file.matrix.file.get("uns", ()) and OWN_LAYER in file.others
    return OWN_LAYER if own else None


def _not_below_0(found: _Loaded, what: str, most: float) -> _Loaded:
    """Refuse values below 0, or take them as 0 where they are a small share of the sum."""
    below, above = (float(np.maximum(sign * found.x.data, 0).sum()) for sign in (-1, 1))
    if below > most * above:
        raise ValueError(
            f"{what}: expected expression, found values down to {found.x.data.min():.3g}, as of "
            "differences; name a matrix of expression (layer=..., --predicted-layer), or add the "
            "mean of the control cells to changes."
        )
    if not below:
        return found
    note = f"{(found.x.data < 0).sum()} values down to {found.x.data.min():.3g} are taken as 0"
    return found._replace(x=found.x.maximum(0).tocsr(), notes=(*found.notes, note))


def _unit(
    observed: _Loaded, rows: np.ndarray, total: float | None, own: bool
) -> tuple[Any, sparse.csr_array, float, list[str]]:
    """Return the unit of the truth, its values in it, and the total of its cells.

    Counts are brought to logarithms where a total is asked for, or predictions are infosem's own.
    """
    found = describe_units(observed.x[evenly(rows, 4096)], base=observed.base)
    if found.kind == "log" and found.base in ("e", "unknown", ""):
        if total is not None:
            raise ValueError(f"total: the truth holds logarithms already ({found.why}).")
        return "log", observed.x, 1.0, [f"units: logarithms ({found.why})"]
    if found.kind not in ("counts", "binary", "fractional counts"):
        raise ValueError(
            f"The truth: expected counts or natural logarithms log(1 + x), found values that look "
            f"like {found} ({found.why})."
        )
    each = observed.x.sum(1, dtype=np.float64)
    median = float(np.median(each[rows][each[rows] >= 1]))
    if total is None and not own:
        return "counts", observed.x, median, [f"units: counts ({found.why})"]
    # As a screen is read to learn from: totals of all genes, where they are told.
    told, notes = cell_totals(observed.obs.iloc[rows], each[rows])
    if told is not None:
        each[rows] = told
        median = float(np.median(told[told >= 1]))
    x = observed.x.copy()
    total = total or median
    x.data = np.log1p(x.data * np.repeat(total / np.maximum(each, 1), np.diff(x.indptr)))
    notes.append(f"units: counts, brought to {total:.4g} per cell and log(1 + x)")
    return "log", x, 1.0, notes


def _check_units(
    theirs: sparse.csr_array,
    own: Sequence[np.ndarray],
    free: np.ndarray | None,
    controls: Values,
    base: str | None,
) -> list[str]:
    """Refuse predictions that are nearer to the controls in another unit, and return notes."""
    if base in ("2", "10"):
        raise ValueError(f"The predictions: expected natural logarithms, found base {base}.")
    used = np.concatenate(own)
    mean = theirs[used].mean(0, dtype=np.float64)
    if mean.sum() <= 0:
        raise ValueError("The predictions: expected expression, found no value above 0.")
    if controls.unit == "log":
        check_same_units(mean[None], mean_log(controls)[None], "the predictions")
        linear = controls.x.astype(np.float64).expm1().mean(0)
        forms = {"counts": linear, "log": mean_log(controls)}
    else:
        forms = {"counts": controls.x.mean(0, dtype=np.float64)}
        forms |= {
            f"log of a total of {total:.4g}": mean_log(controls._replace(target=total))
            for total in (controls.target, USUAL_TOTAL, 1e6)
        }
    share = mean / mean.sum()
    away = {name: float(np.abs(share - x / x.sum()).sum()) for name, x in forms.items()}
    nearest = min(away, key=away.__getitem__)
    if nearest != controls.unit:
        raise ValueError(
            f"The predictions look like {nearest}, the truth is {controls.unit}: shares of genes "
            f"are off those of the controls by {away[nearest]:.2f} as {nearest} and by "
            f"{away[controls.unit]:.2f} as {controls.unit}. Give both in one unit (layer=..., or "
            "for a truth of counts and predictions that are log(1 + x) the total that their cells "
            "were brought to, total=1e4, --total 10000)."
        )
    if controls.unit == "counts":
        return []
    return _check_totals(theirs, own, free, controls.x)


def _check_totals(
    theirs: sparse.csr_array,
    own: Sequence[np.ndarray],
    free: np.ndarray | None,
    controls: sparse.csr_array,
) -> list[str]:
    """Refuse logarithms of another base, or of cells brought to another total, and return notes.

    Where all cells have one total, these are compared; else, and where there are profiles, those of
    mean logarithms: of controls where predictions bring any, or of the middle perturbation, which
    perturbations change by less than a half.
    """
    totals = [
        np.expm1(x.astype(np.float64)).sum(1) for x in (theirs[np.concatenate(own)], controls)
    ]
    cells = len(totals[0]) > len(own)
    if cells and all(each.std() < EVEN * each.mean() for each in totals):
        what, most, (found, expected) = "cells", 1 + 2 * EVEN, (each.mean() for each in totals)
    else:
        compared = own if free is None else [free]
        what = "mean profiles" if free is None else "mean profiles of control cells"
        most = MOST_APART if free is None else CONTROLS_APART
        means = [np.expm1(theirs[rows].mean(0, dtype=np.float64)).sum() for rows in compared]
        found, expected = np.median(means), np.expm1(controls.mean(0, dtype=np.float64)).sum()
    told = (
        f"as log(1 + x), {what} of the predictions have a total of {found:.4g}, and those of the "
        f"observed controls of {expected:.4g}"
    )
    if not 1 / most < found / expected < most:
        raise ValueError(
            f"The predictions: {told}. Bring both to natural logarithms of the same total; "
            "profiles are means of the logarithms of cells, not logarithms of means."
        )
    if 1 / TOLD_APART < found / expected < TOLD_APART:
        return []
    return [f"{told}; if cells were brought to different totals, all changes are off"]


def _profiles(
    theirs: sparse.csr_array, own: Sequence[np.ndarray], panel: Panel, key: int
) -> tuple[Profiles, list[str]]:
    """Bring predicted cells, or one profile of each perturbation, to profiles."""
    sizes = np.array([len(each) for each in own])
    if (sizes == 1).all():
        mean = theirs[np.concatenate(own)].toarray().astype(np.float64)
        if (mean.sum(1) <= 0).any():
            raise ValueError("Expected expression in every predicted profile, found one of zeros.")
        note = "one profile of each perturbation is predicted; cells are made of it for the tests"
        return profiles_of_means(mean, panel.n_cells, panel.controls, key), [note]
    if sizes.min() < 2 or sizes.max() < LEAST_CELLS:
        raise ValueError(
            f"Expected one profile of each perturbation, or cells, {LEAST_CELLS} or more of some, "
            f"found {sizes.min()} to {sizes.max()} rows of each. If rows are profiles of guides, "
            "batches or seeds, average them to one of each perturbation."
        )
    empty = sum(not theirs[each].data.any() for each in own)
    if empty:
        raise ValueError(
            f"Expected expression in predicted cells, found none of {empty} perturbations."
        )
    group = np.repeat(np.arange(len(own)), sizes)
    cells = panel.controls._replace(x=sparse.csr_array(theirs[np.concatenate(own)]))
    note = f"{sizes.min()} to {sizes.max()} cells of each perturbation are predicted"
    return profiles_of_cells(cells, group, panel.controls), [note]
