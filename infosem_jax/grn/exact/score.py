"""The log-odds of every edge: what the prior says plus what the data say.

Rankings of edges want far more shrinkage than estimates of effects do, since effects of one
regulator are easily given to another that goes with it. So the data speak through the partial
correlation ``x_ij`` of the closed-form posterior in which all cells count as few independent ones,
as deviation ``z = (x - median) / sd(x)`` from those of other pairs.

Which deviations stand out is learned by a mixture of three groups (Efron's two groups, with edges
that activate and edges that repress), fitted by expectation maximisation:

    z | no edge    ~  Normal(centre, spread^2)
    z | activating ~  Normal(centre + shift, spread^2)
    z | repressing ~  Normal(centre - shift, spread^2)

with a share ``edges`` of the pairs in the latter two, and a share ``activating`` of these in the
first of them. What a prior says of a pair, ``c_ij`` with mean square 1, multiplies the odds of an
edge by ``exp(strength c_ij)``: a logistic regression of the groups, fitted with them, on partial
correlations that are shrunk less, since genes that are regulated alike have like texts and go
together though none regulates another. The strength is shrunk by its standard error and by the
probability ``trust`` that it is not zero, so that texts count as far as expression bears them out,
and texts of other genes for nothing.

Groups are too clear-cut for the ranking itself: a strong correlation is more often due to something
else than a clear-cut group would have it. With ``reliability``, the share of the variance of x that
is not due to the number of cells, and ``y = sqrt(reliability) z``,

    log BF = log(activating exp(y) + (1 - activating) exp(-y)) - reliability / 2
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int

from infosem_jax.grn.exact.hyper import standardised
from infosem_jax.grn.exact.posterior import NOISE, Spectrum, chance, posterior
from infosem_jax.grn.exact.priors import Normals

# Standard deviation of the strength of a prior that says something of edges.
STRENGTH_SCALE = 1.0
# By how much more independent cells count where the strength of a prior is learned.
DIRECT = 2.5
SWEEPS = 150
# Spreads that groups are apart at least; closer ones cannot be told from each other.
CLOSEST = 2.0
# Groups are fitted to counts of pairs in bins, so many in a unit and so many on either side.
FINENESS, BINS = 8, 64
# Least variance and counts, which keep divisions finite.
TINY = 1e-12


class Evidence(NamedTuple):
    """What the expression says of each pair, whatever the prior.

    Attributes
    ----------
    deviation
        Partial correlation, less the median, in standard deviations, [regulators, genes].
    reliability
        Share of the variance of partial correlations that is not due to chance.
    """

    deviation: Float[Array, "regulators genes"]
    reliability: Float[Array, ""]


class Groups(NamedTuple):
    """Pairs without an edge, with activation and with repression.

    Attributes
    ----------
    activation, repression
        Log-odds of either group against pairs without an edge, where the prior says nothing.
    strength
        What is added to them for each unit of what the prior says.
    centre, spread
        Mean and standard deviation of the deviations of pairs without an edge.
    shift
        By how much those of the others are off, up or down.
    """

    activation: Float[Array, ""]
    repression: Float[Array, ""]
    strength: Float[Array, ""]
    centre: Float[Array, ""]
    spread: Float[Array, ""]
    shift: Float[Array, ""]

    @property
    def edges(self) -> Float[Array, ""]:
        """Share of pairs with an edge."""
        return jax.nn.sigmoid(jnp.logaddexp(self.activation, self.repression))

    @property
    def activating(self) -> Float[Array, ""]:
        """Share of edges that activate."""
        return jax.nn.sigmoid(self.activation - self.repression)


class Strength(NamedTuple):
    """How far what a prior says is borne out by the expression.

    Attributes
    ----------
    value
        Log-odds per unit of what the prior says, at least 0 and shrunk by ``trust``.
    trust
        Probability that it is not zero.
    """

    value: Float[Array, ""]
    trust: Float[Array, ""]


class Scored(NamedTuple):
    """Log-odds and probabilities of edges, and what was learned on the way.

    Attributes
    ----------
    score
        Log-odds of each edge, [regulators, genes].
    probability
        The same as a probability, [regulators, genes]; 0 from a gene to itself.
    learned
        ``reliability``, ``edges``, ``activating`` and, with a prior, ``strength`` and ``trust``.
    """

    score: Float[Array, "regulators genes"]
    probability: Float[Array, "regulators genes"]
    learned: dict[str, Array]


def score(
    basis: Spectrum,
    reported: Int[Array, " regulators"],
    base: Float[Array, "regulators genes"] | None,
    told: Normals | None,
    *,
    cells: float,
    sign: bool,
) -> Scored:
    """Score every edge by its log-odds.

    Parameters
    ----------
    basis
        Moments of all cells.
    reported
        Which rows are candidate regulators.
    base
        Log-odds of edges before the expression and the prior of the effects; None takes the share
        of pairs that stand out.
    told
        What the prior of the effects says; None for nothing.
    cells
        See `evidence`.
    sign
        Whether the sign of prior means is that of effects (or tells edges from other pairs).
    """
    found = evidence(basis, reported, cells=cells)
    pairs = candidates(basis, reported)
    plain = groups(found.deviation, jnp.zeros_like(found.deviation), pairs)
    learned = {
        "reliability": found.reliability,
        "edges": plain.edges,
        "activating": plain.activating,
    }
    base = jnp.log(plain.edges) - jnp.log1p(-plain.edges) if base is None else base
    up = down = jnp.zeros_like(found.deviation)
    if told is not None:
        direct = evidence(basis, reported, cells=DIRECT * cells).deviation
        mean = standardised(told.mean / told.scale, pairs)
        if bool((mean != 0).any()):
            borne = strength(direct, mean, pairs, sign=sign)
            learned |= {"strength": borne.value, "trust": borne.trust}
            up, down = borne.value * mean, (-1 if sign else 1) * borne.value * mean
        if not bool(jnp.allclose(told.scale, told.scale[0, 0], rtol=1e-5)):
            wide = jnp.log(told.scale)
            wide = standardised(wide - _mean(wide, pairs), pairs)
            borne = strength(direct, wide, pairs)
            learned |= {"strength_of_scale": borne.value, "trust_in_scale": borne.trust}
            up, down = up + borne.value * wide, down + borne.value * wide
    odds = log_odds(found, base, pairs, plain.activating, up, down)
    return Scored(odds, jnp.where(pairs, jax.nn.sigmoid(odds), 0.0), learned)


@jax.jit
def evidence(
    basis: Spectrum, reported: Int[Array, " regulators"], *, cells: Float[Array, ""] | float
) -> Evidence:
    """Sum up what the expression says of the effects of the reported regulators.

    Parameters
    ----------
    basis
        Moments of all cells.
    reported
        Which rows are candidate regulators.
    cells
        Number of independent cells that all cells count as, where effects are held to half of a
        target's variance: their scale is ``sqrt(cells / (n rows))``.
    """
    n = basis.cells
    variance = cells / (n * basis.n_rows)
    found = posterior(basis, jnp.sqrt(variance), rows=reported)
    residual = 2 * found.rate - NOISE
    weight, unit = found.mean, found.unit_variance
    pairs = candidates(basis, reported)
    x = weight / jnp.sqrt(jnp.where(pairs, weight**2 + unit * (residual + 1 / variance), 1.0))
    left = chance(basis, jnp.sqrt(variance), reported)[:, None]
    left = left * (residual / n / (residual + 1 / variance))
    total = _mean((x - _mean(x, pairs)) ** 2, pairs)
    middle = jnp.nanmedian(jnp.where(pairs, x, jnp.nan))
    reliability = jnp.clip(1 - _mean(left, pairs) / total, 0.01, 1.0)
    return Evidence((x - middle) / jnp.sqrt(total), reliability)


@partial(jax.jit, static_argnames="sign")
def groups(
    deviation: Float[Array, "regulators genes"],
    told: Float[Array, "regulators genes"],
    pairs: Bool[Array, "regulators genes"],
    *,
    sign: bool = False,
) -> Groups:
    """Fit the mixture by expectation maximisation.

    Parameters
    ----------
    deviation
        What the expression says of each pair.
    told
        What the prior says, mean square 1 over the pairs, or zeros.
    pairs
        Which pairs there are.
    sign
        Whether it speaks of activation against repression, or of edges against other pairs.
    """
    z, c, counts = _binned(deviation, told, pairs)
    toward = -c if sign else c
    n = counts.sum()

    def sweep(_, at: Groups) -> Groups:
        # Shares of either group before and after a deviation is seen.
        odds_up, odds_down = at.activation + at.strength * c, at.repression + at.strength * toward
        prior_up, prior_down = _shares(odds_up, odds_down)
        up, down = _memberships(at, z, odds_up, odds_down)
        both = (counts * (up + down)).sum()
        shift = (counts * (up - down) * (z - at.centre)).sum() / jnp.maximum(both, TINY)
        centre = (counts * (z - (up - down) * shift)).sum() / n
        off = z - centre
        square = (1 - up - down) * off**2 + up * (off - shift) ** 2 + down * (off + shift) ** 2
        spread = jnp.sqrt((counts * square).sum() / n)
        slope = (counts * ((up - prior_up) * c + (down - prior_down) * toward)).sum()
        curvature = (counts * (prior_up + prior_down) * c**2).sum()

        def raised(log_odds, after, before):
            # Iterative scaling; one pair in either group keeps its odds finite.
            found, expected = ((counts * share).sum() + 1 for share in (after, before))
            return log_odds + jnp.log(found / expected)

        return Groups(
            activation=raised(at.activation, up, prior_up),
            repression=raised(at.repression, down, prior_down),
            strength=at.strength + slope / jnp.maximum(curvature, 1.0),
            centre=centre,
            spread=spread,
            shift=jnp.maximum(shift, CLOSEST * spread),
        )

    start = Groups(*map(jnp.asarray, (-4.6, -4.6, 0.0, 0.0, 0.95, 3.0)))
    return lax.fori_loop(0, SWEEPS, sweep, start)


@partial(jax.jit, static_argnames="sign")
def strength(
    deviation: Float[Array, "regulators genes"],
    told: Float[Array, "regulators genes"],
    pairs: Bool[Array, "regulators genes"],
    *,
    sign: bool = False,
) -> Strength:
    """Learn how much what a prior says adds to the log-odds, and how sure that is.

    The standard error is that of genes that are given what the prior says of others, whose
    variance is known (`_variance_of_dealings`); pairs that share a gene are not independent.

    Parameters
    ----------
    deviation, told, pairs, sign
        As in `groups`.
    """
    plain = groups(deviation, jnp.zeros_like(told), pairs)
    up, down = _memberships(plain, deviation, plain.activation, plain.repression)
    x = up - down if sign else up + down
    x = jnp.where(pairs, x - _mean(x, pairs), 0.0)
    c = jnp.where(pairs, told - _mean(told, pairs), 0.0)
    error = _variance_of_dealings(x, c, pairs) / jnp.maximum((x**2).sum(), TINY) ** 2
    error = jnp.maximum(error, TINY)
    raw = groups(deviation, c, pairs, sign=sign).strength
    wide = error + STRENGTH_SCALE**2
    shrunk, left = raw * STRENGTH_SCALE**2 / wide, jnp.sqrt(error / wide) * STRENGTH_SCALE
    # A prior that goes against the expression says nothing: its strength is not negative.
    log_bayes_factor = (
        norm.logpdf(raw, 0, jnp.sqrt(wide))
        - norm.logpdf(raw, 0, jnp.sqrt(error))
        + jnp.log(2.0)
        + norm.logcdf(shrunk / left)
    )
    trust = jax.nn.sigmoid(log_bayes_factor)
    return Strength(jnp.maximum(shrunk, 0.0) * trust, trust)


@jax.jit
def log_odds(
    found: Evidence,
    base: Float[Array, "regulators genes"] | Float[Array, ""],
    pairs: Bool[Array, "regulators genes"],
    activating: Float[Array, ""],
    up: Float[Array, "regulators genes"],
    down: Float[Array, "regulators genes"],
) -> Float[Array, "regulators genes"]:
    """Add the log Bayes factor of the expression to the log-odds of the prior.

    Parameters
    ----------
    found
        What the expression says.
    base
        Log-odds that there is an edge, whatever the prior of the effects says.
    pairs
        Which pairs there are.
    activating
        Share of edges with a positive effect.
    up, down
        What the prior of the effects adds to the log-odds of activation and of repression; the
        mean of the odds over pairs stays what it is.
    """
    up, down = jnp.log(activating) + up, jnp.log1p(-activating) + down
    told = jnp.where(pairs, jnp.logaddexp(up, down), -jnp.inf)
    y = jnp.sqrt(found.reliability) * found.deviation
    likelihood = jnp.logaddexp(up + y, down - y) - found.reliability / 2
    return base + likelihood - (logsumexp(told) - jnp.log(pairs.sum()))


@jax.jit
def candidates(
    basis: Spectrum, reported: Int[Array, " regulators"]
) -> Bool[Array, "regulators genes"]:
    """Tell pairs of a regulator and another gene from those of a gene with itself."""
    return reported[:, None] != basis.own


def _mean(values: Array, pairs: Array) -> Array:
    return jnp.where(pairs, values, 0.0).sum() / pairs.sum()


def _memberships(at: Groups, z: Array, odds_up: Array, odds_down: Array) -> tuple[Array, Array]:
    """Probability that a pair belongs to either group, given its deviation."""
    off, shift = (z - at.centre) / at.spread, at.shift / at.spread
    up, down = shift * off - shift**2 / 2, -shift * off - shift**2 / 2
    return _shares(odds_up + up, odds_down + down)


def _shares(odds_up: Array, odds_down: Array) -> tuple[Array, Array]:
    either = jnp.logaddexp(odds_up, odds_down)
    edge = jax.nn.sigmoid(either)
    return edge * jnp.exp(odds_up - either), edge * jnp.exp(odds_down - either)


def _binned(z: Array, c: Array, pairs: Array) -> tuple[Array, Array, Array]:
    """Count pairs in bins of z and c, and return the means of the bins with their counts."""
    place = [
        (jnp.clip(jnp.round(FINENESS * part), -BINS, BINS) + BINS).astype(int) for part in (z, c)
    ]
    side = 2 * BINS + 1
    at = (place[0] * side + place[1]).ravel()
    counts, z_sum, c_sum = (
        jnp.zeros(side**2).at[at].add(jnp.where(pairs, part, 0.0).ravel())
        for part in (jnp.ones_like(z), z, c)
    )
    size = jnp.maximum(counts, 1.0)
    return z_sum / size, c_sum / size, counts


def _variance_of_dealings(x: Array, c: Array, pairs: Array) -> Array:
    """Variance of ``sum(x c)`` when rows and columns of c are permuted.

    Means of rows, means of columns and what is left vary on their own, each as a sum over permuted
    vectors: ``sum(a^2) sum(b^2) / (n - 1)``. What is left counts twice, since where regulators are
    targets as well, a pair and its reverse go together.
    """
    rows, columns = pairs.shape

    def parts(a):
        row, column = (a.sum(axis) / jnp.maximum(pairs.sum(axis), 1) for axis in (1, 0))
        left = jnp.where(pairs, a - row[:, None] - column, 0.0)
        return (row**2).sum(), (column**2).sum(), (left**2).sum()

    (xr, xc, xl), (cr, cc, cl) = parts(x), parts(c)
    total = columns**2 * xr * cr / (rows - 1) + rows**2 * xc * cc / (columns - 1)
    return total + 2 * xl * cl / ((rows - 1) * (columns - 1))
