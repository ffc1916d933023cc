"""What the vectors of two genes say of the effect between them, learned in closed form.

A bilinear form of the vectors, in units of the scale t of the effects: regulator i is expected to
act on target j by ``t h_i' A h_j``, with every entry of A ``Normal(0, size^2)``. Given t and the
noise s_j of the regressions without such a mean (see `infosem_jax.grn.exact.posterior`, with
``K_j = I + t^2 Z Z'``), the cells of target j say of ``a_j = A h_j`` as much as a normal with

    M_j = H' Z' K_j^-1 Z H / s_j^2           precision
    c_j = H' Z' K_j^-1 x_j / s_j^2           precision times mean

so that A is normal and the evidence of its size a closed form.

The mean for a target comes from all *other* targets, by taking ``M_j`` and ``c_j`` out of the
posterior of ``a_j`` again. Vectors of other genes say nothing of a target that they have not seen;
of those that they were fitted to, a large enough form says anything.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from infosem_jax.grn.exact.decomposition import Spectrum
from infosem_jax.grn.exact.hyper import scale_of
from infosem_jax.grn.exact.posterior import inverse_rows, log_evidence, posterior

SHARES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SIZES = 10 ** np.arange(-4, 1.1, 0.5)


def means_of_roles(
    vectors: Float[np.ndarray, "genes features"],
    rank: int,
    *,
    basis: Spectrum,
    reported: Int[np.ndarray, " regulators"],
    r2: float | None,
) -> Float[np.ndarray, "rows genes"]:
    """Return the mean of each effect in units of t; zeros if the evidence is for none.

    Costs ``genes rank^4 + rank^6`` multiplications.

    Parameters
    ----------
    vectors
        Of all genes, centred; zeros for genes that nothing is known of.
    rank
        How many principal components of the vectors are used.
    basis
        Moments of the cells.
    reported
        Which rows are candidate regulators; others are not expected to act.
    r2
        Share of a target's variance that effects explain; None takes the best of `SHARES`.
    """
    H = _components(vectors, rank)
    if r2 is None:
        r2 = max(
            SHARES,
            key=lambda share: float(log_evidence(basis, scale_of(share, basis.n_rows)).sum()),
        )
    M, c, own = _said_of_targets(H, basis, reported, float(scale_of(r2, basis.n_rows)))
    genes, k = H.shape
    pairs = (H[:, :, None] * H[:, None]).reshape(genes, k * k)
    values, Q = np.linalg.eigh(_turned(pairs.T @ M.reshape(genes, k * k)))
    values = np.maximum(values, 0)
    b = Q.T @ (H.T @ c).ravel()
    variance = SIZES[:, None] ** 2 / (1 + SIZES[:, None] ** 2 * values)
    evidence = (variance @ b**2 - np.log1p(SIZES[:, None] ** 2 * values).sum(1)) / 2
    best = int(np.argmax(evidence))
    if evidence[best] <= 0:
        return np.zeros((basis.n_rows, genes))
    A = (Q @ (variance[best] * b)).reshape(k, k)
    spread = (pairs @ _turned((Q * variance[best]) @ Q.T)).reshape(genes, k, k)
    left = H @ A - np.einsum("gij,gj->gi", spread, c)
    others = np.linalg.solve(np.eye(k) - spread @ M, left[..., None])[..., 0]
    mean = np.zeros((basis.n_rows, genes))
    mean[reported] = H[own] @ others.T
    return mean


def effects_alone(
    *, basis: Spectrum, reported: Int[np.ndarray, " regulators"], r2: float | None
) -> Float[np.ndarray, "rows genes"]:
    """Return the effects without a prior mean, in units of t; zeros for rows not reported.

    Parameters
    ----------
    basis, reported, r2
        As in `means_of_roles`.
    """
    t = _scale(basis, r2)
    effects = np.zeros((basis.n_rows, len(basis.total)))
    effects[reported] = posterior(basis, t, rows=jnp.asarray(reported)).mean / t
    return effects


def _scale(basis: Spectrum, r2: float | None) -> float:
    scales = [float(scale_of(share, basis.n_rows)) for share in ((r2,) if r2 else SHARES)]
    return max(scales, key=lambda scale: float(log_evidence(basis, scale).sum()))


def _components(
    vectors: Float[np.ndarray, "genes features"], rank: int
) -> Float[np.ndarray, "genes components"]:
    vectors = vectors.astype(np.float64)
    if vectors.shape[1] > rank:
        left, size, _ = np.linalg.svd(vectors, full_matrices=False)
        vectors = left[:, :rank] * size[:rank]
    return vectors / (np.sqrt((vectors**2).mean()) or 1.0)


def _said_of_targets(
    H: np.ndarray, basis: Spectrum, reported: np.ndarray, t: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``t^2 M_j`` and ``t c_j`` of every target, and which gene each regulator is.

    With ``P = (Z'Z + I / t^2)^-1``, ``Z' K^-1 Z = (I - P / t^2) / t^2`` where no target is taken
    out; one that acts takes its own row out of both matrices.
    """
    own = np.asarray(basis.own)
    gene = np.full(basis.n_rows, -1)
    gene[own[own >= 0]] = np.flatnonzero(own >= 0)
    G = H[gene[reported]]
    found = posterior(basis, t, rows=jnp.asarray(reported))
    noise = np.asarray(found.rate / (found.shape - 1), np.float64)
    c = G.T @ np.asarray(found.mean, np.float64) / t
    P = np.asarray(inverse_rows(basis, t, jnp.arange(basis.n_rows)), np.float64) / t**2
    M = np.repeat((G.T @ G - G.T @ P[np.ix_(reported, reported)] @ G)[None], len(own), 0)
    targets = np.flatnonzero(own >= 0)
    across = P[own[targets]][:, reported] @ G
    candidate = np.isin(own[targets], reported)[:, None]
    itself = np.where(candidate, H[targets], 0.0)
    pivot = np.diagonal(P)[own[targets], None, None]
    M[targets] += (
        across[:, :, None] * across[:, None] / pivot - itself[:, :, None] * itself[:, None]
    )
    return M / noise[:, None, None], (c / noise).T, gene[reported]


def _turned(matrix: np.ndarray) -> np.ndarray:
    """Swap the order of indices from (a, b), (i, j) to (a, i), (b, j), and back."""
    k = round(len(matrix) ** 0.5)
    return matrix.reshape(k, k, k, k).transpose(0, 2, 1, 3).reshape(k * k, k * k)
