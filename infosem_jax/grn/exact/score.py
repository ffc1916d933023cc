"""The log-odds of every edge: what the prior says plus what the data say.

Rankings of edges want far more shrinkage than estimates of effects do, since effects of one
regulator are easily given to another that goes with it. So the data speak through the partial
correlation ``x_ij`` of the closed-form posterior with a tenth of the prior variance that the
evidence asks for, ``t^2 = r2 / (1 - r2) / rows / PENALTY``, as deviation ``z = (x - median) /
sd(x)`` from those of other pairs. The evidence finds little where cells are few or genes many, and
x goes towards plain correlation there; where cells tell regulators apart, it keeps them apart.

Two genes that are found in few cells go together strongly where they share two or three by chance.
With ``h`` the third central moment of a gene over its variance, which is the height of a gene of
few cells in these, and means over n cells of squares ``q`` and products ``c``, rare genes share

    k_ij = n (q_i q_j + max(c_ij h_i h_j, 0)) / (h_i h_j)^2

cells, by chance and beyond it; where expression is symmetric, k is without bound. Deviations are
shrunk by ``k / (k + SHARED)``.

A mixture of two groups (Efron 2008) says which deviations stand out: those of other pairs are
``Normal(0, 1)``, those of edges are off by `SHIFT` standard deviations, up (a share ``activating``)
or down. The share ``edges`` of these pairs is found by expectation maximisation; ``activating``
shows in those that are off by `STRONG`, before anything is known of either direction, taken for
a share of at least `LEAST`.

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
and their strength is tempered likewise, by ``reliability / SHIFT``.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int

from infosem_jax.grn.exact.hyper import likeliest_share, scale_of, standardised
from infosem_jax.grn.exact.posterior import NOISE, Spectrum, chance, posterior
from infosem_jax.grn.exact.priors import Normals, one_scale
from infosem_jax.grn.exact.probability import Calibration, calibration, counted
from infosem_jax.grn.exact.worth import worth

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
# Shared cells that half of a deviation is believed of: chosen on the transcription factors of
# BEELINE's mHSC-E, DREAM4, SERGIO, simulated data, and all genes of two data sets (blood cells of
# Kang 2018, and tumour cells of Tirosh 2016).
SHARED = 4.0
# Standard deviations by which edges stand out, and by which those do that show the sign.
SHIFT, STRONG = 2.0, 4.0
# Standard deviations and least shares of the groups that show how strong a prior is, and whether
# it says anything: chosen on simulated data and on the transcription factors of BEELINE's mHSC-E.
LEAST = 0.02
CLEAR, FAINT = (SHIFT, LEAST), (1.0, 0.1)
# Pairs that are taken to have been seen to go up, and as many down, before any is.
BALANCE = 10.0
SWEEPS = 100
# Least variance of a strength, which keeps that of a prior without any apart from zero.
TINY = 1e-12


class Evidence(NamedTuple):
    """What the expression says of each pair, whatever the prior.

    Attributes
    ----------
    deviation
        Partial correlation, less the median and shrunk where few cells share both genes, in
        standard deviations, [regulators, genes].
    reliability
        Share of the variance of partial correlations that is not due to chance.
    edges
        Share of pairs that stand out.
    activating
        Share of these with a positive effect.
    believed
        Share of each deviation that the cells which share both genes make believable,
        [regulators, genes].
    """

    deviation: Float[Array, "regulators genes"]
    reliability: Float[Array, ""]
    edges: Float[Array, ""]
    activating: Float[Array, ""]
    believed: Float[Array, "regulators genes"]


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
    calibration
        How these become log-odds that come true.
    learned
        ``reliability``, ``edges``, ``activating``, ``share`` and, with a prior, ``strength`` and
        ``trust``.
    """

    log_bayes_factor: Float[Array, "regulators genes"]
    base: Float[Array, ""]
    pairs: Bool[Array, "regulators genes"]
    calibration: Calibration
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
            wide = standardised(wide - _mean(wide, pairs), pairs)
            confirmed = strength(found, wide, pairs)
            learned |= {
                "strength_of_scale": confirmed.tempered,
                "trust_in_scale": confirmed.trust,
            }
            up, down = up + confirmed.tempered * wide, down + confirmed.tempered * wide
    factor = log_bayes_factor(found, pairs, up, down)
    whole = evidence(basis, reported, likeliest).deviation / found.believed
    weight = jnp.where(pairs, found.believed**2, 0.0)
    calibrated = calibration(whole, factor, weight, SHIFT)
    learned["share"] = calibrated.share
    return BayesFactors(factor, base, pairs, calibrated, learned)


def score(
    found: BayesFactors, base: Float[Array, "regulators genes"] | None, *, weighed: bool = False
) -> Scored:
    """Score every edge by its log-odds, and say how probable it is.

    Parameters
    ----------
    found
        What the expression and the prior of the effects say.
    base
        Log-odds of edges before these; None takes the share of pairs that stand out to rank edges,
        and the learned share of edges for their probability.
    weighed
        Whether ``base`` has learned from labels what the log Bayes factors are worth, so that the
        score holds as it is.
    """
    odds = (found.base if base is None else base) + found.log_bayes_factor
    share, offset = found.calibration
    stated = odds
    if not weighed:
        before = jnp.log(share) - jnp.log1p(-share) if base is None else base
        stated = before + offset + SHIFT * found.log_bayes_factor
    return Scored(odds, jnp.where(found.pairs, jax.nn.sigmoid(stated), 0.0))


