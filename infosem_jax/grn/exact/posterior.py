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

so that with one scale t for all pairs, one eigendecomposition of ``Z'Z`` serves all targets and
every t. The equations are those of a structural equation model without its Jacobian, exact for
targets that act on nothing.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jax.scipy.special import betainc, gammaln
from jaxtyping import Array, Float, Int, Key, UInt32

from infosem_jax.grn.exact.statistics import Moments

NOISE = 1.0


class Spectrum(NamedTuple):
    """Moments in the basis in which the rows are uncorrelated, scaled by the number of cells.

    Attributes
    ----------
    values, vectors
        Of ``X_R'X_R / cells``, [rows] and [rows, rows].
    cross
        ``X_R'X / cells`` in that basis, [rows, genes].
    total
        Mean square of each gene, [genes].
    own
        Which row each target is, -1 for those that act on nothing, [genes].
    cells
        Number of cells.
    """

    values: Float[Array, " rows"]
    vectors: Float[Array, "rows rows"]
    cross: Float[Array, "rows genes"]
    total: Float[Array, " genes"]
    own: Int[Array, " genes"]
    cells: Float[Array, ""]


class Posterior(NamedTuple):
    """Student-t posteriors of the effects.

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


def spectrum(summed: Moments, rows: Int[np.ndarray, " rows"]) -> Spectrum:
    """Decompose the moments once, in float64.

    Parameters
    ----------
    summed
        Sums over cells.
    rows
        Which gene each row is.
    """
    n = summed.cells
    values, vectors = np.linalg.eigh(summed.RR / n)
    own = np.full(len(summed.GG), -1)
    own[rows] = np.arange(len(rows))
    return Spectrum(
        *(
            jnp.asarray(part, float)
            for part in (np.maximum(values, 0), vectors, vectors.T @ (summed.RG / n), summed.GG / n)
        ),
        own=jnp.asarray(own),
        cells=jnp.asarray(n, float),
    )


def log_evidence(
    basis: Spectrum,
    scale: Float[Array, ""] | float,
    mean: Float[Array, "rows genes"] | None = None,
    noise: float = NOISE,
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
    _, _, quadratic, log_determinant = _solve(basis, scale, mean)
    return _marginal(basis.cells, quadratic, log_determinant, noise)


def posterior(
    basis: Spectrum,
    scale: Float[Array, ""] | float,
    mean: Float[Array, "rows genes"] | None = None,
    noise: float = NOISE,
) -> Posterior:
    """Return the posterior of all effects where one scale holds for all pairs.

    Parameters
    ----------
    basis, scale, noise
        As in `log_evidence`.
    mean
        Prior means, [rows, genes]; None for zero.
    """
    projected = None if mean is None else project(basis, mean)
    shrunk, own, quadratic, log_determinant = _solve(basis, scale, projected)
    inverse = (basis.vectors * _inverse_values(basis, scale)) @ basis.vectors.T
    column = inverse[:, basis.own] * (basis.own >= 0)
    pivot = jnp.where(basis.own >= 0, jnp.diagonal(inverse)[basis.own], 1.0)
    change = basis.vectors @ shrunk - column * (own / pivot)
    spread = jnp.maximum(jnp.diagonal(inverse)[:, None] - column**2 / pivot, 0)
    centre = change if mean is None else mean + change
    itself = jnp.arange(len(inverse))[:, None] == basis.own
    shape, rate = _noise_posterior(basis.cells, quadratic, noise)
    return Posterior(
        jnp.where(itself, 0.0, centre),
        jnp.where(itself, 0.0, spread),
        shape,
        rate,
        _marginal(basis.cells, quadratic, log_determinant, noise),
    )


def posterior_by_pair(
    summed: Moments,
    rows: Int[np.ndarray, " rows"],
    scale: Float[Array, "rows genes"],
    mean: Float[Array, "rows genes"],
    noise: float = NOISE,
    *,
    block: int = 16,
) -> Posterior:
    """Return the posterior where scales differ between pairs: a Cholesky factor for each target.

    Costs ``genes rows^3 / 3`` multiplications and memory for ``block`` factors; a pair with scale
    zero has the effect of its prior mean.

    Parameters
    ----------
    summed, rows
        Sums over cells, and which gene each row is.
    scale, mean
        Of each effect a priori, scales in units of the noise of their target, [rows, genes].
    noise
        As in `log_evidence`.
    block
        Targets at a time.
    """
    itself = jnp.asarray(rows)[:, None] == jnp.arange(len(summed.GG))
    n = jnp.asarray(summed.cells, float)
    RR, RG, GG = (jnp.asarray(part / summed.cells, float) for part in summed[:3])
    scale = jnp.where(itself, 0.0, scale)
    mean = jnp.where(itself, 0.0, mean)
    return _by_pair(RR, RG, GG, n, scale, mean, noise, block)


def project(basis: Spectrum, mean: Float[Array, "rows genes"]) -> Float[Array, "rows genes"]:
    """Bring prior means, which say nothing of a gene on itself, to the basis of the spectrum."""
    itself = jnp.arange(len(basis.values))[:, None] == basis.own
    return basis.vectors.T @ jnp.where(itself, 0.0, mean)


def standard_deviation(found: Posterior) -> Float[Array, "rows genes"]:
    """Return the standard deviation of the Student-t posterior of each effect."""
    return jnp.sqrt(found.unit_variance * found.rate / (found.shape - 1))


def positive_probability(found: Posterior) -> Float[Array, "rows genes"]:
    """Return the posterior probability that each effect is positive; 1/2 where it is known as 0."""
    spread = jnp.sqrt(found.unit_variance * found.rate / found.shape)
    t = jnp.where(spread > 0, found.mean / jnp.where(spread > 0, spread, 1.0), 0.0)
    freedom = 2 * found.shape
    # The distribution function of Student's t, from whichever side keeps its digits.
    near = 0.5 - 0.5 * betainc(0.5, freedom / 2, t**2 / (freedom + t**2))
    far = 0.5 * betainc(freedom / 2, 0.5, freedom / (freedom + t**2))
    tail = jnp.where(jnp.abs(t) < 1, near, far)
    return jnp.where(t > 0, 1 - tail, jnp.where(t < 0, tail, 0.5))


def draw(
    key: Key[Array, ""] | UInt32[Array, "2"],
    basis: Spectrum,
    scale: Float[Array, ""] | float,
    mean: Float[Array, "rows genes"] | None = None,
    noise: float = NOISE,
) -> Float[Array, "rows genes"]:
    """Draw the effects from their joint posterior, exactly.

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
    size = jnp.sqrt(_inverse_values(basis, scale))[:, None]
    raw = basis.vectors @ (size * random.normal(for_effects, found.mean.shape))
    inverse = (basis.vectors * _inverse_values(basis, scale)) @ basis.vectors.T
    acts = basis.own >= 0
    own = jnp.where(acts, jnp.take_along_axis(raw, basis.own[None], 0)[0], 0.0)
    pivot = jnp.where(acts, jnp.diagonal(inverse)[basis.own], 1.0)
    free = raw - inverse[:, basis.own] * (own / pivot)
    itself = jnp.arange(len(inverse))[:, None] == basis.own
    return jnp.where(itself, 0.0, found.mean + jnp.sqrt(variance) * free)


