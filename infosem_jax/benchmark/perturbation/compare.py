"""What cells say together: averages over seeds, and differences of methods on the same splits.

Two intervals stand beside each other. Over J seeds, ``mean(d) ± t sd(d) sqrt(1/J + q)`` with t of
J - 1 degrees of freedom; q is the ratio of test to training perturbations where seeds draw other
splits (Nadeau and Bengio 2003), and 0 where they share one and differ in training alone. And over
what is tested, perturbations or genes of a table of signs: these are drawn with replacement, both
methods averaged over seeds.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from infosem_jax.benchmark.expression.compare import LEVEL, Difference
from infosem_jax.benchmark.perturbation.cells import At, Cell

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
# Splits that are the same for every seed, or cover every perturbation.
FIXED = ("published", "leave_one_out", "line")
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
    for group in sorted({group_of(cell.at) for cell in cells}):
        methods: dict[str, list[Cell]] = {}
        for cell in sorted(cells, key=lambda cell: cell.at):
            if group_of(cell.at) == group:
                methods.setdefault(cell.at.method, []).append(cell)
        yield group, methods


def summary(cells: Sequence[Cell]) -> pd.DataFrame:
    """Average every metric over seeds.

    Returns
    -------
    A row for each ``dataset, network, split, method`` with the mean of each metric, its standard
    deviation over seeds (``_sd_seeds``), ``seconds`` and ``seeds``.
    """
    table = pd.DataFrame(
        [{**cell.at._asdict(), **cell.metrics, "seconds": cell.seconds} for cell in cells]
    )
    keys = [*Group._fields, "method"]
    grouped = table.groupby(keys, sort=True)
    numbers = [name for name in table if name not in (*keys, "seed")]
    parts = [
        pd.DataFrame(grouped[numbers].mean()),
        pd.DataFrame(grouped[numbers].std()).add_suffix("_sd_seeds"),
        pd.DataFrame({"seeds": grouped["seed"].nunique()}),
    ]
    return pd.concat(parts, axis=1).reset_index()


def difference(a: Sequence[Cell], b: Sequence[Cell], metric: str) -> Difference:
    """Compare two methods over the seeds that both have; see the head of the module.

    Parameters
    ----------
    a, b
        Cells of one group, one for each seed.
    metric
        One of the metrics.
    """
    others = {cell.at.seed: cell for cell in b}
    pairs = [(cell, others[cell.at.seed]) for cell in a if cell.at.seed in others]
    gaps = np.array([x.metrics[metric] - y.metrics[metric] for x, y in pairs], float)
    gaps = gaps[np.isfinite(gaps)]
    n, won = len(gaps), int((gaps > 0).sum())
    if n < 2:
        return Difference(float(gaps.mean()) if n else np.nan, np.nan, np.nan, n, won)
    fixed = pairs[0][0].at.split.split(":")[0] in FIXED
    share = 0.0 if fixed else np.mean([cell.sizes[1] / cell.sizes[0] for cell, _ in pairs])
    reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) * gaps.std(ddof=1) * np.sqrt(1 / n + share)
    mean = float(gaps.mean())
    return Difference(mean, mean - float(reach), mean + float(reach), n, won)


def resampled(a: Sequence[Cell], b: Sequence[Cell], metric: str) -> tuple[float, float]:
    """Return the interval of the difference over perturbations, or genes, drawn anew.

    Only where the seeds share what is tested; NaN otherwise, and for measures without a value of
    each.
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
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).tolist()
    return low, high


def against(
    cells: Sequence[Cell], metric: str, rival: str | None = None
) -> Iterator[tuple[Group, str, str, Difference, tuple[float, float]]]:
    """Compare each method with a rival, or with the best of the others.

    The best is chosen by the scores that are then compared, which favours it.

    Yields
    ------
    Group, method, its rival, their difference over seeds, and the interval over what is tested.
    """
    for group, methods in by_method(cells):
        methods = {name: of for name, of in methods.items() if name != "replicate"}
        means = {name: _mean(of, metric) for name, of in methods.items()}
        for name, of in methods.items():
            others = [o for o in methods if o != name and np.isfinite(means[o])]
            if rival is not None:
                others = [rival] if rival in others else []
            if others and np.isfinite(means[name]):
                best = max(others, key=lambda other: (means[other], other))
                own = methods[best]
                yield group, name, best, difference(of, own, metric), resampled(of, own, metric)


def _values(cells: Sequence[Cell], name: str) -> np.ndarray:
    return np.mean([cell.each[cell.each_names.index(name)] for cell in cells], axis=0)


def _mean(cells: Sequence[Cell], metric: str) -> float:
    return float(np.mean([cell.metrics.get(metric, np.nan) for cell in cells]))
