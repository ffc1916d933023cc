"""The scalar networks that all genes share, and their tabulation.

The encoder (R -> R^2) and the decoder (R -> R) act on one number at a time. Evaluating them on a grid
of knots and interpolating costs one small network call a step instead of cells x genes of them.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

GRID = (-12.0, 12.0)


class ScalarNetwork(nn.Module):
    """Two tanh layers from one number to ``outputs`` numbers, Xavier-normal start as in DeepSEM.

    Attributes
    ----------
    hidden
        Width of both layers.
    outputs
        Numbers that come out.
    """

    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch 1"]) -> Float[Array, "*batch outputs"]:
        """Evaluate the network on the last axis."""
        init = nn.initializers.xavier_normal()
        for _ in range(2):
            x = nn.tanh(nn.Dense(self.hidden, kernel_init=init)(x))
        return nn.Dense(self.outputs, kernel_init=init)(x)


def evaluate(
    network: Callable, x: Float[Array, "cells genes"], knots: int
) -> Float[Array, "cells genes outputs"]:
    """Evaluate a scalar network on every entry, directly (``knots = 0``) or through a table.

    Parameters
    ----------
    network
        Maps [..., 1] to [..., outputs].
    x
        Where to evaluate it, [cells, genes].
    knots
        Size of the table; 0 evaluates the network on every entry, the reference for the table.
    """
    if knots == 0:
        return network(x[..., None])
    return tabulate(lambda s: network(s[None]), x, knots=knots)


def tabulate(
    f: Callable, x: Float[Array, "*shape"], *, knots: int, grid: tuple[float, float] = GRID
) -> Float[Array, "*shape outputs"]:
    """Interpolate ``f: R -> R^k`` by cubic Hermite pieces with exact slopes at the knots.

    Differentiable in the parameters of f and in x. Outside the grid f goes on as a straight line.

    Parameters
    ----------
    f
        Maps a scalar to [k].
    x
        Where to evaluate it, any shape.
    knots
        Number of equidistant knots on the grid, at least 2.
    grid
        First and last knot.
    """
    low, high = grid
    h = (high - low) / (knots - 1)
    at = jnp.linspace(low, high, knots, dtype=x.dtype)
    value, slope = jax.vmap(lambda s: jax.jvp(f, (s,), (jnp.ones_like(s),)))(at)
    # Polynomial coefficients of each piece in the local coordinate t in [0, 1]: one gather per entry.
    step, d0, d1 = value[1:] - value[:-1], slope[:-1] * h, slope[1:] * h
    pieces = jnp.stack([value[:-1], d0, 3 * step - 2 * d0 - d1, d0 + d1 - 2 * step], 1)
    inside = jnp.clip(x, low, high)
    i = jnp.clip(jnp.floor((inside - low) / h).astype(jnp.int32), 0, knots - 2)
    t = ((inside - low) / h - i)[..., None]
    c0, c1, c2, c3 = jnp.moveaxis(pieces[i], -2, 0)
    beyond = (x - inside)[..., None] / h
    end = jnp.where(beyond < 0, d0[0], d1[-1])
    return c0 + t * (c1 + t * (c2 + t * c3)) + beyond * end
