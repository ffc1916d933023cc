"""Every choice of an exact fit, with a name and a default."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from infosem_jax.data.dataset import Normalisation

Hyper = Literal["map", "nuts"]


@dataclass(frozen=True)
class Config:
    """Settings of an exact fit.

    Attributes
    ----------
    rows
        Which genes act: ``all``, the ``regulators``, or ``auto``: all where they or the cells are
        few enough to be decomposed in seconds, the regulators else.
    normalisation, clip
        How expression is brought to scale, see `infosem_jax.data.normalise`; ``auto`` goes by
        what the values look like.
    r2
        Share of a target's variance that effects are expected to explain; None learns it from the
        evidence. Priors with scales that differ between pairs keep their pattern.
    cells
        Number of independent cells that all cells are worth for weights and their sd; None takes
        every cell as one, ``effective`` estimates it from cells that are alike (see
        ``infosem_jax.grn.exact.effective``).
    noise
        Cells that the prior of a target's unexplained variance, around 1, is worth.
    edges
        Share of pairs that are edges before anything is known of them, where no edge prior says so;
        None learns it, for probabilities from how far all pairs deviate.
    shrinkage
        Share of the identity in the covariance that the partial correlations of the score are taken
        from; None takes that of ten times the penalty with the highest evidence.
    hyper
        ``map`` takes the most probable hyper-parameters, ``nuts`` averages over draws of them.
    steps, rate
        Steps and learning rate of the search for them.
    warmup, draws
        Transitions of NUTS.
    sweeps
        Rounds of expectation maximisation for scale mixtures, and for scales of pairs that a prior
        learns (``GeneScales``).
    block
        Targets at a time where scales differ between pairs.
    sums
        Folder that sums over cells are kept in, from which other networks of the same cells (by a
        checksum of their values) read them; None keeps none.
    """

    rows: Literal["auto", "all", "regulators"] = "auto"
    normalisation: Normalisation = "auto"
    clip: float = 10.0
    r2: float | None = None
    cells: float | Literal["effective"] | None = None
    noise: float = 1.0
    edges: float | None = None
    shrinkage: float | None = None
    hyper: Hyper = "map"
    steps: int = 60
    rate: float = 0.1
    warmup: int = 200
    draws: int = 200
    sweeps: int = 5
    block: int = 16
    sums: str | None = None

    def __post_init__(self):
        if self.rows not in ("auto", "all", "regulators"):
            raise ValueError(f"rows: expected auto, all or regulators, found {self.rows!r}.")
        if self.hyper not in ("map", "nuts"):
            raise ValueError(f"hyper: expected map or nuts, found {self.hyper!r}.")
        if isinstance(self.cells, str) and self.cells != "effective":
            raise ValueError(f"cells: expected a number or effective, found {self.cells!r}.")
        for name in ("r2", "edges", "shrinkage"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name}: expected a share between 0 and 1, found {value}.")
        for name in ("clip", "noise", "rate"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name}: expected above 0, found {getattr(self, name)}.")
        for name in ("steps", "warmup", "draws", "sweeps", "block"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}.")
