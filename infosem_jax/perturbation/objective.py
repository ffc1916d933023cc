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
from infosem_jax.perturbation.config import AdaPertConfig
from infosem_jax.perturbation.network import Network, NodeInputs, Output, PerturbationInputs

LEAST_LOG_SD = -5.0


class ResponseArrays(NamedTuple):
    """Responses to the perturbations that fits share.

    Attributes
    ----------
    change
        Changes, [n, genes]; without columns in tables of signs.
    sign, known
        As of `data.Responses`.
    """

    change: Any
    sign: Any
    known: Any


@struct.dataclass
class TrainingData:
    """What fits share.

    Attributes
    ----------
    nodes, perturbations, responses
        Knowledge, perturbations and their responses as arrays.
    held_out
        Whether each fit is evaluated on its held-out perturbations, without noise and penalties,
        instead of learning from the others.
    """

    nodes: NodeInputs
    perturbations: PerturbationInputs
    responses: ResponseArrays
    held_out: bool = struct.field(pytree_node=False, default=False)


class FitData(NamedTuple):
    """Which of the perturbations one fit learns from, and what it derives from these alone.

    Attributes
    ----------
    train, valid
        Rows to learn from, and rows for early stopping.
    mean_response
        The mean response, for each of the network's two outputs, [2, 1, genes].
    components
        Main components of the responses, [n, components]; of training rows only.
    huber_delta
        Where the loss on genes that do not change turns from square to absolute.
    coexpressed
        Genes with correlated responses in training rows, see `network.NodeInputs`.
    scale
        What changes are divided by.
    """

    train: Any
    valid: Any
    mean_response: Any
    components: Any
    huber_delta: Any
    coexpressed: Any
    scale: Any


class Objective(NamedTuple):
    """The cost of some perturbations.

    Attributes
    ----------
    config
        Settings of the network.
    genes
        Number of responding genes.
    signs
        Whether responses are signs, without values.
    """

    config: AdaPertConfig
    genes: int
    signs: bool

    def view(self, shared: TrainingData, own: FitData) -> Rows:
        """Return the rows that a fit learns from, or those held out."""
        return Rows(shared, own, own.valid if shared.held_out else own.train)

    def init(self, key: Array, data: Rows) -> training.Params:
        """Return starting parameters."""
        one = jax.tree.map(lambda leaf: leaf[:1], data.shared.perturbations)
        nodes = data.shared.nodes._replace(coexpressed=data.own.coexpressed)
        return dict(Network(self.config, self.genes).init(key, nodes, one)["params"])

    def loss(self, params, key: Array, data: Rows, cells: Cells, epoch: Array) -> Array:
        """Return the mean cost of an entry, see `engine.types.Objective.loss`."""
        shared, fit, rows = data.shared, data.own, data.index[cells.index]
        scaled = shared.responses._replace(change=shared.responses.change / fit.scale)
        perturbations, responses = jax.tree.map(
            lambda leaf: leaf[rows], (shared.perturbations, scaled)
        )
        dropout, selection = random.split(key)
        network = Network(self.config, self.genes)
        output = cast(
            Output,
            network.apply(
                {"params": params},
                shared.nodes._replace(coexpressed=fit.coexpressed),
                perturbations,
                deterministic=shared.held_out,
                rngs={"dropout": dropout, "select": selection},
            ),
        )
        predicted = output.response + fit.mean_response
        if self.signs and shared.held_out:
            return 1 - _mean_auroc(predicted, responses)
        if self.signs:
            cost = _cross_entropy(predicted, responses)
        else:
            cost = _squared_error(
                self.config, predicted, responses, fit.huber_delta, shared.held_out
            )
        if shared.held_out:
            return cost
        if self.config.change_align:
            cost += self.config.change_align * _alignment(output, fit.components[rows])
        square = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
        return cost + 0.5 * self.config.weight_decay * square

    def group(self, name: str) -> str:
        """All parameters train together."""
        return "network"


def ordered_pairs(
    score: Float[Array, "n genes"], yes: Bool[Array, "n genes"], known: Bool[Array, "n genes"]
) -> tuple[Float[Array, " genes"], Float[Array, " genes"]]:
    """Count, for each gene, the pairs of perturbations in the right order, and all pairs.

    The AUROC of a gene is the former divided by the latter.

    Parameters
    ----------
    score
        What perturbations are ordered by; tied ones keep their order.
    yes
        Which should come last.
    known
        Where that is known.
    """
    order = jnp.argsort(score, axis=0)
    above, below = (
        jnp.take_along_axis(part, order, 0).astype(jnp.float32)
        for part in (yes & known, ~yes & known)
    )
    return (above * jnp.cumsum(below, 0)).sum(0), above.sum(0) * below.sum(0)


def _cross_entropy(log_odds: Float[Array, "2 n genes"], responses: ResponseArrays) -> Array:
    """Return the cross-entropy of being differentially expressed, plus that of the direction."""
    de = (responses.sign != 0).astype(log_odds.dtype)
    up = (responses.sign > 0).astype(log_odds.dtype)
    known = responses.known.astype(log_odds.dtype)
    of_de = optax.sigmoid_binary_cross_entropy(log_odds[0], de)
    of_up = optax.sigmoid_binary_cross_entropy(log_odds[1], up)
    return _mean(of_de, known) + _mean(of_up, de)


def _mean_auroc(log_odds: Float[Array, "2 n genes"], responses: ResponseArrays) -> Array:
    """Return the mean AUROC of a gene over perturbations, of responding and of the direction."""
    de, up = responses.sign != 0, responses.sign > 0
    return (_auroc(log_odds[0], de, responses.known) + _auroc(log_odds[1], up, de)) / 2


def _auroc(score: Array, yes: Array, known: Array) -> Array:
    right, pairs = ordered_pairs(score, yes, known)
    return _mean(right / jnp.maximum(pairs, 1), (pairs > 0).astype(jnp.float32))


def _squared_error(
    config: AdaPertConfig,
    predicted: Float[Array, "2 n genes"],
    responses: ResponseArrays,
    huber_delta: Array,
    held_out: bool,
) -> Array:
    """Return the squared error, with the deviation fitted beside a mean that ignores it."""
    change, log_sd = predicted
    error = jnp.square(responses.change - change)
    # A root at 0 has no gradient, so squares stay as they are.
    power = error if config.focus == 2 else (error + 1e-12) ** (config.focus / 2)
    cost = power.mean()
    if config.direction:
        gap = jnp.sign(responses.change) - jnp.tanh(change)
        cost += config.direction * jnp.square(gap).mean()
    if held_out:
        return cost
    if config.likelihood:
        log_sd = jnp.maximum(log_sd, LEAST_LOG_SD)
        cost += (0.5 * lax.stop_gradient(error) * jnp.exp(-2 * log_sd) + log_sd).mean()
    if config.change_non:
        unchanged = ((responses.sign == 0) & responses.known).astype(change.dtype)
        huber = optax.huber_loss(change, delta=huber_delta)
        cost += config.change_non * _mean(huber, unchanged)
    return cost


def _alignment(output: Output, components: Float[Array, "batch components"]) -> Array:
    """Return the squared distance of directions; rows without a response are left out."""
    length = jnp.linalg.norm(components, axis=1)
    known = length > 1e-6
    goal = components / jnp.where(known, length, 1.0)[:, None]
    size = jnp.sqrt(jnp.square(output.aligned).sum(1, keepdims=True) + 1e-6)
    gap = jnp.square(output.aligned / size - goal).sum(1)
    return _mean(gap, known.astype(gap.dtype))


def _mean(values: Array, weight: Array) -> Array:
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1.0)
