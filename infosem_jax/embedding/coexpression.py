"""Co-expression of genes: CS-CORE for counts; correlation, cosine and neighbours for others.

CS-CORE (Su et al. 2023) takes counts as Poisson draws, ``x[i, j] ~ Poisson(s[i] u[i, j])``, with
the depth s of a cell and a level u of unknown distribution, and estimates and tests the covariance
of levels, which differences of depth and sampling noise would otherwise hide.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float
from scipy import stats

KINDS = ("auto", "cscore", "correlation", "cosine", "knn")

ROUNDS, TOLERANCE = 11, 0.05
# Genes of which the rows of a gene x gene table are computed at once.
BLOCK = 512


class Moments(NamedTuple):
    """Mean and variance of the level of each gene, [genes], and the ratio that sets weights.

    Attributes
    ----------
    mean, variance
        Per unit of depth, and its square.
    ratio
        Median over genes of ``mean^2 / variance``.
    """

    mean: Float[Array, " genes"]
    variance: Float[Array, " genes"]
    ratio: Float[Array, ""]


class Coexpression(NamedTuple):
    """Co-expression of all pairs.

    Attributes
    ----------
    correlation
        Of the levels, from -1 to 1; 0 with genes without variance beyond the noise, [genes, genes].
    z
        Test statistic, standard normal where two genes are independent, [genes, genes].
    """

    correlation: Float[np.ndarray, "genes genes"]
    z: Float[np.ndarray, "genes genes"]


def cscore(
    counts: Float[np.ndarray, "cells genes"], depth: Float[np.ndarray, " cells"]
) -> Coexpression:
    """Estimate and test co-expression by CS-CORE.

    With ``e = x - s m`` and weights v, the covariance of two genes is
    ``sum_i s^2 e_j e_k / (v_j v_k) / sum_i s^4 / (v_j v_k)`` and the statistic
    ``sum_i s^2 e_j e_k / (v_j v_k) / sqrt(sum_i s^4 / (v_j v_k))``. Weights are
    ``s m + s^2 m^2 / r`` for the estimate and ``s m + s^2 variance`` for the test, with m, r and
    the variance of `moments`.

    Parameters
    ----------
    counts
        Counts, [cells, genes].
    depth
        Sequencing depth of each cell over all measured genes, [cells].

    Raises
    ------
    ValueError
        If values are no counts, a cell has no depth, or a gene no count.

    References
    ----------
    Su et al., Nature Communications 14, 4846 (2023).
    """
    _check(counts, depth)
    # Depths near 1 keep fourth powers within single precision; no result depends on their unit.
    scaled = jnp.asarray(depth / depth.mean(), jnp.float32)
    correlation, z = _cscore(jnp.asarray(counts.T, jnp.float32), scaled)
    return Coexpression(np.asarray(correlation), np.asarray(z))


@jax.jit
def moments(x: Float[Array, "genes cells"], depth: Float[Array, " cells"]) -> Moments:
    """Iterate weighted regressions of counts on depth, and of their squares on its square.

    Rounds end when no ratio of mean^2 to variance changes by more than 5 %, or after eleven.

    Parameters
    ----------
    x
        Counts, [genes, cells].
    depth
        Of each cell, with mean about 1, [cells].
    """
    flat = jnp.ones((1, 1))
    mean = _mean(x, depth, flat)
    variance = _variance(x, depth, mean, flat)

    def go(carry):
        mean, variance, _, n = carry
        ratio = _ratio(mean, variance)
        level = depth * mean[:, None]
        weight = level + jnp.square(level) / ratio
        new_mean = _mean(x, depth, weight)
        level = depth * new_mean[:, None]
        new_variance = _variance(x, depth, new_mean, jnp.square(level + jnp.square(level) / ratio))
        both = (variance > 0) & (new_variance > 0)
        old, new = jnp.square(mean) / variance, jnp.square(new_mean) / new_variance
        change = jnp.where(both, jnp.abs(jnp.log(jnp.where(both, new / old, 1.0))), 0.0).max()
        return new_mean, new_variance, change, n + 1

    def unsettled(carry):
        return (carry[2] > TOLERANCE) & (carry[3] < ROUNDS)

    start = mean, variance, jnp.float32(jnp.inf), jnp.int32(0)
    mean, variance, _, _ = lax.while_loop(unsettled, go, start)
    return Moments(mean, variance, _ratio(mean, variance))


def correlate(x: Float[np.ndarray, "genes cells"]) -> Coexpression:
    """Correlate the rows of a table, with Fisher's z as the statistic."""
    centred = x - x.mean(1, keepdims=True)
    correlation = cosine(centred)
    z = np.arctanh(np.clip(correlation, -0.999999, 0.999999)) * np.sqrt(x.shape[1] - 3)
    return Coexpression(correlation, z.astype(np.float32))


