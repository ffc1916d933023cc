"""Networks from regression trees: GENIE3 (Huynh-Thu 2010) and GRNBoost2 (Moerman 2019).

For each gene, trees predict its expression from that of the regulators; a regulator scores by the
share of the gene's variance that splits on it explain.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from infosem_jax._settings import check
from infosem_jax.grn.baselines.pairs import places, z_scores
from infosem_jax.grn.baselines.problem import Problem, Scores


@dataclass(frozen=True)
class TreesConfig:
    """Settings; the defaults are GENIE3 in a size for two cores.

    Attributes
    ----------
    kind
        ``extra_trees`` (thresholds at random) and ``random_forest`` average their trees, as GENIE3
        does; ``boosting`` adds them up, as GRNBoost2 does.
    trees
        Number of trees for each gene; with boosting the most there may be.
    max_features
        Regulators tried at each split: ``sqrt`` of their number, or a share.
    min_leaf
        Fewest cells in a leaf.
    depth
        Most splits in a row; 0 for no limit.
    rate, subsample
        Of boosting: learning rate, and share of the cells that each tree sees.
    window
        Of boosting: it stops when the mean gain of so many trees on unseen cells is not positive.
    jobs
        Processes; -1 is one for every core.
    """

    kind: Literal["extra_trees", "random_forest", "boosting"] = "extra_trees"
    trees: int = 50
    max_features: Literal["sqrt"] | float = "sqrt"
    min_leaf: int = 10
    depth: int = 0
    rate: float = 0.01
    subsample: float = 0.9
    window: int = 25
    jobs: int = -1

    def __post_init__(self):
        check(self, least={1: ("trees", "min_leaf", "window")})
        if self.jobs == 0:
            raise ValueError("jobs: expected a number that is not 0.")


GENIE3 = TreesConfig()
GRNBOOST2 = TreesConfig(kind="boosting", trees=500, max_features=0.1, min_leaf=1, depth=3)


def solve(
    problems: Sequence[Problem],
    config: TreesConfig = GENIE3,
    on_gene: Callable[[int, int], None] | None = None,
) -> Iterator[Scores]:
    """Score regulators by how much of each gene's variance over cells their splits explain.

    Expression is z-scored, so that scores of different genes compare; a gene does not explain
    itself (NaN). Scores depend on names, not on the order of genes and cells: every gene has random
    numbers of its own, from its name and the seed.

    Parameters
    ----------
    problems
        Only expression is used.
    config
        Settings.
    on_gene
        Called after each gene with the number of genes done and of all in its problem.

    Raises
    ------
    ValueError
        If there are fewer than two regulators; before the first fit.
    """
    for problem in problems:
        if len(problem.regulators) < 2:
            raise ValueError(
                f"{problem.data.name}: expected at least two regulators, found "
                f"{len(problem.regulators)}; a gene cannot explain itself."
            )
    return (_solve_one(problem, config, on_gene) for problem in problems)


def _solve_one(problem: Problem, config: TreesConfig, on_gene) -> Scores:
    from joblib import Parallel, delayed

    z = z_scores(problem.data)
    rows, columns = places(problem)
    names = sorted(problem.regulators)
    inputs = z[np.sort(rows)].T
    # Trees of a gene depend on its place among the names, whatever the order that genes came in.
    tasks = (
        delayed(_importance)(config, inputs, z[place], own, _seed(problem.seed, int(place)))
        for gene, place in zip(problem.genes, columns, strict=True)
        for own in [names.index(gene) if gene in problem.regulators else None]
    )
    columns = []
    for column in Parallel(n_jobs=config.jobs, return_as="generator")(tasks):
        columns.append(column)
        if on_gene is not None:
            on_gene(len(columns), len(problem.genes))
    return np.stack(columns, 1)[[names.index(name) for name in problem.regulators]]


def _importance(
    config: TreesConfig,
    inputs: Float[np.ndarray, "cells regulators"],
    expression: Float[np.ndarray, " cells"],
    own: int | None,
    seed: int,
) -> Float[np.ndarray, " regulators"]:
    others = np.arange(inputs.shape[1]) != own
    model = _model(config, seed)
    if config.kind == "boosting":
        model.fit(inputs[:, others], expression, monitor=partial(_stalls, window=config.window))
        # A step of `rate` times the tree takes away this share of what the tree explains.
        share = config.rate * (2 - config.rate)
    else:
        model.fit(inputs[:, others], expression)
        share = 1 / config.trees
    grown = np.ravel(model.estimators_)
    explained = [tree.tree_.compute_feature_importances(normalize=False) for tree in grown]
    scores = np.full(inputs.shape[1], np.nan)
    scores[others] = share * np.sum(explained, 0)
    return scores


def _model(config: TreesConfig, seed: int) -> Any:
    from sklearn.ensemble import (
        ExtraTreesRegressor,
        GradientBoostingRegressor,
        RandomForestRegressor,
    )

    shape = {
        "n_estimators": config.trees,
        "max_features": config.max_features,
        "min_samples_leaf": config.min_leaf,
        "max_depth": config.depth or None,
        "random_state": seed,
    }
    if config.kind == "boosting":
        return GradientBoostingRegressor(
            learning_rate=config.rate, subsample=config.subsample, **shape
        )
    return (ExtraTreesRegressor if config.kind == "extra_trees" else RandomForestRegressor)(**shape)


def _stalls(stage: int, model, _, window: int) -> bool:
    """Tell whether the last trees gained nothing on the cells that they did not see."""
    recent = model.oob_improvement_[max(0, stage + 1 - window) : stage + 1]
    return len(recent) == window and bool(recent.mean() <= 0)


def _seed(*numbers: int) -> int:
    """Mix numbers to one that scikit-learn takes."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
