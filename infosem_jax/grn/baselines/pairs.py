"""Networks that learn from labelled pairs of genes: what they have in common.

The engine trains them, and deals pairs where other models have cells. Genes, cells and pairs are
put in the order of their names first: the order that they came in does not matter.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import random
from jaxtyping import Array, Float, Int

from infosem_jax.data.dataset import Dataset, normalise
from infosem_jax.data.units import describe_units
from infosem_jax.engine import training
from infosem_jax.engine.layout import Layout
from infosem_jax.engine.layout import lay_out as over_devices
from infosem_jax.engine.types import (
    Cells,
    Chunk,
    Extent,
    Fits,
    Rate,
    Resident,
    Schedule,
    TrainState,
)
from infosem_jax.graphs import GraphsTuple, roomy
from infosem_jax.grn.baselines.problem import Problem, Scores


class Labelled(NamedTuple):
    """Labelled pairs of genes, regulator first, by their rank of name; ``n`` are no padding."""

    pairs: Int[Array | np.ndarray, "*fits pairs 2"]
    label: Float[Array | np.ndarray, "*fits pairs"]
    n: Int[Array | np.ndarray, "*fits"]


class FitPairs(NamedTuple):
    """The pairs of one fit, and the graph of its known edges where a network has one."""

    train: Labelled
    validation: Labelled
    graph: GraphsTuple | None = None


class HeldOut(NamedTuple):
    """Stands for the features of genes where a fit is judged by its validation pairs."""

    features: Any


@struct.dataclass
class PairData:
    """Data of one fit as the engine asks for them.

    Attributes
    ----------
    features, graph
        Features of genes, and the graph of known edges.
    labelled
        Pairs with their labels.
    held_out
        Whether these are validation pairs, judged without dropout and by their order alone.
    """

    features: Any
    graph: Any
    labelled: Labelled
    held_out: bool = struct.field(pytree_node=False, default=False)

    @property
    def extent(self) -> Extent:
        """All pairs, with padding; validation pairs are apart from these."""
        return Extent(len(self.labelled.label), self.labelled.n)


@runtime_checkable
class PairObjective(Protocol):
    """The cost of labelled pairs; of held-out ones, one minus their average precision."""

    def init(self, key: Array, data: PairData) -> training.Params:
        """Return starting parameters."""
        ...

    def scores(
        self,
        params,
        key: Array,
        data: PairData,
        pairs: Int[Array, "pairs 2"],
        deterministic: bool,
    ) -> Float[Array, " pairs"]:
        """Return scores of some pairs.

        Parameters
        ----------
        params, key
            Parameters, and the random key of dropout.
        data
            Features of genes and the graph.
        pairs
            Regulator and target of each pair.
        deterministic
            Leave dropout out.
        """
        ...

    def cost(self, score: Float[Array, " pairs"], label: Float[Array, " pairs"]) -> Array:
        """Return the mean cross-entropy of scores that are log-odds."""
        return optax.sigmoid_binary_cross_entropy(score, label).mean()

    def view(self, shared: Any, own: FitPairs) -> PairData:
        """Put the graph and the pairs of one fit beside the features of genes."""
        if isinstance(shared, HeldOut):
            return PairData(shared.features, own.graph, own.validation, held_out=True)
        return PairData(shared, own.graph, own.train)

    def loss(self, params, key: Array, data: PairData, cells: Cells, epoch: Array) -> Array:
        """Return the mean cost of some pairs, see `infosem_jax.engine.types.Objective`."""
        pairs, label = (leaf[cells.index] for leaf in data.labelled[:2])
        score = self.scores(params, key, data, pairs, data.held_out)
        if data.held_out:
            return 1 - _average_precision(jnp.where(cells.real, score, -jnp.inf), label)
        return self.cost(score, label)

    def group(self, name: str) -> str:
        """All parameters train together."""
        return "network"


def solve_in_groups(
    problems: Sequence[Problem],
    together: Callable[[Problem, Problem], bool],
    train: Callable[[list[Problem]], list[Scores]],
) -> Iterator[Scores]:
    """Train those problems at once that may be, and yield scores in the order of problems.

    Parameters
    ----------
    problems
        The problems.
    together
        Whether two of them can be trained at once.
    train
        Trains several and returns their scores.
    """
    solved: dict[int, Scores] = {}
    for i, first in enumerate(problems):
        if i not in solved:
            group = [j for j in range(i, len(problems)) if together(first, problems[j])]
            scores = train([problems[j] for j in group])
            solved |= dict(zip(group, scores, strict=True))
        yield solved.pop(i)


def train(
    objective: PairObjective,
    features: Any,
    fits: Fits,
    layout: Layout,
    *,
    batch_size: int,
    steps: int,
    epochs: int,
    patience: int,
    optimiser: str = "adam",
    on_chunk: Callable[[Chunk], None] | None = None,
) -> TrainState:
    """Train fits that share the features of genes.

    Parameters
    ----------
    objective, features, fits, layout
        What is trained, on what, and on which devices.
    batch_size, steps, epochs
        Pairs per step, steps per epoch of the fit that has most, and epochs at most.
    patience
        Epochs without a better average precision on validation pairs after which training ends, the
        best parameters kept; 0 looks at no validation pair.
    optimiser
        Step rule, as in `Schedule`.
    on_chunk
        Called between chunks of epochs.
    """
    schedule = Schedule(
        optimisers=(("network", optimiser),),
        phases=((("network",), 1),),
        batch_size=batch_size,
        steps=steps,
        patience=patience,
        chunk=1 if patience else 30,  # the engine looks at other held-out data between chunks only
    )
    feed: Any = Resident(features, held_out=HeldOut(features) if patience else None)
    state, _ = training.run(
        objective, schedule, fits, feed, epochs=epochs, layout=layout, on_chunk=on_chunk
    )
    return state


def lay_out(
    problems: Sequence[Problem], own: FitPairs, rates: Sequence[tuple[float, float]], layout: Layout
) -> Fits:
    """Lay out the fits, with the rate of each and the factor on it per epoch.

    The last fit is repeated where devices would idle.

    Parameters
    ----------
    problems
        The problems, whose seeds give the random keys.
    own
        What is each fit's own, stacked.
    rates
        Learning rate of each, and the factor on it per epoch.
    layout
        Devices to lay them out on.
    """
    rate, decay = np.array(rates, np.float32).T
    keys = jnp.stack([random.key(problem.seed) for problem in problems])
    return over_devices(Fits(keys, {"network": Rate(rate, decay)}, own), layout)


def labelled(problem: Problem, labels: Float[np.ndarray, "regulators genes"]) -> Labelled:
    """List the pairs that have labels, in the order of their names."""
    row, column = places(problem)
    rows, columns = np.argsort(row), np.argsort(column)
    ordered = labels[np.ix_(rows, columns)]
    i, j = np.nonzero(~np.isnan(ordered))
    return Labelled(
        np.stack([row[rows[i]], column[columns[j]]], 1),
        ordered[i, j].astype(np.float32),
        np.array(len(i), np.int32),
    )


def validation_of(problem: Problem, patience: int) -> Labelled:
    """List the validation pairs where they decide when to stop, and else none."""
    found = labelled(problem, problem.validation)
    return found if usable_patience(problem, patience) else chosen(found, np.arange(0))


def chosen(known: Labelled, index: Int[np.ndarray, " chosen"]) -> Labelled:
    """Take some of the pairs."""
    return Labelled(known.pairs[index], known.label[index], np.array(len(index), np.int32))


def stack_pairs(parts: Sequence[Labelled], room: Callable[[int], int] = roomy) -> Labelled:
    """Give the pairs of several fits one shape, and put an axis of fits before it."""
    pairs, label, n = zip(*parts, strict=True)
    return Labelled(stack(pairs, room), stack(label, room), np.stack(n))


def stack(parts: Sequence[np.ndarray], room: Callable[[int], int] = roomy) -> np.ndarray:
    """Pad the first axis with zeros, and put a new one before it.

    Parameters
    ----------
    parts
        Arrays that differ in the length of their first axis at most.
    room
        Rounds the greatest length up, so that problems of about the same size share programs.
    """
    size = room(max(1, *map(len, parts)))
    return np.stack([np.pad(a, ((0, size - len(a)),) + ((0, 0),) * (a.ndim - 1)) for a in parts])


def places(
    problem: Problem,
) -> tuple[Int[np.ndarray, " regulators"], Int[np.ndarray, " genes"]]:
    """Return the ranks of names, among all genes of the data, of a problem's rows and columns."""
    rank = {gene: i for i, gene in enumerate(sorted(problem.data.genes))}
    rows, columns = (
        np.array([rank[gene] for gene in names], np.int32)
        for names in (problem.regulators, problem.genes)
    )
    return rows, columns


