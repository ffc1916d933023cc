"""Do stated probabilities mean what they say? Bins, intervals, and scores against the truth."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import beta

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.95


def reliability_table(
    probability: Float[np.ndarray, "*pairs"],
    truth: Bool[np.ndarray, "*pairs"],
    *,
    bins: int = 10,
    adaptive: bool = False,
) -> pd.DataFrame:
    """Compare stated probabilities with the share of true edges, bin by bin.

    Parameters
    ----------
    probability
        Stated probability of each pair, in [0, 1].
    truth
        Whether the pair is an edge.
    bins
        Number of bins: of equal width in [0, 1], empty ones left out.
    adaptive
        Bins with equal numbers of pairs instead, as far as ties allow; they look where pairs are.

    Returns
    -------
    DataFrame
        Columns ``pairs, stated`` (mean probability), ``found`` (share of true edges), ``low, high``
        (its 95 % Jeffreys interval, the quantiles of Beta(edges + 1/2, others + 1/2)).

    Raises
    ------
    ValueError
        If there are no pairs, shapes disagree, values are no probabilities, or there is no bin.
    """
    p, edge = _checked(probability, truth)
    if bins < 1:
        raise ValueError(f"Expected at least one bin, found {bins}.")
    if adaptive:
        inner = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1]))
        place = np.searchsorted(inner, p, side="right")
    else:
        place = np.minimum((p * bins).astype(int), bins - 1)
    _, place, pairs = np.unique(place, return_inverse=True, return_counts=True)
    edges = np.bincount(place, weights=edge)
    tail = (1 - LEVEL) / 2
    low, high = (beta.ppf(q, edges + 0.5, pairs - edges + 0.5) for q in (tail, 1 - tail))
    return pd.DataFrame(
        {
            "pairs": pairs,
            "stated": np.bincount(place, weights=p) / pairs,
            "found": edges / pairs,
            # Jeffreys' interval is closed at the end where nothing, or everything, was found.
            "low": np.where(edges == 0, 0, low),
            "high": np.where(edges == pairs, 1, high),
        }
    )


def calibration_error(table: pd.DataFrame) -> float:
    """Return the expected calibration error of a `reliability_table`.

    ``sum_b pairs_b / pairs * |stated_b - found_b|``, in [0, 1].
    """
    share = table["pairs"] / table["pairs"].sum()
    return float((share * (table["stated"] - table["found"]).abs()).sum())


def reliability_scores(
    probability: Float[np.ndarray, "*pairs"],
    truth: Bool[np.ndarray, "*pairs"],
    *,
    bins: int = 10,
) -> dict[str, float]:
    """Score stated probabilities, so that one who always states the base rate does not look well.

    Parameters
    ----------
    probability, truth, bins
        As in `reliability_table`.

    Returns
    -------
    dict
        ``ece`` with bins of equal width, ``ece_adaptive`` with bins of equal size, ``ece_top``: of
        the most probable pairs, as many as there are edges; ``brier_skill``,
        ``1 - mean((p - t)^2) / mean((base rate - t)^2)``, above 0 where pairs are told apart;
        ``auprc``, average precision; ``base_rate``.
    """
    from sklearn.metrics import average_precision_score

    p, edge = _checked(probability, truth)
    base = edge.mean()
    count = max(int(edge.sum()), 1)
    top = p >= np.partition(p, -count)[-count]
    spread = base * (1 - base)
    return {
        "ece": calibration_error(reliability_table(p, edge, bins=bins)),
        "ece_adaptive": calibration_error(reliability_table(p, edge, bins=bins, adaptive=True)),
        "ece_top": calibration_error(
            reliability_table(p[top], edge[top], bins=bins, adaptive=True)
        ),
        "brier_skill": float(1 - ((p - edge) ** 2).mean() / spread) if spread else float("nan"),
        "auprc": float(average_precision_score(edge, p)) if edge.any() else float("nan"),
        "base_rate": float(base),
    }


def reliability_figure(tables: dict[str, pd.DataFrame]) -> "Figure":
    """Draw the share of true edges over the stated probability, with intervals.

    Parameters
    ----------
    tables
        A `reliability_table` for each name in the legend, three at most.
    """
    from infosem_jax.outputs.style import ACTIVATES, GREY, INK, REPRESSES, SECOND, WIDTH, axes_grid

    figure, axes = axes_grid(WIDTH, 3.9, 1, 1, lines=False)
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color=GREY, lw=1.2, ls="--")
    markers = ((ACTIVATES, "o"), (REPRESSES, "s"), (SECOND, "^"))
    for (name, table), (colour, marker) in zip(tables.items(), markers, strict=False):
        reach = [table["found"] - table["low"], table["high"] - table["found"]]
        style = {"fmt": marker, "ms": 5, "lw": 1.4, "color": colour}
        yerr = np.maximum(reach, 0)
        ax.errorbar(table["stated"], table["found"], yerr=yerr, label=name, **style)
    ax.set_xlabel("Stated probability of an edge", color=INK)
    ax.set_ylabel("Share of true edges", color=INK)
    ax.legend(frameon=False, labelcolor=INK)
    return figure


def _checked(probability: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, edge = np.asarray(probability, float).ravel(), np.asarray(truth, bool).ravel()
    if p.size == 0 or p.shape != edge.shape:
        raise ValueError(
            f"Expected a probability and a truth for each pair, found {p.size} and {edge.size}."
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"Expected probabilities in [0, 1], found {p.min():g} to {p.max():g}.")
    return p, edge
