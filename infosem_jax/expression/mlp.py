"""A multilayer perceptron from inputs to targets, after D-GEX (Chen et al. 2016)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import random
from jaxtyping import Array, Float, Float32

from infosem_jax._settings import check
from infosem_jax.engine import training
from infosem_jax.engine.early_stopping import train_one
from infosem_jax.engine.types import Cells, Rows


@dataclass(frozen=True)
class MLPConfig:
    """Settings of the perceptron; those not given suit hundreds of samples.

    Attributes
    ----------
    hidden
        Units of each hidden layer; D-GEX has one to three layers of 3,000, 6,000 or 9,000.
    dropout
        Share of hidden units dropped in training.
    loss
        ``l1`` (mean absolute) or ``l2`` (mean squared difference).
    learning_rate, batch_size
        Of Adam, and samples per step.
    epochs, patience
        Epochs at most, and without a better validation loss until training ends, the best
        parameters kept.
    """

    hidden: tuple[int, ...] = (300,)
    dropout: float = 0.3
    loss: Literal["l1", "l2"] = "l2"
    learning_rate: float = 5e-4
    batch_size: int = 32
    epochs: int = 500
    patience: int = 30

    def __post_init__(self):
        if not 1 <= len(self.hidden) <= 3 or min(self.hidden) < 1:
            raise ValueError(f"Expected one to three hidden layers, found {self.hidden}.")
        check(
            self,
            least={0: ["dropout"], 1: ("batch_size", "epochs", "patience")},
            above={0: ["learning_rate"]},
            below={1: ["dropout"]},
        )


class MLP(nn.Module):
    """Layers of tanh units with dropout, and a linear output."""

    hidden: tuple[int, ...]
    targets: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "samples inputs"], deterministic: bool
    ) -> Float[Array, "samples targets"]:
        """Return the targets; ``deterministic`` drops no unit."""
        for units in self.hidden:
            x = nn.Dropout(self.dropout, deterministic=deterministic)(jnp.tanh(nn.Dense(units)(x)))
        return nn.Dense(self.targets)(x)


@struct.dataclass
class Samples:
    """Inputs with their targets; those held out are evaluated without dropout."""

    x: Any
    y: Any
    held_out: bool = struct.field(pytree_node=False, default=False)


@dataclass(frozen=True)
class Objective:
    """The cost of an MLP."""

    config: MLPConfig
    targets: int

    def view(self, shared: Samples, own: Any) -> Rows:
        """Every fit sees all samples."""
        return Rows(shared, own, jnp.arange(len(shared.x)))

    def init(self, key: Array, data: Rows) -> training.Params:
        """Return starting parameters."""
        return {"network": self.network.init(key, data.shared.x[:1], deterministic=True)}

    def loss(self, params, key: Array, data: Rows, cells: Cells, epoch: Array) -> Array:
        """Return the mean cost of one value, see `engine.types.Objective.loss`."""
        x, y = data.shared.x[cells.index], data.shared.y[cells.index]
        network, held_out = params["network"], data.shared.held_out
        inferred = self.network.apply(network, x, held_out, rngs={"dropout": key})
        gap = inferred - y  # pyright: ignore[reportOperatorIssue]
        return jnp.abs(gap).mean() if self.config.loss == "l1" else (gap**2).mean()

    def group(self, name: str) -> str:
        """All parameters train together."""
        return "network"

    @property
    def network(self) -> MLP:
        """The layers."""
        return MLP(self.config.hidden, self.targets, self.config.dropout)


def train_mlp(
    x: Float32[np.ndarray, "train inputs"],
    y: Float32[np.ndarray, "train targets"],
    x_valid: Float32[np.ndarray, "valid inputs"],
    y_valid: Float32[np.ndarray, "valid targets"],
    config: MLPConfig = MLPConfig(),
    seed: int = 0,
) -> training.Params:
    """Train on some samples until others are inferred no better.

    Parameters
    ----------
    x, y
        Training samples.
    x_valid, y_valid
        Samples that decide when to stop.
    config, seed
        Settings, and what decides start, order and dropout.

    Raises
    ------
    FloatingPointError
        If training diverges.
    """
    return train_one(
        Objective(config, y.shape[1]),
        Samples(x, y),
        {"network": config.learning_rate},
        random.key(seed),
        epochs=config.epochs,
        samples=len(x),
        batch_size=config.batch_size,
        held_out=Samples(x_valid, y_valid, held_out=True),
        patience=config.patience,
    )


def apply_mlp(
    params: training.Params, x: Float32[np.ndarray, "samples inputs"], config: MLPConfig
) -> Float32[np.ndarray, "samples targets"]:
    """Infer the targets of samples.

    Parameters
    ----------
    params
        Of `train_mlp`.
    x
        Inputs.
    config
        Settings that it was trained with.
    """
    targets = params["network"]["params"][f"Dense_{len(config.hidden)}"]["bias"].shape[-1]
    return np.asarray(_apply(Objective(config, targets), params, jnp.asarray(x)))


@partial(jax.jit, static_argnames="objective")
def _apply(objective: Objective, params: training.Params, x: Array) -> Array:
    return jnp.asarray(objective.network.apply(params["network"], x, deterministic=True))
