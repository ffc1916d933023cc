"""scGREAT (Wang et al. 2024): a transformer that reads a regulator and a target as two tokens.

A token is the sum of a network of the gene's expression over cells, its frozen text embedding, and
a learned vector of its role; the encoder's two outputs, side by side, go through a small network to
the log-odds of an edge. Labelled pairs of all fits train by the engine, which deals pairs where
other models have cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.linen.initializers import constant, normal, variance_scaling
from jax import lax, random
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from infosem_jax import training
from infosem_jax.data.dataset import Dataset, looks_like_counts, normalise
from infosem_jax.data.io import Embedding, align_embedding
from infosem_jax.grn.baselines.problem import Problem, Scores
from infosem_jax.layout import Layout, choose, place
from infosem_jax.training import Cells, Fits, Progress, Rate, Resident, Schedule

# Pairs judged at once, and in one call, where none is trained on: sizes of the network's layers
# times the first are what memory must hold.
_SIDE_BY_SIDE = 2048
_PER_CALL = 8 * _SIDE_BY_SIDE

# PyTorch's starts, under which the published rate was chosen: linear layers, and in attention.
_LINEAR = variance_scaling(1 / 3, "fan_in", "uniform")
_ATTENTION = variance_scaling(1 / 2, "fan_in", "uniform")


@dataclass(frozen=True)
class ScGREATConfig:
    """Settings; the defaults are the published ones, `REDUCED` is for two cores.

    Attributes
    ----------
    embedding
        Name of the gene embedding in ``problem.embeddings``; genes without a vector get zeros. None
        reads expression alone.
    hidden, width
        Units of the expression network, and of a token. An embedding of another width goes
        through a learned linear map.
    layers, heads, feed_forward
        Layers of the encoder, heads of its attention, units between its two linear maps.
    norm
        Whether a layer normalises after it added to its input, or before.
    dropout
        Share of units dropped in the encoder.
    head, head_dropout
        Units of the final network, and share of them dropped. The first layer, averaged over equal
        blocks, is added to the last, whose units must divide it.
    batch_size
        Pairs per step.
    epochs
        Most passes over the labelled pairs.
    steps
        Most steps that count as an epoch; 0 is a pass over all pairs.
    optimiser
        ``adam_clipped`` or ``adam``.
    rate, decay, decay_every
        Learning rate, and the factor on it each so many steps, applied at the end of epochs.
    patience
        Epochs without a better average precision on validation pairs after which training ends,
        the best parameters kept; 0, or a problem without validation, trains all epochs.
    validation_pairs
        Most validation pairs looked at, drawn by the problem's seed.
    """

    embedding: str | None = "biobert"
    hidden: int = 512
    width: int = 768
    layers: int = 2
    heads: int = 4
    feed_forward: int = 2048
    norm: Literal["post", "pre"] = "post"
    dropout: float = 0.1
    head: tuple[int, ...] = (1024, 512, 256)
    head_dropout: float = 0.2
    batch_size: int = 32
    epochs: int = 50
    steps: int = 0
    optimiser: Literal["adam_clipped", "adam"] = "adam_clipped"
    rate: float = 1e-5
    decay: float = 0.999
    decay_every: int = 10
    patience: int = 0
    validation_pairs: int = 4096


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


class HeldOut(NamedTuple):
    """Stands for the features where a fit is judged by its validation pairs."""

    features: Features


class Labelled(NamedTuple):
    """Labelled pairs of genes, regulator first, as rows of the features; ``n`` are no padding."""

    pairs: Int[Array | np.ndarray, "*fits pairs 2"]
    label: Float[Array | np.ndarray, "*fits pairs"]
    n: Int[Array | np.ndarray, "*fits"]


class Own(NamedTuple):
    """The pairs of one fit."""

    train: Labelled
    validation: Labelled


class TrainingPairs(NamedTuple):
    """Data of one fit as the engine asks for them."""

    features: Features
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
        """A pass over the pairs is one segment."""
        return 1


class ValidationPairs(TrainingPairs):
    """The same, judged without dropout and by their order alone."""


def solve(
    problems: Sequence[Problem],
    config: ScGREATConfig = REDUCED,
    on_chunk: Callable[[Progress], None] | None = None,
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
    _check_config(config)
    for problem in problems:
        _check_problem(problem, config)
    return _solve(problems, config, on_chunk)


def _solve(problems, config: ScGREATConfig, on_chunk) -> Iterator[Scores]:
    solved: dict[int, Scores] = {}
    for i, first in enumerate(problems):
        if i not in solved:
            alike = [j for j in range(i, len(problems)) if _alike(first, problems[j], config)]
            scores = _train([problems[j] for j in alike], config, on_chunk)
            solved |= dict(zip(alike, scores, strict=True))
        yield solved.pop(i)


def _train(problems: list[Problem], config: ScGREATConfig, on_chunk) -> list[Scores]:
    stops = _stops(problems[0], config)
    objective = PairObjective(config)
    layout = choose(len(problems), config.batch_size, cells=1)
    features = place(_features(problems[0], config), layout)
    fits, steps = _fits(problems, config, stops, layout)
    schedule = Schedule(
        optimisers=(("network", config.optimiser),),
        phases=((("network",), 1),),
        batch_size=config.batch_size,
        steps=steps,
        patience=config.patience if stops else 0,
        chunk=1 if stops else 30,  # the engine looks at other held-out data between chunks only
    )
    feed: Any = Resident(features, held_out=HeldOut(features) if stops else None)
    state, _ = training.run(
        objective,
        schedule,
        fits,
        feed,
        epochs=config.epochs,
        layout=layout,
        on_chunk=on_chunk,
    )
    params = jax.tree.map(training.to_host, state.params)
    features = jax.tree.map(training.to_host, features)
    return [
        _scores(objective, jax.tree.map(lambda leaf, i=i: leaf[i], params), features, problem)
        for i, problem in enumerate(problems)
    ]


@dataclass(frozen=True)
class PairObjective:
    """Cross-entropy of the labels; held out, one minus the average precision."""

    config: ScGREATConfig

    def view(self, shared: Features | HeldOut, own: Own) -> TrainingPairs:
        """Put the features of genes and the pairs of one fit together."""
        if isinstance(shared, HeldOut):
            return ValidationPairs(shared.features, own.validation)
        return TrainingPairs(shared, own.train)

    def init(self, key: Array, data: TrainingPairs) -> training.Params:
        """Return starting parameters, as one vector: what is one array compiles fast."""
        return {"network": ravel_pytree(self.start(key, data.features))[0]}

    def start(self, key: Array, features: Features) -> dict[str, Any]:
        """Return starting parameters of the network's two parts."""
        genes, pairs = random.split(key)
        one = jax.tree.map(lambda leaf: leaf[:1], features)
        tokens = jnp.zeros((1, 2, self.config.width))
        return {
            "genes": Genes(self.config).init(genes, one),
            "pairs": Pairs(self.config).init(pairs, tokens, True),
        }

    def loss(self, params, key: Array, data: TrainingPairs, cells: Cells, epoch: Array) -> Array:
        """Return the mean cross-entropy of some pairs."""
        pairs, label = (leaf[cells.index] for leaf in data.labelled[:2])
        if isinstance(data, ValidationPairs):
            logit = self.judge(params, data.features, pairs)
            return 1 - _average_precision(jnp.where(cells.real, logit, -jnp.inf), label)
        parts = self._parts(params, data.features)
        features = jax.tree.map(lambda leaf: leaf[pairs.reshape(-1)], data.features)
        tokens: Any = Genes(self.config).apply(parts["genes"], features)
        tokens = tokens.reshape(len(pairs), 2, -1)
        logit: Any = Pairs(self.config).apply(parts["pairs"], tokens, False, rngs={"dropout": key})
        return optax.sigmoid_binary_cross_entropy(logit, label).mean()

    def group(self, name: str) -> str:
        """All parameters train together."""
        return "network"

    def judge(self, params, features: Features, pairs: Int[Array, "pairs 2"]) -> Array:
        """Return the log-odds of pairs without dropout, some at a time."""
        parts = self._parts(params, features)
        tokens = Genes(self.config).apply(parts["genes"], features)

        def some(pairs):
            return Pairs(self.config).apply(parts["pairs"], tokens[pairs], True)

        size = min(len(pairs), _SIDE_BY_SIDE)
        return lax.map(some, pairs.reshape(-1, size, 2)).reshape(-1)

    def _parts(self, params, features: Features) -> dict[str, Any]:
        """Cut the vector of parameters into those of the two parts."""
        shapes = jax.eval_shape(self.start, random.key(0), features)
        _, cut = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes))
        return cut(params["network"])


