"""Recalling responses of training perturbations, weighed by how near these are in what respect.

Neighbours in graph and text are a strong baseline whose weights are set by hand. Here a small
network maps what is known of a pair of perturbations (edges of each source, neighbours in common,
likeness of texts, genes in common) to a weight, trained with everything else. A perturbation never
recalls itself.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from infosem_jax._typing import Array
from infosem_jax.perturbation.counting import Counts, posterior


class Pairs(NamedTuple):
    """What is known of pairs of a perturbation and one that is remembered.

    Attributes
    ----------
    features
        Respects in which they are near, [batch, memory, features].
    allowed
        1 where the second may be recalled, [batch, memory].
    """

    features: Float[Any, "batch memory features"]
    allowed: Float[Any, "batch memory"]


class Recall(nn.Module):
    """Weights of remembered perturbations, from what is known of the pair."""

    hidden: int = 16

    @nn.compact
    def __call__(self, pairs: Pairs) -> Float[jax.Array, "batch memory"]:
        """Return weights of at least 0."""
        x = pairs.features.astype(jnp.float32)
        # The sum of all respects, as of the neighbours of `baselines`, is where training starts.
        start = nn.initializers.ones
        line = nn.Dense(1, use_bias=False, kernel_init=start, name="line")(x)[:, :, 0]
        bend = nn.leaky_relu(nn.Dense(self.hidden, name="hidden")(x))
        bend = nn.Dense(1, kernel_init=nn.initializers.zeros, name="bend")(bend)[:, :, 0]
        # A pair of which nothing is known has no weight, whatever has been learned.
        near = (x > 0).any(2)
        return jax.nn.relu(line) * jnp.exp(jnp.clip(bend, -4, 4)) * near * pairs.allowed


def recalled_signs(
    weight: Float[Array, "batch memory"],
    counts: Counts,
    base: Float[Array, "2 rows genes"],
) -> Float[jax.Array, "2 batch genes"]:
    """Return log-odds of being changed and of going up, by weighted counts; see `counting`."""
    rate, upward = jax.nn.sigmoid(base)
    return jnp.stack([_logit(p) for p in posterior(weight, counts, rate, upward)])


def recalled_values(
    weight: Float[Array, "batch memory"],
    value: Float[Array, "memory genes"],
    base: Float[Array, "2 rows genes"],
) -> Float[jax.Array, "2 batch genes"]:
    """Return mean changes by weight, the mean response as one more, and the base's deviations."""
    change = (weight @ value + base[0]) / (weight.sum(1, keepdims=True) + 1)
    return jnp.stack([change, jnp.broadcast_to(base[1], change.shape)])


def _logit(p: jax.Array) -> jax.Array:
    p = jnp.clip(p, 1e-4, 1 - 1e-4)
    return jnp.log(p) - jnp.log1p(-p)
