"""One cell of the grid: what one method inferred from some inputs of one data set and seed."""

import json
import re
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax._typing import Path
from infosem_jax.benchmark.cell import COLUMNS
from infosem_jax.data._files import atomic_write, load_npz, reading
from infosem_jax.expression.completed import NINETY
from infosem_jax.expression.metrics import evaluate, gene_pearson
from infosem_jax.expression.recall import gene_recall
from infosem_jax.expression.task import Prediction, Problem, comparable, unscale

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
    metrics = evaluate(truth, mean, train)
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


def path_of(out: Path, at: At) -> FilePath:
    """Return the file of a cell in an output folder."""
    names = (at.dataset, at.network, at.split, at.genes, at.method)
    folder = FilePath(out, "cells", *(re.sub(r"[^\w .+=()-]|^\.", "_", name) for name in names))
    return folder / f"{at.seed}.npz"


def write_cell(out: Path, cell: Cell) -> None:
    """Write a cell to its file, whole or not at all.

    Raises
    ------
    OSError
        If writing fails, for instance on a full disk.
    """
    path = path_of(out, cell.at)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([getattr(cell, name) for name in _TEXT])
    arrays = {name: getattr(cell, name) for name in _ARRAYS}
    with atomic_write(path) as draft:
        np.savez_compressed(draft, allow_pickle=False, text=np.asarray(text), **arrays)


def read_cell(path: Path) -> Cell:
    """Read what :func:`write_cell` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no cell, or damaged.
    """
    found = load_npz(path)
    with reading(path, "cell of a benchmark"):
        at, metrics, seconds, sizes, inputs, shown = json.loads(str(found["text"]))
        cell = Cell(
            At(*at), metrics, seconds, tuple(sizes), tuple(inputs), tuple(shown),
            **{name: found[name] for name in _ARRAYS},
        )  # fmt: skip
        if path_of("", cell.at).parts[1:] != FilePath(path).parts[-6:]:
            raise ValueError(f"it belongs to {cell.at}; was it moved?")
        return cell


def read_cells(out: Path) -> list[Cell]:
    """Read all cells of an output folder, in order of their places.

    Raises
    ------
    ValueError
        If one of them is damaged.
    """
    paths = FilePath(out, "cells").glob("*/*/*/*/*/[0-9]*.npz")
    return sorted((read_cell(path) for path in paths), key=lambda cell: cell.at)


def results_table(cells: list[Cell]) -> pd.DataFrame:
    """List every metric of every cell in a row, with the columns of ``results.csv``.

    ``network`` holds the data that the truth comes from, ``genes`` the inputs; see :class:`At`.
    """
    rows = [
        {
            "task": "expression",
            **cell.at._asdict(),
            "metric": name,
            "value": value,
            "seconds": cell.seconds,
        }
        for cell in cells
        for name, value in cell.metrics.items()
    ]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


_TEXT = ("at", "metrics", "seconds", "sizes", "inputs", "shown")
_ARRAYS = ("pearson", "recall", "observed", "inferred", "sd")