class Genes(nn.Module):
    """The part of a token that does not depend on the role: expression and text."""

    config: ScGREATConfig

    @nn.compact
    def __call__(self, features: Features) -> Float[Array, "genes width"]:
        """Return a vector for each gene."""
        config = self.config
        x = nn.Dense(config.hidden, kernel_init=_LINEAR)(features.expression)
        x = nn.leaky_relu(nn.Dense(config.width, kernel_init=_LINEAR)(x))
        text = features.vectors
        if text.shape[1] not in (0, config.width):
            text = nn.Dense(config.width, use_bias=False, kernel_init=_LINEAR, name="text")(text)
        return x + text if text.shape[1] else x


class Pairs(nn.Module):
    """From two tokens to the log-odds of an edge."""

    config: ScGREATConfig

    @nn.compact
    def __call__(self, tokens: Float[Array, "pairs 2 width"], still: bool) -> Array:
        """Return log-odds, [pairs]; ``still`` drops no unit."""
        config = self.config
        x = tokens + self.param("role", normal(1.0), tokens.shape[1:])
        for i in range(config.layers):
            x = EncoderLayer(config, name=f"layer{i}")(x, still)
        x = x.reshape(len(x), -1)
        slope = self.param("slope", constant(0.25), ())
        first, last = config.head[0], config.head[-1]
        pooled = 0.0
        for i, units in enumerate(config.head):
            x = nn.Dense(units, kernel_init=_LINEAR, name=f"head{i}")(x)
            if i and i == len(config.head) - 1:
                x = x + pooled
            x = nn.Dropout(config.head_dropout, deterministic=still)(x)
            x = jnp.where(x >= 0, x, slope * x)
            if i == 0:
                pooled = x.reshape(len(x), last, first // last).mean(2)
        return nn.Dense(1, kernel_init=_LINEAR, name="out")(x)[:, 0]


class EncoderLayer(nn.Module):
    """A layer of the transformer's encoder."""

    config: ScGREATConfig

    @nn.compact
    def __call__(self, x: Float[Array, "pairs 2 width"], still: bool) -> Array:
        """Let the two tokens of each pair see each other."""
        config = self.config

        def attend(x):
            return nn.MultiHeadDotProductAttention(
                config.heads,
                dropout_rate=config.dropout,
                broadcast_dropout=False,
                deterministic=still,
                kernel_init=_ATTENTION,
                out_kernel_init=_LINEAR,
                name="attention",
            )(x)

        def feed_forward(x):
            x = nn.relu(nn.Dense(config.feed_forward, kernel_init=_LINEAR, name="up")(x))
            x = nn.Dropout(config.dropout, deterministic=still)(x)
            return nn.Dense(config.width, kernel_init=_LINEAR, name="down")(x)

        for name, part in (("norm_attention", attend), ("norm_feed_forward", feed_forward)):
            norm = nn.LayerNorm(epsilon=1e-5, name=name)
            drop = nn.Dropout(config.dropout, deterministic=still)
            x = norm(x + drop(part(x))) if config.norm == "post" else x + drop(part(norm(x)))
        return x


def _average_precision(logit: Float[Array, " pairs"], label: Float[Array, " pairs"]) -> Array:
    hit = label[jnp.argsort(-logit)]
    precision = jnp.cumsum(hit) / jnp.arange(1, len(hit) + 1)
    return (precision * hit).sum() / hit.sum()


@partial(jax.jit, static_argnames="objective")
def _judge(objective: PairObjective, params, features: Features, pairs: Array) -> Array:
    return objective.judge(params, features, pairs)


def _scores(objective: PairObjective, params, features: Features, problem: Problem) -> Scores:
    place = {gene: i for i, gene in enumerate(problem.data.genes)}
    row, column = (np.array([place[g] for g in n]) for n in (problem.regulators, problem.genes))
    pairs = np.stack(np.meshgrid(row, column, indexing="ij"), -1).reshape(-1, 2)
    padded = np.pad(pairs, ((0, -len(pairs) % _PER_CALL), (0, 0))).astype(np.int32)
    blocks = padded.reshape(-1, _PER_CALL, 2)
    logit = np.concatenate([np.asarray(_judge(objective, params, features, b)) for b in blocks])
    return logit[: len(pairs)].reshape(len(row), len(column)).astype(float)


def _fits(
    problems: list[Problem], config: ScGREATConfig, stops: bool, layout: Layout
) -> tuple[Fits, int]:
    """Lay out the fits, pairs padded; the last fit is repeated where devices would idle."""
    trains = [_labelled(problem, problem.labels) for problem in problems]
    validations = [
        _some(_labelled(problem, problem.validation), config.validation_pairs, problem.seed)
        if stops
        else Labelled(np.zeros((1, 2), np.int32), np.zeros(1, np.float32), np.array(0, np.int32))
        for problem in problems
    ]
    steps = [-(-int(train.n) // config.batch_size) for train in trains]
    steps = [min(n, config.steps or n) for n in steps]
    decay = [config.decay ** (n / config.decay_every) for n in steps]
    fits = Fits(
        keys=jnp.stack([random.key(problem.seed) for problem in problems]),
        rates={
            "network": Rate(
                np.full(len(steps), config.rate, np.float32), np.array(decay, np.float32)
            )
        },
        own=Own(_stack(trains), _stack(validations)),
    )
    index = np.pad(np.arange(len(problems)), (0, -len(problems) % layout.devices[0]), mode="edge")
    return place(jax.tree.map(lambda leaf: leaf[index], fits), layout, fits=True), max(steps)


def _labelled(problem: Problem, labels: Float[np.ndarray, "regulators genes"]) -> Labelled:
    """List the labelled pairs in the order of their names."""
    place = {gene: i for i, gene in enumerate(problem.data.genes)}
    rows, columns = np.argsort(problem.regulators), np.argsort(problem.genes)
    ordered = labels[np.ix_(rows, columns)]
    row, column = np.nonzero(~np.isnan(ordered))
    regulator = np.array([place[problem.regulators[i]] for i in rows])[row]
    target = np.array([place[problem.genes[i]] for i in columns])[column]
    return Labelled(
        np.stack([regulator, target], 1).astype(np.int32),
        ordered[row, column].astype(np.float32),
        np.array(len(row), np.int32),
    )


def _some(labelled: Labelled, most: int, seed: int) -> Labelled:
    """Draw pairs with the share of edges that all have."""
    n = min(int(labelled.n), most)
    edges = int(np.ceil(n * labelled.label.mean()))
    drawn = np.random.default_rng(seed).permutation(int(labelled.n))
    is_edge = labelled.label[drawn] == 1
    kept = np.concatenate([drawn[is_edge][:edges], drawn[~is_edge][: n - edges]])
    return Labelled(labelled.pairs[kept], labelled.label[kept], np.array(n, np.int32))


def _stack(parts: list[Labelled]) -> Labelled:
    """Pad to a power of two, so that problems of about the same size share programs."""
    size = 1 << (max(len(part.label) for part in parts) - 1).bit_length()
    pairs, labels = (
        [np.pad(a, ((0, size - len(a)),) + ((0, 0),) * (a.ndim - 1)) for a in arrays]
        for arrays in ([part.pairs for part in parts], [part.label for part in parts])
    )
    return Labelled(np.stack(pairs), np.stack(labels), np.stack([part.n for part in parts]))


def _features(problem: Problem, config: ScGREATConfig) -> Features:
    data = problem.data
    how = "log1p_cpm_zscore" if looks_like_counts(data.x) else "zscore"
    # The first layer has weights of its own for every cell.
    z = normalise(data, how, clip=np.inf).x[np.argsort(data.cells)]
    vectors = np.zeros((len(data.genes), 0), np.float32)
    if config.embedding is not None:
        vectors, _ = align_embedding(problem.embeddings[config.embedding], data.genes)
    return Features(np.ascontiguousarray(z.T), vectors)


def _alike(a: Problem, b: Problem, config: ScGREATConfig) -> bool:
    """Tell whether two problems have the same features and stop for the same reason."""
    if _stops(a, config) != _stops(b, config):
        return False
    if config.embedding is not None:
        one, other = a.embeddings[config.embedding], b.embeddings[config.embedding]
        if not _same_embedding(one, other):
            return False
    return _same_data(a.data, b.data)


def _same_data(a: Dataset, b: Dataset) -> bool:
    same_names = (a.genes, a.cells) == (b.genes, b.cells)
    return a is b or (same_names and np.array_equal(a.x, b.x))


def _same_embedding(a: Embedding, b: Embedding) -> bool:
    return a is b or (a.names == b.names and np.array_equal(a.vectors, b.vectors))


def _stops(problem: Problem, config: ScGREATConfig) -> bool:
    """Tell whether validation decides when training ends."""
    return bool(config.patience) and _both_kinds(problem.validation)


def _both_kinds(labels: Float[np.ndarray, "regulators genes"]) -> bool:
    return bool((labels == 1).any() and (labels == 0).any())


def _check_config(config: ScGREATConfig) -> None:
    counts = ("hidden", "width", "layers", "heads", "feed_forward", "batch_size", "epochs")
    for name in (*counts, "decay_every", "validation_pairs"):
        if getattr(config, name) < 1:
            raise ValueError(f"Expected {name} of at least 1, found {getattr(config, name)}.")
    if config.steps < 0 or config.patience < 0 or not (config.rate > 0 and config.decay > 0):
        raise ValueError(
            "Expected steps and patience of 0 or more, rate and decay above 0, found "
            f"steps={config.steps}, patience={config.patience}, rate={config.rate} and "
            f"decay={config.decay}."
        )
    if config.norm not in ("post", "pre") or config.optimiser not in ("adam_clipped", "adam"):
        raise ValueError(
            "Expected norm post or pre and optimiser adam_clipped or adam, found "
            f"{config.norm!r} and {config.optimiser!r}."
        )
    if config.width % config.heads:
        raise ValueError(
            f"Expected a number of heads that divides the width, found {config.heads} heads for a "
            f"width of {config.width}."
        )
    if not config.head or min(config.head) < 1 or config.head[0] % config.head[-1]:
        raise ValueError(
            "Expected units of the final network whose last number divides the first, found "
            f"head={config.head}."
        )
    if not (0 <= config.dropout < 1 and 0 <= config.head_dropout < 1):
        raise ValueError(
            "Expected shares of dropped units from 0 to below 1, found "
            f"dropout={config.dropout} and head_dropout={config.head_dropout}."
        )


def _check_problem(problem: Problem, config: ScGREATConfig) -> None:
    if not _both_kinds(problem.labels):
        raise ValueError(
            f"{problem.data.name}: expected training labels 1 and 0, found "
            f"{int((problem.labels == 1).sum())} edges and {int((problem.labels == 0).sum())} "
            "other pairs; scGREAT learns from both."
        )
    if config.embedding is not None and config.embedding not in problem.embeddings:
        raise ValueError(
            f"{problem.data.name}: found no embedding {config.embedding!r}, only "
            f"{', '.join(problem.embeddings) or 'none at all'}; name one of them, or None for "
            "expression alone."
        )
