"""Flax layers on jraph's `GraphsTuple`, shared by all graph networks.

A layer maps the features of a graph's nodes, padding included, to new ones. Features are
transformed first and gathered along edges after, so that edges cost no products. Edges must be
sorted by their receivers, as `graphs.from_pairs` leaves them; those of padding go from a node of
their own to itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import ones, variance_scaling, zeros
from jax import lax, random
from jaxtyping import Array, Bool, Float
from jraph import GraphsTuple, segment_softmax, segment_sum

# Which nodes (columns) send to which (rows).
Table: TypeAlias = Bool[Array | np.ndarray, "nodes nodes"]

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
        self, graph: GraphsTuple, x: Float[Array, "nodes inputs"], deterministic: bool = True
    ) -> Float[Array, "nodes outputs"]:
        """Return new features of the nodes; ``deterministic`` drops no weight."""
        n, (senders, receivers, _) = len(x), _edges(graph)
        kernel = self.param("kernel", _START, (x.shape[1], self.heads, self.features))
        h = (x @ kernel.reshape(x.shape[1], -1)).reshape(n, self.heads, self.features)
        # One start for both halves, since they act on a receiver and a sender side by side.
        attend = self.param("attend", _START, (2 * self.features, self.heads, 1))
        to, of = (jnp.einsum("nhf,fho->nh", h, half) for half in jnp.split(attend, 2))
        logit = nn.leaky_relu(to[receivers] + of[senders], self.slope)
        weight = segment_softmax(logit, receivers, n, indices_are_sorted=True)
        weight = nn.Dropout(self.dropout, deterministic=deterministic)(weight)
        gathered = _gather(h, weight[:, :, None], graph)
        if self.each_head is not None:
            gathered = self.each_head(gathered)
        gathered = gathered + self.param("bias", zeros, (self.heads, self.features))
        return gathered.reshape(n, -1) if self.combine == "concat" else gathered.mean(1)


class GATv2(nn.Module):
    """Graph attention that ranks neighbours anew for each node (Brody et al. 2022).

    With ``t = T x`` and ``s = S x``, node i gathers ``sum_j softmax_j(a . LeakyReLU(t[i] + s[j]))
    s[j]`` over the nodes j that send to it, heads side by side; a node that none sends to gathers
    zeros.

    Attributes
    ----------
    features, heads
        Features of a head, and number of heads.
    dropout
        Share of attention weights dropped in training.
    slope
        Of the LeakyReLU, below zero.
    """

    features: int
    heads: int = 1
    dropout: float = 0.0
    slope: float = 0.2

    @nn.compact
    def __call__(
        self, graph: GraphsTuple, x: Float[Array, "nodes inputs"], deterministic: bool = True
    ) -> Float[Array, "nodes outputs"]:
        """Return new features of the nodes; ``deterministic`` drops no weight."""
        n, (senders, receivers, _) = len(x), _edges(graph)
        both = [
            nn.Dense(self.heads * self.features, name=name)(x).reshape(n, self.heads, -1)
            for name in ("to", "of")
        ]
        attend = self.param("attend", _START, (self.features, self.heads, 1))
        hidden = nn.leaky_relu(both[0][receivers] + both[1][senders], self.slope)
        logit = jnp.einsum("ehf,fho->eh", hidden, attend)
        weight = segment_softmax(logit, receivers, n, indices_are_sorted=True)
        weight = nn.Dropout(self.dropout, deterministic=deterministic)(weight)
        gathered = _gather(both[1], weight[:, :, None], graph)
        return (gathered + self.param("bias", zeros, (self.heads, self.features))).reshape(n, -1)


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


class TransformerConv(nn.Module):
    """Attention of several heads with queries, keys and values (Shi et al. 2021).

    With linear maps q, k, v, s of x, node i gathers ``sum_j softmax_j(q[i].k[j] / sqrt(f)) v[j]``
    over the nodes j that send to it, for each head of f features; heads are put side by side, and
    ``s[i]`` is added. Whether edges are a graph or a table decides what it costs, not the result.

    Attributes
    ----------
    features, heads
        Features of a head, and number of heads.
    """

    features: int
    heads: int = 1

    @nn.compact
    def __call__(
        self, edges: GraphsTuple | Table, x: Float[Array, "nodes inputs"]
    ) -> Float[Array, "nodes outputs"]:
        """Return new features; ``edges`` is a padded graph, or a table of who sends to whom."""
        width = self.heads * self.features
        # One product for all four maps; the start of PyTorch's linear layers.
        q, k, v, skip = jnp.split(nn.Dense(4 * width, **uniform(x.shape[1] ** -0.5))(x), 4, axis=1)
        q, k, v = (part.reshape(-1, self.heads, self.features) for part in (q, k, v))
        q = q * self.features**-0.5
        if isinstance(edges, GraphsTuple):
            return _attend_along(edges, q, k, v).reshape(len(x), width) + skip
        logit = jnp.where(edges, jnp.einsum("ihf,jhf->hij", q, k), -jnp.inf)
        # Nodes that none sends to gather zeros.
        top = jnp.maximum(logit.max(2, keepdims=True), -1e30)
        weight = jnp.exp(logit - lax.stop_gradient(top))
        gathered = jnp.einsum("hij,jhf->ihf", weight, v)
        total = jnp.maximum(weight.sum(2), 1e-30).T[:, :, None]
        return (gathered / total).reshape(len(x), width) + skip


class GraphNorm(nn.Module):
    """Normalisation over the nodes of a graph (Cai et al. 2021).

    ``gamma (x - alpha mean) / sqrt(var + 1e-5) + beta`` for each channel, with the mean square of
    the numerator before gamma as ``var``; alpha, beta and gamma are learned.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "nodes channels"]) -> Float[Array, "nodes channels"]:
        """Return the features normalised; all rows are nodes of one graph."""
        shape = (x.shape[1],)
        alpha, gamma = (self.param(name, ones, shape) for name in ("alpha", "gamma"))
        shifted = x - alpha * x.mean(0)
        scaled = shifted * lax.rsqrt(jnp.square(shifted).mean(0) + 1e-5)
        return gamma * scaled + self.param("beta", zeros, shape)


