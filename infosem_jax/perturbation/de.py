"""Differential expression: one definition for what was observed and for what was predicted."""

# pyright: reportOptionalSubscript=false
# That sparse arrays have a shape, their stubs do not say.

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int8
from scipy import sparse, stats

from infosem_jax._settings import check


@dataclass(frozen=True)
class Thresholds:
    """What counts as differentially expressed.

    Attributes
    ----------
    fdr
        Adjusted p-values must be below it.
    lfc
        Absolute log2 fold changes must be above it.
    """

    fdr: float = 0.05
    lfc: float = 0.0

    def __post_init__(self):
        if not 0 < self.fdr <= 1:
            raise ValueError(f"fdr: expected a number above 0, at most 1, found {self.fdr}.")
        check(self, least={0: ["lfc"]})


USUAL = Thresholds()


class Changes(NamedTuple):
    """Differential expression of genes against control cells.

    Attributes
    ----------
    lfc
        Log2 fold change of mean expression, [..., genes].
    fdr
        P-values of the rank-sum test, adjusted over genes, [..., genes].
    """

    lfc: Float32[np.ndarray, "*n genes"]
    fdr: Float32[np.ndarray, "*n genes"]


def rank_sum(
    cells: Float[np.ndarray, "cells genes"], controls: Float[np.ndarray, "controls genes"]
) -> Changes:
    """Compare cells with control cells, gene by gene.

    The p-values are those of Wilcoxon's rank-sum test with correction for ties, adjusted by
    Benjamini and Hochberg over the genes that vary; a gene that does not vary has 1. The fold
    change is ``log2((mean(expm1(x)) + c) / (mean(expm1(controls)) + c))`` with ``c = 1e-2``, so
    that genes that are off on one side have one.

    Parameters
    ----------
    cells, controls
        Logarithms ``log(1 + x)`` of normalised counts.

    Raises
    ------
    ValueError
        If there are fewer than 2 cells on a side.
    """
    if min(len(cells), len(controls)) < 2:
        raise ValueError(
            f"Expected at least 2 cells on each side of a test, found {len(cells)} cells and "
            f"{len(controls)} controls."
        )
    p = np.ones(cells.shape[1])
    low = np.minimum(cells.min(0), controls.min(0))
    varies = np.maximum(cells.max(0), controls.max(0)) > low
    if varies.any():
        own, others = (sparse.csc_array(x[:, varies]) for x in (cells, controls))
        found = rank_sum_p(own, np.zeros(len(cells), int), others)
        p[varies] = stats.false_discovery_control(found[0])
    return Changes(log_fold_change(cells, controls), p.astype(np.float32))


def rank_sum_p(
    cells: sparse.csc_array, group: Int[np.ndarray, " cells"], controls: sparse.csc_array
) -> Float[np.ndarray, "groups genes"]:
    """Return two-sided p-values of Wilcoxon's rank-sum test of groups of cells against controls.

    ``z = (|U - n m / 2| - 1/2) / s`` with ``U`` the couples of a cell and a control in which the
    cell is higher, ties counted half, and ``s² = n m / 12 (N + 1 - sum(t³ - t) / (N (N - 1)))`` of
    the N = n + m cells, t of which share a value. The controls of a gene are sorted once for all
    groups, and zeros are not looked at. 1 where nothing varies.

    Parameters
    ----------
    cells, controls
        Values to rank, [cells, genes], sparse by genes.
    group
        Number of each cell's group, from 0; each has at least one cell.
    """
    n = np.bincount(group)
    m, genes = controls.shape[0], cells.shape[1]
    u, ties = np.zeros((2, len(n), genes))
    for g in range(genes):
        others = np.sort(controls.data[controls.indptr[g] : controls.indptr[g + 1]])
        rows = slice(cells.indptr[g], cells.indptr[g + 1])
        values, of = cells.data[rows], group[cells.indices[rows]]
        order = np.lexsort((values, of))
        values, of = values[order], of[order]
        zeros, other_zeros = n - np.bincount(of, minlength=len(n)), m - len(others)
        low, high = (np.searchsorted(others, values, side) for side in ("left", "right"))
        below = (low + high) / 2 + other_zeros * (values > 0)
        u[:, g] = np.bincount(of, below, len(n))
        u[:, g] += zeros * (np.searchsorted(others, 0) + other_zeros / 2)
        # Groups of equal values: those of the controls, and what the cells add to them.
        first = np.flatnonzero(np.diff(of, prepend=-1) | (np.diff(values, prepend=np.nan) != 0))
        own, there = np.diff(first, append=len(values)), (high - low)[first]
        added = _triples(own + there) - _triples(there)
        runs = np.diff(np.flatnonzero(np.diff(others, prepend=np.nan)), append=len(others))
        ties[:, g] = np.bincount(of[first], added, len(n)) + _triples(runs).sum()
        ties[:, g] += _triples(zeros + other_zeros)
    couples, both = (n * m)[:, None], (n + m)[:, None]
    spread = couples / 12 * (both + 1 - ties / np.maximum(both * (both - 1), 1))
    distance = np.abs(u - couples / 2) - 0.5
    # What rounding leaves where all values are the same is no spread.
    flat = spread < 1e-9 * couples * both
    z = np.where(flat, 0.0, distance / np.sqrt(np.where(flat, 1.0, spread)))
    return np.minimum(2 * stats.norm.sf(z), 1.0)


