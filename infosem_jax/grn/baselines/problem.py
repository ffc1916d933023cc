"""What a method of network inference is given, and what it returns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax.data.dataset import Dataset
from infosem_jax.data.io import Embedding


class Problem(NamedTuple):
    """Expression, candidate pairs, and the labels that a method may learn from.

    Attributes
    ----------
    data
        Expression, not normalised.
    regulators, genes
        Names of the rows and columns of the scores, all of them expressed.
    labels
        1 (edge) and 0 (other pair) in training, NaN elsewhere, [regulators, genes]; all NaN for
        methods that learn from expression alone.
    validation
        The same for the pairs that settings may be chosen by, such as when to stop.
    seed
        Of all that is random.
    embeddings
        What is known about genes beside expression, by name.
    others
        Networks of other data sets, columns source and target, where these may be learned from.
    """

    data: Dataset
    regulators: tuple[str, ...]
    genes: tuple[str, ...]
    labels: Float[np.ndarray, "regulators genes"]
    validation: Float[np.ndarray, "regulators genes"]
    seed: int = 0
    embeddings: Mapping[str, Embedding] = {}
    others: tuple[pd.DataFrame, ...] = ()


# Larger scores mean more likely edges, [regulators, genes]; NaN where there is no score.
Scores: TypeAlias = Float[np.ndarray, "regulators genes"]

# Several problems at once, so that what shares shapes trains side by side; scores in their order.
Solve: TypeAlias = Callable[[Sequence[Problem]], Iterable[Scores]]
