"""What labels of pairs teach about other pairs, part by part, and how far each part carries over.

Every part is a closed form, and 0 where it has nothing to go by: rates of regulators and targets,
how these follow from the genes' vectors, which vectors the targets of a regulator have (and the
regulators of a target), factors, and genes that share labelled partners.

How much a part counts is learned from labelled pairs that were held out as the pairs asked for are:
one by one, with their target, with their regulator, or with both. A part that foretells pairs of
known regulators alone has no weight where the regulator is unknown. Genes that were held out have
rates of their own, which parts need not explain: a few regulators are few examples of how rates
follow from what is known, however many pairs they have. What a part says in log-odds counts once at
most: by chance, few labels would have it count for more, above what is known without them.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.special import logit

from infosem_jax.grn.priors.label_weights import LEAST, weigh

# By which of its genes have labels of their own: both, the regulator, the target, neither.
KINDS = ("pairs", "targets", "regulators", "both")
FOLDS = 4
# Of fewer than two regulators (or targets) in a fold, nothing is learned about others.
FEWEST = 2 * FOLDS
# What a vector of length one counts for, as precision of its coefficients.
RIDGE, FACTOR_RIDGE = 0.3, 2.0
FACTORS, SWEEPS, START = 8, 8, 0.3
# Axes of pairs whose genes have no labels of their own, by kind.
_UNKNOWN = {"pairs": (), "targets": (1,), "regulators": (0,), "both": (0, 1)}
# Parts that are on no scale, other than log-odds.
_SHARED = ("path", "like regulators", "like targets", "shared targets", "shared regulators")

Matrix = Float[np.ndarray, "rows genes"]


class Told(NamedTuple):
    """What labels say of every pair.

    Attributes
    ----------
    log_odds
        Of an edge, [rows, genes]; of labelled pairs as if their own label were not known.
    weights
        Of the parts, times their standard deviation over pairs that were held out, by kind of pair
        and name; none for a kind that is not asked for, or that labels are too few to hold out.
    """

    log_odds: Matrix
    weights: dict[str, dict[str, float]]


def learn(
    labels: Matrix,
    rows: Int[np.ndarray, " rows"],
    vectors: Mapping[str, Float[np.ndarray, "genes features"]],
    pairs: Mapping[str, Matrix],
    expected: str | None = None,
) -> Told:
    """Learn the log-odds of all pairs from labels of some.

    Parameters
    ----------
    labels
        1 and 0, NaN where there is none, [rows, genes].
    rows
        Which gene each row is.
    vectors
        Of genes, of length one or zero, by name.
    pairs
        What else is known of pairs, by name, whatever the labels.
    expected
        Which of these counts once where labels say nothing else; all other parts then do not.
    """
    known = ~np.isnan(labels)
    labels = np.where(known, labels, 0.0)
    given = [np.asarray(part, np.float32) for part in pairs.values()]
    names = _names(vectors, pairs)
    centre = np.array([float(name == expected) for name in names])
    most = np.array([np.inf if name in (*_SHARED, *pairs) else 1.0 for name in names])
    whole = [*parts(labels, known, rows, vectors), *given]
    base = logit(np.clip(labels[known].mean(), LEAST, 1 - LEAST))
    out = np.zeros(labels.shape)
    weights: dict[str, dict[str, float]] = {}
    for kind, asked in kinds(known).items():
        x, y, places = [], [], []
        for held, left in hold_out(kind, known, rows) if asked.any() else ():
            if held.any() and 0 < labels[left].sum() < left.sum():
                own = [*parts(labels, left, rows, vectors), *given]
                x.append(np.stack([part[held] for part in own]))
                y.append(labels[held])
                places.append(held)
        held_labels = np.concatenate(y or [np.zeros(0)])
        if 0 < held_labels.sum() < len(held_labels):
            joined = np.concatenate(x, 1)
            at = np.concatenate([np.nonzero(held) for held in places], 1)
            offset, weight = weigh(joined, held_labels, centre, most, at[list(_UNKNOWN[kind])])
            spread = (weight * joined.std(1)).tolist()
            weights[kind] = dict(zip(names, spread, strict=True))
        else:
            offset, weight = base, centre
        counting = zip(weight, whole, strict=True)
        out[asked] = offset + sum(w * part[asked] for w, part in counting if w)
        if kind == "pairs":
            for held, values in zip(places, x, strict=True):
                out[held] = offset + weight @ values
    return Told(out, weights)


def kinds(known: Bool[np.ndarray, "rows genes"]) -> dict[str, Bool[np.ndarray, "rows genes"]]:
    """Tell apart pairs of genes with labels in that role, and of genes without, see `KINDS`."""
    regulator, target = (np.asarray(known.any(axis, keepdims=True)) for axis in (1, 0))
    masks = (regulator & target, regulator & ~target, ~regulator & target, ~regulator & ~target)
    return dict(zip(KINDS, masks, strict=True))


def hold_out(
    kind: str, known: Bool[np.ndarray, "rows genes"], rows: Int[np.ndarray, " rows"]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield labelled pairs held out, and those left to learn from; none where labels are too few.

    A pair and its reverse are never on two sides. Regulators that are held out keep their labels as
    targets where most regulators without a label of their own have such.

    Parameters
    ----------
    kind
        One of `KINDS`.
    known
        Which pairs are labelled.
    rows
        Which gene each row is.
    """
    rng = np.random.default_rng(0)
    if kind == "pairs":
        fold = rng.integers(FOLDS, size=known.shape)
        square = fold[:, rows]
        fold[:, rows] = np.where(np.tri(len(rows), dtype=bool), square, square.T)
        for k in range(FOLDS):
            yield known & (fold == k), known & (fold != k)
        return
    if min(known.any(1 - axis).sum() for axis in _UNKNOWN[kind]) < FEWEST:
        return
    of_gene = np.empty(known.shape[1], int)
    # Regulators and other genes are spread evenly.
    for some in (rows, np.setdiff1d(np.arange(len(of_gene)), rows)):
        of_gene[rng.permutation(some)] = np.arange(len(some)) % FOLDS
    row, column = of_gene[rows][:, None], of_gene
    # Most regulators without a label of their own may have labels as targets.
    as_targets = np.asarray(known[:, rows[~known.any(1)]].any(0))
    # All pairs of folds for both would take four times as long as the half that is taken.
    for a, b in product(range(FOLDS), (0, 1) if kind == "both" else (0,)):
        aside, away = row == a, column == (a + b) % FOLDS
        if kind == "targets":
            held, left = known & away, known & ~away
        elif kind == "regulators":
            held, left = known & aside, known & ~aside
        else:
            held, left = known & aside & away, known & ~aside & ~away
        if kind == "regulators" and as_targets.sum() > len(as_targets) / 2:
            yield held & ~_reverse(left, rows), left
        else:
            yield held, left & ~_reverse(held, rows)


