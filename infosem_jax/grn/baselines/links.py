"""Supervised link prediction on the graph of known edges: what its networks have in common.

A network encodes all genes along the graph of training edges, from features of their expression,
and decodes pairs of genes to scores. Every step encodes the whole graph, so few and large steps are
the cheap ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jaxtyping import Array, Float, Int

from infosem_jax import graphs
from infosem_jax._settings import check
from infosem_jax.data.dataset import Dataset
from infosem_jax.engine import training
from infosem_jax.engine.layout import Layout, choose, over_fits, place
from infosem_jax.engine.types import Fits
from infosem_jax.graphs import GraphsTuple
from infosem_jax.grn.baselines import pairs as of_pairs
from infosem_jax.grn.baselines.pairs import FitPairs, Labelled, PairData, PairObjective
from infosem_jax.grn.baselines.problem import Problem, Scores

_WHY_BOTH = (
    ". Edges make the graph and both kinds are learned from: give a split with known edges in "
    "training, or use a method without labels."
)


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

    def __post_init__(self):
        check(
            self,
            least={
                1: ("batch_size", "epochs", "components", "negatives"),
                0: ("steps", "patience", "self_loops"),
            },
            above={0: ("rate", "decay")},
        )
        if self.decay > 1:
            raise ValueError(f"decay: expected at most 1, found {self.decay}.")


def solve(problems: Sequence[Problem], config: LinkConfig, network: nn.Module) -> Iterator[Scores]:
    """Train on the labelled pairs of each problem, and return scores of all its pairs.

    Problems of the same genes and cells train in one compiled program, each as it would alone. The
    graph holds training edges only, and validation labels are looked at only to stop early. Scores
    of a fit that diverged are NaN.

    Parameters
    ----------
    problems
        Expression and labels.
    config
        Settings.
    network
        The network to train. Its ``encode(graph, x, deterministic)`` returns codes of all nodes
        from their features, without dropout where deterministic; its ``decode(codes, pairs)``
        returns scores of pairs of nodes, regulator first.

    Raises
    ------
    ValueError
        If labels are not of both kinds; before anything is trained.
    """
    for problem in problems:
        of_pairs.check_labels(problem, _WHY_BOTH)
    return of_pairs.solve_in_groups(
        problems,
        partial(of_pairs.train_together, patience=config.patience),
        partial(_train, config=config, network=network),
    )


def training_graph(problem: Problem, config: LinkConfig) -> GraphsTuple:
    """Return the graph of the training edges, genes in the order of their names."""
    known = of_pairs.labelled(problem, problem.labels)
    regulator, target = known.pairs[known.label == 1].T
    return graphs.from_pairs(
        len(problem.data.genes),
        target,
        regulator,
        symmetric=config.symmetric,
        self_loops=config.self_loops,
    )


@dataclass(frozen=True)
class LinkObjective(PairObjective):
    """The objective of a network on a graph."""

    network: nn.Module
    kind: Literal["cross_entropy", "squared"]

    def init(self, key: Array, data: PairData) -> training.Params:
        """Return starting parameters."""
        start, dropout = random.split(key)
        pairs = jnp.zeros((1, 2), jnp.int32)
        keys = {"params": start, "dropout": dropout}
        given = data.graph, data.features, pairs
        start: Any = self.network.init(keys, *given, method=_encode_and_decode)
        return start["params"]

    def scores(
        self,
        params,
        key: Array,
        data: PairData,
        pairs: Int[Array, "pairs 2"],
        deterministic: bool,
    ) -> Float[Array, " pairs"]:
        """Return scores of some pairs, see `PairObjective.scores`."""
        codes = self._codes(params, key, data, deterministic)
        return self._decode(params, codes, pairs)

    def cost(self, score: Float[Array, " pairs"], label: Float[Array, " pairs"]) -> Array:
        """Return the mean cost of scores."""
        if self.kind == "squared":
            return jnp.square(nn.relu(score) - label).mean()
        return super().cost(score, label)

    def rows(
        self, params, key: Array, data: PairData, regulators: Int[Array, " regulators"]
    ) -> Float[Array, "regulators nodes"]:
        """Return scores of some regulators with all genes, one regulator after the other.

        Parameters
        ----------
        params, key, data
            As in `PairObjective.scores`.
        regulators
            Which nodes they are.
        """
        codes = self._codes(params, key, data, True)
        targets = jnp.arange(len(data.features))

        def one(regulator):
            pairs = jnp.stack([jnp.full_like(targets, regulator), targets], 1)
            return self._decode(params, codes, pairs)

        return lax.map(one, regulators)

    def _codes(self, params, key: Array, data: PairData, deterministic: bool) -> Any:
        rngs = {"dropout": key}
        return self.network.apply(
            {"params": params}, data.graph, data.features, deterministic, rngs=rngs, method="encode"
        )

    def _decode(self, params, codes: Any, pairs: Int[Array, "pairs 2"]) -> Any:
        return self.network.apply({"params": params}, codes, pairs, method="decode")


def _encode_and_decode(
    network: Any, graph: GraphsTuple, x: Array, pairs: Array
) -> Float[Array, " pairs"]:
    return network.decode(network.encode(graph, x, True), pairs)


def _train(problems: list[Problem], config: LinkConfig, network: nn.Module) -> list[Scores]:
    patience = of_pairs.usable_patience(problems[0], config.patience)
    objective = LinkObjective(network, config.loss)
    layout = choose(len(problems), config.batch_size, cells=1)
    nodes = place(_features(problems[0].data, config.components), layout)
    fits, steps = _fits(problems, config, layout)
    state = of_pairs.train(
        objective,
        nodes,
        fits,
        layout,
        batch_size=config.batch_size,
        steps=steps,
        epochs=config.epochs,
        patience=patience,
    )
    rows = of_pairs.stack([of_pairs.places(problem)[0] for problem in problems])
    rows = place(rows[np.arange(len(fits.keys)) % len(rows)], layout, fits=True)
    scores = training.to_host(_score_rows(objective, layout, state.params, fits, nodes, rows))
    scores[training.to_host(state.diverged) >= 0] = np.nan
    return [
        score[: len(problem.regulators), of_pairs.places(problem)[1]].astype(float)
        for score, problem in zip(scores, problems, strict=False)
    ]


@partial(jax.jit, static_argnames=("objective", "layout"))
def _score_rows(
    objective: LinkObjective, layout: Layout, params: Any, fits: Fits, nodes: Array, rows: Array
) -> Float[Array, "fits regulators nodes"]:
    def one(own, nodes):
        params, fit, regulators = own
        data = objective.view(nodes, fit.own)
        return objective.rows(params, random.fold_in(fit.keys, 5), data, regulators)

    return over_fits(one, layout)((params, fits, rows), nodes)


def _fits(problems: list[Problem], config: LinkConfig, layout: Layout) -> tuple[Fits, int]:
    """Lay out the fits, pairs and edges padded; return the most steps of an epoch, too."""
    trains = [_training_pairs(problem, config) for problem in problems]
    steps = [config.steps or -(-int(train.n) // config.batch_size) for train in trains]
    least = config.steps * config.batch_size
    trains = [_repeated(train, max(1, -(-least // int(train.n)))) for train in trains]
    own = FitPairs(
        of_pairs.stack_pairs(trains),
        of_pairs.stack_pairs([of_pairs.validation_of(p, config.patience) for p in problems]),
        graphs.stack([training_graph(problem, config) for problem in problems]),
    )
    rates = [_rate(config, n) for n in steps]
    return of_pairs.lay_out(problems, own, rates, layout), max(steps)


def _rate(config: LinkConfig, steps: int) -> tuple[float, float]:
    """Return the rate of the first epoch, and the factor on it per epoch."""
    if config.decay_every == "epoch":
        return config.rate, config.decay
    return config.rate * float(np.mean(config.decay ** np.arange(steps))), config.decay**steps


def _training_pairs(problem: Problem, config: LinkConfig) -> Labelled:
    known = of_pairs.labelled(problem, problem.labels)
    if config.negatives is None:
        return known
    edges, others = np.flatnonzero(known.label == 1), np.flatnonzero(known.label == 0)
    drawn = np.random.default_rng(problem.seed).permutation(others)
    kept = np.concatenate([edges, drawn[: config.negatives * len(edges)]])
    return of_pairs.chosen(known, np.sort(kept))


def _repeated(known: Labelled, times: int) -> Labelled:
    return of_pairs.chosen(known, np.tile(np.arange(int(known.n)), times))


def _features(data: Dataset, components: int | None) -> Float[np.ndarray, "nodes features"]:
    x = of_pairs.z_scores(data)
    if components is not None:
        left, size, _ = np.linalg.svd(x, full_matrices=False)
        x = (left * size)[:, :components]
        # The sign of a component is arbitrary; weights must not depend on how it was computed.
        x *= np.sign(x[np.abs(x).argmax(0), np.arange(x.shape[1])])
        x /= np.sqrt(np.mean(x**2))
    return np.pad(x, ((0, 1), (0, 0))).astype(np.float32)
