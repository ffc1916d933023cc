"""Which effects differ between two groups of cells, and how surely: `contrast`.

Cells of both groups are brought to one scale and centred within each sample (a group, or a
replicate in a group), so that a change of mean expression is no change of effects. The effects of
all cells together are the centre m of the prior of those of each sample k,

    x_j | w_kj, s_kj  ~  Normal(X_R w_kj, s_kj^2)
    w_kij | s_kj      ~  Normal(m_ij, t^2 s_kj^2)

with t from the evidence of all cells. The posterior of one effect (mean w, variance v, both closed
forms) is that of a normal prior and an estimate of it in which all other effects are integrated
out: the estimate has the variance ``e = 1 / (1 / v - 1 / (t s)^2)`` and is ``m + (w - m) e / v``.
Differences of these estimates between groups are shrunk towards zero together
(`infosem_jax.grn.false_signs`).

Errors of expression depend on its level, as cells of few counts have more zeros. So labels are
shuffled among the cells: how far the differences then vary beyond their standard errors, for each
regulator, is what the errors are multiplied by. With replicates, such as donors, effects differ
between these by nature, and their differences tell the error.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from infosem_jax.data.dataset import MIN_CELLS, Dataset, subset
from infosem_jax.grn import exact
from infosem_jax.grn.exact.decomposition import Spectrum, spectrum, spectrum_of_cells
from infosem_jax.grn.exact.fitting import chosen_rows, scaled
from infosem_jax.grn.exact.hyper import likeliest_share, scale_of
from infosem_jax.grn.exact.posterior import posterior
from infosem_jax.grn.exact.statistics import moments
from infosem_jax.grn.false_signs import Shrunk, moderated, shrink
from infosem_jax.grn.networks import candidate_pairs

# Local false sign rates of what is sure, and of what is more likely than not.
SURE, LIKELY = 0.05, 0.5
SETTINGS = exact.Config(rows="regulators")


class Samples(NamedTuple):
    """Cells that belong together.

    Attributes
    ----------
    sample
        Of each cell, [cells].
    second
        Whether a sample is of the second group, [samples].
    replicate
        Of each sample, [samples]; None where cells are the replicates.
    """

    sample: Int[np.ndarray, " cells"]
    second: np.ndarray
    replicate: np.ndarray | None

    @property
    def paired(self) -> bool:
        """Whether each replicate has a sample in either group."""
        if self.replicate is None:
            return False
        first, second = (set(self.replicate[self.second == group]) for group in (False, True))
        return first == second


class Estimates(NamedTuple):
    """Of some quantities, in each sample, with the variance of their errors, [samples, ...]."""

    value: Float[np.ndarray, "samples ..."]
    variance: Float[np.ndarray, "samples ..."]


class Contrast(NamedTuple):
    """Differences of effects, those of the second group less those of the first.

    Attributes
    ----------
    groups
        The two groups.
    regulators, genes
        Names.
    shared
        Effects of all cells together, [regulators, genes].
    difference, sd, positive, lfsr
        Of each effect: posterior mean and standard deviation of the difference, probability that it
        is positive, local false sign rate, [regulators, genes].
    strength, strength_sd, strength_positive, strength_lfsr
        Of each regulator, the same of how its effects grow together, relative to their average
        over samples: 0 as they are, -2 where they are gone in the second group, [regulators].
    learned
        ``r2`` (share of variance that effects explain), ``same`` (share of effects that do not
        differ), ``inflation`` (of variances, by shuffled labels, [regulators]), and ``shuffled``,
        the number of differences with a local false sign rate of 5 % after each shuffling.
    """

    groups: tuple[str, str]
    regulators: tuple[str, ...]
    genes: tuple[str, ...]
    shared: Float[np.ndarray, "regulators genes"]
    difference: Float[np.ndarray, "regulators genes"]
    sd: Float[np.ndarray, "regulators genes"]
    positive: Float[np.ndarray, "regulators genes"]
    lfsr: Float[np.ndarray, "regulators genes"]
    strength: Float[np.ndarray, " regulators"]
    strength_sd: Float[np.ndarray, " regulators"]
    strength_positive: Float[np.ndarray, " regulators"]
    strength_lfsr: Float[np.ndarray, " regulators"]
    learned: dict[str, Any]


def contrast(
    data: Dataset,
    groups: Sequence[str] | np.ndarray,
    *,
    between: tuple[str, str] | None = None,
    replicates: Sequence[str] | np.ndarray | None = None,
    config: exact.Config = SETTINGS,
    shuffles: int = 2,
    key: int = 0,
) -> Contrast:
    """Compare the effects of regulators between two groups of cells.

    Parameters
    ----------
    data
        Expression of all cells, as read or normalised together.
    groups
        The group of each cell, [cells].
    between
        The two groups, the first of which is the reference; None where there are only two, in the
        order of their names.
    replicates
        Donor, animal or batch of each cell; None takes each cell as a replicate.
    config
        Settings of the fits; of them ``rows``, ``normalisation``, ``clip`` and ``noise``.
    shuffles
        How often labels are shuffled, of cells or, with replicates, of samples.
    key
        Seeds the shuffling.

    Raises
    ------
    ValueError
        If there are not two groups, or too few cells or replicates in one.
    """
    data, names, samples = _chosen(data, groups, between, replicates)
    ready: Any = scaled(data, config)
    rows = _rows(ready, config)
    reported = jnp.asarray(np.searchsorted(rows, _own(ready)))
    x = np.empty_like(ready.x)
    for k in range(len(samples.second)):
        x[samples.sample == k] = _centred(ready.x, samples.sample, k)
    shared, t, share = _centre(x, rows, config.noise)
    own = np.asarray(_own(ready))[:, None] == np.arange(x.shape[1])
    centre = np.asarray(shared, np.float64)[np.asarray(reported)]

    def estimates(sample: Int[np.ndarray, " cells"]) -> tuple[Estimates, Estimates]:
        found = [
            _estimates(_centred(x, sample, k), rows, reported, shared, t, config.noise)
            for k in range(len(samples.second))
        ]
        value, variance = (np.stack(part) for part in zip(*found, strict=True))
        edges = Estimates(value, np.where(own, np.inf, variance))
        return edges, _strengths(edges, centre)

    rng = np.random.default_rng(key)
    edges, strengths = estimates(samples.sample)
    others = [_shuffled(samples, rng) for _ in range(shuffles)]
    # With replicates, samples stay and their labels change.
    cells = replicates is None
    null = [estimates(other.sample) if cells else (edges, strengths) for other in others]
    of_edges, inflation, hits = _compared(edges, samples, [e for e, _ in null], others)
    of_regulators, _, _ = _compared(strengths, samples, [s for _, s in null], others)
    learned = {
        "r2": np.asarray(share),
        "same": np.asarray(of_edges.zeros),
        "shuffled": np.asarray(hits),
    }
    if cells:
        learned["inflation"] = inflation
    return Contrast(
        names,
        ready.regulators,
        ready.genes,
        np.where(own, 0.0, centre),
        *of_edges[:4],
        *of_regulators[:4],
        learned,
    )


def changes(found: Contrast, *, top: int | None = None, below: float = np.inf) -> pd.DataFrame:
    """List the effects that differ, most surely first.

    Parameters
    ----------
    found
        A contrast.
    top
        How many to keep; None for all.
    below
        Keep those with a smaller local false sign rate only.

    Returns
    -------
    DataFrame
        Columns ``source, target, shared, difference, sd, positive, lfsr``, see `Contrast`.
    """
    kept = candidate_pairs(found) & (found.lfsr < below)
    if top is not None and top < kept.sum():
        kept &= found.lfsr <= np.partition(found.lfsr[kept], top - 1)[top - 1]
    row, column = np.nonzero(kept)
    order = np.lexsort((-np.abs(found.difference[kept]), found.lfsr[kept]))[:top]
    row, column = row[order], column[order]
    columns: dict[str, Any] = {
        "source": np.asarray(found.regulators)[row],
        "target": np.asarray(found.genes)[column],
    }
    for name in ("shared", "difference", "sd", "positive", "lfsr"):
        columns[name] = getattr(found, name)[row, column]
    return pd.DataFrame(columns)


def rewired(found: Contrast) -> pd.DataFrame:
    """List regulators, those whose effects differ most surely first.

    Returns
    -------
    DataFrame
        Columns ``regulator, strength, sd, positive, lfsr``, see `Contrast`, and ``changed``, the
        number of its targets with a local false sign rate of at most 5 %.
    """
    table = pd.DataFrame(
        {
            "regulator": found.regulators,
            "strength": found.strength,
            "sd": found.strength_sd,
            "positive": found.strength_positive,
            "lfsr": found.strength_lfsr,
            "changed": (found.lfsr <= SURE).sum(1),
        }
    )
    return table.sort_values(["lfsr", "changed"], ascending=[True, False], ignore_index=True)


def _chosen(
    data: Dataset,
    groups: Sequence[str] | np.ndarray,
    between: tuple[str, str] | None,
    replicates: Sequence[str] | np.ndarray | None,
) -> tuple[Dataset, tuple[str, str], Samples]:
    """Return the cells of two groups, the groups, and the samples."""
    of = np.asarray(groups).astype(str)
    for what, labels in (("group", groups), ("replicate", replicates)):
        if labels is not None and len(labels) != len(data.cells):
            raise ValueError(
                f"Expected a {what} for each of {len(data.cells)} cells, found {len(labels)}."
            )
    known = sorted(set(of))
    names = tuple(known) if between is None else between
    if len(names) != 2 or not set(names) <= set(known) or names[0] == names[1]:
        raise ValueError(
            f"Expected two groups of cells to compare, found {', '.join(known[:10])}; name two of "
            "them with between (--between A,B)."
        )
    keep = np.isin(of, names)
    second = of[keep] == names[1]
    cells = subset(data, cells=keep)
    if replicates is None:
        samples = Samples(second.astype(int), np.array([False, True]), None)
    else:
        donor = np.asarray(replicates).astype(str)[keep]
        pairs, sample = np.unique(
            np.stack([second.astype(str), donor]), axis=1, return_inverse=True
        )
        samples = Samples(sample.ravel(), pairs[0] == "True", pairs[1])
        few = np.bincount(samples.second.astype(int), minlength=2)
        if few.min() < 2:
            raise ValueError(
                f"Expected at least two replicates in each group, found {few[0]} of {names[0]} and "
                f"{few[1]} of {names[1]}; leave replicates out to take cells as such."
            )
    sizes = np.bincount(samples.sample)
    if sizes.min() < MIN_CELLS:
        smallest = int(sizes.argmin())
        who = names[int(samples.second[smallest])]
        who += "" if samples.replicate is None else f", {samples.replicate[smallest]}"
        raise ValueError(
            f"{who}: expected at least {MIN_CELLS} cells, found {sizes.min()}; leave it out."
        )
    return cells, (names[0], names[1]), samples


def _own(data: Dataset) -> np.ndarray:
    """Return the columns of the candidate regulators."""
    return np.array([data.genes.index(gene) for gene in data.regulators])


def _rows(data: Any, config: exact.Config) -> np.ndarray:
    """Return the columns of the genes that act, in order."""
    every = chosen_rows(data, config) == "all"
    return np.arange(len(data.genes)) if every else np.sort(_own(data))


def _centre(x: np.ndarray, rows: np.ndarray, noise: float) -> tuple[Array, float, float]:
    """Return the effects of all cells, their scale, and the share of variance it stands for."""
    basis = _basis(x, rows)
    share = likeliest_share(basis, None, noise)
    scale = scale_of(share, len(rows))
    return posterior(basis, scale, None, noise).mean, float(scale), share


def _centred(x: np.ndarray, sample: np.ndarray, k: int) -> np.ndarray:
    """Return the cells of a sample, less their mean."""
    cells = x[sample == k]
    return cells - cells.mean(0)


def _basis(x: np.ndarray, rows: np.ndarray) -> Spectrum:
    """Decompose centred cells."""
    few = len(x) < len(rows)
    return spectrum_of_cells(x, rows) if few else spectrum(moments(x, rows), rows)


def _estimates(
    x: np.ndarray, rows: np.ndarray, reported: Array, shared: Array, t: float, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return each effect of a sample, all others integrated out, and the variance of its error."""
    basis = _basis(x, rows)
    found = posterior(basis, t, shared, noise)
    residual = x - x[:, rows] @ np.asarray(found.mean)
    at = np.asarray(reported)
    unit, mean, centre = (
        np.asarray(part, np.float64)[at] for part in (found.unit_variance, found.mean, shared)
    )
    # What the cells say is at least a hundred-thousandth of what the prior does: rounding.
    information = np.maximum(1 / np.maximum(unit, 1e-30) - 1 / t**2, 1e-5 / t**2)
    value = centre + (mean - centre) / np.maximum(unit, 1e-30) / information
    variance = np.asarray(found.rate, np.float64) / (float(found.shape) - 1) / information
    return value, variance * _uneven(basis, x[:, rows], residual, at, t)


