"""Simulated counts of any number of cells, written to a file a few rows at a time."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Float32, Int

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write
from infosem_jax.data.dataset import MIN_CELLS

STATES = 5  # hidden cell states, which all genes share
IN_DEGREE = 3  # regulators of a gene
ENTRIES = 2**18  # stored values in one HDF5 chunk: 1 MiB


def write_sparse_simulation(
    path: Path,
    *,
    genes: int,
    regulators: int,
    cells: int,
    density: float = 0.1,
    seed: int = 0,
    chunk_cells: int = 2048,
) -> pd.DataFrame:
    """Simulate counts of any number of cells into an h5ad file, a few rows at a time.

    Counts are Poisson with log rate ``b + m + s L + r E`` plus a log library size per cell: ``m``
    gives genes a heavy tail of means, ``s`` are a few hidden cell states, ``r = s L + noise`` the
    activities of the regulators, ``E`` their sparse effects, and ``b`` brings the share of nonzero
    counts to ``density``. No cell and no gene is without a count. ``var["regulator"]`` marks the
    regulators.

    Parameters
    ----------
    path
        The h5ad file to write, ``X`` as CSR.
    genes, regulators, cells
        Sizes; the regulators are among the genes.
    density
        Expected share of nonzero counts.
    seed
        Seed of everything random.
    chunk_cells
        Rows simulated at a time; memory is about 24 bytes for each of their entries.

    Returns
    -------
    The true edges: ``source, target, weight``.

    Raises
    ------
    ValueError
        On sizes that do not fit together and a density outside (0, 1).
    """
    for name, value, low, high in (
        ("cells", cells, MIN_CELLS, math.inf),
        ("regulators", regulators, 1, genes - 1),
        ("chunk_cells", chunk_cells, 1, math.inf),
        ("density", density, 1e-6, 0.99),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name}: expected between {low} and {high}, got {value}.")
    for_network, for_scale, for_cells = np.random.default_rng(seed).spawn(3)
    law = _draw_law(genes, regulators, for_network)
    law = _to_density(law, density, _rates(law, 256, for_scale))
    names = np.array([f"G{gene:0{len(str(genes))}d}" for gene in range(genes)], object)
    is_regulator = np.zeros(genes, bool)
    is_regulator[law.regulators] = True
    _write_h5ad(
        path,
        _count_chunks(law, cells, chunk_cells, for_cells),
        pd.DataFrame(index=pd.Index([f"cell{cell}" for cell in range(cells)])),
        pd.DataFrame({"regulator": is_regulator}, index=names),
    )
    effect = law.effect.tocoo()
    return pd.DataFrame(
        {
            "source": names[law.regulators[effect.row]],
            "target": names[effect.col],
            "weight": effect.data,
        }
    )


class _Law(NamedTuple):
    """What the rates of a simulation follow from."""

    regulators: Int[np.ndarray, " regulators"]
    log_mean: Float32[np.ndarray, " genes"]
    loading: Float32[np.ndarray, "states genes"]
    effect: sp.csr_array  # [regulators, genes]


def _draw_law(genes: int, regulators: int, rng: np.random.Generator) -> _Law:
    acting = np.sort(rng.choice(genes, regulators, replace=False))
    others = np.setdiff1d(np.arange(genes), acting)
    source = rng.integers(regulators, size=(len(others), IN_DEGREE)).ravel()
    weight = rng.normal(0, 0.5, source.size).astype(np.float32)
    effect = sp.coo_array(
        (weight, (source, np.repeat(others, IN_DEGREE))), shape=(regulators, genes)
    )
    return _Law(
        regulators=acting,
        log_mean=rng.normal(0, 1.5, genes).astype(np.float32),
        loading=rng.normal(0, 0.3, (STATES, genes)).astype(np.float32),
        effect=effect.tocsr(),
    )


def _to_density(law: _Law, density: float, rates: Float32[np.ndarray, "pilot genes"]) -> _Law:
    from scipy.optimize import brentq

    def excess(log_scale: float) -> float:
        return float(-np.expm1(-np.exp(log_scale) * rates).mean()) - density

    shift = brentq(excess, -30, 30, xtol=1e-4)
    return law._replace(log_mean=law.log_mean + np.asarray(shift, np.float32))


def _rates(law: _Law, cells: int, rng: np.random.Generator) -> Float32[np.ndarray, "cells genes"]:
    states = rng.standard_normal((cells, STATES), np.float32)
    rates = states @ law.loading
    acting = rates[:, law.regulators]
    acting += rng.standard_normal(acting.shape, np.float32)
    rates[:, law.regulators] = acting
    rates += (law.effect.T @ acting.T).T
    rates += law.log_mean
    rates += 0.3 * rng.standard_normal((cells, 1), np.float32)
    return np.exp(np.minimum(rates, 8, out=rates), out=rates)


def _count_chunks(
    law: _Law, cells: int, chunk_cells: int, rng: np.random.Generator
) -> Iterator[sp.csr_array]:
    """Draw the counts as arrivals in a time ``rate``: most have none, and cost one random number.

    The first arrival of a Poisson process of unit speed is exponential; after it the process goes
    on, so a count is one and a Poisson number for the time that is left.
    """
    seen = np.zeros(law.log_mean.size, bool)
    for start in range(0, cells, chunk_cells):
        rates = _rates(law, min(chunk_cells, cells - start), rng)
        first = rng.standard_exponential(rates.shape, np.float32)
        counted = first < rates
        empty = np.flatnonzero(~counted.any(1))
        counted[empty, rates[empty].argmax(1)] = True
        seen |= counted.any(0)
        if start + chunk_cells >= cells:
            unseen = np.flatnonzero(~seen)
            counted[rates[:, unseen].argmax(0), unseen] = True
        rows, columns = np.nonzero(counted)
        left = np.maximum(rates[counted] - first[counted], 0)
        counts = (1 + rng.poisson(left)).astype(np.float32)
        bounds = np.searchsorted(rows, np.arange(len(rates) + 1))
        yield sp.csr_array((counts, columns.astype(np.int32), bounds), shape=rates.shape)


def _write_h5ad(
    path: Path, chunks: Iterable[sp.csr_array], obs: pd.DataFrame, var: pd.DataFrame
) -> None:
    """Write chunks of rows one after the other as ``X``."""
    with atomic_write(path) as draft, h5py.File(draft, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        _write_table(file, "obs", obs)
        _write_table(file, "var", var)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = (len(obs), len(var))
        data, indices = (
            group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(ENTRIES,))
            for name, dtype in (("data", np.float32), ("indices", np.int32))
        )
        # More than 2^31 values must be countable.
        bounds = [np.zeros(1, np.int64)]
        for chunk in chunks:
            end = int(bounds[-1][-1])
            for dataset, values in ((data, chunk.data), (indices, chunk.indices)):
                dataset.resize(end + len(values), 0)
                dataset[end:] = values
            bounds.append(end + chunk.indptr[1:].astype(np.int64))
        group.create_dataset("indptr", data=np.concatenate(bounds))


def _write_table(file: h5py.File, name: str, table: pd.DataFrame) -> None:
    """Write a table as anndata would, which machines that only measure speed may not have."""
    version = {"encoding-version": "0.2.0"}
    group = file.create_group(name)
    group.attrs.update({"encoding-type": "dataframe", "_index": "_index", **version})
    text = h5py.string_dtype()
    group.attrs["column-order"] = np.array(table.columns, text)
    index = group.create_dataset("_index", data=np.array(table.index, object), dtype=text)
    index.attrs.update({"encoding-type": "string-array", **version})
    for column in table:
        values = group.create_dataset(str(column), data=table[column].to_numpy())
        values.attrs.update({"encoding-type": "array", **version})
