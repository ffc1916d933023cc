"""Cells or samples that a matrix holds twice, as if a file had been put in twice."""

import numpy as np
from jaxtyping import Num


def copies(x: Num[np.ndarray, "rows genes"], what: str = "cells") -> list[str]:
    """Say how many rows have all values of another; nothing where they are under a hundredth.

    Rows with fewer than ten values other than 0 may be alike by chance, and do not count.

    Parameters
    ----------
    x
        Expression.
    what
        What rows are called.
    """
    rich = np.flatnonzero((x != 0).sum(1) >= 10)
    weight = np.random.default_rng(0).random(x.shape[1])
    parts = [rich[i : i + 1024] for i in range(0, len(rich), 1024)]
    value = np.sort(np.concatenate([np.zeros(0), *(x[part] @ weight for part in parts)]))
    count = int((np.diff(value) <= 1e-9 * np.abs(value[1:])).sum())
    if count < max(2, 0.01 * len(x)):
        return []
    return [
        f"{count} {what} have the values of another in every gene; leave them out if {what} were "
        f"put in twice, as they count as {what} of their own"
    ]
