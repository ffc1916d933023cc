"""Anyone's predictions of a screen, from files, matched to the observed cells and scored."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportReturnType=false, reportGeneralTypeIssues=false
# Inferred from its source, the types of pandas are unions that no call narrows.

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy import sparse

from infosem_jax.data._anndata import INDEX, PathOrAnnData, by_rows, gene_names, open_anndata
from infosem_jax.data._files import STREAM_LIMITS
from infosem_jax.data._names import near_misses, without_version
from infosem_jax.data.units import describe_units, evenly
from infosem_jax.engine.types import Progress
from infosem_jax.perturbation.data import LEAST_CELLS, label
from infosem_jax.perturbation.guides import is_control
from infosem_jax.perturbation.labels import GENES, choose, is_text, read_labels, sentences
from infosem_jax.perturbation.metrics import Scores
from infosem_jax.perturbation.panel import SPLITS, Bounds, Panel, bounds, make_panel, place, score
from infosem_jax.perturbation.profiles import (
    Profiles,
    Values,
    mean_log,
    profiles_of_cells,
    profiles_of_means,
)
from infosem_jax.perturbation.readers import AUTO, LINE, Columns
from infosem_jax.perturbation.splits import sorted_name
from infosem_jax.perturbation.units import check_same_units

# Totals that logarithms of others are usually of, beside the median of the cells.
USUAL_TOTAL = 1e4
# Deviation of totals of cells that were brought to one, as a share of it.
EVEN = 0.01
# Factor between totals of mean profiles in the same units.
MOST_APART = 1.5


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
        The same of the predictions: ``perturbation`` (the truth's column, ``perturbation`` or the
        index of ``obs`` where None), ``genes`` and ``layer`` are looked at.
    line
        Cell line to score, where the truth has several.
    total
        Bring counts of the truth to this total and to logarithms first, for predictions that are
        such logarithms; 0 takes the median of its cells, as ``infosem perturbation`` does.
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
    observed = _load(truth, columns.layer, "truth")
    other = _load(predicted, predicted_columns.layer, "predictions")
    labels, column, names = choose(
        observed.obs, observed.var, column=columns.perturbation, genes=columns.genes,
        controls=columns.controls, separator=columns.separator,
    )  # fmt: skip
    notes = [*observed.notes, *sentences(labels, column, names)]
    of_line, own_line = _of_line(observed.obs, columns.line, line)
    notes += own_line
    known = dict(zip(labels.names, labels.perturbed, strict=True))
    code = np.array([known[name] is not None for name in labels.names])[labels.code] & of_line
    asked, note = _perturbations(other.obs, predicted_columns, labels.column, known, names, line)
    notes += note
    genes, at, there, note = _genes(names, other.var, column, predicted_columns.genes, common_genes)
    notes += note
    perturbed, rows, note = _observed(labels.names, known, labels.code, code, asked, least_cells)
    notes += note
    is_free = np.array([known[name] == () for name in labels.names])[labels.code] & of_line
    if is_free.sum() < 2:
        raise ValueError(f"Expected at least 2 control cells in the truth, found {is_free.sum()}.")
    unit, x, target, note = _unit(observed, np.flatnonzero(code), total)
    notes += note
    x = x[:, at]
    controls = Values(sparse.csr_array(x[np.flatnonzero(is_free)]), unit, target)
    group = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    cells = Values(sparse.csr_array(x[np.concatenate(rows)]), unit, target)
    theirs = sparse.csr_array(other.x[:, there])
    places = _places(asked)
    own = [places[genes] for genes in perturbed]
    used = np.concatenate(own)
    _check_units(theirs[used], controls, other.base, cells=len(used) > len(own))
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
    with open_anndata(source, what, layer, limits=STREAM_LIMITS) as file:
        x = _checked(by_rows(file.matrix)[:], file.columns)
        return _Loaded(file.obs, file.var, x, file.base, file.notes)


def _checked(x: Any, columns: slice | np.ndarray) -> sparse.csr_array:
    found = sparse.csr_array(x, dtype=np.float32)
    found.check_format(full_check=True)
    found = found[:, columns]
    if not np.isfinite(found.data).all():
        raise ValueError(f"{(~np.isfinite(found.data)).sum()} values are not finite.")
    if found.data.min(initial=0) < 0:
        raise ValueError(
            f"expected expression, found values down to {found.data.min():.3g}, as of "
            "differences; name a matrix of expression (layer=..., --predicted-layer; mean of "
            "infosem's own)."
        )
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def _of_line(
    obs: pd.DataFrame, column: str | None, line: str | None
) -> tuple[np.ndarray, list[str]]:
    """Return which cells are of the cell line."""
    column = column or next((name for name in LINE if name in obs), None)
    if column is None or column not in obs:
        if line is not None or column is not None:
            raise ValueError(f"obs has no column of cell lines; it has {', '.join(obs.columns)}.")
        return np.ones(len(obs), bool), []
    lines = obs[column].astype(str).to_numpy()
    found = sorted(set(lines))
    if line is None and len(found) > 1:
        raise ValueError(f"Expected a cell line (line=...), one of {', '.join(found)}.")
    if line is not None and line not in found:
        raise ValueError(f"There is no cell line {line!r}; the truth has {', '.join(found)}.")
    return lines == (line or found[0]), [f"cell line {line or found[0]}"] if line else []


def _perturbations(
    obs: pd.DataFrame,
    columns: Columns,
    column: str,
    known: dict[str, tuple[str, ...] | None],
    genes: Sequence[str],
    line: str | None,
) -> tuple[list[tuple[str, ...] | None], list[str]]:
    """Return the perturbed genes of each predicted row; none of controls, None of others.

    Names are those of the truth, or are read as it was; of the column that has most of them.
    """
    place = columns.perturbation
    if place is not None and place not in obs:
        raise ValueError(f"The predictions' obs has no column {place!r}: {', '.join(obs)}.")
    known = {name: own for name, own in known.items() if own is not None}
    known |= {label(own): own for own in list(known.values()) if own}
    whole = set(known.values())

    def read(column: pd.Series) -> tuple[tuple[str, ...], list[tuple[str, ...] | None]]:
        labels = read_labels(column, [genes])[0]
        own = [
            () if name not in known and is_control(name)
            else known.get(sorted_name(name), known.get(name, parsed if parsed in whole else None))
            for name, parsed in zip(labels.names, labels.perturbed, strict=True)
        ]  # fmt: skip
        return tuple(labels.names[i] for i in labels.code), [own[i] for i in labels.code]

    most = max(20, len(obs) / 2)
    usual = [name for name in (column, "perturbation") if name in obs]
    others = [name for name in obs if name not in usual and is_text(obs[name])
              and obs[name].nunique() <= most]  # fmt: skip
    places = [place] if place is not None else [*usual, *others]
    tried = {name: read(obs[name]) for name in places}
    if not any(any(own) for _, own in tried.values()) and place is None:
        tried[None] = read(obs.index.to_series())
    place = max(tried, key=lambda name: len(set(filter(None, tried[name][1]))))
    names, found = tried[place]
    if line is not None and (at := columns.line or next((n for n in LINE if n in obs), None)):
        found = [p if own == line else None for p, own in zip(found, obs[at].astype(str),
                                                              strict=True)]  # fmt: skip
    unknown = sorted({name for name, genes in zip(names, found, strict=True) if genes is None})
    matched = {genes for genes in found if genes}
    where = "the index of obs" if place is None else f"obs[{place!r}]"
    told = f"{len(matched)} perturbations of the truth are predicted (names from {where})"
    if len(matched) < max(len(unknown), 1):
        raise ValueError(
            f"{told}, {len(unknown)} names are not in the truth: "
            f"{near_misses(sorted(known), unknown, 'Predicted perturbations') if unknown else ''}"
        )
    notes = [told]
    if unknown:
        notes.append(f"{len(unknown)} names are not in the truth: {', '.join(unknown[:5])}")
    free = sum(genes == () for genes in found)
    if free:
        notes.append(f"{free} control cells of the predictions are not used; the observed ones are")
    return found, notes


def _genes(
    names: Sequence[str], var: pd.DataFrame, column: str, given: str | None, common: bool
) -> tuple[list[str], Int[np.ndarray, " genes"], Int[np.ndarray, " genes"], list[str]]:
    """Return the genes to score, and where they are in the truth and in the predictions."""
    places = [given] if given else [name for name in (column, INDEX, *GENES) if
                                    name == INDEX or name in var]  # fmt: skip
    first = {name: i for i, name in reversed(list(enumerate(names)))}
    tried = []
    for key in places:
        own = map(without_version, gene_names(var, key))
        tried.append({name: i for i, name in reversed(list(enumerate(own)))})
    best = max(tried, key=lambda each: len(first.keys() & each.keys()))
    shared = [name for name in first if name in best]
    shared.sort(key=first.__getitem__)
    missing = [name for name in first if name not in best]
    told = f"{len(shared)} of {len(first)} genes of the truth are predicted"
    if missing and not (common and shared):
        advice = (
            "leave them out of both with common_genes (--common-genes)" if shared
            else near_misses(sorted(best), missing, "Genes of the truth")
        )  # fmt: skip
        raise ValueError(f"{told}; {', '.join(missing[:5])} and others are not. {advice}")
    more = len(best) - len(shared)
    notes = [told, *([f"{more} predicted genes are not in the truth"] if more else [])]
    place_of = np.array([first[name] for name in shared]), np.array([best[n] for n in shared])
    return shared, *place_of, notes


def _observed(
    names: Sequence[str],
    known: dict[str, tuple[str, ...] | None],
    code: np.ndarray,
    used: np.ndarray,
    asked: Sequence[tuple[str, ...] | None],
    least: int,
) -> tuple[list[tuple[str, ...]], list[np.ndarray], list[str]]:
    """Return the perturbations to score and the rows of their observed cells."""
    genes = [known[name] for name in names]
    rows = _places([genes[i] if yes else None for i, yes in zip(code, used, strict=True)])
    seen = sorted(p for p in rows if p)
    predicted = set(asked)
    scored = [p for p in seen if p in predicted and len(rows[p]) >= least]
    few = sum(p in predicted and len(rows[p]) < least for p in seen)
    left_out = len(seen) - len(scored) - few
    notes = []
    if left_out:
        notes.append(f"{left_out} perturbations of the truth are not predicted, and not scored")
    if few:
        notes.append(f"{few} perturbations with fewer than {least} observed cells are left out")
    if not scored:
        raise ValueError(
            f"Expected predicted perturbations with at least {least} observed cells, found none; "
            "lower least_cells."
        )
    return scored, [rows[p] for p in scored], notes


def _places(perturbed: Sequence[tuple[str, ...] | None]) -> dict[tuple[str, ...], np.ndarray]:
    """Return the rows of each perturbation."""
    found: dict[tuple[str, ...], list[int]] = {}
    for i, genes in enumerate(perturbed):
        if genes is not None:
            found.setdefault(genes, []).append(i)
    return {genes: np.array(rows) for genes, rows in found.items()}


def _unit(
    observed: _Loaded, rows: np.ndarray, total: float | None
) -> tuple[Any, sparse.csr_array, float, list[str]]:
    """Return the unit of the truth, its values in it, and the total of its cells."""
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
    own = observed.x.sum(1, dtype=np.float64)
    median = float(np.median(own[rows][own[rows] >= 1]))
    if total is None:
        return "counts", observed.x, median, [f"units: counts ({found.why})"]
    x = observed.x.copy()
    total = total or median
    x.data = np.log1p(x.data * np.repeat(total / np.maximum(own, 1), np.diff(x.indptr)))
    return "log", x, 1.0, [f"units: counts, brought to {total:.4g} per cell and log(1 + x)"]


def _check_units(
    theirs: sparse.csr_array, controls: Values, base: str | None, *, cells: bool
) -> None:
    """Refuse predictions that are nearer to the controls in another unit."""
    if base in ("2", "10"):
        raise ValueError(f"The predictions: expected natural logarithms, found base {base}.")
    mean = theirs.mean(0, dtype=np.float64)
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
            "total=... for a truth of counts and predictions that are log(1 + x))."
        )
    if controls.unit == "log":
        _check_totals(theirs, controls.x, cells=cells)


def _check_totals(theirs: sparse.csr_array, controls: sparse.csr_array, *, cells: bool) -> None:
    """Refuse logarithms of another base, or of cells brought to another total.

    Where all cells have one total, these are compared; else, and where there are profiles, those of
    the mean logarithms, which perturbations change by less than a half.
    """
    totals = [np.expm1(x.astype(np.float64)).sum(1) for x in (theirs, controls)]
    even = cells and all(each.std() < EVEN * each.mean() for each in totals)
    means = [np.expm1(x.mean(0, dtype=np.float64)).sum() for x in (theirs, controls)]
    found, expected = [each.mean() for each in totals] if even else means
    most = 1 + 2 * EVEN if even else MOST_APART
    if not 1 / most < found / expected < most:
        what = "cells" if even else "mean profiles"
        raise ValueError(
            f"The predictions: as log(1 + x), {what} have a total of {found:.4g}, and those of the "
            f"controls of {expected:.4g}. Bring both to natural logarithms of the same total."
        )


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
    if sizes.min() < 2:
        raise ValueError(
            "Expected one profile of each perturbation, or at least 2 cells of each, found "
            f"{(sizes < 2).sum()} of {len(sizes)} perturbations with one."
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
