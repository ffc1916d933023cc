"""One cell of the grid: what one method predicted of one data set, graph, split and seed."""

import json
import re
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int

from infosem_jax._typing import Path
from infosem_jax.benchmark.cell import COLUMNS
from infosem_jax.data._files import atomic_write, load_npz, reading
from infosem_jax.perturbation.metrics import Scores

SHOWN = 4


class At(NamedTuple):
    """Place of a cell in the grid; ``network`` is the knowledge that methods were given."""

    dataset: str
    network: str
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
        Those of `perturbation.metrics.evaluate`; ``_calibrated`` between the mean response and a
        split-half replicate.
    seconds
        Time that the method took, learning and predicting.
    sizes
        Numbers of training and test perturbations, and of genes.
    names, n_de
        What ``each`` is of (perturbations, or genes of tables of signs), and how many
        differentially expressed pairs these have.
    each_names, each
        Names of measures, and their values, [measures, names].
    shown
        Names of some perturbations, those with the largest responses.
    observed, predicted
        Their changes, [shown, genes]; empty of tables of signs.
    """

    at: At
    metrics: dict[str, float]
    seconds: float
    sizes: tuple[int, int, int]
    names: tuple[str, ...]
    n_de: Int[np.ndarray, " names"]
    each_names: tuple[str, ...]
    each: Float32[np.ndarray, "measures names"]
    shown: tuple[str, ...]
    observed: Float[np.ndarray, "shown genes"]
    predicted: Float[np.ndarray, "shown genes"]


def make_cell(
    at: At,
    scores: Scores,
    seconds: float,
    sizes: tuple[int, int, int],
    labels: Sequence[str],
    observed: Float32[np.ndarray, "test genes"] | None,
    predicted: Float32[np.ndarray, "test genes"],
) -> Cell:
    """Bring scores into a cell, with the perturbations of the largest responses to be shown."""
    top = np.zeros(0, int)
    if observed is not None:
        top = np.argsort(-np.square(observed).sum(1), kind="stable")[:SHOWN]
    return Cell(
        at,
        scores.metrics,
        float(seconds),
        sizes,
        scores.names,
        scores.n_de.astype(int),
        tuple(scores.each),
        np.stack([np.asarray(v, np.float32) for v in scores.each.values()]),
        tuple(labels[int(i)] for i in top),
        np.zeros((0, sizes[2]), np.float32) if observed is None else observed[top],
        predicted[top],
    )


def path_of(out: Path, at: At) -> FilePath:
    """Return the file of a cell in an output folder."""
    names = (at.dataset, at.network, at.split, at.method)
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
        at, metrics, seconds, sizes, *names = json.loads(str(found["text"]))
        text: dict[str, Any] = dict(zip(_TEXT[4:], map(tuple, names), strict=True))
        text |= {name: found[name] for name in _ARRAYS}
        cell = Cell(At(*at), metrics, seconds, tuple(sizes), **text)
        if path_of("", cell.at).parts[1:] != FilePath(path).parts[-5:]:
            raise ValueError(f"it belongs to {cell.at}; was it moved?")
        return cell


def read_cells(out: Path) -> list[Cell]:
    """Read all cells of an output folder, in order of their places.

    Raises
    ------
    ValueError
        If one of them is damaged.
    """
    paths = FilePath(out, "cells").glob("*/*/*/*/[0-9]*.npz")
    return sorted((read_cell(path) for path in paths), key=lambda cell: cell.at)


def results_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """List every metric of every cell in a row, with the columns of ``results.csv``.

    ``network`` holds the knowledge that methods were given.
    """
    rows = [
        {
            "task": "perturbation",
            **cell.at._asdict(),
            "genes": "all",
            "metric": name,
            "value": value,
            "seconds": cell.seconds,
        }
        for cell in cells
        for name, value in cell.metrics.items()
    ]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


_TEXT = ("at", "metrics", "seconds", "sizes", "names", "each_names", "shown")
_ARRAYS = ("n_de", "each", "observed", "predicted")
