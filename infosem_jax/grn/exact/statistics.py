"""What the exact engine needs of the cells: products of genes, summed over cells."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Float64, Int

from infosem_jax import _typing
from infosem_jax.data.io import atomic_write
from infosem_jax.data.passes import prefetch
from infosem_jax.data.stream import Stream, densify, read_block

BLOCK = 2048
CELLS = "cells"
# Fields of `Moments` that are sums over cells of powers of the expression of each gene.
POWERS = ("G", "GG", "GGG")


class Moments(NamedTuple):
    """Sums over cells of products of genes, in float64; they add over blocks, devices and hosts.

    Attributes
    ----------
    RR
        ``X_R' X_R`` of the genes that act, [rows, rows].
    RG
        ``X_R' X``, [rows, genes].
    G, GG, GGG
        ``sum(x)``, ``sum(x^2)`` and ``sum(x^3)`` of each gene, [genes].
    cells
        Number of cells.
    """

    RR: Float64[np.ndarray, "rows rows"]
    RG: Float64[np.ndarray, "rows genes"]
    G: Float64[np.ndarray, " genes"]
    GG: Float64[np.ndarray, " genes"]
    GGG: Float64[np.ndarray, " genes"]
    cells: float


def moments(
    source: Float[np.ndarray, "cells genes"] | Stream,
    rows: Int[np.ndarray, " rows"],
    *,
    block: int | None = None,
    devices: int | None = None,
    on_block: Callable[[int, int], object] | None = None,
) -> Moments:
    """Sum up cells in memory or on disk, a block at a time.

    Products within a block are float32, sums over blocks float64. The processes of a cluster take
    turns at the blocks, and all get the sum.

    Parameters
    ----------
    source
        Normalised expression, [cells, genes], or a stream.
    rows
        Which genes act, as columns of ``source``.
    block
        Cells at a time, None for 2,048; the last block is filled up with cells of zeros, which add
        nothing.
    devices
        How many devices of a process share the cells of a block; None for all accelerators, or for
        one CPU, which uses all of its cores.
    on_block
        Called before each block with the numbers of cells done and in all.

    Raises
    ------
    ValueError
        If there is no cell, or a value is not finite.
    """
    n_cells, n_genes = _checked(source)
    block = min(block or BLOCK, n_cells)
    which = jnp.asarray(rows)
    RG, powers = np.zeros((len(rows), n_genes)), np.zeros((3, n_genes))
    starts = range(0, n_cells, block)[jax.process_index() :: jax.process_count()]
    for start, x in zip(starts, _blocks(source, starts, block, _over(devices)), strict=True):
        if on_block is not None:
            on_block(start, n_cells)
        for total, part in zip((RG, powers), _products(x, which), strict=True):
            total += np.asarray(part)
    if jax.process_count() > 1:
        with jax.enable_x64(True):
            RG, powers = (part.sum(0) for part in multihost_utils.process_allgather((RG, powers)))
    G, GG, GGG = powers
    return Moments(RG[:, rows], RG, G, GG, GGG, float(n_cells))


def kept_sums(
    folder: _typing.Path,
    cells: str,
    rows: Int[np.ndarray, " rows"],
    sum_up: Callable[[], Moments],
) -> Moments:
    """Read sums over cells from a folder, or sum up and keep the sums there.

    Parameters
    ----------
    folder
        Where they are kept, a file for each set of cells.
    cells
        Digest of the values.
    rows
        Which genes act: those of the file, or some of them, are read.
    sum_up
        Returns the sums.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    path = Path(folder, f"{cells[:32]}.npz")
    if path.exists():
        try:
            with np.load(path) as file:
                place = {int(row): i for i, row in enumerate(file["rows"])}
                if place.keys() >= set(rows.tolist()):
                    RG = file["RG"][[place[row] for row in rows.tolist()]]
                    G, GG, GGG = (file[name] for name in POWERS)
                    return Moments(RG[:, rows], RG, G, GG, GGG, float(file["cells"]))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: no sums over cells, or damaged ({error}); remove it."
            ) from error
    summed = sum_up()
    if jax.process_index() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as draft, draft.open("wb") as file:
            powers = {name: getattr(summed, name) for name in POWERS}
            np.savez(file, rows=rows, RG=summed.RG, cells=summed.cells, **powers)
    return summed


def in_memory(source: Stream, *, block: int = BLOCK) -> Float[np.ndarray, "cells genes"]:
    """Read all cells of a stream, normalised.

    Parameters
    ----------
    source
        The stream.
    block
        Cells at a time.
    """
    starts = range(0, source.n_cells, block)
    parts = _blocks(source, starts, min(block, source.n_cells), None)
    return np.concatenate([np.asarray(x) for x in parts])[: source.n_cells]


def add(parts: Iterable[Moments]) -> Moments:
    """Add the moments of disjoint sets of cells, at least one."""
    return reduce(_sum, parts)


def _sum(a: Moments, b: Moments) -> Moments:
    powers = (a.G + b.G, a.GG + b.GG, a.GGG + b.GGG)
    return Moments(a.RR + b.RR, a.RG + b.RG, *powers, a.cells + b.cells)


def _checked(source: np.ndarray | Stream) -> tuple[int, int]:
    """Return the numbers of cells and genes; a stream was checked when it was opened."""
    if isinstance(source, Stream):
        return source.n_cells, len(source.genes)
    if not (len(source) and np.isfinite(source).all()):
        raise ValueError(
            f"Expected cells with finite expression, found {len(source)} cells with "
            f"{(~np.isfinite(source)).sum()} values that are not; give normalised expression."
        )
    return source.shape[0], source.shape[1]


def _over(devices: int | None) -> NamedSharding | None:
    """Say which devices of this process share the cells of a block; None for the first alone."""
    local = jax.local_devices()
    if devices is None:
        devices = 1 if local[0].platform == "cpu" else len(local)
    return None if devices == 1 else NamedSharding(Mesh(local[:devices], (CELLS,)), P(CELLS))


def _blocks(
    source: np.ndarray | Stream, starts: range, block: int, sharding: NamedSharding | None
) -> Iterator[Array]:
    """Yield blocks of cells on the devices, dense, [cells, genes], filled up with zeros."""
    size = block if sharding is None else block + -block % sharding.mesh.size

    def put(part: np.ndarray) -> Array:
        filled = np.pad(part, ((0, size - len(part)), *[(0, 0)] * (part.ndim - 1)))
        return jax.device_put(filled, sharding)

    if not isinstance(source, Stream):
        for start in starts:
            yield put(np.asarray(source[start : start + block], np.float32))
        return
    scale: Any = (source.mean, source.sd, np.float32(source.clip))

    def read(start: int) -> tuple[Any, Any, np.ndarray]:
        cells = np.arange(start, min(start + block, source.n_cells))
        sparse = read_block(source, cells)
        return sparse.values, sparse.columns, np.ones(len(cells), np.float32)

    for values, columns, real in prefetch(read, starts):
        yield _dense(put(values), put(columns), put(real), *scale)


@jax.jit
def _products(x: Array, rows: Array) -> tuple[Array, Array]:
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    # As products too: a sum over cells strides through memory, slower with every gene.
    powers = [product(jnp.ones(len(x)), x**power) for power in (1, 2, 3)]
    return product(x[:, rows].T, x), jnp.stack(powers)


@jax.jit
def _dense(values: Array, columns: Array, real: Array, mean: Array, sd: Array, clip) -> Any:
    return densify(values, columns, mean, sd, clip, len(mean))[0] * real[:, None]
