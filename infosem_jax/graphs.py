"""Knowledge and co-expression graphs of genes, as jraph's `GraphsTuple`, padded to a fixed size.

A graph holds senders and receivers; features of nodes are given to layers beside it. A padded graph
has one more node than there are genes, after them; padding edges go from that node to itself, so
that layers need no mask. Edges are sorted by their receivers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jraph
import numpy as np
from jaxtyping import Float, Int
from jraph import GraphsTuple

__all__ = ["GraphsTuple", "from_pairs", "roomy", "stack"]


def from_pairs(
    n_nodes: int,
    senders: Int[np.ndarray, " pairs"],
    receivers: Int[np.ndarray, " pairs"],
    *,
    weights: Float[np.ndarray, " pairs"] | None = None,
    symmetric: bool = False,
    self_loops: float = 0.0,
    n_edge: int | None = None,
) -> GraphsTuple:
    """Make a graph of pairs of nodes; of a pair that is named twice, the first counts.

    Parameters
    ----------
    n_nodes
        Number of nodes without padding.
    senders, receivers
        Nodes that messages go from and to.
    weights
        Weight of each pair, 1 where None; in ``edges`` of the graph, [edges].
    symmetric
        Whether messages go both ways.
    self_loops
        Weight of an edge from each node to itself; 0 adds none.
    n_edge
        Number of edges with padding, None for as many as there are.

    Raises
    ------
    ValueError
        If nodes are out of range or there are too many edges.
    """
    ends = np.concatenate([senders, receivers])
    if ends.size and not (ends.min() >= 0 and ends.max() < n_nodes):
        raise ValueError(
            f"Expected pairs of nodes from 0 to {n_nodes - 1}, found {ends.min()} to {ends.max()}."
        )
    weights = np.ones(len(senders)) if weights is None else weights
    if symmetric:
        senders, receivers = ends, np.concatenate([receivers, senders])
        weights = np.tile(weights, 2)
    if self_loops:
        every = np.arange(n_nodes)
        senders, receivers = np.append(senders, every), np.append(receivers, every)
        weights = np.append(weights, np.full(n_nodes, self_loops))
    code = receivers.astype(np.int64) * n_nodes + senders
    code, first = np.unique(code, return_index=True)
    n_edge = len(code) if n_edge is None else n_edge
    if len(code) > n_edge:
        raise ValueError(f"Expected room for {len(code)} edges, found n_edge={n_edge}.")
    fields: dict[str, Any] = {
        "edges": weights[first].astype(np.float32),
        "senders": (code % n_nodes).astype(np.int32),
        "receivers": (code // n_nodes).astype(np.int32),
        "n_node": np.array([n_nodes], np.int32),
        "n_edge": np.array([len(code)], np.int32),
    }
    graph = GraphsTuple(nodes=None, globals=None, **fields)
    return jraph.pad_with_graphs(graph, n_nodes + 1, n_edge, 2)


def stack(graphs: Sequence[GraphsTuple]) -> GraphsTuple:
    """Put graphs of the same number of nodes on a new leading axis, padded to the same edges."""
    size = roomy(max(int(graph.n_edge.sum()) for graph in graphs))
    return jax.tree.map(
        lambda *leaves: np.stack(leaves), *(_widen(graph, size) for graph in graphs)
    )


def roomy(n: int) -> int:
    """Round up by at most an eighth, so that graphs of about the same size share programs."""
    unit = 1 << max(n.bit_length() - 4, 0)
    return -(-n // unit) * unit


def _widen(graph: Any, size: int) -> GraphsTuple:
    more = size - len(graph.senders)
    padding = int(graph.n_node[0])
    return graph._replace(
        edges=np.pad(graph.edges, (0, more)),
        senders=np.pad(graph.senders, (0, more), constant_values=padding),
        receivers=np.pad(graph.receivers, (0, more), constant_values=padding),
        n_edge=np.array([graph.n_edge[0], graph.n_edge[1] + more], np.int32),
    )
