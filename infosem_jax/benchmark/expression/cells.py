"""One cell of the grid: what one method inferred from some inputs of one data set and seed."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from infosem_jax.benchmark.store import Store
from infosem_jax.expression.metrics import evaluate, gene_pearson
from infosem_jax.expression.recall import gene_recall
from infosem_jax.expression.task import Prediction, Problem, comparable, unscale
from infosem_jax.scores import NINETY

SHOWN = 4


class At(NamedTuple):
    """Place of a cell in the grid.

    Attributes
    ----------
    dataset
        The data that methods learned from.
    network
        The data that the truth of the test comes from: the same, another platform of the same
        samples, or another cohort.
    genes
        The inputs: how they were chosen and how many, and after ``+`` the labels known besides.
    method, split, seed
        As everywhere; the split is ``cohort`` where the test is on other samples altogether.
    """

    dataset: str
    network: str
    genes: str
    method: str
    split: str
    seed: int


class Cell(NamedTuple):
    """What was measured there.

    Attributes
    ----------
    at
        Its place.
    metrics
        Those of `expression.metrics.evaluate`; ``within_90``, the share of values within the
        stated 90 % interval; and ``n_inputs``.
    seconds
        Time that the method took, learning and inferring.
    sizes
        Numbers of training, validation and test samples, and of targets.
    inputs
        Names of the measured genes.
    shown
        Names of some targets, from small to large variance.
    pearson, recall
        Of each target, [targets].
    observed, inferred, sd
        Of the shown genes, in units of the data, [test, shown].
    """

    at: At
    metrics: dict[str, float]
    seconds: float
    sizes: tuple[int, int, int, int]
    inputs: tuple[str, ...]
    shown: tuple[str, ...]
    pearson: Float[np.ndarray, " targets"]
    recall: Float[np.ndarray, " targets"]
    observed: Float[np.ndarray, "test shown"]
    inferred: Float[np.ndarray, "test shown"]
    sd: Float[np.ndarray, "test shown"]

    @property
    def shared(self) -> float:
        """Ratio of test to training samples, which seeds split anew."""
        return self.sizes[2] / self.sizes[0]


def measure(at: At, problem: Problem, prediction: Prediction, seconds: float) -> Cell:
    """Measure an inference of the test samples.

    Parameters
    ----------
    at
        Place in the grid.
    problem
        The task with its truth.
    prediction
        In scaled units.
    seconds
        Time that the method took.

    Raises
    ------
    ValueError
        If the prediction is not of the test samples and targets, or not finite.
    """
    task = problem.task
    if prediction.mean.shape != problem.y_test.shape:
        raise ValueError(
            f"Expected values of shape {problem.y_test.shape}, found {prediction.mean.shape}."
        )
    truth, mean = comparable(problem, prediction)
    train, _ = comparable(problem._replace(y_test=task.y_train), Prediction(task.y_train))
    metrics = evaluate(mean, truth, train)
    observed = unscale(Prediction(problem.y_test), problem.y_scaling).mean
    inferred = unscale(prediction, problem.y_scaling)
    within = np.nan
    sd = np.full_like(observed, np.nan)
    if inferred.sd is not None:
        sd = inferred.sd
        within = float((np.abs(observed - inferred.mean) <= NINETY * sd).mean())
    metrics |= {"within_90": within, "n_inputs": float(len(task.inputs))}
    order = np.argsort(unscale(Prediction(task.y_train), problem.y_scaling).mean.var(0))
    n = min(SHOWN, len(order))
    at_genes = order[np.linspace(len(order) // 2, len(order) - 1, n).round().astype(int)]
    return Cell(
        at,
        {name: float(value) for name, value in metrics.items()},
        float(seconds),
        (len(task.x_train), len(task.x_valid), len(truth), len(task.targets)),
        task.inputs,
        tuple(task.targets[i] for i in at_genes),
        gene_pearson(truth, mean).astype(np.float32),
        gene_recall(truth, mean).recall.astype(np.float32),
        *(each[:, at_genes].astype(np.float32) for each in (observed, inferred.mean, sd)),
    )


# The column ``network`` holds the data that the truth comes from, ``genes`` the inputs.
STORE = Store("expression", At, Cell, ("dataset", "network", "split", "genes", "method"))
