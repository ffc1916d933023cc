"""What the graph network is compared with: methods without a graph, behind one signature.

Covariates, where a task has some, are further inputs of every method but the mean. What a method
chooses (strength, number of neighbours, when to stop), it chooses by the mean squared error on the
validation samples. The methods without a stopping time (mean, least squares, ridge, nearest
neighbours) are then fitted again to training and validation samples together, as their users
would. Standard deviations are those of each gene's errors on the validation samples, or of its
values where the method is the mean.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, product
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.distance import cdist

from infosem_jax.expression.mlp import MLPConfig, apply_mlp, train_mlp
from infosem_jax.expression.task import Prediction, Task
from infosem_jax.expression.trees import TreesConfig, boost

MLP, TREES = MLPConfig(), TreesConfig()
STRENGTHS = tuple(np.logspace(-4, 3, 29).tolist())
POWERS = (0.5, 1.0, 1.5)
KERNEL_STRENGTHS = tuple(np.logspace(-4, 2, 13).tolist())
NEIGHBOURS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)

Path: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence], Iterator[np.ndarray]]


class Features(NamedTuple):
    """Inputs and covariates side by side, [samples, features] each."""

    train: Float32[np.ndarray, "train features"]
    valid: Float32[np.ndarray, "valid features"]
    test: Float32[np.ndarray, "test features"]


def features(task: Task) -> Features:
    """Put inputs and covariates side by side.

    Covariates are multiplied by the typical deviation of an input, so that penalties and distances
    mean the same for both, whatever the scaling of the task.
    """
    size = covariate_size(task)
    return Features(
        np.concatenate([task.x_train, size * task.covariate_train], 1),
        np.concatenate([task.x_valid, size * task.covariate_valid], 1),
        np.concatenate([task.x_test, size * task.covariate_test], 1),
    )


def covariate_size(task: Task) -> float:
    """Return the typical deviation of an input, which covariates are multiplied by."""
    return float(_typical(task.x_train)[1])


def mean(task: Task) -> Prediction:
    """Infer the mean of each gene."""
    y = np.concatenate([task.y_train, task.y_valid])
    shape = (len(task.x_test), len(task.targets))
    return Prediction(np.tile(y.mean(0), (shape[0], 1)), np.tile(y.std(0), (shape[0], 1)))


def least_squares(task: Task) -> Prediction:
    """Infer by least squares without a penalty, the shortest solution where there are many."""
    return _by_validation(task, ridge_path, (0.0,))


def ridge(task: Task, *, strengths: Sequence[float] = STRENGTHS) -> Prediction:
    """Infer by least squares with a penalty on squared coefficients (see `ridge_path`).

    One of the ``strengths`` is chosen for all genes.
    """
    return _by_validation(task, ridge_path, strengths)


def nearest(task: Task, *, neighbours: Sequence[int] = NEIGHBOURS) -> Prediction:
    """Infer the mean of the training samples whose inputs are nearest (Euclidean distance).

    One of the numbers of ``neighbours`` is chosen; those above that of samples are passed over.
    """
    usable = sorted(k for k in neighbours if k <= len(task.x_train)) or [len(task.x_train)]
    return _by_validation(task, nearest_path, usable)


def kernel(
    task: Task, *, powers: Sequence[float] = POWERS, strengths: Sequence[float] = KERNEL_STRENGTHS
) -> Prediction:
    """Infer by kernel ridge regression with a kernel of distances (see `kernel_path`).

    Parameters
    ----------
    task
        The task.
    powers, strengths
        Candidates, of which one pair is chosen for all genes by its error on validation samples.
    """
    return _by_validation(task, kernel_path, tuple(product(powers, strengths)))


def mlp(task: Task, seed: int, config: MLPConfig = MLP) -> Prediction:
    """Infer by a multilayer perceptron, after D-GEX.

    It works on centred values of typical deviation 1, so that its settings mean the same whatever
    the scaling of the task; genes keep their weights relative to each other.

    Parameters
    ----------
    task, seed
        As of every method.
    config
        Settings.
    """
    x, (y_mean, y_size) = features(task), _typical(task.y_train)
    x_mean, x_size = _typical(x.train)
    x = Features(*((part - x_mean) / x_size for part in x))
    y, y_valid = (task.y_train - y_mean) / y_size, (task.y_valid - y_mean) / y_size
    params = train_mlp(x.train, y, x.valid, y_valid, config, seed)
    inferred, known = (y_mean + y_size * apply_mlp(params, part, config) for part in x[:0:-1])
    return _with_errors(inferred, task.y_valid - known)


def trees(task: Task, config: TreesConfig = TREES) -> Prediction:
    """Infer by gradient-boosted trees on principal components of the targets."""
    x = features(task)
    valid, test = boost(x.train, task.y_train, x.valid, task.y_valid, x.test, config)
    return _with_errors(test, task.y_valid - valid)


def ridge_path(
    x: Float[np.ndarray, "samples features"],
    y: Float[np.ndarray, "samples targets"],
    new: Float[np.ndarray, "others features"],
    strengths: Sequence[float],
) -> Iterator[Float32[np.ndarray, "others targets"]]:
    """Infer the targets of new samples for each strength, from one singular value decomposition.

    Coefficients minimise ``|y - x b|^2 / n + strength v |b|^2`` for centred ``x`` and ``y``, with
    ``v`` the mean variance of the features, so that a strength means the same for any number of
    samples and any units. Strength 0 gives the shortest of the least-squares solutions.

    Parameters
    ----------
    x, y
        Training samples.
    new
        Samples to infer.
    strengths
        Of the penalty, at least 0.
    """
    x_mean, y_mean = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    u, s, axes = np.linalg.svd(x - x_mean, full_matrices=False)
    rank = int((s > s.max(initial=0) * max(x.shape) * np.finfo(np.float32).eps).sum())
    u, s, axes = u[:, :rank], s[:rank], axes[:rank]
    fitted = (u.T @ (y - y_mean)).astype(np.float32)
    place = (new - x_mean) @ axes.T
    unit = (s**2).sum() / x.shape[1]
    for strength in strengths:
        shrunk = (place * (s / (s**2 + strength * unit))).astype(np.float32)
        yield shrunk @ fitted + y_mean.astype(np.float32)


def kernel_path(
    x: Float[np.ndarray, "samples features"],
    y: Float[np.ndarray, "samples targets"],
    new: Float[np.ndarray, "others features"],
    settings: Sequence[tuple[float, float]],
) -> Iterator[Float32[np.ndarray, "others targets"]]:
    """Infer the targets of new samples by kernel ridge regression, for each power and strength.

    The kernel is that of fractional Brownian motion, ``(|a|^p + |b|^p - |a - b|^p) / 2`` of samples
    a and b, centred: ridge regression at power p = 2, and the more local the lower the power. The
    penalty is ``strength`` times the mean of the kernel over pairs of a sample with itself.

    Parameters
    ----------
    x, y
        Training samples.
    new
        Samples to infer.
    settings
        Pairs of a power, above 0 and at most 2, and a strength, above 0; one decomposition serves
        those of one power that follow each other.

    References
    ----------
    Bergsma, Econometrics and Statistics 2020 (regression with I-priors).
    """
    y_mean = y.mean(0, dtype=np.float64).astype(np.float32)
    for power, group in groupby(settings, itemgetter(0)):
        # Centred, only the distances are left of the kernel.
        gram, cross = (-0.5 * cdist(each, x) ** power for each in (x, new))
        of_training = gram.mean(0)
        cross += of_training.mean() - of_training - cross.mean(1, keepdims=True)
        gram += of_training.mean() - of_training - of_training[:, None]
        unit = max(float(np.trace(gram)) / len(x), 1e-30)
        value, vector = np.linalg.eigh(gram)
        fitted = (vector.T @ (y - y_mean)).astype(np.float32)
        place = cross @ vector
        for _, strength in group:
            shrunk = place / (value.clip(0) + strength * unit)
            yield shrunk.astype(np.float32) @ fitted + y_mean


def nearest_path(
    x: Float[np.ndarray, "samples features"],
    y: Float[np.ndarray, "samples targets"],
    new: Float[np.ndarray, "others features"],
    neighbours: Sequence[int],
) -> Iterator[Float32[np.ndarray, "others targets"]]:
    """Infer the targets of new samples by the mean of the k nearest, for each k in rising order.

    Parameters
    ----------
    x, y
        Training samples.
    new
        Samples to infer.
    neighbours
        Numbers of neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=max(neighbours)).fit(x).kneighbors(new)[1]
    total = np.zeros((len(new), y.shape[1]), np.float32)
    done = 0
    for k in neighbours:
        for column in index[:, done:k].T:
            total += y[column]
        done = k
        yield total / np.float32(k)


def _by_validation(task: Task, path: Path, settings: Sequence) -> Prediction:
    x = features(task)
    best, error, chosen = np.inf, task.y_valid, settings[0]
    inferred = path(x.train, task.y_train, x.valid, settings)
    for setting, values in zip(settings, inferred, strict=True):
        gap = task.y_valid - values
        if (size := float((gap**2).mean())) < best:
            best, error, chosen = size, gap, setting
    x_all = np.concatenate([x.train, x.valid])
    y_all = np.concatenate([task.y_train, task.y_valid])
    return _with_errors(next(path(x_all, y_all, x.test, (chosen,))), error)


def _typical(x: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Return the mean of each column, and the typical deviation of all."""
    return x.mean(0), np.maximum(np.sqrt(x.var(0).mean()), np.float32(1e-12))


def _with_errors(inferred: np.ndarray, error: np.ndarray) -> Prediction:
    sd = np.sqrt((error**2).mean(0))  # of each gene, alike for all samples
    return Prediction(
        inferred.astype(np.float32), np.tile(sd.astype(np.float32), (len(inferred), 1))
    )
