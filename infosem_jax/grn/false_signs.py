"""Which of many estimates are surely not zero, and of which sign: adaptive shrinkage.

Estimates of many effects share a prior that is learned from all of them (Stephens 2017,
Biostatistics 18:275, with normal components),

    estimate_i | effect_i  ~  Normal(effect_i, error_i^2)
    effect_i               ~  share_0 [0] + sum_k share_k Normal(0, width_k^2)

and the local false sign rate of an effect is the posterior probability that its sign is not the one
that is more likely, zero included. Where all effects are zero the share of zeros goes to one, and
nothing is found.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import betainc, ndtr, ndtri, polygamma, psi

# Widths of the components are powers of it; zeros count as so many estimates more, of few less.
RATIO, ZEROS = 2.0, 10.0
SWEEPS, MOST = 200, 100_000
# Estimates that are treated at a time.
BLOCK = 1_000_000
# Degrees of freedom of ratios that all agree.
AGREED = 1e6
# Widths that z values of no edge may have, and the standard deviation of their logarithm before any
# is seen; those of edges are at least so many times as wide, in steps of a factor.
WIDTHS, DOUBT = np.exp(np.linspace(0, np.log(6), 37)), 0.35
APART, STEP = 2.0, np.sqrt(2.0)
# Median of the absolute value of a standard normal.
MEDIAN = 0.6745
# Regulators of which half of what a target's own width is counts. Chosen, as these, on simulated
# cells of one and of three types, of common and of rare genes, on SERGIO and BEELINE's mHSC-E.
HALF = 100.0


class Shrunk(NamedTuple):
    """Posteriors of effects, of the shape of their estimates.

    Attributes
    ----------
    mean, sd
        Posterior mean and standard deviation.
    positive
        Probability of being above zero.
    lfsr
        Local false sign rate.
    nonzero
        Probability of not being zero.
    zeros
        Share of the effects that are zero.
    """

    mean: Float[np.ndarray, "..."]
    sd: Float[np.ndarray, "..."]
    positive: Float[np.ndarray, "..."]
    lfsr: Float[np.ndarray, "..."]
    nonzero: Float[np.ndarray, "..."]
    zeros: float


def shrink(estimate: Float[np.ndarray, "..."], error: Float[np.ndarray, "..."]) -> Shrunk:
    """Learn the prior of many effects, and return the posterior of each.

    Parameters
    ----------
    estimate
        Of each effect, of any shape.
    error
        Standard error of each; infinite for what is no effect (a gene on itself), whose posterior
        is zero with a local false sign rate of one.
    """
    shape, estimate, error = estimate.shape, estimate.ravel(), error.ravel()
    known = np.flatnonzero(np.isfinite(error))
    x, s = estimate[known].astype(np.float64), error[known].astype(np.float64)
    some = np.unique(np.linspace(0, len(known) - 1, MOST).astype(int))
    widths, shares = _prior(x[some], s[some])
    parts = [
        _posterior(x[start : start + BLOCK], s[start : start + BLOCK], widths, shares)
        for start in range(0, len(known), BLOCK)
    ]
    found = [np.full(estimate.size, blank) for blank in (0.0, 0.0, 0.0, 1.0, 0.0)]
    for whole, part in zip(found, np.concatenate(parts, axis=1), strict=True):
        whole[known] = part
    return Shrunk(*(whole.reshape(shape) for whole in found), zeros=float(shares[0]))


def moderated(
    estimate: Float[np.ndarray, "..."],
    variance: Float[np.ndarray, "..."],
    expected: Float[np.ndarray, "..."],
    freedom: int,
) -> Float[np.ndarray, "..."]:
    """Return standard errors where few replicates tell the variance, as of a normal estimate.

    The ratio of the variance found to the one expected is drawn to that of other estimates, as far
    as these agree (Smyth 2004, Statistical Applications in Genetics 3:3), and is at least one.
    Student's t with the degrees of freedom that result is brought to the normal quantile.

    Parameters
    ----------
    estimate
        Means over replicates.
    variance
        Of each mean, from its replicates.
    expected
        The same from the cells alone; infinite for what is no effect.
    freedom
        Degrees of freedom of ``variance``.
    """
    known = np.isfinite(expected)
    ratio = np.where(known, variance, 0.0) / np.where(known, expected, 1.0)
    before, centre = _ratios(ratio[known & (ratio > 0)], freedom)
    before = min(before, AGREED)
    after = before + freedom
    ratio = np.maximum((before * max(centre, 1.0) + freedom * ratio) / after, 1.0)
    error = np.sqrt(expected * ratio)
    t = np.maximum(np.abs(np.where(known, estimate / error, 0.0)), 1e-2)
    # Half the tail of |t|, by the incomplete beta function.
    tail = betainc(after / 2, 0.5, after / (after + t**2)) / 2
    z = -ndtri(np.maximum(tail, 1e-300))
    return error * t / z


def spread_without_edges(
    z: Float[np.ndarray, "regulators genes"], pairs: Bool[np.ndarray, "regulators genes"]
) -> Float[np.ndarray, " genes"]:
    """Return the standard deviation, at least 1, of z values of pairs without an edge.

    Standard errors know how many cells there are. What else makes genes go together (hidden states,
    types and depth of cells, noise of what the regulators themselves are measured by) moves all z
    values, so that their null distribution has to be learned from them (Efron 2004, Journal of the
    American Statistical Association 99:96). With m_j the median of ``|z_ij|`` over regulators, and
    m over all pairs, at least that of a standard normal,

        spread_j  =  max(width (m_j / m)^a, 1)        a = regulators / (regulators + HALF)

    The common width is the likeliest one where edges, however many, have effects of at least
    `APART` times it.

    Parameters
    ----------
    z
        Estimates over their standard errors.
    pairs
        Which pairs there are.
    """
    size = np.abs(z)
    centre = max(float(np.median(size[pairs])), MEDIAN)
    own = np.median(np.where(pairs, size, centre), axis=0)
    share = len(z) / (len(z) + HALF)
    return np.maximum(_null_width(size[pairs]) * (own / centre) ** share, 1.0)


def _null_width(size: np.ndarray) -> float:
    """Return the likeliest standard deviation of z values of no edge, given all absolute ones."""
    top = max(float(size.max()), 8.0)
    edges = np.concatenate([np.linspace(0, 6, 241), np.geomspace(6.03, 1.001 * top, 160)])
    count, _ = np.histogram(size, edges)
    middle = ((edges[1:] + edges[:-1]) / 2)[count > 0, None]
    count = count[count > 0]
    found = []
    for width in WIDTHS:
        steps = int(np.ceil(np.log(max(2 * top / (APART * width), STEP)) / np.log(STEP)))
        apart = np.concatenate([[0.0], APART * width * STEP ** np.arange(steps)])
        variance = width**2 + apart**2
        likelihood = np.exp(-0.5 * (np.log(variance) + middle**2 / variance))
        shares = np.full(len(apart), 0.1 / (len(apart) - 1))
        shares[0] = 0.9
        for _ in range(SWEEPS):
            weighted = likelihood * shares
            shares = count @ (weighted / weighted.sum(1, keepdims=True)) / count.sum()
        found.append(count @ np.log(likelihood @ shares) - (np.log(width) / DOUBT) ** 2 / 2)
    return float(WIDTHS[np.argmax(found)])


def _prior(x: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return widths of the components, zero first, and their shares."""
    low, high = s.min() / 4, 2 * np.sqrt(max(float((x**2 - s**2).max()), float(s.min()) ** 2))
    steps = int(np.ceil(np.log(high / low) / np.log(RATIO))) + 1
    widths = np.concatenate([[0.0], low * RATIO ** np.arange(steps)])
    variance = s[:, None] ** 2 + widths**2
    log = -0.5 * (np.log(variance) + x[:, None] ** 2 / variance)
    likelihood = np.exp(log - log.max(1, keepdims=True))
    shares, extra = np.full(len(widths), 0.1 / (len(widths) - 1)), np.zeros(len(widths))
    shares[0], extra[0] = 0.9, min(ZEROS, 1 + len(x) / 100)
    for _ in range(SWEEPS):
        weighted = likelihood * shares
        shares = (weighted / weighted.sum(1, keepdims=True)).sum(0) + extra
        shares /= shares.sum()
    return widths, shares


