"""Cells of perturbations brought to what predictions and truths are compared by.

Profiles, tests and the noise of profiles are those of the Virtual Cell setting of 2026 (Arc
Institute, cell-eval2 0.16). Two units are known. Of ``counts`` a profile is
``log(1 + 5e4 sum_c y / sum_cg y)``, and cells are tested by counts per million. Of ``log``, values
that are ``log(1 + x)`` already, it is the mean, and cells are tested as they are.
"""

# pyright: reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false
# What sparse arrays are, and that they have a shape, their stubs do not say.

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse, stats

from infosem_jax.perturbation.de import predicted_cells, rank_sum_p

Unit = Literal["counts", "log"]

TOTAL, MILLION = 5e4, 1e6
# Mean counts per million that a gene needs in the controls to be tested.
LEAST_CPM = 5.0
# Added to both means of a fold change.
SMALL = 1e-9
_GENES_AT_ONCE = 2000


class Values(NamedTuple):
    """Values of cells in one of the units.

    Attributes
    ----------
    x
        Values, [cells, genes], sparse.
    unit
        ``counts`` or ``log``.
    target
        Total that counts are brought to before the logarithm of `mean_log`.
    """

    x: sparse.csr_array
    unit: Unit
    target: float

    def __getitem__(self, rows: Int[np.ndarray, " rows"]) -> "Values":
        """Return some cells."""
        return self._replace(x=self.x[rows])


class Profiles(NamedTuple):
    """What perturbations did, or are predicted to do; a row is a perturbation.

    Attributes
    ----------
    profile
        Log profiles, [n, genes].
    effect
        The same less that of the controls.
    change
        Change of the mean of ``log(1 + x)``, the unit of `Responses.delta`.
    control
        That mean in the controls, [genes].
    noise, control_noise
        Expected squared distance over all genes between a profile and another draw of as many
        cells' mean, by the jackknife, [n]; 0 of profiles that were predicted as such.
    tested
        Genes that are tested: those above 5 counts per million in the controls, [genes].
    lfc, p, fdr
        Log2 fold changes of means, p-values of the rank-sum test against the controls, and these
        adjusted by Benjamini and Hochberg over the tested genes; NaN, 1 and 1 elsewhere.
    """

    profile: Float[np.ndarray, "n genes"]
    effect: Float[np.ndarray, "n genes"]
    change: Float[np.ndarray, "n genes"]
    control: Float[np.ndarray, " genes"]
    noise: Float[np.ndarray, " n"]
    control_noise: float
    tested: Bool[np.ndarray, " genes"]
    lfc: Float[np.ndarray, "n genes"]
    p: Float[np.ndarray, "n genes"]
    fdr: Float[np.ndarray, "n genes"]


def profiles_of_cells(
    cells: Values, group: Int[np.ndarray, " cells"], controls: Values
) -> Profiles:
    """Bring the cells of each perturbation to profiles, and test them against controls.

    Parameters
    ----------
    cells
        Cells of all perturbations.
    group
        Number of the perturbation of each cell, from 0.
    controls
        Control cells.
    """
    own = [cells[np.flatnonzero(group == i)] for i in range(group.max() + 1)]
    base = log_profile(controls)
    profile = np.stack([log_profile(each) for each in own])
    control = mean_log(controls)
    change = np.stack([mean_log(each) for each in own]) - control
    noise = np.array([profile_noise(each) for each in own])
    return Profiles(
        profile,
        profile - base,
        change,
        control,
        noise,
        profile_noise(controls),
        *_tests(cells, group, controls),
    )


def profiles_of_means(
    mean: Float[np.ndarray, "n genes"], n_cells: Int[np.ndarray, " n"], controls: Values, seed: int
) -> Profiles:
    """Take predicted mean expression as profiles, and test cells that are made to have it.

    Of counts, control cells are drawn with replacement and each gene multiplied by the ratio of
    the predicted to the observed share of counts; of logarithms, see `de.predicted_cells`. A gene
    without counts in the controls stays without.

    Parameters
    ----------
    mean
        Counts, summed or averaged over cells, or means of logarithms; the unit of the controls.
    n_cells
        How many cells are made of each, those of the truth so that tests have the same power.
    controls
        Observed control cells.
    seed
        Seeds the draws.
    """
    rng = np.random.default_rng(seed)
    control, base = mean_log(controls), log_profile(controls)
    group = np.repeat(np.arange(len(mean)), n_cells)
    if controls.unit == "counts":
        share = controls.x.sum(0) / controls.x.sum()
        wanted = mean / mean.sum(1, keepdims=True)
        ratio = np.divide(wanted, share, out=np.zeros(mean.shape), where=share > 0)
        profile = np.log1p(TOTAL * wanted)
        # The ratio of each gene in every control cell: the mean without the noise of a draw.
        different, place = np.unique(ratio, axis=0, return_inverse=True)
        change = np.stack([mean_log(scaled(controls, each)) for each in different]) - control
        change = change[place]
        made = [
            scaled(controls[rng.integers(0, controls.x.shape[0], n)], each).x
            for n, each in zip(n_cells, ratio, strict=True)
        ]
    else:
        profile, change = mean.astype(np.float64), mean - control
        dense = controls.x.toarray().astype(np.float32)
        made = [
            sparse.csr_array(predicted_cells(each, dense, int(n), seed + i))
            for i, (n, each) in enumerate(zip(n_cells, change, strict=True))
        ]
    drawn = controls._replace(x=sparse.csr_array(sparse.vstack(made, format="csr")))
    return Profiles(
        profile,
        profile - base,
        change,
        control,
        np.zeros(len(mean)),
        profile_noise(controls),
        *_tests(drawn, group, controls),
    )


