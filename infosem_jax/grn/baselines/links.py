"""Supervised link prediction on the graph of known edges: what its networks have in common.

A network encodes all genes along the graph of training edges, from features of their expression,
and decodes pairs of genes to scores. Labelled pairs of all fits train by the engine, which deals
pairs where other models have cells. Every step encodes the whole graph, so few and large steps are
the cheap ones. Genes, cells and pairs are put in the order of their names first: the order that
they came in does not matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax, random
from jaxtyping import Array, Float, Int

from infosem_jax import graphs, training
from infosem_jax.data.dataset import Dataset, looks_like_counts, normalise
from infosem_jax.graphs import GraphsTuple
from infosem_jax.grn.baselines.problem import Problem, Scores
from infosem_jax.layout import Layout, choose, over_fits, place
from infosem_jax.training import Cells, Fits, Rate, Resident, Schedule


@dataclass(frozen=True)
class LinkConfig:
    """Settings that all link predictors share.

    Attributes
    ----------
    components
        Number of principal components of z-scored expression that stand for a gene; None takes its
        z-scores in all cells.
    symmetric
        Whether known edges carry messages both ways, or to regulators from their targets only.
    self_loops
        Weight of an edge from each gene to itself, 0 for none. Without any, nothing of a gene that
        has no known edge reaches its code.
    negatives
        Pairs without a known edge, for each with one, that are trained on, drawn once by the
        problem's seed; None for all.
    loss
        Cross-entropy of scores as log-odds, or the squared error of scores cut off at zero.
    batch_size
        Pairs per step.
    epochs
        Number of epochs, at most.
    steps
        Steps per epoch, for any number of pairs: few pairs are gone through several times. 0 is a
        pass over all pairs.
    rate, decay, decay_every
        Adam's learning rate, and the factor on it after each batch or epoch. All steps of an epoch
        have the mean rate of its batches.
    patience
        Epochs without a better average precision on validation pairs after which training ends, the
        best parameters kept; 0, or a problem without validation, trains all epochs.
    """

    components: int | None = None
    symmetric: bool = True
    self_loops: float = 0.0
    negatives: int | None = None
    loss: Literal["cross_entropy", "squared"] = "cross_entropy"
    batch_size: int = 256
    epochs: int = 20
    steps: int = 0
    rate: float = 3e-3
    decay: float = 0.99
    decay_every: Literal["batch", "epoch"] = "epoch"
    patience: int = 0

    def network(self) -> "LinkNetwork":
        """Return the network to train."""
        raise NotImplementedError


class LinkNetwork(nn.Module):
    """A network that encodes all nodes of a graph and decodes pairs of them."""

    def encode(self, graph: GraphsTuple, x: Float[Array, "nodes features"], still: bool) -> Any:
        """Return codes of all nodes; ``still`` drops nothing."""
        raise NotImplementedError

    def decode(self, codes: Any, pairs: Int[Array, "pairs 2"]) -> Float[Array, " pairs"]:
        """Return scores of pairs of nodes, regulator first."""
        raise NotImplementedError

    def __call__(
        self, graph: GraphsTuple, x: Float[Array, "nodes features"], pairs: Int[Array, "pairs 2"]
    ) -> Float[Array, " pairs"]:
        """Encode and decode."""
        return self.decode(self.encode(graph, x, True), pairs)


class Labelled(NamedTuple):
    """Labelled pairs of genes, regulator first, by their rank of name; ``n`` are no padding."""

    pairs: Int[Array | np.ndarray, "*fits pairs 2"]
    label: Float[Array | np.ndarray, "*fits pairs"]
    n: Int[Array | np.ndarray, "*fits"]


class Own(NamedTuple):
    """What is a fit's own: the graph of its known edges, and its pairs."""

    graph: GraphsTuple
    train: Labelled
    validation: Labelled


class Features(NamedTuple):
    """Features of genes in the order of their names, and zeros for padding."""

    nodes: Float[Array | np.ndarray, "nodes features"]


class HeldOut(NamedTuple):
    """The same where a fit is judged by its validation pairs."""

    nodes: Float[Array | np.ndarray, "nodes features"]


