"""How well expression is inferred, by the measures of Kim et al. (2025) and per gene.

With truth ``t`` and inference ``p``, [samples, genes]:

==================== ==============================================================================
metric               value, mean over samples (its standard deviation over samples: ``_sd``)
==================== ==============================================================================
error                ``sqrt(sum_g (p - t)^2)``
spearman, pearson    correlation over the genes of a sample
smape                ``mean_g 100 |p - t| / ((|p| + |t|) / 2)``; 0 where both are 0
auroc                of ``p`` for the genes whose truth is above the sample's median
r2                   ``1 - sum_g (p - t)^2 / sum_g (t - mean_g t)^2``
rank_correlation     Pearson correlation of ranks over the genes of a sample, after the robust z of
                     each gene over the test samples: ``(x - median) / (1.4826 max(MAD, floor))``,
                     truth and inference each by their own
rank_correlation_bing the same over the best inferred genes
==================== ==============================================================================

==================== ==============================================================================
metric               value over genes
==================== ==============================================================================
r95, r99             genes whose rank correlation over samples reaches the percentile of the null of
                     all pairs of different genes (see :mod:`infosem_jax.expression.recall`); those
                     of ``r95`` are the best inferred genes
r95_percent, ...     their share of all genes
gene_recall          mean share of the null at or below a gene's rank correlation
gene_pearson, ...    mean correlation over the samples of a gene; genes with a constant truth are
                     left out, a constant inference counts as 0
gene_r2              median over genes of ``1 - sum (p - t)^2 / sum (t - m)^2``, ``m`` the gene's
                     mean in training where that is given, else in the test
mae, rmse            mean absolute and root mean squared difference over all values
==================== ==============================================================================

Errors and per-sample measures depend on the scale; use that of ``task.comparable``.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from infosem_jax.expression.recall import Recall, gene_recall
from infosem_jax.scores import auroc

# The least in the robust z, as the paper has it, for data whose largest value is 1.
MAD_FLOOR = 0.01


def evaluate(
    predicted: Float[np.ndarray, "samples genes"],
    truth: Float[np.ndarray, "samples genes"],
    train_truth: Float[np.ndarray, "train genes"] | None = None,
) -> dict[str, float]:
    """Compute every metric of the module.

    Parameters
    ----------
    predicted, truth
        Test samples as inferred and as they are, [samples, genes], on one scale.
    train_truth
        Training samples on the same scale, [train, genes].

    Returns
    -------
    dict
        Metrics by name; NaN where they are not defined, such as over fewer than two best genes.

    Raises
    ------
    ValueError
        On shapes that differ, fewer than three samples or two genes, and values not finite.
    """
    truth, predicted = _checked(truth, predicted)
    recall = gene_recall(truth, predicted)
    best = _reach(recall, 0)
    z_truth, z_predicted = robust_z(truth), robust_z(predicted)
    per_sample = {
        "error": np.sqrt(((predicted - truth) ** 2).sum(1)),
        "spearman": _correlation(_ranks(truth, 1), _ranks(predicted, 1), 1),
        "pearson": _correlation(truth, predicted, 1),
        "smape": _smape(truth, predicted),
        "auroc": auroc(predicted, truth > np.median(truth, axis=1, keepdims=True)),
        "r2": _r2(truth, predicted, truth.mean(1, keepdims=True), 1),
        "rank_correlation": _correlation(_ranks(z_truth, 1), _ranks(z_predicted, 1), 1),
        "rank_correlation_bing": _correlation(
            _ranks(z_truth[:, best], 1), _ranks(z_predicted[:, best], 1), 1
        ),
    }
    genes = _per_gene(truth, predicted, train_truth, recall)
    n_genes = truth.shape[1]
    reached = {f"r{level}": int(_reach(recall, i).sum()) for i, level in enumerate((95, 99))}
    return {
        **{name: _over(np.mean, values) for name, values in per_sample.items()},
        **{f"{name}_sd": _over(np.std, values) for name, values in per_sample.items()},
        **{name: float(count) for name, count in reached.items()},
        **{f"{name}_percent": 100 * count / n_genes for name, count in reached.items()},
        "threshold95": float(recall.thresholds[0]),
        "threshold99": float(recall.thresholds[1]),
        "gene_recall": float(recall.recall.mean()),
        "gene_pearson": _over(np.mean, genes["pearson"]),
        "gene_spearman": _over(np.mean, genes["spearman"]),
        "gene_r2": _over(np.median, genes["r2"]),
        "mae": float(np.abs(predicted - truth).mean()),
        "rmse": float(np.sqrt(((predicted - truth) ** 2).mean())),
    }


def gene_table(
    predicted: Float[np.ndarray, "samples genes"],
    truth: Float[np.ndarray, "samples genes"],
    genes: Sequence[str],
    train_truth: Float[np.ndarray, "train genes"] | None = None,
) -> pd.DataFrame:
    """Score each gene alone, to tell how far its inference can be trusted.

    Parameters
    ----------
    predicted, truth, train_truth
        As in :func:`evaluate`.
    genes
        Names of the genes.

    Returns
    -------
    Columns ``gene, pearson, spearman, r2, mae, recall, best``: as in the table of the module;
    correlations are NaN where the truth is constant.

    Raises
    ------
    ValueError
        As :func:`evaluate`, and on another number of names.
    """
    truth, predicted = _checked(truth, predicted)
    if len(genes) != truth.shape[1]:
        raise ValueError(f"Expected {truth.shape[1]} names of genes, found {len(genes)}.")
    recall = gene_recall(truth, predicted)
    return pd.DataFrame(
        {
            "gene": list(genes),
            **_per_gene(truth, predicted, train_truth, recall),
            "mae": np.abs(predicted - truth).mean(0),
            "recall": recall.recall,
            "best": _reach(recall, 0),
        }
    )


def gene_pearson(
    truth: Float[np.ndarray, "samples genes"], predicted: Float[np.ndarray, "samples genes"]
) -> Float[np.ndarray, " genes"]:
    """Correlate truth and inference over samples; NaN where the truth is constant."""
    values = _correlation(truth, predicted, 0)
    return np.where(truth.min(0) == truth.max(0), np.nan, np.nan_to_num(values))


def robust_z(x: Float[np.ndarray, "samples genes"]) -> Float[np.ndarray, "samples genes"]:
    """Turn level 3 into level 4: ``(x - median) / (1.4826 max(MAD, floor))`` of each gene."""
    centred = x - np.median(x, axis=0)
    return centred / (1.4826 * np.maximum(np.median(np.abs(centred), axis=0), MAD_FLOOR))


def _per_gene(
    truth: np.ndarray, predicted: np.ndarray, train_truth: np.ndarray | None, recall: Recall
) -> dict[str, np.ndarray]:
    constant = truth.min(0) == truth.max(0)
    middle = truth.mean(0) if train_truth is None else train_truth.mean(0, dtype=np.float64)
    return {
        "pearson": gene_pearson(truth, predicted),
        "spearman": np.where(constant, np.nan, np.nan_to_num(recall.own)),
        "r2": _r2(truth, predicted, middle, 0),
    }


def _checked(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if truth.shape != predicted.shape or min(truth.shape) < 2 or len(truth) < 3:
        raise ValueError(
            "Expected truth and inference of one shape, at least three samples and two genes, "
            f"found {truth.shape} and {predicted.shape}."
        )
    for name, values in (("truth", truth), ("inference", predicted)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"Expected finite values, found {(~np.isfinite(values)).sum()} others in the "
                f"{name}; did the method diverge?"
            )
    return truth.astype(np.float64), predicted.astype(np.float64)


def _reach(recall: Recall, level: int) -> np.ndarray:
    with_own = np.nan_to_num(recall.own, nan=-np.inf)
    # Without a null no gene reaches it: comparisons with NaN are false.
    return with_own >= recall.thresholds[level]


def _ranks(x: np.ndarray, axis: int) -> np.ndarray:
    return rankdata(x, axis=axis) if x.size else x


def _correlation(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Return Pearson correlations along an axis; NaN where either side is constant."""
    if a.shape[axis] < 2:
        return np.full(a.shape[1 - axis], np.nan)
    constant = (a.min(axis) == a.max(axis)) | (b.min(axis) == b.max(axis))
    a, b = a - a.mean(axis, keepdims=True), b - b.mean(axis, keepdims=True)
    size = np.sqrt((a**2).sum(axis) * (b**2).sum(axis))
    together = (a * b).sum(axis) / np.where(constant | (size == 0), 1.0, size)
    return np.where(constant, np.nan, together)


def _smape(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    size = (np.abs(truth) + np.abs(predicted)) / 2
    share = np.abs(predicted - truth) / np.where(size == 0, 1.0, size)
    return 100 * share.mean(1)


def _r2(truth: np.ndarray, predicted: np.ndarray, middle: np.ndarray, axis: int) -> np.ndarray:
    total = ((truth - middle) ** 2).sum(axis)
    left = ((truth - predicted) ** 2).sum(axis)
    return np.where(total > 0, 1 - left / np.where(total > 0, total, 1.0), np.nan)


def _over(summary, values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(summary(defined)) if len(defined) else float("nan")
