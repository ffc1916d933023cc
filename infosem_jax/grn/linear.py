"""The linear-Gaussian model, whose noise has a closed form.

With the decoder left out and a standard normal prior of the noise, ``x = z A^-1 + e`` with
``A = I - W``, ``z ~ Normal(0, I)`` and ``e ~ Normal(0, sd^2 I)`` for each cell. Then x is normal
with covariance ``A^-T A^-1 + sd^2 I``, and z given x is normal as well. Everything below follows
from one Cholesky factor, of ``I + sd^2 A^T A``; no inverse of A is formed.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int, Num

from infosem_jax.grn.config import Config
from infosem_jax.grn.sem import Remainder, absorb


class Scatter(NamedTuple):
    """All that the likelihood of the edges needs of the cells.

    Attributes
    ----------
    root
        Any matrix with ``root^T root = x^T x``, [any, genes].
    cells
        Number of cells that they count as.
    """

    root: Float[Array, "any genes"]
    cells: Num[Array, ""] | int | float


def is_linear(config: Config) -> bool:
    """Tell whether the noise has a closed form: no decoder, standard noise, all entries scored."""
    return (config.decoder, config.latent_prior, config.observe) == ("identity", "standard", "all")


def structure(
    W: Float[Array, "rows genes"],
    rows: Int[Array, " rows"],
    remainder: Remainder | None,
) -> Float[Array, "genes genes"]:
    """Return ``A = I - W`` over all genes.

    Parameters
    ----------
    W, rows, remainder
        Effects, see `infosem_jax.grn.sem.absorb`.
    """
    return absorb(jnp.eye(W.shape[1], dtype=W.dtype), W, rows, remainder)


def scatter(x: Float[Array, "cells genes"], cells: Num[Array, ""] | int | float) -> Scatter:
    """Compress cells to their scatter; rows of zeros do not count.

    Parameters
    ----------
    x
        Expression, [cells, genes]; zero in the rows of padding.
    cells
        Number of real cells, or that they count as.
    """
    return Scatter(jnp.linalg.qr(x, mode="r"), cells)


def log_likelihood(
    cells: Scatter, A: Float[Array, "genes genes"], sd: float | Array
) -> Float[Array, ""]:
    """Return ``log p(x | W)`` of all cells, the noise integrated out, in nats.

    Parameters
    ----------
    cells
        The cells.
    A
        ``I - W``, [genes, genes].
    sd
        Standard deviation of x around its state.
    """
    lower = _factor(A, sd)
    log_determinant = 2 * (jnp.log(jnp.diagonal(lower)).sum() - jnp.linalg.slogdet(A)[1])
    standardised = solve_triangular(lower, (cells.root @ A).T, lower=True)
    constant = A.shape[0] * jnp.log(2 * jnp.pi)
    return -0.5 * (cells.cells * (constant + log_determinant) + (standardised**2).sum())


def noise_posterior(
    x: Float[Array, "cells genes"], A: Float[Array, "genes genes"], sd: float | Array
) -> dist.MultivariateNormal:
    """Return the distribution of z given x and W, batch shape [cells], event shape [genes].

    Its mean is ``x A (I + sd^2 A^T A)^-1``, its covariance ``I - (I + sd^2 A^T A)^-1``.

    Parameters
    ----------
    x
        Expression, [cells, genes].
    A, sd
        As in `log_likelihood`.
    """
    unit = jnp.eye(A.shape[0], dtype=A.dtype)
    root = solve_triangular(_factor(A, sd), unit, lower=True)
    precision = root.T @ root
    return dist.MultivariateNormal((x @ A) @ precision, covariance_matrix=unit - precision)


def _factor(A: Array, sd: float | Array) -> Array:
    return jnp.linalg.cholesky(jnp.eye(A.shape[0], dtype=A.dtype) + sd**2 * A.T @ A)
