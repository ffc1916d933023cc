"""Averages over the cells of the benchmark, their intervals, and comparisons of methods in pairs.

Scores are averaged over seeds first and over data sets then, so that every data set counts the
same. Intervals are bootstrap intervals: each cell holds its score for many draws of its regulators
with replacement, draw ``i`` of all cells is averaged in the same way as the scores, and the
interval holds the middle 95 % of these averages. The draws of two methods are the same, so the
difference of two methods is taken draw by draw, and what regulators have in common cancels out.
Data sets are not resampled: intervals are about these data sets with other regulators.

A draw without a value (none of its regulators has enough edges) takes the mean of its cell's draws.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax.grn.accuracy import Cell
from infosem_jax.grn.splits import KINDS
from infosem_jax.scores import draws_interval

HEADLINE = "auprc_ratio_per_regulator"
METRICS = (
    HEADLINE,
    f"{HEADLINE}_chance",
    "auprc_ratio",
    "auprc_ratio_regulator_mean",
    "auprc_ratio_target_mean",
    "auroc_degree_matched",
    "auprc",
    "auroc",
    "epr",
    "hit_at_1pct",
    "base_rate",
)
# The metrics that cells hold for draws of regulators.
DRAWN = {"auprc": "resampled", HEADLINE: "resampled_per_regulator"}


class Group(NamedTuple):
    """Cells whose scores may be averaged over data sets, and compared between methods."""

    network: str
    genes: str
    split: str


def table(cells: Iterable[Cell]) -> pd.DataFrame:
    """List the cells in a fixed order: one row each, with its place, ``METRICS`` and ``seconds``.

    Raises
    ------
    ValueError
        If there are no cells, two have the same place, or their numbers of draws differ.
    """
    return pd.DataFrame(
        [
            {
                **cell.at._asdict(),
                **{metric: float(cell.metrics.get(metric, np.nan)) for metric in METRICS},
                "seconds": cell.seconds,
            }
            for cell in _ordered(cells)
        ]
    )


def summary(cells: Iterable[Cell]) -> pd.DataFrame:
    """Average the cells of every network, gene set, split and method.

    Returns
    -------
    DataFrame
        Sorted by group, and by the score per regulator within it. Columns ``network, genes, split,
        method``; for each of ``METRICS`` its mean over data sets of the mean over seeds, and with
        ``_sd`` its standard deviation over seeds on one data set (root mean square over data sets;
        NaN with one seed); for each of ``DRAWN`` the ends ``_low`` and ``_high`` of its 95 %
        interval over regulators; ``seconds``, the mean of a cell; ``cells`` and ``data_sets``, how
        many were averaged; and ``of_cells`` and ``of_data_sets``, how many any method has there.
        Means leave out seeds and data sets without a value.

    Raises
    ------
    ValueError
        As :func:`table`.
    """
    cells = _ordered(cells)
    rows = table(cells)
    places, by = list(Group._fields), [*Group._fields, "method"]
    on_data_set = rows.groupby([*by, "dataset"])[[*METRICS, "seconds"]]
    mean = pd.DataFrame(on_data_set.mean()).groupby(by).mean()
    variance = pd.DataFrame(on_data_set.var()).groupby(by).mean()
    sd = pd.DataFrame(np.sqrt(variance)).drop(columns="seconds").add_suffix("_sd")
    counts = rows.groupby(by)["dataset"].agg(cells="size", data_sets="nunique")
    of = rows.drop_duplicates([*places, "dataset", "seed"]).groupby(places)["dataset"]
    of = of.agg(of_cells="size", of_data_sets="nunique")
    groups = rows.groupby(by).indices
    intervals = pd.DataFrame(
        [_intervals([cells[i] for i in groups[key]]) for key in mean.index], index=mean.index
    )
    averages = [pd.DataFrame(part) for part in (mean, sd, intervals, counts)]
    out = pd.concat(averages, axis=1).reset_index()
    out = out.merge(of.reset_index(), on=places)
    out["order"] = [split_order(name) for name in out["split"]]
    out = out.sort_values(
        ["network", "genes", "order", HEADLINE, "auprc", "method"],
        ascending=[True, True, True, False, False, True],
        ignore_index=True,
    )
    return out.drop(columns="order")


def paired(
    cells: Iterable[Cell],
    method: str,
    against: str | Mapping[Group, str],
    metric: str = HEADLINE,
) -> pd.DataFrame:
    """Compare two methods on the cells that both have, for every network, gene set and split.

    The interval takes regulators and seeds into account: each draw of regulators goes with a draw
    of ``n - 1`` of a data set's ``n`` seeds with replacement, the number that makes the variance of
    the mean unbiased. With one seed, it is about regulators alone.

    Parameters
    ----------
    cells
        Of both methods and any others.
    method
        The method in question.
    against
        What to compare with: one method, or one for each group, as :func:`best` gives; groups that
        are not named are left out.
    metric
        One of ``DRAWN``.

    Returns
    -------
    DataFrame
        One row for each group where both methods have a cell. Columns ``network, genes, split,
        method, against``; ``difference, difference_low, difference_high``: method minus the other,
        mean over data sets of the mean over seeds, with its 95 % interval; ``ratio, ratio_low,
        ratio_high`` of the two means; ``pairs``, the data sets and seeds compared, and ``won``, in
        how many of them the method scored higher; ``missing``, how many were left out because only
        one of the two has them, and ``missing_places``, which.

    Raises
    ------
    ValueError
        As :func:`table`; and on a metric without draws, or a method that no cell has.
    """
    cells = _ordered(cells)
    if metric not in DRAWN:
        raise ValueError(f"Expected a metric with draws, {' or '.join(DRAWN)}, found {metric!r}.")
    named = {against} if isinstance(against, str) else set(against.values())
    _check_methods(cells, {method, *named})
    found: dict[tuple[Group, str], dict[tuple[str, int], Cell]] = {}
    for cell in cells:
        at = cell.at
        places = found.setdefault((Group(at.network, at.genes, at.split), at.method), {})
        places[at.dataset, at.seed] = cell
    rows = []
    for group in sorted({group for group, _ in found}, key=group_order):
        other = against if isinstance(against, str) else against.get(group, "")
        own, others = found.get((group, method), {}), found.get((group, other), {})
        if own.keys() & others.keys():
            rows.append(
                {**group._asdict(), "method": method, "against": other} | _pair(own, others, metric)
            )
    return pd.DataFrame(rows, columns=pd.Index(_PAIRED))


def best(cells: Iterable[Cell], among: Collection[str], metric: str = HEADLINE) -> dict[Group, str]:
    """Choose the method with the highest mean over data sets in every group.

    Methods that lack a data set of the group are passed over while others have them all. The choice
    sees the scores that a method is then compared with, which favours the chosen: where several
    methods are equally good, the best of them is the luckiest. As yardsticks for a new method, the
    methods ``among`` thus stand a little taller than they are.

    Parameters
    ----------
    cells
        Of these methods and any others.
    among
        The methods to choose from; groups where none of them has a value are left out.
    metric
        One of ``METRICS``.

    Raises
    ------
    ValueError
        As :func:`table`, and on an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"Expected a metric, one of {', '.join(METRICS)}, found {metric!r}.")
    rows = summary(cells)
    rows = rows.loc[rows["method"].isin(list(among)) & rows[metric].notna()]
    rows = rows.sort_values(
        ["data_sets", metric, "method"], ascending=[False, False, True], kind="stable"
    )
    first = rows.drop_duplicates(list(Group._fields))
    chosen = {
        Group(*row[:3]): row[3] for row in first[[*Group._fields, "method"]].itertuples(index=False)
    }
    return dict(sorted(chosen.items(), key=lambda item: group_order(item[0])))


