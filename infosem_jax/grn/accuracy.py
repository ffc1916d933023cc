"""How well scores of pairs rank known edges, for all pairs, each regulator, and other regulators.

A cell is what one method scored on one network, split and seed.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from infosem_jax.grn.metrics import (
    rank_candidates,
    regulator_ratios,
    score_matrix,
    scored_regulators,
)
from infosem_jax.grn.splits import Universe

DRAWS = 200
# Numbers in a table of true edges and draws, or regulators: few enough for the processor's cache.
_CHUNK = 2**16


class At(NamedTuple):
    """Place of a cell in the grid; ``network`` is the reference's name, ``genes`` the gene set."""

    dataset: str
    network: str
    genes: str
    method: str
    split: str
    seed: int


class Cell(NamedTuple):
    """What was measured there.

    Attributes
    ----------
    at
        Its place.
    metrics
        Every number of `score_matrix`, on the tested pairs.
    seconds
        Time that the fit took, divided among the cells that share it.
    regulators
        Regulators with enough edges for a score of their own.
    auprc_ratio
        Their AUPRC ratios, [regulators].
    resampled
        AUPRC of all tested pairs where regulators are drawn with replacement, [draws]. The draws
        depend on data set, network and split only, so that methods can be compared in pairs.
    resampled_per_regulator
        Mean AUPRC ratio per regulator of the same draws, [draws]; NaN without such regulators.
    precision
        Precision at recalls of 0, 0.01, ..., 1, [101].
    """

    at: At
    metrics: dict[str, float]
    seconds: float
    regulators: tuple[str, ...]
    auprc_ratio: Float[np.ndarray, " regulators"]
    resampled: Float[np.ndarray, " draws"]
    resampled_per_regulator: Float[np.ndarray, " draws"]
    precision: Float[np.ndarray, "101"]


def measure(
    at: At,
    scores: Float[np.ndarray, "regulators genes"],
    universe: Universe,
    tested: Bool[np.ndarray, "regulators genes"],
    seconds: float,
) -> Cell:
    """Measure how well scores rank the tested pairs.

    Regulators with tested pairs are drawn with replacement, as many as there are; one drawn twice
    counts twice, its pairs tied with themselves. With ``w`` the weights of the ranked pairs, ``h``
    the true edges among them, ``W`` and ``H`` the running sums of ``w`` and ``w h``, the AUPRC of a
    draw is ``sum(w h H / W) / sum(w h)``. Precision at a recall is the highest at that recall or a
    larger one.

    Parameters
    ----------
    at
        Place in the grid; its seed decides ties.
    scores
        Larger means a more likely edge, [regulators, genes]; NaN where there is no score.
    universe
        The candidates and the known edges.
    tested
        Which of the candidates count, [regulators, genes].
    seconds
        Time that the fit took.

    Raises
    ------
    ValueError
        If the tested pairs do not hold both a true edge and another pair.
    """
    metrics = score_matrix(scores, universe.truth, tested, at.seed)
    rank = rank_candidates(scores, tested, at.seed)
    ratios = regulator_ratios(rank, universe.truth, tested)
    scored = scored_regulators(universe.truth, tested)
    place = rank[tested]
    row, hit = np.empty(len(place), int), np.empty(len(place), bool)
    row[place], hit[place] = np.nonzero(tested)[0], universe.truth[tested]
    times = _draws(at, np.flatnonzero(np.any(tested, axis=1)), len(tested))
    return Cell(
        at,
        {name: float(value) for name, value in metrics.items()},
        float(seconds),
        tuple(np.asarray(universe.regulators, object)[scored].tolist()),
        ratios,
        _resample(row, hit, times),
        _weighted_mean(ratios, times[:, scored]),
        _precision(hit),
    )


def _draws(at: At, tested: np.ndarray, n: int) -> Int[np.ndarray, "draws regulators"]:
    """How often each of n regulators is in each draw of the tested ones.

    Draws are alike for all methods, and for all seeds that test the same regulators: these share
    what is due to the choice of regulators.
    """
    place = "\0".join((at.dataset, at.network, at.genes, at.split))
    digest = hashlib.sha256(place.encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, "<u4"))
    drawn = tested[rng.integers(0, len(tested), (DRAWS, len(tested)))]
    each = np.arange(DRAWS)[:, None] * n + drawn
    return np.bincount(each.ravel(), minlength=DRAWS * n).reshape(DRAWS, n)


def _resample(
    row: Int[np.ndarray, " pairs"], hit: np.ndarray, times: Int[np.ndarray, "draws regulators"]
) -> Float[np.ndarray, " draws"]:
    """AUPRC of each draw, from the regulators and labels of the ranked pairs.

    Only true edges need running sums: that of their own weights, and that of all pairs, which is
    the product of the draws with the number of pairs that each regulator has so far.
    """
    n = times.shape[1]
    ends = np.flatnonzero(hit)
    weight = times.astype(float).T
    total, true, before = np.zeros(len(times)), np.zeros(len(times)), np.zeros(n)
    step = max(1, _CHUNK // max(n, len(times)))
    for first in range(0, len(ends), step):
        here = ends[first : first + step]
        start = 0 if first == 0 else ends[first - 1] + 1
        stretch = hit[start : here[-1] + 1]
        # Which of these true edges a pair comes before, or is.
        edge = np.cumsum(stretch) - stretch
        among = np.bincount(edge * n + row[start : here[-1] + 1], minlength=len(here) * n)
        pairs = among.reshape(-1, n).cumsum(0) + before
        before = pairs[-1]
        own = weight[row[here]]
        found, ranked = true + own.cumsum(0), pairs @ weight
        total += np.einsum("ed,ed->d", own, found / np.maximum(ranked, 1))
        true = found[-1]
    return np.divide(total, true, out=np.full(len(times), np.nan), where=true > 0)


def _weighted_mean(
    values: Float[np.ndarray, " scored"], times: Int[np.ndarray, "draws scored"]
) -> Float[np.ndarray, " draws"]:
    n = times.sum(1)
    return np.divide(times @ values, n, out=np.full(len(times), np.nan), where=n > 0)


def _precision(hit: np.ndarray) -> Float[np.ndarray, "101"]:
    ends = np.flatnonzero(hit)
    precision = np.arange(1, len(ends) + 1) / (ends + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # Whole numbers, as 0.07 * 100 edges are not 7 in floating point.
    needed = -(-np.arange(101) * len(ends) // 100)
    return best[np.maximum(needed, 1) - 1]
