"""Tables of signs counted: what genes did in perturbations, near genes did, and all genes did.

In such a table a gene is known for few perturbations. Genes that are near to it in graph and text
tend to respond alike, and perturbations differ in how many genes they change. So what other genes
did beyond their own rates is counted too, at small shares.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse

from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.knowledge import Knowledge
from infosem_jax.perturbation.likeness import graph_likeness, text_likeness

# Counts that a gene's own rate stands for.
PRIOR = 1.0
# Genes that are counted beside a gene.
NEAR_GENES = 30
# What an edge to a near gene counts, and what any gene does, for being differentially expressed
# and for the direction: the best on training perturbations of HepG2 and K562 that were held out,
# of 0 to 0.1 and of 0 to 0.01.
SHARES = ((0.01, 0.001), (0.01, 0.0001))


class Counts(NamedTuple):
    """What is counted of perturbations, of one question: whether genes respond, or go up.

    Attributes
    ----------
    seen
        Whether the answer is known, [n, genes].
    excess
        1 or 0 for yes or no, minus the gene's own rate; 0 where not known, [n, genes].
    near_seen, near_excess
        The same summed over the genes near to each, [n, genes]; [n, 1] of zeros without these.
    every_seen, every_excess
        The same summed over all genes, [n, 1].
    """

    seen: Float[Any, "n genes"]
    excess: Float[Any, "n genes"]
    near_seen: Float[Any, "n _"]
    near_excess: Float[Any, "n _"]
    every_seen: Float[Any, "n 1"]
    every_excess: Float[Any, "n 1"]


def rates(
    train: Responses,
) -> tuple[Float[np.ndarray, " genes"], Float[np.ndarray, " genes"]]:
    """Return how often each gene is differentially expressed, and up if it is, smoothed."""
    seen, changed, up = (x.sum(0) for x in (train.known, train.sign != 0, train.sign > 0))
    overall, upward = changed.sum() / max(seen.sum(), 1), up.sum() / max(changed.sum(), 1)
    de, up = (changed + overall) / (seen + 1), (up + upward) / (changed + 1)
    return np.clip(de, 1e-4, 1 - 1e-4), np.clip(up, 1e-3, 1 - 1e-3)


def count(train: Responses, near: sparse.csr_array | None = None) -> tuple[Counts, Counts]:
    """Count each perturbation by itself: genes that respond, and those of them that go up.

    Parameters
    ----------
    train
        A table of signs.
    near
        How near genes are to each other, see `near_genes`; None counts no near genes.
    """
    changed = train.sign != 0
    de, up = rates(train)
    return _count(train.known, changed, de, near), _count(changed, train.sign > 0, up, near)


def posterior(
    weight: Float[Any, "n train"],
    counts: Counts,
    rate: Float[Any, "*rows genes"],
    share: Float[Any, " 2"] | tuple[float, float] = (0.0, 0.0),
) -> Float[Any, "n genes"]:
    """Return rates by weighted counts, the gene's own rate as one more count.

    ``rate + w excess / (w seen + 1)``, where seen and excess include those of near genes and of
    all genes at their shares. Others enter beyond their own rates, so that they say whether a
    perturbation does more or less than usual, and not how often they respond in general.
    """
    near, every = share[0], share[1]
    seen = counts.seen + near * counts.near_seen + every * counts.every_seen
    excess = counts.excess + near * counts.near_excess + every * counts.every_excess
    return rate + (weight @ excess) / (weight @ seen + PRIOR)


def near_genes(knowledge: Knowledge, genes: Sequence[str]) -> sparse.csr_array:
    """Return how near genes are to each gene in graph and text, of the 30 nearest, [genes, genes].

    A row sums what `likeness` says of single perturbations; a gene is not near to itself.
    """
    single = [(gene,) for gene in genes]
    like = text_likeness(knowledge, single, single)
    for part in graph_likeness(knowledge, single, single):
        like += part
    np.fill_diagonal(like, 0.0)
    k = min(NEAR_GENES, len(genes))
    like[like < np.partition(like, -k, axis=1)[:, -k][:, None]] = 0.0
    return sparse.csr_array(like)


def _count(
    known: np.ndarray, yes: np.ndarray, rate: np.ndarray, near: sparse.csr_array | None
) -> Counts:
    seen = known.astype(np.float32)
    excess = (yes - seen * rate).astype(np.float32)
    near_seen, near_excess = (
        np.zeros((len(x), 1), np.float32) if near is None else np.asarray(near @ x.T, np.float32).T
        for x in (seen, excess)
    )
    every_seen, every_excess = (x.sum(1, keepdims=True) for x in (seen, excess))
    return Counts(seen, excess, near_seen, near_excess, every_seen, every_excess)
