"""Array aliases and the notation that every module shares.

========== ================= ===========================================================
symbol     shape             meaning
========== ================= ===========================================================
``x``      [cells, genes]    normalised expression
``W``      [rows, genes]     ``W[i, j]`` = effect of row gene i on target j; no self-effect
``effect`` [rows, genes]     size and sign of an effect, before the gate
``logit``  [rows, genes]     log-odds that an edge exists; ``W = effect * sigmoid(logit)``
``z``      [cells, genes]    exogenous noise: ``u = u W + z``, so ``u = z (I - W)^-1``
``H``      [genes, features] gene embedding
========== ================= ===========================================================
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TypeAlias

import jax
import numpy as np

Array: TypeAlias = jax.Array | np.ndarray
Path: TypeAlias = str | PathLike[str]
Names: TypeAlias = Sequence[str]
Orthologues: TypeAlias = Mapping[str, str]
