"""What a fit from files is made of: data sets, and the settings of the model and its priors."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Literal, TypeAlias, TypeVar

import h5py
import pandas as pd

from infosem_jax._settings import hint
from infosem_jax._typing import Path
from infosem_jax.data._files import check_h5, read_element, reading
from infosem_jax.data.covariates import regress_out
from infosem_jax.data.dataset import Dataset, numbered
from infosem_jax.data.io import (
    Orientation,
    read_expression,
    read_groups,
    read_network,
    read_regulators,
)
from infosem_jax.data.stream import Stream, open_stream
from infosem_jax.grn import exact
from infosem_jax.grn.config import Config, from_dict

TABLES = ("model", "exact", "effect", "edge", "run")
BASES = {"svi": Config(), "exact": exact.Config()}
Engine: TypeAlias = Literal["svi", "exact"]
Settings = TypeVar("Settings", Config, exact.Config)
Sites: TypeAlias = dict[str, dict[str, Any]]


def read_datasets(
    paths: Sequence[Path],
    config: Config | exact.Config = exact.Config(),
    *,
    regulators: Path | None = None,
    groupby: str | None = None,
    stream: bool = False,
    layer: str | None = None,
    names: str | None = None,
    orientation: Orientation = "auto",
    variant: str | None = None,
    covariates: str | None = None,
    name: str | None = None,
) -> dict[str, Dataset | Stream]:
    """Read data sets, by name, and tell apart those of like names by the folders they are in.

    Parameters
    ----------
    paths
        Files or folders of expression, see `infosem_jax.data.read_expression`.
    config
        Settings; streams are normalised as they say.
    regulators
        File of candidate regulators, one symbol a line; None takes every gene.
    groupby
        Column of obs: one data set for each of its values.
    stream
        Leave the cells on disk.
    layer, names, orientation, variant
        As in `infosem_jax.data.read_expression`.
    covariates
        Columns of obs, joined by commas, that are taken out, see `infosem_jax.data.regress_out`.
    name
        What the data set is called, if there is one only.

    Raises
    ------
    ValueError
        If a file cannot be read, two data sets have the same name, or covariates cannot be taken
        out.
    """
    if stream and covariates is not None:
        raise ValueError("Expected cells in memory with covariates, found --stream; leave it out.")
    candidates = None if regulators is None else read_regulators(regulators)
    found: list[tuple[str, Any]] = []
    for path in paths:
        if groupby is not None:
            groups = read_groups(path, groupby, layer=layer, names=names, regulators=candidates)
            groups = {
                group: without(covariates, data, path, config) for group, data in groups.items()
            }
            alone = len(paths) == 1
            found += [(group if alone else data.name, data) for group, data in groups.items()]
            continue
        options: dict[str, Any] = {
            "regulators": candidates,
            "layer": layer,
            "names": names,
            "name": name,
        }
        if stream:
            scale = {"normalisation": config.normalisation, "clip": config.clip}
            data = open_stream(path, **options, **scale)
        else:
            data = read_expression(path, **options, orientation=orientation, variant=variant)
            data = without(covariates, data, path, config)
        found.append((data.name, data))
    titles = [title for title, _ in found]
    if len(set(titles)) < len(titles) and groupby is None:
        # Folders of a benchmark have like names at the end: tell them apart by their parents.
        titles = ["/".join(FilePath(path).resolve().parts[-2:]) for path in paths]
        found = [
            (title, data._replace(name=title))
            for title, (_, data) in zip(titles, found, strict=True)
        ]
    if len(set(titles)) < len(titles):
        raise ValueError(f"Expected data sets with names of their own, found {', '.join(titles)}.")
    return dict(found)


def read_states(
    paths: Sequence[Path], column: str, datasets: Mapping[str, Dataset]
) -> dict[str, list[str]]:
    """Read the state of each cell from a column of obs, such as its donor.

    Parameters
    ----------
    paths
        The h5ad files of the data sets, in their order.
    column
        The column.
    datasets
        Data sets by name.

    Raises
    ------
    ValueError
        If a file is no h5ad file, or has no such column, or cells have no value there.
    """
    found = {}
    for path, (name, data) in zip(paths, datasets.items(), strict=True):
        values = read_obs(path, [column]).loc[list(data.cells), column]
        if values.isna().any():
            raise ValueError(
                f"{path}: {values.isna().sum()} of {len(values)} cells have no value in "
                f"obs[{column!r}]; fill them in, or leave these cells out: "
                f"adata[adata.obs[{column!r}].notna()]."
            )
        found[name] = values.astype(str).tolist()
    return found


def read_networks(specs: Sequence[str], names: Sequence[str]) -> dict[str, pd.DataFrame] | None:
    """Read the known network of each data set; None where there is none.

    Parameters
    ----------
    specs
        ``FILE`` for all data sets, or ``NAME=FILE`` for one.
    names
        Of the data sets.

    Raises
    ------
    ValueError
        If a name is of no data set, or a data set has two networks.
    """
    tables = {}
    for spec in specs:
        name, equals, file = spec.partition("=")
        if equals and name not in names:
            raise ValueError(
                f"--network: expected the name of a data set ({', '.join(names)}) before =, found "
                f"{name!r}."
            )
        for each in [name] if equals else names:
            if each in tables:
                raise ValueError(f"--network: found two networks for {each}; give one.")
            tables[each] = read_network(file if equals else spec)
    return tables or None


def without(
    covariates: str | None, data: Dataset, path: Path, config: Config | exact.Config
) -> Dataset:
    """Take columns of obs out of the expression of a file's cells.

    Parameters
    ----------
    covariates
        The columns, joined by commas; None leaves the data as they are.
    data
        The cells, or some of them.
    path
        The h5ad file.
    config
        Settings, which say how expression is brought to scale.

    Raises
    ------
    ValueError
        If the file is no h5ad file or has no such column, or as `infosem_jax.data.regress_out`.
    """
    if covariates is None:
        return data
    table = read_obs(path, columns_of(covariates))
    return regress_out(data, table, config.normalisation, clip=config.clip)


def columns_of(text: str) -> list[str]:
    """Return names of columns that are joined by commas."""
    return [column.strip() for column in text.split(",")]


def read_obs(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read columns of the obs of an h5ad file.

    Parameters
    ----------
    path
        The file.
    columns
        Their names.

    Raises
    ------
    ValueError
        If it is no h5ad file, or has no such column.
    """
    if FilePath(path).suffix != ".h5ad":
        raise ValueError(f"{path}: expected an .h5ad file, whose obs describes the cells.")
    with reading(path, "h5ad file"):
        check_h5(path, parts=["obs"])
        with h5py.File(path, "r") as file:
            obs: Any = read_element(file, "obs")
    for column in columns:
        if column not in obs:
            found = hint(column, map(str, obs.columns)) if len(obs.columns) else "it has none."
            raise ValueError(f"{path}: has no column {column!r} in obs; {found}")
    return obs[columns].set_axis(pd.Index(numbered(tuple(map(str, obs.index)))[0]))


