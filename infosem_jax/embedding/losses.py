"""What MuSe-GNN minimises: reconstruction of graphs, and losses that join studies by genes.

For each study i and another one j, drawn at every step, the loss is
``reconstruction + a similarity + b contrast`` (a = 1, b = 0.01), summed over studies. Without
another study, or without common genes, only the reconstruction is left; without private genes the
contrast is 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Bool, Float, Int

from infosem_jax.embedding.graph import StudyGraph


class Pairs(NamedTuple):
    """What pairs of studies share, padded; studies are in the order of their groups.

    Attributes
    ----------
    here, there
        Place of each common gene in the first and the second study, [studies, studies, common].
    weight
        Jaccard index of its neighbourhoods in both, 0 where padding, [studies, studies, common].
    count
        Number of common genes, [studies, studies].
    private
        Genes of the first study that the second lacks and that have neighbours,
        [studies, studies, genes].
    neighbours, first, degree
        Neighbours of all genes one after the other, [studies, edges], where those of each gene
        begin, and how many they are, [studies, genes]; no gene is its own neighbour.
    """

    here: Int[Array | np.ndarray, "studies studies common"]
    there: Int[Array | np.ndarray, "studies studies common"]
    weight: Float[Array | np.ndarray, "studies studies common"]
    count: Int[Array | np.ndarray, "studies studies"]
    private: Bool[Array | np.ndarray, "studies studies genes"]
    neighbours: Int[Array | np.ndarray, "studies edges"]
    first: Int[Array | np.ndarray, "studies genes"]
    degree: Int[Array | np.ndarray, "studies genes"]


def reconstruction(
    logit: Float[Array, "genes genes"], adjacency: Bool[Array, "genes genes"]
) -> Float[Array, ""]:
    """Return the mean of ``log(1 + e^l) - A l`` over all entries, self-pairs among them."""
    softplus = jnp.maximum(logit, 0) + jnp.log1p(jnp.exp(-jnp.abs(logit)))
    return softplus.mean() - jnp.where(adjacency, logit, 0.0).mean()


def similarity(
    a: Float[Array, "genes dim"],
    b: Float[Array, "others dim"],
    here: Int[Array, " common"],
    there: Int[Array, " common"],
    weight: Float[Array, " common"],
    count: Int[Array, ""],
) -> Float[Array, ""]:
    """Return ``- mean_g w_g cos(a_g, b_g)`` over common genes; 0 if there are none.

    The weight of a gene is the Jaccard index of its neighbours, itself among them, in both
    studies, ``|N_a & N_b| / |N_a | N_b|``.

    Parameters
    ----------
    a, b
        Embeddings of the genes of two studies.
    here, there
        Place of each common gene in the first and the second study, padded.
    weight, count
        Weights of the common genes, 0 where padding, and their number.
    """
    cosine = (_unit(a)[here] * _unit(b)[there]).sum(1)
    return -(weight * cosine).sum() / jnp.maximum(count, 1)


def contrast(
    anchors: Float[Array, "n dim"],
    positives: Float[Array, "n dim"],
    identity: Int[Array, " 2*n"],
    temperature: float,
) -> Float[Array, ""]:
    """Return the mean of ``-log(e^(s(u, u+) / t) / sum_v e^(s(u, v) / t))`` (NT-Xent).

    u runs over anchors and positives, u+ is its partner, s is the cosine, and v runs over all
    others but those that are the same gene of the same study as u, which can be drawn twice and
    must not repel itself.

    Parameters
    ----------
    anchors, positives
        Embeddings; the same rows are partners.
    identity
        A number for each gene and study, of anchors and positives.
    temperature
        The t.
    """
    n = len(anchors)
    u = _unit(jnp.concatenate([anchors, positives]))
    logit = u @ u.T / temperature
    partner = jnp.roll(jnp.arange(2 * n), n)
    # Every entry is the same gene as itself, and is left out with the others.
    same = identity[:, None] == identity
    others = jnp.where(same & (partner[:, None] != jnp.arange(2 * n)), -jnp.inf, logit)
    top = others.max(1)
    log_total = top + jnp.log(jnp.exp(others - top[:, None]).sum(1))
    return (log_total - logit[jnp.arange(2 * n), partner]).mean()


def join(
    key: Array,
    z: Float[Array, "studies genes dim"],
    pairs: Pairs,
    i: Int[Array, ""],
    *,
    samples: int,
    temperature: float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the similarity and the contrast of a study with another that the key draws.

    Parameters
    ----------
    key
        Draws the other study, its and the study's private genes, and a neighbour of each.
    z
        Embeddings, padded to the same number of genes.
    pairs
        What studies share.
    i
        The study.
    samples, temperature
        Of the contrast.
    """
    at_other, at_mine, at_theirs = random.split(key, 3)
    other = random.randint(at_other, (), 0, len(z) - 1)
    j = other + (other >= i)
    shared = (part[i, j] for part in pairs[:4])
    alike = similarity(z[i], z[j], *shared)
    mine, neighbour_mine = _draw(at_mine, pairs, i, j, samples)
    theirs, neighbour_theirs = _draw(at_theirs, pairs, j, i, samples)
    anchors = jnp.concatenate([z[i][mine], z[j][theirs]])
    positives = jnp.concatenate([z[i][neighbour_mine], z[j][neighbour_theirs]])
    offset = z.shape[1]
    identity = jnp.concatenate([mine, theirs + offset, neighbour_mine, neighbour_theirs + offset])
    apart = contrast(anchors, positives, identity, temperature)
    # A study without private genes has none to draw; the term needs those of both.
    drawn = pairs.private[i, j].any() & pairs.private[j, i].any() & (pairs.count[i, j] > 0)
    return alike, jnp.where(drawn, apart, 0.0)


