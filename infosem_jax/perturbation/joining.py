"""How much of the network is added to what its neighbours did, per group of genes.

Shares are at least 0, and 0 and 1 are among them, so that each part alone can be chosen. Where
held-out perturbations do not tell them apart the usual shares stay: those that did best there were
worse on others than these, by what chance put there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32

from infosem_jax.perturbation.baselines import single_sums
from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.objective import ordered_pairs
from infosem_jax.perturbation.task import Asked

# Shares that are tried.
ADDED = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
PLAIN = (0.0, 0.5, 1.0)
# Groups of genes, by how many training perturbations change them.
N_GROUPS = 3
# Genes of a group that must have been told of, and standard errors of a gain, to leave the usual.
LEAST_GENES, SURE = 10, 2.0
# The sum of single responses counts as if so many known combinations had followed it.
AS_IF_ADDITIVE = 3.0
# Share of that sum where only some genes of a combination were seen alone: of .3, .5 and .7 the one
# with the best order of genes, in known combinations whose single responses were hidden in turn.
PARTLY = 0.5


class Shares(NamedTuple):
    """Shares of each part, for the network's two outputs.

    Attributes
    ----------
    added
        Share of the network's outputs, [2, genes].
    plain
        Share of the neighbours' responses counted gene by gene, the rest being those with similar
        genes and all genes counted too, [2, genes]; of values both are the same.
    additive
        Share of the sum of single responses, in combinations of perturbations that were each seen
        alone; the rest is all else.
    """

    added: Float32[np.ndarray, "2 genes"]
    plain: Float32[np.ndarray, "2 genes"]
    additive: float

    def join(
        self, bases: Float[np.ndarray, "2 2 n genes"], outputs: Float[np.ndarray, "*m n genes"]
    ) -> Float[np.ndarray, "*m n genes"]:
        """Return the neighbours' responses plus the network's share.

        Parameters
        ----------
        bases
            Neighbours' responses: with similar genes, and gene by gene, in the form of outputs.
        outputs
            The network's outputs, [2, n, genes], or of each member, [2, members, n, genes].
        """
        extra = tuple(range(1, outputs.ndim - 2))
        plain, added = (np.expand_dims(x, (*extra, -2)) for x in (self.plain, self.added))
        counted, alone = (np.expand_dims(x, extra) for x in bases)
        return (1 - plain) * counted + plain * alone + added * outputs


class HeldOut(NamedTuple):
    """Perturbations that a member did not learn from, and the parts of their predictions."""

    truth: Responses
    bases: Float[np.ndarray, "2 2 n genes"]
    outputs: Float[np.ndarray, "2 n genes"]


def choose_shares(held: Sequence[HeldOut], usual: Shares, train: Responses, scale: float) -> Shares:
    """Choose the shares of each group of genes on perturbations that were held out.

    Those with the best order of perturbations per gene (of values, the least squared error), if
    they are better than the usual ones by two standard errors over the genes of the group.

    Parameters
    ----------
    held
        Held-out perturbations of each member.
    usual
        Shares where nothing else is better.
    train
        Responses to learn from, which genes are grouped by.
    scale
        What changes are divided by.
    """
    added, plain = usual.added.copy(), usual.plain.copy()
    changed = (train.sign != 0).sum(0)
    group = np.digitize(changed, np.quantile(changed, np.arange(1, N_GROUPS) / N_GROUPS))
    # The second output of values is a deviation, and counts in full.
    for k in (0,) if train.continuous else (0, 1):
        start = float(usual.plain[k, 0]), float(usual.added[k, 0])
        tried = [(p, a) for p in ((0.0,) if train.continuous else PLAIN) for a in ADDED]
        merit = {pair: _merit(held, k, *pair, scale) for pair in {start, *tried}}
        for own in (group == i for i in range(N_GROUPS)):
            best = _better(merit, start, own)
            plain[k, own], added[k, own] = best
    return usual._replace(added=added, plain=plain)


def add_singles(
    change: Float[np.ndarray, "n genes"], share: float, train: Responses, asked: Asked
) -> Float32[np.ndarray, "n genes"]:
    """Join predicted changes of combinations with sums of the single responses that were seen.

    Parameters
    ----------
    change
        What is predicted otherwise.
    share
        That of the sums where all genes were seen alone; where some were, it is at most a half.
    train, asked
        Responses to learn from, and the perturbations.
    """
    sums, complete = single_sums(train, asked.perturbed, asked.line)
    several = np.array([len(genes) > 1 for genes in asked.perturbed])
    some = several & np.isfinite(sums).all(1)
    own = np.where(complete, share, min(share, PARTLY))[:, None]
    joined = own * sums + (1 - own) * change
    return np.where(some[:, None], joined, change).astype(np.float32)


def additive_share(
    truth: Responses, response: Float[np.ndarray, "n genes"], train: Responses
) -> float:
    """Return the share of summed single responses with the least error in known combinations.

    To these are added three of usual size that follow the sum, since the best shares of single
    combinations differ widely: one or two known ones would otherwise decide. 1 where there is none.

    Parameters
    ----------
    truth, response
        Perturbations, and what is predicted of them otherwise.
    train
        Responses with the single perturbations among them.
    """
    sums, complete = single_sums(train, truth.perturbed, truth.line)
    if truth.delta is None or not complete.any():
        return 1.0
    apart = (sums - response)[complete]
    right = ((truth.delta - response)[complete] * apart).sum()
    size = float(np.square(apart).sum())
    assumed = AS_IF_ADDITIVE * size / complete.sum()
    return float(np.clip((right + assumed) / max(size + assumed, 1e-12), 0, 1))


def _better(
    merit: dict[tuple[float, float], np.ndarray],
    start: tuple[float, float],
    own: Bool[np.ndarray, " genes"],
) -> tuple[float, float]:
    """Return the best shares of some genes, the usual ones if no others are surely better."""
    told = own & np.isfinite(merit[start])
    if told.sum() < LEAST_GENES:
        return start
    best = max(merit, key=lambda pair: merit[pair][told].mean())
    gain = (merit[best] - merit[start])[told]
    return best if gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(len(gain)) else start


def _merit(
    held: Sequence[HeldOut], k: int, plain: float, added: float, scale: float
) -> Float[np.ndarray, " genes"]:
    """Return how good a share is for each gene: AUROC within members, or minus squared error."""
    right, pairs, error = 0.0, 0.0, 0.0
    for truth, bases, outputs in held:
        score = (1 - plain) * bases[0, k] + plain * bases[1, k] + added * outputs[k]
        if truth.delta is not None:
            error = error + np.square(truth.delta / scale - score).sum(0)
            continue
        de = truth.sign != 0
        yes, known = (truth.sign > 0, de) if k else (de, truth.known)
        found = ordered_pairs(*map(jnp.asarray, (score, yes, known)))
        right, pairs = right + np.asarray(found[0]), pairs + np.asarray(found[1])
    if held[0].truth.continuous:
        return -np.asarray(error)
    return np.where(np.asarray(pairs) > 0, right / np.maximum(pairs, 1), np.nan)
