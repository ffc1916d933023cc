"""Gene sets: whether genes of one function lie together, and which sets clusters hold.

Gene sets take no part in graphs or training.
"""

from collections.abc import Sequence
from itertools import groupby, islice

import numpy as np
from jaxtyping import Float, Int

from infosem_jax.data.gene_sets import LEAST, MOST, GeneSets, over_represented
from infosem_jax.embedding.vectors import unit_vectors
from infosem_jax.scores import auroc

PRECISION_AT = 10
TOP = 3


def function_recovery(
    genes: Sequence[str], z: Float[np.ndarray, "genes dim"], sets: GeneSets
) -> dict[str, float]:
    """Measure whether genes of one function lie together.

    Parameters
    ----------
    genes
        Names of the genes.
    z
        Their vectors, [genes, dim].
    sets
        Gene sets; those with 5 to 200 of the genes count.

    Returns
    -------
    ``function_auroc``: mean over sets of the AUROC of a gene's mean cosine to the other members, as
    a score of membership (0.5 by chance). ``function_precision``: mean, over genes in a set, of the
    share of their ten nearest other annotated genes that share a set with them.
    ``function_precision_ratio``: that over the same share of all other annotated genes.
    ``function_sets``: number of sets.
    """
    at = {gene: i for i, gene in enumerate(genes)}
    members = [np.array([at[g] for g in own if g in at], int) for own in sets.values()]
    members = [own for own in members if LEAST <= len(own) <= MOST]
    found = dict.fromkeys(
        ("function_auroc", "function_precision", "function_precision_ratio"), np.nan
    ) | {"function_sets": float(len(members))}
    if not members:
        return found
    unit = unit_vectors(z)
    cosine = unit @ unit.T
    scores = []
    for own in members:
        inside = np.zeros(len(unit), bool)
        inside[own] = True
        others = np.where(inside, len(own) - 1, len(own))
        mean = (cosine[:, own].sum(1) - np.where(inside, np.diag(cosine), 0.0)) / others
        scores.append(auroc(mean, inside))
    member = np.zeros((len(unit), len(members)), np.float32)
    for i, own in enumerate(members):
        member[own, i] = 1
    known = np.flatnonzero(member.any(1))
    together = (member[known] @ member[known].T) > 0
    np.fill_diagonal(together, False)
    near = cosine[np.ix_(known, known)]
    np.fill_diagonal(near, -np.inf)
    k = min(PRECISION_AT, len(known) - 1)
    best = np.argsort(-near, axis=1, kind="stable")[:, :k]
    precision = float(np.take_along_axis(together, best, 1).mean())
    chance = together.sum() / (len(known) * (len(known) - 1))
    return found | {
        "function_auroc": float(np.nanmean(scores)),
        "function_precision": precision,
        "function_precision_ratio": precision / chance if chance else np.nan,
    }


def enrichment(
    genes: Sequence[str], cluster: Int[np.ndarray, " genes"], sets: GeneSets
) -> list[tuple[int, str, int, int, float]]:
    """Test which gene sets are over-represented in each cluster; the best three of each.

    Hypergeometric tests against all embedded genes, corrected over clusters and sets (Benjamini
    and Hochberg 1995) to a false discovery rate of 5 %.

    Parameters
    ----------
    genes, cluster
        Each gene once, and its cluster.
    sets
        Gene sets; those with 5 to 200 of the genes count.

    Returns
    -------
    Cluster, name of the set, its genes there, its genes in all, and the corrected p-value.
    """
    of = {int(c): [g for g, own in zip(genes, cluster, strict=True) if own == c]
          for c in np.unique(cluster)}  # fmt: skip
    found = over_represented(genes, of, sets)
    return [row for _, own in groupby(found, lambda row: row[0]) for row in islice(own, TOP)]