class TrainingPairs(NamedTuple):
    """Data of one fit as the engine asks for them."""

    graph: GraphsTuple
    nodes: Float[Array | np.ndarray, "nodes features"]
    labelled: Labelled

    @property
    def n_rows(self) -> int:
        """Number of pairs with padding."""
        return len(self.labelled.label)

    @property
    def n_cells(self) -> Any:
        """Number of pairs."""
        return self.labelled.n

    @property
    def total(self) -> Any:
        """Number of pairs."""
        return self.labelled.n

    @property
    def n_held_out(self) -> int:
        """Validation pairs are apart from these."""
        return 0

    @property
    def segments(self) -> int:
        """An epoch is one segment."""
        return 1


class ValidationPairs(TrainingPairs):
    """The same, judged without dropout and by their order alone."""


def solve(problems: Sequence[Problem], config: LinkConfig) -> Iterator[Scores]:
    """Train on the labelled pairs of each problem, and return scores of all its pairs.

    Problems of the same genes and cells train in one compiled program, each as it would alone. The
    graph holds training edges only, and validation labels are looked at only to stop early. Scores
    of a fit that diverged are NaN.

    Parameters
    ----------
    problems
        Expression and labels.
    config
        Settings, and the network to train.

    Raises
    ------
    ValueError
        If labels are not of both kinds, or settings are out of range; before anything is trained.
    """
    _check_config(config)
    for problem in problems:
        _check_problem(problem)
    return _solve(problems, config)


def training_graph(problem: Problem, config: LinkConfig) -> GraphsTuple:
    """Return the graph of the training edges, genes in the order of their names."""
    known = _labelled(problem, problem.labels)
    regulator, target = known.pairs[known.label == 1].T
    return graphs.from_pairs(
        len(problem.data.genes),
        target,
        regulator,
        symmetric=config.symmetric,
        self_loops=config.self_loops,
    )


@dataclass(frozen=True)
class LinkObjective:
    """The cost of labelled pairs; of held-out ones, one minus their average precision."""

    network: LinkNetwork
    kind: Literal["cross_entropy", "squared"]

    def view(self, shared: Features | HeldOut, own: Own) -> TrainingPairs:
        """Put the graph and the pairs of one fit beside the features of genes."""
        if isinstance(shared, HeldOut):
            return ValidationPairs(own.graph, shared.nodes, own.validation)
        return TrainingPairs(own.graph, shared.nodes, own.train)

    def init(self, key: Array, data: TrainingPairs) -> training.Params:
        """Return starting parameters."""
        start, dropout = random.split(key)
        pairs = jnp.zeros((1, 2), jnp.int32)
        keys = {"params": start, "dropout": dropout}
        params: Any = self.network.init(keys, data.graph, data.nodes, pairs)["params"]
        return params

    def loss(self, params, key: Array, data: TrainingPairs, cells: Cells, epoch: Array) -> Array:
        """Return the mean cost of some pairs."""
        pairs, label = (leaf[cells.index] for leaf in data.labelled[:2])
        still = isinstance(data, ValidationPairs)
        codes = self._codes(params, key, data, still)
        score: Any = self.network.apply({"params": params}, codes, pairs, method="decode")
        if still:
            return 1 - _average_precision(jnp.where(cells.real, score, -jnp.inf), label)
        if self.kind == "squared":
            return jnp.square(nn.relu(score) - label).mean()
        return optax.sigmoid_binary_cross_entropy(score, label).mean()

    def group(self, name: str) -> str:
        """All parameters train together."""
        return "network"

    def rows(
        self, params, key: Array, data: TrainingPairs, regulators: Int[Array, " regulators"]
    ) -> Float[Array, "regulators nodes"]:
        """Return scores of some regulators with all genes, one regulator after the other."""
        codes = self._codes(params, key, data, True)
        targets = jnp.arange(len(data.nodes))

        def one(regulator):
            pairs = jnp.stack([jnp.full_like(targets, regulator), targets], 1)
            return self.network.apply({"params": params}, codes, pairs, method="decode")

        return lax.map(one, regulators)

    def _codes(self, params, key: Array, data: TrainingPairs, still: bool) -> Any:
        rngs = {"dropout": key}
        return self.network.apply(
            {"params": params}, data.graph, data.nodes, still, rngs=rngs, method="encode"
        )


def _solve(problems: Sequence[Problem], config: LinkConfig) -> Iterator[Scores]:
    solved: dict[int, Scores] = {}
    for i, first in enumerate(problems):
        if i not in solved:
            alike = [j for j in range(i, len(problems)) if _alike(first, problems[j], config)]
            scores = _train([problems[j] for j in alike], config)
            solved |= dict(zip(alike, scores, strict=True))
        yield solved.pop(i)


