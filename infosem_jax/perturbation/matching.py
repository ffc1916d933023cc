"""Names of anyone's predictions matched to those of the cells that were observed."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportReturnType=false, reportGeneralTypeIssues=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from infosem_jax.data._anndata import INDEX, gene_names
from infosem_jax.data._names import (
    BY_IDENTIFIER,
    find_names,
    near_misses,
    some,
    without_version,
)
from infosem_jax.perturbation.data import label
from infosem_jax.perturbation.guides import is_control
from infosem_jax.perturbation.labels import GENES, PERTURBATION, Reading, is_text, read_labels
from infosem_jax.perturbation.readers import LINE, Columns
from infosem_jax.perturbation.splits import sorted_name

# Different values of a column that is tried for names, at most, or half of the rows: one profile of
# each perturbation has them all different, and those of cells may be as many as there are cells.
_MOST_NAMES = 2000


def observed_line(
    obs: pd.DataFrame, column: str | None, line: str | None
) -> tuple[Bool[np.ndarray, " cells"], str | None, list[str]]:
    """Return which observed cells are of the cell line, its name where one is told, and notes.

    Parameters
    ----------
    obs
        Table of the observed cells.
    column
        Column of cell lines; one of a known name where None.
    line
        The line asked for; the only one where None.

    Raises
    ------
    ValueError
        If there are several and none is asked for, or it is not there.
    """
    column = column or next((name for name in LINE if name in obs), None)
    if column is None or column not in obs:
        if line is not None or column is not None:
            raise ValueError(f"obs has no column of cell lines; it has {', '.join(obs.columns)}.")
        return np.ones(len(obs), bool), None, []
    lines = obs[column].astype(str).to_numpy()
    found = sorted(set(lines))
    if line is None and len(found) > 1:
        raise ValueError(
            f"Expected a cell line (line=..., --line), one of {', '.join(found)}, found none."
        )
    if line is not None and line not in found:
        raise ValueError(f"There is no cell line {line!r}; the truth has {', '.join(found)}.")
    line = line or found[0]
    return lines == line, line, [f"cell line {line}"]


def predicted_line(
    obs: pd.DataFrame, column: str | None, line: str | None
) -> tuple[Bool[np.ndarray, " rows"], list[str]]:
    """Return which predicted rows are of the cell line that was observed.

    Parameters
    ----------
    obs
        Table of the predictions.
    column
        Column of cell lines of the truth; one of a known name where there is none such.
    line
        The cell line that was observed; None where the truth does not tell.

    Raises
    ------
    ValueError
        If predictions are of several cell lines and none is that one.
    """
    column = next((name for name in (column, *LINE) if name is not None and name in obs), None)
    every = np.ones(len(obs), bool)
    if column is None:
        return every, []
    lines = obs[column].astype(str).str.casefold()
    if lines.nunique() < 2:
        return every, []
    own = (lines == (line or "").casefold()).to_numpy()
    if not own.any():
        found = some(sorted(set(obs[column].astype(str))), 5)
        of = "does not tell its line" if line is None else f"is of {line}"
        raise ValueError(
            f"The predictions are of several cell lines (obs[{column!r}]: {found}), the truth "
            f"{of}. Keep the rows of the line that was observed, so that lines are not mixed."
        )
    return own, [f"{(~own).sum()} predicted rows of other cell lines are not used"]


def predicted_perturbations(
    obs: pd.DataFrame, columns: Columns, truth: Reading, genes: Sequence[str]
) -> tuple[list[tuple[str, ...] | None], list[str]]:
    """Return the perturbed genes of each predicted row; none of controls, None of others.

    Names are those of the truth, or are read as it was; of the column that has most of them.

    Parameters
    ----------
    obs
        Table of the predictions.
    columns
        Where they hold what.
    truth
        What the observed cells were read as.
    genes
        Names of the genes that were measured.

    Raises
    ------
    ValueError
        If hardly any is a perturbation of the truth.
    """
    place = columns.perturbation
    if place is not None and place not in obs:
        raise ValueError(f"The predictions' obs has no column {place!r}: {', '.join(obs)}.")
    known = {
        name: own for name, own in zip(truth.names, truth.perturbed, strict=True) if own is not None
    }
    known |= {label(own): own for own in list(known.values()) if own}
    whole = set(known.values())
    # What was perturbed need not be measured, and parts names of combinations all the same.
    parts = frozenset(genes).union(truth.named)

    def is_part(name: str, parsed: tuple[str, ...] | None) -> bool:
        """Tell whether a label names more genes of the screen than were read."""
        return not set(re.split(r"[\W_]+", name)) & set(truth.named) <= set(parsed or ())

    def read(column: pd.Series) -> tuple[tuple[str, ...], list[tuple[str, ...] | None]]:
        labels = read_labels(column, [parts])[0]
        own = [
            () if name not in known and is_control(name)
            else known.get(sorted_name(name), known.get(name, parsed if parsed in whole
                                                        and not is_part(name, parsed) else None))
            for name, parsed in zip(labels.names, labels.perturbed, strict=True)
        ]  # fmt: skip
        return tuple(labels.names[i] for i in labels.code), [own[i] for i in labels.code]

    most = max(_MOST_NAMES, len(obs) / 2)
    usual = [name for name in dict.fromkeys((truth.column, *PERTURBATION)) if name in obs]
    others = [name for name in obs if name not in usual and obs[name].nunique() <= most]
    places = [place] if place is not None else [
        name for name in (*usual, *others) if is_text(obs[name])
    ]  # fmt: skip
    tried = {name: read(obs[name]) for name in places}
    if not any(any(own) for _, own in tried.values()) and place is None:
        tried[None] = read(obs.index.to_series())
    place = max(tried, key=lambda name: len(set(filter(None, tried[name][1]))))
    names, found = tried[place]
    unknown = sorted({name for name, genes in zip(names, found, strict=True) if genes is None})
    matched = {genes for genes in found if genes}
    where = "the index of obs" if place is None else f"obs[{place!r}]"
    told = f"{len(matched)} perturbations of the truth are predicted (names from {where})"
    # Fewer than are unknown, and fewer than half of those observed: other names are meant.
    if not matched or len(matched) < min(len(unknown), len(whole - {()}) / 2):
        raise ValueError(
            f"{told}, {len(unknown)} names are not in the truth: "
            f"{_advice(sorted(map(label, whole - {()})), unknown, [*tried], genes)}"
        )
    notes = [told]
    if unknown:
        notes.append(f"{len(unknown)} names are not in the truth: {', '.join(unknown[:5])}")
    free = sum(genes == () for genes in found)
    if free:
        notes.append(f"{free} control cells of the predictions are not used; the observed ones are")
    return found, notes


def _advice(
    known: Sequence[str],
    unknown: Sequence[str],
    tried: Sequence[str | None],
    genes: Sequence[str],
) -> str:
    """Say what is wrong with names of perturbations, and what to do."""
    upper = {name.upper() for name in known}
    if any(name.upper() in upper for name in unknown):
        return near_misses(known, unknown)
    if 2 * len(set(genes).intersection(unknown)) > len(unknown):
        return "rows are genes; transpose the matrix, so that they are cells or perturbations."
    places = ", ".join("the index" if name is None else f"obs[{name!r}]" for name in tried)
    return (
        f"expected names such as {some(known)}, found {some(unknown) or 'controls only'}; looked "
        f"in {places}. Name the column (--predicted-perturbation, "
        "predicted_columns=Columns(perturbation=...)), or the perturbations as the truth does."
    )


def match_genes(
    names: Sequence[str], var: pd.DataFrame, column: str, given: str | None, common: bool
) -> tuple[list[str], Int[np.ndarray, " genes"], Int[np.ndarray, " genes"], list[str]]:
    """Return the genes to score, where they are in the truth and in the predictions, and notes.

    Parameters
    ----------
    names
        Names of the genes of the truth, the first of a name counts.
    var
        Table of the genes of the predictions.
    column
        Column of ``var`` that the names of the truth are from.
    given
        Column to take; the one with most of the names where None.
    common
        Whether genes that are not predicted are left out, else they are refused.

    Raises
    ------
    ValueError
        If genes are not predicted.
    """
    places = [given] if given else [
        name for name in (column, INDEX, *GENES) if name == INDEX or name in var
    ]  # fmt: skip
    first = {name: i for i, name in reversed(list(enumerate(names)))}
    tried = []
    for key in places:
        own = map(without_version, gene_names(var, key))
        tried.append({name: i for i, name in reversed(list(enumerate(own)))})
    best = max(tried, key=lambda each: len(first.keys() & each.keys()))
    missing = [name for name in first if name not in best]
    notes = []
    if missing and 2 * len(missing) > len(first):
        # Symbols on one side and identifiers on the other.
        by_id = {
            name: best[gene]
            for name, (gene, how) in find_names(list(best), missing).items()
            if how == BY_IDENTIFIER
        }
        best |= by_id
        notes += [f"{len(by_id)} genes are matched by Ensembl identifier"] * bool(by_id)
    shared = sorted((name for name in first if name in best), key=first.__getitem__)
    missing = sorted((name for name in first if name not in best), key=first.__getitem__)
    told = f"{len(shared)} of {len(first)} genes of the truth are predicted"
    if missing and not (common and shared):
        advice = "Leave them out of both with common_genes (--common-genes)."
        if 2 * len(missing) > len(first):
            advice = near_misses(sorted(best), missing, "Genes of the truth")
        raise ValueError(f"{told}, not {some(missing, 5)}. {advice}")
    more = len(var) - len(shared)
    notes = [told, *notes, *([f"{more} predicted genes are not in the truth"] if more else [])]
    place_of = np.array([first[name] for name in shared]), np.array([best[n] for n in shared])
    return shared, *place_of, notes


def to_score(
    truth: Reading,
    used: Bool[np.ndarray, " cells"],
    asked: Sequence[tuple[str, ...] | None],
    least: int,
) -> tuple[list[tuple[str, ...]], list[Int[np.ndarray, " own"]], list[str]]:
    """Return the perturbations to score, the rows of their observed cells, and notes.

    Parameters
    ----------
    truth
        What the observed cells were read as.
    used
        Which of these count.
    asked
        Perturbed genes of the predicted rows.
    least
        Cells that must have been observed of each.

    Raises
    ------
    ValueError
        If none is left.
    """
    genes = truth.perturbed
    rows = rows_of([genes[i] if yes else None for i, yes in zip(truth.code, used, strict=True)])
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
            "lower least_cells (--least-cells)."
        )
    return scored, [rows[p] for p in scored], notes


def rows_of(
    perturbed: Sequence[tuple[str, ...] | None],
) -> Mapping[tuple[str, ...], Int[np.ndarray, " rows"]]:
    """Return the rows of each perturbation."""
    found: dict[tuple[str, ...], list[int]] = {}
    for i, genes in enumerate(perturbed):
        if genes is not None:
            found.setdefault(genes, []).append(i)
    return {genes: np.array(rows) for genes, rows in found.items()}
