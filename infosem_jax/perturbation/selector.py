"""The selector of nodes that enter the context of a perturbation, for a batch, by masks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Bool, Float, Int

from infosem_jax.perturbation.config import AdaPertConfig
from infosem_jax.perturbation.knowledge import FAR

# How sharply a learned threshold cuts in training.
_EDGE = 0.05


class Selection(NamedTuple):
    """How nodes were chosen.

    Attributes
    ----------
    score
        From 0 to 1; noisy in training, [batch, candidates].
    weight
        What each candidate enters the context with, before it is normalised.
    """

    score: Float[Array, "batch candidates"]
    weight: Float[Array, "batch candidates"]


def select(
    logit: Float[Array, "batch candidates"],
    hop: Int[Array, "batch candidates"],
    threshold: Float[Array, ""],
    config: AdaPertConfig,
    key: Array | None,
) -> Selection:
    """Choose among candidates.

    In training the score is a Gumbel-softmax of "in" and "out", ``sigmoid((a + logistic noise) /
    temperature)``, so that gradients pass; a learned threshold cuts it softly. After training it
    is ``sigmoid(a)``, cut at the threshold; a sum counts what is left in full. Perturbed genes
    themselves are always in.

    Parameters
    ----------
    logit
        Scores ``a`` of the candidates, before the sigmoid.
    hop
        How far they are; padding is farther than any.
    threshold
        Between 0 and 1.
    config
        Settings.
    key
        Random key in training, None after it.
    """
    if config.context != "adaptive":
        within = _within(hop, config)
        return Selection(within.astype(logit.dtype), within.astype(logit.dtype))
    real = _within(hop, config)
    if key is None:
        score = jax.nn.sigmoid(logit)
        full = jnp.ones_like(score) if config.pooling == "sum" else score
        weight = jnp.where(score > threshold, full, 0.0)
    else:
        score = jax.nn.sigmoid((logit + random.logistic(key, logit.shape)) / config.temperature)
        weight = score
        if config.threshold == "learned":
            weight = score * jax.nn.sigmoid((score - threshold) / _EDGE)
    score, weight = (jnp.where(hop == 0, 1.0, part) for part in (score, weight))
    return Selection(jnp.where(real, score, 0.0), jnp.where(real, weight, 0.0))


def pool(
    h: Float[Array, "nodes features"],
    node: Int[Array, "batch candidates"],
    weight: Float[Array, "batch candidates"],
    config: AdaPertConfig,
) -> Float[Array, "batch features"]:
    """Sum the selected nodes, or average them with the selector's scores as weights.

    Parameters
    ----------
    h
        Features of all nodes.
    node, weight
        Candidates of each perturbation, and their weights.
    config
        Settings of the network.
    """
    total = jnp.einsum("bc,bcf->bf", weight, h[node])
    if config.pooling == "sum":
        return total
    return total / jnp.maximum(weight.sum(1, keepdims=True), 1e-6)


def threshold_of(params: Any, config: AdaPertConfig) -> Float[Array, ""]:
    """Return the threshold, learned or fixed."""
    if config.threshold == "fixed":
        return jnp.asarray(config.cut)
    return jax.nn.sigmoid(params)


def _within(
    hop: Int[Array, "batch candidates"], config: AdaPertConfig
) -> Bool[Array, "batch candidates"]:
    if config.context == "node":
        return hop == 0
    return (hop <= config.hops) & (hop < FAR)
