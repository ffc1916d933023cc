"""Scores that know no mechanism, which every method has to beat.

Each control is a function of a `Problem`: ``labels`` are 1 and 0 in training and NaN elsewhere, and
scores are [regulators, genes] and larger for a more likely edge.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from infosem_jax._typing import Names
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.io import Embedding, align_embedding, embedding
from infosem_jax.grn.baselines.problem import Problem, Scores

Control: TypeAlias = Callable[[Problem], Scores]

# Numbers in a vector of a control.
DIMENSIONS = 64

# Below this the inverse of the covariance would lose its digits.
_LEAST_SHRINKAGE = 1e-6
# One value for all data sets, set once in view of BEELINE's STRING networks: rankings gain from far
# more shrinkage than estimates of the covariance do.
_RIDGE = 0.95


def random(problem: Problem) -> Scores:
    """Score pairs at random."""
    return np.random.default_rng(problem.seed).uniform(size=problem.labels.shape)


def positive_rate(problem: Problem, axis: int) -> Scores:
    """Score every pair of a regulator (axis 1), or of a target (0), by its share of known edges.

    Among its training pairs. Those without a training pair get the share over all training pairs,
    and every pair gets 0 where there is none.
    """
    labels = problem.labels
    seen = ~np.isnan(labels)
    known = np.where(seen, labels, 0.0)
    overall = known.sum() / max(int(seen.sum()), 1)
    n = seen.sum(axis, keepdims=True)
    rate = np.where(n > 0, known.sum(axis, keepdims=True) / np.maximum(n, 1), overall)
    return np.broadcast_to(rate, labels.shape).copy()


def regulator_variance(problem: Problem) -> Scores:
    """Score every pair of a regulator by the variance of its expression over cells."""
    _check_scale(problem.data, "variance")
    variance = _expression(problem.data, problem.regulators).var(0)
    return np.broadcast_to(variance[:, None], problem.labels.shape).copy()


def target_mean(problem: Problem) -> Scores:
    """Score every pair of a target by the mean of its expression over cells."""
    _check_scale(problem.data, "mean")
    return np.broadcast_to(
        _expression(problem.data, problem.genes).mean(0), problem.labels.shape
    ).copy()


def correlation(problem: Problem) -> Scores:
    """Score pairs by Pearson's correlation over cells, negative ones lowest."""
    return _correlation(
        _standardise(_expression(problem.data, problem.regulators)),
        _standardise(_expression(problem.data, problem.genes)),
    )


def spearman(problem: Problem) -> Scores:
    """Score pairs by the correlation of ranks over cells, negative ones lowest."""
    from scipy.stats import rankdata

    ranks = rankdata(_expression(problem.data, problem.genes), axis=0)
    place = {gene: i for i, gene in enumerate(problem.genes)}
    rows = [place[regulator] for regulator in problem.regulators]
    z = _standardise(ranks)
    return _correlation(z[:, rows], z)


def partial_correlation(problem: Problem, *, shrinkage: float | None = None) -> Scores:
    """Score pairs by their partial correlation given all expressed genes, negative ones lowest.

    ``-P_rt / sqrt(P_rr P_tt)`` with ``P = ((1 - s) C + s I)^-1``, where ``C`` is the correlation of
    genes over cells. Only the rows of regulators are formed, so memory is regulators x genes and
    the smaller of cells and genes x genes. The ``shrinkage`` s is a share above 0 and at most 1;
    None takes Ledoit and Wolf's.
    """
    from scipy.linalg import svd
    from sklearn.covariance import ledoit_wolf_shrinkage

    if shrinkage is not None and not 0 < shrinkage <= 1:
        raise ValueError(f"Expected a shrinkage above 0 and at most 1, found {shrinkage}.")
    z = _standardise(problem.data.x.astype(np.float64))
    s = float(ledoit_wolf_shrinkage(z, assume_centered=True)) if shrinkage is None else shrinkage
    s = max(s, _LEAST_SHRINKAGE)
    _, size, directions = svd(z, full_matrices=False)
    # P is 1 / s, and something else in the directions that the cells span.
    extra = 1 / ((1 - s) * size**2 / len(z) + s) - 1 / s
    regulators = directions[:, _columns(problem.data, problem.regulators)]
    genes = directions[:, _columns(problem.data, problem.genes)]
    same = np.asarray(problem.regulators)[:, None] == np.asarray(problem.genes)
    precision = (regulators * extra[:, None]).T @ genes + same / s
    own, other = (1 / s + extra @ v**2 for v in (regulators, genes))
    return -precision / np.sqrt(own[:, None] * other)


