"""Flax layers on jraph's `GraphsTuple`, shared by all graph networks.

A layer maps the features of a graph's nodes, padding included, to new ones. Features are
transformed first and gathered along edges after, so that edges cost no products. Edges must be
sorted by their receivers, as `graphs.from_pairs` leaves them; those of padding go from a node of
their own to itself.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.initializers import variance_scaling, zeros
from jaxtyping import Array, Float
from jraph import GraphsTuple, segment_softmax, segment_sum

# Glorot's, with the gain that the authors of graph attention chose; heads start independently.
_START = variance_scaling(2.0, "fan_avg", "uniform", in_axis=0, out_axis=-1, batch_axis=(1,))


class GAT(nn.Module):
    """Graph attention of several heads (Velickovic et al. 2018).

    With ``h = W x``, node i gathers ``sum_j softmax_j(LeakyReLU(a.h[i] + b.h[j])) h[j]`` over the
    nodes j that send to it; a node that none sends to gathers zeros.

    Attributes
    ----------
    features, heads
        Features of a head, and number of heads.
    combine
        Whether heads are put side by side or averaged.
    dropout
        Share of attention weights dropped in training.
    slope
        Of the LeakyReLU, below zero.
    each_head
        Applied to what each head gathered, [nodes, heads, features], before its bias.
    """

    features: int
    heads: int = 1
    combine: Literal["concat", "mean"] = "concat"
    dropout: float = 0.0
    slope: float = 0.2
    each_head: Callable[[Array], Array] | None = None

    @nn.compact
    def __call__(
        self, graph: GraphsTuple, x: Float[Array, "nodes inputs"], still: bool = True
    ) -> Float[Array, "nodes outputs"]:
        """Return new features of the nodes; ``still`` drops no weight."""
        n, (senders, receivers, _) = len(x), _edges(graph)
        kernel = self.param("kernel", _START, (x.shape[1], self.heads, self.features))
        h = (x @ kernel.reshape(x.shape[1], -1)).reshape(n, self.heads, self.features)
        # One start for both halves, since they act on a receiver and a sender side by side.
        attend = self.param("attend", _START, (2 * self.features, self.heads, 1))
        to, of = (jnp.einsum("nhf,fho->nh", h, half) for half in jnp.split(attend, 2))
        logit = nn.leaky_relu(to[receivers] + of[senders], self.slope)
        weight = segment_softmax(logit, receivers, n, indices_are_sorted=True)
        weight = nn.Dropout(self.dropout, deterministic=still)(weight)
        gathered = _gather(h, weight[:, :, None], graph)
        if self.each_head is not None:
            gathered = self.each_head(gathered)
        gathered = gathered + self.param("bias", zeros, (self.heads, self.features))
        return gathered.reshape(n, -1) if self.combine == "concat" else gathered.mean(1)


class GCN(nn.Module):
    """Graph convolution (Kipf and Welling 2017).

    With ``h = W x``, node i gathers ``sum_j w[i, j] h[j] / sqrt(d[i] d[j])``, where ``d[i]`` sums
    the weights of the edges to i; a node of degree 0 counts as one of degree 1.

    Attributes
    ----------
    features
        Number of new features.
    use_bias
        Whether a bias is added.
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(
        self, graph: GraphsTuple, x: Float[Array, "nodes inputs"]
    ) -> Float[Array, "nodes features"]:
        """Return new features of the nodes; weights of edges are ``graph.edges``."""
        n, (senders, receivers, edges) = len(x), _edges(graph)
        start = nn.initializers.glorot_uniform()
        h = nn.Dense(self.features, use_bias=False, kernel_init=start)(x)
        degree = segment_sum(edges, receivers, n, indices_are_sorted=True)
        scale = jnp.where(degree > 0, degree, 1.0) ** -0.5
        gathered = _gather(h, (edges * scale[receivers] * scale[senders])[:, None], graph)
        if self.use_bias:
            gathered = gathered + self.param("bias", zeros, (self.features,))
        return gathered


def _gather(
    h: Float[Array, "nodes ..."], weight: Float[Array, "edges ..."], graph: GraphsTuple
) -> Float[Array, "nodes ..."]:
    senders, receivers, _ = _edges(graph)
    return segment_sum(weight * h[senders], receivers, len(h), indices_are_sorted=True)


def _edges(graph: GraphsTuple) -> tuple[Any, Any, Any]:
    return graph.senders, graph.receivers, graph.edges
