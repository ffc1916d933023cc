"""Passes over the cells of a stream: their order, those that are held out, reading ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from infosem_jax.data.stream import Stream

Item = TypeVar("Item")
Index = TypeVar("Index")


def plan(
    stream: Stream,
    *,
    block_cells: int,
    seed: int,
    epoch: int,
    run_cells: int = 128,
    held_out: int = 0,
) -> list[Int[np.ndarray, " cells"]]:
    """Put every training cell into one block of an epoch.

    Runs of neighbours in the file stay together, so that reading is fast; which runs meet in a
    block is drawn anew for each epoch from ``seed`` and ``epoch`` alone.

    Parameters
    ----------
    stream
        What ``open_stream`` returned.
    block_cells
        Largest number of cells in a block; sizes differ by at most one.
    seed, epoch
        What the order is drawn from, zero or more.
    run_cells
        Length of the runs.
    held_out
        As ``held_out_cells``; those cells are in no block.

    Returns
    -------
    The row numbers of each block.

    Raises
    ------
    ValueError
        On sizes that are not positive, and if no cell is left to train on.
    """
    if block_cells < 1 or epoch < 0:
        raise ValueError(
            f"Expected block_cells of at least 1 and epoch of at least 0, found {block_cells} "
            f"and {epoch}."
        )
    held = held_out_cells(stream, held_out=held_out, seed=seed, run_cells=run_cells)
    runs = np.setdiff1d(np.arange(-(-stream.n_cells // run_cells)), held // run_cells)
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(runs)
    cells = _cells_of(order, run_cells, stream.n_cells)
    return np.array_split(cells, -(-len(cells) // block_cells))


def held_out_cells(
    stream: Stream, *, held_out: int, seed: int, run_cells: int = 128
) -> Int[np.ndarray, " cells"]:
    """Draw the cells that are never trained on: whole runs, the same in every epoch.

    Parameters
    ----------
    stream
        What ``open_stream`` returned.
    held_out
        Smallest number of cells; runs are drawn until it is reached.
    seed
        What the runs are drawn from, zero or more.
    run_cells
        Length of the runs.

    Returns
    -------
    Row numbers in rising order.

    Raises
    ------
    ValueError
        If no cell is left to train on.
    """
    if run_cells < 1 or seed < 0 or held_out < 0:
        raise ValueError(
            "Expected run_cells of at least 1, and held_out and seed of at least 0, found "
            f"{run_cells}, {held_out} and {seed}."
        )
    n_runs = -(-stream.n_cells // run_cells)
    # The key keeps these numbers apart from those of any epoch.
    source = np.random.SeedSequence(seed, spawn_key=(0,))
    order = np.random.Generator(np.random.PCG64(source)).permutation(n_runs)
    size = np.minimum(run_cells, stream.n_cells - order * run_cells)
    drawn = int(np.searchsorted(size.cumsum(), held_out)) + 1 if held_out else 0
    if drawn >= n_runs:
        raise ValueError(
            f"{stream.name}: holding out {held_out} of {stream.n_cells} cells in runs of "
            f"{run_cells} leaves none to train on; hold out fewer, or in shorter runs."
        )
    return _cells_of(np.sort(order[:drawn]), run_cells, stream.n_cells)


def prefetch(
    read: Callable[[Index], Item], indices: Iterable[Index], ahead: int = 2
) -> Iterator[Item]:
    """Yield ``read(index)`` for each index, reading the next ones in a thread meanwhile.

    The thread starts with the first item and ends with the last, with an error, which is raised
    here, or when the iterator is closed.

    Parameters
    ----------
    read
        What to run in the thread.
    indices
        What to call it with, in this order.
    ahead
        Items read ahead; memory holds one more.

    Raises
    ------
    ValueError
        If nothing is to be read ahead.
    """
    if ahead < 1:
        raise ValueError(f"Expected to read at least 1 item ahead, found {ahead}.")
    return _prefetch(read, iter(indices), ahead)


def _cells_of(
    runs: Int[np.ndarray, " runs"], run_cells: int, n_cells: int
) -> Int[np.ndarray, " cells"]:
    cells = (runs[:, None] * run_cells + np.arange(run_cells)).ravel()
    return cells[cells < n_cells]


def _prefetch(
    read: Callable[[Index], Item], indices: Iterator[Index], ahead: int
) -> Iterator[Item]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="infosem-prefetch")
    try:
        waiting: deque[Future[Item]] = deque(pool.submit(read, i) for i in islice(indices, ahead))
        while waiting:
            item = waiting.popleft().result()
            waiting.extend(pool.submit(read, i) for i in islice(indices, 1))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
