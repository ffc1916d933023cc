"""Whether cells are those of a fit, told by their variance in a few directions."""

import logging
from collections.abc import Sequence

import numpy as np

from infosem_jax.data.dataset import Dataset
from infosem_jax.data.stream import Stream

_log = logging.getLogger("infosem_jax")
_DIRECTIONS = 8


def spreads(data: Dataset | Stream) -> tuple[float, ...]:
    """Return the mean square of cells in fixed directions, whatever the order of cells and genes.

    Parameters
    ----------
    data
        Expression on the scale of the model; nothing is told of cells on disk.
    """
    if isinstance(data, Stream):
        return ()
    order = np.argsort(np.asarray(data.genes))
    at = np.random.default_rng(0).normal(size=(len(order), _DIRECTIONS)) / np.sqrt(len(order))
    weight = np.empty_like(at)
    weight[order] = at
    total = np.zeros(_DIRECTIONS)
    for start in range(0, len(data.x), 1024):
        total += np.square(data.x[start : start + 1024] @ weight).sum(0)
    return tuple((total / len(data.x)).tolist())


def warn_of_others(known: Sequence[float], data: Dataset) -> None:
    """Say so if cells are not those that were fitted.

    Parameters
    ----------
    known
        What `spreads` told of the cells that were fitted; nothing where they were on disk.
    data
        Cells, on the scale of the model.
    """
    if known and not np.allclose(spreads(data), known, rtol=1e-3, atol=1e-6):
        _log.warning(
            "%s: these are not the cells that were fitted, and what is said of them joins both: "
            "give those that were, or fit these",
            data.name,
        )
