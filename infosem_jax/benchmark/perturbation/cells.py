"""One cell of the grid: what one method predicted of one data set, graph, split and seed."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from infosem_jax.benchmark.store import Store

SHOWN = 4
# Splits that are the same for every seed, or cover every perturbation.
FIXED = ("published", "leave_one_out", "line")


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

    @property
    def shared(self) -> float:
        """Ratio of test to training perturbations, 0 where seeds share the split."""
        fixed = self.at.split.partition(":")[0] in FIXED
        return 0.0 if fixed else self.sizes[1] / self.sizes[0]


FOLDERS = ("dataset", "network", "split", "method")
STORE = Store("perturbation", At, Cell, FOLDERS, fixed=(("genes", "all"),))
