"""Which genes to measure, learned together with what is inferred from them.

Each input passes a random gate on its way into a small network; gates have a price, and close one
after the other until n are left. Source of the gates: Louizos et al. 2018 (hard concrete).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Int

from infosem_jax.engine import training
from infosem_jax.engine.early_stopping import train_one
from infosem_jax.engine.types import Cells, Rows
from infosem_jax.expression.task import Task

# How far draws of a gate reach beyond 0 and 1, where they are cut off, and how sharp they are.
LOW, HIGH, SHARPNESS = -0.1, 1.1, 1.5
# At the start nearly all gates are open.
START_LOGIT = 2.0


@dataclass(frozen=True)
class GateConfig:
    """Settings of the learned choice of inputs.

    Attributes
    ----------
    hidden
        Units of the network between inputs and targets.
    price
        What each gate that is open beyond the number wanted costs, as a share of that number, in
        units of the mean absolute error.
    closing
        Share of the epochs after which only the number wanted may be open.
    rate, rate_gates
        Learning rates of the network and of the gates.
    batch_size, epochs
        Samples per step, and epochs.
    """

    hidden: int = 64
    price: float = 1.0
    closing: float = 0.6
    rate: float = 3e-3
    rate_gates: float = 3e-2
    batch_size: int = 16
    epochs: int = 150


DEFAULT = GateConfig()


def learned_order(
    task: Task, n: int, seed: int = 0, *, config: GateConfig = DEFAULT
) -> Int[np.ndarray, " n"]:
    """Choose n inputs by gates that are trained with a network, the most open ones first.

    Only training samples are used. The loss is the mean absolute error plus
    ``price * max(0, expected number of open gates - m) / n``, where m falls from all inputs to n.

    Parameters
    ----------
    task
        Expression, scaled.
    n
        Number of inputs to choose.
    seed
        Seeds the random numbers.
    config
        Settings.

    Returns
    -------
    Places of the chosen inputs.

    Raises
    ------
    ValueError
        If n is out of range.
    FloatingPointError
        If training diverged.
    """
    n_inputs = len(task.inputs)
    if not 1 <= n <= n_inputs:
        raise ValueError(f"Expected from 1 to {n_inputs} genes, found {n}.")
    params = train_one(
        _Gated(config, n_inputs, len(task.targets)),
        (task.x_train, task.y_train),
        {"gates": config.rate_gates, "network": config.rate},
        random.key(seed),
        epochs=config.epochs,
        samples=len(task.x_train),
        batch_size=config.batch_size,
        own=np.float32(n),
    )
    return np.argsort(-params["gate"], kind="stable")[:n]


class _Gated(NamedTuple):
    """The cost of inferring the targets through the gates."""

    config: GateConfig
    n_inputs: int
    n_targets: int

    def view(self, shared: Any, own: Any) -> Rows:
        return Rows(shared, own, jnp.arange(len(shared[0])))

    def init(self, key: Array, data: Rows) -> training.Params:
        into, out = random.split(key)
        hidden = self.config.hidden
        return {
            "gate": jnp.full(self.n_inputs, START_LOGIT),
            "into": random.normal(into, (self.n_inputs, hidden)) / self.n_inputs**0.5,
            "into_offset": jnp.zeros(hidden),
            "out": random.normal(out, (hidden, self.n_targets)) / hidden**0.5,
            "out_offset": jnp.zeros(self.n_targets),
        }

    def loss(self, params, key: Array, data: Rows, cells: Cells, epoch: Array) -> Array:
        x, y = (leaf[cells.index] for leaf in data.shared)
        h = jax.nn.relu(
            (x * _draw(params["gate"], key, x)) @ params["into"] + params["into_offset"]
        )
        error = jnp.abs(h @ params["out"] + params["out_offset"] - y).mean()
        done = jnp.minimum(1.0, epoch / (self.config.closing * self.config.epochs))
        allowed = self.n_inputs ** (1 - done) * data.own**done
        is_open = jax.nn.sigmoid(params["gate"] - jnp.log(-LOW / HIGH) / SHARPNESS)
        over = jax.nn.relu(is_open.sum() - allowed)
        return error + self.config.price * over / data.own

    def group(self, name: str) -> str:
        return "gates" if name == "gate" else "network"


def _draw(
    logit: Float[Array, " inputs"], key: Array, x: Float[Array, "samples inputs"]
) -> Float[Array, "samples inputs"]:
    """Draw gates from 0 to 1, many of them at either end."""
    chance = random.uniform(key, x.shape, minval=1e-6, maxval=1 - 1e-6)
    soft = jax.nn.sigmoid(SHARPNESS * (jnp.log(chance) - jnp.log1p(-chance) + logit))
    return jnp.clip(soft * (HIGH - LOW) + LOW, 0.0, 1.0)
