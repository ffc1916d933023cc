"""Other ways to embed genes, with the same features and graphs, and embeddings of the same size.

Most embed each study alone, so that nothing joins their spaces; `wsmae` shares layers, and
`pca_aligned` turns studies onto each other afterwards. The sizes and learning rates are those that
the authors of MuSe-GNN gave their comparison, but for faults of that code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Float32
from scipy import stats

from infosem_jax._settings import check
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.losses import reconstruction
from infosem_jax.embedding.model import Vectors
from infosem_jax.engine import training
from infosem_jax.engine.early_stopping import train_one
from infosem_jax.nn import mish

MASKED = 0.25
WIDE, MIDDLE = 128, 64
# Of the skip-gram: pairs per step, pairs drawn at random for each, passes over all edges.
PAIRS, NEGATIVES, PASSES = 1024, 5, 10


@dataclass(frozen=True)
class Settings:
    """How a network is trained: features of an embedding, steps, and Adam's learning rate."""

    dim: int = 32
    epochs: int = 2000
    rate: float = 1e-4

    def __post_init__(self):
        check(self, least={1: ("dim", "epochs")}, above={0: ["rate"]})


@dataclass(frozen=True)
class Components:
    """How many principal components make an embedding."""

    dim: int = 32

    def __post_init__(self):
        check(self, least={1: ["dim"]})


COMPONENTS = Components()
SETTINGS: dict[str, Settings] = {
    "gene2vec": Settings(epochs=PASSES, rate=1e-2),
    "gae": Settings(epochs=2000, rate=1e-4),
    "vgae": Settings(epochs=3000, rate=1e-3),
    "mae": Settings(epochs=1000, rate=5e-4),
    "wsmae": Settings(epochs=2000, rate=5e-4),
}


class Data(NamedTuple):
    """What a network learns from: a study, or a tuple of them.

    Attributes
    ----------
    x
        Features of genes, each with mean 0 and variance 1 over genes, [genes, cells].
    adjacency
        Which pairs are co-expressed, [genes, genes].
    spread
        The same with each gene itself, divided by the root of both degrees, [genes, genes].
    edges
        Pairs of neighbours, [edges, 2], where they are learned from one by one.
    """

    x: Any
    adjacency: Any
    spread: Any
    edges: Any = None


class Pool(NamedTuple):
    """The studies that one network learns from."""

    studies: tuple[Data, ...]


class Objective(NamedTuple):
    """A network by name; equal ones share a compilation."""

    name: str
    dim: int

    def view(self, shared: Pool, own: Any) -> Pool:
        """Return the studies."""
        return shared

    def init(self, key: Array, data: Pool) -> training.Params:
        """Return starting parameters."""
        return _NETWORKS[self.name].start(self.dim, key, data)

    def loss(self, params, key: Array, data: Pool, cells: None, epoch: Array) -> Array:
        """Return the cost, see `engine.types.Objective.loss`."""
        return _NETWORKS[self.name].cost(params, key, data)

    def group(self, name: str) -> str:
        """All parameters train together."""
        return "network"


def pca(graphs: Sequence[StudyGraph], settings: Components = COMPONENTS) -> Vectors:
    """Take the leading principal components of the genes of each study."""
    return tuple(_components(_scaled(graph.features), settings.dim) for graph in graphs)


def pca_aligned(graphs: Sequence[StudyGraph], settings: Components = COMPONENTS) -> Vectors:
    """Take principal components, and turn each study onto those before it.

    Of the rotations and reflections R, that with the least ``|Z R - M|^2`` over genes of one name,
    where Z are the components of a study, of mean square 1, and M sums of those before it
    (orthogonal Procrustes). The least that can be done to join spaces.
    """
    from scipy.linalg import orthogonal_procrustes

    sums: dict[str, Float32[np.ndarray, " dim"]] = {}
    found = []
    for graph, z in zip(graphs, pca(graphs, settings), strict=True):
        z = z / np.sqrt(max(float(np.square(z).mean()), 1e-30))
        known = [(i, sums[gene]) for i, gene in enumerate(graph.genes) if gene in sums]
        if known:
            rows, targets = zip(*known, strict=True)
            z = z @ orthogonal_procrustes(z[list(rows)], np.stack(targets))[0].astype(np.float32)
        for gene, row in zip(graph.genes, z, strict=True):
            sums[gene] = sums[gene] + row if gene in sums else row
        found.append(z.astype(np.float32))
    return tuple(found)


def degree(graphs: Sequence[StudyGraph]) -> Vectors:
    """Place genes on a quarter of a circle by the rank of their number of neighbours.

    A control that uses nothing else of a gene: whatever it scores is no evidence of function.
    """
    found = []
    for graph in graphs:
        rank = stats.rankdata(graph.adjacency.sum(1)) / len(graph.genes)
        angle = rank * np.pi / 2
        found.append(np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32))
    return tuple(found)


