"""MuSe-GNN: a graph transformer whose inner layers studies of one technique and tissue share.

Of a study with features X and graph A, ``h = mish(GraphNorm(conv_study(X, A)))`` and
``z = conv_2(mish(GraphNorm(conv_1(h, A))), A) + conv_3(h, A)``, with `nn.TransformerConv` of 4, 2,
1 and 1 heads; conv_1 to conv_3 are shared. A decoder of each study predicts its graph from
``z z^T``. Studies with graphs of one size are computed side by side, their cells padded with
zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as flax_nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Bool, Float, Int

from infosem_jax import graphs as gene_graphs
from infosem_jax import nn
from infosem_jax._settings import check
from infosem_jax.embedding.graph import StudyGraph

# Above this share of all pairs that are edges, tables are faster than lists (see the benchmark).
DENSE_FROM = 0.025


@dataclass(frozen=True)
class MuSeGNNConfig:
    """Settings of MuSe-GNN, those of the authors' code unless noted.

    Attributes
    ----------
    dim
        Features of an embedding, and of each head.
    heads
        Of the first layer, and of the first that is shared.
    epochs
        Steps; each trains all studies.
    encoder_rate, decoder_rate
        Adam's learning rates.
    similarity, contrast
        Weights of the two terms that join studies, see ``losses``.
    temperature, pairs
        Of the contrastive term, and private genes that a study draws for it.
    attention
        Edges as a ``dense`` table or ``sparse`` list; ``auto`` chooses by their number.
    """

    dim: int = 32
    heads: tuple[int, int] = (4, 2)
    epochs: int = 2000
    encoder_rate: float = 1e-4
    decoder_rate: float = 1e-3
    similarity: float = 1.0
    contrast: float = 0.01
    temperature: float = 0.07
    pairs: int = 100
    attention: Literal["auto", "dense", "sparse"] = "auto"

    def __post_init__(self):
        check(
            self,
            least={1: ("dim", "epochs", "pairs"), 0: ("similarity", "contrast")},
            above={0: ("encoder_rate", "decoder_rate", "temperature")},
        )
        if len(self.heads) != 2 or min(self.heads) < 1:
            raise ValueError(f"heads: expected two numbers of at least 1, found {self.heads}.")


class Group(NamedTuple):
    """Studies with graphs of one size.

    Attributes
    ----------
    features
        Residuals, cells padded with zeros, [studies, genes, cells].
    edges
        The edges: a table, [studies, genes, genes], or graphs with a leading axis.
    adjacency
        Which pairs are co-expressed, [studies, genes, genes].
    label
        Which shared layers each study uses, [studies].
    """

    features: Float[Array | np.ndarray, "studies genes cells"]
    edges: Any
    adjacency: Bool[Array | np.ndarray, "studies genes genes"]
    label: Int[Array | np.ndarray, " studies"]


class Grouped(NamedTuple):
    """Groups, and the place of each of their studies in the order of the user."""

    groups: tuple[Group, ...]
    order: tuple[int, ...]
    n_labels: int


def group_studies(graphs: Sequence[StudyGraph], config: MuSeGNNConfig) -> Grouped:
    """Put studies with as many genes, and about as many cells, together.

    Parameters
    ----------
    graphs
        One for each study.
    config
        Decides how edges are given to the layers.
    """
    labels = {label: i for i, label in enumerate(dict.fromkeys(g.label for g in graphs))}
    sizes: dict[tuple[int, int], list[int]] = {}
    for i, graph in enumerate(graphs):
        n, cells = graph.features.shape
        sizes.setdefault((n, gene_graphs.roomy(cells)), []).append(i)
    groups, order = [], []
    for (_, cells), members in sizes.items():
        own = [graphs[i] for i in members]
        adjacency = np.stack([g.adjacency for g in own])
        dense = config.attention == "dense" or (
            config.attention == "auto" and adjacency.mean() >= DENSE_FROM
        )
        features = [np.pad(g.features, ((0, 0), (0, cells - g.features.shape[1]))) for g in own]
        groups.append(
            Group(
                np.stack(features).astype(np.float32),
                adjacency if dense else gene_graphs.stack([_sparse(g) for g in own]),
                adjacency,
                np.array([labels[g.label] for g in own], np.int32),
            )
        )
        order += members
    return Grouped(tuple(groups), tuple(order), len(labels))


def init(
    key: Array, groups: Sequence[Group], n_labels: int, config: MuSeGNNConfig
) -> dict[str, Any]:
    """Return starting parameters: layers of each study, shared layers, and decoders.

    Parameters
    ----------
    key
        Random key.
    groups
        Studies; only their shapes matter.
    n_labels
        Number of labels.
    config
        Settings.
    """
    params: dict[str, Any] = {}
    first, inner = _modules(config)
    for i, group in enumerate(groups):
        n = group.features.shape[1]
        keys = random.split(random.fold_in(key, i), 2 * len(group.features))
        at_input, at_decoder = jnp.split(keys, 2)
        edges = jax.tree.map(lambda leaf: leaf[0], group.edges)
        start = partial(_start, first, edges, jnp.asarray(group.features[0]))
        params[f"input_{i}"] = jax.vmap(start)(at_input)
        params[f"decoder_{i}"] = jax.vmap(partial(_decoder, n))(at_decoder)
    edges = jax.tree.map(lambda leaf: leaf[0], groups[0].edges)
    wide = jnp.zeros((groups[0].features.shape[1], config.heads[0] * config.dim))
    keys = random.split(random.fold_in(key, len(groups)), n_labels)
    params["shared"] = jax.vmap(partial(_start, inner, edges, wide))(keys)
    return params


def encode(
    params: dict[str, Any], groups: Sequence[Group], config: MuSeGNNConfig
) -> list[Float[Array, "studies genes dim"]]:
    """Embed the genes of every study.

    Parameters
    ----------
    params
        Of `init`.
    groups
        The studies.
    config
        Settings.
    """
    found = []
    for i, group in enumerate(groups):
        shared = jax.tree.map(lambda leaf, label=group.label: leaf[label], params["shared"])
        own = params[f"input_{i}"], shared, group.edges, jnp.asarray(group.features)
        found.append(jax.vmap(partial(_encode, config))(*own))
    return found


def decode(params: dict[str, Any], z: Float[Array, "genes dim"]) -> Float[Array, "genes genes"]:
    """Return the log-odds of edges: the rows of ``z z^T`` through three linear layers with Mish.

    The first layer W is taken as ``z (z^T W)``, which spares its product of genes^3 terms, forwards
    and backwards, and is the same.
    """
    h = nn.mish(z @ (z.T @ params["w0"]) + params["b0"])
    h = nn.mish(h @ params["w1"] + params["b1"])
    return h @ params["w2"] + params["b2"]


class _Inner(flax_nn.Module):
    """The layers that studies of one label share."""

    dim: int
    heads: int

    @flax_nn.compact
    def __call__(self, edges: Any, h: Array) -> Array:
        inner = nn.TransformerConv(self.dim, self.heads)(edges, h)
        inner = nn.mish(nn.GraphNorm()(inner))
        inner = nn.TransformerConv(self.dim)(edges, inner)
        return inner + nn.TransformerConv(self.dim)(edges, h)


class _First(flax_nn.Module):
    """The layer of each study, from cells to channels."""

    dim: int
    heads: int

    @flax_nn.compact
    def __call__(self, edges: Any, x: Array) -> Array:
        return nn.mish(nn.GraphNorm()(nn.TransformerConv(self.dim, self.heads)(edges, x)))


def _modules(config: MuSeGNNConfig) -> tuple[_First, _Inner]:
    return _First(config.dim, config.heads[0]), _Inner(config.dim, config.heads[1])


def _start(module: flax_nn.Module, edges: Any, x: Any, key: Array) -> Any:
    return module.init(key, edges, x)["params"]


def _encode(config: MuSeGNNConfig, own: Any, shared: Any, edges: Any, x: Any) -> Array:
    first, inner = _modules(config)
    h = first.apply({"params": own}, edges, x)
    return inner.apply({"params": shared}, edges, h)  # pyright: ignore[reportReturnType]


def _decoder(n: int, key: Array) -> dict[str, Array]:
    limit = n**-0.5
    shapes = {f"{kind}{i}": (n, n)[: 2 - (kind == "b")] for i in range(3) for kind in "wb"}
    keys = random.split(key, len(shapes))
    return {
        name: random.uniform(each, shape, jnp.float32, -limit, limit)
        for each, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _sparse(graph: StudyGraph) -> Any:
    receivers, senders = np.nonzero(graph.adjacency)
    return gene_graphs.from_pairs(len(graph.genes), senders, receivers)
