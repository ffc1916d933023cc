"""Which genes to measure, learned together with what is inferred from them.

Each input passes a random gate on its way into a small network; gates have a price, and close one
after the other until n are left. Source of the gates: Louizos et al. 2018 (hard concrete).
"""

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


# What each gate that is open beyond the number wanted costs, as a share of that number, in units of
# the mean absolute error; and the share of the epochs after which only that number may be open.
PRICE, CLOSING = 1.0, 0.6
# Units of the network between inputs and targets, and samples per step.
HIDDEN, BATCH_SIZE = 64, 16
RATES = {"gates": 3e-2, "network": 3e-3}


def learned_order(task: Task, n: int, seed: int = 0, *, epochs: int = 150) -> Int[np.ndarray, " n"]:
    """Choose n inputs by gates that are trained with a network, the most open ones first.

    Only training samples are used. The loss is the mean absolute error plus
    ``max(0, expected number of open gates - m) / n``, where m falls from all inputs to n.

    Parameters
    ----------
    task
        Expression, scaled.
    n
        Number of inputs to choose.
    seed
        Seeds the random numbers.
    epochs
        Number of epochs.

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
        _Gated(epochs, n_inputs, len(task.targets)),
        (task.x_train, task.y_train),
        RATES,
        random.key(seed),
        epochs=epochs,
        samples=len(task.x_train),
        batch_size=BATCH_SIZE,
        own=np.float32(n),
    )
    return np.argsort(-params["gate"], kind="stable")[:n]


class _Gated(NamedTuple):
    """The cost of inferring the targets through the gates."""

    epochs: int
    n_inputs: int
    n_targets: int

    def view(self, shared: Any, own: Any) -> Rows:
        return Rows(shared, own, jnp.arange(len(shared[0])))

    def init(self, key: Array, data: Rows) -> training.Params:
        into, out = random.split(key)
        return {
            "gate": jnp.full(self.n_inputs, START_LOGIT),
            "into": random.normal(into, (self.n_inputs, HIDDEN)) / self.n_inputs**0.5,
            "into_offset": jnp.zeros(HIDDEN),
            "out": random.normal(out, (HIDDEN, self.n_targets)) / HIDDEN**0.5,
            "out_offset": jnp.zeros(self.n_targets),
        }

    def loss(self, params, key: Array, data: Rows, cells: Cells, epoch: Array) -> Array:
        x, y = (leaf[cells.index] for leaf in data.shared)
        h = jax.nn.relu(
            (x * _draw(params["gate"], key, x)) @ params["into"] + params["into_offset"]
        )
        error = jnp.abs(h @ params["out"] + params["out_offset"] - y).mean()
        done = jnp.minimum(1.0, epoch / (CLOSING * self.epochs))
        allowed = self.n_inputs ** (1 - done) * data.own**done
        is_open = jax.nn.sigmoid(params["gate"] - jnp.log(-LOW / HIGH) / SHARPNESS)
        over = jax.nn.relu(is_open.sum() - allowed)
        return error + PRICE * over / data.own

    def group(self, name: str) -> str:
        return "gates" if name == "gate" else "network"


def _draw(
    logit: Float[Array, " inputs"], key: Array, x: Float[Array, "samples inputs"]
) -> Float[Array, "samples inputs"]:
    """Draw gates from 0 to 1, many of them at either end."""
    chance = random.uniform(key, x.shape, minval=1e-6, maxval=1 - 1e-6)
    soft = jax.nn.sigmoid(SHARPNESS * (jnp.log(chance) - jnp.log1p(-chance) + logit))
    return jnp.clip(soft * (HIGH - LOW) + LOW, 0.0, 1.0)
