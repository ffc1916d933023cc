"""How many log-odds a unit of the expression's log Bayes factor is worth, as a prior shows it.

Where edges are ranked, log Bayes factors B are tempered (`infosem_jax.grn.exact.score`): a unit of
them is worth about one of log-odds where much else than regulation makes genes go together, and
several where edges are clear-cut. What a prior says is in log-odds, so that it has to be divided by
that worth before the two are added.

A prior that tells edges from other pairs is a noisy label of every pair. If the odds of an edge are
``exp(a + worth B)``, what the prior says, c with mean 0 and variance 1, has the mean

    E[c | B] = contrast (p - E[p])        p = 1 / (1 + exp(-a - worth B))

so that means of c over the pairs of one B show how fast the odds rise with it. These are normal
around it, with the variance of c over the number of pairs, times how much more sums over pairs that
share genes vary than sums over independent ones. The contrast is taken where it fits best; the
others are averaged on a grid. Where the prior says little, what is expected of them is left: a
worth of `TYPICAL`, and `REGULATORS` a target. As tempering only takes away, it is at least one.

Labels show it better. Given how many edges there are, every worth states the probability of every
pair, and labelled pairs are as probable as these have it. The worth that they make probable is
averaged on a grid too, around the slope of probabilities that holds without labels, and may be less
than one: labels of what binds are hardly seen in how genes go together.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from infosem_jax.grn.exact.deviations import SHIFT
from infosem_jax.grn.exact.probability import MOST, REGULATORS, in_bins, offset_of_bins

# Between that of log Bayes factors which hold as they are, and that of groups two standard
# deviations apart; and by which factors it, and the odds of the share of edges, are off. Chosen on
# texts of BEELINE's mHSC-E, all of its cells and few of them, and on planted knowledge of the edges
# of DREAM4, SERGIO and simulated data, all of them or those of some regulators.
TYPICAL, FACTOR, ODDS_FACTOR = 2**0.5, np.exp(0.5), np.e
WORTHS = np.exp(np.linspace(np.log(0.3), np.log(8.0), 34))
LEVELS = np.linspace(-8.0, 1.0, 37)
# By which factor the slope of probabilities is off where no label tells: chosen on simulated data,
# DREAM4, SERGIO and mHSC-E.
SLOPE_FACTOR = np.exp(0.35)


@jax.jit
def worth(
    log_bayes_factor: Float[Array, " bins"],
    count: Float[Array, " bins"],
    said: Float[Array, " bins"],
    excess: Float[Array, ""],
    regulators: Int[Array, ""] | int,
) -> Float[Array, ""]:
    """Return log-odds of an edge per unit of the log Bayes factor.

    Parameters
    ----------
    log_bayes_factor
        Of the pairs in each bin.
    count
        Number of pairs in each bin.
    said
        Sum over these of what the prior says, which has mean 0 and variance 1 over all pairs.
    excess
        How many times the variance of sums over pairs is that of as many independent ones.
    regulators
        Number of candidates.
    """
    rate, level = jnp.asarray(WORTHS)[:, None, None], jnp.asarray(LEVELS)[None, :, None]
    log_bayes_factor, count, said = (part[None, None] for part in (log_bayes_factor, count, said))
    p = jax.nn.sigmoid(level + rate * log_bayes_factor)
    share = (count * p).sum(-1) / count.sum()
    away = p - share[..., None]
    along, size = (said * away).sum(-1), (count * away**2).sum(-1)
    fit = jnp.where(along > 0, along**2 / jnp.maximum(size, 1e-6), 0.0) / (2 * excess)
    typical = jnp.minimum(REGULATORS / regulators, MOST)
    off = _logit(jnp.clip(share, 1e-6, 1 - 1e-6)) - _logit(typical)
    rates = jnp.log(rate[..., 0])
    before = (rates - np.log(TYPICAL)) ** 2 / np.log(FACTOR) ** 2
    before += off**2 / np.log(ODDS_FACTOR) ** 2
    weight = jax.nn.softmax((fit - before / 2).ravel()).reshape(fit.shape)
    return jnp.maximum(jnp.exp((weight * rates).sum()), 1.0)


@jax.jit
def worth_by_labels(
    log_bayes_factor: Float[Array, "regulators genes"],
    weight: Float[Array, "regulators genes"],
    share: Float[Array, ""],
    present: Float[Array, "regulators genes"],
    absent: Float[Array, "regulators genes"],
) -> Float[Array, ""]:
    """Return log-odds of an edge per unit of the log Bayes factor, as labelled pairs show it.

    With probabilities ``p = 1 / (1 + exp(-a - worth B))`` that have the share as their mean,
    labels have the log-likelihood ``sum(present log p) + sum(absent log(1 - p))``.

    Parameters
    ----------
    log_bayes_factor
        Of every pair.
    weight
        How much each pair counts; 0 from a gene to itself.
    share
        Of pairs that are edges.
    present, absent
        How much it counts that a pair is labelled so; 0 where it is not.
    """
    place, middle, count = in_bins(log_bayes_factor, weight)

    def among(label: Array) -> Array:
        return jnp.zeros_like(count).at[place.ravel()].add((weight * label).ravel())

    edges, others = among(present), among(absent)

    def likelihood(rate: Array) -> Array:
        odds = rate * middle
        odds += offset_of_bins(odds, count, share)
        return (edges * jax.nn.log_sigmoid(odds) + others * jax.nn.log_sigmoid(-odds)).sum()

    rates = jnp.log(jnp.asarray(WORTHS))
    off = (rates - np.log(SHIFT)) / np.log(SLOPE_FACTOR)
    chances = jax.nn.softmax(lax.map(likelihood, jnp.exp(rates)) - off**2 / 2)
    return jnp.exp((chances * rates).sum())


def _logit(p: Array) -> Array:
    return jnp.log(p) - jnp.log1p(-p)
