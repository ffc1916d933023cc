"""Effects of single genes that add up in combinations, estimated from all perturbations at once.

The change of gene g by a perturbation p of the genes i is

    y_pg = sum_{i in p} (c_g + u_ig) + e_pg

with an effect ``c`` that all perturbed genes have in common, one of their own, ``u``, and noise,
all normal: best linear unbiased prediction, as of breeding values (Henderson 1975). Of a gene that
was perturbed, alone or with others, the effect is what these tell; of one that was not, what genes
have in common. The sum of single responses and the mean response are its limits, of little noise
and of little own effect; the variances are those with the largest likelihood.
"""

from collections.abc import Collection, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from scipy import linalg, sparse

from infosem_jax.perturbation.data import Responses, take

# Variances that are tried, as shares of that of own effects.
COMMON = (0.0, 0.03, 0.1, 0.3, 1.0)
NOISE = (0.03, 0.1, 0.3, 1.0, 3.0)
# Correlations of effects between cell lines that are tried, where there are several.
LINES = (0.0, 0.5, 1.0)
# Perturbations that variances are estimated from at most.
ENOUGH = 1000


class Variances(NamedTuple):
    """Variances as shares of that of own effects.

    Attributes
    ----------
    common
        Of the effect that all perturbed genes have in common.
    noise
        Of a perturbation.
    lines
        Correlation of effects between cell lines.
    """

    common: float
    noise: float
    lines: float


def estimate_variances(train: Responses) -> Variances:
    """Return the variances with the largest likelihood, of those that are tried.

    All responding genes have the same, up to one factor. Where no gene was perturbed twice nothing
    tells own effects from noise, and there is little of the latter, so that single responses add.

    Parameters
    ----------
    train
        Responses to learn from, with values; of more than 1,000 evenly chosen ones.
    """
    n = len(train.perturbed)
    rows = take(train, np.arange(0, n, -(-n // ENOUGH)))
    y = _values(rows)
    shared = _covariance(rows, rows, Variances(0.0, 0.0, 1.0))
    noises = NOISE if (shared - np.diag(np.diag(shared))).any() else NOISE[:1]
    best, found = -np.inf, Variances(COMMON[0], NOISE[0], 1.0)
    for common, lines in product(COMMON, LINES if len(set(rows.line)) > 1 else (1.0,)):
        values, vectors = linalg.eigh(_covariance(rows, rows, Variances(common, 0.0, lines)))
        square = np.square(vectors.T @ y).sum(1)
        for noise in noises:
            total = np.maximum(values, 0) + noise
            scale = (square / total).sum() / y.size
            likelihood = -len(y) * np.log(max(scale, 1e-300)) - np.log(total).sum()
            if likelihood > best:
                best, found = likelihood, Variances(common, noise, lines)
    return found


def predict_effects(
    train: Responses,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    variances: Variances,
) -> Float32[np.ndarray, "n genes"]:
    """Predict changes by the effects of the perturbed genes.

    Parameters
    ----------
    train
        Responses to learn from, with values.
    perturbed, line
        Genes and cell line of each perturbation.
    variances
        See `estimate_variances`.
    """
    inner = _covariance(train, train, variances) + variances.noise * np.eye(len(train.perturbed))
    solved = linalg.solve(inner, _values(train), assume_a="pos")
    asked = train._replace(perturbed=tuple(perturbed), line=tuple(line))
    return (_covariance(asked, train, variances) @ solved).astype(np.float32)


def leave_out_effects(
    train: Responses, variances: Variances, out: Sequence[tuple[int, Collection[int]]]
) -> Float32[np.ndarray, "out genes"]:
    """Predict changes of training perturbations from those that are not left out with them.

    With S the inverse covariance of all, X the rows left out and p among them,
    ``y_p - ((S_XX)^-1 (S y)_X)_p``.

    Parameters
    ----------
    train, variances
        As of `predict_effects`.
    out
        Rows that are predicted, each with all that are left out, itself among them.
    """
    y = _values(train)
    inner = _covariance(train, train, variances) + variances.noise * np.eye(len(y))
    inverse = linalg.inv(inner)
    solved = inverse @ y
    found = np.empty((len(out), y.shape[1]), np.float32)
    for i, (row, others) in enumerate(out):
        rows = np.array([row, *sorted(set(others) - {row})])
        first = np.eye(len(rows))[0]
        found[i] = y[row] - linalg.solve(inverse[np.ix_(rows, rows)], first) @ solved[rows]
    return found


def _covariance(
    here: Responses, there: Responses, variances: Variances
) -> Float[np.ndarray, "here there"]:
    """Return the covariance of effects, in units of the variance of own ones."""
    place: dict[str, int] = {}
    both = []
    for part in (here, there):
        at = [
            (i, place.setdefault(gene, len(place)))
            for i, genes in enumerate(part.perturbed)
            for gene in genes
        ]
        both.append(np.array(at).T)
    rows, others = (
        sparse.csr_array((np.ones(at.shape[1]), tuple(at)), (len(part.perturbed), len(place)))
        for at, part in zip(both, (here, there), strict=True)
    )
    shared = np.asarray((rows @ others.T).todense())
    sizes = np.outer(rows.sum(1), others.sum(1))
    same = np.asarray(here.line)[:, None] == np.asarray(there.line)
    return (shared + variances.common * sizes) * np.where(same, 1.0, variances.lines)


def _values(train: Responses) -> Float[np.ndarray, "n genes"]:
    if train.delta is None:
        raise ValueError("Effects of genes need values of responses, found a table of signs.")
    return train.delta.astype(np.float64)