def pair_studies(graphs: Sequence[StudyGraph]) -> Pairs:
    """Find what every pair of studies shares.

    Parameters
    ----------
    graphs
        The studies, in the order of their groups.
    """
    n, most = len(graphs), max(len(graph.genes) for graph in graphs)
    place = [{gene: i for i, gene in enumerate(graph.genes)} for graph in graphs]
    common = {
        (i, j): [gene for gene in graphs[i].genes if gene in place[j]]
        for i in range(n)
        for j in range(n)
        if i != j
    }
    width = max(1, *map(len, common.values())) if common else 1
    here, there = (np.zeros((n, n, width), np.int32) for _ in range(2))
    weight = np.zeros((n, n, width), np.float32)
    count = np.zeros((n, n), np.int32)
    private = np.zeros((n, n, most), bool)
    for (i, j), genes in common.items():
        k = len(genes)
        a = np.array([place[i][gene] for gene in genes], int)
        b = np.array([place[j][gene] for gene in genes], int)
        here[i, j, :k], there[i, j, :k], count[i, j] = a, b, k
        weight[i, j, :k] = neighbour_overlap(graphs[i], graphs[j], a, b)
        lonely = graphs[i].adjacency.sum(1) <= 1
        private[i, j, : len(lonely)] = ~np.isin(np.arange(len(lonely)), a) & ~lonely
    return Pairs(here, there, weight, count, private, *_neighbours(graphs, most))


def neighbour_overlap(
    a: StudyGraph,
    b: StudyGraph,
    here: Int[np.ndarray, " common"],
    there: Int[np.ndarray, " common"],
) -> Float[np.ndarray, " common"]:
    """Return the Jaccard index of the neighbours, by name, of common genes in two studies.

    Parameters
    ----------
    a, b
        The studies.
    here, there
        Place of the common genes in each.
    """
    if not len(here):
        return np.zeros(0)
    # Neighbours that only one study has are in the union alone.
    both = a.adjacency[np.ix_(here, here)] & b.adjacency[np.ix_(there, there)]
    shared = both.sum(1)
    total = a.adjacency[here].sum(1) + b.adjacency[there].sum(1) - shared
    return shared / np.maximum(total, 1)


def _draw(
    key: Array, pairs: Pairs, i: Array, j: Array, samples: int
) -> tuple[Int[Array, " samples"], Int[Array, " samples"]]:
    """Draw private genes of study i, with replacement, and a neighbour of each."""
    at_gene, at_neighbour = random.split(key)
    until = jnp.cumsum(pairs.private[i, j])
    wanted = random.uniform(at_gene, (samples,)) * until[-1]
    gene = jnp.searchsorted(until, jnp.floor(wanted).astype(until.dtype), side="right")
    gene = jnp.minimum(gene, len(until) - 1)
    degree = jnp.maximum(pairs.degree[i, gene], 1)
    step = jnp.floor(random.uniform(at_neighbour, (samples,)) * degree).astype(jnp.int32)
    at = pairs.first[i, gene] + jnp.minimum(step, degree - 1)
    return gene, pairs.neighbours[i, jnp.minimum(at, pairs.neighbours.shape[1] - 1)]


def _neighbours(graphs: Sequence[StudyGraph], most: int) -> tuple[np.ndarray, ...]:
    tables = [graph.adjacency & ~np.eye(len(graph.genes), dtype=bool) for graph in graphs]
    width = max(1, max(int(table.sum()) for table in tables))
    flat = np.zeros((len(graphs), width), np.int32)
    first, degree = (np.zeros((len(graphs), most), np.int32) for _ in range(2))
    for i, table in enumerate(tables):
        found = np.nonzero(table)[1]
        flat[i, : len(found)] = found
        degree[i, : len(table)] = table.sum(1)
        first[i, 1 : len(table)] = np.cumsum(table.sum(1))[:-1]
    return flat, first, degree


def _unit(x: Array) -> Array:
    return x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-16)