def _reverse(
    pairs: Bool[np.ndarray, "rows genes"], rows: Int[np.ndarray, " rows"]
) -> Bool[np.ndarray, "rows genes"]:
    """Tell which pairs are the reverse of one of these."""
    reverse = np.zeros_like(pairs)
    reverse[:, rows] = pairs[:, rows].T
    return reverse


def parts(
    labels: Matrix,
    known: Bool[np.ndarray, "rows genes"],
    rows: Int[np.ndarray, " rows"],
    vectors: Mapping[str, Float[np.ndarray, "genes features"]],
) -> list[Float32[np.ndarray, "rows genes"]]:
    """Say of every pair what labels teach, in the order of `_names`.

    With rates ``p_ij = expit(c + r_i + t_j)``, coefficients of vectors and factors are one Newton
    step of logistic regression from p, with normal priors.

    Parameters
    ----------
    labels, known
        Labels, and which of them may be used.
    rows, vectors
        As in `learn`.
    """
    weight, error, r, t, variances = _rates(labels, known)
    shape = labels.shape
    out = [np.broadcast_to(r[:, None], shape), np.broadcast_to(t, shape)]
    for F in (np.asarray(each, np.float32) for each in vectors.values()):
        own = F[rows]
        # What vectors do not tell of a rate varies as much as what they do.
        for rate, V, told, variance in (
            (r, own, weight.sum(1), variances[0]),
            (t, F, weight.sum(0), variances[1]),
        ):
            precision = (told / (1 + told * variance))[None]
            coefficients = row_regressions(precision, precision * rate, V, 1 / variance)[0]
            # `V @ coefficients` warns of invalid values by chance where there are five: OpenBLAS
            # 0.3.31 with AVX-512 then reads memory that it does not use.
            by_vector = np.einsum("gf,f->g", V, coefficients)
            out.append(np.broadcast_to(by_vector if V is F else by_vector[:, None], shape))
        regulators = row_regressions(weight, error, F, RIDGE)
        targets = row_regressions(weight.T, error.T, own, RIDGE)
        seen = own[known.any(1)]
        like = np.linalg.solve(
            seen.T @ seen + RIDGE * np.eye(F.shape[1], dtype=np.float32),
            seen.T @ regulators[known.any(1)],
        )
        out += [regulators @ F.T, own @ targets.T, own @ like @ F.T]
    return [*out, _factors(weight, error), *_shared(labels, known, rows)]


def _names(vectors: Mapping[str, np.ndarray], pairs: Mapping[str, Matrix]) -> list[str]:
    of = (
        *("regulators' rates by {}", "targets' rates by {}", "targets of like {}"),
        *("regulators of like {}", "pairs of like {}"),
    )
    return [
        *("rate of the regulator", "rate of the target"),
        *(name.format(each) for each in vectors for name in of),
        "factors",
        *_SHARED,
        *pairs,
    ]


