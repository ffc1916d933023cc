"""The six measures of the Virtual Cell setting of 2026, on anyone's predictions.

As cell-eval2 0.16 (Arc Institute, 2026) defines them, from `profiles.Profiles` of a prediction and
of the truth. A perturbed gene never counts for its own perturbation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from infosem_jax.perturbation.metrics import discrimination
from infosem_jax.perturbation.profiles import Profiles

FDR = 0.05
# Share of right directions down to which the reach counts.
PURITY = 0.9
# Significant genes that a perturbation needs for the error of fold changes.
LEAST_GENES = 10
NAMES = {
    "discrimination": "Perturbation discrimination",
    "fidelity": "Direction fidelity",
    "reach": "Direction reach",
    "jaccard": "Jaccard of significant genes",
    "lfc_error": "Error of fold changes",
    "mse": "Squared error of profiles",
}


class Measures(NamedTuple):
    """The six measures.

    Attributes
    ----------
    metrics
        Means over perturbations where they are defined, by name; ``mse`` is a ratio of sums.
    each
        Of each perturbation; of ``mse``, its two sums' terms ``mse_error`` and ``mse_size``.
    """

    metrics: dict[str, float]
    each: dict[str, Float[np.ndarray, " n"]]


def measure(
    predicted: Profiles,
    truth: Profiles,
    own: Bool[np.ndarray, "n genes"],
    genes: Sequence[str],
    *,
    full: Profiles | None = None,
) -> Measures:
    """Measure predicted profiles and tests against true ones.

    ``discrimination``: share of the other true effects that are farther from the predicted one than
    the right one's, by cosine, ties counted half, all perturbed genes left out. ``fidelity``: genes
    called in the right direction over the larger of the numbers of genes called and truly
    significant. ``reach``: true genes in the order of the prediction's confidence, down to the last
    place where 0.9 of the directions are right, over their number. ``jaccard``: of the sets of
    significant genes; 1 where both are empty. ``lfc_error``: ``sum |lfc' - lfc| / sum |lfc|`` over
    truly significant genes where these are at least 10. ``mse``: see `squared_errors`.

    Parameters
    ----------
    predicted, truth
        Profiles of the same perturbations and genes.
    own
        Perturbed genes of each perturbation.
    genes
        Names of genes, by which the last ties in the order of confidence are broken.
    full
        For a replicate, profiles of all cells: the genes and sizes of ``lfc_error`` are theirs, so
        that it is over the same perturbations as that of a prediction.
    """
    panel = np.zeros_like(own) | own.any(0)
    error, size = squared_errors(predicted, truth, own)
    each = {
        "discrimination": discrimination(predicted.effect, truth.effect, panel, "cosine"),
        **_directions(predicted, truth, own, genes),
        "lfc_error": _fold_changes(predicted, truth, truth if full is None else full, own),
        "mse_error": error,
        "mse_size": size,
    }
    metrics = {
        name: float(np.nanmean(each[name])) if np.isfinite(each[name]).any() else np.nan
        for name in NAMES
        if name != "mse"
    }
    total = size.sum()
    metrics["mse"] = float(error.sum() / total) if total > 0 else np.nan
    return Measures(metrics, each)


def squared_errors(
    predicted: Profiles, truth: Profiles, own: Bool[np.ndarray, "n genes"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return squared errors of profiles and squared sizes of effects, both without their noise.

    ``(|b' - b|² - r min(C', C) - C) / G`` and ``(|b - b_control|² - C - C_control) / G`` over the G
    genes that a perturbation does not perturb, with C the noise of a profile. What a prediction may
    subtract in all is at most how far its profiles lie apart: ``r = min(1, B / sum_p min(C', C) /
    G)``, B the sum of squares of its profiles about their mean. The measure is the ratio of the
    sums of both.

    Parameters
    ----------
    predicted, truth
        Profiles of the same perturbations and genes.
    own
        Perturbed genes of each perturbation.
    """
    kept = ~own
    n = kept.sum(1)
    weight = kept / n[:, None]
    claimed = np.minimum(predicted.noise, truth.noise)
    total = weight.sum(0)
    center = (weight * predicted.profile).sum(0) / np.where(total > 0, total, 1.0)
    apart = (weight * np.square(predicted.profile - center))[:, kept.sum(0) >= 2].sum()
    claim = (claimed / n).sum()
    granted = min(1.0, apart / claim) if claim > 0 else 1.0
    error = (kept * np.square(predicted.profile - truth.profile)).sum(1)
    size = (kept * np.square(truth.effect)).sum(1)
    return (
        (error - granted * claimed - truth.noise) / n,
        (size - truth.noise - truth.control_noise) / n,
    )


def _directions(
    predicted: Profiles, truth: Profiles, own: np.ndarray, genes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Measure which genes are called, and in which direction."""
    real = (truth.fdr < FDR) & ~own
    called = (predicted.fdr < FDR) & ~own
    told = np.isfinite(truth.lfc) & (truth.lfc != 0) & predicted.tested
    right = told & (np.sign(np.nan_to_num(predicted.lfc)) == np.sign(np.nan_to_num(truth.lfc)))
    n_real, n_called = real.sum(1), (called & told).sum(1)
    most = np.maximum(n_real, n_called)
    union = (real | called).sum(1)
    reach = np.full(len(real), np.nan)
    names = np.argsort(np.argsort(np.asarray(genes)))
    for i in np.flatnonzero(n_real):
        pool = np.flatnonzero(real[i] & told[i])
        size = np.abs(predicted.lfc[i, pool])
        keys = names[pool], -size, predicted.p[i, pool], predicted.fdr[i, pool]
        order = pool[np.lexsort(keys)]
        depth = np.arange(1, len(order) + 1)
        pure = np.cumsum(right[i, order]) >= PURITY * depth - 1e-12
        reach[i] = depth[pure].max(initial=0) / n_real[i]
    correct = (called & right).sum(1)
    return {
        "fidelity": np.where(most > 0, correct / np.maximum(most, 1), np.nan),
        "reach": reach,
        "jaccard": np.where(union > 0, (real & called).sum(1) / np.maximum(union, 1), 1.0),
    }


def _fold_changes(
    predicted: Profiles, truth: Profiles, full: Profiles, own: np.ndarray
) -> np.ndarray:
    """Return the error of fold changes; a gene that a side did not test has none there, so 0."""
    genes = (full.fdr < FDR) & ~own & np.isfinite(full.lfc)
    wrong = np.abs(np.nan_to_num(predicted.lfc) - np.nan_to_num(truth.lfc))
    size = (genes * np.abs(np.nan_to_num(full.lfc))).sum(1)
    enough = (genes.sum(1) >= LEAST_GENES) & (size > 0)
    return np.where(enough, (genes * wrong).sum(1) / np.where(enough, size, 1.0), np.nan)
