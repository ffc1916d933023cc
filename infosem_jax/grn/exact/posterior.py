"""Closed-form posteriors of one linear regression a target, all targets at once.

For target j, with the genes that act in the columns of Z and itself left out,

    x_j | w, s_j  ~  Normal(Z w_j, s_j^2)
    w_ij | s_j    ~  Normal(m_ij, t_ij^2 s_j^2)
    s_j^2         ~  InverseGamma(noise / 2, noise / 2)

which is conjugate: effects are Student-t with ``noise + cells`` degrees of freedom a posteriori,
and the evidence is a closed form. With ``A = Z'Z + diag(1 / t_j^2)``, ``P = A^-1`` and
``h_j = Z'x_j - Z'Z m_j``, a target that is itself a row is taken out by a correction of rank one,

    w_j - m_j    = P h_j - P_.j (P h_j)_j / P_jj
    v_ij / s_j^2 = P_ii - P_ij^2 / P_jj
    log|A_-j|    = log|A| + log P_jj
    q_j          = (x_j - Z m_j)'(x_j - Z m_j) - h_j' P h_j + (P h_j)_j^2 / P_jj

so that with one scale t for all pairs, one eigendecomposition serves all targets and every t: of
``Z'Z``, or of ``ZZ'`` where there are fewer cells than rows, whose vectors leave out directions in
which P is ``t^2`` times the identity. The equations are those of a structural equation model
without its Jacobian, exact for targets that act on nothing.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, random
from jax.scipy.special import gammaln, ndtr
from jaxtyping import Array, Float, Int, Key, UInt32

from infosem_jax.grn.exact.decomposition import Spectrum, trimmed

NOISE = 1.0
# Multiplications that take minutes on a CPU.
LONG = 1e13
# Most values of the matrices of a block of targets.
MOST_VALUES = 2**25


class Posterior(NamedTuple):
    """Student-t posteriors of the effects of some rows.

    Attributes
    ----------
    mean
        Of each effect, [rows, genes]; zero from a gene to itself.
    unit_variance
        Variance of an effect given ``s_j = 1``, [rows, genes].
    shape, rate
        Of the Inverse-Gamma posterior of ``s_j^2``, [] and [genes].
    log_evidence
        Of each target, natural logarithm, [genes].
    """

    mean: Float[Array, "rows genes"]
    unit_variance: Float[Array, "rows genes"]
    shape: Float[Array, ""]
    rate: Float[Array, " genes"]
    log_evidence: Float[Array, " genes"]


@jax.jit
def log_evidence(
    basis: Spectrum,
    scale: Float[Array, ""] | float,
    mean: Float[Array, "components genes"] | None = None,
    noise: Float[Array, ""] | float = NOISE,
) -> Float[Array, " genes"]:
    """Return the log density of each target's expression with effects and noise integrated out.

    Differentiable in scale and mean.

    Parameters
    ----------
    basis
        The moments.
    scale
        Standard deviation t of all effects, in units of the noise of their target.
    mean
        Prior means in the basis of the spectrum (see `project`); None for zero.
    noise
        Cells that the prior ``s_j^2 = 1`` is worth.
    """
    solved = _solve(basis, scale, mean)
    return _marginal(basis.cells, solved.quadratic, solved.log_determinant, noise)


@jax.jit
def posterior(
    basis: Spectrum,
    scale: Float[Array, ""] | float,
    mean: Float[Array, "rows genes"] | None = None,
    noise: Float[Array, ""] | float = NOISE,
    rows: Int[Array, " some"] | None = None,
) -> Posterior:
    """Return the posterior of the effects of some rows where one scale holds for all pairs.

    Parameters
    ----------
    basis, scale, noise
        As in `log_evidence`.
    mean
        Prior means of all rows, [rows, genes]; None for zero.
    rows
        Whose effects are wanted; None for all.
    """
    solved = _solve(basis, scale, None if mean is None else project(basis, mean))
    wanted = jnp.arange(basis.n_rows) if rows is None else rows
    mine = basis.vectors[wanted]
    inverse = inverse_rows(basis, scale, wanted)
    column = jnp.where(basis.own >= 0, inverse[:, basis.own], 0.0)
    change = mine @ solved.shrunk - column * (solved.own / solved.pivot)[None]
    before = _diagonal(basis, _inverse_values(basis, scale), scale)[wanted]
    spread = jnp.maximum(before[:, None] - column**2 / solved.pivot[None], 0)
    centre = change if mean is None else mean[wanted] + change
    itself = basis.itself[wanted]
    shape, rate = _noise_posterior(basis.cells, solved.quadratic, noise)
    return Posterior(
        jnp.where(itself, 0.0, centre),
        jnp.where(itself, 0.0, spread),
        shape,
        rate,
        _marginal(basis.cells, solved.quadratic, solved.log_determinant, noise),
    )


def posterior_by_pair(
    basis: Spectrum,
    scale: Float[Array, "rows genes"],
    mean: Float[Array, "rows genes"],
    noise: Float[Array, ""] | float = NOISE,
    rows: Int[Array, " some"] | None = None,
    *,
    block: int = 16,
) -> Posterior:
    """Return the posterior where scales differ between pairs: a Cholesky factor for each target.

    With k components that vary, fewer than the rows or as many, it costs `factor_cost`
    multiplications and memory for a block of matrices [k, rows], of half a gigabyte at most. A pair
    with scale zero has the effect of its prior mean.

    Parameters
    ----------
    basis
        The moments.
    scale, mean
        Of each effect a priori, scales in units of the noise of their target, [rows, genes].
    noise
        As in `log_evidence`.
    rows
        Whose effects are wanted; None for all.
    block
        Most targets at a time.
    """
    return _posterior_by_pair(trimmed(basis), scale, mean, noise, rows, block=block)


def factor_cost(targets: int, rows: int, components: int) -> float:
    """Return how many multiplications `posterior_by_pair` takes, all targets together.

    A Cholesky factor, ``k^3 / 3``, and with fewer components k than rows R also the matrix that it
    is of and its solution for all rows, ``2 k^2 R``.

    Parameters
    ----------
    targets, rows, components
        Numbers of them.
    """
    k = components
    return targets * (k**3 / 3 + (2 * k**2 * rows if k < rows else 0))


def project(basis: Spectrum, mean: Float[Array, "rows genes"]) -> Float[Array, "components genes"]:
    """Bring prior means, which say nothing of a gene on itself, to the basis of the spectrum."""
    return basis.vectors.T @ jnp.where(basis.itself, 0.0, mean)


def standard_deviation(found: Posterior) -> Float[Array, "rows genes"]:
    """Return the standard deviation of the Student-t posterior of each effect."""
    return jnp.sqrt(found.unit_variance * found.rate[None] / (found.shape - 1))


def positive_probability(found: Posterior) -> Float[Array, "rows genes"]:
    """Return the posterior probability that each effect is positive; 1/2 where it is known as 0.

    Student's t is brought to a normal variable (Hill 1970, Communications of the ACM 13:617,
    algorithm 395), which is a hundred times faster than an incomplete beta function, and to
    single precision the same from five cells on.
    """
    spread = jnp.sqrt(found.unit_variance * found.rate[None] / found.shape)
    t = jnp.where(spread > 0, found.mean / jnp.where(spread > 0, spread, 1.0), 0.0)
    freedom = 2 * found.shape
    square = (freedom - 0.5) * jnp.log1p(t**2 / freedom)
    b = 48 * (freedom - 0.5) ** 2
    tail = (((-0.4 * square - 3.3) * square - 24) * square - 85.5) / (0.8 * square**2 + 100 + b)
    return ndtr(jnp.sign(t) * jnp.sqrt(square) * (1 + (tail + square + 3) / b))


def draw(
    key: Key[Array, ""] | UInt32[Array, "2"],
    basis: Spectrum,
    scale: Float[Array, ""] | float,
    mean: Float[Array, "rows genes"] | None = None,
    noise: Float[Array, ""] | float = NOISE,
) -> tuple[Float[Array, "rows genes"], Float[Array, " genes"]]:
    """Draw the effects and the variances of the noise from their joint posterior, exactly.

    A draw of ``Normal(0, P)`` is conditioned on the target's own coordinate being zero.

    Parameters
    ----------
    key
        Of the random numbers.
    basis, scale, mean, noise
        As in `posterior`.
    """
    found = posterior(basis, scale, mean, noise)
    for_noise, for_effects = random.split(key)
    variance = found.rate / random.gamma(for_noise, found.shape, found.rate.shape)
    z = random.normal(for_effects, found.mean.shape)
    size = jnp.sqrt(_inverse_values(basis, scale)) - scale
    raw = scale * z + basis.vectors @ (size[:, None] * (basis.vectors.T @ z))
    inverse = inverse_rows(basis, scale, jnp.arange(basis.n_rows))
    acts = basis.own >= 0
    own = jnp.where(acts, jnp.take_along_axis(raw, basis.own[None], 0)[0], 0.0)
    pivot = jnp.where(acts, jnp.diagonal(inverse)[basis.own], 1.0)
    free = raw - inverse[:, basis.own] * (own / pivot)[None]
    return jnp.where(basis.itself, 0.0, found.mean + jnp.sqrt(variance)[None] * free), variance


def chance(
    basis: Spectrum, scale: Float[Array, ""], rows: Int[Array, " some"]
) -> Float[Array, " some"]:
    """Return the share of an effect's posterior variance that is due to the noise of the cells.

    The posterior mean of an effect that is zero, with no other, has the variance
    ``s^2 (P Z'Z P)_ii``; this is that of ``s^2 P_ii``.

    Parameters
    ----------
    basis, scale
        As in `log_evidence`.
    rows
        Whose effects.
    """
    inverse = _inverse_values(basis, scale)
    noise = basis.vectors**2 @ (basis.cells * basis.values * inverse**2)
    return (noise / _diagonal(basis, inverse, scale))[rows]


def inverse_rows(
    basis: Spectrum, scale: Float[Array, ""] | float, rows: Int[Array, " some"]
) -> Float[Array, "some rows"]:
    """Return some rows of ``P = (Z'Z + I / t^2)^-1``.

    Parameters
    ----------
    basis, scale
        As in `log_evidence`.
    rows
        Which.
    """
    inverse = _inverse_values(basis, scale)
    if len(basis.values) == basis.n_rows:
        return (basis.vectors[rows] * inverse[None]) @ basis.vectors.T
    inside = (basis.vectors[rows] * (inverse - scale**2)[None]) @ basis.vectors.T
    return inside + scale**2 * jax.nn.one_hot(rows, basis.n_rows)


class _Solved(NamedTuple):
    """``P h`` in the basis, its own coordinate, ``P_jj``, q and ``log|I + t^2 Z'Z|`` by target."""

    shrunk: Array
    own: Array
    pivot: Array
    quadratic: Array
    log_determinant: Array


@partial(jax.jit, static_argnames="block")
def _posterior_by_pair(basis: Spectrum, scale, mean, noise, rows, *, block: int) -> Posterior:
    block = max(1, min(block, MOST_VALUES // basis.vectors.size))
    wanted = jnp.arange(basis.n_rows) if rows is None else rows
    scale, mean = (jnp.where(basis.itself, 0.0, part) for part in (scale, mean))
    gram = None
    if len(basis.values) == basis.n_rows:
        gram = basis.cells * (basis.vectors * basis.values[None]) @ basis.vectors.T
    one = partial(_one_target, basis, gram, wanted)
    targets = (basis.cross.T, basis.total, scale.T, mean.T)
    centre, spread, quadratic, log_determinant = lax.map(one, targets, batch_size=block)
    shape, rate = _noise_posterior(basis.cells, quadratic, noise)
    evidence = _marginal(basis.cells, quadratic, log_determinant, noise)
    return Posterior(centre.T, spread.T, shape, rate, evidence)


def _inverse_values(basis: Spectrum, scale) -> Array:
    """Eigenvalues of P."""
    return scale**2 / (1 + scale**2 * basis.cells * basis.values)


def _diagonal(basis: Spectrum, values: Array, scale) -> Array:
    """Diagonal of the matrix with these eigenvalues, and ``scale^2`` outside of the vectors."""
    return basis.vectors**2 @ values + basis.outside * scale**2


def _solve(basis: Spectrum, scale, mean) -> _Solved:
    inverse = _inverse_values(basis, scale)
    n, acts = basis.cells, basis.own >= 0
    pivot = jnp.where(acts, _diagonal(basis, inverse, scale)[basis.own], scale**2)
    log_determinant = jnp.log1p(scale**2 * n * basis.values).sum() + jnp.log(pivot / scale**2)
    if mean is None:
        # The cross of a target that acts is its vector times the values.
        shrunk = n * inverse[:, None] * basis.cross
        own = n * (basis.vectors**2 @ (inverse * basis.values))[basis.own]
        explained = n**2 * (inverse @ basis.cross**2)
        left = n * basis.total - explained
    else:
        fitted = basis.values[:, None] * mean
        h = basis.cross - fitted
        shrunk = n * inverse[:, None] * h
        own = (basis.vectors[basis.own].T * shrunk).sum(0)
        left = n * (basis.total - (mean * (basis.cross + h) + h * shrunk).sum(0))
    own = jnp.where(acts, own, 0.0)
    quadratic = jnp.maximum(left + own**2 / pivot, 0)
    return _Solved(shrunk, own, pivot, quadratic, log_determinant)


def _one_target(basis: Spectrum, gram: Array | None, wanted: Array, target) -> tuple:
    """Mean, unit variance, quadratic form and log determinant of one target.

    ``P = T (I + T Z'Z T)^-1 T`` is factored as it is or, with fewer components than rows and
    ``M = sqrt(n values) V' T``, as ``T (I - M' (I + MM')^-1 M) T``.
    """
    cross, total, t, m = target
    n = basis.cells
    projected = basis.vectors.T @ m
    fitted = basis.values * projected
    h = t * (basis.vectors @ (cross - fitted))
    solve = partial(lax.linalg.triangular_solve, left_side=True, lower=True)
    if gram is not None:
        factor = jnp.linalg.cholesky(jnp.eye(len(t)) + t[:, None] * gram * t[None])
        half = solve(factor, h[:, None])
        effect = solve(factor, half, transpose_a=True)[:, 0]
        spread = (solve(factor, jnp.eye(len(t))[:, wanted]) ** 2).sum(0)
    else:
        across = jnp.sqrt(n * basis.values)[:, None] * (basis.vectors.T * t[None])
        factor = jnp.linalg.cholesky(jnp.eye(len(cross)) + across @ across.T)
        half = solve(factor, across)
        effect = h - half.T @ (half @ h)
        spread = jnp.maximum(1 - (half[:, wanted] ** 2).sum(0), 0)
    quadratic = n * (total - projected @ (2 * cross - fitted)) - n**2 * (h @ effect)
    log_determinant = 2 * jnp.log(jnp.diagonal(factor)).sum()
    centre = (m + n * t * effect)[wanted]
    return centre, t[wanted] ** 2 * spread, jnp.maximum(quadratic, 0), log_determinant


def _noise_posterior(n: Array, quadratic: Array, noise) -> tuple[Array, Array]:
    return (noise + n) / 2, (noise + quadratic) / 2


def _marginal(n: Array, quadratic: Array, log_determinant: Array, noise) -> Array:
    shape, rate = _noise_posterior(n, quadratic, noise)
    before = noise / 2 * jnp.log(noise / 2) - gammaln(noise / 2)
    return (
        before
        + gammaln(shape)
        - shape * jnp.log(rate)
        - n / 2 * jnp.log(2 * jnp.pi)
        - log_determinant / 2
    )
