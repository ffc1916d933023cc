"""scGREAT (Wang et al. 2024): a transformer that reads a regulator and a target as two tokens.

A token is the sum of a network of the gene's expression over cells, its frozen text embedding, and
a learned vector of its role; the encoder's two outputs, side by side, go through a small network to
the log-odds of an edge.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from infosem_jax.data.io import align_embedding
from infosem_jax.engine import training
from infosem_jax.engine.layout import Layout, choose, place
from infosem_jax.engine.types import Chunk, Fits
from infosem_jax.grn.baselines import pairs as of_pairs
from infosem_jax.grn.baselines._scgreat_network import Genes, Pairs, ScGREATConfig
from infosem_jax.grn.baselines.pairs import FitPairs, Labelled, PairData, PairObjective
from infosem_jax.grn.baselines.problem import Problem, Scores

# Pairs judged at once, and in one call, where none is trained on: sizes of the network's layers
# times the first are what memory must hold.
_SIDE_BY_SIDE = 2048
_PER_CALL = 8 * _SIDE_BY_SIDE


PUBLISHED = ScGREATConfig()
REDUCED = ScGREATConfig(
    hidden=64,
    width=32,
    feed_forward=64,
    head=(64, 32, 16),
    batch_size=256,
    epochs=20,
    steps=20,
    rate=1e-3,
    decay=0.95,
    decay_every=20,
    patience=5,
    validation_pairs=2048,
)


class Features(NamedTuple):
    """What is known of genes: z-scores, and vectors without features where there are none."""

    expression: Float[Array | np.ndarray, "genes cells"]
    vectors: Float[Array | np.ndarray, "genes features"]


def solve(
    problems: Sequence[Problem],
    config: ScGREATConfig = REDUCED,
    on_chunk: Callable[[Chunk], None] | None = None,
) -> Iterator[Scores]:
    """Train on the labelled pairs of each problem, and return the log-odds of all its pairs.

    Problems of the same cells, genes and embedding train in one compiled program, each as it would
    alone. Validation labels are looked at only to stop early. The order of genes and cells does not
    matter.

    Parameters
    ----------
    problems
        Expression, labels and embeddings.
    config
        Settings.
    on_chunk
        Called between chunks of epochs.

    Raises
    ------
    ValueError
        If labels are not of both kinds, there is no embedding of the name or it covers no gene, or
        settings do not fit together; before anything is trained.
    """
    for problem in problems:
        _check_problem(problem, config)
    return of_pairs.solve_in_groups(
        problems,
        partial(_train_together, config=config),
        partial(_train, config=config, on_chunk=on_chunk),
    )


@dataclass(frozen=True)
class ScGREATObjective(PairObjective):
    """The objective of the network; its parameters are one vector, which compiles fast."""

    config: ScGREATConfig

    def init(self, key: Array, data: PairData) -> training.Params:
        """Return starting parameters."""
        return {"network": ravel_pytree(self.start(key, data.features))[0]}

    def start(self, key: Array, features: Features) -> dict[str, Any]:
        """Return starting parameters of the network's two parts."""
        genes, pairs = random.split(key)
        one = jax.tree.map(lambda leaf: leaf[:1], features)
        tokens = jnp.zeros((1, 2, self.config.width))
        return {
            "genes": Genes(self.config).init(genes, *one),
            "pairs": Pairs(self.config).init(pairs, tokens, True),
        }

    def scores(
        self,
        params,
        key: Array,
        data: PairData,
        pairs: Int[Array, "pairs 2"],
        deterministic: bool,
    ) -> Float[Array, " pairs"]:
        """Return log-odds of some pairs, see `PairObjective.scores`."""
        if deterministic:
            return self.judge(params, data.features, pairs)
        parts = self._parts(params, data.features)
        features = jax.tree.map(lambda leaf: leaf[pairs.reshape(-1)], data.features)
        tokens: Any = Genes(self.config).apply(parts["genes"], *features)
        tokens = tokens.reshape(len(pairs), 2, -1)
        rngs = {"dropout": key}
        logit: Any = Pairs(self.config).apply(parts["pairs"], tokens, False, rngs=rngs)
        return logit

    def judge(self, params, features: Features, pairs: Int[Array, "pairs 2"]) -> Array:
        """Return the log-odds of pairs without dropout, some at a time."""
        parts = self._parts(params, features)
        tokens: Any = Genes(self.config).apply(parts["genes"], *features)

        def some(pairs):
            return Pairs(self.config).apply(parts["pairs"], tokens[pairs], True)

        size = min(len(pairs), _SIDE_BY_SIDE)
        return lax.map(some, pairs.reshape(-1, size, 2)).reshape(-1)

    def _parts(self, params, features: Features) -> dict[str, Any]:
        """Cut the vector of parameters into those of the two parts."""
        shapes = jax.eval_shape(self.start, random.key(0), features)
        _, cut = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes))
        return cut(params["network"])


