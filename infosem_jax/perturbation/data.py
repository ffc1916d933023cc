"""Responses to perturbations: cells brought to means, differences and signs against controls."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int, Int8

from infosem_jax._shown import shown
from infosem_jax.perturbation.de import USUAL, Changes, Thresholds, rank_sum, signs

CONTROL: tuple[str, ...] = ()
LEAST_CELLS = 10
MOST_CONTROLS = 2000


@shown("x", "genes", "perturbed", "notes")
class Cells(NamedTuple):
    """Cells of a perturbation screen.

    Attributes
    ----------
    name
        Of the data.
    x
        Logarithms ``log(1 + x)`` of normalised counts, [cells, genes].
    genes
        Their names.
    perturbed
        Genes that were perturbed in each cell, sorted; none in control cells.
    line, batch
        Cell line and batch of each cell.
    notes
        What was done to the data, in sentences.
    """

    name: str
    x: Float32[np.ndarray, "cells genes"]
    genes: tuple[str, ...]
    perturbed: tuple[tuple[str, ...], ...]
    line: tuple[str, ...]
    batch: tuple[str, ...]
    notes: tuple[str, ...] = ()


@shown("sign", "perturbed", "line", "genes", "delta", "notes")
class Responses(NamedTuple):
    """What perturbations did; a row is a perturbation in a cell line.

    Attributes
    ----------
    name
        Of the data.
    perturbed
        Perturbed genes of each row.
    line
        Cell line of each row.
    genes
        Genes that respond.
    sign
        1 for genes that went up, -1 down, 0 not differentially expressed, [n, genes].
    known
        Where there is a sign, [n, genes].
    control
        Mean of the matched control cells, [n, genes]; None of tables of signs.
    delta
        Mean of the perturbed cells minus that, [n, genes]; None of tables of signs.
    changes
        Fold changes and adjusted p-values; None of tables of signs.
    halves
        ``delta`` from either half of the cells, [2, n, genes]; None without cells.
    n_cells
        Cells of each row; 0 where not known.
    notes
        What was done to the data, in sentences.
    """

    name: str
    perturbed: tuple[tuple[str, ...], ...]
    line: tuple[str, ...]
    genes: tuple[str, ...]
    sign: Int8[np.ndarray, "n genes"]
    known: Bool[np.ndarray, "n genes"]
    control: Float32[np.ndarray, "n genes"] | None = None
    delta: Float32[np.ndarray, "n genes"] | None = None
    changes: Changes | None = None
    halves: Float32[np.ndarray, "2 n genes"] | None = None
    n_cells: Int[np.ndarray, " n"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def continuous(self) -> bool:
        """Whether there are values, not only signs."""
        return self.delta is not None

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each row: its genes with ``+`` between, after the line if there are several."""
        several = len(set(self.line)) > 1
        return tuple(
            f"{line}:{label(genes)}" if several else label(genes)
            for genes, line in zip(self.perturbed, self.line, strict=True)
        )


# The arrays of responses, with their axis of perturbations.
_ROWS = dict.fromkeys(("sign", "known", "control", "delta", "changes", "n_cells"), 0) | {
    "halves": 1
}


def label(genes: Sequence[str]) -> str:
    """Name a perturbation by its genes."""
    return "+".join(genes) or "control"


def take(responses: Responses, rows: Int[np.ndarray, " rows"]) -> Responses:
    """Return some rows, in the order asked for."""
    arrays = {
        name: jax.tree.map(partial(np.take, indices=rows, axis=axis), getattr(responses, name))
        for name, axis in _ROWS.items()
    }
    return responses._replace(
        perturbed=tuple(responses.perturbed[i] for i in rows),
        line=tuple(responses.line[i] for i in rows),
        **arrays,
    )


def summarise(
    cells: Cells,
    *,
    thresholds: Thresholds = USUAL,
    least_cells: int = LEAST_CELLS,
    match_batches: bool = True,
    seed: int = 0,
) -> Responses:
    """Compare the cells of each perturbation with control cells of the same line.

    The control mean of a perturbation is matched by batch, ``sum_b share_b mean(controls in b)``
    with the shares of its own cells, so that batches do not pass for effects; batches without
    controls count as the line. Tests use all controls of the line.

    Parameters
    ----------
    cells
        The cells.
    thresholds
        What counts as differentially expressed.
    least_cells
        Perturbations with fewer cells are left out, and counted in the notes.
    match_batches
        Whether controls are matched by batch.
    seed
        Decides which cells make which half.

    Raises
    ------
    ValueError
        If a line has fewer than 2 control cells, or no perturbation has enough cells.
    """
    if least_cells < 2:
        raise ValueError(
            f"least_cells: expected at least 2, found {least_cells}; one cell tells nothing of a "
            "perturbation."
        )
    line, batch = np.asarray(cells.line), np.asarray(cells.batch)
    control = np.array([not genes for genes in cells.perturbed], bool)
    _check_controls(cells, line, control)
    places: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for i, genes in enumerate(cells.perturbed):
        if genes:
            places.setdefault((cells.line[i], genes), []).append(i)
    few = [label(genes) for (_, genes), rows in places.items() if len(rows) < least_cells]
    kept = sorted((key, rows) for key, rows in places.items() if len(rows) >= least_cells)
    if not kept:
        most = max(map(len, places.values()), default=0)
        raise ValueError(
            f"{cells.name}: expected perturbations with at least {least_cells} cells, found at "
            f"most {most}; lower least_cells (--least-cells), or read a table of means."
        )
    rng = np.random.default_rng(seed)
    parts: dict[str, list] = {name: [] for name in ("control", "delta", "changes", "halves", "n")}
    for (name, _), rows in kept:
        mine = np.asarray(rows)
        own = control & (line == name)
        base = _matched(cells.x, batch, mine, own, match_batches)
        half = rng.permutation(mine)
        cut = len(half) // 2
        parts["control"].append(base)
        parts["delta"].append(cells.x[mine].mean(0) - base)
        parts["halves"].append([cells.x[each].mean(0) - base for each in (half[:cut], half[cut:])])
        parts["changes"].append(rank_sum(cells.x[mine], controls_of(cells, name)))
        parts["n"].append(len(mine))
    changes = Changes(*(np.stack(part) for part in zip(*parts["changes"], strict=True)))
    sign = signs(changes, thresholds)
    lost = 0 if not match_batches else _unmatched(line, batch, control, [at for _, at in kept])
    missed = f"{lost} perturbed cells are of batches with fewer than 2 controls, and are compared "
    missed += "with all controls of their line: a difference between batches passes for an effect"
    left_out = f"{len(few)} perturbations with fewer than {least_cells} cells were left out"
    return Responses(
        cells.name,
        tuple(genes for (_, genes), _ in kept),
        tuple(name for (name, _), _ in kept),
        cells.genes,
        sign,
        np.ones(sign.shape, bool),
        np.stack(parts["control"]).astype(np.float32),
        np.stack(parts["delta"]).astype(np.float32),
        changes,
        np.stack([np.stack(pair) for pair in parts["halves"]], 1).astype(np.float32),
        np.asarray(parts["n"]),
        (*cells.notes, *([left_out] if few else ()), *([missed] if lost else ())),
    )


