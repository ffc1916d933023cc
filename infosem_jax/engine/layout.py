"""Which devices compute what: fits side by side, the cells of a batch spread out, or both."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

FITS, CELLS = "fits", "cells"


class Layout(NamedTuple):
    """How fits and cells are spread over devices; fixed at compilation.

    Attributes
    ----------
    mesh
        Devices along the axes ``fits`` and ``cells``; None for the default device alone.
    at_once
        Fits that a device computes side by side (under `vmap`); the others follow in the same
        program. 0 stands for all of its fits.
    """

    mesh: Mesh | None = None
    at_once: int = 0

    @property
    def devices(self) -> tuple[int, int]:
        """Number of devices over which fits, and the cells of a batch, are spread."""
        return (1, 1) if self.mesh is None else (self.mesh.shape[FITS], self.mesh.shape[CELLS])


def usable_cores() -> int:
    """Return how many cores this process may use; all there are where that cannot be asked."""
    # macOS and Windows lack it.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def choose(n_fits: int, batch_size: int, *, cells: int | None = None) -> Layout:
    """Spread fits over all devices at hand; what is left of them shares the cells of each batch.

    On a CPU each device computes one fit at a time: side by side they would only take the caches
    from each other. Accelerators compute all of theirs at once.

    Parameters
    ----------
    n_fits, batch_size
        Number of fits, and of cells in a batch.
    cells
        Number of devices that share the cells of a batch; None for what fits leave idle on
        accelerators, and 1 on CPUs, where sharing costs more than it saves.

    Raises
    ------
    ValueError
        If the devices, or the cells of a batch, cannot be divided by ``cells``.
    """
    devices = np.asarray(jax.devices())
    cpu = devices[0].platform == "cpu"
    if cells is None:
        idle = len(devices) // min(n_fits, len(devices))
        alone = cpu and jax.process_count() == 1
        cells = 1 if alone else max(n for n in _divisors(len(devices), batch_size) if n <= idle)
    elif len(devices) % cells or batch_size % cells:
        raise ValueError(
            f"Expected a number of devices per batch that divides the {len(devices)} devices and "
            f"the {batch_size} cells of a batch, found {cells}."
        )
    fits = len(devices) // cells
    if jax.process_count() == 1:
        fits = min(fits, n_fits)
    at_once = 1 if cpu else 0
    if fits * cells == 1:
        return Layout(None, at_once)
    mesh = Mesh(
        devices[: fits * cells].reshape(fits, cells),
        (FITS, CELLS),
        axis_types=(AxisType.Auto, AxisType.Auto),
    )
    return Layout(mesh, at_once)


def over_fits(one: Callable, layout: Layout) -> Callable:
    """Turn a function of one fit, ``one(fit, *shared)``, into one of many.

    Parameters
    ----------
    one
        Its first argument and its result get a leading axis of fits.
    layout
        How fits are spread over devices; their number must be a multiple of the devices.
    """

    def local(fits, *shared):
        each = partial(_swap, one, shared)
        if layout.at_once:
            size = layout.at_once if layout.at_once > 1 else None
            return lax.map(each, fits, batch_size=size)
        return jax.vmap(each)(fits)

    if layout.mesh is None or layout.devices[0] == 1:
        return local

    def spread(fits, *shared):
        return jax.shard_map(
            local,
            mesh=layout.mesh,
            in_specs=(P(FITS), *(P() for _ in shared)),
            out_specs=P(FITS),
            axis_names={FITS},
            check_vma=False,
        )(fits, *shared)

    return spread


def split_cells(array: jax.Array, layout: Layout, *, axis: int) -> jax.Array:
    """Spread an axis of cells over the devices that share a batch.

    Parameters
    ----------
    array
        Anything with an axis of cells.
    layout
        The devices.
    axis
        Which axis that is.
    """
    if layout.mesh is None or layout.devices[1] == 1:
        return array
    spec = [CELLS if i == axis else None for i in range(array.ndim)]
    return lax.with_sharding_constraint(array, NamedSharding(layout.mesh, P(*spec)))


def place(tree: Any, layout: Layout, *, fits: bool = False) -> Any:
    """Put arrays that every host holds on the devices: whole, or split along the axis of fits.

    Parameters
    ----------
    tree
        Arrays, equal on all hosts.
    layout
        The devices.
    fits
        Whether the leading axis is that of fits.
    """
    if layout.mesh is None:
        return jax.device_put(tree)
    sharding = NamedSharding(layout.mesh, P(FITS) if fits else P())

    def put(leaf):
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)))
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def lay_out(fits: Any, layout: Layout) -> Any:
    """Spread fits over the devices; the last one is repeated where a device would idle.

    Parameters
    ----------
    fits
        Arrays with a leading axis of fits, equal on all hosts.
    layout
        The devices.
    """
    n = len(jax.tree.leaves(fits)[0])
    index = np.minimum(np.arange(n + -n % layout.devices[0]), n - 1)
    return place(jax.tree.map(lambda leaf: leaf[index], fits), layout, fits=True)


def _swap(one: Callable, shared: tuple, fit: Any) -> Any:
    return one(fit, *shared)


def _divisors(*numbers: int) -> list[int]:
    return [n for n in range(1, min(numbers) + 1) if all(m % n == 0 for m in numbers)]