def embed(
    name: str, graphs: Sequence[StudyGraph], seed: int, settings: Settings | None = None
) -> Vectors:
    """Embed by a network that is trained on each study, or of ``wsmae`` on all.

    ``gene2vec``
        Skip-gram with negative samples, edges as pairs of words (Du et al. 2019). For pairs (i, j)
        of neighbours and five genes k drawn for each, the cost is
        ``- log s(u_i.v_j) - sum_k log s(-u_i.v_k)`` with the logistic function s; u is the
        embedding.
    ``gae``
        Graph autoencoder: three graph convolutions, products as log-odds of edges (Kipf and
        Welling 2016).
    ``vgae``
        The same, variational; the embedding is the mean. The divergence from a standard normal is
        its mean over genes, divided by their number, as there.
    ``mae``
        Autoencoder that restores features of which a quarter is masked.
    ``wsmae``
        Such autoencoders with shared inner layers, which predict edges too.

    Parameters
    ----------
    name
        Of the network.
    graphs
        The studies.
    seed
        Seeds starting parameters and draws.
    settings
        Features of an embedding, epochs and learning rate; the usual ones where None.
    """
    settings = settings or SETTINGS[name]
    studies = [_data(graph, with_edges=name == "gene2vec") for graph in graphs]
    if name == "wsmae":
        params = _train(name, Pool(tuple(studies)), (seed,), settings)
        return tuple(
            np.asarray(_compress({**params, **params[f"own_{i}"]}, data))
            for i, data in enumerate(studies)
        )
    each = [_train(name, Pool((data,)), (seed, i), settings) for i, data in enumerate(studies)]
    encode = _NETWORKS[name].encode
    return tuple(np.asarray(encode(*pair)) for pair in zip(each, studies, strict=True))