def _uneven(
    basis: Spectrum, z: np.ndarray, residual: np.ndarray, at: np.ndarray, t: float
) -> np.ndarray:
    """Return by how much errors of unequal size raise the variance of each effect, at least 1.

    An effect is off by ``sum_c h_c e_c``, ``h = P Z'``, whose variance is ``sum_c h_c^2 e_c^2``
    (White 1980, Econometrica 48:817) instead of ``s^2 sum_c h_c^2``.
    """
    vectors = np.asarray(basis.vectors)
    inverse = t**2 / (1 + t**2 * len(z) * np.asarray(basis.values))
    h = (vectors[at] * (inverse - t**2)) @ (z @ vectors).T + t**2 * z[:, at].T
    equal = (h**2).sum(1)[:, None] * (residual**2).mean(0)
    return np.maximum((h**2) @ (residual**2) / np.maximum(equal, 1e-30), 1.0)


def _strengths(edges: Estimates, centre: np.ndarray) -> Estimates:
    """Return how large the effects of each regulator are in each sample, 1 on average."""
    weight = np.where(np.isfinite(edges.variance), centre / edges.variance, 0.0)
    information = (weight * centre).sum(2)
    # Shared effects are shrunk: those of regulators that say little are far too small to divide by.
    average = (weight * edges.value.mean(0)).sum(2)
    size = np.maximum(np.maximum(average, information), 1e-30)
    return Estimates((weight * edges.value).sum(2) / size, information / size**2)