def split_order(name: str) -> tuple[int, str]:
    """Sort the benchmark's own splits in their order, and others by name after them."""
    return (KINDS.index(name) if name in KINDS else len(KINDS), name)


def group_order(group: Group) -> tuple:
    """Sort groups by network and gene set, then splits in their order."""
    return group.network, group.genes, split_order(group.split)


_PAIRED = [
    *(*Group._fields, "method", "against"),
    *("difference", "difference_low", "difference_high", "ratio", "ratio_low", "ratio_high"),
    *("pairs", "won", "missing", "missing_places"),
]


def _ordered(cells: Iterable[Cell]) -> list[Cell]:
    """Sort the cells, so that sums, and the draws of seeds, do not depend on their order."""
    cells = sorted(cells, key=lambda cell: cell.at)
    if not cells:
        raise ValueError("Expected the cells of a benchmark, found none; did every method fail?")
    for before, cell in pairwise(cells):
        if before.at == cell.at:
            raise ValueError(f"Expected each cell once, found two at {tuple(cell.at)}.")
    sizes = {len(cell.resampled) for cell in cells}
    sizes |= {len(cell.resampled_per_regulator) for cell in cells}
    if len(sizes) > 1:
        raise ValueError(
            f"Expected as many draws of regulators in every cell, found {sorted(sizes)}; these "
            "cells come from runs with different settings, remove those of one of them."
        )
    return cells


