"""The log-odds of every edge: what the prior says plus what the data say.

Rankings of edges want far more shrinkage than estimates of effects do, since effects of one
regulator are easily given to another that goes with it. So the data speak through the partial
correlation ``x_ij`` of the closed-form posterior in which all cells count as few independent ones.
Its variance over pairs, less what so many cells leave to chance, is that of true effects; their
ratio ``reliability = true / all`` says how far x can be trusted. An edge moves the effect by one
standard deviation of true effects, up (a share ``activating``) or down, so that with
``y = sqrt(reliability) (x - median) / sd(x)``

    log BF = log(activating exp(y) + (1 - activating) exp(-y)) - reliability / 2

What a prior says of a pair, ``c_ij`` with mean square 1, is an addition ``strength c_ij`` to the
log-odds, and expression teaches its strength twice. Effects come from a share ``edges`` of the
pairs, so that ``E[y c] = strength edges reliability (2 activating - 1)``. And the pairs that stand
out are examples: in a mixture of two groups, where edges stand out by `SHIFT` standard deviations
either way and have responsibilities g, a step of Newton's method for the logistic regression of g
on c is ``strength = sum(g c) / sum(g^2)``. Each is shrunk by its standard error and by the
probability ``trust`` that it is not zero, and the smaller counts: genes that are regulated alike
have like texts and like expression though none regulates another, which the first takes for edges;
and with few cells the second has few examples. Texts thus count as far as the expression bears
them out, expression as far as its cells allow, and texts of other genes nothing.
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

# Effects beyond so many standard deviations are told from noise, and show the sign of edges.
TAIL = 3.0
# Standard deviations by which the pairs stand out that priors are held against.
SHIFT = 2.0
# Standard deviation of the strength of a prior that says something of edges.
STRENGTH_SCALE = 1.0
SWEEPS = 40
# Variance of a strength that cannot vary, such as that of a prior that is the same everywhere.
TINY = 1e-12
# Least factor by which a prior lowers the odds of an edge.
LEAST = 0.05


class Evidence(NamedTuple):
    """What the expression says of each pair, whatever the prior.

    Attributes
    ----------
    effect
        Expected effect in units of the standard deviation of true effects, [regulators, genes].
    reliability
        Share of the variance of partial correlations that is not due to chance.
    activating
        Share of edges with a positive effect.
    """

    effect: Float[Array, "regulators genes"]
    reliability: Float[Array, ""]
    activating: Float[Array, ""]


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
        ``reliability``, ``activating`` and, with a prior, ``strength`` and ``trust``.
    """

    score: Float[Array, "regulators genes"]
    probability: Float[Array, "regulators genes"]
    learned: dict[str, Array]


