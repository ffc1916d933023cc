"""The graph of genes: inputs send to all, every other gene to genes it resembles or opposes.

Nodes are genes, inputs first. The inputs are linked to each other, themselves included, and send
to every node: that part is a dense block, of which nothing need be stored. The rest is a sparse
graph of the most and the least similar pairs of genes that are no inputs; none of them sends to
inputs. Source: Kim et al. 2025 and its public code.
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from infosem_jax import graphs
from infosem_jax.expression.task import Task
from infosem_jax.graphs import GraphsTuple

Similarity: TypeAlias = Literal["correlation", "cosine"]
Side: TypeAlias = Literal["receiver", "sender"]

# Similarities of so many pairs are held at a time; with their order, 100 MB.
BLOCK = 2**22


class GeneGraph(NamedTuple):
    """Genes as nodes, and edges among those that are no inputs; inputs send to all.

    Attributes
    ----------
    n_inputs
        Number of inputs; they are the first nodes.
    targets
        Node of each target, [targets].
    sparse
        Edges among the other nodes; its nodes are all genes, inputs included.
    """

    n_inputs: int
    targets: Int[np.ndarray, " targets"]
    sparse: GraphsTuple

    @property
    def n_nodes(self) -> int:
        """Number of genes."""
        return int(self.sparse.n_node[0])

    @property
    def n_edges(self) -> int:
        """Number of edges, those of the dense block included."""
        return self.n_inputs * self.n_nodes + int(self.sparse.n_edge[0])


def gene_graph(
    task: Task,
    k: int = 50,
    *,
    similarity: Similarity = "correlation",
    side: Side = "receiver",
    extra: int = 0,
) -> GeneGraph:
    """Link genes by how alike they are in the training samples of a task.

    Parameters
    ----------
    task
        Its inputs and targets become nodes; targets that are inputs too share their node.
    k, similarity, side
        As in `neighbours`.
    extra
        Number of nodes that act as inputs but are no genes, such as organs; they come right after
        the inputs.
    """
    n_inputs = len(task.inputs) + extra
    is_other = np.ones(len(task.targets), bool)
    shared = task.at_input >= 0
    is_other[task.at_input[shared]] = False
    targets = np.empty(len(task.targets), np.int64)
    targets[task.at_input[shared]] = np.flatnonzero(shared)
    targets[is_other] = n_inputs + np.arange(is_other.sum())
    senders, receivers = neighbours(task.y_train[:, is_other], k, similarity=similarity, side=side)
    sparse = graphs.from_pairs(
        n_inputs + int(is_other.sum()), senders + n_inputs, receivers + n_inputs
    )
    return GeneGraph(n_inputs, targets, sparse)


def neighbours(
    y: Float[np.ndarray, "samples genes"],
    k: int,
    *,
    similarity: Similarity = "correlation",
    side: Side = "receiver",
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Return senders and receivers of each gene's k most and k least similar genes.

    A gene is the most similar to itself. Where there are no more than 2 k genes, all are linked.

    Parameters
    ----------
    y
        Expression in training samples.
    k
        Number of neighbours of either kind; 0 links none.
    similarity
        ``correlation`` does not depend on the zero of the scale, so that the opposite of a gene is
        one that goes down where it goes up. ``cosine`` is that of the public code; of values that
        are never negative, its least similar genes are those expressed in other samples. The two
        agree on standardised genes.
    side
        Whose neighbours send. ``receiver``: each gene receives from those that it resembles or
        opposes itself, 2 k of them. ``sender``: each gene sends to those, as in the public code;
        genes that resemble many receive from many, and some from none.

    Raises
    ------
    ValueError
        If k is negative.
    """
    if k < 0:
        raise ValueError(f"Expected k of at least 0, found {k}.")
    n = y.shape[1]
    k = min(k, -(-n // 2))
    if not k:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    unit = _unit_columns(y, centre=similarity == "correlation")
    rows = max(1, BLOCK // n)
    near = [_extremes(unit[:, at : at + rows].T @ unit, k) for at in range(0, n, rows)]
    theirs, own = np.concatenate(near).ravel(), np.repeat(np.arange(n), 2 * k)
    return (theirs, own) if side == "receiver" else (own, theirs)


def _unit_columns(y: Float[np.ndarray, "samples genes"], *, centre: bool) -> np.ndarray:
    """Scale columns to length 1; those of length 0, which resemble nothing, stay."""
    y = y - y.mean(0) if centre else y
    length = np.linalg.norm(y, axis=0)
    return y / np.where(length > 0, length, 1.0).astype(y.dtype)


def _extremes(similarity: Float[np.ndarray, "rows genes"], k: int) -> Int[np.ndarray, "rows both"]:
    """Return the columns of the k greatest and the k least entries of each row."""
    least = np.argpartition(similarity, k - 1, axis=1)[:, :k]
    greatest = np.argpartition(similarity, -k, axis=1)[:, -k:]
    return np.concatenate([greatest, least], 1)