def cosine(x: Float[np.ndarray, "genes cells"]) -> Float[np.ndarray, "genes genes"]:
    """Return the cosine between all rows; 0 with rows of zeros."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    unit = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
    return np.clip(unit @ unit.T, -1, 1)


def significant(
    z: Float[np.ndarray, "genes genes"], alpha: float, *, correct: bool = False
) -> Bool[np.ndarray, "genes genes"]:
    """Return the pairs whose two-sided p-value is below a level.

    Parameters
    ----------
    z
        Test statistics, standard normal where two genes are independent.
    alpha
        The level; of the false discovery rate where corrected.
    correct
        Whether p-values are corrected for the number of pairs (Benjamini and Hochberg 1995).
    """
    above = np.triu_indices(len(z), 1)
    p = 2 * stats.norm.sf(np.abs(z[above].astype(np.float64)))
    if correct:
        p = stats.false_discovery_control(p)
    found = np.zeros(z.shape, bool)
    found[above] = p < alpha
    return found | found.T


def nearest(
    similarity: Float[np.ndarray, "genes genes"], k: int
) -> Bool[np.ndarray, "genes genes"]:
    """Return the pairs of which one is among the k most similar of the other."""
    n = len(similarity)
    others = np.where(np.eye(n, dtype=bool), -np.inf, similarity)
    best = np.argpartition(-others, min(k, n - 1) - 1, axis=1)[:, : min(k, n - 1)]
    found = np.zeros((n, n), bool)
    found[np.repeat(np.arange(n), best.shape[1]), best.ravel()] = True
    return found | found.T


@jax.jit
def _cscore(x: Array, depth: Array) -> tuple[Array, Array]:
    mean, variance, ratio = moments(x, depth)
    n, size = len(x), min(BLOCK, len(x))
    kept = jnp.maximum(variance, 0.0)
    parts = partial(_terms, x, depth, mean)
    # Only the terms of all genes and the rows of a block are held beside the result.
    estimate, test = parts(jnp.square(mean) / ratio), parts(kept)

    def rows(first):
        def table(terms):
            error, scale = (lax.dynamic_slice_in_dim(term, first, size) for term in terms)
            return error @ terms[0].T, scale @ terms[1].T

        top, bottom = table(estimate)
        tested, spread = table(test)
        own = lax.dynamic_slice_in_dim(kept, first, size)
        product = own[:, None] * kept
        known = product > 0
        r = jnp.where(known, top / bottom / jnp.sqrt(jnp.where(known, product, 1.0)), 0.0)
        return jnp.clip(r, -1, 1), tested / jnp.sqrt(spread)

    # The last block reaches back, so that all are of one size.
    firsts = jnp.minimum(jnp.arange(-(-n // size)) * size, n - size)
    blocks = lax.map(rows, firsts)
    place = (firsts[:, None] + jnp.arange(size)).ravel()
    r, z = (jnp.zeros((n, n)).at[place].set(block.reshape(-1, n)) for block in blocks)
    return jnp.fill_diagonal(r, 1.0, inplace=False), z


def _terms(x, depth, mean, variance) -> tuple[Array, Array]:
    """Return ``s e / v`` and ``s^2 / v``, [genes, cells]."""
    level = depth * mean[:, None]
    v = level + jnp.square(depth) * variance[:, None]
    return depth * (x - level) / v, jnp.square(depth) / v


def _mean(x: Array, depth: Array, weight: Array) -> Array:
    return (x * depth / weight).sum(1) / (jnp.square(depth) / weight).sum(1)


def _variance(x: Array, depth: Array, mean: Array, weight: Array) -> Array:
    level = depth * mean[:, None]
    square = jnp.square(depth)
    top = ((jnp.square(x - level) - level) * square / weight).sum(1)
    return top / (jnp.square(square) / weight).sum(1)


def _ratio(mean: Array, variance: Array) -> Array:
    """Return the median ratio of the genes that vary; those that do not would need none."""
    varies = variance > 0
    ratio = jnp.square(mean) / jnp.where(varies, variance, 1.0)
    middle = jnp.nanmedian(jnp.where(varies, ratio, jnp.nan))
    return jnp.where(varies.any(), middle, jnp.inf)


def _check(counts: np.ndarray, depth: np.ndarray) -> None:
    if counts.min() < 0 or (counts != np.round(counts)).any():
        raise ValueError(
            "CS-CORE is for counts: expected whole numbers of at least 0, found others; choose "
            "edges by correlation, cosine or knn for normalised values."
        )
    if not (depth > 0).all():
        raise ValueError(
            f"Expected a depth above 0 of every cell, found {(depth <= 0).sum()} cells without "
            "counts; leave them out."
        )
    empty = (counts.sum(0) == 0).sum()
    if empty:
        raise ValueError(f"Expected counts of every gene, found {empty} genes without; drop them.")
