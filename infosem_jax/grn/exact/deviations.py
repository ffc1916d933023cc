"""How far every pair of a regulator and a gene stands out in the expression: `evidence`.

Rankings of edges want far more shrinkage than estimates of effects do, since effects of one
regulator are easily given to another that goes with it. So the data speak through the partial
correlation ``x_ij`` of the closed-form posterior with a tenth of the prior variance that the
evidence asks for, ``t^2 = r2 / (1 - r2) / rows / 10``, as deviation ``z = (x - median) / sd(x)``
from those of other pairs. The evidence finds little where cells are few or genes many, and
x goes towards plain correlation there; where cells tell regulators apart, it keeps them apart.

Two genes that are found in few cells go together strongly where they share two or three by chance.
With ``h`` the third central moment of a gene over its variance, which is the height of a gene of
few cells in these, and means over n cells of squares ``q`` and products ``c``, rare genes share

    k_ij = n (q_i q_j + max(c_ij h_i h_j, 0)) / (h_i h_j)^2

cells, by chance and beyond it; where expression is symmetric, k is without bound. Deviations are
shrunk by ``k / (k + SHARED)``.

A mixture of two groups (Efron 2008) says which deviations stand out: those of other pairs are
``Normal(0, 1)``, those of edges are off by `SHIFT` standard deviations, up (a share ``activating``)
or down. The share ``edges`` of these pairs is found by expectation maximisation; ``activating``
shows in those that are off by `STRONG`, before anything is known of either direction, taken for
a share of at least `LEAST`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from infosem_jax.grn.exact.decomposition import Spectrum
from infosem_jax.grn.exact.posterior import NOISE, chance, posterior
from infosem_jax.grn.exact.probability import counted

# Shared cells that half of a deviation is believed of: chosen on the transcription factors of
# BEELINE's mHSC-E, DREAM4, SERGIO, simulated data, and all genes of two data sets (blood cells of
# Kang 2018, and tumour cells of Tirosh 2016).
SHARED = 4.0
# Standard deviations by which edges stand out, and by which those do that show the sign.
SHIFT, STRONG = 2.0, 4.0
# Least share of pairs that stand out, of which the sign is told.
LEAST = 0.02
# Pairs that are taken to have been seen to go up, and as many down, before any is.
BALANCE = 10.0
SWEEPS = 100
LARGEST = 2**31 - 1


class Evidence(NamedTuple):
    """What the expression says of each pair, whatever the prior.

    Attributes
    ----------
    deviation
        Partial correlation, less the median and shrunk where few cells share both genes, in
        standard deviations, [regulators, genes].
    reliability
        Share of the variance of partial correlations that is not due to chance.
    edges
        Share of pairs that stand out.
    activating
        Share of these with a positive effect.
    believed
        Share of each deviation that the cells which share both genes make believable,
        [regulators, genes].
    """

    deviation: Float[Array, "regulators genes"]
    reliability: Float[Array, ""]
    edges: Float[Array, ""]
    activating: Float[Array, ""]
    believed: Float[Array, "regulators genes"]


@jax.jit
def evidence(
    basis: Spectrum, reported: Int[Array, " regulators"], variance: Float[Array, ""] | float
) -> Evidence:
    """Sum up what the expression says of the effects of the reported regulators.

    Parameters
    ----------
    basis
        Moments of all cells.
    reported
        Which rows are candidate regulators.
    variance
        Of effects a priori, in units of the noise.
    """
    n = basis.cells
    found = posterior(basis, jnp.sqrt(variance), rows=reported)
    residual = 2 * found.rate - NOISE
    weight, unit = found.mean, found.unit_variance
    pairs = candidates(basis, reported)
    x = weight / jnp.sqrt(jnp.where(pairs, weight**2 + unit * (residual + 1 / variance)[None], 1.0))
    left = chance(basis, jnp.sqrt(variance), reported)[:, None]
    left = left * (residual / n / (residual + 1 / variance))[None]
    believed = _share_believed(basis, reported)
    x = believed * (x - median_over(x, pairs))
    # A single pair has nothing to deviate from.
    total = jnp.maximum(mean_over((x - mean_over(x, pairs)) ** 2, pairs), 1e-12)
    reliability = jnp.clip(1 - mean_over(believed**2 * left, pairs) / total, 0.01, 1.0)
    deviation = x / jnp.sqrt(total)
    _, activating = groups(deviation, pairs, 0.5, STRONG)
    edges, _ = groups(deviation, pairs, activating, SHIFT)
    return Evidence(deviation, reliability, edges, activating, believed)


def _share_believed(basis: Spectrum, reported: Array) -> Array:
    """Share of each deviation that the cells which share both genes make believable."""
    genes = jnp.arange(len(basis.own))
    place = jnp.where(basis.own >= 0, basis.own, basis.n_rows)
    regulator = jnp.zeros(basis.n_rows, int).at[place].set(genes, mode="drop")[reported]
    height, square = (part[regulator, None] * part[None] for part in (basis.height, basis.total))
    return share_believed(basis.cells, square, height, basis.vectors[reported] @ basis.cross)


def share_believed(
    cells: Any,
    square: Float[Array, "regulators genes"],
    height: Float[Array, "regulators genes"],
    together: Float[Array, "regulators genes"],
) -> Float[Array, "regulators genes"]:
    """Tell how much of what a pair says is believed: ``k / (k + SHARED)``, see the module.

    Parameters
    ----------
    cells
        Number of cells, n.
    square, height
        ``q_i q_j`` and ``h_i h_j``.
    together
        ``c_ij``, means of products.
    """
    shared = cells * (square + jnp.maximum(together * height, 0))
    return jnp.where(height != 0, shared / (shared + SHARED * height**2), 1.0)


@partial(jax.jit, static_argnames="shift")
def groups(
    deviation: Float[Array, "regulators genes"],
    pairs: Bool[Array, "regulators genes"],
    activating: Float[Array, ""] | float,
    shift: float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Learn the share of pairs that stand out, and return it with the share of these that go up.

    Parameters
    ----------
    deviation
        In standard deviations, [regulators, genes].
    pairs
        Which pairs there are.
    activating
        Share of edges that activate, as far as it is known.
    shift
        Standard deviations by which edges stand out.
    """
    z, counts = counted(deviation, pairs)

    def found(edges):
        return ((counts * part).sum() for part in memberships(z, edges, activating, shift))

    def sweep(_, edges):
        return jnp.clip(sum(found(edges)) / counts.sum(), 1e-6, 0.5)

    edges = lax.fori_loop(0, SWEEPS, sweep, jnp.asarray(LEAST))
    # Few cells may show no edge for sure, and still more that lean one way than the other.
    up, down = found(jnp.maximum(edges, LEAST))
    return edges, (up + BALANCE) / (up + down + 2 * BALANCE)