def mish(x: Float[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """Return ``x tanh(log(1 + e^x))`` (Misra 2020), by one exponential.

    ``tanh(log(1 + e)) = w / (w + 2)`` with ``w = e (e + 2)``; from 20 on it is 1 in float32.
    """
    e = jnp.exp(jnp.minimum(x, 20.0))
    w = e * (e + 2)
    return jnp.asarray(x) * (w / (w + 2))


def uniform(limit: float) -> dict[str, Any]:
    """Return start values of a dense layer, kernel and bias even from -limit to limit."""
    start = partial(_uniform, limit)
    return {"kernel_init": start, "bias_init": start}


def _uniform(limit: float, key: Array, shape: Any, dtype: Any = jnp.float32) -> Array:
    return random.uniform(key, shape, dtype, -limit, limit)


def _attend_along(graph: GraphsTuple, q: Array, k: Array, v: Array) -> Array:
    """Gather values along edges; the node of padding has a row of its own meanwhile."""
    n, (senders, receivers, _) = len(q) + 1, _edges(graph)
    q, k, v = (jnp.pad(part, ((0, 1), (0, 0), (0, 0))) for part in (q, k, v))
    logit = (q[receivers] * k[senders]).sum(2)
    weight: Any = segment_softmax(logit, receivers, n, indices_are_sorted=True)
    return _gather(v, weight[:, :, None], graph)[:-1]


def _gather(
    h: Float[Array, "nodes ..."], weight: Float[Array, "edges ..."], graph: GraphsTuple
) -> Float[Array, "nodes ..."]:
    senders, receivers, _ = _edges(graph)
    return segment_sum(weight * h[senders], receivers, len(h), indices_are_sorted=True)


def _edges(graph: GraphsTuple) -> tuple[Any, Any, Any]:
    return graph.senders, graph.receivers, graph.edges
