"""Logistic regression on who the two genes are, and nothing else.

What it reaches is what labels tell of genes one by one: how many edges a regulator has, and a
target. Where a method does no better on pairs of seen genes, it may have learned no more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from infosem_jax._settings import check
from infosem_jax.grn.baselines.problem import Problem, Scores


@dataclass(frozen=True)
class OneHotConfig:
    """Settings.

    Attributes
    ----------
    C
        Inverse of the strength of the ridge on the coefficients, as in scikit-learn.
    max_iter
        Most iterations.
    """

    C: float = 1.0
    max_iter: int = 1000

    def __post_init__(self):
        check(self, above={0: ("C", "max_iter")})


DEFAULT = OneHotConfig()


def solve(problems: Sequence[Problem], config: OneHotConfig = DEFAULT) -> Iterator[Scores]:
    """Fit ``logit P(edge) = b + u[regulator] + v[target]``, and return it for all pairs.

    Genes without a training label have a coefficient of zero, as the ridge has it.

    Parameters
    ----------
    problems
        Only labels are used.
    config
        Settings.

    Raises
    ------
    ValueError
        If training labels are not of both kinds; before the first fit.
    """
    for problem in problems:
        known = problem.labels[~np.isnan(problem.labels)]
        if not 0 < known.sum() < len(known):
            raise ValueError(
                f"{problem.data.name}: expected training labels 1 and 0, found "
                f"{int(known.sum())} edges in {len(known)} labelled pairs; logistic regression "
                "learns from both."
            )
    return (_solve_one(problem.labels, config) for problem in problems)


def _solve_one(labels: Float[np.ndarray, "regulators genes"], config: OneHotConfig) -> Scores:
    from scipy.sparse import csr_array
    from sklearn.linear_model import LogisticRegression

    regulators, genes = labels.shape
    row, column = np.nonzero(~np.isnan(labels))
    n = len(row)
    features = csr_array(
        (np.ones(2 * n), np.stack([row, regulators + column], 1).ravel(), np.arange(n + 1) * 2),
        shape=(n, regulators + genes),
    )
    model = LogisticRegression(C=config.C, max_iter=config.max_iter)
    model.fit(features, labels[row, column].astype(int))
    regulator, target = np.split(np.ravel(model.coef_), [regulators])
    return np.ravel(model.intercept_)[0] + regulator[:, None] + target