def embedding_cosine(vectors: Embedding) -> Control:
    """Make the control that scores pairs by how alike their genes' vectors are.

    The score is the cosine of the angle between the vectors, centred over the genes of the
    universe that have one; pairs of genes without a vector have no score (NaN).

    Raises
    ------
    ValueError
        From the control, if no gene of the universe has a vector.
    """

    def cosine(problem: Problem) -> Scores:
        found, known = align_embedding(vectors, problem.genes)
        centred = found.astype(np.float64) - found[known].mean(0, dtype=np.float64)
        norm = np.linalg.norm(centred, axis=1, keepdims=True)
        unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
        unit[~known] = np.nan
        place = {gene: i for i, gene in enumerate(problem.genes)}
        return unit[[place[regulator] for regulator in problem.regulators]] @ unit.T

    return cosine


def symbol_cosine(problem: Problem) -> Scores:
    """Score pairs by how alike their symbols are spelt, as :func:`symbol_embedding` has it."""
    control = embedding_cosine(symbol_embedding(problem.genes, seed=problem.seed))
    return control(problem)


def random_embedding(genes: Names, *, seed: int = 0) -> Embedding:
    """Draw a vector of standard normal numbers for each gene, whatever their order."""
    drawn = np.random.default_rng(seed).standard_normal((len(genes), DIMENSIONS))
    vectors = embedding(sorted(map(str, genes)), drawn)
    return Embedding(tuple(map(str, genes)), align_embedding(vectors, genes)[0])


def symbol_embedding(genes: Names, *, seed: int = 0) -> Embedding:
    """Embed genes by the spelling of their symbols, which families of genes share.

    Counts of one to three neighbouring characters, without case, each scaled to length one, are
    projected on their main directions (truncated SVD), whatever the order of the genes.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer

    if not len(genes):
        raise ValueError("Expected at least one gene symbol, found none.")
    names = sorted(map(str, genes))
    spelling = HashingVectorizer(analyzer="char_wb", ngram_range=(1, 3), n_features=2**16)
    counts = spelling.transform(names)
    projection = TruncatedSVD(min(DIMENSIONS, len(names)), random_state=seed)
    vectors = embedding(names, projection.fit_transform(counts))
    return Embedding(tuple(map(str, genes)), align_embedding(vectors, genes)[0])


def _absolute(control: Control, problem: Problem) -> Scores:
    return np.abs(control(problem))


CONTROLS: dict[str, Control] = {
    "random": random,
    "regulator_positive_rate": partial(positive_rate, axis=1),
    "target_positive_rate": partial(positive_rate, axis=0),
    "regulator_variance": regulator_variance,
    "target_mean": target_mean,
    "correlation": correlation,
    "correlation_absolute": partial(_absolute, correlation),
    "spearman": spearman,
    "spearman_absolute": partial(_absolute, spearman),
    "partial_correlation": partial_correlation,
    "partial_correlation_absolute": partial(_absolute, partial_correlation),
    "partial_correlation_ridge": partial(partial_correlation, shrinkage=_RIDGE),
    "symbol_cosine": symbol_cosine,
}


def _columns(data: Dataset, names: Names) -> list[int]:
    place = {gene: i for i, gene in enumerate(data.genes)}
    missing = [name for name in names if name not in place]
    if missing:
        raise ValueError(
            f"{data.name}: {len(missing)} candidates were not measured "
            f"({', '.join(missing[:3])}); make the candidates from the same data."
        )
    return [place[name] for name in names]


def _expression(data: Dataset, names: Names) -> Float[np.ndarray, "cells names"]:
    return data.x[:, _columns(data, names)].astype(np.float64)


def _standardise(x: Float[np.ndarray, "cells genes"]) -> Float[np.ndarray, "cells genes"]:
    centred = x - x.mean(0)
    sd = centred.std(0)
    # Clipped z-scores may be constant; such a gene goes with no other.
    return np.divide(centred, sd, out=np.zeros_like(centred), where=sd > 0)


def _correlation(
    a: Float[np.ndarray, "cells regulators"], b: Float[np.ndarray, "cells genes"]
) -> Float[np.ndarray, "regulators genes"]:
    return a.T @ b / len(a)


def _check_scale(data: Dataset, what: str) -> None:
    if "zscore" in data.normalisation:
        raise ValueError(
            f"{data.name}: the {what} of every gene is the same after {data.normalisation}; give "
            "the values as read."
        )
