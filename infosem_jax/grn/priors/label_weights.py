"""How much each part of what is known of pairs counts, learned from labels that were held out.

Parts are joined by a logistic regression whose weights have a normal prior. How wide that is
decides how far weights may leave what is expected of them: hundreds of edges tell a part that
carries over from one that fits by chance, tens of edges do not, and a wide prior then lets many
parts count a little that say nothing. So the precision of the prior is learned too, by averaging
over a grid of them with the evidence that labels give for each.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_ndtr, logit, softmax

# Precisions of the weights of parts with standard deviation 1, and that of rates of genes that
# were held out. On draws of BEELINE's mHSC-E, smaller ones have few labels count for too much.
PRECISIONS = (15.0, 30.0, 60.0, 120.0, 240.0, 480.0)
RATE_PRECISION = 1.0
# Precisions that labels speak against by more log evidence count for nothing.
NEGLIGIBLE = 10.0
# Rates of nothing but edges, or of none, are finite.
LEAST = 1e-3


class _Examples(NamedTuple):
    """Parts brought to standard deviation 1, labels, and the unknown genes of each pair."""

    x: Float[np.ndarray, "parts pairs"]
    y: Float[np.ndarray, " pairs"]
    genes: list[Int[np.ndarray, " pairs"]]
    ends: Int[np.ndarray, " groups"]


def weigh(
    x: Float[np.ndarray, "parts pairs"],
    y: Float[np.ndarray, " pairs"],
    centre: Float[np.ndarray, " parts"],
    most: Float[np.ndarray, " parts"],
    unknown: Int[np.ndarray, "roles pairs"],
) -> tuple[float, Float[np.ndarray, " parts"]]:
    """Join parts by a logistic regression whose weights are from 0 to the most of each part.

    ``logit p = a + w . x + sum_k u_k[unknown[k]]``, with normal priors on w around the centre and
    on the rates u around 0. The most probable values for each precision of the weights' prior are
    averaged by the evidence for it, in Laplace's approximation.

    Parameters
    ----------
    x, y
        Parts and labels of pairs that were held out.
    centre, most
        What weights are shrunk to, and what they may be at most.
    unknown
        Indices of those genes of each pair that were held out with all their pairs.

    Returns
    -------
    Offset and weights.
    """
    spread = x.std(1, dtype=np.float64)
    spread[spread < 1e-6] = 0
    start, most = centre * spread, most * np.where(spread, spread, np.inf)
    # What is the same for all pairs tells none from another.
    spread[spread == 0] = np.inf
    genes = [np.unique(each, return_inverse=True)[1] for each in unknown]
    ends = np.cumsum([1, len(x), *(each.max() + 1 for each in genes)])
    examples = _Examples((x / spread[:, None]).astype(np.float32), y, genes, ends)
    first = np.zeros(ends[-1])
    first[: 1 + len(x)] = logit(np.clip(y.mean(), LEAST, 1 - LEAST)), *start
    found, evidence = [first], []
    for precision in PRECISIONS:
        best, log_evidence = _most_probable(examples, first, most, precision, found[-1])
        found.append(best)
        evidence.append(log_evidence)
        if log_evidence < max(evidence) - NEGLIGIBLE:
            break
    mean = softmax(evidence) @ np.stack(found[1:])
    return float(mean[0]), mean[1 : 1 + len(x)] / spread


def _most_probable(
    examples: _Examples,
    centre: Float[np.ndarray, " values"],
    most: Float[np.ndarray, " parts"],
    precision: float,
    start: Float[np.ndarray, " values"],
) -> tuple[Float[np.ndarray, " values"], float]:
    """Find offset, weights and rates under one prior, and the log evidence for it."""
    x, y, genes, ends = examples
    n = len(x)
    ridge = np.repeat([0.0, precision, RATE_PRECISION], [1, n, ends[-1] - 1 - n])

    def log_odds(values: np.ndarray) -> np.ndarray:
        offset, weight, *rates = np.split(values, ends[:-1])
        score = offset + (weight.astype(np.float32) @ x).astype(np.float64)
        return score + sum(rate[gene] for rate, gene in zip(rates, genes, strict=True))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        away, score = values - centre, log_odds(values)
        error = expit(score) - y
        value = -(y * log_expit(score) + (1 - y) * log_expit(-score)).sum()
        sums = [np.bincount(gene, error) for gene in genes]
        gradient = np.concatenate([[error.sum()], x @ error.astype(np.float32), *sums])
        return value + 0.5 * ridge @ away**2, gradient + ridge * away

    free = (None, None)
    bounds = [free, *((0, each) for each in most), *[free] * (len(centre) - 1 - n)]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    p = expit(log_odds(found.x))
    weight, expected = found.x[1 : 1 + n], centre[1 : 1 + n] > 0
    volume = _log_volume(examples, p, (weight > 1e-6) | expected, expected, precision)
    return found.x, volume - float(found.fun)


def _log_volume(
    examples: _Examples,
    p: Float[np.ndarray, " pairs"],
    inside: np.ndarray,
    expected: np.ndarray,
    precision: float,
) -> float:
    """Integrate the posterior of the weights around its mode, as a multiple of its height there.

    Weights inside their bounds are normal together; of those at 0, only values above count, and
    each is taken alone. Priors around 0 are those of positive numbers, and so twice as high.
    """
    x, variance = examples.x.astype(np.float64), p * (1 - p)
    slope = x @ (examples.y - p)
    # What rates of the genes explain as well, parts cannot be told by.
    for gene in examples.genes:
        size = np.bincount(gene, variance) + RATE_PRECISION
        x = np.stack([each - (np.bincount(gene, variance * each) / size)[gene] for each in x])
    information = (x * variance) @ x.T + precision * np.eye(len(x))
    joint = np.linalg.slogdet(information[np.ix_(inside, inside)])[1]
    volume = 0.5 * (inside.sum() * np.log(precision) - joint) + np.log(2) * (~expected).sum()
    own = np.diag(information)[~inside]
    away = np.maximum(-slope[~inside], 0) / np.sqrt(own)
    return volume + float((0.5 * (np.log(precision / own) + away**2) + log_ndtr(-away)).sum())
