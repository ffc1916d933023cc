"""Cells of a stream as training sees them: sparse on the device, dense only in a minibatch."""

from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from infosem_jax.data.passes import held_out_cells, plan, prefetch
from infosem_jax.data.stream import Stream, densify, read_block
from infosem_jax.engine.layout import Layout, place
from infosem_jax.engine.types import Extent
from infosem_jax.grn.model import Graph
from infosem_jax.grn.objective import FitIndex, pick

BLOCK_CELLS = 2048
MOST_HELD_OUT = 1024


def block_cells(n_cells: int, held_out: int) -> int:
    """Return the most cells of a block if at least so many are held out."""
    n_train = n_cells - held_out
    return -(-n_train // -(-n_train // BLOCK_CELLS))


class Block(NamedTuple):
    """One block of a stream, with what all of its blocks share.

    Attributes
    ----------
    values, columns
        Non-zero values before z-scoring and their genes, sorted by name, [cells, slots].
    n_cells
        Number of rows that are cells.
    mean, sd, clip
        How values become z-scores.
    graph
        Bound priors and rows: every array with a leading axis of graphs, or those of one fit.
    total, segments
        Number of training cells of the stream, and of blocks in an epoch.
    own
        What one fit takes of it; None where the data are those of all fits.
    """

    values: Float[Array, "cells slots"]
    columns: Int[Array, "cells slots"]
    n_cells: Int[Array, ""]
    mean: Float[Array, " genes"]
    sd: Float[Array, " genes"]
    clip: Float[Array, ""]
    graph: Graph
    total: Int[Array, ""]
    segments: Int[Array, ""]
    own: Any = None

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.mean)

    @property
    def extent(self) -> Extent:
        """Cells of the block, as a part of the training cells of the stream."""
        return Extent(len(self.values), self.n_cells, 0, self.total, self.segments)

    def view(self, own: FitIndex) -> "Block":
        """Return the data of one fit from those of all."""
        return self._replace(graph=pick(self.graph, own.graph), own=own)

    def batch(self, index: Int[Array, " batch"]) -> tuple[Any, Any]:
        """Return expression and entries measured as non-zero of some cells, [batch, genes]."""
        values, columns = self.values[index], self.columns[index]
        return densify(values, columns, self.mean, self.sd, self.clip, self.n_genes)


class StreamFeed:
    """Blocks of a stream in the order of `plan`, the next ones read while one is trained on.

    Attributes
    ----------
    segments
        Number of blocks in an epoch.
    n_held_out, n_train
        Number of cells held out, and of the others.
    block_cells
        Cells in the largest block.
    held_out
        The block of held-out cells; None if there are none.
    """

    def __init__(self, stream: Stream, graphs: Graph, layout: Layout, *, share: float, seed: int):
        wanted = min(round(share * stream.n_cells), MOST_HELD_OUT)
        held = held_out_cells(stream, held_out=wanted, seed=seed)
        self._stream, self._layout, self._seed = stream, layout, seed
        self._wanted = wanted
        self.n_held_out, self.n_train = len(held), stream.n_cells - len(held)
        self._most = block_cells(stream.n_cells, wanted)
        self.segments = -(-self.n_train // self._most)
        self.block_cells = -(-self.n_train // self.segments)
        order = np.argsort(np.asarray(stream.genes))
        self._rank = np.append(np.argsort(order), len(order)).astype(np.int32)
        self._constant = place(
            {
                "mean": stream.mean[order],
                "sd": stream.sd[order],
                "clip": np.float32(stream.clip),
                "graph": graphs,
                "total": np.int32(self.n_train),
                "segments": np.int32(self.segments),
            },
            layout,
        )
        self.held_out = None
        if len(held):
            self.held_out = self._block(*self._read(held, len(held)))

    def __call__(self, first: int) -> Iterator[Block]:
        """Yield block after block, epoch after epoch, from a segment on."""
        epoch, blocks = -1, []

        def read(segment: int):
            nonlocal epoch, blocks
            if segment // self.segments != epoch:
                epoch = segment // self.segments
                blocks = plan(
                    self._stream,
                    block_cells=self._most,
                    seed=self._seed,
                    epoch=epoch,
                    held_out=self._wanted,
                )
            return self._read(blocks[segment % self.segments], self.block_cells)

        parts = prefetch(read, count(first))
        try:
            for part in parts:
                yield self._block(*part)
        finally:
            parts.close()  # pyright: ignore[reportAttributeAccessIssue]

    def _read(self, cells: np.ndarray, size: int) -> tuple[Any, ...]:
        block = read_block(self._stream, cells, block_cells=size)
        return block.values, self._rank[block.columns], np.int32(block.n_cells)

    def _block(self, *part: Any) -> Block:
        values, columns, n_cells = place(part, self._layout)
        return Block(values=values, columns=columns, n_cells=n_cells, **self._constant)
