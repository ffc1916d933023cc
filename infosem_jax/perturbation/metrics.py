"""How well responses are predicted: measures of change, of discrimination, and of signs.

Every measure is taken per perturbation (of tables of signs, per gene) and averaged. ``_affected``
marks averages over perturbations with at least 5 differentially expressed genes. The mean response
of training perturbations is the reference of ``wr2``, ``centroid_accuracy`` and the measures named
``_reference``, so predicting it for all earns 0 there, or chance.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from infosem_jax._shown import shown
from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.de import USUAL, Changes, Thresholds, signs
from infosem_jax.perturbation.guards import check_prediction
from infosem_jax.perturbation.task import Prediction
from infosem_jax.scores import NINETY, auroc

LEAST_DE = 5
TOP = 20
AT = (50, 100)


@shown("metrics", "names")
class Scores(NamedTuple):
    """Measures of a prediction.

    Attributes
    ----------
    metrics
        Averages, by name.
    each
        Of each test perturbation, or of each gene of a table of signs, by name.
    names
        What these are of.
    n_de
        Differentially expressed genes of each perturbation, or perturbations of each gene.
    """

    metrics: dict[str, float]
    each: dict[str, Float[np.ndarray, " n"]]
    names: tuple[str, ...]
    n_de: Int[np.ndarray, " n"]


def evaluate(
    predicted: Prediction,
    truth: Responses,
    reference: Float[np.ndarray, "test genes"] | None = None,
    *,
    changes: Changes | None = None,
    thresholds: Thresholds = USUAL,
) -> Scores:
    """Measure a prediction, by values where there are some and by signs where not.

    Parameters
    ----------
    predicted
        What was predicted of the test perturbations.
    truth
        Responses to them.
    reference
        Mean response of the training perturbations, for each test perturbation; 0 where None.
        Tables of signs need none.
    changes
        Fold changes and p-values of predicted cells, by the same test as those of the truth; see
        `infosem_jax.perturbation.predicted_cells`. Measures that need them are NaN without.
    thresholds
        What counts as differentially expressed, in truth and prediction.

    Raises
    ------
    ValueError
        If the prediction has another shape, or values that are not finite.
    """
    check_prediction(predicted, truth)
    if not truth.continuous:
        return _of_signs(truth, predicted)
    n_de = (truth.sign != 0).sum(1)
    mean = np.zeros(truth.sign.shape) if reference is None else reference
    each = _of_changes(truth, predicted, mean)
    each |= _of_discrimination(truth, predicted, mean)
    each |= _of_expression(truth, predicted, changes, thresholds)
    metrics = {name: _mean(values) for name, values in each.items()}
    affected = n_de >= LEAST_DE
    metrics |= {f"{name}_affected": _mean(values[affected]) for name, values in each.items()}
    return Scores(metrics, each, truth.labels, n_de)


def calibrate(
    score: Mapping[str, float], mean: Mapping[str, float], replicate: Mapping[str, float]
) -> dict[str, float]:
    """Place scores between that of the mean response, 0, and that of a split-half replicate, 1.

    ``(u - b) / (r - b)``; NaN where the replicate is not better than the mean.

    Parameters
    ----------
    score, mean, replicate
        Metrics by name of a method, of the mean response, and of the replicate.
    """
    found = {}
    for name, value in score.items():
        low, high = mean.get(name, np.nan), replicate.get(name, np.nan)
        better = -1.0 if name.removesuffix("_affected") in LOWER else 1.0
        sound = better * (high - low) > 1e-9
        found[name] = (value - low) / (high - low) if sound else np.nan
    return found


# Measures of error; all others are higher where a prediction is better.
LOWER = frozenset({"mae_delta", "mse_delta", "wmse", "lfc_error", "mse"})


def pearson(
    a: Float[np.ndarray, "n genes"], b: Float[np.ndarray, "n genes"]
) -> Float[np.ndarray, " n"]:
    """Return the correlation of each pair of rows; 0 where one of them is constant."""
    a, b = (x.astype(np.float64) - x.mean(1, keepdims=True, dtype=np.float64) for x in (a, b))
    size = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    constant = size <= 1e-12 * max(a.shape[1], 1)
    return np.where(constant, 0.0, (a * b).sum(1) / np.where(constant, 1.0, size))


def discrimination(
    predicted: Float[np.ndarray, "n genes"],
    truth: Float[np.ndarray, "n genes"],
    own: Bool[np.ndarray, "n genes"],
    metric: str,
) -> Float[np.ndarray, " n"]:
    """Return how far up the own response is among all true ones, by distance to the predicted.

    ``1 - r / (n - 1)`` with r of the n - 1 others nearer, ties counted half: 1 if the own is the
    nearest, 0.5 on average where nothing is known. The perturbed genes of a row are left out of
    it, as their knock-down alone would give it away.

    Parameters
    ----------
    predicted, truth
        Changes.
    own
        Perturbed genes of each row.
    metric
        ``l1``, ``l2`` or ``cosine``.
    """
    n = len(truth)
    if n < 2:
        return np.full(n, np.nan)
    kind: Any = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}[metric]
    found = np.empty(n)
    for i in range(n):
        kept = ~own[i]
        x, y = predicted[i : i + 1, kept], truth[:, kept]
        if metric == "cosine" and not (x**2).sum() > 0:
            found[i] = 0.5
            continue
        d = np.nan_to_num(cdist(x, y, kind)[0], nan=1.0)
        nearer = (d < d[i]).sum() + 0.5 * ((d == d[i]).sum() - 1)
        found[i] = 1 - nearer / (n - 1)
    return found


def perturbed_columns(responses: Responses) -> Bool[np.ndarray, "n genes"]:
    """Return which of the responding genes each row perturbs."""
    place = {gene: i for i, gene in enumerate(responses.genes)}
    own = np.zeros(responses.sign.shape, bool)
    for i, genes in enumerate(responses.perturbed):
        own[i, [place[gene] for gene in genes if gene in place]] = True
    return own


def _of_changes(truth: Responses, predicted: Prediction, mean: np.ndarray) -> dict[str, np.ndarray]:
    """Measure the change itself."""
    delta, change = _values(truth), predicted.change
    error = change - delta
    weight = np.square(np.abs(delta - mean))
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-12)
    wmse = (weight * np.square(error)).sum(1)
    spread = (weight * np.square(delta - mean)).sum(1)
    found = {
        "pearson_delta": pearson(change, delta),
        "mae_delta": np.abs(error).mean(1),
        "mse_delta": np.square(error).mean(1),
        "wmse": wmse,
        "wr2": 1 - wmse / np.maximum(spread, 1e-12),
        "pearson_reference": pearson(change - mean, delta - mean),
        "pearson_reference_top20": _top(change - mean, delta - mean, truth),
    }
    if predicted.sd is not None:
        found["within_90"] = (np.abs(error) <= NINETY * predicted.sd).mean(1)
    return found


def _of_discrimination(
    truth: Responses, predicted: Prediction, mean: np.ndarray
) -> dict[str, np.ndarray]:
    """Measure whether a prediction is nearer to its own response than to others."""
    delta, own = _values(truth), perturbed_columns(truth)
    found = {
        f"discrimination_{metric}": discrimination(predicted.change, delta, own, metric)
        for metric in ("l1", "l2", "cosine")
    }
    nothing = np.zeros(own.shape, bool)
    found["centroid_accuracy"] = discrimination(
        predicted.change - mean, delta - mean, nothing, "l2"
    )
    return found


def _of_expression(
    truth: Responses,
    predicted: Prediction,
    changes: Changes | None,
    thresholds: Thresholds,
) -> dict[str, np.ndarray]:
    """Measure which genes are predicted to be differentially expressed, and in which direction."""
    n, change = len(truth.sign), predicted.change
    real = truth.sign != 0
    names = ["direction_match", "lfc_spearman", "de_recall", "pr_auc"]
    names += [f"{kind}_at_{k}" for kind in ("overlap", "precision") for k in AT]
    found = {name: np.full(n, np.nan) for name in names}
    if truth.changes is None:
        return found
    called = None if changes is None else signs(changes, thresholds)
    for i in np.flatnonzero(real.any(1)):
        genes = real[i]
        # A predicted change of exactly 0 has no direction, and is never right.
        found["direction_match"][i] = (np.sign(change[i]) == truth.sign[i])[genes].mean()
        guess = change[i] if changes is None else changes.lfc[i]
        found["lfc_spearman"][i] = _spearman(guess[genes], truth.changes.lfc[i, genes])
        score = predicted.de[i]
        if changes is not None and called is not None:
            score = -np.log10(np.maximum(changes.fdr[i].astype(np.float64), 1e-300))
            found["de_recall"][i] = (called[i] != 0)[genes].mean()
            for k in AT:
                found[f"overlap_at_{k}"][i], found[f"precision_at_{k}"][i] = _shared(
                    truth.changes.lfc[i], genes, changes.lfc[i], called[i] != 0, k
                )
        found["pr_auc"][i] = average_precision_score(genes, score)
    return found


def _of_signs(truth: Responses, predicted: Prediction) -> Scores:
    """Measure a table of signs: AUROC of each gene over perturbations, and of all pairs at once."""
    known, de = truth.known, truth.sign != 0
    up = truth.sign > 0
    genes, rows = range(len(truth.genes)), range(len(known))
    of_de = np.array([auroc(predicted.de[known[:, g], g], de[known[:, g], g]) for g in genes])
    of_up = np.array([auroc(predicted.up[de[:, g], g], up[de[:, g], g]) for g in genes])
    by_row = np.array([auroc(predicted.de[i, known[i]], de[i, known[i]]) for i in rows])
    each = {"de_auroc": of_de, "direction_auroc": of_up}
    precision, match = np.nan, np.nan
    if de[known].any():
        precision = average_precision_score(de[known], predicted.de[known])
        match = ((predicted.change > 0) == up)[de].mean()
    metrics = {name: _mean(values) for name, values in each.items()}
    metrics |= {
        "de_auroc_pooled": float(auroc(predicted.de[known], de[known])),
        "direction_auroc_pooled": float(auroc(predicted.up[de], up[de])),
        "de_auroc_per_perturbation": _mean(by_row),
        "de_ap_pooled": float(precision),
        "direction_match": float(match),
        "genes_de": float(np.isfinite(of_de).sum()),
        "genes_direction": float(np.isfinite(of_up).sum()),
    }
    return Scores(metrics, each, truth.genes, de.sum(0))


def _shared(
    real_lfc: np.ndarray, real: np.ndarray, lfc: np.ndarray, called: np.ndarray, k: int
) -> tuple[float, float]:
    """Return the overlap of the k strongest genes: over the real ones, and over those called.

    Both sides are the significant genes by absolute fold change; 0 where a side is empty.
    """
    n_real, n_called = int(real.sum()), int(called.sum())
    if not n_called:
        return 0.0, 0.0
    order_real = np.flatnonzero(real)[np.argsort(-np.abs(real_lfc[real]), kind="stable")]
    order_called = np.flatnonzero(called)[np.argsort(-np.abs(lfc[called]), kind="stable")]

    def share(size: int) -> float:
        return len(np.intersect1d(order_real[:size], order_called[:size])) / size

    return share(min(k, n_real)), share(min(k, n_called))


def _top(a: np.ndarray, b: np.ndarray, truth: Responses) -> np.ndarray:
    """Correlate over the 20 genes that the truth changes most significantly, or most."""
    size = np.abs(_values(truth))
    if truth.changes is not None:
        size = np.where(truth.sign != 0, size + 1e6, size)
    top = np.argsort(-size, axis=1, kind="stable")[:, :TOP]
    return pearson(np.take_along_axis(a, top, 1), np.take_along_axis(b, top, 1))


def _values(responses: Responses) -> np.ndarray:
    if responses.delta is None:
        raise ValueError(f"{responses.name}: expected values of responses, found signs.")
    return responses.delta


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2:
        return float("nan")
    return float(pearson(rankdata(a)[None], rankdata(b)[None])[0])


def _mean(values: np.ndarray) -> float:
    known = np.isfinite(values)
    return float(values[known].mean()) if known.any() else float("nan")
