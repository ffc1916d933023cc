"""The graph network: genes as nodes, with learned weights of edges and biases of genes.

``H_0[g] = embedding[g] + bias + x[g] value`` (x = 0 of genes that are no inputs), then
``H_l = relu((W_l . A) H_{l-1} + B_l)`` with one weight per edge and layer, and ``y = H_L head``.
Channels do not mix unless asked to. Source: Kim et al. 2025 and its public code.
"""

from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jaxtyping import Array, Float, Int

from infosem_jax._settings import check
from infosem_jax.engine.types import Params
from infosem_jax.expression._messages import Dense, Routes, routes, spread
from infosem_jax.expression.graph import GeneGraph, Side, Similarity

# A gene that is off in nearly all samples would get a scale of nearly nothing, and then be on.
LEAST_LOG_SCALE = float(np.log(0.05))
# Attention lays out every pair of nodes in every sample of a batch.
MOST_ATTENDED = 2048


@dataclass(frozen=True)
class GraphConfig:
    """Settings of the graph network; the defaults suit hundreds of samples.

    Attributes
    ----------
    layers, channels
        Layers, and channels of a node.
    neighbours, similarity, side
        Of the graph beside the inputs, see ``graph.neighbours``.
    messages
        Messages are weighted by a learned weight per ``edge`` and layer, or by ``attention``,
        which needs far fewer parameters and a graph of at most 2,048 genes.
    mixing
        Whether channels are mixed after each layer.
    residual
        Whether a layer's result is added to what it was given.
    start
        Range of the start values: ``fan_in`` by how many send to a node (He et al. 2015), or
        ``paper``, which grows with every layer and is kept for comparison.
    start_size
        Factor on that range. Small weights leave less of a random function in what is learned.
    covariate
        Covariates become further input ``nodes``, a ``feature`` of every node, or ``none``.
    loss
        Absolute or squared error, ``l1`` or ``l2``.
    weighted
        Whether the predicted deviation weighs the error, as in the likelihood of Laplace or Gauss;
        else it is learned beside a mean that does not know of it.
    skip
        ``ridge`` fits what ridge regression leaves over; ``none`` the expression itself.
    dropout
        Share of the inputs set to 0 in each training sample, the others scaled up.
    noise
        Standard deviation of the noise on inputs in training, in scaled units.
    weight_decay
        Half of it times the square of all parameters is added to the loss.
    clip
        Whether gradients are clipped to a norm of 0.1.
    rate, batch_size, epochs
        Adam's learning rate, samples per step, and epochs at most.
    check_every
        Epochs between two evaluations on the validation samples.
    halve_after, stop_after
        Evaluations without a gain after which the rate is halved, and training ends; the best
        parameters are kept.
    judge
        What evaluations compare: the ``loss``, or ``spearman``, the correlation of ranks of genes
        in a sample, as the paper does.
    members
        Networks that differ by their random numbers, trained side by side and averaged.
    """

    layers: int = 4
    channels: int = 16
    neighbours: int = 10
    similarity: Similarity = "correlation"
    side: Side = "receiver"
    messages: Literal["edge", "attention"] = "edge"
    mixing: bool = False
    residual: bool = True
    start: Literal["fan_in", "paper"] = "fan_in"
    start_size: float = 0.2
    covariate: Literal["nodes", "feature", "none"] = "nodes"
    loss: Literal["l1", "l2"] = "l1"
    weighted: bool = False
    skip: Literal["none", "ridge"] = "none"
    dropout: float = 0.3
    noise: float = 0.0
    weight_decay: float = 1e-6
    clip: bool = True
    rate: float = 2e-3
    batch_size: int = 32
    epochs: int = 300
    check_every: int = 5
    halve_after: int = 3
    stop_after: int = 8
    judge: Literal["loss", "spearman"] = "loss"
    members: int = 5

    def __post_init__(self):
        counts = ("layers", "channels", "batch_size", "epochs", "check_every", "halve_after")
        sizes = ("neighbours", "start_size", "noise", "weight_decay", "rate", "dropout")
        check(self, least={1: (*counts, "stop_after", "members"), 0: sizes}, below={1: ["dropout"]})


# As published, with the learning rate of the authors' commands. Training from these start values
# is unstable; replace ``start`` and ``start_size`` to train in earnest.
PAPER = GraphConfig(
    channels=64,
    neighbours=50,
    similarity="cosine",
    side="sender",
    residual=False,
    start="paper",
    start_size=1.0,
    dropout=0.0,
    rate=5e-4,
    batch_size=1,
    epochs=1000,
    check_every=10,
    halve_after=10,
    stop_after=20,
    judge="spearman",
    members=1,
)


class Wiring(NamedTuple):
    """The graph as the network uses it.

    Attributes
    ----------
    targets
        Node of each target.
    unit
        Logarithm of the deviation of each target in training, which scales are relative to.
    routes
        Edges among the nodes that are no inputs.
    """

    targets: Int[Array | np.ndarray, " targets"]
    unit: Float[Array | np.ndarray, " targets"]
    routes: Routes


def wire(
    graph: GeneGraph,
    deviation: Float[np.ndarray, " targets"],
    config: GraphConfig,
    *,
    dense: bool | None = None,
) -> Wiring:
    """Prepare a graph.

    Parameters
    ----------
    graph
        Genes and edges.
    deviation
        Of each target in training; genes that never vary count as the least that do.
    config
        Settings of the network; attention weighs all pairs of nodes.
    dense
        As in `_messages.routes`.
    """
    if dense is None and config.messages == "attention":
        dense = int(graph.sparse.n_node[0]) - graph.n_inputs <= MOST_ATTENDED
    varies = deviation > 0
    least = deviation[varies].min() if varies.any() else 1.0
    unit = np.log(np.where(varies, deviation, least)).astype(np.float32)
    return Wiring(graph.targets, unit, routes(graph.sparse, graph.n_inputs, dense=dense))


