"""Whether an embedding knows what it was not told: functions of genes, and orthologues.

Gene sets and withheld pairs of orthologues take no part in graphs or training.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from infosem_jax._typing import Orthologues, Path
from infosem_jax.data._tables import open_text, read_table
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.studies import Study
from infosem_jax.scores import auroc

LEAST, MOST = 5, 200
PRECISION_AT = 10
RECALL_AT = 10
WITHHELD = 0.3

GeneSets = Mapping[str, frozenset[str]]


class Retrieval(NamedTuple):
    """Where true counterparts come among all genes of the other study, by cosine.

    Attributes
    ----------
    rank
        Place of the counterpart, 1 the first; of equals the mean place, [pairs].
    candidates
        Number of genes it was looked for among, [pairs].
    """

    rank: Float[np.ndarray, " pairs"]
    candidates: Int[np.ndarray, " pairs"]


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
        for gene, row in zip(names, _unit(z), strict=True):
            sums[gene] = sums.get(gene, 0) + row
            times[gene] = times.get(gene, 0) + 1
    return tuple(sums), np.stack([sums[gene] / times[gene] for gene in sums])


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
    unit = _unit(z)
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


def withhold(
    studies: Sequence[Study],
    orthologues: Mapping[str, Orthologues],
    *,
    share: float = WITHHELD,
    seed: int = 0,
) -> dict[str, frozenset[str]]:
    """Draw pairs of orthologues that training is not to know, for each species of a table.

    Parameters
    ----------
    studies
        Studies with names of their own, before `harmonise`.
    orthologues
        For each species, symbol -> symbol of the target species.
    share
        Of the symbols that a study of the species has.
    seed
        Of the draw.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for species, table in sorted(orthologues.items()):
        held = {s.lower() for study in studies if study.species == species for s in study.symbols}
        known = sorted(symbol for symbol in table if symbol.lower() in held)
        found[species] = frozenset(
            known[i] for i in rng.permutation(len(known))[: round(share * len(known))]
        )
    return found


def retrieve_orthologues(
    graphs: Sequence[StudyGraph],
    vectors: Sequence[Float[np.ndarray, "_ dim"]],
    orthologues: Mapping[str, Orthologues],
    withheld: Mapping[str, frozenset[str]],
    *,
    target: str = "human",
) -> Retrieval:
    """Look for the counterparts of withheld genes in studies of the target species.

    For each gene of another species whose counterpart was withheld, and each study of the target
    species that has that counterpart, the genes of that study are ranked by the cosine with it.

    Parameters
    ----------
    graphs, vectors
        Studies and their embeddings.
    orthologues, withheld
        All pairs, and those that training did not know, see `withhold`.
    target
        Species that genes are named by.
    """
    ranks, sizes = [], []
    for own, z in zip(graphs, vectors, strict=True):
        table = {a.lower(): b for a, b in orthologues.get(own.species, {}).items()}
        hidden = {symbol.lower() for symbol in withheld.get(own.species, ())}
        asked = [i for i, symbol in enumerate(own.symbols) if symbol.lower() in hidden]
        for other, there in zip(graphs, vectors, strict=True):
            if other.species != target or own.species == target:
                continue
            place = {gene: i for i, gene in enumerate(other.genes)}
            pairs = [(i, place.get(table[own.symbols[i].lower()], -1)) for i in asked]
            pairs = [(i, j) for i, j in pairs if j >= 0]
            if pairs:
                i, j = np.array(pairs).T
                cosine = _unit(z)[i] @ _unit(there).T
                order = stats.rankdata(-cosine, axis=1)
                ranks.append(order[np.arange(len(i)), j])
                sizes.append(np.full(len(i), len(there)))
    if not ranks:
        return Retrieval(np.zeros(0), np.zeros(0, int))
    return Retrieval(np.concatenate(ranks), np.concatenate(sizes))


def retrieval_scores(found: Retrieval) -> dict[str, float]:
    """Return how well counterparts were found; by chance the percentile is 0.5, recall k / genes.

    Returns
    -------
    ``orthologue_percentile``: mean share of the other genes that come after the counterpart.
    ``orthologue_mrr``: mean of 1 / rank. ``orthologue_recall``: share among the first ten.
    ``orthologue_recall_chance``: that of ranks drawn at random. ``orthologue_pairs``: their number.
    """
    if not len(found.rank):
        names = ("percentile", "mrr", "recall", "recall_chance")
        return {f"orthologue_{name}": np.nan for name in names} | {"orthologue_pairs": 0.0}
    return {
        "orthologue_percentile": float(
            (1 - (found.rank - 1) / np.maximum(found.candidates - 1, 1)).mean()
        ),
        "orthologue_mrr": float((1 / found.rank).mean()),
        "orthologue_recall": float((found.rank <= RECALL_AT).mean()),
        "orthologue_recall_chance": float(np.minimum(RECALL_AT / found.candidates, 1).mean()),
        "orthologue_pairs": float(len(found.rank)),
    }


def nearest_genes(
    genes: Sequence[str], z: Float[np.ndarray, "genes dim"], gene: str, n: int
) -> list[tuple[str, float]]:
    """Return the n genes with the largest cosine to one, and those cosines.

    Raises
    ------
    ValueError
        If the gene is not there, naming near ones.
    """
    from difflib import get_close_matches

    if gene not in genes:
        near = get_close_matches(gene, genes, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else "it may vary too little to be here."
        raise ValueError(f"There is no gene {gene!r} among the {len(genes)} embedded; {hint}")
    unit = _unit(z)
    cosine = unit @ unit[list(genes).index(gene)]
    order = [i for i in np.argsort(-cosine, kind="stable") if genes[i] != gene][:n]
    return [(str(genes[i]), float(cosine[i])) for i in order]


def nearest_pairs(genes: Sequence[str], z: Float[np.ndarray, "genes dim"], n: int) -> pd.DataFrame:
    """Return the n nearest genes of each, as a graph that a prior of networks can be made of.

    Returns
    -------
    Columns ``source, target, weight``: both directions of each pair, weighted by the cosine, of
    pairs whose cosine is above 0.
    """
    unit = _unit(z)
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


def enrichment(
    genes: Sequence[str],
    cluster: Int[np.ndarray, " genes"],
    sets: GeneSets,
    *,
    alpha: float = 0.05,
    top: int = 3,
) -> list[tuple[int, str, int, int, float]]:
    """Test which gene sets are over-represented in each cluster.

    Hypergeometric tests against all embedded genes, corrected over clusters and sets (Benjamini
    and Hochberg 1995).

    Parameters
    ----------
    genes, cluster
        Each gene once, and its cluster.
    sets
        Gene sets; those with 5 to 200 of the genes count.
    alpha
        Largest false discovery rate.
    top
        Most sets of each cluster.

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
    found = [(*test[:4], float(q)) for test, q in zip(tests, corrected, strict=True) if q <= alpha]
    found.sort(key=lambda row: (row[0], row[4], row[1]))
    kept: list[tuple[int, str, int, int, float]] = []
    for row in found:
        if sum(other[0] == row[0] for other in kept) < top:
            kept.append(row)
    return kept


def _unit(z: Float[np.ndarray, "genes dim"]) -> Float[np.ndarray, "genes dim"]:
    length = np.linalg.norm(z, axis=1, keepdims=True)
    return np.divide(z, length, out=np.zeros_like(z, dtype=float), where=length > 0)
