"""The log-odds of every edge: what the prior says plus what the data say.

The data speak through deviations z of pairs from other pairs (`infosem_jax.grn.exact.deviations`),
of which a mixture of two groups says which stand out, up or down.

What a prior says of a pair, ``c_ij`` with mean square 1, multiplies the odds of an edge by
``exp(strength c_ij)``. Pairs that stand out are the examples that the strength is learned from:
with g the probability that a pair stands out, a step of Newton's method for the logistic
regression of g on c is ``strength = sum(g c) / sum(g^2)``. It is shrunk by its standard error and
by the probability ``trust`` that it is not zero, so that texts count as far as expression bears
them out, and texts of other genes for nothing. Trust is asked of pairs that are off by little, of
which there are enough even where cells are so few that hardly any pair is clear (`FAINT`).

Groups are too clear-cut for the ranking itself: a strong correlation is more often due to something
else than a clear-cut group would have it. With ``reliability``, the share of the variance of x that
is not due to the number of cells, and ``y = sqrt(reliability) z``,

    log BF = log(activating exp(y) + (1 - activating) exp(-y)) - reliability / 2

where groups have ``SHIFT z`` for y. Prior means with a sign are about deviations rather than edges,
and their strength is tempered likewise, by ``reliability / SHIFT``; that of priors of edges is
divided by what a unit of log BF is worth (`infosem_jax.grn.exact.worth`).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int

from infosem_jax.grn.exact.decomposition import Spectrum
from infosem_jax.grn.exact.deviations import (
    LEAST,
    SHIFT,
    Evidence,
    candidates,
    evidence,
    mean_over,
    memberships,
)
from infosem_jax.grn.exact.hyper import likeliest_share, scale_of, standardised
from infosem_jax.grn.exact.priors import EdgeOdds, Normals, one_scale
from infosem_jax.grn.exact.probability import counted, offset, share_of_edges
from infosem_jax.grn.exact.worth import worth, worth_by_labels

# Times the penalty on effects with the highest evidence, at which edges are ranked: chosen on the
# transcription factors of BEELINE's mHSC-E, all of its cells and few of them, DREAM4, SERGIO and
# simulated data of 60 to 1,000 cells and 200 to 2,000 genes.
PENALTY = 10.0
# Standard deviation of the strength of a prior that says something of edges.
STRENGTH_SCALE = 2.0
# What strengths of prior means with a sign come up to at most.
MOST = 3.0
# Log-odds that a prior says anything of edges, before the expression is looked at.
DOUBT = -1.0
# Standard deviations and least shares of the groups that show how strong a prior is, and whether
# it says anything: chosen on simulated data and on the transcription factors of BEELINE's mHSC-E.
CLEAR, FAINT = (SHIFT, LEAST), (1.0, 0.1)
# Least variance of a strength, which keeps that of a prior without any apart from zero.
TINY = 1e-12


class Strength(NamedTuple):
    """How far what a prior says is confirmed by the expression.

    Attributes
    ----------
    value
        Log-odds per unit of what the prior says, at least 0 and shrunk by ``trust``.
    trust
        Probability that it is not zero.
    worth
        Log-odds per unit of the tempered log Bayes factor, which the value is divided by where both
        are added; 1 for prior means with a sign, whose strength is tempered already.
    """

    value: Float[Array, ""]
    trust: Float[Array, ""]
    worth: Float[Array, ""]

    @property
    def tempered(self) -> Float[Array, ""]:
        """Units of the tempered log Bayes factor per unit of what the prior says."""
        return self.value / self.worth


class BayesFactors(NamedTuple):
    """What the expression and the prior of the effects say of edges, whatever the edge prior.

    Attributes
    ----------
    log_bayes_factor
        Added to the log-odds of each edge, [regulators, genes].
    base
        Log-odds that stand for an edge prior where there is none.
    pairs
        Which pairs there are, [regulators, genes].
    share
        Learned share of pairs that are edges, where no prior says which.
    weight
        How much each pair counts for the mean of probabilities, [regulators, genes].
    learned
        ``reliability``, ``edges``, ``activating``, ``share`` and, with a prior, ``strength`` and
        ``trust``.
    """

    log_bayes_factor: Float[Array, "regulators genes"]
    base: Float[Array, ""]
    pairs: Bool[Array, "regulators genes"]
    share: Float[Array, ""]
    weight: Float[Array, "regulators genes"]
    learned: dict[str, Array]


class Scored(NamedTuple):
    """Log-odds and probabilities of edges.

    Attributes
    ----------
    score
        Log-odds of each edge as it is ranked, [regulators, genes].
    probability
        Of each edge, [regulators, genes]; 0 from a gene to itself.
    """

    score: Float[Array, "regulators genes"]
    probability: Float[Array, "regulators genes"]


def bayes_factors(
    basis: Spectrum,
    reported: Int[Array, " regulators"],
    expected: Normals | None,
    *,
    shrinkage: float | None,
    sign: bool,
) -> BayesFactors:
    """Sum up what the expression and the prior of the effects say of every edge.

    Parameters
    ----------
    basis
        Moments of all cells.
    reported
        Which rows are candidate regulators.
    expected
        What the prior of the effects says; None for nothing.
    shrinkage
        Share s of the identity in the covariance that partial correlations are taken from, for n
        cells a prior variance of effects of ``(1 - s) / (s n)``; None takes that from the evidence.
    sign
        Whether the sign of prior means is that of effects (or tells edges from other pairs).
    """
    likeliest = scale_of(likeliest_share(basis), basis.n_rows) ** 2
    if shrinkage is None:
        variance = likeliest / PENALTY
    else:
        variance = (1 - shrinkage) / (shrinkage * basis.cells)
    found = evidence(basis, reported, variance)
    pairs = candidates(basis, reported)
    learned = {
        "reliability": found.reliability,
        "edges": found.edges,
        "activating": found.activating,
    }
    base = jnp.log(found.edges) - jnp.log1p(-found.edges)
    up = down = jnp.zeros_like(found.deviation)
    if expected is not None:
        mean = standardised(expected.mean / expected.scale, pairs)
        if bool((mean != 0).any()):
            if sign:
                # Logarithmic where a prior is sure, so that few pairs do not decide on the rest.
                mean = standardised(jnp.arcsinh(mean), pairs)
            confirmed = strength(found, mean, pairs, sign=sign)
            up = confirmed.tempered * mean
            down = -up if sign else up
            learned |= {
                "strength": confirmed.tempered,
                "trust": confirmed.trust,
                "worth": confirmed.worth,
            }
        if not one_scale(expected.scale):
            wide = jnp.log(expected.scale)
            wide = standardised(wide - mean_over(wide, pairs), pairs)
            confirmed = strength(found, wide, pairs)
            learned |= {
                "strength_of_scale": confirmed.tempered,
                "trust_in_scale": confirmed.trust,
            }
            up, down = up + confirmed.tempered * wide, down + confirmed.tempered * wide
    factor = log_bayes_factor(found, pairs, up, down)
    whole = evidence(basis, reported, likeliest).deviation / found.believed
    weight = jnp.where(pairs, found.believed**2, 0.0)
    learned["share"] = share_of_edges(whole, weight)
    return BayesFactors(factor, base, pairs, learned["share"], weight, learned)


def score(found: BayesFactors, prior: EdgeOdds | None, *, edges: float | None = None) -> Scored:
    """Score every edge by its log-odds, and say how probable it is.

    Parameters
    ----------
    found
        What the expression and the prior of the effects say.
    prior
        What a prior of edges says; None where there is none.
    edges
        Share of edges where no prior says which; None takes that of pairs that stand out to rank
        edges, and the learned share of edges for their probability.
    """
    if prior is None:
        share = found.share if edges is None else jnp.asarray(edges)
        told, before = 0.0, found.base if edges is None else jnp.log(share) - jnp.log1p(-share)
    else:
        weight, told, before = found.weight, prior.log_odds, prior.log_odds
        expected = (weight * jax.nn.sigmoid(told)).sum() / weight.sum()
        share = jnp.cbrt(found.share**2 * expected)
        if prior.partial:
            # Edges that are named tell that there are so many, and not that there are no more.
            share = jnp.maximum(share, found.share)
    odds = before + found.log_bayes_factor
    stated = odds
    if prior is None or not prior.weighed:
        slope = SHIFT
        if prior is not None and prior.labels is not None:
            slope = worth_by_labels(found.log_bayes_factor, found.weight, share, *prior.labels)
        stated = told + slope * found.log_bayes_factor
        stated += offset(stated, found.weight, share)
    return Scored(odds, jnp.where(found.pairs, jax.nn.sigmoid(stated), 0.0))


@partial(jax.jit, static_argnames="sign")
def strength(
    found: Evidence,
    expected: Float[Array, "regulators genes"],
    pairs: Bool[Array, "regulators genes"],
    *,
    sign: bool = False,
) -> Strength:
    """Learn how much what a prior says adds to the log-odds, and how sure that is.

    The standard error is that of genes that are given what the prior says of others, whose
    variance is known (`_variance_when_permuted`); pairs that share a gene are not independent.

    Parameters
    ----------
    found
        What the expression says.
    expected
        What the prior says, mean square 1 over the pairs.
    pairs
        Which pairs there are.
    sign
        Whether it speaks of activation against repression, or of edges against other pairs.
    """
    raw, error, excess = _newton_step(found, expected, pairs, CLEAR, sign)
    value = jnp.maximum(raw, 0) * STRENGTH_SCALE**2 / (error + STRENGTH_SCALE**2)
    if sign:
        # The step overshoots where a prior is strong.
        value *= found.reliability / SHIFT
        value /= 1 + value / MOST
    each = jnp.ones(()) if sign else _worth(found, expected, pairs, excess)
    raw, error, _ = _newton_step(found, expected, pairs, FAINT, sign)
    wide = error + STRENGTH_SCALE**2
    shrunk, left = raw * STRENGTH_SCALE**2 / wide, jnp.sqrt(error / wide) * STRENGTH_SCALE
    # A prior that goes against the expression says nothing: its strength is not negative.
    log_bayes_factor = (
        norm.logpdf(raw, 0, jnp.sqrt(wide))
        - norm.logpdf(raw, 0, jnp.sqrt(error))
        + jnp.log(2.0)
        + norm.logcdf(shrunk / left)
    )
    trust = jax.nn.sigmoid(DOUBT + log_bayes_factor)
    return Strength(value * trust, trust, each)


def _newton_step(
    found: Evidence, expected: Array, pairs: Array, group: tuple[float, float], sign: bool
) -> tuple[Array, Array, Array]:
    """Step from no strength, its variance under no strength, and this over that of lone pairs."""
    shift, least = group
    share = jnp.maximum(found.edges, least)
    up, down = memberships(found.deviation, share, found.activating, shift)
    x = up - down if sign else up + down
    information = jnp.where(pairs, x**2, 0.0).sum()
    x = jnp.where(pairs, x - mean_over(x, pairs), 0.0)
    c = jnp.where(pairs, expected - mean_over(expected, pairs), 0.0)
    variance = _variance_when_permuted(x, c, pairs)
    alone = jnp.maximum((x**2).sum() * (c**2).sum() / pairs.sum(), TINY)
    error = jnp.maximum(variance / information**2, TINY)
    return (x * c).sum() / information, error, jnp.maximum(variance / alone, 1.0)


def _worth(found: Evidence, expected: Array, pairs: Array, excess: Array) -> Array:
    """Show by what a prior says, in bins of deviations, how fast log-odds rise with these."""
    c = jnp.where(pairs, expected - mean_over(expected, pairs), 0.0)
    deviation, count = counted(found.deviation, pairs)
    _, said = counted(found.deviation, c / jnp.sqrt(jnp.maximum(mean_over(c**2, pairs), TINY)))
    up, down = jnp.log(found.activating), jnp.log1p(-found.activating)
    factor = _likelihood(found._replace(deviation=deviation), up, down)
    return worth(factor, count, said, excess, len(pairs))


@jax.jit
def log_bayes_factor(
    found: Evidence,
    pairs: Bool[Array, "regulators genes"],
    up: Float[Array, "regulators genes"],
    down: Float[Array, "regulators genes"],
) -> Float[Array, "regulators genes"]:
    """Return what the expression adds to the log-odds of edges.

    Parameters
    ----------
    found
        What the expression says.
    pairs
        Which pairs there are.
    up, down
        What the prior of the effects adds to the log-odds of activation and of repression; the
        mean of the odds over pairs stays what it is.
    """
    up, down = jnp.log(found.activating) + up, jnp.log1p(-found.activating) + down
    prior = jnp.where(pairs, jnp.logaddexp(up, down), -jnp.inf)
    return _likelihood(found, up, down) - (logsumexp(prior) - jnp.log(pairs.sum()))


def _likelihood(found: Evidence, up: Array, down: Array) -> Array:
    """Add what the deviations say to the logarithms of either direction's weight."""
    y = jnp.sqrt(found.reliability) * found.deviation
    return jnp.logaddexp(up + y, down - y) - found.reliability / 2


def _variance_when_permuted(x: Array, c: Array, pairs: Array) -> Array:
    """Variance of ``sum(x c)`` when rows and columns of c are permuted.

    Means of rows, means of columns and what is left vary on their own, each as a sum over permuted
    vectors: ``sum(a^2) sum(b^2) / (n - 1)``. What is left counts twice, since where regulators are
    targets as well, a pair and its reverse go together.
    """
    rows, columns = pairs.shape

    def parts(a):
        row, column = (a.sum(axis) / jnp.maximum(pairs.sum(axis), 1) for axis in (1, 0))
        left = jnp.where(pairs, a - row[:, None] - column[None], 0.0)
        return (row**2).sum(), (column**2).sum(), (left**2).sum()

    (xr, xc, xl), (cr, cc, cl) = parts(x), parts(c)
    total = columns**2 * xr * cr / (rows - 1) + rows**2 * xc * cc / (columns - 1)
    return total + 2 * xl * cl / ((rows - 1) * (columns - 1))