@jax.jit
def candidates(
    basis: Spectrum, reported: Int[Array, " regulators"]
) -> Bool[Array, "regulators genes"]:
    """Tell pairs of a regulator and another gene from those of a gene with itself."""
    return ~basis.itself[reported]


def memberships(
    z: Float[Array, "*pairs"],
    edges: Float[Array, ""],
    activating: Float[Array, ""] | float,
    shift: float,
) -> tuple[Float[Array, "*pairs"], Float[Array, "*pairs"]]:
    """Return the probabilities that a pair stands out upward and downward, given its deviation.

    Parameters
    ----------
    z
        Deviations.
    edges, activating
        Shares of pairs that stand out, and of these that go up.
    shift
        Standard deviations by which they do.
    """
    up = jnp.log(activating) + shift * z - shift**2 / 2
    down = jnp.log1p(-activating) - shift * z - shift**2 / 2
    edge = jax.nn.sigmoid(jnp.log(edges) - jnp.log1p(-edges) + jnp.logaddexp(up, down))
    return edge * jax.nn.sigmoid(up - down), edge * jax.nn.sigmoid(down - up)


@jax.jit
def median_over(
    values: Float[Array, "regulators genes"], pairs: Bool[Array, "regulators genes"]
) -> Float[Array, ""]:
    """Return the median of values over the pairs there are, without sorting them.

    The bits of floats, taken for integers, are in the order of the floats (of negative ones all but
    the sign turned around), so that 32 halvings find the value that so many are not above. On a
    CPU, sorting millions takes many times as long.

    Parameters
    ----------
    values
        Of each pair, in single precision.
    pairs
        Which pairs there are.
    """

    def turned(bits):
        return jnp.where(bits < 0, bits ^ LARGEST, bits)

    place = turned(lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32))
    place = jnp.where(pairs, place, LARGEST)
    n = pairs.sum()

    def halve(_, ends):
        low, high = ends
        middle = (low & high) + ((low ^ high) >> 1)
        reached = (place <= middle).sum() > (n - 1) // 2
        return jnp.where(reached, low, middle + 1), jnp.where(reached, middle, high)

    lower, _ = lax.fori_loop(0, 32, halve, (jnp.int32(-LARGEST - 1), jnp.int32(LARGEST)))
    # Of an even number, half of the way to the next one.
    above = jnp.where(place > lower, place, LARGEST).min()
    upper = jnp.where((place <= lower).sum() > n // 2, lower, above)
    return lax.bitcast_convert_type(turned(jnp.stack([lower, upper])), jnp.float32).mean()


def mean_over(
    values: Float[Array, "regulators genes"], pairs: Bool[Array, "regulators genes"]
) -> Float[Array, ""]:
    """Return the mean of values over the pairs there are."""
    return jnp.where(pairs, values, 0.0).sum() / pairs.sum()
