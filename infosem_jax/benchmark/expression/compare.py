"""What cells say together: averages over seeds, and differences of methods on the same splits.

Of J seeds, the differences d of two methods have the interval ``mean(d) ± t sd(d) sqrt(1/J + q)``,
with t of J - 1 degrees of freedom and q the ratio of test to training samples. The term q stands
for what splits of the same samples share (Nadeau and Bengio 2003); without it intervals are far
too narrow. One data set can still not tell about others.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from infosem_jax.benchmark.expression.cells import At, Cell

HEADLINES = {
    "rank_correlation": "Correlation of gene ranks",
    "gene_pearson": "Correlation per gene",
}
LEVEL = 0.95


class Group(NamedTuple):
    """Cells whose scores can be set beside each other."""

    dataset: str
    network: str
    split: str

    @property
    def title(self) -> str:
        """Its name for readers."""
        where = "" if self.dataset == self.network else f" → {self.network}"
        return f"{self.dataset}{where}, split: {self.split}"


class Difference(NamedTuple):
    """Mean difference with its interval, the seeds behind it, and how often it was above 0."""

    mean: float
    low: float
    high: float
    seeds: int
    won: int

    @property
    def verdict(self) -> str:
        """Say whether the whole interval is above or below 0."""
        if not np.isfinite(self.low):
            return "–"
        return "above" if self.low > 0 else "below" if self.high < 0 else "open"


def group_of(at: At) -> Group:
    """Return the group of a cell."""
    return Group(at.dataset, at.network, at.split)


def summary(cells: Sequence[Cell]) -> pd.DataFrame:
    """Average every metric over seeds.

    Returns
    -------
    A row for each ``dataset, network, split, genes, method``, with the mean of each metric, its
    standard deviation over seeds (``_sd_seeds``), ``seconds`` and ``seeds``.
    """
    table = pd.DataFrame(
        [{**cell.at._asdict(), **cell.metrics, "seconds": cell.seconds} for cell in cells]
    )
    keys = [*Group._fields, "genes", "method"]
    grouped = table.groupby(keys, sort=True)
    numbers = [name for name in table if name not in (*keys, "seed")]
    parts = [
        pd.DataFrame(grouped[numbers].mean()),
        pd.DataFrame(grouped[list(HEADLINES)].std()).add_suffix("_sd_seeds"),
        pd.DataFrame({"seeds": grouped["seed"].nunique()}),
    ]
    return pd.concat(parts, axis=1).reset_index()


def difference(a: Sequence[Cell], b: Sequence[Cell], metric: str) -> Difference:
    """Compare two sets of cells on the seeds that both have.

    Parameters
    ----------
    a, b
        Cells that differ in one thing, such as the method; one for each seed.
    metric
        One of the metrics, higher better.
    """
    others = {cell.at.seed: cell for cell in b}
    pairs = [(cell, others[cell.at.seed]) for cell in a if cell.at.seed in others]
    gaps = np.array([x.metrics[metric] - y.metrics[metric] for x, y in pairs])
    known = np.isfinite(gaps)
    gaps, n = gaps[known], int(known.sum())
    won = int((gaps > 0).sum())
    if n < 2:
        return Difference(float(gaps.mean()) if n else np.nan, np.nan, np.nan, n, won)
    shares = [x.sizes[2] / x.sizes[0] for (x, _), kept in zip(pairs, known, strict=True) if kept]
    reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) * gaps.std(ddof=1)
    reach *= np.sqrt(1 / n + np.mean(shares))
    mean = float(gaps.mean())
    return Difference(mean, mean - float(reach), mean + float(reach), n, won)


def against_best(
    cells: Sequence[Cell], metric: str
) -> Iterator[tuple[Group, str, str, str, Difference]]:
    """Compare each method with the best of the others.

    The best is chosen by the scores that are then compared, which favours it.

    Yields
    ------
    Group, inputs, method, the best other method, and their difference.
    """
    for (group, genes), methods in by_method(cells):
        means = {name: _mean(of, metric) for name, of in methods.items()}
        for name, of in methods.items():
            rivals = [other for other in methods if other != name and np.isfinite(means[other])]
            if rivals and np.isfinite(means[name]):
                best = max(rivals, key=lambda other: (means[other], other))
                yield group, genes, name, best, difference(of, methods[best], metric)


def gains_of_labels(
    cells: Sequence[Cell], metric: str
) -> Iterator[tuple[Group, str, str, Difference]]:
    """Compare each method with itself without the labels of samples, with the same inputs.

    Yields
    ------
    Group, inputs with labels, method, and what the labels add.
    """
    found = dict(by_method(cells))
    for (group, genes), methods in found.items():
        plain = found.get((group, genes.partition("+")[0]), {})
        for name in methods if "+" in genes else ():
            if name in plain:
                yield group, genes, name, difference(methods[name], plain[name], metric)


def by_method(
    cells: Sequence[Cell],
) -> Iterator[tuple[tuple[Group, str], dict[str, list[Cell]]]]:
    """Yield the cells of each group and choice of inputs, by method."""
    place: Callable[[Cell], tuple] = lambda cell: (group_of(cell.at), cell.at.genes)  # noqa: E731
    for key, of in groupby(sorted(cells, key=lambda cell: (place(cell), cell.at)), key=place):
        methods: dict[str, list[Cell]] = {}
        for cell in of:
            methods.setdefault(cell.at.method, []).append(cell)
        yield key, methods


def mean_scores(cells: Sequence[Cell]) -> str:
    """Write the mean of each headline, with a stroke between them; a dash where undefined."""
    means = [_mean(cells, metric) for metric in HEADLINES]
    return " / ".join(f"{mean:.3f}" if np.isfinite(mean) else "-" for mean in means)


def ranks(cells: Sequence[Cell], metric: str) -> pd.DataFrame:
    """Rank the methods in every group and choice of inputs that all methods have.

    Returns
    -------
    Columns ``method, rank, places``: the mean rank, 1 the best, and the number of places.
    """
    table = summary(cells)
    wide = table.pivot_table(
        index=[*Group._fields, "genes"], columns="method", values=metric, dropna=False
    )
    wide = wide.dropna(axis=1, how="all").dropna()
    mean = wide.rank(axis=1, ascending=False).to_numpy().mean(0) if len(wide) else []
    found = pd.DataFrame({"method": list(wide), "rank": mean if len(wide) else np.nan})
    return found.assign(places=len(wide)).sort_values("rank", kind="stable")


def _mean(cells: Sequence[Cell], metric: str) -> float:
    return float(np.mean([cell.metrics[metric] for cell in cells]))
