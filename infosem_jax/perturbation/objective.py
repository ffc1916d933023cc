"""What training minimises: the cost of some perturbations, by values or by signs."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax, random
from jaxtyping import Array, Bool, Float

from infosem_jax.engine import training
from infosem_jax.engine.types import Cells, Rows
from infosem_jax.perturbation.config import Config
from infosem_jax.perturbation.network import Network, Output, Query, World

LEAST_LOG_SD = -5.0


class Truth(NamedTuple):
    """Responses of the perturbations of a pool.

    Attributes
    ----------
    value
        Changes, [n, genes]; without columns in tables of signs.
    sign, known
        As of `data.Responses`.
    """

    value: Any
    sign: Any
    known: Any


@struct.dataclass
class Pool:
    """Perturbations that fits share, with their responses.

    Attributes
    ----------
    world, query, truth
        Graph, perturbations and responses.
    held_out
        Whether each fit is evaluated on those perturbations that it does not learn from.
    """

    world: World
    query: Query
    truth: Truth
    held_out: bool = struct.field(pytree_node=False, default=False)


class Own(NamedTuple):
    """What is a fit's own.

    Attributes
    ----------
    train, valid
        Rows that are learned from, and that tell when to stop.
    base
        The mean response, for each of the network's two outputs, [2, 1, genes].
    target
        Main components of the responses, [n, components]; of training rows only.
    slack
        Where the loss on genes that do not change turns from square to absolute.
    alike
        Genes that respond alike in training rows, see `network.World`.
    scale
        What values are divided by.
    """

    train: Any
    valid: Any
    base: Any
    target: Any
    slack: Any
    alike: Any
    scale: Any


class Objective(NamedTuple):
    """The cost of some perturbations; ``signs`` where there are no values."""

    config: Config
    genes: int
    signs: bool

    def view(self, shared: Pool, own: Own) -> Rows:
        """Return the perturbations that a fit learns from, or is evaluated on."""
        return Rows(shared, own, own.valid if shared.held_out else own.train)

    def init(self, key: Array, data: Rows) -> training.Params:
        """Return starting parameters."""
        few = jax.tree.map(lambda leaf: leaf[:1], data.shared.query)
        world = data.shared.world._replace(alike=data.own.alike)
        return dict(Network(self.config, self.genes).init(key, world, few)["params"])

    def loss(self, params, key: Array, data: Rows, cells: Cells, epoch: Array) -> Array:
        """Return the mean cost of an entry."""
        pool, rows = data.shared, data.index[cells.index]
        every = pool.truth._replace(value=pool.truth.value / data.own.scale)
        query, truth = jax.tree.map(lambda leaf: leaf[rows], (pool.query, every))
        still = pool.held_out
        drop, choose = random.split(key)
        world = pool.world._replace(alike=data.own.alike)
        said = Network(self.config, self.genes).apply(
            {"params": params}, world, query, still, rngs={"dropout": drop, "select": choose}
        )
        output = cast(Output, said)
        base = data.own.base
        first, second = output.first + base[0], output.second + base[1]
        if self.signs and still:
            return 1 - _ranked(first, second, truth)
        if self.signs:
            cost = _of_signs(first, second, truth)
        else:
            cost = _of_values(self.config, first, second, truth, data.own.slack, still)
        if still:
            return cost
        if self.config.change_align:
            cost += self.config.change_align * _alignment(output, data.own.target[rows])
        square = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
        return cost + 0.5 * self.config.weight_decay * square

    def group(self, name: str) -> str:
        """All parameters train together."""
        return "network"


def ordered(
    score: Float[Array, "n genes"], yes: Bool[Array, "n genes"], known: Bool[Array, "n genes"]
) -> tuple[Float[Array, " genes"], Float[Array, " genes"]]:
    """Count the pairs of perturbations of each gene that a score orders rightly, and all pairs."""
    order = jnp.argsort(score, axis=0)
    above, below = (
        jnp.take_along_axis(part, order, 0).astype(jnp.float32)
        for part in (yes & known, ~yes & known)
    )
    return (above * jnp.cumsum(below, 0)).sum(0), above.sum(0) * below.sum(0)


def _of_signs(first: Array, second: Array, truth: Truth) -> Array:
    """Return the cross-entropy of being differentially expressed, plus that of the direction."""
    de = (truth.sign != 0).astype(first.dtype)
    known = truth.known.astype(first.dtype)
    is_de = optax.sigmoid_binary_cross_entropy(first, de)
    is_up = optax.sigmoid_binary_cross_entropy(second, (truth.sign > 0).astype(first.dtype))
    return _mean(is_de, known) + _mean(is_up, de)


def _ranked(first: Array, second: Array, truth: Truth) -> Array:
    """Return the mean AUROC of a gene over perturbations, of responding and of the direction."""
    de = truth.sign != 0
    return (_auroc(first, de, truth.known) + _auroc(second, truth.sign > 0, de)) / 2


def _auroc(score: Array, yes: Array, known: Array) -> Array:
    right, pairs = ordered(score, yes, known)
    return _mean(right / jnp.maximum(pairs, 1), (pairs > 0).astype(jnp.float32))


def _of_values(
    config: Config, change: Array, log_sd: Array, truth: Truth, slack: Array, still: bool
) -> Array:
    """Return the squared error, with the deviation fitted beside a mean that ignores it."""
    error = jnp.square(truth.value - change)
    # A root at 0 has no gradient, so squares stay as they are.
    power = error if config.focus == 2 else (error + 1e-12) ** (config.focus / 2)
    cost = power.mean()
    if config.direction:
        cost += config.direction * jnp.square(jnp.sign(truth.value) - jnp.tanh(change)).mean()
    if still:
        return cost
    if config.likelihood:
        log_sd = jnp.maximum(log_sd, LEAST_LOG_SD)
        cost += (0.5 * lax.stop_gradient(error) * jnp.exp(-2 * log_sd) + log_sd).mean()
    if config.change_non:
        calm = ((truth.sign == 0) & truth.known).astype(change.dtype)
        cost += config.change_non * _mean(optax.huber_loss(change, delta=slack), calm)
    return cost


def _alignment(output: Output, target: Float[Array, "batch components"]) -> Array:
    """Return the squared distance of directions; rows without a response are left out."""
    length = jnp.linalg.norm(target, axis=1)
    known = length > 1e-6
    goal = target / jnp.where(known, length, 1.0)[:, None]
    size = jnp.sqrt(jnp.square(output.aligned).sum(1, keepdims=True) + 1e-6)
    gap = jnp.square(output.aligned / size - goal).sum(1)
    return _mean(gap, known.astype(gap.dtype))


def _mean(values: Array, weight: Array) -> Array:
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1.0)
