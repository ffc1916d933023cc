"""Cells of several files or groups as one data set, which is normalised and fitted together."""

import tomllib
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.data.covariates import regress_out
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.joined import join
from infosem_jax.grn import exact
from infosem_jax.grn.config import Config
from infosem_jax.grn.inputs import columns_of, read_datasets, read_obs, read_states


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
    covariates
        Columns to take out, with the names of the cells as index; None for none.
    """

    data: Dataset
    groups: np.ndarray
    replicates: np.ndarray | None
    covariates: pd.DataFrame | None = None

    def ready(self, config: Config | exact.Config) -> Dataset:
        """Return the cells, normalised and with covariates taken out where there are some.

        Parameters
        ----------
        config
            Settings, which say how expression is brought to scale.

        Raises
        ------
        ValueError
            As `infosem_jax.data.regress_out`.
        """
        if self.covariates is None:
            return self.data
        return regress_out(self.data, self.covariates, config.normalisation, clip=config.clip)


def read_grouped(
    paths: Sequence[Path],
    *,
    groupby: str | None = None,
    replicates: str | None = None,
    covariates: str | None = None,
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
    covariates
        Columns of obs, joined by commas, that are to be taken out.
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
    together, table = join(datasets, name=" and ".join(datasets)), None
    if covariates is not None:
        parts = [
            read_obs(path, columns_of(covariates)).loc[list(data.cells)]
            for path, data in zip(paths, datasets.values(), strict=True)
        ]
        table = pd.concat(parts).set_axis(pd.Index(together.cells))
    return Grouped(together, groups, None if replicates is None else column(replicates), table)


def cells_of_run(
    run: Path,
    expression: Sequence[Path] | None,
    *,
    groupby: str | None = None,
    layer: str | None = None,
    names: str | None = None,
) -> Grouped | None:
    """Read the cells of a fit, with the covariates that it took out; None where none are known.

    Parameters
    ----------
    run
        Folder that ``infosem fit`` or ``infosem activity`` wrote.
    expression
        Files of the cells; None takes the ``cells.h5ad`` that activities are written with.
    groupby, layer, names
        As in `read_grouped`.

    Raises
    ------
    ValueError
        As `read_grouped`.
    """
    stored = FilePath(run) / "cells.h5ad"
    files = expression or ([stored] if stored.is_file() else [])
    if not files:
        return None
    taken = recorded_covariates(run)
    return read_grouped(files, groupby=groupby, covariates=taken, layer=layer, names=names)


def recorded_covariates(run: Path) -> str | None:
    """Return the columns of obs that the fit in a folder took out, joined by commas.

    Parameters
    ----------
    run
        Folder that ``infosem fit`` or ``infosem activity`` wrote.
    """
    file = FilePath(run) / "config.toml"
    if not file.is_file():
        return None
    return tomllib.loads(file.read_text("utf-8")).get("run", {}).get("covariates") or None
