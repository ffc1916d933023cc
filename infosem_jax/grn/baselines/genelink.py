"""GENELink (Chen and Liu 2022): graph attention on known edges, and a dot product of two roles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.initializers import variance_scaling
from jaxtyping import Array, Float, Int

from infosem_jax._settings import check
from infosem_jax.graphs import GraphsTuple
from infosem_jax.grn.baselines import links
from infosem_jax.grn.baselines.problem import Problem, Scores
from infosem_jax.nn import GAT

_START = variance_scaling(2.0, "fan_avg", "uniform")


@dataclass(frozen=True)
class GENELinkConfig(links.LinkConfig):
    """Settings; sizes are the published ones, and what was wrong there is put right.

    Attributes
    ----------
    heads, features
        Heads of each of the two layers, and their features; heads are put side by side in the
        first and averaged in the second.
    attention_dropout
        Share of attention weights dropped in training.
    channel
        Units of the layers that turn a gene's code into that of a role, regulator or target.
    channel_dropout
        Share of units dropped between them in training.
    as_published
        Keep what was wrong upstream: units of the channels are dropped also where pairs are scored,
        so that scores are random.
    """

    heads: int = 3
    features: tuple[int, int] = (128, 64)
    attention_dropout: float = 0.5
    channel: tuple[int, ...] = (32, 16)
    channel_dropout: float = 0.01
    as_published: bool = False

    def __post_init__(self):
        super().__post_init__()
        shares = ("attention_dropout", "channel_dropout")
        check(self, least={0: shares}, below={1: shares})


PUBLISHED = GENELinkConfig(decay_every="batch", as_published=True)
# Two seconds of one core where 6,000 edges carry messages, six where 40,000 do.
REDUCED = GENELinkConfig(
    components=128, features=(16, 16), batch_size=1024, steps=30, epochs=9, decay=0.9
)


def solve(
    problems: Sequence[Problem], config: GENELinkConfig = GENELinkConfig()
) -> Iterator[Scores]:
    """Train GENELink on the labelled pairs of each problem, and return log-odds of all its pairs.

    Two layers of attention gather expression along the training edges; each head ends in a
    LeakyReLU and is scaled to unit length. Two small networks turn a gene's code into that of a
    regulator and of a target, whose dot product is the log-odds of an edge.

    A gene without a known edge has no neighbours. Here it gathers zeros (upstream: the mean of all
    genes), so all such genes get the same code unless there are self-loops.

    Parameters
    ----------
    problems
        Expression and labels.
    config
        Settings.

    Raises
    ------
    ValueError
        As `links.solve`.
    """
    return links.solve(problems, config, GENELink(config))


class GENELink(nn.Module):
    """Attention, and a channel for each role; see `GENELinkConfig`."""

    config: GENELinkConfig

    def setup(self):  # noqa: D102
        config = self.config
        first, second = config.features
        rest: dict[str, Any] = {"dropout": config.attention_dropout, "each_head": _unit}
        self.first = GAT(first, config.heads, "concat", **rest)
        self.second = GAT(second, config.heads, "mean", **rest)
        self.regulator, self.target = (
            [nn.Dense(units, kernel_init=_START) for units in config.channel] for _ in range(2)
        )
        self.drop = nn.Dropout(config.channel_dropout)

    def encode(
        self, graph: GraphsTuple, x: Float[Array, "nodes features"], deterministic: bool
    ) -> tuple[Float[Array, "nodes units"], Float[Array, "nodes units"]]:
        """Return the codes of all genes as regulators and as targets."""
        x = self.second(graph, nn.elu(self.first(graph, x, deterministic)), deterministic)
        deterministic = deterministic and not self.config.as_published
        return self._role(self.regulator, x, deterministic), self._role(
            self.target, x, deterministic
        )

    def decode(self, codes, pairs: Int[Array, "pairs 2"]) -> Float[Array, " pairs"]:
        """Return the dot products of regulators and targets."""
        return (codes[0][pairs[:, 0]] * codes[1][pairs[:, 1]]).sum(1)

    def _role(self, layers, x: Float[Array, "nodes features"], deterministic: bool) -> Array:
        for i, layer in enumerate(layers):
            x = nn.leaky_relu(layer(x))
            if i < len(layers) - 1:
                x = self.drop(x, deterministic=deterministic)
        return x


def _unit(x: Float[Array, "nodes heads features"]) -> Float[Array, "nodes heads features"]:
    x = nn.leaky_relu(x, 0.2)
    # The root of zero has no gradient, and a gene without neighbours gathered zeros.
    square = jnp.square(x).sum(-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(square, 1e-24))