def _rates(
    labels: Matrix, known: Bool[np.ndarray, "rows genes"]
) -> tuple[
    Float32[np.ndarray, "rows genes"],
    Float32[np.ndarray, "rows genes"],
    Float32[np.ndarray, " rows"],
    Float32[np.ndarray, " genes"],
    tuple[float, float],
]:
    """Fit ``p_ij = expit(c + r_i + t_j)`` with normal r and t, whose variances are learned as well.

    Returns
    -------
    ``p (1 - p)`` and what p leaves of the labels, 0 where these are not known; r, t and their
    variances.
    """
    c = logit(np.clip(labels[known].mean(), LEAST, 1 - LEAST))
    values = [np.zeros(n) for n in labels.shape]
    variances = [1.0, 1.0]
    mask, edges = known.astype(np.float32), (labels * known).astype(np.float32)

    def now() -> tuple[np.ndarray, np.ndarray]:
        row, column = (np.exp(each).astype(np.float32) for each in (c + values[0], values[1]))
        odds = row[:, None] * column
        p = mask * odds / (1 + odds)
        return p * (1 - p), edges - p

    for _ in range(SWEEPS):
        for k, axis in enumerate((1, 0)):
            weight, error = now()
            precision = weight.sum(axis) + 1 / variances[k]
            step = (error.sum(axis) - values[k] / variances[k]) / precision
            # From a low rate, a whole step leads far beyond the best.
            values[k] = values[k] + np.clip(step, -1, 1)
            seen = known.any(axis)
            variances[k] = float(np.clip((values[k] ** 2 + 1 / precision)[seen].mean(), 0.01, 9))
        weight, error = now()
        c += np.clip(error.sum() / max(weight.sum(), 1e-9), -1, 1)
    r, t = (each.astype(np.float32) for each in values)
    return *now(), r, t, (variances[0], variances[1])


def row_regressions(
    weight: Float[np.ndarray, "rows columns"],
    error: Float[np.ndarray, "rows columns"],
    F: Float[np.ndarray, "columns features"],
    ridge: float,
) -> Float[np.ndarray, "rows features"]:
    """Solve for the coefficients of every row's own weighted ridge regression on the columns.

    Parameters
    ----------
    weight
        Of each value.
    error
        Values times their weights.
    F
        Features of the columns.
    ridge
        Added to the sums of squares.
    """
    k = F.shape[1]
    squares = (F[:, :, None] * F[:, None, :]).reshape(len(F), -1)
    out = np.zeros((len(weight), k), np.result_type(weight, F))
    # Rows without weight have nothing to go by.
    some = weight.any(1)
    left = (weight[some] @ squares).reshape(-1, k, k) + ridge * np.eye(k, dtype=weight.dtype)
    out[some] = np.linalg.solve(left, (error[some] @ F)[:, :, None])[:, :, 0]
    return out


def _factors(
    weight: Float[np.ndarray, "rows genes"], error: Float[np.ndarray, "rows genes"]
) -> Matrix:
    """Complete what rates leave by a matrix of low rank, by alternating regressions."""
    scaled = error / (np.sqrt(np.outer(weight.sum(1), weight.sum(0))) + 1e-6)
    _, vectors = np.linalg.eigh((scaled @ scaled.T).astype(np.float64))
    target = scaled.T @ vectors[:, -FACTORS:].astype(np.float32)
    target *= START * np.sqrt(len(target)) / np.maximum(np.linalg.norm(target, axis=0), 1e-9)
    for _ in range(SWEEPS):
        regulator = row_regressions(weight, error, target, FACTOR_RIDGE)
        target = row_regressions(weight.T, error.T, regulator, FACTOR_RIDGE)
    return regulator @ target.T


def _shared(
    labels: Matrix, known: Bool[np.ndarray, "rows genes"], rows: Int[np.ndarray, " rows"]
) -> list[Matrix]:
    """Follow labels over a third gene, and over genes with like labels."""
    left = np.where(known, labels - labels[known].mean(), 0).astype(np.float32)
    regulators, targets = _cosines(left), _cosines(left.T)
    direct = np.zeros_like(left)
    direct[:, rows] = regulators
    path = left[:, rows] @ left / np.sqrt((left**2).sum(1, keepdims=True) + 1)
    return [path, regulators @ left, left @ targets, direct, targets[rows]]


def _cosines(x: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows rows"]:
    """Cosine between rows, 0 of a row with itself."""
    size = np.linalg.norm(x, axis=1, keepdims=True)
    unit = np.divide(x, size, out=np.zeros_like(x), where=size > 0)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, 0)
    return cosine
