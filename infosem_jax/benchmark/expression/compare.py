"""What cells say together: averages over seeds, and differences of methods on the same splits.

Intervals of differences are widened for what splits of the same samples share, see
`infosem_jax.scores.mean_interval`. One data set can still not tell about others.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from infosem_jax.benchmark import table
from infosem_jax.benchmark.expression.cells import STORE, At, Cell
from infosem_jax.benchmark.table import difference, mean_score, with_best_other
from infosem_jax.scores import Estimate

HEADLINES = {
    "rank_correlation": "Correlation of gene ranks",
    "gene_pearson": "Correlation per gene",
}


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


def group_of(at: At) -> Group:
    """Return the group of a cell."""
    return Group(at.dataset, at.network, at.split)


def against_best(
    cells: Sequence[Cell], metric: str
) -> Iterator[tuple[Group, str, str, str, Estimate]]:
    """Compare each method with the best of the others.

    Yields
    ------
    Group, inputs, method, the best other method, and their difference.
    """
    for (group, genes), methods in by_method(cells):
        for name, best in with_best_other(methods, metric):
            yield group, genes, name, best, difference(methods[name], methods[best], metric)


def gains_of_labels(
    cells: Sequence[Cell], metric: str
) -> Iterator[tuple[Group, str, str, Estimate]]:
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
    return table.by_method(cells, lambda at: (group_of(at), at.genes))


def mean_scores(cells: Sequence[Cell]) -> str:
    """Write the mean of each headline, with a stroke between them; a dash where undefined."""
    means = [mean_score(cells, metric) for metric in HEADLINES]
    return " / ".join(f"{mean:.3f}" if np.isfinite(mean) else "-" for mean in means)


def ranks(cells: Sequence[Cell], metric: str) -> pd.DataFrame:
    """Rank the methods in every group and choice of inputs that all methods have.

    Returns
    -------
    Columns ``method, rank, places``: the mean rank, 1 the best, and the number of places.
    """
    wide = table.summary(cells, STORE.folders).pivot_table(
        index=[*Group._fields, "genes"], columns="method", values=metric, dropna=False
    )
    wide = wide.dropna(axis=1, how="all").dropna()
    mean = wide.rank(axis=1, ascending=False).to_numpy().mean(0) if len(wide) else []
    found = pd.DataFrame({"method": list(wide), "rank": mean if len(wide) else np.nan})
    return found.assign(places=len(wide)).sort_values("rank", kind="stable")
