"""How good an embedding of genes is: the six metrics of MuSe-GNN, higher better in all.

Rows are genes of studies. ASW, iLISI and graph connectivity are of genes that all studies have,
clusters of all rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from sklearn.metrics import silhouette_samples

from infosem_jax.embedding.clustering import NEIGHBOURS, knn, nearest
from infosem_jax.embedding.gene_sets import GeneSets, function_recovery
from infosem_jax.embedding.graph import StudyGraph, common
from infosem_jax.embedding.result import Embedded
from infosem_jax.embedding.vectors import gene_vectors, unit_vectors
from infosem_jax.scores import auroc

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


def evaluate(
    predicted: Embedded,
    truth: Sequence[StudyGraph],
    sets: Mapping[str, GeneSets] | None = None,
) -> dict[str, float]:
    """Measure an embedding.

    Parameters
    ----------
    predicted
        The embedding, of `predict` or `embedded`.
    truth
        The graphs of its studies, of `study_graphs`.
    sets
        Collections of gene sets by name, which took no part in training.

    Returns
    -------
    The six metrics (see ``SIX``; those that compare studies are NaN where no gene is common),
    ``clusters`` and ``common_genes``, and for each collection those of `function_recovery`, their
    names followed by that of the collection.

    Raises
    ------
    ValueError
        If the embedding is not one of these graphs.
    """
    z, cluster, genes, _ = predicted
    if genes.gene != tuple(gene for graph in truth for gene in graph.genes):
        raise ValueError(
            f"Expected the graphs that were embedded, of {', '.join(genes.studies)}; found others "
            f"({', '.join(graph.name for graph in truth)})."
        )
    parts = [genes.study == i for i in range(len(truth))]
    shared = set(common(truth)) if len(truth) > 1 else set()
    at = np.array([name in shared for name in genes.gene])
    edges = [edge_auc(graph, z[part]) for graph, part in zip(truth, parts, strict=True)]
    found = dict.fromkeys(SIX, np.nan) | {
        "auc": float(np.mean(edges)),
        "clusters": float(len(np.unique(cluster))),
        "common_genes": float(len(shared)),
    }
    if len(truth) > 1:
        found["common_ratio"] = common_ratio(genes.gene, cluster)
        found["neighbour_overlap"] = overlap(truth, [cluster[part] for part in parts])
    # Fewer rows have no neighbourhoods to speak of.
    if at.sum() > NEIGHBOURS:
        rows, study = z[at].astype(np.float64), genes.study[at]
        found["asw"] = silhouette_of_studies(rows, study, cluster[at])
        found["ilisi"] = ilisi(rows, study)
        found["connectivity"] = connectivity(rows, cluster[at])
    names, means = gene_vectors([graph.genes for graph in truth], [z[part] for part in parts])
    for collection, own in (sets or {}).items():
        scores = function_recovery(names, means, own)
        found |= {f"{measure}_{collection}": value for measure, value in scores.items()}
    return found


def silhouette_of_studies(
    z: Float[np.ndarray, "rows dim"],
    study: Int[np.ndarray, " rows"],
    cluster: Int[np.ndarray, " rows"],
) -> float:
    """Return the mean over clusters of ``mean(1 - |s|)``, s the silhouette of the study.

    Clusters with one study, or with one row of each, are left out; NaN if no other is there. As
    the batch silhouette of scib (Luecken et al. 2022).

    Parameters
    ----------
    z
        Vectors.
    study, cluster
        Of each row.
    """
    found = []
    for c in np.unique(cluster):
        own = cluster == c
        if 1 < len(np.unique(study[own])) < own.sum():
            found.append(1 - np.abs(silhouette_samples(z[own], study[own])).mean())
    return float(np.mean(found)) if found else np.nan


def edge_auc(graph: StudyGraph, z: Float[np.ndarray, "genes dim"]) -> float:
    """Return the area under the ROC curve of cosines as scores of all pairs of different genes.

    NaN where no pair, or every pair, is an edge.
    """
    unit, above = unit_vectors(z), np.triu_indices(len(z), 1)
    return float(auroc((unit @ unit.T)[above], graph.adjacency[above]))


def ilisi(
    z: Float[np.ndarray, "rows dim"],
    study: Int[np.ndarray, " rows"],
    perplexity: float = PERPLEXITY,
) -> float:
    """Return ``(median LISI - 1) / (studies - 1)``: 0 where studies lie apart, 1 where they mix.

    The index of a row is ``1 / sum_s (weight of study s)^2``, over three neighbours for each unit
    of perplexity, with weights ``exp(-b distance)`` whose b gives them that perplexity (Korsunsky
    et al. 2019). Neighbours are those of the embedding.

    Parameters
    ----------
    z
        Vectors.
    study
        Of each row.
    perplexity
        Effective number of neighbours.
    """
    k = min(int(3 * perplexity), len(z) - 1)
    near, distance = nearest(z, k + 1)
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


def common_ratio(gene: Sequence[str], cluster: Int[np.ndarray, " rows"]) -> float:
    """Return ``sum_c (n_c / n) (1 - unique genes in c / n_c)``: rows of a gene in one cluster."""
    return 1 - len(set(zip(gene, cluster.tolist(), strict=True))) / len(gene)


def overlap(graphs: Sequence[StudyGraph], clusters: Sequence[Int[np.ndarray, " _"]]) -> float:
    """Return how much genes of different studies in one cluster share their neighbours.

    The mean Jaccard index of co-expression neighbours, by name, over pairs of rows of one cluster
    and different studies; clusters weigh by their rows, and those of one study count 0.

    Parameters
    ----------
    graphs
        The studies.
    clusters
        Cluster of each gene, for each study.
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
    total, n = 0.0, sum(map(len, clusters))
    for c in np.unique(np.concatenate(clusters)):
        own = [table[of == c] for table, of in zip(tables, clusters, strict=True)]
        jaccards, pairs = 0.0, 0
        for i, a in enumerate(own):
            for b in own[:i]:
                if a.shape[0] and b.shape[0]:
                    both = (a @ b.T).toarray()
                    either = a.sum(1)[:, None] + b.sum(1)[None] - both
                    jaccards += float((both / either).sum())
                    pairs += both.size
        total += sum(table.shape[0] for table in own) * (jaccards / pairs if pairs else 0.0)
    return total / n


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
