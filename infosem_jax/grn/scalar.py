"""The scalar networks that all genes share, and their tabulation.

The encoder (R -> R^2) and the decoder (R -> R) act on one number at a time. Evaluating them on a
grid of knots and interpolating costs one small network call a step instead of cells x genes.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

GRID = (-12.0, 12.0)


class ScalarNetwork(nn.Module):
    """Two tanh layers from one number to ``outputs`` numbers, Xavier-normal start as in DeepSEM.

    Attributes
    ----------
    hidden
        Width of both layers.
    outputs
        Numbers that come out.
    offset
        Start the first layer's biases at random, as DeepSEM's encoder does by feeding the network a
        constant beside x; at zero biases the network is an odd function of x.
    """

    hidden: int
    outputs: int
    offset: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch 1"]) -> Float[Array, "*batch outputs"]:
        """Evaluate the network on the last axis."""
        init = nn.initializers.xavier_normal()
        constant = nn.initializers.normal((2 / (self.hidden + 2)) ** 0.5)
        first = constant if self.offset else nn.initializers.zeros
        x = nn.tanh(nn.Dense(self.hidden, kernel_init=init, bias_init=first)(x))
        x = nn.tanh(nn.Dense(self.hidden, kernel_init=init)(x))
        return nn.Dense(self.outputs, kernel_init=init)(x)


def evaluate(
    network: Callable, x: Float[Array, "cells genes"], knots: int
) -> Float[Array, "outputs cells genes"]:
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
        return jnp.moveaxis(network(x[..., None]), -1, 0)
    flat = tabulate(lambda s: network(s[None]), x.reshape(-1), knots=knots)
    return flat.reshape(-1, *x.shape)


def tabulate(
    f: Callable, x: Float[Array, " n"], *, knots: int, grid: tuple[float, float] = GRID
) -> Float[Array, "outputs n"]:
    """Interpolate ``f: R -> R^k`` by cubic Hermite pieces with exact slopes at the knots.

    Differentiable in x and in the parameters of f, in reverse mode. Outside the grid f goes on as
    a straight line.

    Parameters
    ----------
    f
        Maps a scalar to [outputs].
    x
        Where to evaluate it, [n].
    knots
        Number of equidistant knots on the grid, at least 2.
    grid
        First and last knot.
    """
    low, high = grid
    h = (high - low) / (knots - 1)
    at = jnp.linspace(low, high, knots, dtype=x.dtype)
    value, slope = jax.vmap(lambda s: jax.jvp(f, (s,), (jnp.ones_like(s),)))(at)
    step, d0, d1 = value[1:] - value[:-1], slope[:-1] * h, slope[1:] * h
    cubics = jnp.stack([value[:-1], d0, 3 * step - 2 * d0 - d1, d0 + d1 - 2 * step])
    inside = jnp.clip(x, low, high)
    place = (inside - low) / h
    piece = jnp.clip(jnp.floor(lax.stop_gradient(place)), 0, knots - 2)
    out = _cubic(cubics, piece.astype(jnp.int32), place - piece)
    beyond = (x - inside)[None]
    return out + beyond * jnp.where(beyond < 0, slope[0][:, None], slope[-1][:, None])


@jax.custom_vjp
def _cubic(
    cubics: Float[Array, "4 pieces outputs"], piece: Int[Array, " n"], t: Float[Array, " n"]
) -> Float[Array, "outputs n"]:
    """Evaluate each entry's cubic at t.

    The gradient is written out as one segment sum, since the one that autodiff derives repeats the
    gather for every coefficient, several times slower.
    """
    return _cubic_and_slope(cubics, piece, t)[0]


def _cubic_and_slope(cubics, piece, t):
    order, pieces, outputs = cubics.shape
    rows = jnp.moveaxis(cubics, 1, 0).reshape(pieces, order * outputs)[piece]
    c = rows.T.reshape(order, outputs, -1)
    t = t[None]
    value = c[0] + t * (c[1] + t * (c[2] + t * c[3]))
    return value, c[1] + t * (2 * c[2] + 3 * t * c[3])


def _cubic_forward(cubics, piece, t):
    value, slope = _cubic_and_slope(cubics, piece, t)
    return value, (cubics, piece, t, slope)


def _cubic_backward(residuals, gradient):
    cubics, piece, t, slope = residuals
    order, pieces, outputs = cubics.shape
    powers = [gradient.T]
    for _ in range(order - 1):
        powers.append(powers[-1] * t[:, None])
    summed = jax.ops.segment_sum(jnp.concatenate(powers, 1), piece, pieces)
    to_cubics = jnp.moveaxis(summed.reshape(pieces, order, outputs), 0, 1)
    return to_cubics, np.zeros(piece.shape, jax.dtypes.float0), (gradient * slope).sum(0)


_cubic.defvjp(_cubic_forward, _cubic_backward)