def _train(name: str, pool: Pool, seed: tuple[int, ...], settings: Settings) -> training.Params:
    steps = settings.epochs
    if name == "gene2vec":
        steps = max(1, steps * len(pool.studies[0].edges) // PAIRS)
    key = random.key(seed[0])
    for number in seed[1:]:
        key = random.fold_in(key, number)
    rates = {"network": settings.rate}
    return train_one(Objective(name, settings.dim), pool, rates, key, epochs=steps)


def _gae_cost(params: Any, key: Array, pool: Pool) -> Array:
    (data,) = pool.studies
    z = _convolve(params, data)
    return reconstruction(z @ z.T, data.adjacency)


def _vgae_cost(params: Any, key: Array, pool: Pool) -> Array:
    (data,) = pool.studies
    mean = _convolve(params, data)
    h = _hidden(params, data)
    log_sd = jnp.clip(data.spread @ (h @ params["spread"]), -10, 10)
    z = mean + jnp.exp(log_sd) * random.normal(key, mean.shape)
    divergence = 0.5 * (jnp.square(mean) + jnp.exp(2 * log_sd) - 1 - 2 * log_sd).sum(1).mean()
    return reconstruction(z @ z.T, data.adjacency) + divergence / len(mean)


def _mae_cost(params: Any, key: Array, pool: Pool) -> Array:
    (data,) = pool.studies
    kept = random.bernoulli(key, 1 - MASKED, data.x.shape)
    return _restore(params, data, kept, _compress(params, data._replace(x=data.x * kept)))


def _wsmae_cost(params: Any, key: Array, pool: Pool) -> Array:
    cost = jnp.float32(0.0)
    for i, data in enumerate(pool.studies):
        own = {**params, **params[f"own_{i}"]}
        kept = random.bernoulli(random.fold_in(key, i), 1 - MASKED, data.x.shape)
        z = _compress(own, data._replace(x=data.x * kept))
        cost += _restore(own, data, kept, z) + reconstruction(z @ z.T, data.adjacency)
    return cost


def _skip_gram_cost(params: Any, key: Array, pool: Pool) -> Array:
    (data,) = pool.studies
    at_pair, at_negative = random.split(key)
    pairs = data.edges[random.randint(at_pair, (PAIRS,), 0, len(data.edges))]
    others = random.randint(at_negative, (PAIRS, NEGATIVES), 0, len(data.x))
    gene, context = params["genes"][pairs[:, 0]], params["contexts"]
    positive = (gene * context[pairs[:, 1]]).sum(1)
    negative = jnp.einsum("pf,pnf->pn", gene, context[others])
    return -(jax.nn.log_sigmoid(positive) + jax.nn.log_sigmoid(-negative).sum(1)).mean()


def _convolve(params: Any, data: Data) -> Array:
    return data.spread @ (_hidden(params, data) @ params["mean"])


def _hidden(params: Any, data: Data) -> Array:
    h = jax.nn.relu(data.spread @ (data.x @ params["first"]))
    return jax.nn.relu(data.spread @ (h @ params["second"]))


def _compress(params: Any, data: Data) -> Array:
    h = mish(data.x @ params["first"])
    return mish(h @ params["second"]) @ params["third"]


def _restore(params: Any, data: Data, kept: Array, z: Array) -> Array:
    """Return the mean squared error of what was masked."""
    restored = mish(mish(z @ params["fourth"]) @ params["fifth"]) @ params["last"]
    return (jnp.square(restored - data.x) * ~kept).sum() / jnp.maximum((~kept).sum(), 1)


def _start_skip_gram(dim: int, key: Array, pool: Pool) -> training.Params:
    n = len(pool.studies[0].x)
    genes = random.uniform(key, (n, dim), jnp.float32, -0.5 / dim, 0.5 / dim)
    return {"genes": genes, "contexts": jnp.zeros((n, dim))}


def _start_graph(dim: int, key: Array, pool: Pool) -> training.Params:
    cells = pool.studies[0].x.shape[1]
    return _layers(key, {"first": (cells, WIDE), "second": (WIDE, MIDDLE), "mean": (MIDDLE, dim)})


def _start_variational(dim: int, key: Array, pool: Pool) -> training.Params:
    more = _layers(random.fold_in(key, 1), {"spread": (MIDDLE, dim)})
    return _start_graph(dim, key, pool) | more


def _start_masked(dim: int, key: Array, pool: Pool) -> training.Params:
    return _outer(key, pool.studies[0].x.shape[1]) | _inner(dim, random.fold_in(key, 1))


def _start_shared(dim: int, key: Array, pool: Pool) -> training.Params:
    outer = {
        f"own_{i}": _outer(random.fold_in(key, i), data.x.shape[1])
        for i, data in enumerate(pool.studies)
    }
    return outer | _inner(dim, random.fold_in(key, len(pool.studies)))


def _outer(key: Array, cells: int) -> training.Params:
    return _layers(key, {"first": (cells, WIDE), "last": (WIDE, cells)})


def _inner(dim: int, key: Array) -> training.Params:
    return _layers(
        key,
        {
            "second": (WIDE, MIDDLE),
            "third": (MIDDLE, dim),
            "fourth": (dim, MIDDLE),
            "fifth": (MIDDLE, WIDE),
        },
    )


def _layers(key: Array, shapes: dict[str, tuple[int, int]]) -> training.Params:
    start = jax.nn.initializers.glorot_uniform()
    keys = random.split(key, len(shapes))
    return {
        name: start(each, shape) for each, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _data(graph: StudyGraph, *, with_edges: bool) -> Data:
    # Every gene is its own neighbour already.
    root = graph.adjacency.sum(1) ** -0.5
    spread = (graph.adjacency * root[:, None] * root).astype(np.float32)
    edges = None
    if with_edges:
        edges = np.argwhere(graph.adjacency & ~np.eye(len(root), dtype=bool)).astype(np.int32)
        if not len(edges):
            raise ValueError(f"{graph.name}: expected edges to learn from, found none.")
    return Data(_scaled(graph.features), graph.adjacency, spread, edges)


def _scaled(x: Float32[np.ndarray, "genes cells"]) -> Float32[np.ndarray, "genes cells"]:
    centred = x - x.mean(0)
    deviation = centred.std(0)
    return centred / np.where(deviation > 1e-6, deviation, np.float32(1))


def _components(x: Float32[np.ndarray, "genes cells"], dim: int) -> Float[np.ndarray, "genes dim"]:
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    found = (u * s)[:, :dim]
    # Fewer cells than features leave some of these at 0.
    return np.pad(found, ((0, 0), (0, dim - found.shape[1]))).astype(np.float32)


class _Network(NamedTuple):
    """How a network starts, what it costs, and what it makes of a study."""

    start: Callable[[int, Array, Pool], training.Params]
    cost: Callable[[Any, Array, Pool], Array]
    encode: Callable[[Any, Data], Array]


def _gene_vectors(params: Any, data: Data) -> Array:
    return jnp.asarray(params["genes"])


_NETWORKS = {
    "gene2vec": _Network(_start_skip_gram, _skip_gram_cost, _gene_vectors),
    "gae": _Network(_start_graph, _gae_cost, _convolve),
    "vgae": _Network(_start_variational, _vgae_cost, _convolve),
    "mae": _Network(_start_masked, _mae_cost, _compress),
    "wsmae": _Network(_start_shared, _wsmae_cost, _compress),
}
