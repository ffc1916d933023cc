"""What training minimises: the cost of samples of one member of an ensemble."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax, random
from jaxtyping import Array, Float

from infosem_jax.engine import training
from infosem_jax.engine.types import Cells, Rows
from infosem_jax.expression import network
from infosem_jax.expression.network import GraphConfig, Shape, Wiring

# Outside training, so many samples x nodes x channels are held at once, 64 MB an array.
AT_ONCE = 2**24


@struct.dataclass
class Pool:
    """Samples that members share.

    Attributes
    ----------
    x, feature, y
        Values of the nodes that send to all, features of every node, and targets.
    wiring
        The graph.
    held_out
        Whether each member is evaluated on those samples that it does not learn from.
    """

    x: Any
    feature: Any
    y: Any
    wiring: Wiring
    held_out: bool = struct.field(pytree_node=False, default=False)


class Parts(NamedTuple):
    """Which samples a member learns from, and which tell it when to stop, by their index."""

    train: Any
    valid: Any


class Objective(NamedTuple):
    """The cost of some samples."""

    config: GraphConfig
    shape: Shape

    def view(self, shared: Pool, own: Parts) -> Rows:
        """Return the samples that a member learns from, or is evaluated on."""
        return Rows(shared, own, own.valid if shared.held_out else own.train)

    def init(self, key: Array, data: Rows) -> training.Params:
        """Return starting parameters."""
        return network.init(key, self.config, self.shape)

    def loss(self, params, key: Array, data: Rows, cells: Cells, epoch: Array) -> Array:
        """Return the mean cost of an entry; of held-out samples, what decides when to stop.

        See `engine.types.Objective.loss`.
        """
        config, pool = self.config, data.shared
        at = data.index[cells.index]
        x, feature, y = pool.x[at], pool.feature[at], pool.y[at]
        if pool.held_out:
            mean, log_scale = in_blocks(config, params, pool.wiring, x, feature)
            if config.judge == "spearman":
                return 1 - _rank_correlation(mean, y).mean()
            error, likelihood = _costs(config, y - mean, log_scale)
            return likelihood if config.weighted else error
        drop, disturb = random.split(key)
        if config.dropout:
            kept = random.bernoulli(drop, 1 - config.dropout, x.shape)
            x = jnp.where(kept, x / (1 - config.dropout), 0.0)
        if config.noise:
            x = x + config.noise * random.normal(disturb, x.shape)
        mean, log_scale = network.forward(params, config, pool.wiring, x, feature)
        error, likelihood = _costs(config, y - mean, log_scale)
        square = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
        cost = likelihood if config.weighted else error + likelihood
        return cost + 0.5 * config.weight_decay * square

    def group(self, name: str) -> str:
        """All parameters train together."""
        return "network"


def in_blocks(config: GraphConfig, params: Any, wiring: Wiring, x: Array, feature: Array):
    """Predict without holding the channels of all nodes in all samples at once.

    Parameters
    ----------
    config, params, wiring, x, feature
        As of `network.forward`.
    """
    size = max(1, AT_ONCE // params["embedding"].size)
    if size >= len(x):
        return network.forward(params, config, wiring, x, feature)

    def one(sample: tuple[Array, Array]):
        x, feature = sample
        both = network.forward(params, config, wiring, x[None], feature[None])
        return jax.tree.map(lambda leaf: leaf[0], both)

    return lax.map(one, (x, feature), batch_size=size)


def _costs(config: GraphConfig, error: Array, log_scale: Array) -> tuple[Array, Array]:
    """Return the mean error, and the negative log-likelihood whose gradient the scale follows."""
    size = jnp.abs(error) if config.loss == "l1" else 0.5 * jnp.square(error)
    known = size if config.weighted else lax.stop_gradient(size)
    power = 1.0 if config.loss == "l1" else 2.0
    return size.mean(), (known * jnp.exp(-power * log_scale) + log_scale).mean()


def _rank_correlation(
    a: Float[Array, "samples genes"], b: Float[Array, "samples genes"]
) -> Float[Array, " samples"]:
    """Return Spearman's correlation in each sample, ties broken by position."""
    ranks = [jnp.argsort(jnp.argsort(y, axis=1), axis=1).astype(jnp.float32) for y in (a, b)]
    a, b = ((r - r.mean(1, keepdims=True)) / r.std(1, keepdims=True) for r in ranks)
    return (a * b).mean(1)
