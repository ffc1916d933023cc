"""Probabilities of edges that come true about as often as they say.

Log Bayes factors B are tempered where edges are ranked (`infosem_jax.grn.exact.score`): taken as
they are, they would state too low a probability of the edges that the expression shows. So the
log-odds of an edge are those before the expression plus ``SHIFT B + c``, with the slope of groups
that are `SHIFT` standard deviations apart, and c such that probabilities have the share of edges as
their mean. Labelled pairs show another slope (`infosem_jax.grn.exact.worth.worth_by_labels`). Pairs
of rare genes, of which little is believed, count by the square of that.

The share is learned from the deviations at the prior variance with the highest evidence, as that of
the wider of two normal distributions with mean 0 whose mixture they are. This tells it to a factor
of few only. Networks of any size have a few regulators a target, so that the share goes down as
candidates become more: the geometric mean is taken of what the deviations say and of `REGULATORS`
over the number of candidates. A prior of edges says which pairs are likelier than others, and how
many edges there are no better than that: there it is the geometric mean of three, with the mean of
the prior's probabilities. Where the prior only names edges, which are a few of all or most of them,
that mean can raise the share and not lower it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int, Shaped

# Of a target before the expression is looked at: chosen, as the slope was, on simulated data,
# DREAM4 and SERGIO, whose networks have one to three.
REGULATORS = 2.0
# Deviations are counted in bins, so many in a unit and so many on either side; log Bayes factors
# in so many between the smallest and the largest.
FINENESS, SIDE, BINS = 16, 256, 4096
SWEEPS, HALVINGS = 300, 60
# Log-odds that are sure, whatever is added to them.
SURE = 400.0
# Share and standard deviations that the two groups start from.
START = 0.05, 2.1, 0.7
LEAST, MOST = 1e-3, 0.5


class Bins(NamedTuple):
    """Pairs in bins of their log-odds.

    Attributes
    ----------
    place
        Bin of each pair, [regulators, genes].
    middle
        Mean log-odds of each bin, [bins].
    count
        How much its pairs count, [bins].
    """

    place: Int[Array, "regulators genes"]
    middle: Float[Array, " bins"]
    count: Float[Array, " bins"]


def share_of_edges(
    deviation: Float[Array, "regulators genes"], weight: Float[Array, "regulators genes"]
) -> Float[Array, ""]:
    """Learn the share of pairs that are edges, where no prior says which.

    Parameters
    ----------
    deviation
        Of partial correlations, at the prior variance with the highest evidence, before those of
        rare genes are shrunk.
    weight
        How much each pair counts; 0 from a gene to itself.
    """
    typical = min(REGULATORS / len(deviation), MOST)
    return jnp.sqrt(typical * share_of_wide(deviation, weight))


@jax.jit
def share_of_wide(
    deviation: Float[Array, "regulators genes"], weight: Float[Array, "regulators genes"]
) -> Float[Array, ""]:
    """Return the share of the wider of two normal distributions by expectation maximisation.

    Parameters
    ----------
    deviation
        In standard deviations, [regulators, genes].
    weight
        How much each pair counts; 0 from a gene to itself.
    """
    z, counts = counted(deviation, weight)

    def sweep(_, at):
        share, wide, narrow = at
        odds = norm.logpdf(z, 0, wide) - norm.logpdf(z, 0, narrow)
        own = counts * jax.nn.sigmoid(jnp.log(share) - jnp.log1p(-share) + odds)
        share = jnp.clip(own.sum() / counts.sum(), LEAST, MOST)
        return share, _spread(z, own), _spread(z, counts - own)

    found, *_ = lax.fori_loop(0, SWEEPS, sweep, tuple(map(jnp.asarray, START)))
    return found


def counted(
    deviation: Float[Array, "regulators genes"], weight: Shaped[Array, "regulators genes"]
) -> tuple[Float[Array, " bins"], Float[Array, " bins"]]:
    """Return deviations of bins, and how much pairs count in each.

    Parameters
    ----------
    deviation
        In standard deviations, [regulators, genes].
    weight
        How much each pair counts, or whether it does, [regulators, genes].
    """
    place = jnp.clip(jnp.round(FINENESS * deviation), -SIDE, SIDE).astype(int) + SIDE
    counts = jnp.zeros(2 * SIDE + 1).at[place.ravel()].add(weight.ravel())
    return jnp.arange(-SIDE, SIDE + 1) / FINENESS, counts


@jax.jit
def offset(
    odds: Float[Array, "regulators genes"],
    weight: Float[Array, "regulators genes"],
    share: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """Return what is added to log-odds so that probabilities have a share as their mean.

    Parameters
    ----------
    odds
        Log-odds, but for what they have in common.
    weight
        How much each pair counts; 0 from a gene to itself.
    share
        Of pairs that are edges.
    """
    binned = in_bins(odds, weight)
    return offset_of_bins(binned.middle, binned.count, share)


def in_bins(
    odds: Float[Array, "regulators genes"], weight: Float[Array, "regulators genes"]
) -> Bins:
    """Sort pairs into bins of their log-odds.

    Parameters
    ----------
    odds, weight
        As in `offset`.
    """
    odds = jnp.clip(odds, -SURE, SURE)
    low = jnp.where(weight > 0, odds, jnp.inf).min()
    high = jnp.where(weight > 0, odds, -jnp.inf).max()
    unit = jnp.maximum(high - low, 1e-6) / BINS
    place = jnp.clip((odds - low) / unit, 0, BINS - 1).astype(int)
    counts = jnp.zeros(BINS).at[place.ravel()].add(weight.ravel())
    total = jnp.zeros(BINS).at[place.ravel()].add((weight * odds).ravel())
    middles = jnp.where(counts > 0, total / jnp.where(counts > 0, counts, 1.0), low)
    return Bins(place, middles, counts)


def offset_of_bins(
    middles: Float[Array, " bins"], counts: Float[Array, " bins"], share: Float[Array, ""] | float
) -> Float[Array, ""]:
    """Return what `offset` does, of pairs in bins.

    Parameters
    ----------
    middles
        Mean log-odds of each bin.
    counts
        How much the pairs of each count.
    share
        Of pairs that are edges.
    """
    base = jnp.log(share) - jnp.log1p(-share)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = (counts * jax.nn.sigmoid(middle + middles)).sum() > share * counts.sum()
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = lax.fori_loop(0, HALVINGS, halve, (base - middles.max(), base - middles.min()))
    return (low + high) / 2


def _spread(z: Array, counts: Array) -> Array:
    # Half a bin, below which bins do not tell.
    return jnp.sqrt((counts * z**2).sum() / jnp.maximum(counts.sum(), 1e-6) + (0.5 / FINENESS) ** 2)
