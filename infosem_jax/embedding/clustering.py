"""Groups of rows that lie together: nearest neighbours, and Louvain's method on them."""

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 15


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


def knn(z: Float[np.ndarray, "rows dim"]) -> sparse.csr_array:
    """Return the table of the 15 nearest neighbours of each row, itself among them."""
    near, _ = nearest(z, min(NEIGHBOURS, len(z)))
    n, k = near.shape
    return sparse.csr_array((np.ones(n * k), near.ravel(), np.arange(0, n * k + 1, k)), (n, n))


def nearest(
    z: Float[np.ndarray, "rows dim"], k: int
) -> tuple[Int[np.ndarray, "rows k"], Float[np.ndarray, "rows k"]]:
    """Return the nearest rows and their distances; each row comes first in its own."""
    distance, near = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(z).kneighbors(z)
    # Of rows at one place any may come first, and a row may be missing among its own.
    own = np.arange(len(z))
    found = near == own[:, None]
    at = np.where(found.any(1), found.argmax(1), k - 1)
    near[own, at], near[:, 0] = near[:, 0], own
    distance[own, at], distance[:, 0] = distance[:, 0], 0.0
    return near, distance
