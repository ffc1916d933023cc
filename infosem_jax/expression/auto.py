"""Ridge, least squares, neighbours, a kernel and the graph network, joined by weights of each gene.

Every part infers each training sample without having learned from its fold. These predictions give
the weights, see `joining`: a part counts for a gene where it helps, and vanishes where it does not.
The network of each fold is a member of the ensemble that is used; all other parts learn again from
all samples.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, Int

from infosem_jax._settings import check
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Progress
from infosem_jax.expression import baselines
from infosem_jax.expression.baselines import Path, kernel_path, nearest_path, ridge_path
from infosem_jax.expression.graph_model import FittedGraph, fit_graph, predict_members
from infosem_jax.expression.joining import inner_folds, join
from infosem_jax.expression.network import GraphConfig
from infosem_jax.expression.task import Prediction, Task

# From so many products in a layer, over all folds, the network is a small one: minutes, not hours.
MANY_PRODUCTS = 1.5e8
SMALL = {"layers": 2, "channels": 8}
# Parts without a network: how each infers, for one setting after the other.
PATHS: Mapping[str, Path] = {
    "least_squares": ridge_path,
    "ridge": ridge_path,
    "knn": nearest_path,
    "kernel": kernel_path,
}


@dataclass(frozen=True)
class AutoConfig:
    """Settings of the joined prediction.

    Attributes
    ----------
    network
        Whether the graph network takes part.
    folds
        Of the training and validation samples; whole groups of samples where the test is by such.
    budget
        Minutes; a network that will not be ready in this time is left out, and a note says so.
        0 sets no limit.
    graph
        Settings of the network but for the number of members, which is that of the folds. Two
        layers of eight channels are taken where samples and genes are many.
    """

    network: bool = True
    folds: int = 5
    budget: float = 0.0
    graph: GraphConfig = field(default_factory=GraphConfig)

    def __post_init__(self):
        check(self, least={2: ["folds"], 0: ["budget"]})


DEFAULT = AutoConfig()


class FittedAuto(NamedTuple):
    """A fitted joined prediction.

    Attributes
    ----------
    x, y
        Samples that the parts without a network learn from, inputs and covariates side by side.
    covariate_size
        Factor on covariates among them.
    settings
        Of each part without a network, by name.
    network
        The graph network; None where it was left out.
    weights
        Of each part for each target, those without a network first; they add to 1,
        [parts, targets].
    sd
        Of the error in samples that neither parts nor weights were learned from, [targets].
    notes
        What was left out and why, in sentences.
    """

    x: Float32[np.ndarray, "samples features"]
    y: Float32[np.ndarray, "samples targets"]
    covariate_size: float
    settings: dict[str, Any]
    network: FittedGraph | None
    weights: Float32[np.ndarray, "parts targets"]
    sd: Float32[np.ndarray, " targets"]
    notes: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in the order of the weights."""
        return (*self.settings, *(() if self.network is None else ("graph",)))


def fit_auto(
    task: Task,
    config: AutoConfig = DEFAULT,
    *,
    seed: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
    number: int = 0,
) -> FittedAuto:
    """Fit all parts, and learn from folds of the training and validation samples how to join them.

    Parameters
    ----------
    task
        Expression, scaled.
    config
        Settings.
    seed
        Seeds folds and network.
    on_chunk
        Told of the progress of the network.
    saver, number
        Saves the training of the network under this number, and goes on from what was saved.

    Raises
    ------
    ValueError
        If all samples are of one group.
    """
    began = time.monotonic()
    y, size = np.concatenate([task.y_train, task.y_valid]), baselines.covariate_size(task)
    x = np.concatenate(baselines.features(task)[:2])
    folds = inner_folds(_groups(task), config.folds, seed)
    settings, found = {}, []
    for name, choices in _choices(len(x) - int(np.bincount(folds).max())).items():
        settings[name], inferred = _by_folds(PATHS[name], choices, x, y, folds)
        found.append(inferred)
    network, notes = None, ()
    if config.network:
        left = 60 * config.budget - (time.monotonic() - began) if config.budget else np.inf
        try:
            network = fit_graph(
                task,
                _sized(config.graph, task, folds),
                seed=seed,
                folds=folds,
                on_chunk=_watch(left, on_chunk),
                saver=saver,
                number=number,
            )
            found.append(_members_by_folds(network, task, folds))
        except _LeftOutError as reason:
            network, notes = None, (f"The network was left out: {reason}.",)
    joined = join(np.stack(found) - y, folds, task.groups)
    sd = np.sqrt(np.square(joined.error).mean(0))
    return FittedAuto(x, y, size, settings, network, joined.weights, sd, notes)


