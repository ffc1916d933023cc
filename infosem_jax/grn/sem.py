"""The linear algebra of the structural equation ``u = u W + z``; no inverse is ever formed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from infosem_jax.grn.config import Precision


class Remainder(NamedTuple):
    """Low-rank effects of everything that has no row of its own: ``W_rest = source @ target``.

    Attributes
    ----------
    source
        How genes load on the shared factors, [genes, K].
    target
        How the factors act on genes, [K, genes].
    """

    source: Float[Array, "genes K"]
    target: Float[Array, "K genes"]


def weight_matrix(
    effect: Float[Array, "rows genes"],
    logit: Float[Array, "rows genes"] | None,
    rows: Int[Array, " rows"],
) -> Float[Array, "rows genes"]:
    """Gate effects, remove self-effects: ``W = effect * sigmoid(logit)``, ``W[i, rows[i]] = 0``.

    Parameters
    ----------
    effect, logit
        Effects and the log-odds of their edges (None: no gate), [rows, genes].
    rows
        Which gene each row is, [rows].
    """
    W = effect if logit is None else effect * jax.nn.sigmoid(logit)
    return jnp.where(rows[:, None] == jnp.arange(W.shape[1])[None], 0.0, W)


def absorb(
    u: Float[Array, "cells genes"],
    W: Float[Array, "rows genes"],
    rows: Int[Array, " rows"],
    remainder: Remainder | None = None,
    *,
    precision: Precision = "float32",
) -> Float[Array, "cells genes"]:
    """Return the exogenous noise of a state, ``z = u (I - W)``.

    Parameters
    ----------
    u
        State of every gene in every cell, [cells, genes].
    W
        Effects, [rows, genes]. Rows are in the order of the genes: a square W is the whole matrix.
    rows
        Which gene each row is, [rows].
    remainder
        Low-rank effects of the genes without a row.
    precision
        Of the factors of the product with W and of its gradients, whose sums are float32 in any
        case; everything else is float32 throughout.
    """
    z = u - _product(_select(u, W, rows), W, precision)
    if remainder is None:
        return z
    with jax.default_matmul_precision("float32"):
        return z - (u @ remainder.source) @ remainder.target


def propagate(
    z: Float[Array, "cells genes"],
    W: Float[Array, "rows genes"],
    rows: Int[Array, " rows"],
    remainder: Remainder | None = None,
    *,
    precision: Precision = "float32",
) -> Float[Array, "cells genes"]:
    """Return the state that exogenous noise settles to, ``u = z (I - W)^-1``.

    With ``W = L M``, L [genes, rows + K] and M [rows + K, genes], the state is
    ``u = z + h M`` where ``h (I - M L) = z L``, so the solve is (rows + K) squared.
    It runs in float32 on every device, also where matrix products default to less.

    Parameters
    ----------
    z
        Exogenous noise, [cells, genes].
    W, rows, remainder
        As in `absorb`.
    precision
        Of the factors of ``h M``, which follows the solve; the solve itself is always float32.
    """
    with jax.default_matmul_precision("float32"):
        if W.shape[0] == W.shape[1] and remainder is None:
            return jnp.linalg.solve((jnp.eye(len(W), dtype=W.dtype) - W).T, z.T).T
        drive, M = _select(z, W, rows), W
        inner = _select(M, W, rows)
        if remainder is not None:
            M = jnp.concatenate([W, remainder.target])
            inner = jnp.concatenate([_select(M, W, rows), M @ remainder.source], 1)
            drive = jnp.concatenate([drive, z @ remainder.source], 1)
        h = jnp.linalg.solve((jnp.eye(len(M), dtype=W.dtype) - inner).T, drive.T).T
        return z + _product(h, M, precision)


def _select(a: Array, W: Array, rows: Array) -> Array:
    """Pick the columns of the row genes; a square W has a row for every gene, in order."""
    return a if W.shape[0] == W.shape[1] else a[:, rows]


def _product(a: Array, b: Array, precision: Precision) -> Array:
    if precision == "bfloat16":
        return _half_product(a, b)
    with jax.default_matmul_precision("float32"):
        return a @ b


@jax.custom_vjp
def _half_product(a: Array, b: Array) -> Array:
    """Multiply numbers rounded to bfloat16 and sum in float32; so do the gradients."""
    return _half_dot(a, b, ((1,), (0,)))


def _half_forward(a, b):
    return _half_product(a, b), (a, b)


def _half_backward(factors, gradient):
    a, b = factors
    return _half_dot(gradient, b, ((1,), (1,))), _half_dot(a, gradient, ((0,), (0,)))


_half_product.defvjp(_half_forward, _half_backward)


def _half_dot(a: Array, b: Array, contract) -> Array:
    dimensions = (contract, ((), ()))

    def halves(a, b):
        half = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
        return lax.dot_general(*half, dimensions, preferred_element_type=jnp.float32)

    def rounded(a, b):
        # The same numbers: products of halves are exact in float32. CPUs lack most kernels.
        a, b = (lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7) for x in (a, b))
        return lax.dot_general(a, b, dimensions, precision=lax.Precision.HIGHEST)

    return lax.platform_dependent(a, b, cpu=rounded, default=halves)
