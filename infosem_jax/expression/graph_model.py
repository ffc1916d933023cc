"""Fit the graph network to a task and infer expression with it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int

from infosem_jax.engine.early_stopping import train
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Losses, Progress
from infosem_jax.expression import network
from infosem_jax.expression.baselines import ridge_path
from infosem_jax.expression.graph import GeneGraph, gene_graph
from infosem_jax.expression.network import GraphConfig, Wiring
from infosem_jax.expression.objective import Objective, Parts, Pool, in_blocks
from infosem_jax.expression.task import Prediction, Task

# Least share of a member's squared error that the mean of all is taken to have.
LEAST_SHARE = 0.1
# Of the regression that a network builds upon, see `baselines.ridge_path`.
STRENGTHS = tuple(np.logspace(-3, 2, 11).tolist())
FOLDS = 5
DEFAULT = GraphConfig()


class Line(NamedTuple):
    """A linear prediction, ``x @ slope + offset``, that the network builds upon."""

    slope: Float32[np.ndarray, "inputs targets"]
    offset: Float32[np.ndarray, " targets"]


class FittedGraph(NamedTuple):
    """A fitted network.

    Attributes
    ----------
    inputs, targets
        Names of genes.
    n_covariates
        Number of one-hot covariates of the task.
    config
        Settings.
    graph
        Genes and edges.
    params
        Parameters, with a leading axis of members.
    line
        What the network builds upon; None if nothing.
    deviation
        Of what the network was fitted to, per target.
    calibration
        Factor on the deviations that makes them right on average in samples not learned from.
    losses
        Of each member and epoch; those of held-out samples NaN where they were not evaluated.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    n_covariates: int
    config: GraphConfig
    graph: GeneGraph
    params: Any
    line: Line | None
    deviation: Float32[np.ndarray, " targets"]
    calibration: float
    losses: Losses


def fit_graph(
    task: Task,
    config: GraphConfig = DEFAULT,
    *,
    seed: int = 0,
    folds: Int[np.ndarray, " samples"] | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
    number: int = 0,
) -> FittedGraph:
    """Fit the network, or several that are averaged, until held-out samples gain no more.

    A single member learns from the training samples and is evaluated on the validation samples.
    Several share all of these out: each is evaluated on another part, and learns from the rest.

    Parameters
    ----------
    task
        Expression, scaled.
    config
        Settings.
    seed
        Seeds the random numbers.
    folds
        Fold of each training and, after them, validation sample, one for each member; drawn at
        random where None.
    on_chunk
        Told of progress after each evaluation on held-out samples.
    saver, number
        Saves training under this number, and goes on from what was saved.

    Raises
    ------
    ValueError
        If there are more members than samples, a single one and no validation samples, or attention
        is asked for of too many genes.
    FloatingPointError
        If every member diverged.
    """
    x = np.concatenate([task.x_train, task.x_valid])
    y = np.concatenate([task.y_train, task.y_valid])
    covariate = np.concatenate([task.covariate_train, task.covariate_valid])
    if folds is None:
        parts = _parts(len(task.x_train), len(x), config.members, seed)
    else:
        parts = _parts_of(folds, seed)
    nodes, feature = _place_covariate(x, covariate, config)
    graph = gene_graph(
        task,
        config.neighbours,
        similarity=config.similarity,
        side=config.side,
        extra=nodes.shape[1] - x.shape[1],
    )
    line, left = _left_over(x, y, seed) if config.skip == "ridge" else (None, y)
    wiring = network.wire(graph, left.std(0), config)
    objective = Objective(_compiled(config), network.shape_of(graph, feature.shape[1]))
    pool = Pool(nodes, feature, left, wiring)
    trained = train(
        objective,
        parts,
        pool,
        replace(pool, held_out=True),
        rate=config.rate,
        batch_size=config.batch_size,
        epochs=config.epochs,
        check_every=config.check_every,
        patience=config.stop_after * config.check_every,
        seed=seed,
        clip=config.clip,
        halve_after=config.halve_after,
        on_chunk=on_chunk,
        saver=saver,
        number=number,
    )
    if not trained.converged.any():
        raise FloatingPointError(
            "Every member of the graph network diverged; lower the learning rate, or scale "
            "expression per gene."
        )
    kept = np.flatnonzero(trained.converged)
    params = jax.tree.map(lambda leaf: leaf[kept], trained.params)
    calibration = _calibrate(config, params, wiring, nodes, feature, left, parts.valid[kept])
    return FittedGraph(
        inputs=task.inputs,
        targets=task.targets,
        n_covariates=covariate.shape[1],
        config=config,
        graph=graph,
        params=params,
        line=line,
        deviation=left.std(0),
        calibration=calibration,
        losses=trained.losses,
    )


