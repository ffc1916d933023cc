"""Sums over the edges of a fixed graph with learned weights, fast on CPUs too.

``out[i] = sum over edges j -> i of weight[edge] * h[j]``. A segment sum would first lay out every
message, and scatter them one by one. Here the edges of a node are laid out in rows of equal width,
and all rows take their first edge, then all their second: each turn is one fused gather, product
and sum over arrays that stay in the cache. The gradient goes the same way along edges reversed.
Where many pairs of nodes have an edge, a matrix of them is faster still.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from infosem_jax.graphs import GraphsTuple

# Share of the pairs of nodes that are edges from which a matrix is faster, on CPUs.
DENSE_SHARE = 0.15
# What one turn writes should stay in the cache.
TURN_BYTES = 2**22
# Turns that are fused, so that sums are read and written less often.
UNROLL = 4


class Rows(NamedTuple):
    """Edges laid out in rows, turn by turn; those of a row meet at one node.

    Attributes
    ----------
    node
        Where the edges of each row meet, in ascending order, each node at least once, [rows].
    other
        Their other end; one past the last node where there is none, [turns, rows].
    edge
        Number of the edge; one past the last edge where there is none, [turns, rows].
    """

    node: Int[Array | np.ndarray, " rows"]
    other: Int[Array | np.ndarray, "turns rows"]
    edge: Int[Array | np.ndarray, "turns rows"]


class Sparse(NamedTuple):
    """Edges by receiver and by sender, and the place of each edge among the former."""

    to: Rows
    back: Rows
    place: Int[Array | np.ndarray, " edges"]


class Dense(NamedTuple):
    """Senders and receivers of a small graph."""

    senders: Int[Array | np.ndarray, " edges"]
    receivers: Int[Array | np.ndarray, " edges"]


Routes: TypeAlias = Sparse | Dense


def routes(graph: GraphsTuple, first: int = 0, *, dense: bool | None = None) -> Routes:
    """Prepare the edges of a graph, those of padding left out.

    Parameters
    ----------
    graph
        Edges sorted by their receivers, as `graphs.from_pairs` leaves them.
    first
        First of the nodes that have edges; they are counted from there.
    dense
        Whether to make a matrix of the edges; None decides by the share of pairs that are edges.
    """
    n, n_edges = int(graph.n_node[0]) - first, int(graph.n_edge[0])
    senders, receivers = (
        np.asarray(ends)[:n_edges] - first for ends in (graph.senders, graph.receivers)
    )
    if n_edges > DENSE_SHARE * n * n if dense is None else dense:
        return Dense(senders, receivers)
    to, place = _lay_out(receivers, senders, n)
    back, _ = _lay_out(senders, receivers, n)
    return Sparse(to, back, place)


def spread(
    routes: Routes, weight: Float[Array, " edges"], h: Float[Array, "nodes samples channels"]
) -> Float[Array, "nodes samples channels"]:
    """Return the weighted sum of the features of the nodes that send to each node.

    Parameters
    ----------
    routes
        Edges.
    weight
        Their weights, in the order of the graph.
    h
        Features of the nodes in each sample.
    """
    n, samples, channels = h.shape
    if not weight.size:
        return jnp.zeros_like(h)
    if isinstance(routes, Dense):
        matrix = jnp.zeros((n, n)).at[routes.receivers, routes.senders].set(weight)
        return jnp.einsum("rs,sbc->rbc", matrix, h)
    room = max(1, TURN_BYTES // (4 * channels * len(routes.to.node)))
    at_once = max(size for size in range(1, samples + 1) if samples % size == 0 and size <= room)
    parts = h.reshape(n, -1, at_once * channels)
    if parts.shape[1] == 1:
        return _spread(routes, weight, parts[:, 0]).reshape(h.shape)
    received = lax.map(lambda part: _spread(routes, weight, part), parts.swapaxes(0, 1))
    return received.swapaxes(0, 1).reshape(h.shape)


@jax.custom_vjp
def _spread(
    routes: Sparse, weight: Float[Array, " edges"], h: Float[Array, "nodes features"]
) -> Float[Array, "nodes features"]:
    return _sum_rows(routes.to, weight, h)


def _spread_forward(routes, weight, h):
    return _sum_rows(routes.to, weight, h), (routes, weight, h)


def _spread_backward(saved, g):
    routes, weight, h = saved
    by_row, h_or_zero = g[routes.to.node], _with_zero(h)
    # Along the last axis, a product with ones sums three times as fast as a sum.
    ones = jnp.ones(h.shape[1])

    def dot(carry, other):
        return carry, (by_row * _rows_of(h_or_zero, other)) @ ones

    _, slope = lax.scan(dot, None, routes.to.other, unroll=UNROLL)
    return None, slope.reshape(-1)[routes.place], _sum_rows(routes.back, weight, g)


_spread.defvjp(_spread_forward, _spread_backward)


def _sum_rows(rows: Rows, weight, h):
    h_or_zero, weights = _with_zero(h), jnp.append(weight, 0.0)[rows.edge]

    def turn(total, part):
        other, weight = part
        return total + weight[:, None] * _rows_of(h_or_zero, other), None

    start = jnp.zeros((len(rows.node), h.shape[1]))
    total, _ = lax.scan(turn, start, (rows.other, weights), unroll=UNROLL)
    if len(rows.node) == len(h):  # one row each
        return total
    return jax.ops.segment_sum(total, rows.node, len(h), indices_are_sorted=True)


def _with_zero(h):
    return jnp.pad(h, ((0, 1), (0, 0)))


def _rows_of(h, index):
    return h.at[index].get(mode="promise_in_bounds")


def _lay_out(
    node: Int[np.ndarray, " edges"], other: Int[np.ndarray, " edges"], n: int
) -> tuple[Rows, Int[np.ndarray, " edges"]]:
    """Lay edges out in rows by the node where they meet; return also the place of each edge."""
    degree = np.bincount(node, minlength=n)
    # Nodes of like degree get a row each. Else narrow rows, several a node, are emptier.
    mean, most = degree.mean(), int(degree.max(initial=1))
    width = most if most <= 1.25 * mean else max(1, round(mean / 4))
    rows_each = np.maximum(1, -(-degree // width))
    start, first = np.cumsum(rows_each) - rows_each, np.cumsum(degree) - degree
    n_rows = int(rows_each.sum())
    order = np.argsort(node, kind="stable")
    at = np.arange(len(node)) - first[node[order]]
    row, turn = start[node[order]] + at // width, at % width
    others = np.full((width, n_rows), n, np.int32)
    edges = np.full((width, n_rows), len(node), np.int32)
    others[turn, row], edges[turn, row] = other[order], order
    place = np.empty(len(node), np.int32)
    place[order] = turn * n_rows + row
    return Rows(np.repeat(np.arange(n, dtype=np.int32), rows_each), others, edges), place
