"""MuSe-GNN beside aligned components: what training tells of genes, and what needs none."""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from scipy import stats

from infosem_jax.embedding import model
from infosem_jax.embedding.baselines import Components, pca_aligned
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.model import Vectors
from infosem_jax.embedding.network import MuSeGNNConfig
from infosem_jax.embedding.vectors import unit_vectors

# Share of the learned vectors where every gene has neighbours that are no chance.
EQUAL = 0.5
# Of the test of a gene's number of neighbours.
LEVEL = 0.05

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
        Seeds the random numbers of MuSe-GNN.
    config
        Its settings; there are as many components as features.
    """
    return beside_components(graphs, model.embed(graphs, seed, config))


def beside_components(
    graphs: Sequence[StudyGraph], learned: Sequence[Float32[np.ndarray, "_ own"]]
) -> Vectors:
    """Put aligned components beside learned vectors, so that their cosines are averaged.

    With vectors of length 1, ``sqrt(w) u`` beside ``sqrt(1 - w) v``: the cosine of two genes is w
    times that of the learned vectors and 1 - w times that of the components, w of `share`.

    Parameters
    ----------
    graphs
        One for each study.
    learned
        Vectors of the genes of each, [genes, own].
    """
    aligned = pca_aligned(graphs, Components(learned[0].shape[1]))
    weight = share(graphs)
    _log.info("the share of MuSe-GNN beside aligned components is %.2f", weight)
    a, b = np.sqrt(weight), np.sqrt(1 - weight)
    return tuple(
        np.concatenate([a * unit_vectors(own), b * unit_vectors(other)], 1).astype(np.float32)
        for own, other in zip(learned, aligned, strict=True)
    )


def share(graphs: Sequence[StudyGraph]) -> float:
    """Return the share of MuSe-GNN: half of the share of genes with more edges than chance gives.

    MuSe-GNN places a gene by its neighbours; where edges are few and by chance, it has nothing to
    learn from. The number of neighbours of each gene in each study is tested (one-sided, at 5 %)
    against the binomial distribution of its pairs, each an edge with the probability
    ``StudyGraph.chance``; where edges are no test, one neighbour suffices.

    Parameters
    ----------
    graphs
        One for each study.
    """
    joined = []
    for graph in graphs:
        neighbours = graph.adjacency.sum(1) - 1
        p = stats.binom.sf(neighbours - 1, len(neighbours) - 1, graph.chance)
        joined.append(p < LEVEL)
    return EQUAL * float(np.concatenate(joined).mean())