def _compared(
    found: Estimates, samples: Samples, null: list[Estimates], others: list[Samples]
) -> tuple[Shrunk, np.ndarray, list[int]]:
    """Shrink differences; return them, their inflation, and what is found after shuffling.

    Parameters
    ----------
    found, samples
        Estimates in the samples.
    null, others
        The same after each shuffling.
    """
    difference, error = _difference(found, samples)
    chance = [_difference(part, other) for part, other in zip(null, others, strict=True)]
    inflation = np.ones(len(difference))
    if samples.replicate is None and chance:
        square = np.stack([(d / e) ** 2 for d, e in chance])
        # A regulator has many effects, but one strength: there, all regulators tell together.
        mean = square.mean((0, 2)) if square.ndim == 3 else square.mean()
        inflation = np.maximum(inflation, mean)
    size = np.sqrt(inflation)[:, None] if difference.ndim == 2 else np.sqrt(inflation)
    hits = [int((shrink(d, e * size).lfsr <= SURE).sum()) for d, e in chance]
    return shrink(difference, error * size), inflation, hits


def _difference(found: Estimates, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Return the difference between groups, and its standard error."""
    second = samples.second
    a, b = found.value[~second], found.value[second]
    variance_a, variance_b = found.variance[~second], found.variance[second]
    if samples.replicate is None:
        return b[0] - a[0], np.sqrt(variance_a[0] + variance_b[0])
    expected = variance_a.mean(0) / len(a) + variance_b.mean(0) / len(b)
    difference = b.mean(0) - a.mean(0)
    if samples.paired:
        first, then = (np.argsort(samples.replicate[second == group]) for group in (False, True))
        variance = (b[then] - a[first]).var(0, ddof=1) / len(a)
        return difference, moderated(difference, variance, expected, len(a) - 1)
    freedom = len(second) - 2
    pooled = (a.var(0) * len(a) + b.var(0) * len(b)) / freedom
    variance = pooled * (1 / len(a) + 1 / len(b))
    return difference, moderated(difference, variance, expected, freedom)


def _shuffled(samples: Samples, rng: np.random.Generator) -> Samples:
    """Shuffle labels among cells, of half of the pairs of samples, or among samples."""
    if samples.replicate is None:
        return samples._replace(sample=rng.permutation(samples.sample))
    if not samples.paired:
        return samples._replace(second=rng.permutation(samples.second))
    names, place = np.unique(samples.replicate, return_inverse=True)
    turned = rng.permutation(len(names)) < len(names) // 2
    return samples._replace(second=samples.second ^ turned[place])
