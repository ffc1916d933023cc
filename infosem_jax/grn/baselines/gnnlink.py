"""GNNLink (Mao et al. 2023): graph convolution on known edges, and a dot product of genes.

The paper was not to be had: this follows its public code. That multiplies the codes of two genes,
so that a pair scores as its reverse. Ours are the networks with a decoder that knows directions,
cross-entropy, batches of pairs, and early stopping.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from infosem_jax._settings import check
from infosem_jax.graphs import GraphsTuple
from infosem_jax.grn.baselines import links
from infosem_jax.grn.baselines.problem import Problem, Scores
from infosem_jax.nn import GCN


@dataclass(frozen=True)
class GNNLinkConfig(links.LinkConfig):
    """Settings; the defaults are those of the public code.

    There, each step is over all pairs; a large batch stands for that. Messages go to regulators
    from their targets, and each gene counts itself twice.

    Attributes
    ----------
    symmetric, self_loops, loss, batch_size, epochs, steps, rate, decay
        As in `links.LinkConfig`.
    features
        Features of the graph layers.
    decoder
        ``dot`` is the dot product of both codes, ``mlp`` a network of both side by side. Log-odds
        need the latter: a dot product has no offset for how rare edges are.
    hidden
        Units of that network.
    """

    symmetric: bool = False
    self_loops: float = 2.0
    loss: Literal["cross_entropy", "squared"] = "squared"
    batch_size: int = 16384
    epochs: int = 100
    steps: int = 1
    rate: float = 1e-3
    decay: float = 1.0
    features: tuple[int, ...] = (128, 64)
    decoder: Literal["dot", "mlp"] = "dot"
    hidden: int = 64

    def __post_init__(self):
        super().__post_init__()
        check(self, least={1: ("hidden",)})
        if not self.features or min(self.features) < 1:
            raise ValueError(
                f"features: expected at least one layer with one, found {self.features}."
            )


PUBLISHED = GNNLinkConfig()
REDUCED = GNNLinkConfig(components=128, features=(64, 32), batch_size=4096)
# Ours, and stronger: the decoder knows which gene regulates.
DIRECTED = GNNLinkConfig(
    components=128,
    symmetric=True,
    self_loops=1.0,
    loss="cross_entropy",
    batch_size=4096,
    rate=3e-3,
    features=(64, 32),
    decoder="mlp",
)


def solve(problems: Sequence[Problem], config: GNNLinkConfig = GNNLinkConfig()) -> Iterator[Scores]:
    """Train GNNLink on the labelled pairs of each problem, and return scores of all its pairs.

    Graph convolutions, each with a LeakyReLU, spread expression of unit length along the training
    edges; what the decoder makes of two genes is fitted to 1 and 0, cut off at zero, or is the
    log-odds of an edge, by ``config.loss``. Scores are not cut off, so that pairs below zero have
    ranks, too.

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
    return links.solve(problems, config, GNNLink(config))


class GNNLink(nn.Module):
    """Graph convolutions and a decoder; see `GNNLinkConfig`."""

    config: GNNLinkConfig

    def setup(self):  # noqa: D102
        self.layers = [GCN(features, use_bias=False) for features in self.config.features]
        if self.config.decoder == "mlp":
            self.of_regulator, self.of_target = (nn.Dense(self.config.hidden) for _ in range(2))
            self.out = nn.Dense(1)

    def encode(
        self, graph: GraphsTuple, x: Float[Array, "nodes features"], deterministic: bool
    ) -> tuple[Float[Array, "nodes units"], Float[Array, "nodes units"]]:
        """Return the codes of all genes, as regulators and as targets."""
        square = jnp.square(x).sum(1, keepdims=True)
        x = x / jnp.sqrt(jnp.maximum(square, 1e-12))
        for layer in self.layers:
            x = nn.leaky_relu(layer(graph, x), 0.2)
        if self.config.decoder == "dot":
            return x, x
        # A product with both codes side by side is the sum of a product with each.
        return self.of_regulator(x), self.of_target(x)

    def decode(self, codes, pairs: Int[Array, "pairs 2"]) -> Float[Array, " pairs"]:
        """Return scores of pairs of genes, regulator first."""
        regulator, target = codes[0][pairs[:, 0]], codes[1][pairs[:, 1]]
        if self.config.decoder == "dot":
            return (regulator * target).sum(1)
        return self.out(nn.leaky_relu(regulator + target))[:, 0]
