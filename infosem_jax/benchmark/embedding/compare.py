"""What cells say together: means over seeds, average ranks, and differences of methods.

Intervals are those of t over seeds. Seeds share their data, so they tell about chance in training
(and, across species, about which orthologues were withheld), not about other data.
"""

import numpy as np
import pandas as pd

from infosem_jax.embedding.methods import CONTROLS
from infosem_jax.embedding.metrics import SIX
from infosem_jax.scores import Estimate, mean_interval


def average_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """Rank methods by each of the six metrics within a group and seed, and average the ranks.

    Parameters
    ----------
    table
        Of `benchmark.table.wide`. Controls take no part. Seeds that lack a method are left out, so
        that all ranks are among the same methods. Where a metric is not defined of a method, it
        comes last in it; a metric that is defined of none does not count.

    Returns
    -------
    Columns ``dataset, method, seed, rank``; 1 is the best, and ties share their mean.
    """
    rows = []
    table = table.loc[~table["method"].isin(list(CONTROLS))]
    for dataset, of in table.groupby("dataset", sort=True):
        methods = sorted(of["method"].unique())
        for seed, own in of.groupby("seed"):
            own = own.set_index("method")
            if sorted(own.index) != methods:
                continue
            scores = own[list(SIX)].dropna(axis=1, how="all")
            if scores.shape[1]:
                ranks = scores.rank(ascending=False, na_option="bottom").to_numpy().mean(1)
                rows += [
                    {"dataset": dataset, "method": m, "seed": seed, "rank": rank}
                    for m, rank in zip(own.index, ranks, strict=True)
                ]
    return pd.DataFrame(rows, columns=pd.Index(["dataset", "method", "seed", "rank"]))


def undefined(of: pd.DataFrame) -> list[str]:
    """Return those of the six metrics that no method of a group has, and ranks leave out."""
    of = of.loc[~of["method"].isin(list(CONTROLS))]
    return [name for name in SIX if not np.isfinite(of[name].to_numpy()).any()]


def rank_estimates(ranks: pd.DataFrame) -> dict[str, dict[str, Estimate]]:
    """Return the average rank of each method, by group, with its interval over seeds."""
    found: dict[str, dict[str, Estimate]] = {}
    for dataset, of in ranks.groupby("dataset"):
        for method, own in of.groupby("method"):
            found.setdefault(str(dataset), {})[str(method)] = mean_interval(own["rank"].to_numpy())
    return found


def difference(table: pd.DataFrame, a: str, b: str, metric: str) -> Estimate:
    """Estimate how far one method of a group is above another, on the seeds that both have.

    Parameters
    ----------
    table
        A row for each method and seed of one group.
    a, b
        Names of the methods.
    metric
        One of its columns.
    """
    values = table.pivot_table(index="seed", columns="method", values=metric, dropna=False)
    if not {a, b} <= set(values):
        return mean_interval([])
    return mean_interval((values[a] - values[b]).to_numpy())
