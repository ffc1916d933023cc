"""The network of scGREAT: tokens of genes, a transformer's encoder, and log-odds of pairs."""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.initializers import constant, normal, variance_scaling
from jaxtyping import Array, Float

from infosem_jax._settings import check

# PyTorch's starts, under which the published rate was chosen: linear layers, and in attention.
_LINEAR = variance_scaling(1 / 3, "fan_in", "uniform")
_ATTENTION = variance_scaling(1 / 2, "fan_in", "uniform")


@dataclass(frozen=True)
class ScGREATConfig:
    """Settings; the defaults are the published ones, `REDUCED` is for two cores.

    Attributes
    ----------
    embedding
        Name of the gene embedding in ``problem.embeddings``; genes without a vector get zeros. None
        reads expression alone.
    hidden, width
        Units of the expression network, and of a token. An embedding of another width goes
        through a learned linear map.
    layers, heads, feed_forward
        Layers of the encoder, heads of its attention, units between its two linear maps.
    norm
        Whether a layer normalises after it added to its input, or before.
    dropout
        Share of units dropped in the encoder.
    head, head_dropout
        Units of the final network, and share of them dropped. The first layer, averaged over equal
        blocks, is added to the last, whose units must divide it.
    batch_size
        Pairs per step.
    epochs
        Most passes over the labelled pairs.
    steps
        Most steps that count as an epoch; 0 is a pass over all pairs.
    optimiser
        ``adam_clipped`` or ``adam``.
    rate, decay, decay_every
        Learning rate, and the factor on it each so many steps, applied at the end of epochs.
    patience
        Epochs without a better average precision on validation pairs after which training ends,
        the best parameters kept; 0, or a problem without validation, trains all epochs.
    validation_pairs
        Most validation pairs looked at, drawn by the problem's seed.
    """

    embedding: str | None = "biobert"
    hidden: int = 512
    width: int = 768
    layers: int = 2
    heads: int = 4
    feed_forward: int = 2048
    norm: Literal["post", "pre"] = "post"
    dropout: float = 0.1
    head: tuple[int, ...] = (1024, 512, 256)
    head_dropout: float = 0.2
    batch_size: int = 32
    epochs: int = 50
    steps: int = 0
    optimiser: Literal["adam_clipped", "adam"] = "adam_clipped"
    rate: float = 1e-5
    decay: float = 0.999
    decay_every: int = 10
    patience: int = 0
    validation_pairs: int = 4096

    def __post_init__(self):
        counts = ("hidden", "width", "layers", "heads", "feed_forward", "batch_size", "epochs")
        shares = ("dropout", "head_dropout")
        check(
            self,
            least={
                1: (*counts, "decay_every", "validation_pairs"),
                0: ("steps", "patience", *shares),
            },
            above={0: ("rate", "decay")},
            below={1: shares},
        )
        if self.width % self.heads:
            raise ValueError(
                f"heads: expected a number that divides the width, found {self.heads} heads for a "
                f"width of {self.width}."
            )
        if not self.head or min(self.head) < 1 or self.head[0] % self.head[-1]:
            raise ValueError(
                f"head: expected units whose last number divides the first, found {self.head}."
            )


class Genes(nn.Module):
    """The part of a token that does not depend on the role: expression and text."""

    config: ScGREATConfig

    @nn.compact
    def __call__(
        self, expression: Float[Array, "genes cells"], text: Float[Array, "genes features"]
    ) -> Float[Array, "genes width"]:
        """Return a vector for each gene; ``text`` without features is left out."""
        width = self.config.width
        x = nn.Dense(self.config.hidden, kernel_init=_LINEAR)(expression)
        x = nn.leaky_relu(nn.Dense(width, kernel_init=_LINEAR)(x))
        if text.shape[1] not in (0, width):
            text = nn.Dense(width, use_bias=False, kernel_init=_LINEAR, name="text")(text)
        return x + text if text.shape[1] else x


class Pairs(nn.Module):
    """From two tokens to the log-odds of an edge."""

    config: ScGREATConfig

    @nn.compact
    def __call__(self, tokens: Float[Array, "pairs 2 width"], deterministic: bool) -> Array:
        """Return log-odds, [pairs]; ``deterministic`` drops no unit."""
        x = tokens + self.param("role", normal(1.0), tokens.shape[1:])
        for i in range(self.config.layers):
            x = EncoderLayer(self.config, name=f"layer{i}")(x, deterministic)
        x = x.reshape(len(x), -1)
        slope = self.param("slope", constant(0.25), ())
        head = self.config.head
        first, last = head[0], head[-1]
        pooled = 0.0
        for i, units in enumerate(head):
            x = nn.Dense(units, kernel_init=_LINEAR, name=f"head{i}")(x)
            if i and i == len(head) - 1:
                x = x + pooled
            x = nn.Dropout(self.config.head_dropout, deterministic=deterministic)(x)
            x = jnp.where(x >= 0, x, slope * x)
            if i == 0:
                pooled = x.reshape(len(x), last, first // last).mean(2)
        return nn.Dense(1, kernel_init=_LINEAR, name="out")(x)[:, 0]


class EncoderLayer(nn.Module):
    """A layer of the transformer's encoder, which normalises after a part or before it."""

    config: ScGREATConfig

    @nn.compact
    def __call__(self, x: Float[Array, "pairs 2 width"], deterministic: bool) -> Array:
        """Let the two tokens of each pair see each other."""
        width = x.shape[-1]

        def attend(x):
            return nn.MultiHeadDotProductAttention(
                self.config.heads,
                dropout_rate=self.config.dropout,
                broadcast_dropout=False,
                deterministic=deterministic,
                kernel_init=_ATTENTION,
                out_kernel_init=_LINEAR,
                name="attention",
            )(x)

        def feed_forward(x):
            x = nn.relu(nn.Dense(self.config.feed_forward, kernel_init=_LINEAR, name="up")(x))
            x = nn.Dropout(self.config.dropout, deterministic=deterministic)(x)
            return nn.Dense(width, kernel_init=_LINEAR, name="down")(x)

        for name, part in (("norm_attention", attend), ("norm_feed_forward", feed_forward)):
            norm = nn.LayerNorm(epsilon=1e-5, name=name)
            drop = nn.Dropout(self.config.dropout, deterministic=deterministic)
            x = norm(x + drop(part(x))) if self.config.norm == "post" else x + drop(part(norm(x)))
        return x
