"""How much of each part is in a predicted change, by what was seen of the perturbed genes.

Beyond the mean response m,

    y_p - m = a (effects_p - m) + b (similar_p - m) + c (sum_p - m) + e_p,     a, b, c >= 0

with what effects of genes tell, what similar perturbations did, and the sum of those single
responses that were seen. Without evidence it is the plainest answer: that sum; effects of genes
where these were perturbed in combinations or other cell lines only, since effects are as large as
the data allow; or the mean response where no gene was perturbed. Weights have the least squared
error on training perturbations that were left out as those asked for are: by themselves, with all
that share one of their genes, or with all that share any. Weights add to 1 where a gene was
perturbed; what is given to a sum of which nothing was seen is given to the mean response.
"""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy import optimize

from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.gene_effects import Variances, leave_out_effects

# Kinds of perturbations: no gene was perturbed; some were, but only in combinations, which do not
# tell whose effect it was; one was alone, but in other cell lines; one was in this line; all genes
# of a combination were.
NONE, TOGETHER, ELSEWHERE, SOME, ALONE = range(5)
# Weights of effects of genes, of similar perturbations and of the sum of single responses that each
# kind has without evidence, and how many perturbations of usual size these count as: the best
# weights of single perturbations differ widely, so that one or two would otherwise decide.
USUAL = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
AS_IF = 3.0
# How much more than the parts the sum of weights counts, where it is held at 1.
HEAVY = 1e3
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
        Those of each gene alone, by cell line.
    """

    rows: dict[str, frozenset[int]]
    single: dict[str, dict[str, int]]

    def kind(self, genes: tuple[str, ...], line: str, out: Set[int] = frozenset()) -> int:
        """Return the kind of a perturbation of genes in a line, some perturbations left out."""
        here = self.alone(genes, line, out)
        if here:
            return ALONE if len(here) == len(genes) > 1 else SOME
        if any(row not in out for gene in genes for row in self.single.get(gene, {}).values()):
            return ELSEWHERE
        return TOGETHER if any(self.rows.get(gene, out) - out for gene in genes) else NONE

    def alone(self, genes: tuple[str, ...], line: str, out: Set[int] = frozenset()) -> list[int]:
        """Return the perturbations of one of the genes alone in a line, without those left out."""
        rows = (self.single.get(gene, {}).get(line) for gene in genes)
        return [row for row in rows if row is not None and row not in out]


def seen_in(train: Responses) -> Seen:
    """Return where genes were perturbed in training."""
    rows: dict[str, set[int]] = {}
    single: dict[str, dict[str, int]] = {}
    for i, (line, genes) in enumerate(zip(train.line, train.perturbed, strict=True)):
        for gene in genes:
            rows.setdefault(gene, set()).add(i)
        if len(genes) == 1:
            single.setdefault(genes[0], {})[line] = i
    return Seen({gene: frozenset(own) for gene, own in rows.items()}, single)


def mix(
    weights: Float[np.ndarray, "5 3"],
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
        What effects of genes, and similar perturbations, tell of each, and the sum of its single
        responses; the mean response where none was seen.
    """
    beyond = [part - mean for part in parts]
    return mean + sum(weights[kinds, i][:, None] * part for i, part in enumerate(beyond))


def choose_weights(
    train: Responses, similarity: Float32[np.ndarray, "n n"], variances: Variances
) -> Float32[np.ndarray, "5 3"]:
    """Choose the weights of effects, similar perturbations and single responses for each kind.

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
    n = len(train.perturbed)
    # Nothing is learned where fewer than two others are left.
    examples = [
        (seen.kind(genes, train.line[row], out), (row, out))
        for row, genes in enumerate(train.perturbed)
        for out in _ways(seen, row, genes)
        if n - len(out) >= 2
    ]
    times = Counter((kind, row) for kind, (row, _) in examples)
    square, right = np.zeros((len(USUAL), 3, 3)), np.zeros((len(USUAL), 3))
    for start in range(0, len(examples), AT_ONCE):
        own, out = zip(*examples[start : start + AT_ONCE], strict=True)
        found = left_out_parts(train, similarity, variances, out)
        for kind, (row, _), (change, *parts) in zip(own, out, found, strict=True):
            square[kind] += np.array(parts) @ np.array(parts).T / times[kind, row]
            right[kind] += np.array(parts) @ change / times[kind, row]
    # Perturbations that share a gene tell of the same: of k that do with one, each counts 1/(k+1),
    # in all at most as many as share none.
    count = np.zeros(len(USUAL))
    for kind, row in times:
        near = frozenset().union(*(seen.rows[gene] for gene in train.perturbed[row]))
        count[kind] += 1 / sum((kind, other) in times for other in near)
    given = zip(USUAL, square, right, count, strict=True)
    return np.asarray([least_squares(*of) for of in given], np.float32)


def _ways(seen: Seen, row: int, genes: tuple[str, ...]) -> Iterator[frozenset[int]]:
    """Yield the ways to leave a perturbation out, each as the rows that are."""
    each = [seen.rows[gene] for gene in genes]
    yield from dict.fromkeys([frozenset({row}), *each, frozenset().union(*each)])


def left_out_parts(
    train: Responses,
    similarity: Float32[np.ndarray, "n n"],
    variances: Variances,
    out: Sequence[LeftOut],
) -> Float[np.ndarray, "out 4 genes"]:
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
    added, seen = mean.copy(), seen_in(train)
    for i, (row, own) in enumerate(out):
        if here := seen.alone(train.perturbed[row], train.line[row], own):
            added[i] = delta[here].sum(0)
    return np.stack([delta[rows], effects, similar, added], 1) - mean[:, None]


def least_squares(
    usual: Float[np.ndarray, " 3"],
    square: Float[np.ndarray, "3 3"],
    right: Float[np.ndarray, " 3"],
    count: float,
) -> Float[np.ndarray, " 3"]:
    """Return the weights of a kind with the least squared error, those without evidence counted in.

    They are at least 0, and add to 1 where those without evidence do.

    Parameters
    ----------
    usual
        Weights without evidence.
    square, right
        Sums of products of the parts, and of these with changes.
    count
        Over how many perturbations that do not tell of the same.
    """
    if not count:
        return usual
    as_if = square * (AS_IF / count)
    square, right = square + as_if, right + as_if @ usual
    values, vectors = np.linalg.eigh(square)
    root = np.sqrt(np.maximum(values, 1e-12 * max(values[-1], 1e-12)))
    # A heavy last row holds the sum at that without evidence, if it is a sum of parts at all.
    heavy = HEAVY * root[-1] * usual.any()
    left = np.vstack([root[:, None] * vectors.T, np.full(len(usual), heavy)])
    return optimize.nnls(left, np.append(vectors.T @ right / root, heavy))[0]
