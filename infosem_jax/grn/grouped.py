"""Cells of several files or groups as one data set, which is normalised and fitted together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from infosem_jax._typing import Path
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.joined import join
from infosem_jax.grn import exact
from infosem_jax.grn.inputs import read_datasets, read_states


class Grouped(NamedTuple):
    """Cells with the group that each is of.

    Attributes
    ----------
    data
        All cells.
    groups
        Of each cell, [cells].
    replicates
        Of each cell, [cells]; None where cells are the replicates.
    """

    data: Dataset
    groups: np.ndarray
    replicates: np.ndarray | None


def read_grouped(
    paths: Sequence[Path],
    *,
    groupby: str | None = None,
    replicates: str | None = None,
    regulators: Path | None = None,
    layer: str | None = None,
    names: str | None = None,
) -> Grouped:
    """Read cells that are normalised and fitted together.

    Parameters
    ----------
    paths
        Files or folders of expression, see `infosem_jax.data.read_expression`.
    groupby
        Column of obs with the group of each cell; None takes the data sets as groups.
    replicates
        Column of obs with the donor, animal or batch of each cell, if there is one.
    regulators
        File of candidate regulators; None takes those that files mark, or every gene.
    layer, names
        As in `infosem_jax.data.read_expression`.

    Raises
    ------
    ValueError
        If a file cannot be read or has no such column, or data sets share no genes.
    """
    datasets: dict[str, Any] = read_datasets(
        paths, exact.Config(), regulators=regulators, layer=layer, names=names
    )
    sizes = [len(data.cells) for data in datasets.values()]

    def column(name: str) -> np.ndarray:
        return np.concatenate(list(read_states(paths, name, datasets).values()))

    groups = np.repeat(list(datasets), sizes) if groupby is None else column(groupby)
    return Grouped(
        join(datasets, name=" and ".join(datasets)),
        groups,
        None if replicates is None else column(replicates),
    )