def predict_graph(
    fitted: FittedGraph,
    x: Float32[np.ndarray, "samples inputs"],
    covariate: Float32[np.ndarray, "samples c"] | None = None,
) -> Prediction:
    """Infer the targets of some samples.

    The deviation joins the scale that each member predicts with how far members differ.

    Parameters
    ----------
    fitted
        The network.
    x
        Input genes, scaled as in training.
    covariate
        One-hot covariates; None if it was fitted without.

    Raises
    ------
    ValueError
        If inputs or covariates are not as many as in training.
    """
    if covariate is None:
        covariate = np.zeros((len(x), 0), np.float32)
    means, variance = predict_members(fitted, x, covariate)
    return Prediction(means.mean(0), fitted.calibration * np.sqrt(variance))


def predict_members(
    fitted: FittedGraph,
    x: Float32[np.ndarray, "samples inputs"],
    covariate: Float32[np.ndarray, "samples c"],
) -> tuple[Float32[np.ndarray, "members samples targets"], Float32[np.ndarray, "samples targets"]]:
    """Return what each member infers, and the variance over all before calibration.

    Parameters
    ----------
    fitted, x, covariate
        As of `predict_graph`.

    Raises
    ------
    ValueError
        As of `predict_graph`.
    """
    _check_inputs(fitted, x, covariate)
    config = fitted.config
    nodes, feature = _place_covariate(x, covariate, config)
    wiring = network.wire(fitted.graph, fitted.deviation, config)
    means, variance = _members(config, fitted.params, wiring, nodes, feature)
    if fitted.line is not None:
        means = means + (x @ fitted.line.slope + fitted.line.offset)
    return means, variance


def _check_inputs(fitted: FittedGraph, x: np.ndarray, covariate: np.ndarray) -> None:
    if x.shape[1] != len(fitted.inputs):
        raise ValueError(
            f"Expected the {len(fitted.inputs)} inputs of the fit, found {x.shape[1]}; see "
            "FittedGraph.inputs for their order."
        )
    how = fitted.config.covariate
    if how != "none" and covariate.shape[1] != fitted.n_covariates:
        raise ValueError(
            f"Expected the {fitted.n_covariates} covariates of the fit, found {covariate.shape[1]}."
        )


def _parts(n_train: int, n: int, members: int, seed: int) -> Parts:
    """Share samples out to members; every part has the same length, so a few may be left out."""
    if members == 1:
        if n_train == n:
            raise ValueError("Expected validation samples for a single member, found none.")
        return Parts(np.arange(n_train)[None], np.arange(n_train, n)[None])
    if members > n:
        raise ValueError(f"Expected at most one member per sample, {n}, found {members}.")
    order = np.random.default_rng(seed).permutation(n)
    size = n // members
    valid = order[: size * members].reshape(members, size)
    return Parts(np.stack([np.setdiff1d(order, own) for own in valid]), valid)


def _parts_of(folds: Int[np.ndarray, " samples"], seed: int) -> Parts:
    """Hold a fold out of each member; members learn from, and are evaluated on, equally many."""
    order = np.random.default_rng(seed).permutation(len(folds))
    held = [order[folds[order] == fold] for fold in range(folds.max() + 1)]
    kept = [order[folds[order] != fold] for fold in range(folds.max() + 1)]
    least = [min(map(len, parts)) for parts in (kept, held)]
    return Parts(
        *(
            np.stack([own[:n] for own in parts])
            for n, parts in zip(least, (kept, held), strict=True)
        )
    )