class Shape(NamedTuple):
    """What sets compiled programs apart, beside the settings.

    Attributes
    ----------
    nodes, inputs, edges
        Numbers of genes, of those that send to all, and of edges among the others.
    targets
        Number of targets.
    features
        Number of covariates that are a feature of every node.
    """

    nodes: int
    inputs: int
    edges: int
    targets: int
    features: int = 0


def shape_of(graph: GeneGraph, features: int = 0) -> Shape:
    """Return the sizes of a graph."""
    edges = int(graph.sparse.n_edge[0])
    return Shape(graph.n_nodes, graph.n_inputs, edges, len(graph.targets), features)


def init(key: Array, config: GraphConfig, shape: Shape) -> Params:
    """Return starting parameters.

    Parameters
    ----------
    key
        Random key.
    config, shape
        Settings and sizes of the network.
    """
    n, n_inputs, edges, targets, features = shape
    c, keys = config.channels, (random.fold_in(key, number) for number in count())
    fan_in = n_inputs + edges / max(n - n_inputs, 1)
    density = (n_inputs * n + edges) / n**2
    reach = (6 / fan_in) ** 0.5 if config.start == "fan_in" else density**-0.5
    reach *= config.start_size

    def uniform(*shape: int, reach: float = reach) -> Array:
        return random.uniform(next(keys), shape, minval=-reach, maxval=reach)

    def layer() -> Params:
        own = {"offset": uniform(n, c) if config.start == "paper" else jnp.zeros((n, c))}
        if config.messages == "edge":
            own |= {"block": uniform(n, n_inputs), "edge": uniform(edges)}
        else:
            own["attend"] = uniform(2, c, reach=c**-0.5)
        if config.mixing or config.messages == "attention":
            own["mixing"] = uniform(c, c, reach=(6 / c) ** 0.5)
        return own

    params = {
        "embedding": uniform(n, c, reach=0.5),
        "value": uniform(c, reach=3**0.5),
        "bias": jnp.zeros(c),
        "layers": tuple(layer() for _ in range(config.layers)),
        "head": uniform(c, 2, reach=c**-0.5),
        "head_bias": jnp.zeros((targets, 2)),
    }
    if features:
        params["feature"] = uniform(features, c, reach=0.5)
    return params


def forward(
    params: Params,
    config: GraphConfig,
    wiring: Wiring,
    x: Float[Array, "samples inputs"],
    feature: Float[Array, "samples features"],
) -> tuple[Float[Array, "samples targets"], Float[Array, "samples targets"]]:
    """Return mean and logarithm of the scale of each target.

    Parameters
    ----------
    params, config, wiring
        The network.
    x
        Inputs, those of extra nodes included.
    feature
        Covariates that are a feature of every node.
    """
    n_inputs = x.shape[1]
    h = jnp.broadcast_to(
        (params["embedding"] + params["bias"])[:, None],
        (len(params["embedding"]), len(x), config.channels),
    )
    h = h.at[:n_inputs].add(x.T[:, :, None] * params["value"])
    if feature.shape[1]:
        h = h + feature @ params["feature"]
    for own in params["layers"]:
        received = _aggregate(own, wiring, h, n_inputs)
        new = jax.nn.relu(received + own["offset"][:, None])
        h = h + new if config.residual else new
    h = h[wiring.targets]
    # A mean that is to know nothing of the scale shares layers that only the mean trains.
    h_scale = h if config.weighted else lax.stop_gradient(h)
    mean, log_scale = (
        jnp.einsum("tbc,c->bt", part, params["head"][:, i]) + params["head_bias"][:, i]
        for i, part in enumerate((h, h_scale))
    )
    return mean, jnp.maximum(log_scale, LEAST_LOG_SCALE) + wiring.unit


def _aggregate(own: dict[str, Any], wiring: Wiring, h: Array, n_inputs: int) -> Array:
    if "attend" in own:
        return _attend(own, wiring.routes, h @ own["mixing"], n_inputs)
    received = jnp.einsum("nl,lbc->nbc", own["block"], h[:n_inputs])
    received = received.at[n_inputs:].add(spread(wiring.routes, own["edge"], h[n_inputs:]))
    return received @ own["mixing"] if "mixing" in own else received


def _attend(own: dict[str, Any], routes: Routes, h: Array, n_inputs: int) -> Array:
    """Weigh senders by a softmax of ``LeakyReLU(a.h[receiver] + b.h[sender])``."""
    if not isinstance(routes, Dense):
        raise ValueError(
            f"Expected at most {MOST_ATTENDED:,} genes beside the inputs for attention, found "
            f"{len(h) - n_inputs}; use messages='edge'."
        )
    linked = jnp.zeros((len(h), len(h)), bool).at[:, :n_inputs].set(True)
    ends = routes.receivers + n_inputs, routes.senders + n_inputs
    linked = linked.at[ends].set(True)
    to, of = jnp.einsum("nbc,kc->kbn", h, own["attend"])
    logit = jax.nn.leaky_relu(to[:, :, None] + of[:, None], 0.2)
    weight = jax.nn.softmax(jnp.where(linked, logit, -jnp.inf), axis=2)
    return jnp.einsum("brs,sbc->rbc", weight, h)
