"""Vectors of genes: their length, one for each gene, and which lie near each other."""

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd
from jaxtyping import Float


def unit_vectors(z: Float[np.ndarray, "genes dim"]) -> Float[np.ndarray, "genes dim"]:
    """Divide each vector by its length; zeros stay."""
    length = np.linalg.norm(z, axis=1, keepdims=True)
    return np.divide(z, length, out=np.zeros_like(z, dtype=float), where=length > 0)


def gene_vectors(
    genes: Sequence[Sequence[str]], vectors: Sequence[Float[np.ndarray, "_ dim"]]
) -> tuple[tuple[str, ...], Float[np.ndarray, "_ dim"]]:
    """Return one vector for each gene: the mean over studies of its vectors at unit length.

    Parameters
    ----------
    genes
        Names of the genes of each study.
    vectors
        Their vectors, [genes, dim] each.

    Returns
    -------
    Names in the order of their first study, and vectors.
    """
    sums: dict[str, np.ndarray] = {}
    times: dict[str, int] = {}
    for names, z in zip(genes, vectors, strict=True):
        for gene, row in zip(names, unit_vectors(z), strict=True):
            sums[gene] = sums.get(gene, 0) + row
            times[gene] = times.get(gene, 0) + 1
    return tuple(sums), np.stack([sums[gene] / times[gene] for gene in sums])


def nearest_genes(
    genes: Sequence[str], z: Float[np.ndarray, "genes dim"], gene: str, n: int
) -> list[tuple[str, float]]:
    """Return the n genes with the largest cosine to one, and those cosines.

    Parameters
    ----------
    genes, z
        Names and vectors, [genes, dim].
    gene
        Whose neighbours.
    n
        How many.

    Raises
    ------
    ValueError
        If the gene is not there, naming near ones.
    """
    if gene not in genes:
        near = get_close_matches(gene, genes, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else "it may vary too little to be here."
        raise ValueError(f"There is no gene {gene!r} among the {len(genes)} embedded; {hint}")
    unit = unit_vectors(z)
    cosine = unit @ unit[list(genes).index(gene)]
    order = [i for i in np.argsort(-cosine, kind="stable") if genes[i] != gene][:n]
    return [(str(genes[i]), float(cosine[i])) for i in order]


def nearest_pairs(genes: Sequence[str], z: Float[np.ndarray, "genes dim"], n: int) -> pd.DataFrame:
    """Return the n nearest genes of each, as a graph that a prior of networks can be made of.

    Parameters
    ----------
    genes, z
        Names and vectors, [genes, dim].
    n
        Neighbours of each gene.

    Returns
    -------
    Columns ``source, target, weight``: both directions of each pair, weighted by the cosine, of
    pairs whose cosine is above 0.
    """
    unit = unit_vectors(z)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    best = np.argsort(-cosine, axis=1, kind="stable")[:, : min(n, len(genes) - 1)]
    near = np.zeros(cosine.shape, bool)
    near[np.arange(len(genes))[:, None], best] = True
    source, target = np.nonzero((near | near.T) & (cosine > 0))
    names = np.asarray(genes, object)
    return pd.DataFrame(
        {"source": names[source], "target": names[target], "weight": cosine[source, target]}
    )
