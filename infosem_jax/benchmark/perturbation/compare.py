"""What cells say together: averages over seeds, and differences of methods on the same splits.

Two intervals stand beside each other. Over seeds, widened where these draw other splits (see
`infosem_jax.scores.mean_interval`). And over what is tested, perturbations or genes of a table of
signs: these are drawn with replacement, both methods averaged over seeds.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from infosem_jax.benchmark import table
from infosem_jax.benchmark.perturbation.cells import At, Cell
from infosem_jax.benchmark.table import difference, with_best_other
from infosem_jax.scores import Estimate, draws_interval

OF_VALUES = {
    "pearson_delta_affected": "Pearson of the change",
    "pearson_reference_affected": "Pearson beyond the mean response",
    "discrimination_l1_affected": "Discrimination",
    "wr2_affected": "Weighted R²",
}
OF_SIGNS = {
    "de_auroc": "AUROC of being differentially expressed, per gene",
    "direction_auroc": "AUROC of the direction, per gene",
    "de_auroc_pooled": "AUROC, all pairs pooled",
}
DRAWS = 1000


class Group(NamedTuple):
    """Cells whose scores can be set beside each other."""

    dataset: str
    network: str
    split: str

    @property
    def title(self) -> str:
        """Its name for readers."""
        return f"{self.dataset}, knowledge: {self.network}, split: {self.split}"


def group_of(at: At) -> Group:
    """Return the group of a cell."""
    return Group(at.dataset, at.network, at.split)


def headlines(cells: Sequence[Cell]) -> dict[str, str]:
    """Return the main measures of some cells, of values or of signs, with their names."""
    return OF_SIGNS if any("de_auroc" in cell.metrics for cell in cells) else OF_VALUES


def by_method(cells: Sequence[Cell]) -> Iterator[tuple[Group, dict[str, list[Cell]]]]:
    """Yield the cells of each group by method, seeds in order."""
    return table.by_method(cells, group_of)


def resampled(a: Sequence[Cell], b: Sequence[Cell], metric: str) -> tuple[float, float]:
    """Return the interval of the difference over perturbations, or genes, drawn anew.

    NaN where seeds differ in what they test, and for measures without a value of each.

    Parameters
    ----------
    a, b
        Cells of two methods of one group, one for each seed.
    metric
        One of their metrics.
    """
    name = metric.removesuffix("_affected")
    first = a[0]
    same = all(cell.names == first.names and name in cell.each_names for cell in (*a, *b))
    if not same:
        return np.nan, np.nan
    kept = first.n_de >= 5 if metric.endswith("_affected") else np.ones(len(first.names), bool)
    gap = _values(a, name) - _values(b, name)
    gap = gap[kept & np.isfinite(gap)]
    if len(gap) < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(0)
    means = gap[rng.integers(0, len(gap), (DRAWS, len(gap)))].mean(1)
    return draws_interval(means)


def against_best(
    cells: Sequence[Cell], metric: str
) -> Iterator[tuple[Group, str, str, Estimate, tuple[float, float]]]:
    """Compare each method with the best of the others.

    Yields
    ------
    Group, method, the best other method, their difference over seeds, and the interval over what
    is tested.
    """
    for group, methods in by_method(cells):
        # The replicate is no prediction, and bounds what can be had.
        predicted = {name: of for name, of in methods.items() if name != "replicate"}
        for name, best in with_best_other(predicted, metric):
            pair = predicted[name], predicted[best]
            yield group, name, best, difference(*pair, metric), resampled(*pair, metric)


def _values(cells: Sequence[Cell], name: str) -> np.ndarray:
    return np.mean([cell.each[cell.each_names.index(name)] for cell in cells], axis=0)