def _compiled(config: GraphConfig) -> GraphConfig:
    """Keep the settings that a program depends on, so that fits that differ in others share it."""
    others = ("neighbours", "similarity", "side", "covariate", "skip", "rate", "batch_size")
    others += ("epochs", "check_every", "halve_after", "stop_after", "members")
    return replace(config, **{name: getattr(DEFAULT, name) for name in others})


def _place_covariate(
    x: Float32[np.ndarray, "samples inputs"],
    covariate: Float32[np.ndarray, "samples c"],
    config: GraphConfig,
) -> tuple[Float32[np.ndarray, "samples nodes"], Float32[np.ndarray, "samples features"]]:
    """Return the values of the nodes that send to all, and the features of every node."""
    if config.covariate == "nodes":
        return np.concatenate([x, covariate], 1), covariate[:, :0]
    return x, covariate if config.covariate == "feature" else covariate[:, :0]


def _left_over(
    x: Float32[np.ndarray, "samples inputs"], y: Float32[np.ndarray, "samples targets"], seed: int
) -> tuple[Line, Float32[np.ndarray, "samples targets"]]:
    """Fit a ridge regression, and return what regressions that have not seen a sample leave of it.

    One that has seen it leaves less than on new samples, for which the network is meant.
    """
    folds = np.arange(len(x)) % FOLDS
    np.random.default_rng(seed).shuffle(folds)
    left = np.empty((len(STRENGTHS), *y.shape), np.float32)
    for fold in range(FOLDS):
        out = folds == fold
        unseen = ridge_path(x[~out], y[~out], x[out], STRENGTHS)
        left[:, out] = [y[out] - inferred for inferred in unseen]
    best = int(np.square(left).mean((1, 2)).argmin())
    probe = np.eye(x.shape[1] + 1, x.shape[1], -1, np.float32)
    (values,) = ridge_path(x, y, probe, STRENGTHS[best : best + 1])
    return Line(values[1:] - values[0], values[0]), left[best]


def _calibrate(
    config: GraphConfig,
    params: Any,
    wiring: Wiring,
    nodes: np.ndarray,
    feature: np.ndarray,
    y: Float32[np.ndarray, "samples targets"],
    held_out: Int[np.ndarray, "members valid"],
) -> float:
    """Return the factor on deviations that makes them right for samples no member has seen.

    Of a sample that a member has not seen, the others have. Its own squared error is that of the
    mean over members plus their variance, on average, so this is taken off.
    """
    off, own, apart = [], [], []
    for i, held in enumerate(held_out):
        means, variance = _members(config, params, wiring, nodes[held], feature[held])
        error = np.square(y[held] - means[i])
        off.append((error / variance).mean())
        own.append(error.mean())
        apart.append(means.var(0).mean())
    return float(np.sqrt(np.mean(off) * max(LEAST_SHARE, 1 - np.mean(apart) / np.mean(own))))


def _members(
    config: GraphConfig, params: Any, wiring: Wiring, nodes: np.ndarray, feature: np.ndarray
) -> tuple[Float32[np.ndarray, "members samples targets"], Float32[np.ndarray, "samples targets"]]:
    """Return the means of each member, and the variance over all before calibration."""
    means, log_scales = _predict_members(_compiled(config), params, wiring, nodes, feature)
    means, scales = np.asarray(means), np.exp(log_scales)
    # The variance of a Laplace distribution is twice the square of its scale.
    variance = (2 if config.loss == "l1" else 1) * np.square(scales)
    return means, variance.mean(0) + means.var(0)


@partial(jax.jit, static_argnames="config")
def _predict_members(config: GraphConfig, params: Any, wiring: Wiring, x: Array, feature: Array):
    return lax.map(lambda own: in_blocks(config, own, wiring, x, feature), params)