def controls_of(cells: Cells, line: str) -> Float32[np.ndarray, "controls genes"]:
    """Return the control cells of a line; of many, the same sample whoever asks."""
    rows = [i for i, genes in enumerate(cells.perturbed) if not genes and cells.line[i] == line]
    if len(rows) > MOST_CONTROLS:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_CONTROLS]).tolist()
    return cells.x[rows]


def stack(parts: Sequence[Responses], name: str) -> Responses:
    """Put data of several cell lines below each other; genes that all have are kept.

    Raises
    ------
    ValueError
        If they share no gene, or some have values and others only signs.
    """
    others = [set(part.genes) for part in parts[1:]]
    shared = [gene for gene in parts[0].genes if all(gene in other for other in others)]
    if not shared:
        raise ValueError("Expected data that share genes, found none in common.")
    if len({part.continuous for part in parts}) > 1:
        raise ValueError("Expected values in all data or signs in all, found both.")
    cut = [_genes(part, shared) for part in parts]
    arrays = {}
    for field, axis in _ROWS.items():
        found = [getattr(part, field) for part in cut]
        if all(each is not None for each in found):
            arrays[field] = jax.tree.map(lambda *own, axis=axis: np.concatenate(own, axis), *found)
    return Responses(
        name,
        tuple(genes for part in cut for genes in part.perturbed),
        tuple(line for part in cut for line in part.line),
        tuple(shared),
        **arrays,
        notes=tuple(dict.fromkeys(note for part in cut for note in part.notes)),
    )


def stack_rows(
    parts: Sequence[Responses],
) -> tuple[Responses, list[Int[np.ndarray, " rows"]]]:
    """Join data of the same genes, each perturbation once, and return the rows of each."""
    if len(parts) == 1:
        return parts[0], [np.arange(len(parts[0].perturbed))]
    place: dict[tuple[str, tuple[str, ...]], int] = {}
    new, index = [], []
    for part in parts:
        keys = list(zip(part.line, part.perturbed, strict=True))
        first = [i for i, key in enumerate(keys) if key not in place]
        for i in first:
            place[keys[i]] = len(place)
        new.append(take(part, np.array(first, int)))
        index.append(np.array([place[key] for key in keys]))
    return stack([part for part in new if part.perturbed], parts[0].name), index


def _genes(responses: Responses, genes: Sequence[str]) -> Responses:
    place = {gene: i for i, gene in enumerate(responses.genes)}
    at = np.array([place[gene] for gene in genes])
    arrays = {
        name: jax.tree.map(lambda array: array[..., at], getattr(responses, name))
        for name in _ROWS.keys() - {"n_cells"}
    }
    return responses._replace(genes=tuple(genes), **arrays)


def _matched(
    x: np.ndarray, batch: np.ndarray, mine: np.ndarray, own: np.ndarray, match: bool
) -> np.ndarray:
    everywhere = x[own].mean(0)
    if not match:
        return everywhere
    names, counts = np.unique(batch[mine], return_counts=True)
    base = np.zeros_like(everywhere)
    for name, count in zip(names, counts, strict=True):
        here = own & (batch == name)
        base += count / len(mine) * (x[here].mean(0) if here.sum() >= 2 else everywhere)
    return base


def _unmatched(
    line: np.ndarray, batch: np.ndarray, control: np.ndarray, rows: Sequence[Sequence[int]]
) -> int:
    """Count the perturbed cells whose batch has no two controls of their line."""
    places = Counter(zip(line[control].tolist(), batch[control].tolist(), strict=True))
    return sum(places[str(line[i]), str(batch[i])] < 2 for own in rows for i in own)


def _check_controls(cells: Cells, line: np.ndarray, control: np.ndarray) -> None:
    for name in np.unique(line):
        n = int((control & (line == name)).sum())
        if n < 2:
            raise ValueError(
                f"{cells.name}: expected control cells of {name}, found {n}; name what controls "
                "are called (control=...), or read a table that holds differences."
            )