def z_scores(data: Dataset) -> Float[np.ndarray, "genes cells"]:
    """Return z-scores of expression, genes and cells in the order of their names."""
    how = "log1p_cpm_zscore" if describe_units(data.x).countable else "zscore"
    z = normalise(data, how, clip=np.inf).x[np.argsort(data.cells)]
    return np.ascontiguousarray(z[:, np.argsort(data.genes)].T)


def train_together(a: Problem, b: Problem, patience: int) -> bool:
    """Tell whether two problems have the same expression and stop for the same reason."""
    if usable_patience(a, patience) != usable_patience(b, patience):
        return False
    one, two = a.data, b.data
    same_names = (one.genes, one.cells) == (two.genes, two.cells)
    return one is two or (same_names and np.array_equal(one.x, two.x))


def usable_patience(problem: Problem, patience: int) -> int:
    """Return the patience where validation can tell when to stop, and else 0."""
    return patience if _both_kinds(problem.validation) else 0


def check_labels(problem: Problem, why: str) -> None:
    """Refuse a problem whose training labels are of one kind only.

    Raises
    ------
    ValueError
        If so; ``why`` ends its message.
    """
    if not _both_kinds(problem.labels):
        raise ValueError(
            f"{problem.data.name}: expected training labels 1 and 0, found "
            f"{int((problem.labels == 1).sum())} edges and {int((problem.labels == 0).sum())} "
            f"other pairs{why}"
        )


def _average_precision(score: Float[Array, " pairs"], label: Float[Array, " pairs"]) -> Array:
    hit = label[jnp.argsort(-score)]
    precision = jnp.cumsum(hit) / jnp.arange(1, len(hit) + 1)
    return (precision * hit).sum() / hit.sum()


def _both_kinds(labels: Float[np.ndarray, "regulators genes"]) -> bool:
    return bool((labels == 1).any() and (labels == 0).any())
