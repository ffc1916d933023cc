"""Predictions of several methods joined: weights of each gene, at least 0 and adding to 1."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

# Samples that the weights of all genes count for, beside those of a gene itself.
PRIOR_SAMPLES = 200
# Errors, in root mean squares of a gene's, from which they count by their size, not their square.
LARGE = 2.0
# Rounds of weighted squares that lead there.
ROUNDS = 10
# Share of the mean square that keeps equal predictions apart.
_NOTHING = 1e-6


class Joined(NamedTuple):
    """How predictions are joined.

    Attributes
    ----------
    weights
        Of each part in the prediction of each gene, [parts, genes].
    error
        Of each sample, with weights that its fold had no part in, [samples, genes].
    """

    weights: Float32[np.ndarray, "parts genes"]
    error: Float32[np.ndarray, "samples genes"]


def join(
    errors: Float[np.ndarray, "parts samples genes"],
    folds: Int[np.ndarray, " samples"],
    groups: Int[np.ndarray, " samples"] | None = None,
) -> Joined:
    """Find the weights that make the error of the joined prediction least.

    With the errors ``e`` of the parts, the weights ``w`` of a gene minimise the pseudo-Huber loss
    ``sum_s sqrt((w . e_s)^2 + d^2)`` over the simplex, d twice the root mean square of the joined
    error: least squares, but for the few samples that all parts infer badly. Few samples make
    weights noisy, so those of ``n`` samples are averaged with the weights that are best for all
    genes together, which count for 200 samples. Samples of one group, such as a tissue that no
    other fold has, err alike: ``n`` is then what they count for, see `effective_samples`.

    Parameters
    ----------
    errors
        Prediction minus truth of samples that a part has not learned from.
    folds
        Fold of each sample.
    groups
        Group of each sample, all of it in one fold; None where each is one of its own.
    """
    groups = np.arange(len(folds)) if groups is None else groups
    error = np.empty(errors.shape[1:], np.float32)
    for fold in np.unique(folds):
        own = folds == fold
        weights = _weights(errors[:, ~own], groups[~own])
        error[own] = np.einsum("kg,ksg->sg", weights, errors[:, own])
    return Joined(_weights(errors, groups), error)


def effective_samples(
    error: Float[np.ndarray, "samples genes"], groups: Int[np.ndarray, " samples"]
) -> float:
    """Return how many independent samples tell as much as those of groups that err alike.

    That is ``n / (1 + (m - 1) r)``, with m samples in a typical group and the intraclass
    correlation r of errors, the median over genes: n where samples of a group are no more alike
    than others, and the number of groups where they are all the same.

    Parameters
    ----------
    error
        Prediction minus truth.
    groups
        Group of each sample.

    References
    ----------
    Kish, Survey Sampling, 1965 (the design effect).
    """
    names, code, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, count = len(code), len(names)
    if count in (1, n):
        return float(count)
    typical = (n - np.square(sizes).sum() / n) / (count - 1)
    total = np.add.reduceat(error[np.argsort(code)], np.cumsum(sizes) - sizes)
    mean = total / sizes[:, None]
    between = (sizes @ np.square(mean - error.mean(0))) / (count - 1)
    within = np.square(error - mean[code]).sum(0) / (n - count)
    alike = (between - within) / np.maximum(between + (typical - 1) * within, 1e-30)
    return float(n / (1 + (typical - 1) * np.median(alike.clip(0, 1))))


def simplex_weights(
    products: Float[np.ndarray, "genes parts parts"],
) -> Float[np.ndarray, "genes parts"]:
    """Return the weights, at least 0 and adding to 1, that make ``w' E w`` least.

    Where a set of parts has weight, the weights are proportional to ``E^-1 1`` of that set; so all
    sets of the few parts are tried, for all genes at once.

    Parameters
    ----------
    products
        Positive semidefinite E of each gene.
    """
    genes, n, _ = products.shape
    size = np.maximum(np.trace(products, axis1=1, axis2=2) / n, 1e-30)
    products = products / size[:, None, None] + _NOTHING * np.eye(n)
    best, weights = np.full(genes, np.inf), np.zeros((genes, n))
    for count in range(1, n + 1):
        for own in map(list, combinations(range(n), count)):
            part = products[:, own][:, :, own]
            w = np.linalg.solve(part, np.ones((genes, count, 1)))[..., 0]
            w /= w.sum(1, keepdims=True)
            cost = np.einsum("gk,gkl,gl->g", w, part, w)
            better = (w >= 0).all(1) & (cost < best)
            best[better], weights[better] = cost[better], 0.0
            weights[np.ix_(better, own)] = w[better]
    return weights


def inner_folds(
    groups: Int[np.ndarray, " samples"], count: int, seed: int
) -> Int[np.ndarray, " samples"]:
    """Deal whole groups of samples to folds, the largest groups first, each to the smallest fold.

    Parameters
    ----------
    groups
        Group of each sample; samples that each are one of their own are dealt alone.
    count
        Number of folds at most; there are no more than groups.
    seed
        Decides between groups of one size.

    Raises
    ------
    ValueError
        If there are fewer than two groups.
    """
    names, code, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(
            f"Expected at least two groups of training samples to learn weights from, found "
            f"{len(names)}; split otherwise, or choose one method."
        )
    count = min(count, len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    held, fold_of = np.zeros(count, int), np.empty(len(names), int)
    for group in order:
        fold_of[group] = held.argmin()
        held[fold_of[group]] += sizes[group]
    return fold_of[code]


def _weights(
    errors: Float[np.ndarray, "parts samples genes"], groups: Int[np.ndarray, " samples"]
) -> Float32[np.ndarray, "parts genes"]:
    own, of_all = _least(errors, together=False), _least(errors, together=True)
    n = effective_samples(np.einsum("gk,ksg->sg", of_all, errors), groups)
    return ((n * own + PRIOR_SAMPLES * of_all) / (n + PRIOR_SAMPLES)).T.astype(np.float32)


def _least(
    errors: Float[np.ndarray, "parts samples genes"], *, together: bool
) -> Float[np.ndarray, "genes parts"]:
    """Minimise the loss by squares that are divided by the losses of the round before."""
    parts, _, genes = errors.shape
    typical = np.maximum(np.abs(errors).mean((0, 1)), 1e-30).astype(errors.dtype)
    errors, weights = errors / typical, np.full((genes, parts), 1 / parts)
    for _ in range(ROUNDS):
        joined = np.einsum("gk,ksg->sg", weights.astype(errors.dtype), errors)
        square = np.square(joined)
        divided = errors / np.sqrt(square + LARGE**2 * np.maximum(square.mean(0), 1e-12))
        products = np.matmul(divided.transpose(2, 0, 1), errors.transpose(2, 1, 0)).astype(float)
        if together:
            products = products.mean(0, keepdims=True)
        weights = np.broadcast_to(simplex_weights(products), (genes, parts))
    return weights
