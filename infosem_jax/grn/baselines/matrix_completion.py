"""Completion of the matrix of labels by one of low rank: a view on labels without any expression.

Rank one says that a pair is as likely as its regulator and its target are busy; higher ranks add
groups of regulators that share groups of targets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from infosem_jax.grn.baselines.problem import Problem, Scores
from infosem_jax.grn.priors.label_parts import row_regressions


@dataclass(frozen=True)
class MatrixCompletionConfig:
    """Settings.

    Attributes
    ----------
    ranks, ridges
        Of all their combinations, the one with the best average precision on validation pairs is
        taken; the first of each where a problem has no validation labels of both kinds.
    iterations
        Rounds of alternating least squares.
    """

    ranks: tuple[int, ...] = (1, 2, 4, 8)
    ridges: tuple[float, ...] = (1.0, 0.3, 3.0, 10.0)
    iterations: int = 20


DEFAULT = MatrixCompletionConfig()


def solve(
    problems: Sequence[Problem], config: MatrixCompletionConfig = DEFAULT
) -> Iterator[Scores]:
    """Fit ``label = u[regulator] . v[target]`` to the training labels, and return it for all pairs.

    Minimises ``sum (label - u.v)^2 + ridge (|u|^2 + |v|^2)`` over the labelled pairs by alternating
    least squares from the leading singular vectors. Genes without a training label get the mean
    factor of those with one.

    Parameters
    ----------
    problems
        Only training labels are used, and validation labels to choose rank and ridge.
    config
        Settings.

    Raises
    ------
    ValueError
        If there is no known edge among the training labels, or settings are out of range; before
        the first fit.
    """
    if not config.ranks or not config.ridges or min(*config.ranks, config.iterations) < 1:
        raise ValueError(f"Expected ranks, ridges, and iterations of at least 1, found {config}.")
    if min(config.ridges) <= 0:
        raise ValueError(f"Expected ridges above 0, found {config.ridges}.")
    for problem in problems:
        if not (problem.labels == 1).any():
            raise ValueError(
                f"{problem.data.name}: found no known edge among "
                f"{int((~np.isnan(problem.labels)).sum())} training labels; there is nothing to "
                "complete."
            )
    return (_solve_one(problem, config) for problem in problems)


def _solve_one(problem: Problem, config: MatrixCompletionConfig) -> Scores:
    from sklearn.metrics import average_precision_score

    # Singular vectors of what is known, the singular values shared among the two sides.
    left, size, right = np.linalg.svd(np.nan_to_num(problem.labels), full_matrices=False)
    directions = left * np.sqrt(size), right.T * np.sqrt(size)
    choices = list(product(config.ranks, config.ridges))
    judged = ~np.isnan(problem.validation)
    truth = problem.validation[judged]
    if not 0 < truth.sum() < len(truth):
        choices = choices[:1]
    scores = [
        _complete(problem.labels, directions, rank, ridge, config.iterations)
        for rank, ridge in choices
    ]
    if len(scores) == 1:
        return scores[0]
    return max(scores, key=lambda score: average_precision_score(truth, score[judged]))


def _complete(
    labels: np.ndarray,
    directions: tuple[np.ndarray, np.ndarray],
    rank: int,
    ridge: float,
    iterations: int,
) -> np.ndarray:
    known = (~np.isnan(labels)).astype(float)
    value = np.nan_to_num(labels)
    target = directions[1][:, :rank]
    regulator = directions[0][:, :rank]
    for _ in range(iterations):
        regulator = row_regressions(known, value, target, ridge)
        target = row_regressions(known.T, value.T, regulator, ridge)
    for factor, labelled in ((regulator, known.sum(1)), (target, known.sum(0))):
        factor[labelled == 0] = factor[labelled > 0].mean(0)
    return regulator @ target.T
