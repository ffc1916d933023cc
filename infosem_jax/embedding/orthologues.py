"""Whether an embedding finds pairs of orthologues that were withheld from training.

Such pairs take no part in graphs, names or training.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from infosem_jax._typing import Orthologues
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.studies import Study
from infosem_jax.embedding.vectors import unit_vectors

RECALL_AT = 10
WITHHELD = 0.3


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


def withhold(
    studies: Sequence[Study],
    orthologues: Mapping[str, Orthologues],
    *,
    share: float = WITHHELD,
    seed: int = 0,
) -> dict[str, frozenset[str]]:
    """Draw pairs of orthologues to withhold from training, for each species of a table.

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
        All pairs, and those that were withheld, see ``withhold``.
    target
        Species that genes are named by.
    """
    ranks, sizes = [], []
    for own, z in zip(graphs, vectors, strict=True):
        table = {a.lower(): b for a, b in orthologues.get(own.species, {}).items()}
        hidden = {symbol.lower() for symbol in withheld.get(own.species, ())}
        queries = [i for i, symbol in enumerate(own.symbols) if symbol.lower() in hidden]
        for other, there in zip(graphs, vectors, strict=True):
            if other.species != target or own.species == target:
                continue
            place = {gene: i for i, gene in enumerate(other.genes)}
            pairs = [(i, place.get(table[own.symbols[i].lower()], -1)) for i in queries]
            pairs = [(i, j) for i, j in pairs if j >= 0]
            if pairs:
                i, j = np.array(pairs).T
                cosine = unit_vectors(z)[i] @ unit_vectors(there).T
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