def predict_auto(
    fitted: FittedAuto,
    x: Float32[np.ndarray, "samples inputs"],
    covariate: Float32[np.ndarray, "samples c"],
) -> Prediction:
    """Infer the targets of some samples.

    Parameters
    ----------
    fitted
        The fit.
    x
        Input genes, scaled as in training.
    covariate
        One-hot covariates.
    """
    features = np.concatenate([x, fitted.covariate_size * covariate], 1).astype(np.float32)
    found = [
        next(iter(PATHS[name](fitted.x, fitted.y, features, (setting,))))
        for name, setting in fitted.settings.items()
    ]
    if fitted.network is not None:
        found.append(predict_members(fitted.network, x, covariate)[0].mean(0))
    mean = sum(weight * own for weight, own in zip(fitted.weights, found, strict=True))
    return Prediction(np.asarray(mean, np.float32), np.tile(fitted.sd, (len(x), 1)))


class _LeftOutError(Exception):
    """Why a part cannot be joined."""


def _groups(task: Task) -> Int[np.ndarray, " samples"]:
    if task.groups is None:
        return np.arange(len(task.x_train) + len(task.x_valid))
    return task.groups


def _choices(least: int) -> dict[str, Sequence]:
    """Return the settings to choose from for each part, where folds leave so many samples."""
    return {
        "least_squares": (0.0,),
        "ridge": baselines.STRENGTHS,
        "knn": [k for k in baselines.NEIGHBOURS if k <= least] or [least],
        "kernel": tuple(product(baselines.POWERS, baselines.KERNEL_STRENGTHS)),
    }


def _by_folds(
    path: Path, settings: Sequence, x: np.ndarray, y: np.ndarray, folds: np.ndarray
) -> tuple[Any, np.ndarray]:
    """Return the setting with the least error, and each sample inferred by other folds.

    The error is the root mean square of each gene, summed over genes: of squares, a few genes of a
    tissue unlike all others would be nearly the whole sum.
    """
    square, inferred = np.zeros((len(settings), y.shape[1])), np.empty_like(y)
    names = np.unique(folds)
    for fold in names:
        own = folds == fold
        for i, values in enumerate(path(x[~own], y[~own], x[own], settings)):
            square[i] += np.square(values - y[own]).sum(0, dtype=np.float64)
    best = settings[int(np.sqrt(square).sum(1).argmin())]
    # Predictions of all settings may not fit into memory, so those of the best are made again.
    for fold in names:
        own = folds == fold
        inferred[own] = next(iter(path(x[~own], y[~own], x[own], (best,))))
    return best, inferred


def _members_by_folds(network: FittedGraph, task: Task, folds: np.ndarray) -> np.ndarray:
    """Infer each sample by the member that has not learned from its fold."""
    count = folds.max() + 1
    if len(jax.tree.leaves(network.params)[0]) < count:
        raise _LeftOutError("its training diverged on some of the folds")
    x = np.concatenate([task.x_train, task.x_valid])
    covariate = np.concatenate([task.covariate_train, task.covariate_valid])
    inferred = np.empty((len(x), len(task.targets)), np.float32)
    for fold in range(count):
        own = folds == fold
        inferred[own] = predict_members(network, x[own], covariate[own])[0][fold]
    return inferred


def _sized(config: GraphConfig, task: Task, folds: np.ndarray) -> GraphConfig:
    """Set as many members as folds, and take the small network where the task is large."""
    config = replace(config, members=int(folds.max()) + 1)
    products = config.members * len(folds) * len(task.inputs) * len(task.targets)
    return replace(config, **SMALL) if products > MANY_PRODUCTS else config


def _watch(
    left: float, on_chunk: Callable[[Progress], None] | None
) -> Callable[[Progress], None] | None:
    """Pass progress on, and stop training once its pace shows that it takes more seconds."""
    if left == np.inf:
        return on_chunk
    began, first = time.monotonic(), []

    def told(progress: Progress) -> None:
        if on_chunk is not None:
            on_chunk(progress)
        spent = time.monotonic() - began
        # The first chunk compiles, and says nothing of the pace.
        first.append((progress.done, spent))
        done = progress.done - first[0][0]
        pace = (spent - first[0][1]) / done if done else 0.0
        needed = spent + pace * (progress.total - progress.done)
        if needed > left and progress.done < progress.total:
            raise _LeftOutError(
                f"it would take about {needed / 60:.1f} minutes, and the budget leaves it "
                f"{max(left, 0) / 60:.1f}"
            )

    return told