def read_engine(path: Path | None, asked: str | None) -> Engine:
    """Return the engine that is asked for, or that a file of settings is of; else ``exact``.

    Parameters
    ----------
    path
        The file, whose entry ``engine`` counts, or else its table ``[model]`` (of svi) or
        ``[exact]``; None for no file.
    asked
        What the user asks for; None for nothing.

    Raises
    ------
    ValueError
        If there is no such engine, the file names another, or is no TOML file.
    """
    tables = {} if path is None else _tables(path)
    of_tables = {"svi": "model" in tables, "exact": "exact" in tables}
    only = [engine for engine, there in of_tables.items() if there]
    named = tables.get("engine", only[0] if len(only) == 1 else None)
    for each in (asked, named):
        if each is not None and each not in BASES:
            raise ValueError(f"engine: expected {' or '.join(BASES)}, found {each!r}.")
    if asked is not None and named is not None and asked != named:
        raise ValueError(f"{path}: its settings are of the engine {named}, found --engine {asked}.")
    return "svi" if "svi" in (asked, named) else "exact"


def read_config(path: Path | None, base: Settings) -> tuple[Settings, Sites]:
    """Read the settings of an engine, and those of the priors by site, from a TOML file.

    Parameters
    ----------
    path
        The file, with tables ``[model]`` (of svi) or ``[exact]``, ``[effect]`` and ``[edge]``; None
        for the settings of ``base``. Which prior the tables name does not matter, as that is an
        option of its own.
    base
        Settings that the file does not name, of the engine.

    Raises
    ------
    ValueError
        If it is no TOML file, or holds other tables or settings.
    """
    tables = {} if path is None else _tables(path)
    own = "exact" if isinstance(base, exact.Config) else "model"
    return from_dict(tables.get(own, {}), base), _of_sites(tables)


def _tables(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(FilePath(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file ({error}).") from error
    for name, table in tables.items():
        if name == "engine":
            continue
        if name not in TABLES or not isinstance(table, dict):
            raise ValueError(
                f"{path}: expected the tables [model] or [exact], [effect] and [edge], found "
                f"{name!r}; {hint(name, TABLES)}"
            )
    return tables


def _of_sites(tables: dict[str, Any]) -> Sites:
    settings = {site: dict(tables.get(site, {})) for site in ("effect", "edge")}
    for table in settings.values():
        table.pop("prior", None)
        table.pop("file", None)
    return settings