def log_fold_change(
    cells: Float[np.ndarray, "cells genes"], controls: Float[np.ndarray, "controls genes"]
) -> Float32[np.ndarray, " genes"]:
    """Return the log2 fold change of mean expression; see `rank_sum`."""
    means = [np.expm1(x.astype(np.float64)).mean(0) + 1e-2 for x in (cells, controls)]
    return np.log2(means[0] / means[1]).astype(np.float32)


def signs(changes: Changes, thresholds: Thresholds = USUAL) -> Int8[np.ndarray, "*n genes"]:
    """Return 1 for genes that went up, -1 for those that went down, 0 for all others."""
    found = (changes.fdr < thresholds.fdr) & (np.abs(changes.lfc) > thresholds.lfc)
    return (np.sign(changes.lfc) * found).astype(np.int8)


def predicted_cells(
    change: Float[np.ndarray, " genes"],
    controls: Float32[np.ndarray, "controls genes"],
    n: int,
    seed: int,
) -> Float32[np.ndarray, "n genes"]:
    """Make cells whose mean is that of the controls plus a predicted change.

    Cells are control cells drawn with replacement. Where a gene is to fall, each of its values is
    set to 0 with the probability that brings the mean down. Where it is to rise, zeros are replaced
    by the mean of the values above 0; if that is not enough, a share of the cells is raised by a
    standard deviation, or by all that is missing if that is more. So a small change touches few
    cells, and does not lift every zero or break every tie, which any rank test would call
    significant.

    Parameters
    ----------
    change
        Predicted difference of mean log expression.
    controls
        Observed control cells, never cells that a method made.
    n
        Number of cells, that of the observed ones so that tests have the same power.
    seed
        Seeds the draws.
    """
    rng = np.random.default_rng(seed)
    x = controls[rng.integers(0, len(controls), n)]
    mean = x.mean(0)
    keep = _share(np.maximum(mean + change, 0.0), mean)
    x = np.where(rng.random(x.shape) < np.where(change < 0, keep, 1.0), x, 0.0)
    missing = np.maximum(change, 0.0)
    usual = _share(controls.sum(0), (controls > 0).sum(0))
    room = usual * (x == 0).mean(0)
    turned = (x == 0) & (rng.random(x.shape) < np.minimum(_share(missing, room), 1.0))
    x = np.where(turned, usual, x)
    missing = np.maximum(missing - room, 0.0)
    step = np.maximum(controls.std(0), missing)
    raised = rng.random(x.shape) < _share(missing, step)
    return (x + raised * step).astype(np.float32)


def _triples(n: np.ndarray) -> np.ndarray:
    """Return ``n³ - n``, as floats since cubes of whole numbers overflow."""
    n = n.astype(np.float64)
    return n**3 - n


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide, with 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