def _posterior(x: np.ndarray, s: np.ndarray, widths: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the first five fields of `Shrunk`, [5, effects]."""
    total, first, second, up, down = np.zeros((5, len(x)))
    largest = np.full(len(x), -np.inf)
    with np.errstate(divide="ignore"):
        logs = np.log(shares)
    parts = []
    for width, share in zip(widths, logs, strict=True):
        variance = s**2 + width**2
        parts.append(share - 0.5 * (np.log(variance) + x**2 / variance))
        largest = np.maximum(largest, parts[-1])
    for width, part in zip(widths, parts, strict=True):
        weight = np.exp(part - largest)
        total += weight
        if width == 0:
            continue
        kept = width**2 / (s**2 + width**2)
        mean, sd = kept * x, np.sqrt(kept) * s
        first += weight * mean
        second += weight * (mean**2 + sd**2)
        # The smaller tail, of which the larger is the rest.
        tail = weight * ndtr(-np.abs(mean / sd))
        up += np.where(mean > 0, weight - tail, tail)
        down += np.where(mean > 0, tail, weight - tail)
    mean = first / total
    sd = np.sqrt(np.maximum(second / total - mean**2, 0.0))
    return np.stack([mean, sd, up / total, 1 - np.maximum(up, down) / total, (up + down) / total])


def _ratios(ratio: np.ndarray, freedom: int) -> tuple[float, float]:
    """Return the degrees of freedom and the centre of a scaled inverse chi-squared prior."""
    if len(ratio) < 3:
        return 0.0, 1.0
    log = np.log(ratio) - psi(freedom / 2) + np.log(freedom / 2)
    spread = log.var(ddof=1) - polygamma(1, freedom / 2)
    if spread <= 0:
        return np.inf, float(np.exp(log.mean()))
    before = 2 * _inverse_trigamma(float(spread))
    return before, float(np.exp(log.mean() + psi(before / 2) - np.log(before / 2)))


def _inverse_trigamma(value: float) -> float:
    """Solve ``trigamma(y) = value`` by Newton's method from above."""
    y = 0.5 + 1 / value
    for _ in range(50):
        slope = polygamma(1, y)
        y += slope * (1 - slope / value) / polygamma(2, y)
    return float(y)
