"""Several data sets as one, so that they are normalised and fitted together."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from infosem_jax.data.dataset import Dataset
from infosem_jax.data.units import BASES, Units, describe_units


def join(datasets: Mapping[str, Dataset], *, name: str = "joined") -> Dataset:
    """Put the cells of data sets together, over the genes that all have.

    Cells keep their names where these differ, and else get that of their data set before it. Counts
    of whole cells are kept, so that genes that are left out do not change what a count is worth.

    Parameters
    ----------
    datasets
        Data sets as read, by name.
    name
        What they are called together.

    Raises
    ------
    ValueError
        If there is none, one is normalised already, some are counts and others logarithms, or
        logarithms to another base, or they share fewer than two genes or no regulator.
    """
    parts = list(datasets.values())
    if not parts:
        raise ValueError("Expected at least one data set to join, found none.")
    for title, data in datasets.items():
        if data.normalisation != "none":
            raise ValueError(
                f"{title}: expected values as read, so that all are brought to one scale; found "
                f"{data.normalisation}."
            )
    if len(parts) == 1:
        return parts[0]
    _check_alike({title: describe_units(data.x, name=title) for title, data in datasets.items()})
    shared = set(parts[0].genes).intersection(*(data.genes for data in parts[1:]))
    genes = tuple(gene for gene in parts[0].genes if gene in shared)
    acting = set(parts[0].regulators).intersection(*(data.regulators for data in parts[1:]))
    regulators = tuple(gene for gene in genes if gene in acting)
    if len(genes) < 2 or not regulators:
        raise ValueError(
            f"{', '.join(datasets)}: expected genes and regulators in common, found {len(genes)} "
            f"genes and {len(regulators)} regulators; are the names of one kind and species?"
        )
    columns = [pd.Index(data.genes).get_indexer(pd.Index(genes)) for data in parts]
    cells = [cell for data in parts for cell in data.cells]
    if len(set(cells)) < len(cells):
        cells = [f"{title}:{cell}" for title, data in datasets.items() for cell in data.cells]
    totals = [data.x.sum(1) if data.totals is None else data.totals for data in parts]
    every = len(set().union(*(data.genes for data in parts)))
    left = f"left out {every - len(genes)} genes that not all data sets have"
    return Dataset(
        x=np.concatenate([data.x[:, at] for data, at in zip(parts, columns, strict=True)]),
        observed=np.concatenate(
            [data.observed[:, at] for data, at in zip(parts, columns, strict=True)]
        ),
        genes=genes,
        cells=tuple(cells),
        regulators=regulators,
        name=name,
        totals=np.concatenate(totals),
        notes=(left,) if every > len(genes) else (),
    )


def _check_alike(units: Mapping[str, Units]) -> None:
    counted = {each.countable or each.kind == "binary" for each in units.values()}
    bases = {each.base for each in units.values()} & BASES.keys()
    if len(counted) > 1 or len(bases) > 1:
        found = "; ".join(f"{title}: {each} ({each.why})" for title, each in units.items())
        raise ValueError(
            f"Expected data sets in one unit, which one normalisation suits, found {found}; give "
            "counts of all, or logarithms to one base (--layer reads another matrix of h5ad files)."
        )
