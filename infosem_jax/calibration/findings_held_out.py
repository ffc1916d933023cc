"""What looks wrong with how an exact fit predicts cells that it has not seen, in words."""

import numpy as np

from infosem_jax.calibration.findings import Finding, judged
from infosem_jax.grn.exact.held_out import LEVELS, HeldOut

RANDOM, STATES = "cells at random", "whole states of cells"
LEVEL, LOW, HIGH = 0.9, 0.85, 0.95
EXPLAINED = 0.05
# Why intervals miss their level, and what to do: of too few values held, and of too many.
NARROW = (
    "cells are alike, so that all of them are worth fewer independent ones; or expression is far "
    "from normal, with a few values far away",
    "read sd and sign agreement as too sure; set cells (table [exact]) below their number",
)
WIDE = (
    "most values of a gene, such as its zeros, lie close together and a few far away, which a "
    "normal distribution covers by being wide",
    "read intervals of single cells as too wide, which sd and sign agreement of effects are not "
    "made of; leave out genes that few cells express",
)


def judge_held_out(found: dict[str, HeldOut]) -> list[Finding]:
    """Judge whether intervals hold, and whether regulators tell anything of new cells.

    Parameters
    ----------
    found
        Predictions of cells left out `RANDOM` and by `STATES`.
    """
    place = int(np.argmin(np.abs(LEVELS - LEVEL)))
    covered = {name: float(each.coverage[place]) for name, each in found.items()}
    told = " and ".join(f"{share:.0%} where {name} are left out" for name, share in covered.items())
    why, helps = NARROW if min(covered.values()) < LOW else WIDE
    explained = {name: each.explained for name, each in found.items()}
    known = " and ".join(
        f"{max(share, 0):.0%} where {name} are left out" for name, share in explained.items()
    )
    return [
        judged(
            "intervals",
            all(LOW <= share <= HIGH for share in covered.values()),
            f"Of the expression of cells that were left out, intervals of {LEVEL:.0%} hold {told}.",
            why,
            helps,
            {f"covered, {name}": share for name, share in covered.items()},
        ),
        judged(
            "prediction",
            explained[RANDOM] >= EXPLAINED,
            f"Of the variance of a gene in such cells, the other genes explain {known}.",
            "there is little in these data that genes share",
            "more cells, or genes that vary more",
            {f"explained, {name}": share for name, share in explained.items()},
        ),
    ]
