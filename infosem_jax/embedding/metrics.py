"""How good an embedding of genes is: the six metrics of MuSe-GNN, higher better in all.

Rows are genes of studies. ASW, iLISI and graph connectivity look at genes that all studies have;
clusters are of all rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from infosem_jax.embedding.graph import StudyGraph, common
from infosem_jax.scores import auroc

NEIGHBOURS = 15
# Of local inverse Simpson indices (Korsunsky et al. 2019): 3 neighbours for one of perplexity.
PERPLEXITY = 30.0
SIX = {
    "asw": "Silhouette of studies",
    "auc": "AUC of edges",
    "ilisi": "iLISI",
    "connectivity": "Graph connectivity",
    "common_ratio": "Common genes together",
    "neighbour_overlap": "Neighbourhoods shared",
}


class Rows(NamedTuple):
    """Genes of all studies, one below the other.

    Attributes
    ----------
    z
        Embeddings, [rows, dim].
    gene
        Number of each gene, [rows].
    study
        Number of each study, [rows].
    place
        Place of each gene in its study, [rows].
    """

    z: Float[np.ndarray, "rows dim"]
    gene: Int[np.ndarray, " rows"]
    study: Int[np.ndarray, " rows"]
    place: Int[np.ndarray, " rows"]


def stack(graphs: Sequence[StudyGraph], vectors: Sequence[Float[np.ndarray, "_ dim"]]) -> Rows:
    """Put the embeddings of all studies below each other.

    Parameters
    ----------
    graphs
        The studies.
    vectors
        An embedding for each, [genes, dim].

    Raises
    ------
    ValueError
        If embeddings do not go with the studies, or are not finite.
    """
    for graph, z in zip(graphs, vectors, strict=True):
        if len(z) != len(graph.genes) or not np.isfinite(z).all():
            raise ValueError(
                f"{graph.name}: expected finite vectors of {len(graph.genes)} genes, found "
                f"{len(z)} vectors, {int((~np.isfinite(z)).any(1).sum())} of them not finite."
            )
    number: dict[str, int] = {}
    gene = [number.setdefault(name, len(number)) for graph in graphs for name in graph.genes]
    sizes = [len(graph.genes) for graph in graphs]
    return Rows(
        np.concatenate(vectors).astype(np.float64),
        np.array(gene),
        np.repeat(np.arange(len(graphs)), sizes),
        np.concatenate([np.arange(n) for n in sizes]),
    )


def evaluate(
    graphs: Sequence[StudyGraph],
    vectors: Sequence[Float[np.ndarray, "_ dim"]],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Measure an embedding; metrics that compare studies are NaN where no gene is common.

    Parameters
    ----------
    graphs
        The studies.
    vectors
        An embedding for each.
    seed
        Of the clusters.
    """
    rows = stack(graphs, vectors)
    cluster = clusters(rows.z, seed)
    shared = set(common(graphs)) if len(graphs) > 1 else set()
    names = [gene for graph in graphs for gene in graph.genes]
    at = np.array([name in shared for name in names])
    found = dict.fromkeys(SIX, np.nan) | {
        "auc": float(np.mean([edge_auc(g, z) for g, z in zip(graphs, vectors, strict=True)])),
        "clusters": float(len(np.unique(cluster))),
        "common_genes": float(len(shared)),
    }
    if len(graphs) > 1:
        found["common_ratio"] = common_ratio(rows.gene, cluster)
        found["neighbour_overlap"] = overlap(graphs, rows, cluster)
    # Fewer rows have no neighbourhoods to speak of.
    if at.sum() > NEIGHBOURS:
        z, study = rows.z[at], rows.study[at]
        found["asw"] = silhouette_of_studies(z, study, cluster[at])
        found["ilisi"] = ilisi(z, study)
        found["connectivity"] = connectivity(z, cluster[at])
    return found


def clusters(z: Float[np.ndarray, "rows dim"], seed: int = 0) -> Int[np.ndarray, " rows"]:
    """Group rows by Louvain's method on the graph of their 15 nearest neighbours.

    Edges weigh by the share of neighbours that their ends have in common (Xu and Su 2015); clusters
    are numbered from the largest.
    """
    import networkx as nx

    near = knn(z)
    shared = (near @ near.T).tocsr()
    weight = near.maximum(near.T).multiply(shared)
    graph = nx.from_scipy_sparse_array(weight.tocoo())
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    found = nx.community.louvain_communities(graph, seed=seed)
    cluster = np.empty(len(z), int)
    for i, members in enumerate(sorted(found, key=lambda own: (-len(own), min(own)))):
        cluster[list(members)] = i
    return cluster


def knn(z: Float[np.ndarray, "rows dim"], k: int = NEIGHBOURS) -> sparse.csr_array:
    """Return the table of the k nearest neighbours of each row, itself among them."""
    near, _ = _nearest(z, min(k, len(z)))
    n, k = near.shape
    return sparse.csr_array((np.ones(n * k), near.ravel(), np.arange(0, n * k + 1, k)), (n, n))


def silhouette_of_studies(
    z: Float[np.ndarray, "rows dim"],
    study: Int[np.ndarray, " rows"],
    cluster: Int[np.ndarray, " rows"],
) -> float:
    """Return the mean over clusters of ``mean(1 - |s|)``, s the silhouette of the study.

    Clusters with one study, or with one row of each, are left out; NaN if no other is there. As
    the batch silhouette of scib (Luecken et al. 2022).
    """
    from sklearn.metrics import silhouette_samples

    found = []
    for c in np.unique(cluster):
        own = cluster == c
        if 1 < len(np.unique(study[own])) < own.sum():
            found.append(1 - np.abs(silhouette_samples(z[own], study[own])).mean())
    return float(np.mean(found)) if found else np.nan


