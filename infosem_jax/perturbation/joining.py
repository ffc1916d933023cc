"""How much of each part is in a prediction: of similar perturbations, and of the network.

Shares are at least 0, and 0 and 1 are among them, so that each part alone can be chosen. Where
held-out perturbations do not tell them apart the usual shares stay: those that did best there were
worse on others than these, by what chance put there. Of values, what is known without a network is
joined in ``mixing``; few screens have enough perturbations to tell that a network adds to it, so
that none is the usual share.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32

from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.objective import ordered_pairs

# Shares that are tried.
ADDED = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
PLAIN = (0.0, 0.25, 0.5, 1.0)
# Groups of genes, by how many training perturbations change them.
N_GROUPS = 3
# Genes of a group that must have been told of (of values, held-out perturbations), and standard
# errors of a gain, to leave the usual.
LEAST, SURE = 10, 2.0


class Shares(NamedTuple):
    """Shares of each part, for the network's two outputs.

    Attributes
    ----------
    added
        Share of the network's outputs, [2, genes].
    plain
        Share of the neighbours' responses counted gene by gene, the rest being those with similar
        genes and all genes counted too, [2, genes]; of values both are the same.
    parts
        Of values, weights of what is known without a network, see `mixing.choose_weights`.
    """

    added: Float32[np.ndarray, "2 genes"]
    plain: Float32[np.ndarray, "2 genes"]
    parts: Float32[np.ndarray, "5 3"]

    def join(
        self, bases: Float[np.ndarray, "2 2 n genes"], outputs: Float[np.ndarray, "*m n genes"]
    ) -> Float[np.ndarray, "*m n genes"]:
        """Return what is known without the network, plus its share.

        Parameters
        ----------
        bases
            What is known without the network: neighbours' responses with similar genes counted, and
        gene by gene, in the form of outputs; of values both are the same.
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

    Those with the best order of perturbations per gene, if they are better than the usual ones by
    two standard errors over the genes of the group; of values those with the least squared error,
    by two standard errors over perturbations.

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
        for own in (group == i for i in np.unique(group)):
            best = _better(merit, start, own)
            plain[k, own], added[k, own] = best
    return usual._replace(added=added, plain=plain)


def _better(
    merit: dict[tuple[float, float], np.ndarray],
    start: tuple[float, float],
    own: Bool[np.ndarray, " genes"],
) -> tuple[float, float]:
    """Return the best shares of some genes, the usual ones if no others are surely better."""
    merit = {pair: _units(values, own) for pair, values in merit.items()}
    if len(merit[start]) < LEAST:
        return start
    best = max(merit, key=lambda pair: merit[pair].mean())
    gain = merit[best] - merit[start]
    return best if gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(len(gain)) else start


def _units(merit: np.ndarray, own: Bool[np.ndarray, " genes"]) -> Float[np.ndarray, " units"]:
    """Return what the error of a mean is over: genes, or perturbations where all have the same."""
    return merit[:, own].mean(1) if merit.ndim == 2 else merit[own & np.isfinite(merit)]


def _merit(
    held: Sequence[HeldOut], k: int, plain: float, added: float, scale: float
) -> Float[np.ndarray, "*n genes"]:
    """Return how good a share is: AUROC of a gene within members, or minus each squared error."""
    right, pairs, errors = 0.0, 0.0, []
    for truth, bases, outputs in held:
        score = (1 - plain) * bases[0, k] + plain * bases[1, k] + added * outputs[k]
        if truth.delta is not None:
            errors.append(np.square(truth.delta / scale - score))
            continue
        de = truth.sign != 0
        yes, known = (truth.sign > 0, de) if k else (de, truth.known)
        found = ordered_pairs(*map(jnp.asarray, (score, yes, known)))
        right, pairs = right + np.asarray(found[0]), pairs + np.asarray(found[1])
    if held[0].truth.continuous:
        return -np.concatenate(errors)
    return np.where(np.asarray(pairs) > 0, right / np.maximum(pairs, 1), np.nan)
