"""Differential expression: one definition for what was observed and for what was predicted."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int8

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
    from scipy.stats import false_discovery_control, mannwhitneyu

    if min(len(cells), len(controls)) < 2:
        raise ValueError(
            f"Expected at least 2 cells on each side of a test, found {len(cells)} cells and "
            f"{len(controls)} controls."
        )
    p = np.ones(cells.shape[1])
    low = np.minimum(cells.min(0), controls.min(0))
    varies = np.maximum(cells.max(0), controls.max(0)) > low
    if varies.any():
        test = mannwhitneyu(cells[:, varies], controls[:, varies], axis=0, method="asymptotic")
        p[varies] = false_discovery_control(np.clip(test.pvalue, 0, 1))
    return Changes(log_fold_change(cells, controls), p.astype(np.float32))


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


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide, with 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