def _train(problems: list[Problem], config: LinkConfig) -> list[Scores]:
    stops = _stops(problems[0], config)
    objective = LinkObjective(config.network(), config.loss)
    layout = choose(len(problems), config.batch_size, cells=1)
    nodes = place(_features(problems[0].data, config.components), layout)
    fits, steps = _fits(problems, config, stops, layout)
    schedule = Schedule(
        optimisers=(("network", "adam"),),
        phases=((("network",), 1),),
        batch_size=config.batch_size,
        steps=steps,
        patience=config.patience if stops else 0,
        chunk=1 if stops else 30,  # the engine looks at other held-out data between chunks only
    )
    feed: Any = Resident(Features(nodes), held_out=HeldOut(nodes) if stops else None)
    state, _ = training.run(objective, schedule, fits, feed, epochs=config.epochs, layout=layout)
    rows = _stack([_rows(problem) for problem in problems])
    rows = place(rows[np.arange(len(fits.keys)) % len(rows)], layout, fits=True)
    scores = training.to_host(_score_rows(objective, layout, state.params, fits, nodes, rows))
    scores[training.to_host(state.diverged) >= 0] = np.nan
    return [_arrange(score, problem) for score, problem in zip(scores, problems, strict=False)]


@partial(jax.jit, static_argnames=("objective", "layout"))
def _score_rows(
    objective: LinkObjective, layout: Layout, params: Any, fits: Fits, nodes: Array, rows: Array
) -> Float[Array, "fits regulators nodes"]:
    def one(own, nodes):
        params, fit, regulators = own
        data = objective.view(Features(nodes), fit.own)
        return objective.rows(params, random.fold_in(fit.keys, 5), data, regulators)

    return over_fits(one, layout)((params, fits, rows), nodes)


def _average_precision(score: Float[Array, " pairs"], label: Float[Array, " pairs"]) -> Array:
    hit = label[jnp.argsort(-score)]
    precision = jnp.cumsum(hit) / jnp.arange(1, len(hit) + 1)
    return (precision * hit).sum() / hit.sum()


