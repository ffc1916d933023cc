"""Similarity of perturbations by graphs and texts of the genes that they perturb."""

# pyright: reportAttributeAccessIssue=false
# Products of sparse arrays are sparse, which their stubs do not say.

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from infosem_jax.perturbation.knowledge import Knowledge, indicator, text_of

NEIGHBOURS = 50
# Text similarities are raised to it, so that the nearest count.
SHARPNESS = 4
# What a text neighbour weighs beside an edge of a graph.
TEXT_SHARE = 2.0

Perturbed = Sequence[Sequence[str]]


def graph_similarity(
    knowledge: Knowledge, perturbed: Perturbed, others: Perturbed
) -> Iterator[Float32[np.ndarray, "perturbations others"]]:
    """Yield two similarities for each source of edges: the edge, and the neighbours in common.

    The first is the weight of the edge between the perturbed genes, either way; the second the
    cosine of their rows of weights.

    Parameters
    ----------
    knowledge
        Graphs.
    perturbed, others
        Genes of each perturbation.
    """
    here, there = indicator(knowledge, perturbed), indicator(knowledge, others)
    for graph in knowledge.graphs.values():
        both = graph.maximum(graph.T)
        rows, columns = here @ both, there @ both
        norms = [np.sqrt(np.asarray(m.multiply(m).sum(1)).ravel()) for m in (rows, columns)]
        yield (rows @ there.T).toarray()
        yield (rows @ columns.T).toarray() / np.maximum(np.outer(*norms), 1e-9)


def text_similarity(
    knowledge: Knowledge, perturbed: Perturbed, others: Perturbed
) -> Float32[np.ndarray, "perturbations others"]:
    """Return the cosines of texts to the power of 4, of the 50 nearest of the others, doubled.

    Parameters
    ----------
    knowledge
        Texts.
    perturbed, others
        Genes of each perturbation.
    """
    cosine = np.maximum(text_of(knowledge, perturbed) @ text_of(knowledge, others).T, 0)
    k = min(NEIGHBOURS, cosine.shape[1])
    least = np.partition(cosine, -k, axis=1)[:, -k][:, None]
    return TEXT_SHARE * np.where(cosine >= least, cosine, 0) ** SHARPNESS


def perturbation_similarity(
    knowledge: Knowledge,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    others: Sequence[tuple[str, ...]],
    other_line: Sequence[str],
) -> Float32[np.ndarray, "perturbations others"]:
    """Sum the similarities by graphs, by texts, and by genes in common.

    The last is the cosine of the sets of perturbed genes. A perturbation and itself in the same
    cell line have 0.

    Parameters
    ----------
    knowledge
        Graphs and texts.
    perturbed, line
        Genes and cell line of each perturbation.
    others, other_line
        Those that they are compared with.
    """
    total = text_similarity(knowledge, perturbed, others)
    for part in graph_similarity(knowledge, perturbed, others):
        total += part
    here, there = indicator(knowledge, perturbed), indicator(knowledge, others)
    sizes = [np.maximum(np.asarray(m.sum(1)).ravel(), 1) for m in (here, there)]
    total += (here @ there.T).toarray() / np.sqrt(np.outer(*sizes))
    same = np.array([[a == b for b in others] for a in perturbed], bool)
    same &= np.array([[a == b for b in other_line] for a in line], bool)
    return np.where(same, 0, total).astype(np.float32)
