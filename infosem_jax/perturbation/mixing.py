"""How much of each part is in a predicted change, by what was seen of the perturbed genes.

Of a perturbation of which a gene was perturbed before, the change is what effects of genes tell,
and a share of it what similar perturbations did. Where none was, no part has to be believed: beyond
the mean response m,

    y_p - m = a (effects_p - m) + b (similar_p - m) + e_p,     a, b >= 0

and with a = b = 0 the mean response is left. Weights have the least squared error on training
perturbations that were left out as those asked for are: each alone for the share, and for a and b
each together with all that share a gene with it.
"""

from collections.abc import Sequence, Set
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy import optimize

from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.gene_effects import Variances, leave_out_effects

# Kinds of perturbations: no gene was perturbed; one was, if only in another combination or cell
# line; all genes of a combination were, alone and in the same line.
NONE, SOME, ALONE = range(3)
# Weights of effects of genes and of similar perturbations that every kind has without evidence,
# and how many perturbations of usual size these count as: the best weights of single perturbations
# differ widely, so that one or two would otherwise decide.
USUAL, AS_IF = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), 3.0
# Perturbations that are left out at once, so that what is computed on the way stays small.
AT_ONCE = 256

LeftOut: TypeAlias = tuple[int, Set[int]]


class Seen(NamedTuple):
    """Where genes were perturbed.

    Attributes
    ----------
    rows
        Perturbations of each gene.
    single
        The perturbation of a gene alone in a cell line.
    """

    rows: dict[str, frozenset[int]]
    single: dict[tuple[str, str], int]

    def kind(self, genes: tuple[str, ...], line: str) -> int:
        """Return the kind of a perturbation of genes in a line."""
        if len(genes) > 1 and all((line, gene) in self.single for gene in genes):
            return ALONE
        return SOME if any(gene in self.rows for gene in genes) else NONE


def seen_in(train: Responses) -> Seen:
    """Return where genes were perturbed in training."""
    rows: dict[str, set[int]] = {}
    single = {}
    for i, (line, genes) in enumerate(zip(train.line, train.perturbed, strict=True)):
        for gene in genes:
            rows.setdefault(gene, set()).add(i)
        if len(genes) == 1:
            single[line, genes[0]] = i
    return Seen({gene: frozenset(own) for gene, own in rows.items()}, single)


def mix(
    weights: Float[np.ndarray, "3 2"],
    kinds: Int[np.ndarray, " n"],
    mean: Float[np.ndarray, " genes"],
    parts: Sequence[Float[np.ndarray, "n genes"]],
) -> Float[np.ndarray, "n genes"]:
    """Return the mean response plus the weighted parts beyond it.

    Parameters
    ----------
    weights
        See `choose_weights`.
    kinds
        Kind of each perturbation.
    mean
        The mean response.
    parts
        What effects of genes, and similar perturbations, tell of each.
    """
    beyond = [part - mean for part in parts]
    return mean + sum(weights[kinds, i][:, None] * part for i, part in enumerate(beyond))


def choose_weights(
    train: Responses, similarity: Float32[np.ndarray, "n n"], variances: Variances
) -> Float32[np.ndarray, "3 2"]:
    """Choose the weights of effects of genes and of similar perturbations for each kind.

    Parameters
    ----------
    train
        Responses to learn from, with values.
    similarity
        Of training perturbations, 0 of each with itself.
    variances
        Of the effects of genes.
    """
    seen = seen_in(train)
    examples: list[tuple[int, LeftOut]] = []
    for row, (genes, line) in enumerate(zip(train.perturbed, train.line, strict=True)):
        together = frozenset().union(*(seen.rows[gene] for gene in genes))
        examples += [(seen.kind(genes, line), (row, {row})), (NONE, (row, together))]
    # Nothing is learned where fewer than two others are left.
    n = len(train.perturbed)
    examples = [(kind, out) for kind, out in examples if n - len(out[1]) >= 2]
    square, right, count = np.zeros((3, 2, 2)), np.zeros((3, 2)), np.zeros(3)
    for start in range(0, len(examples), AT_ONCE):
        own, out = zip(*examples[start : start + AT_ONCE], strict=True)
        found = left_out_parts(train, similarity, variances, out)
        for kind, (change, *parts) in zip(own, found, strict=True):
            square[kind] += np.array(parts) @ np.array(parts).T
            right[kind] += np.array(parts) @ change
            count[kind] += 1
    given = zip((NONE, SOME, ALONE), square, right, count, strict=True)
    return np.asarray([least_squares(*of) for of in given], np.float32)


def left_out_parts(
    train: Responses,
    similarity: Float32[np.ndarray, "n n"],
    variances: Variances,
    out: Sequence[LeftOut],
) -> Float[np.ndarray, "out 3 genes"]:
    """Return changes beyond the mean of the rows left, and what each part learned of these tells.

    Parameters
    ----------
    train, similarity, variances
        As of `choose_weights`.
    out
        Rows that are left out, each with the rows left out with it, itself among them.
    """
    if train.delta is None:
        raise ValueError("Parts of changes need values of responses, found a table of signs.")
    delta = train.delta.astype(np.float64)
    rows = [row for row, _ in out]
    kept = np.ones((len(rows), len(delta)), bool)
    for i, (_, own) in enumerate(out):
        kept[i, list(own)] = False
    mean = (kept / kept.sum(1, keepdims=True)) @ delta
    weight = similarity[rows] * kept
    similar = (weight @ delta + mean) / (weight.sum(1, keepdims=True) + 1)
    effects = leave_out_effects(train, variances, out)
    return np.stack([delta[rows], effects, similar], 1) - mean[:, None]


def least_squares(
    kind: int, square: Float[np.ndarray, "2 2"], right: Float[np.ndarray, " 2"], count: float
) -> Float[np.ndarray, " 2"]:
    """Return the weights of a kind with the least squared error, those without evidence counted in.

    Parameters
    ----------
    kind
        The kind.
    square, right
        Sums of products of the parts, and of these with changes.
    count
        Over how many perturbations.
    """
    usual = USUAL[kind]
    if not count:
        return usual
    as_if = square * (AS_IF / count)
    square, right = square + as_if, right + as_if @ usual
    if kind == NONE:
        values, vectors = np.linalg.eigh(square)
        root = np.sqrt(np.maximum(values, 1e-12 * max(values[-1], 1e-12)))
        return optimize.nnls(root[:, None] * vectors.T, vectors.T @ right / root)[0]
    apart = np.array([-1.0, 1.0])
    size = apart @ square @ apart
    share = np.clip(apart @ (right - square[0]) / max(size, 1e-12), 0, 1)
    return np.array([1 - share, share])
