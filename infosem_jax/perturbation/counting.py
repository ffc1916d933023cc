"""Counts of tables of signs: responses of genes, of similar genes, and of all genes.

In such a table a gene is known for few perturbations. Genes that are similar to it by graph and
text tend to respond in the same way, and perturbations differ in how many genes they change. So
responses of other genes, beyond their own rates, are counted too, at small shares.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse

from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.knowledge import Knowledge
from infosem_jax.perturbation.similarity import graph_similarity, text_similarity

# Counts that a gene's own rate stands for.
PRIOR = 1.0
# Similar genes that are counted beside a gene.
N_SIMILAR_GENES = 30
# Weights of a similar gene (by edge), and of any gene, for being differentially expressed
# and for the direction: the best on training perturbations of HepG2 and K562 that were held out,
# of 0 to 0.1 and of 0 to 0.01.
SHARES = ((0.01, 0.001), (0.01, 0.0001))


class Counts(NamedTuple):
    """Counts of perturbations for one question: whether genes respond, or go up.

    Attributes
    ----------
    seen
        Whether the answer is known, [n, genes].
    excess
        1 or 0 for yes or no, minus the gene's own rate; 0 where not known, [n, genes].
    similar_seen, similar_excess
        The same summed over genes similar to each, [n, genes]; [n, 1] of zeros without these.
    all_seen, all_excess
        The same summed over all genes, [n, 1].
    """

    seen: Float[Any, "n genes"]
    excess: Float[Any, "n genes"]
    similar_seen: Float[Any, "n _"]
    similar_excess: Float[Any, "n _"]
    all_seen: Float[Any, "n 1"]
    all_excess: Float[Any, "n 1"]


def rates(
    train: Responses,
) -> tuple[Float[np.ndarray, " genes"], Float[np.ndarray, " genes"]]:
    """Return how often each gene is differentially expressed, and up if it is, smoothed."""
    seen, changed, up = (x.sum(0) for x in (train.known, train.sign != 0, train.sign > 0))
    overall, upward = changed.sum() / max(seen.sum(), 1), up.sum() / max(changed.sum(), 1)
    de, up = (changed + overall) / (seen + 1), (up + upward) / (changed + 1)
    return np.clip(de, 1e-4, 1 - 1e-4), np.clip(up, 1e-3, 1 - 1e-3)


def count(train: Responses, similarity: sparse.csr_array | None = None) -> tuple[Counts, Counts]:
    """Count each perturbation by itself: genes that respond, and those of them that go up.

    Parameters
    ----------
    train
        A table of signs.
    similarity
        Similarity of genes, see `gene_similarity`; None counts no similar genes.
    """
    changed = train.sign != 0
    de, up = rates(train)
    return (
        _count(train.known, changed, de, similarity),
        _count(changed, train.sign > 0, up, similarity),
    )


def posterior(
    weight: Float[Any, "n train"],
    counts: Counts,
    rate: Float[Any, "*rows genes"],
    share: Float[Any, " 2"] | tuple[float, float] = (0.0, 0.0),
) -> Float[Any, "n genes"]:
    """Return rates by weighted counts, the gene's own rate as one more count.

    ``rate + w excess / (w seen + 1)``, where seen and excess include those of similar genes and of
    all genes at their shares. Others enter beyond their own rates, so that they tell whether a
    perturbation changes more or less than usual, and not how often they respond in general.

    Parameters
    ----------
    weight
        Weights of training perturbations.
    counts
        What is counted of these.
    rate
        Rate of each gene.
    share
        Weights of similar genes and of all genes.
    """
    similar, every = share[0], share[1]
    seen = counts.seen + similar * counts.similar_seen + every * counts.all_seen
    excess = counts.excess + similar * counts.similar_excess + every * counts.all_excess
    return rate + (weight @ excess) / (weight @ seen + PRIOR)


def gene_similarity(knowledge: Knowledge, genes: Sequence[str]) -> sparse.csr_array:
    """Return the similarity of genes by graph and text, of the 30 most similar, [genes, genes].

    That of perturbations of these genes alone, see `similarity`; 0 of a gene and itself.
    """
    single = [(gene,) for gene in genes]
    found = text_similarity(knowledge, single, single)
    for part in graph_similarity(knowledge, single, single):
        found += part
    np.fill_diagonal(found, 0.0)
    k = min(N_SIMILAR_GENES, len(genes))
    found[found < np.partition(found, -k, axis=1)[:, -k][:, None]] = 0.0
    return sparse.csr_array(found)


def _count(
    known: np.ndarray, yes: np.ndarray, rate: np.ndarray, similarity: sparse.csr_array | None
) -> Counts:
    seen = known.astype(np.float32)
    excess = (yes - seen * rate).astype(np.float32)
    similar_seen, similar_excess = (
        np.zeros((len(x), 1), np.float32)
        if similarity is None
        else np.asarray(similarity @ x.T, np.float32).T
        for x in (seen, excess)
    )
    all_seen, all_excess = (x.sum(1, keepdims=True) for x in (seen, excess))
    return Counts(seen, excess, similar_seen, similar_excess, all_seen, all_excess)