def _fits(
    problems: list[Problem], config: LinkConfig, stops: bool, layout: Layout
) -> tuple[Fits, int]:
    """Lay out the fits, pairs and edges padded; the last is repeated where devices would idle."""
    trains = [_training_pairs(problem, config) for problem in problems]
    steps = [config.steps or -(-int(train.n) // config.batch_size) for train in trains]
    least = config.steps * config.batch_size
    trains = [_repeated(train, max(1, -(-least // int(train.n)))) for train in trains]
    if stops:
        validations = [_labelled(problem, problem.validation) for problem in problems]
    else:
        validations = [_repeated(train, 0) for train in trains]
    rates = np.array([_rate(config, n) for n in steps], np.float32)
    fits = Fits(
        keys=jnp.stack([random.key(problem.seed) for problem in problems]),
        rates={"network": Rate(rates[:, 0], rates[:, 1])},
        own=Own(
            graphs.stack([training_graph(problem, config) for problem in problems]),
            _stack_pairs(trains),
            _stack_pairs(validations),
        ),
    )
    index = np.pad(np.arange(len(problems)), (0, -len(problems) % layout.devices[0]), mode="edge")
    return place(jax.tree.map(lambda leaf: leaf[index], fits), layout, fits=True), max(steps)


def _rate(config: LinkConfig, steps: int) -> tuple[float, float]:
    """Return the rate of the first epoch, and the factor on it per epoch."""
    if config.decay_every == "epoch":
        return config.rate, config.decay
    return config.rate * float(np.mean(config.decay ** np.arange(steps))), config.decay**steps


def _training_pairs(problem: Problem, config: LinkConfig) -> Labelled:
    pairs, label, n = _labelled(problem, problem.labels)
    if config.negatives is None:
        return Labelled(pairs, label, n)
    edges, others = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    drawn = np.random.default_rng(problem.seed).permutation(others)
    kept = np.sort(np.concatenate([edges, drawn[: config.negatives * len(edges)]]))
    return Labelled(pairs[kept], label[kept], np.array(len(kept), np.int32))


def _labelled(problem: Problem, labels: Float[np.ndarray, "regulators genes"]) -> Labelled:
    rows, columns = np.argsort(problem.regulators), np.argsort(problem.genes)
    ordered = labels[np.ix_(rows, columns)]
    row, column = np.nonzero(~np.isnan(ordered))
    rank = _ranks(problem.data)
    regulator = np.array([rank[problem.regulators[i]] for i in rows], np.int32)
    target = np.array([rank[problem.genes[i]] for i in columns], np.int32)
    return Labelled(
        np.stack([regulator[row], target[column]], 1),
        ordered[row, column].astype(np.float32),
        np.array(len(row), np.int32),
    )


def _ranks(data: Dataset) -> dict[str, int]:
    return {gene: i for i, gene in enumerate(sorted(data.genes))}


def _repeated(labelled: Labelled, times: int) -> Labelled:
    pairs, label = np.tile(labelled.pairs, (times, 1)), np.tile(labelled.label, times)
    return Labelled(pairs, label, np.array(len(label), np.int32))


def _stack_pairs(parts: list[Labelled]) -> Labelled:
    pairs, label, n = zip(*parts, strict=True)
    return Labelled(_stack(pairs), _stack(label), np.stack(n))


def _stack(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Pad the first axis with zeros, and put a new one before it."""
    size = max(1, graphs.roomy(max(map(len, parts))))
    return np.stack([np.pad(a, ((0, size - len(a)),) + ((0, 0),) * (a.ndim - 1)) for a in parts])


def _features(data: Dataset, components: int | None) -> Float[np.ndarray, "nodes features"]:
    how = "log1p_cpm_zscore" if looks_like_counts(data.x) else "zscore"
    z = normalise(data, how, clip=np.inf).x[np.argsort(data.cells)]
    x = np.ascontiguousarray(z[:, np.argsort(data.genes)].T)
    if components is not None:
        left, size, _ = np.linalg.svd(x, full_matrices=False)
        x = (left * size)[:, :components]
        # The sign of a component is arbitrary; weights must not depend on how it was computed.
        x *= np.sign(x[np.abs(x).argmax(0), np.arange(x.shape[1])])
        x /= np.sqrt(np.mean(x**2))
    return np.pad(x, ((0, 1), (0, 0))).astype(np.float32)


def _rows(problem: Problem) -> Int[np.ndarray, " regulators"]:
    rank = _ranks(problem.data)
    return np.array([rank[regulator] for regulator in problem.regulators], np.int32)


def _arrange(scores: Float[np.ndarray, "rows nodes"], problem: Problem) -> Scores:
    rank = _ranks(problem.data)
    columns = [rank[gene] for gene in problem.genes]
    return scores[: len(problem.regulators), columns].astype(float)


def _alike(a: Problem, b: Problem, config: LinkConfig) -> bool:
    """Tell whether two problems have the same features and stop for the same reason."""
    if _stops(a, config) != _stops(b, config):
        return False
    same_names = (a.data.genes, a.data.cells) == (b.data.genes, b.data.cells)
    return a.data is b.data or (same_names and np.array_equal(a.data.x, b.data.x))


def _stops(problem: Problem, config: LinkConfig) -> bool:
    """Tell whether validation decides when training ends."""
    return bool(config.patience) and _both_kinds(problem.validation)


def _both_kinds(labels: Float[np.ndarray, "regulators genes"]) -> bool:
    return bool((labels == 1).any() and (labels == 0).any())


def _check_config(config: LinkConfig) -> None:
    for name in ("batch_size", "epochs", "components", "negatives"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"Expected {name} of at least 1, found {value}.")
    for name in ("steps", "patience", "self_loops"):
        if getattr(config, name) < 0:
            raise ValueError(f"Expected {name} of 0 or more, found {getattr(config, name)}.")
    if not (config.rate > 0 and 0 < config.decay <= 1):
        raise ValueError(
            "Expected a rate above 0 and a decay above 0, of at most 1, found "
            f"rate={config.rate} and decay={config.decay}."
        )


def _check_problem(problem: Problem) -> None:
    if not _both_kinds(problem.labels):
        raise ValueError(
            f"{problem.data.name}: expected training labels 1 and 0, found "
            f"{int((problem.labels == 1).sum())} edges and {int((problem.labels == 0).sum())} "
            "other pairs. Edges make the graph and both kinds are learned from: give a split with "
            "known edges in training, or use a method without labels."
        )