def edge_auc(graph: StudyGraph, z: Float[np.ndarray, "genes dim"]) -> float:
    """Return the area under the ROC curve of cosines as scores of all pairs of different genes."""
    length = np.linalg.norm(z, axis=1, keepdims=True)
    unit = np.divide(z, length, out=np.zeros_like(z), where=length > 0)
    above = np.triu_indices(len(z), 1)
    return auroc((unit @ unit.T)[above], graph.adjacency[above])


def ilisi(
    z: Float[np.ndarray, "rows dim"],
    study: Int[np.ndarray, " rows"],
    perplexity: float = PERPLEXITY,
) -> float:
    """Return ``(median LISI - 1) / (studies - 1)``: 0 where studies lie apart, 1 where they mix.

    The index of a row is ``1 / sum_s (weight of study s)^2``, over three neighbours for each unit
    of perplexity, with weights ``exp(-b distance)`` whose b gives them that perplexity (Korsunsky
    et al. 2019). Neighbours are those of the embedding.
    """
    k = min(int(3 * perplexity), len(z) - 1)
    near, distance = _nearest(z, k + 1)
    weight = _weights(distance[:, 1:], min(perplexity, k / 3))
    names = np.unique(study)
    share = np.stack([(weight * (study[near[:, 1:]] == s)).sum(1) for s in names], 1)
    index = 1 / np.square(share / share.sum(1, keepdims=True)).sum(1)
    return float((np.median(index) - 1) / (len(names) - 1))


def connectivity(z: Float[np.ndarray, "rows dim"], cluster: Int[np.ndarray, " rows"]) -> float:
    """Return the mean share of a cluster's rows in its largest connected part of the kNN graph."""
    near = knn(z)
    graph = near.maximum(near.T).tocsr()
    shares = []
    for c in np.unique(cluster):
        own = np.flatnonzero(cluster == c)
        _, part = sparse.csgraph.connected_components(graph[own][:, own], directed=False)
        shares.append(np.bincount(part).max() / len(own))
    return float(np.mean(shares))


def common_ratio(gene: Int[np.ndarray, " rows"], cluster: Int[np.ndarray, " rows"]) -> float:
    """Return ``sum_c (n_c / n) (1 - unique genes in c / n_c)``: rows of a gene in one cluster."""
    unique = len(np.unique(np.stack([cluster, gene]), axis=1).T)
    return 1 - unique / len(gene)


def overlap(graphs: Sequence[StudyGraph], rows: Rows, cluster: Int[np.ndarray, " rows"]) -> float:
    """Return how much genes of different studies in one cluster share their neighbours.

    The mean Jaccard index of co-expression neighbours, by name, over pairs of rows of one cluster
    and different studies; clusters weigh by their rows, and those of one study count 0.
    """
    number: dict[str, int] = {}
    for graph in graphs:
        for name in graph.genes:
            number.setdefault(name, len(number))
    tables = []
    for graph in graphs:
        own, other = np.nonzero(graph.adjacency)
        names = np.array([number[name] for name in graph.genes])
        shape = (len(graph.genes), len(number))
        tables.append(sparse.csr_array((np.ones(len(own)), (own, names[other])), shape))
    total = 0.0
    for c in np.unique(cluster):
        at = cluster == c
        own = [table[rows.place[at & (rows.study == s)]] for s, table in enumerate(tables)]
        jaccards, pairs = 0.0, 0
        for i, a in enumerate(own):
            for b in own[:i]:
                if a.shape[0] and b.shape[0]:
                    both = (a @ b.T).toarray()
                    either = a.sum(1)[:, None] + b.sum(1)[None] - both
                    jaccards += float((both / either).sum())
                    pairs += both.size
        total += at.sum() * (jaccards / pairs if pairs else 0.0)
    return total / len(cluster)


def _nearest(
    z: Float[np.ndarray, "rows dim"], k: int
) -> tuple[Int[np.ndarray, "rows k"], Float[np.ndarray, "rows k"]]:
    """Return the nearest rows and their distances; each row comes first in its own."""
    from sklearn.neighbors import NearestNeighbors

    distance, near = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(z).kneighbors(z)
    # Of rows at one place any may come first, and a row may be missing among its own.
    own = np.arange(len(z))
    found = near == own[:, None]
    at = np.where(found.any(1), found.argmax(1), k - 1)
    near[own, at], near[:, 0] = near[:, 0], own
    distance[own, at], distance[:, 0] = distance[:, 0], 0.0
    return near, distance


def _weights(
    distance: Float[np.ndarray, "rows k"], perplexity: float
) -> Float[np.ndarray, "rows k"]:
    """Return weights ``exp(-b d)`` of a sum of 1 whose entropy is the log of a perplexity."""
    low, high = np.zeros(len(distance)), np.full(len(distance), np.inf)
    beta = 1 / np.maximum(distance.mean(1), 1e-12)
    shifted = distance - distance.min(1, keepdims=True)
    for _ in range(60):
        weight = np.exp(-beta[:, None] * shifted)
        p = weight / weight.sum(1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), beta * 2, (low + np.minimum(high, 1e300)) / 2)
    return p
