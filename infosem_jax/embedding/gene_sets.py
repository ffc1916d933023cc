"""Gene sets: whether genes of one function lie together, and which sets clusters hold.

Gene sets take no part in graphs or training.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path as FilePath

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from infosem_jax._typing import Path
from infosem_jax.data._tables import open_text, read_table
from infosem_jax.embedding.vectors import unit_vectors
from infosem_jax.scores import auroc

LEAST, MOST = 5, 200
PRECISION_AT = 10
FDR, TOP = 0.05, 3

GeneSets = Mapping[str, frozenset[str]]


def read_gene_sets(path: Path) -> dict[str, frozenset[str]]:
    """Read gene sets: a GMT file, or a table with ``go_id`` and ``gene_symbols`` (split by ``|``).

    Parameters
    ----------
    path
        The file, plain or gzipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no gene set.
    """
    if ".gmt" in FilePath(path).name:
        with open_text(path, "gene sets") as stream:
            lines = [line.rstrip("\n").split("\t") for line in stream if line.strip()]
        found = {cells[0]: frozenset(filter(None, cells[2:])) for cells in lines}
    else:
        table = read_table(path, "gene sets")
        if not {"go_id", "gene_symbols"} <= set(table):
            raise ValueError(
                f"{path}: expected a GMT file or columns go_id and gene_symbols, found "
                f"{', '.join(table)}."
            )
        pairs = zip(table["go_id"], table["gene_symbols"], strict=True)
        found = {name: frozenset(filter(None, re.split(r"\|", genes))) for name, genes in pairs}
    if not any(found.values()):
        raise ValueError(f"{path}: holds no gene set.")
    return found


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
    at = {gene: i for i, gene in enumerate(genes)}
    tests: list[tuple[int, str, int, int, float]] = []
    for name, own in sets.items():
        members = np.array([at[g] for g in own if g in at], int)
        if LEAST <= len(members) <= MOST:
            for c in np.unique(cluster[members]):
                hits, size = int((cluster[members] == c).sum()), int((cluster == c).sum())
                p = stats.hypergeom.sf(hits - 1, len(genes), len(members), size)
                tests.append((int(c), name, hits, len(members), float(p)))
    if not tests:
        return []
    corrected = stats.false_discovery_control([p for *_, p in tests])
    found = [(*test[:4], float(q)) for test, q in zip(tests, corrected, strict=True) if q <= FDR]
    found.sort(key=lambda row: (row[0], row[4], row[1]))
    return [row for _, own in groupby(found, lambda row: row[0]) for row in islice(own, TOP)]
