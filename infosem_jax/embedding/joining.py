"""MuSe-GNN beside aligned components: what training tells of genes, and what needs none."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32

from infosem_jax.embedding import model
from infosem_jax.embedding.baselines import Components, pca_aligned
from infosem_jax.embedding.coexpression import correlate, nearest
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.model import Vectors
from infosem_jax.embedding.network import MuSeGNNConfig
from infosem_jax.embedding.vectors import unit_vectors

# Shares of the learned vectors that are tried.
SHARES = tuple(i / 10 for i in range(11))
# A trial is trained for this part of the epochs.
TRIAL = 4
# Pairs of studies with fewer common genes say too little.
LEAST_COMMON = 10

_log = logging.getLogger("infosem_jax")


def embed(
    graphs: Sequence[StudyGraph], seed: int, config: MuSeGNNConfig = model.DEFAULT
) -> Vectors:
    """Embed the genes of every study by MuSe-GNN and by aligned components together.

    Parameters
    ----------
    graphs
        One for each study.
    seed
        Seeds the random numbers of MuSe-GNN, and decides which cells are held out, see `share`.
    config
        Its settings; there are as many components as features.
    """
    learned = model.embed(graphs, seed, config)
    return beside_components(graphs, learned, share(graphs, seed, config))


def beside_components(
    graphs: Sequence[StudyGraph],
    learned: Sequence[Float32[np.ndarray, "_ own"]],
    weight: float,
) -> Vectors:
    """Put aligned components beside learned vectors, so that their cosines are averaged.

    With vectors of length 1, ``sqrt(w) u`` beside ``sqrt(1 - w) v``: the cosine of two genes is w
    times that of the learned vectors and 1 - w times that of the components.

    Parameters
    ----------
    graphs
        One for each study.
    learned
        Vectors of the genes of each, [genes, own].
    weight
        The share w of the learned vectors.
    """
    aligned = pca_aligned(graphs, Components(learned[0].shape[1]))
    a, b = np.sqrt(weight), np.sqrt(1 - weight)
    return tuple(
        np.concatenate([a * unit_vectors(own), b * unit_vectors(other)], 1).astype(np.float32)
        for own, other in zip(learned, aligned, strict=True)
    )


def share(graphs: Sequence[StudyGraph], seed: int, config: MuSeGNNConfig = model.DEFAULT) -> float:
    """Find the share of the learned vectors that tells most of cells that were held out.

    Half of the cells of each study make vectors of both kinds, those of MuSe-GNN after a quarter of
    the epochs. Of the shares 0, 0.1, ..., 1, that is chosen whose cosines, over the pairs of genes
    of a study, correlate most (Pearson) with the correlations of these genes over the other cells,
    of that study and of each other one with ten of the genes, all averaged. Nothing but expression
    is used.

    Parameters
    ----------
    graphs
        One for each study.
    seed
        Decides which cells are held out, and seeds MuSe-GNN.
    config
        Settings of MuSe-GNN.
    """
    rng = np.random.default_rng(seed)
    halves = [_halved(graph, rng.permutation(graph.features.shape[1])) for graph in graphs]
    seen = [graph for graph, _ in halves]
    short = replace(config, epochs=max(1, config.epochs // TRIAL))
    parts = model.embed(seen, seed, short), pca_aligned(seen, Components(config.dim))
    learned, aligned = ([_cosines(z) for z in own] for own in parts)
    scores = []
    for i, graph in enumerate(graphs):
        at = {gene: k for k, gene in enumerate(graph.genes)}
        for other, (_, truth) in zip(graphs, halves, strict=True):
            both = [(at[gene], k) for k, gene in enumerate(other.genes) if gene in at]
            if other is not graph and len(both) < LEAST_COMMON:
                continue
            here, there = map(list, zip(*both, strict=True))
            pairs = np.triu_indices(len(both), 1)
            wanted = truth[np.ix_(there, there)][pairs]
            u, v = (own[i][np.ix_(here, here)][pairs] for own in (learned, aligned))
            scores.append([_correlation(w * u + (1 - w) * v, wanted) for w in SHARES])
    found = SHARES[int(np.mean(scores, 0).argmax())]
    _log.info("the share of MuSe-GNN beside aligned components is %.1f", found)
    return found


def _halved(
    graph: StudyGraph, order: np.ndarray
) -> tuple[StudyGraph, Float[np.ndarray, "genes genes"]]:
    """Return the graph of half of the cells, and correlations of genes over the others.

    Its edges are the nearest neighbours of genes, or else the most correlated pairs, as many as all
    cells have. Cells that were held out are zeros, which say nothing, so that both graphs share a
    compilation.
    """
    first, rest = np.array_split(order, 2)
    x = np.zeros_like(graph.features)
    x[:, : len(first)] = graph.features[:, first]
    correlation = correlate(x[:, : len(first)]).correlation
    if graph.edges == "knn":
        adjacency = nearest(correlation, int(graph.adjacency.sum(1).min()) - 1)
    else:
        above = np.triu_indices(len(x), 1)
        count = int(graph.adjacency[above].sum())
        chosen = np.argsort(-np.abs(correlation[above]), kind="stable")[:count]
        adjacency = np.zeros(correlation.shape, bool)
        adjacency[above[0][chosen], above[1][chosen]] = True
        adjacency |= adjacency.T
    np.fill_diagonal(adjacency, True)
    held_out = correlate(np.ascontiguousarray(graph.features[:, rest])).correlation
    return graph._replace(features=x, adjacency=adjacency), held_out


def _cosines(z: Float[np.ndarray, "genes dim"]) -> Float[np.ndarray, "genes genes"]:
    unit = unit_vectors(z)
    return unit @ unit.T


def _correlation(a: Float[np.ndarray, " pairs"], b: Float[np.ndarray, " pairs"]) -> float:
    """Return Pearson's correlation; 0 where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else 0.0
