"""The network of scGREAT: tokens of genes, a transformer's encoder, and log-odds of pairs."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.initializers import constant, normal, variance_scaling
from jaxtyping import Array, Float

# PyTorch's starts, under which the published rate was chosen: linear layers, and in attention.
_LINEAR = variance_scaling(1 / 3, "fan_in", "uniform")
_ATTENTION = variance_scaling(1 / 2, "fan_in", "uniform")


class Genes(nn.Module):
    """The part of a token that does not depend on the role: expression and text."""

    hidden: int
    width: int

    @nn.compact
    def __call__(
        self, expression: Float[Array, "genes cells"], text: Float[Array, "genes features"]
    ) -> Float[Array, "genes width"]:
        """Return a vector for each gene; ``text`` without features is left out."""
        x = nn.Dense(self.hidden, kernel_init=_LINEAR)(expression)
        x = nn.leaky_relu(nn.Dense(self.width, kernel_init=_LINEAR)(x))
        if text.shape[1] not in (0, self.width):
            text = nn.Dense(self.width, use_bias=False, kernel_init=_LINEAR, name="text")(text)
        return x + text if text.shape[1] else x


class Pairs(nn.Module):
    """From two tokens to the log-odds of an edge."""

    layers: int
    heads: int
    feed_forward: int
    norm: Literal["post", "pre"]
    dropout: float
    head: tuple[int, ...]
    head_dropout: float

    @nn.compact
    def __call__(self, tokens: Float[Array, "pairs 2 width"], deterministic: bool) -> Array:
        """Return log-odds, [pairs]; ``deterministic`` drops no unit."""
        x = tokens + self.param("role", normal(1.0), tokens.shape[1:])
        for i in range(self.layers):
            x = EncoderLayer(
                self.heads, self.feed_forward, self.norm, self.dropout, name=f"layer{i}"
            )(x, deterministic)
        x = x.reshape(len(x), -1)
        slope = self.param("slope", constant(0.25), ())
        first, last = self.head[0], self.head[-1]
        pooled = 0.0
        for i, units in enumerate(self.head):
            x = nn.Dense(units, kernel_init=_LINEAR, name=f"head{i}")(x)
            if i and i == len(self.head) - 1:
                x = x + pooled
            x = nn.Dropout(self.head_dropout, deterministic=deterministic)(x)
            x = jnp.where(x >= 0, x, slope * x)
            if i == 0:
                pooled = x.reshape(len(x), last, first // last).mean(2)
        return nn.Dense(1, kernel_init=_LINEAR, name="out")(x)[:, 0]


class EncoderLayer(nn.Module):
    """A layer of the transformer's encoder, which normalises after a part or before it."""

    heads: int
    feed_forward: int
    norm: Literal["post", "pre"]
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "pairs 2 width"], deterministic: bool) -> Array:
        """Let the two tokens of each pair see each other."""
        width = x.shape[-1]

        def attend(x):
            return nn.MultiHeadDotProductAttention(
                self.heads,
                dropout_rate=self.dropout,
                broadcast_dropout=False,
                deterministic=deterministic,
                kernel_init=_ATTENTION,
                out_kernel_init=_LINEAR,
                name="attention",
            )(x)

        def feed_forward(x):
            x = nn.relu(nn.Dense(self.feed_forward, kernel_init=_LINEAR, name="up")(x))
            x = nn.Dropout(self.dropout, deterministic=deterministic)(x)
            return nn.Dense(width, kernel_init=_LINEAR, name="down")(x)

        for name, part in (("norm_attention", attend), ("norm_feed_forward", feed_forward)):
            norm = nn.LayerNorm(epsilon=1e-5, name=name)
            drop = nn.Dropout(self.dropout, deterministic=deterministic)
            x = norm(x + drop(part(x))) if self.norm == "post" else x + drop(part(norm(x)))
        return x