def _intervals(cells: Sequence[Cell]) -> dict[str, float]:
    """Intervals over regulators of one method's averages in a group."""
    ends = {}
    for metric in DRAWN:
        draws = [_draws(of, metric).mean(0) for of in _by_data_set(cells, metric)]
        ends[f"{metric}_low"], ends[f"{metric}_high"] = draws_interval(_mean(draws))
    return ends


def _pair(
    own: Mapping[tuple[str, int], Cell], others: Mapping[tuple[str, int], Cell], metric: str
) -> dict[str, object]:
    """Compare the cells of two methods at the places that both have."""
    shared, missing = sorted(own.keys() & others.keys()), sorted(own.keys() ^ others.keys())
    rng = np.random.default_rng(0)
    scores, draws, won = [], [], []
    for mine in _by_data_set([own[place] for place in shared], metric):
        theirs = [others[cell.at.dataset, cell.at.seed] for cell in mine]
        values = np.array([[cell.metrics[metric] for cell in of] for of in (mine, theirs)])
        drawn = np.stack([_draws(of, metric) for of in (mine, theirs)])
        n, size = drawn.shape[1:]
        seeds = rng.integers(0, n, (max(n - 1, 1), size))
        scores.append(values.mean(1))
        draws.append(drawn[:, seeds, np.arange(size)].mean(1))
        won.extend(values[0] > values[1])
    a, b = _mean(scores) if scores else (np.nan, np.nan)
    a_drawn, b_drawn = _mean(draws) if draws else np.empty((2, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = a - b, *draws_interval(a_drawn - b_drawn)
        ratio = a / b, *draws_interval(a_drawn / b_drawn)
    return {
        **dict(zip(_PAIRED[5:11], difference + ratio, strict=True)),
        "pairs": len(won),
        "won": int(sum(won)),
        "missing": len(missing),
        "missing_places": ", ".join(f"{name} seed {seed}" for name, seed in missing),
    }


def _by_data_set(cells: Sequence[Cell], metric: str) -> Iterator[list[Cell]]:
    """Yield the cells with a value, one data set after the other."""
    valued = [cell for cell in cells if np.isfinite(cell.metrics[metric])]
    for _, of in groupby(valued, key=lambda cell: cell.at.dataset):
        yield list(of)


def _draws(cells: Sequence[Cell], metric: str) -> Float[np.ndarray, "cells draws"]:
    draws = np.stack([np.asarray(getattr(cell, DRAWN[metric]), float) for cell in cells])
    known = np.isfinite(draws)
    total = np.where(known, draws, 0.0).sum(1, keepdims=True)
    count = known.sum(1, keepdims=True)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return np.where(known, draws, mean)


def _mean(of_data_sets: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean(of_data_sets, axis=0) if of_data_sets else np.empty(0)


def _check_methods(cells: Sequence[Cell], methods: set[str]) -> None:
    known = {cell.at.method for cell in cells}
    unknown = sorted(methods - known)
    if unknown:
        raise ValueError(
            f"No cell is of {', '.join(unknown)}; there are cells of {', '.join(sorted(known))}."
        )
