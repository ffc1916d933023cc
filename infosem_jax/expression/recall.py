"""Is a gene inferred better than any other gene's inference would do? Recall, exact and in blocks.

The correlation between the truth of gene i and the inference of gene j is a null for i = j: it
holds what two genes share without any inference of the one in particular. With 12,320 genes there
are 152 million such pairs. They are computed in blocks of rows, twice, and never kept: the first
pass counts how many lie at or below each gene's own correlation and each edge of a grid; the
second collects the few values between two edges among which a wanted percentile lies. So both the
counts and the percentiles are those of the whole matrix.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

# Correlations are compared as whole numbers of 2^-30 (1e-9): ties of ranks make many of them equal,
# and rounding errors, which depend on the shape of a block, must not tell them apart.
_ONE = 2**30
_OUT = 2**31 - 1  # above every correlation, so never counted at or below anything
_EDGES = np.arange(-_ONE, _ONE + 1, 2**15, dtype=np.int64)
_BLOCK = 2**22  # pairs at a time


class Recall(NamedTuple):
    """How well each gene is recalled.

    Attributes
    ----------
    own
        Rank correlation of a gene's truth and inference, [genes]; NaN where either is constant.
    recall
        Share of the null at or below ``own``, 0 where that is not defined, [genes].
    thresholds
        Percentiles of the null, one for each that was asked for; NaN without a null.
    """

    own: Float[np.ndarray, " genes"]
    recall: Float[np.ndarray, " genes"]
    thresholds: Float[np.ndarray, " levels"]


def gene_recall(
    truth: Float[np.ndarray, "samples genes"],
    predicted: Float[np.ndarray, "samples genes"],
    levels: tuple[float, ...] = (0.95, 0.99),
) -> Recall:
    """Compare each gene's rank correlation with that of all pairs of different genes.

    Percentiles interpolate between neighbouring values of the null, as NumPy's do. Genes that are
    constant, in truth or as inferred, have no rank correlation: they take no part in the null,
    and their recall is 0.

    Parameters
    ----------
    truth, predicted
        Expression of the same samples and genes, [samples, genes].
    levels
        Percentiles, as shares.

    Returns
    -------
    Correlations, recalls and thresholds; memory beyond them is some tens of megabytes.
    """
    varies = _varies(truth) & _varies(predicted)
    n = int(varies.sum())
    own = np.full(truth.shape[1], np.nan)
    recall = np.zeros(truth.shape[1])
    if n < 2:
        own[varies] = (_ranks(truth[:, varies]) * _ranks(predicted[:, varies])).sum(0)
        return Recall(own, recall, np.full(len(levels), np.nan))
    a, b = _ranks(truth[:, varies]), _ranks(predicted[:, varies])
    selves = _whole((a * b).sum(0))
    at_most, edges = np.zeros(n, np.int64), np.zeros(len(_EDGES), np.int64)
    for null in _null(a, b):
        null.sort()
        at_most += np.searchsorted(null, selves.astype(null.dtype), side="right")
        edges += np.searchsorted(null, _EDGES.astype(null.dtype), side="right")
    pairs = n * (n - 1)
    own[varies] = selves / _ONE
    recall[varies] = at_most / pairs
    wanted = np.array(levels) * (pairs - 1)
    low = np.floor(wanted).astype(np.int64)
    values = _order_statistics(a, b, edges, np.stack([low, np.minimum(low + 1, pairs - 1)]))
    return Recall(own, recall, (values[0] + (wanted - low) * (values[1] - values[0])) / _ONE)


def _order_statistics(
    a: np.ndarray, b: np.ndarray, edges: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Return the values of the null at some places of its order, counted from 0."""
    # A value is in cell c if it lies above edge c - 1 and at or below edge c.
    cells = np.searchsorted(edges, places, side="right")
    needed = np.unique(cells)
    found = {cell: [] for cell in needed.tolist()}
    for null in _null(a, b):
        for cell, parts in found.items():
            inside = null <= np.int32(_EDGES[cell])
            if cell:
                inside &= null > np.int32(_EDGES[cell - 1])
            parts.append(null[inside])
    values = np.empty(places.shape)
    for cell, parts in found.items():
        before = edges[cell - 1] if cell else 0
        within = np.sort(np.concatenate(parts))
        values[cells == cell] = within[places[cells == cell] - before]
    return values


def _null(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    """Yield correlations in blocks of rows, as whole numbers; those of one gene are `_OUT`."""
    n = a.shape[1]
    rows = max(1, _BLOCK // n)
    for start in range(0, n, rows):
        block = _whole(a[:, start : start + rows].T @ b)
        np.fill_diagonal(block[:, start:], _OUT)
        yield block.ravel()


def _whole(correlation: np.ndarray) -> np.ndarray:
    # Rounding errors may push a perfect correlation above 1.
    return np.rint(correlation.clip(-1, 1) * _ONE).astype(np.int32)


def _varies(x: np.ndarray) -> np.ndarray:
    return x.min(0) != x.max(0)


def _ranks(x: np.ndarray) -> np.ndarray:
    """Return ranks over samples, centred and of length 1."""
    ranks = rankdata(x, axis=0).astype(np.float64)
    ranks -= ranks.mean(0)
    return ranks / np.sqrt((ranks**2).sum(0))
