"""Scores that several systems share, and what can be said of a mean of them: its interval."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import stdtrit

# Of all intervals.
LEVEL = 0.95
_PERCENTILES = (2.5, 97.5)
# Standard deviations on either side of a normal mean that hold 90 %.
NINETY = 1.6448536


class Estimate(NamedTuple):
    """A mean of scores, or of differences of scores, with its interval.

    Attributes
    ----------
    mean
        Of the values that are defined; NaN without any.
    low, high
        Ends of the 95 % interval; NaN where fewer than two values are defined.
    n, won
        How many values are defined, and how many of these are above 0.
    """

    mean: float
    low: float
    high: float
    n: int
    won: int

    @property
    def verdict(self) -> str:
        """Whether the whole interval is ``above`` or ``below`` 0, or the question is ``open``."""
        return verdict(self.low, self.high)


def auroc(score: Float[np.ndarray, "*rows n"], positive: Bool[np.ndarray, "*rows n"]) -> Any:
    """Return the area under the ROC curve along the last axis; NaN where a class is missing.

    An array of shape ``[*rows]``, or a number where there is one row.

    The share of couples of a positive and a negative that are in order, ties counted half.
    """
    n = positive.sum(-1)
    couples = n * (positive.shape[-1] - n)
    # A third of a second to import, which most fits can do without.
    from scipy.stats import rankdata

    ranks = rankdata(score, axis=-1) if score.size else score
    ordered = (ranks * positive).sum(-1) - n * (n + 1) / 2
    return np.where(couples > 0, ordered / np.maximum(couples, 1), np.nan)[()]


def mean_interval(
    values: Sequence[float] | Float[np.ndarray, " n"], *, shared: float = 0.0
) -> Estimate:
    """Return the mean of values with its interval ``mean ± t sd sqrt(1/n + shared)``.

    t is Student's with n - 1 degrees of freedom, and sd the standard deviation of the values.

    Parameters
    ----------
    values
        One for each seed; those that are not finite are left out.
    shared
        Ratio of test to training samples where seeds are splits of the same samples: what they
        share makes intervals far too narrow without it (Nadeau and Bengio 2003, Machine Learning).
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    n, won = len(known), int((known > 0).sum())
    mean = float(known.mean()) if n else np.nan
    if n < 2:
        return Estimate(mean, np.nan, np.nan, n, won)
    reach = stdtrit(n - 1, (1 + LEVEL) / 2) * known.std(ddof=1) * np.sqrt(1 / n + shared)
    return Estimate(mean, mean - float(reach), mean + float(reach), n, won)


def draws_interval(draws: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """Return the ends of the middle 95 % of bootstrap draws; NaN if there are none, or one is."""
    if not len(draws) or np.isnan(draws).any():
        return np.nan, np.nan
    low, high = np.percentile(draws, _PERCENTILES)
    return float(low), float(high)


def verdict(low: float, high: float) -> str:
    """Say whether an interval is ``above`` or ``below`` 0, or ``open``; a dash without one."""
    if not np.isfinite([low, high]).all():
        return "–"
    return "above" if low > 0 else "below" if high < 0 else "open"