@jax.jit
def evidence(
    basis: Spectrum, reported: Int[Array, " regulators"], variance: Float[Array, ""] | float
) -> Evidence:
    """Sum up what the expression says of the effects of the reported regulators.

    Parameters
    ----------
    basis
        Moments of all cells.
    reported
        Which rows are candidate regulators.
    variance
        Of effects a priori, in units of the noise.
    """
    n = basis.cells
    found = posterior(basis, jnp.sqrt(variance), rows=reported)
    residual = 2 * found.rate - NOISE
    weight, unit = found.mean, found.unit_variance
    pairs = candidates(basis, reported)
    x = weight / jnp.sqrt(jnp.where(pairs, weight**2 + unit * (residual + 1 / variance)[None], 1.0))
    left = chance(basis, jnp.sqrt(variance), reported)[:, None]
    left = left * (residual / n / (residual + 1 / variance))[None]
    believed = _share_believed(basis, reported)
    x = believed * (x - jnp.nanmedian(jnp.where(pairs, x, jnp.nan)))
    total = _mean((x - _mean(x, pairs)) ** 2, pairs)
    reliability = jnp.clip(1 - _mean(believed**2 * left, pairs) / total, 0.01, 1.0)
    deviation = x / jnp.sqrt(total)
    _, activating = groups(deviation, pairs, 0.5, STRONG)
    edges, _ = groups(deviation, pairs, activating, SHIFT)
    return Evidence(deviation, reliability, edges, activating, believed)


def _share_believed(basis: Spectrum, reported: Array) -> Array:
    """Share of each deviation that the cells which share both genes make believable."""
    genes = jnp.arange(len(basis.own))
    place = jnp.where(basis.own >= 0, basis.own, basis.n_rows)
    regulator = jnp.zeros(basis.n_rows, int).at[place].set(genes, mode="drop")[reported]
    height, square = (part[regulator, None] * part[None] for part in (basis.height, basis.total))
    return share_believed(basis.cells, square, height, basis.vectors[reported] @ basis.cross)


def share_believed(
    cells: Any,
    square: Float[Array, "regulators genes"],
    height: Float[Array, "regulators genes"],
    together: Float[Array, "regulators genes"],
) -> Float[Array, "regulators genes"]:
    """Tell how much of what a pair says is believed: ``k / (k + SHARED)``, see the module.

    Parameters
    ----------
    cells
        Number of cells, n.
    square, height
        ``q_i q_j`` and ``h_i h_j``.
    together
        ``c_ij``, means of products.
    """
    shared = cells * (square + jnp.maximum(together * height, 0))
    return jnp.where(height != 0, shared / (shared + SHARED * height**2), 1.0)


@partial(jax.jit, static_argnames="shift")
def groups(
    deviation: Float[Array, "regulators genes"],
    pairs: Bool[Array, "regulators genes"],
    activating: Float[Array, ""] | float,
    shift: float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Learn the share of pairs that stand out, and return it with the share of these that go up.

    Parameters
    ----------
    deviation
        In standard deviations, [regulators, genes].
    pairs
        Which pairs there are.
    activating
        Share of edges that activate, as far as it is known.
    shift
        Standard deviations by which edges stand out.
    """
    z, counts = counted(deviation, pairs)

    def found(edges):
        return ((counts * part).sum() for part in _memberships(z, edges, activating, shift))

    def sweep(_, edges):
        return jnp.clip(sum(found(edges)) / counts.sum(), 1e-6, 0.5)

    edges = lax.fori_loop(0, SWEEPS, sweep, jnp.asarray(LEAST))
    # Few cells may show no edge for sure, and still more that lean one way than the other.
    up, down = found(jnp.maximum(edges, LEAST))
    return edges, (up + BALANCE) / (up + down + 2 * BALANCE)


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
    up, down = _memberships(found.deviation, share, found.activating, shift)
    x = up - down if sign else up + down
    information = jnp.where(pairs, x**2, 0.0).sum()
    x = jnp.where(pairs, x - _mean(x, pairs), 0.0)
    c = jnp.where(pairs, expected - _mean(expected, pairs), 0.0)
    variance = _variance_when_permuted(x, c, pairs)
    alone = jnp.maximum((x**2).sum() * (c**2).sum() / pairs.sum(), TINY)
    error = jnp.maximum(variance / information**2, TINY)
    return (x * c).sum() / information, error, jnp.maximum(variance / alone, 1.0)


def _worth(found: Evidence, expected: Array, pairs: Array, excess: Array) -> Array:
    """Show by what a prior says, in bins of deviations, how fast log-odds rise with these."""
    c = jnp.where(pairs, expected - _mean(expected, pairs), 0.0)
    deviation, count = counted(found.deviation, pairs)
    _, said = counted(found.deviation, c / jnp.sqrt(jnp.maximum(_mean(c**2, pairs), TINY)))
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


@jax.jit
def candidates(
    basis: Spectrum, reported: Int[Array, " regulators"]
) -> Bool[Array, "regulators genes"]:
    """Tell pairs of a regulator and another gene from those of a gene with itself."""
    return ~basis.itself[reported]


def _mean(values: Array, pairs: Array) -> Array:
    return jnp.where(pairs, values, 0.0).sum() / pairs.sum()


def _memberships(z: Array, edges: Array, activating: Any, shift: Any) -> tuple[Array, Array]:
    """Probability that a pair stands out upward and downward, given its deviation."""
    up = jnp.log(activating) + shift * z - shift**2 / 2
    down = jnp.log1p(-activating) - shift * z - shift**2 / 2
    edge = jax.nn.sigmoid(jnp.log(edges) - jnp.log1p(-edges) + jnp.logaddexp(up, down))
    return edge * jax.nn.sigmoid(up - down), edge * jax.nn.sigmoid(down - up)


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