def _train(problems: list[Problem], config: ScGREATConfig, on_chunk) -> list[Scores]:
    objective = ScGREATObjective(config)
    layout = choose(len(problems), config.batch_size, cells=1)
    features = place(_features(problems[0], config), layout)
    fits, steps = _fits(problems, config, layout)
    state = of_pairs.train(
        objective,
        features,
        fits,
        layout,
        batch_size=config.batch_size,
        steps=steps,
        epochs=config.epochs,
        patience=of_pairs.usable_patience(problems[0], config.patience),
        optimiser=config.optimiser,
        on_chunk=on_chunk,
    )
    params = jax.tree.map(training.to_host, state.params)
    features = jax.tree.map(training.to_host, features)
    return [
        _scores(objective, jax.tree.map(lambda leaf, i=i: leaf[i], params), features, problem)
        for i, problem in enumerate(problems)
    ]


def _scores(objective: ScGREATObjective, params, features: Features, problem: Problem) -> Scores:
    row, column = of_pairs.places(problem)
    pairs = np.stack(np.meshgrid(row, column, indexing="ij"), -1).reshape(-1, 2)
    blocks = np.pad(pairs, ((0, -len(pairs) % _PER_CALL), (0, 0))).reshape(-1, _PER_CALL, 2)
    logit = np.concatenate([np.asarray(_judge(objective, params, features, b)) for b in blocks])
    return logit[: len(pairs)].reshape(len(row), len(column)).astype(float)


@partial(jax.jit, static_argnames="objective")
def _judge(objective: ScGREATObjective, params, features: Features, pairs: Array) -> Array:
    return objective.judge(params, features, pairs)


def _fits(problems: list[Problem], config: ScGREATConfig, layout: Layout) -> tuple[Fits, int]:
    """Lay out the fits, pairs padded; return the most steps of an epoch, too."""
    trains = [of_pairs.labelled(problem, problem.labels) for problem in problems]
    validations = [
        _some(
            of_pairs.validation_of(problem, config.patience), config.validation_pairs, problem.seed
        )
        for problem in problems
    ]
    steps = [-(-int(train.n) // config.batch_size) for train in trains]
    steps = [min(n, config.steps or n) for n in steps]
    rates = [(config.rate, config.decay ** (n / config.decay_every)) for n in steps]
    own = FitPairs(
        of_pairs.stack_pairs(trains, _power_of_two),
        of_pairs.stack_pairs(validations, _power_of_two),
    )
    return of_pairs.lay_out(problems, own, rates, layout), max(steps)


def _some(known: Labelled, most: int, seed: int) -> Labelled:
    """Draw pairs with the share of edges that all have."""
    n = min(len(known.label), most)
    drawn = np.random.default_rng(seed).permutation(len(known.label))
    is_edge = known.label[drawn] == 1
    edges = -(-n * int(is_edge.sum()) // max(1, len(drawn)))
    kept = np.concatenate([drawn[is_edge][:edges], drawn[~is_edge][: n - edges]])
    return of_pairs.chosen(known, kept)


def _power_of_two(n: int) -> int:
    # Validation pairs are judged in blocks of a power of two.
    return 1 << (n - 1).bit_length()


def _features(problem: Problem, config: ScGREATConfig) -> Features:
    expression = of_pairs.z_scores(problem.data)
    if config.embedding is None:
        return Features(expression, np.zeros((len(expression), 0), np.float32))
    genes = tuple(sorted(problem.data.genes))
    vectors, _ = align_embedding(problem.embeddings[config.embedding], genes)
    return Features(expression, vectors)


def _train_together(a: Problem, b: Problem, config: ScGREATConfig) -> bool:
    """Tell whether two problems have the same features and stop for the same reason."""
    if not of_pairs.train_together(a, b, config.patience):
        return False
    if config.embedding is None:
        return True
    one, two = (problem.embeddings[config.embedding] for problem in (a, b))
    return one is two or (one.names == two.names and np.array_equal(one.vectors, two.vectors))


def _check_problem(problem: Problem, config: ScGREATConfig) -> None:
    of_pairs.check_labels(problem, "; scGREAT learns from both.")
    if config.embedding is not None and config.embedding not in problem.embeddings:
        raise ValueError(
            f"{problem.data.name}: found no embedding {config.embedding!r}, only "
            f"{', '.join(problem.embeddings) or 'none at all'}; name one of them, or None for "
            "expression alone."
        )