def score(
    basis: Spectrum,
    reported: Int[Array, " regulators"],
    base: Float[Array, "regulators genes"],
    told: Normals | None,
    *,
    edges: float,
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
        Log-odds of edges before the expression and the prior of the effects.
    told
        What the prior of the effects says; None for nothing.
    edges
        Share of the pairs that are edges.
    cells
        See `evidence`.
    sign
        Whether the sign of prior means is that of effects (or tells edges from other pairs).
    """
    found = evidence(basis, reported, cells=cells)
    pairs = candidates(basis, reported)
    learned = {"reliability": found.reliability, "activating": found.activating}
    direction = jnp.zeros(())
    if told is not None:
        mean = standardised(told.mean / told.scale, pairs)
        wide = jnp.log(told.scale)
        wide = standardised(wide - _mean(wide, pairs), pairs)
        if bool((mean != 0).any()):
            borne = strength(found, mean, pairs, edges=edges, sign=sign)
            learned |= {"strength": borne.value, "trust": borne.trust}
            if sign:
                direction = borne.value * mean
            else:
                base = existence(base, borne.value * mean, pairs)
        if not bool(jnp.allclose(told.scale, told.scale[0, 0], rtol=1e-5)):
            borne = strength(found, wide, pairs, edges=edges, sign=False)
            learned |= {"strength_of_scale": borne.value, "trust_in_scale": borne.trust}
            base = base + jnp.log(jnp.maximum(1 + borne.value * wide, LEAST))
    odds = log_odds(found, base, direction)
    return Scored(odds, jnp.where(pairs, jax.nn.sigmoid(odds), 0.0), learned)


@partial(jax.jit, static_argnames="cells")
def evidence(basis: Spectrum, reported: Int[Array, " regulators"], *, cells: float) -> Evidence:
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
    reliability = jnp.clip(1 - _mean(left, pairs) / total, 0.01, 1.0)
    z = (x - jnp.nanmedian(jnp.where(pairs, x, jnp.nan))) / jnp.sqrt(total)
    up, down = (((sign * z > TAIL) & pairs).sum() for sign in (1, -1))
    return Evidence(jnp.sqrt(reliability) * z, reliability, (up + 1) / (up + down + 2))


@partial(jax.jit, static_argnames="sign")
def strength(
    found: Evidence,
    told: Float[Array, "regulators genes"],
    pairs: Bool[Array, "regulators genes"],
    *,
    edges: Float[Array, ""] | float,
    sign: bool,
) -> Strength:
    """Learn how much what a prior says adds to the log-odds, from pairs that stand out.

    The sum over pairs is compared to those of genes that are given what the prior says of others:
    its variance over such dealings is known (`_variance_of_dealings`), and does not count pairs
    that share a gene as independent.

    Parameters
    ----------
    found
        What the expression says.
    told
        What the prior says, mean square 1 over the pairs.
    pairs
        Which pairs there are.
    edges
        Share of edges among them.
    sign
        Whether it speaks of activation against repression, or of edges against other pairs.
    """
    z = found.effect / jnp.sqrt(found.reliability)
    up = jnp.log(found.activating) + SHIFT * z - SHIFT**2 / 2
    down = jnp.log1p(-found.activating) - SHIFT * z - SHIFT**2 / 2

    def responsibilities(share):
        return jax.nn.sigmoid(jnp.log(share) - jnp.log1p(-share) + jnp.logaddexp(up, down))

    def sweep(_, share):
        return jnp.clip(_mean(responsibilities(share), pairs), 1e-6, 0.5)

    g = responsibilities(lax.fori_loop(0, SWEEPS, sweep, jnp.asarray(0.02)))
    examples = jnp.where(pairs, g**2, 0.0).sum()
    lean = 1.0 if sign else jnp.maximum(jnp.abs(2 * found.activating - 1), 0.01)
    toward = 1.0 if sign else jnp.where(found.activating < 0.5, -1.0, 1.0)
    expected = edges * pairs.sum() * found.reliability * lean
    strongest = _regression(g * jnp.tanh((up - down) / 2) if sign else g, told, pairs, examples)
    everywhere = _regression(toward * found.effect, told, pairs, expected)
    return Strength(
        jnp.minimum(strongest.value, everywhere.value),
        jnp.minimum(strongest.trust, everywhere.trust),
    )


def _regression(x: Array, told: Array, pairs: Array, information: Array) -> Strength:
    """Regress what the expression says on what the prior says, and shrink the slope."""
    x = jnp.where(pairs, x - _mean(x, pairs), 0.0)
    c = jnp.where(pairs, told - _mean(told, pairs), 0.0)
    raw = (x * c).sum() / information
    chance = jnp.maximum(_variance_of_dealings(x, c, pairs) / information**2, TINY)
    wide = chance + STRENGTH_SCALE**2
    shrunk, left = raw * STRENGTH_SCALE**2 / wide, jnp.sqrt(chance / wide) * STRENGTH_SCALE
    # A prior that goes against the expression says nothing: its strength is not negative.
    log_bayes_factor = (
        norm.logpdf(raw, 0, jnp.sqrt(wide))
        - norm.logpdf(raw, 0, jnp.sqrt(chance))
        + jnp.log(2.0)
        + norm.logcdf(shrunk / left)
    )
    trust = jax.nn.sigmoid(log_bayes_factor)
    return Strength(jnp.maximum(shrunk, 0.0) * trust, trust)


@jax.jit
def existence(
    base: Float[Array, "regulators genes"] | Float[Array, ""],
    told: Float[Array, "regulators genes"],
    pairs: Bool[Array, "regulators genes"],
) -> Float[Array, "regulators genes"]:
    """Return prior log-odds of edges, shifted by what is told of each pair.

    Parameters
    ----------
    base
        Log-odds without it; the mean of the odds over pairs stays what it is.
    told
        What is added to each pair, up to a constant.
    pairs
        Which pairs there are.
    """
    centre = logsumexp(jnp.where(pairs, told, -jnp.inf)) - jnp.log(pairs.sum())
    return base + jnp.where(pairs, told - centre, 0.0)


@jax.jit
def log_odds(
    found: Evidence,
    prior: Float[Array, "regulators genes"],
    direction: Float[Array, "regulators genes"] | Float[Array, ""],
) -> Float[Array, "regulators genes"]:
    """Add the log Bayes factor of the expression to the log-odds of the prior.

    Parameters
    ----------
    found
        What the expression says.
    prior
        Log-odds that there is an edge, before the expression.
    direction
        Odds of activation (positive) or repression (negative) that the prior adds to those of
        either, as multiples of the odds of an edge.
    """
    up = jnp.log(found.activating + jnp.maximum(direction, 0.0)) + found.effect
    down = jnp.log(1 - found.activating + jnp.maximum(-direction, 0.0)) - found.effect
    return prior + jnp.logaddexp(up, down) - found.reliability / 2


@jax.jit
def candidates(
    basis: Spectrum, reported: Int[Array, " regulators"]
) -> Bool[Array, "regulators genes"]:
    """Tell pairs of a regulator and another gene from those of a gene with itself."""
    return reported[:, None] != basis.own


def _mean(values: Array, pairs: Array) -> Array:
    return jnp.where(pairs, values, 0.0).sum() / pairs.sum()


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