def mean_response(
    cells: Values, group: Int[np.ndarray, " cells"], own: Bool[np.ndarray, "n genes"]
) -> Float[np.ndarray, " genes"]:
    """Return the mean over perturbations of mean expression; of a gene, over those of others.

    Parameters
    ----------
    cells, group
        As of `profiles_of_cells`.
    own
        Perturbed genes of each perturbation.
    """
    mean = np.stack([cells.x[group == i].mean(0) for i in range(len(own))])
    kept = np.where(own.all(0), True, ~own)
    return (mean * kept).sum(0) / kept.sum(0)


def scaled(cells: Values, ratio: Float[np.ndarray, " genes"]) -> Values:
    """Multiply the counts of each gene."""
    return cells._replace(x=sparse.csr_array(cells.x.multiply(ratio[None])))


def log_profile(cells: Values) -> Float[np.ndarray, " genes"]:
    """Return the profile of some cells together."""
    if cells.unit == "log":
        return mean_log(cells)
    total = cells.x.sum(0, dtype=np.float64)
    return np.log1p(TOTAL * total / max(total.sum(), SMALL))


def mean_log(cells: Values) -> Float[np.ndarray, " genes"]:
    """Return the mean of ``log(1 + x)``, of counts brought to the target of these cells."""
    if cells.unit == "log":
        return cells.x.mean(0, dtype=np.float64)
    brought = _of_total(cells.x, cells.target)
    brought.data = np.log1p(brought.data)
    return brought.mean(0, dtype=np.float64)


def profile_noise(cells: Values) -> float:
    """Return ``(n - 1) / n sum_gi (v_ig - mean_i v_ig)²``, v_i the profile without cell i.

    0 of fewer than two cells.
    """
    n = cells.x.shape[0]
    if n < 2:
        return 0.0
    columns = sparse.csc_array(cells.x)
    if cells.unit == "log":
        square = columns.multiply(columns).mean(0, dtype=np.float64)
        variance = np.maximum(square - np.square(mean_log(cells)), 0.0)
        return float(variance.sum() / (n - 1))
    left = cells.x.sum() - cells.x.sum(1, dtype=np.float64)
    total = cells.x.sum(0, dtype=np.float64)
    found = 0.0
    for i in range(0, len(total), _GENES_AT_ONCE):
        part = slice(i, i + _GENES_AT_ONCE)
        rest = total[part] - columns[:, part].toarray()
        without = np.log1p(TOTAL * rest / np.maximum(left, SMALL)[:, None])
        found += np.square(without - without.mean(0)).sum()
    return float((n - 1) / n * found)


def _tests(
    cells: Values, group: np.ndarray, controls: Values
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the genes that are tested, fold changes, p-values and adjusted ones."""
    linear, other = (_linear(each) for each in (cells, controls))
    base = other.mean(0, dtype=np.float64)
    tested = base * (MILLION / max(base.sum(), SMALL)) > LEAST_CPM
    shape = (group.max() + 1, len(tested))
    lfc, p, fdr = np.full(shape, np.nan), np.ones(shape), np.ones(shape)
    if not tested.any():
        return tested, lfc, p, fdr
    for i in range(shape[0]):
        mean = linear[group == i].mean(0, dtype=np.float64)
        lfc[i, tested] = np.log2((mean + SMALL) / (base + SMALL))[tested]
    ranked, others = (sparse.csc_array(x[:, tested]) for x in (linear, other))
    p[:, tested] = rank_sum_p(ranked, group, others)
    fdr[:, tested] = stats.false_discovery_control(p[:, tested], axis=1)
    return tested, lfc, p, fdr


def _linear(cells: Values) -> sparse.csr_array:
    if cells.unit == "counts":
        return _of_total(cells.x, MILLION)
    return sparse.csr_array(cells.x.astype(np.float64).expm1())


def _of_total(x: sparse.csr_array, total: float) -> sparse.csr_array:
    own = x.sum(1, dtype=np.float64)
    brought = x.astype(np.float64)
    brought.data *= np.repeat(total / np.maximum(own, SMALL), np.diff(x.indptr))
    return brought


def halves(
    cells: Sequence[Int[np.ndarray, " cells"]], rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Split each group of cells at random into two halves of the same number.

    Parameters
    ----------
    cells
        Places of the cells of each group.
    rng
        Draws the halves.
    """
    drawn = [rng.permutation(each) for each in cells]
    cuts = [len(each) // 2 for each in drawn]
    pairs = zip(drawn, cuts, strict=True)
    first, second = zip(*((each[:n], each[n : 2 * n]) for each, n in pairs), strict=True)
    return list(first), list(second)