def _inverse_values(basis: Spectrum, scale) -> Array:
    """Eigenvalues of P."""
    return scale**2 / (1 + scale**2 * basis.cells * basis.values)


def _solve(basis: Spectrum, scale, mean) -> tuple[Array, Array, Array, Array]:
    """P h in the basis, its own coordinate, the quadratic form and log|I + t^2 Z'Z|."""
    inverse = _inverse_values(basis, scale)
    n, acts = basis.cells, basis.own >= 0
    h, residual = basis.cross, basis.total
    if mean is not None:
        fitted = basis.values[:, None] * mean
        residual = residual - (mean * (2 * basis.cross - fitted)).sum(0)
        h = h - fitted
    shrunk = n * inverse[:, None] * h
    mine = jnp.where(acts[:, None], basis.vectors[basis.own], 0.0)
    own = (mine.T * shrunk).sum(0)
    pivot = jnp.where(acts, (mine**2 * inverse).sum(1), scale**2)
    quadratic = n * residual - n * (h * shrunk).sum(0) + own**2 / pivot
    log_determinant = jnp.log1p(scale**2 * n * basis.values).sum() + jnp.log(pivot / scale**2)
    return shrunk, own, jnp.maximum(quadratic, 0), log_determinant


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


@partial(jax.jit, static_argnames="block")
def _by_pair(RR, RG, GG, n, scale, mean, noise, block: int) -> Posterior:
    def one(target):
        cross, total, t, m = target
        factor = jnp.linalg.cholesky(jnp.eye(len(RR)) + n * t[:, None] * RR * t)
        fitted = RR @ m
        h = t * (cross - fitted)
        inverse = lax.linalg.triangular_solve(factor, jnp.eye(len(RR)), left_side=True, lower=True)
        half = inverse @ h
        quadratic = n * (total - m @ (2 * cross - fitted)) - n**2 * (half @ half)
        log_determinant = 2 * jnp.log(jnp.diagonal(factor)).sum()
        centre = m + n * t * (inverse.T @ half)
        return centre, t**2 * (inverse**2).sum(0), jnp.maximum(quadratic, 0), log_determinant

    targets = (RG.T, GG, scale.T, mean.T)
    centre, spread, quadratic, log_determinant = lax.map(one, targets, batch_size=block)
    shape, rate = _noise_posterior(n, quadratic, noise)
    return Posterior(
        centre.T, spread.T, shape, rate, _marginal(n, quadratic, log_determinant, noise)
    )
