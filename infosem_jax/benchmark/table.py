"""Cells brought together: rows, means over seeds, differences of methods, and the page of all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from infosem_jax.outputs.page import Page, Section, counted, interval, number
from infosem_jax.scores import Estimate, mean_interval

Key = TypeVar("Key")


def wide(cells: Sequence[Any]) -> pd.DataFrame:
    """Return a row for each cell, with its place, metrics and seconds."""
    return pd.DataFrame(
        [{**cell.at._asdict(), **cell.metrics, "seconds": cell.seconds} for cell in cells]
    )


def summary(cells: Sequence[Any], by: Sequence[str]) -> pd.DataFrame:
    """Average every metric over seeds.

    Parameters
    ----------
    cells
        Of one benchmark.
    by
        Fields of their places that tell rows apart, in order.

    Returns
    -------
    A row for each place but its seed, with the mean of each metric and of ``seconds``, their
    standard deviations over seeds (``_sd_seeds``), and the number of ``seeds``.
    """
    table = wide(cells)
    grouped = table.groupby(list(by), sort=True)
    numbers = [name for name in table if name not in (*by, "seed")]
    parts = [
        pd.DataFrame(grouped[numbers].mean()),
        pd.DataFrame(grouped[numbers].std()).add_suffix("_sd_seeds"),
        pd.DataFrame({"seeds": grouped["seed"].nunique()}),
    ]
    return pd.concat(parts, axis=1).reset_index()


def by_method(
    cells: Sequence[Any], place: Callable[[Any], Key]
) -> Iterator[tuple[Key, dict[str, list[Any]]]]:
    """Yield the cells of each group by method, seeds in order.

    Parameters
    ----------
    cells
        Of one benchmark.
    place
        Maps the place of a cell to its group; groups come in order.
    """
    cells = sorted(cells, key=lambda cell: (place(cell.at), cell.at))
    for key, group in groupby(cells, key=lambda cell: place(cell.at)):
        methods: dict[str, list[Any]] = {}
        for cell in group:
            methods.setdefault(cell.at.method, []).append(cell)
        yield key, methods


def mean_score(cells: Sequence[Any], metric: str) -> float:
    """Return the mean of a metric over cells; NaN where one of them lacks it."""
    return float(np.mean([cell.metrics.get(metric, np.nan) for cell in cells]))


def difference(a: Sequence[Any], b: Sequence[Any], metric: str) -> Estimate:
    """Compare two sets of cells on the seeds that both have, see `mean_interval`.

    Parameters
    ----------
    a, b
        Cells that differ in one thing, such as the method; one for each seed. Their ``shared`` is
        the ratio of test to training samples where seeds are splits of the same samples, else 0.
    metric
        One of their metrics, higher better.
    """
    others = {cell.at.seed: cell for cell in b}
    gaps, shared = [], []
    for cell in a:
        if cell.at.seed in others:
            gap = cell.metrics[metric] - others[cell.at.seed].metrics[metric]
            if np.isfinite(gap):
                gaps.append(gap)
                shared.append(cell.shared)
    return mean_interval(gaps, shared=float(np.mean(shared)) if shared else 0.0)


def with_best_other(methods: Mapping[str, Sequence[Any]], metric: str) -> Iterator[tuple[str, str]]:
    """Yield each method that has a score, and the best of the others.

    The best is chosen by the scores that are then compared, which favours it.

    Parameters
    ----------
    methods
        Cells by method, of one group.
    metric
        One of their metrics, higher better.
    """
    means = {name: mean_score(of, metric) for name, of in methods.items()}
    scored = [name for name in methods if np.isfinite(means[name])]
    for name in scored:
        others = [other for other in scored if other != name]
        if others:
            yield name, max(others, key=lambda other: (means[other], other))


def board(
    cells: Sequence[Any],
    title: str,
    lede: str,
    sections: Sequence[Section],
    *,
    counts: Mapping[str, int],
    rules: Mapping[str, str],
    controls: frozenset[str],
    notes: Sequence[str],
    about: Mapping[str, str],
    versions: Mapping[str, Any],
) -> Page:
    """Put the page of a benchmark together.

    Parameters
    ----------
    cells
        What was measured.
    title, lede, sections
        As of a `Page`.
    counts
        How many there are of each word, beside methods, seeds and results.
    rules
        What scores mean, by what they are about.
    controls
        Names of methods that are controls.
    notes, about, versions
        What `benchmark.runner.Plan` says that a page is given.
    """
    names = sorted({cell.at.method for cell in cells})
    seeds = len({cell.at.seed for cell in cells})
    overview = counted({"method": len(names), **counts, "seed": seeds, "result": len(cells)})
    facts = {
        "Rules": rules,
        "Methods": {name: about.get(name, "No description.") for name in names},
        "Versions": versions,
    }
    return Page(title, lede, [f"{overview}."], notes, sections, facts, controls & set(names))


def spread_text(row: Mapping[str, Any], metric: str) -> str:
    """Write the mean of a metric and its deviation over seeds, from a row of `summary`."""
    text, spread = number(row[metric]), row[f"{metric}_sd_seeds"]
    return f"{text} ± {number(spread)}" if np.isfinite(spread) else text


def gap_texts(gap: Estimate) -> list[str]:
    """Write a difference with its interval, how often it is above 0, and the verdict."""
    text = interval(gap.mean, gap.low, gap.high, 4, sign=True)
    return [text, f"{gap.won} of {gap.n}", gap.verdict]
