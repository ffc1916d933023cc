"""Fits on disk."""

from typing import Any

import jax
import numpy as np

from infosem_jax._typing import Path
from infosem_jax.engine.types import Losses
from infosem_jax.grn import exact
from infosem_jax.grn.config import Config, recorded
from infosem_jax.grn.result import Fit
from infosem_jax.outputs import arrays

KIND = "infosem_jax grn fit 2"
EXACT = "infosem_jax grn exact fit 1"
MATRICES = 5  # weight, sd, positive, probability, prior_mean


def save(path: Path, fitted: Fit | exact.Fit) -> None:
    """Write a fit of either engine to an npz file, whole or not at all; `load` returns it.

    The file holds no pickles, and no expression; see ``infosem_jax.outputs.arrays``.

    Raises
    ------
    ValueError
        If the path does not end in ``.npz``.
    OSError
        If writing fails; an older file is then as it was.
    """
    if not str(path).endswith(".npz"):
        raise ValueError(f"{path}: expected a file that ends in .npz.")
    if isinstance(fitted, exact.Fit):
        arrays.save(path, EXACT, fitted)
    else:
        arrays.save(path, KIND, fitted._replace(config=recorded(fitted.config)))


def load(path: Path) -> Any:
    """Read a fit that `save` wrote, a `Fit` or an `infosem_jax.grn.exact.Fit`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged, was changed, is no fit, or is of another version.
    """
    also = {EXACT: (exact.Fit, exact.Config)}
    return arrays.load(path, KIND, "infosem fit", (Fit, Config, Losses), also)


def saved_bytes(seeds: int, rows: int, regulators: int, genes: int) -> int:
    """Return about how many bytes the file of a fit takes, its priors' own parameters left out.

    Parameters
    ----------
    seeds, rows, regulators, genes
        How many there are of each; ``rows`` are genes that act, ``regulators`` those reported.
    """
    return 4 * seeds * genes * (MATRICES * regulators + 4 * rows)


def fit_bytes(fitted: Fit | exact.Fit) -> int:
    """Return how many bytes the arrays of a fit take, in memory as on disk."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(fitted) if isinstance(leaf, np.ndarray))
