"""Units of single-cell expression: how counts become logarithms, and which means agree."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Num


def normalise(
    x: Float32[np.ndarray, "cells genes"],
    total: Num[np.ndarray, " cells"],
    target: float,
    kind: str,
) -> Float32[np.ndarray, "cells genes"]:
    """Bring counts to ``log(1 + x target / total)``; logarithms stay as they are.

    Parameters
    ----------
    x
        Values.
    total
        Total counts of each cell over all genes.
    target
        The total to bring cells to.
    kind
        ``log`` for logarithms; all else are counts.
    """
    if kind == "log":
        return x
    return np.log1p(x * (target / total[:, None])).astype(np.float32)


def check_same_units(
    found: Num[np.ndarray, "rows genes"], expected: Num[np.ndarray, "others genes"], what: str
) -> None:
    """Refuse mean expression that cannot be in the units of the expected one.

    Sums over genes of log expression of the same cells differ by a few per cent. Where those of
    two sets are a factor of 3 apart, one of them is not what it is taken for: counts for
    logarithms, another base or another library size.

    Parameters
    ----------
    found, expected
        Means over cells, of the same genes.
    what
        What is checked, for messages.

    Raises
    ------
    ValueError
        If values are negative, or the sums are a factor of 3 or more apart.
    """
    if found.min() < -1e-3 * max(float(np.abs(expected).max()), 1e-6):
        raise ValueError(
            f"{what}: expected mean expression, found values down to {found.min():.3g}; these may "
            "be differences."
        )
    ratio = float(found.sum(1).mean()) / max(float(expected.sum(1).mean()), 1e-12)
    if not 1 / 3 < ratio < 3:
        raise ValueError(
            f"{what}: the mean expression is {ratio:.3g} times that of the controls; are counts "
            "and logarithms mixed? Bring both to log(1 + x) of the same library size."
        )


def check_control_units(
    found: Num[np.ndarray, "rows genes"],
    line: Sequence[str],
    expected: Num[np.ndarray, "others genes"],
    expected_line: Sequence[str],
) -> None:
    """Refuse control means that cannot be in the units of those of training.

    Lines are taken one by one, as over a few hundred genes one may express ten times as much as
    another; one that training lacks has nothing to be compared with.

    Parameters
    ----------
    found, line
        Control means, and the cell line of each.
    expected, expected_line
        Those of training.

    Raises
    ------
    ValueError
        If those of a line are refused by `check_same_units`.
    """
    asked, known = np.array(line), np.array(expected_line)
    for name in sorted(set(line) & set(expected_line)):
        own = expected[known == name]
        check_same_units(found[asked == name], own, f"control means of {name}")
