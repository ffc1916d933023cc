"""Variable genes of a study, and their features: analytic Pearson residuals.

With ``m[i, j] = (total of cell i) (total of gene j) / total`` and an overdispersion of ``1 / t``,
the residual of a count is ``(x - m) / sqrt(m + m^2 / t)``, clipped at the root of the number of
cells (Lause et al. 2021). Spatial studies take the genes whose residuals go with the place of
spots, by tests of the form of SPARK-X (Zhu et al. 2021).
"""

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy import stats

from infosem_jax.embedding.studies import Study

# Lause et al. (2021): counts of a negative control vary little beyond this.
OVERDISPERSION = 100.0
LEAST_CELLS = 3
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


def features(study: Study) -> Float32[np.ndarray, "cells genes"]:
    """Return what the features of genes are made of.

    Pearson residuals of counts; other values, which are taken for logarithms, minus the mean of
    each gene.
    """
    if study.counts:
        return pearson_residuals(study.x)
    return study.x - study.x.mean(0)


def pearson_residuals(
    counts: Float32[np.ndarray, "cells genes"],
) -> Float32[np.ndarray, "cells genes"]:
    """Return the analytic Pearson residuals of all genes of a study, which totals come from."""
    cells, genes = counts.sum(1, dtype=np.float64), counts.sum(0, dtype=np.float64)
    mean = (np.outer(cells, genes) / cells.sum()).astype(np.float32)
    residual = (counts - mean) / np.sqrt(mean + np.square(mean) / np.float32(OVERDISPERSION))
    return np.clip(residual, -np.sqrt(len(counts)), np.sqrt(len(counts))).astype(np.float32)


def choose_genes(
    study: Study, residuals: Float32[np.ndarray, "cells genes"], n: int
) -> Int[np.ndarray, " chosen"]:
    """Return the most variable genes, in the order of the study.

    Those that vary with place in spatial studies, by the p-value and, of equals, the strength of
    the strongest pattern; in others those whose residuals vary most. Genes that fewer than three
    cells express are not chosen.

    Parameters
    ----------
    study
        The study.
    residuals
        Of `features`, [cells, genes].
    n
        How many; all where there are fewer.
    """
    seen = np.flatnonzero((study.x > 0).sum(0) >= LEAST_CELLS)
    if study.places is None:
        order = np.argsort(-residuals[:, seen].var(0), kind="stable")
    else:
        p, strength = spatial_test(residuals[:, seen], study.places)
        order = np.lexsort((-strength, p))
    return np.sort(seen[order[:n]])


def spatial_test(
    y: Float32[np.ndarray, "spots genes"], places: Float[np.ndarray, "spots 2"]
) -> tuple[Float[np.ndarray, " genes"], Float[np.ndarray, " genes"]]:
    """Test whether genes vary with the place of spots.

    For each of eleven pairs of patterns of the coordinates (themselves, Gaussians and cosines of
    five widths, which are quantiles of their size), n times the share of the variance of a gene
    that the pair explains is chi-squared with two degrees of freedom where place does not matter:
    the covariance test of SPARK-X for centred values, whose mixture of chi-squares then has equal
    weights. The p-values of the pairs are joined by Cauchy's combination (Liu and Xie 2020).

    Parameters
    ----------
    y
        Values of genes, [spots, genes].
    places
        Coordinates, [spots, 2].

    Returns
    -------
    The p-value of each gene, and the largest share that a pair explains, [genes].
    """
    n = len(y)
    centred = y - y.mean(0)
    total = np.square(centred).sum(0, dtype=np.float64)
    share = np.stack(
        [
            np.square(_basis(pattern).T @ centred).sum(0, dtype=np.float64)
            for pattern in _patterns(places)
        ]
    ) / np.where(total > 0, total, 1.0)
    p = np.clip(stats.chi2.sf(n * share, 2), 1e-300, 1 - 1e-12)
    return stats.cauchy.sf(_cauchy(p).mean(0)), share.max(0)


def _cauchy(p: np.ndarray) -> np.ndarray:
    """Return ``tan((1/2 - p) pi)``, without its loss of digits near p = 0."""
    return np.where(p < 1e-8, 1 / (np.pi * p), np.tan((0.5 - p) * np.pi))


def _patterns(places: np.ndarray) -> list[np.ndarray]:
    centred = places - places.mean(0)
    widths = np.quantile(np.abs(centred), SHARES, axis=0)
    widths = np.where(widths > 0, widths, 1.0)
    return [
        centred,
        *(np.exp(-np.square(centred / width) / 2) for width in widths),
        *(np.cos(2 * np.pi * centred / width) for width in widths),
    ]


def _basis(pattern: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the columns of a pattern, centred."""
    u, s, _ = np.linalg.svd(pattern - pattern.mean(0), full_matrices=False)
    return (u * (s > 1e-9 * max(s[0], 1e-30))).astype(np.float32)
