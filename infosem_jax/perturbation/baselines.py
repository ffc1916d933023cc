"""Predictions without a network: means, neighbours in graph and text, and ridge regression.

On values, a method predicts the change; on tables of signs it predicts how likely a gene is to be
differentially expressed and to go up, both from weighted counts of what it did in other
perturbations, with the gene's own rate as one more count.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float32

from infosem_jax._settings import Method
from infosem_jax.perturbation.counting import (
    PRIOR,
    SHARES,
    count,
    gene_similarity,
    posterior,
    rates,
)
from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.gene_effects import estimate_variances, predict_effects
from infosem_jax.perturbation.knowledge import indicator, reach, text_of
from infosem_jax.perturbation.similarity import graph_similarity, text_similarity
from infosem_jax.perturbation.task import Prediction, Task, from_change, were_perturbed

# Of a gene's loadings, where responses are regressed on them.
DIMENSIONS = 10
# Penalties of ridge regression that are tried, as shares of the mean diagonal of the kernel.
STRENGTHS = (0.1, 1.0, 10.0, 100.0)


def no_change(task: Task) -> Prediction:
    """Predict that nothing changes."""
    return from_change(np.zeros((len(task.perturbed), len(task.genes)), np.float32))


def mean_response(task: Task) -> Prediction:
    """Predict the mean response to the training perturbations, of the cell line if it has any."""
    return _averaged(task, _same_line(task))


def matching_mean(task: Task) -> Prediction:
    """Predict the mean over training perturbations that share a gene or, else, the cell line.

    For combinations that is the matching mean of Systema; for a perturbation seen in other cell
    lines, its mean there.
    """
    genes = [set(p) for p in task.train.perturbed]
    shared = np.array([[len(set(p) & g) for g in genes] for p in task.perturbed], float)
    return _averaged(task, np.where(shared.any(1, keepdims=True), shared, _same_line(task)))


def neighbours(task: Task, *, graph: bool, text: bool, genes: bool = False) -> Prediction:
    """Predict the mean over training perturbations that are similar by graph, by text, or both.

    In the graph the weight of a perturbation is that of its edges, summed over sources, plus the
    cosine of the two neighbourhoods; by text it is the cosine to the power of 4, of the 50 nearest.
    With ``genes``, responses of similar genes and of all genes are counted too, in tables of signs.

    Parameters
    ----------
    task
        The task.
    graph, text
        What is used.
    genes
        Whether other genes are counted.
    """
    weight = np.zeros((len(task.perturbed), len(task.train.perturbed)))
    every, text_every = reach(task.knowledge, task.perturbed)
    if graph:
        weight += sum(graph_similarity(task.knowledge, task.perturbed, task.train.perturbed))
    if text:
        weight += text_similarity(task.knowledge, task.perturbed, task.train.perturbed)
    informed = (every if graph else False) | (text_every if text else False)
    similarity = None
    if genes and task.train.delta is None:
        similarity = gene_similarity(task.knowledge, task.genes)
    return _averaged(task, weight, similarity)._replace(informed=np.asarray(informed))


def additive(task: Task) -> Prediction:
    """Predict the sum of the responses to the single perturbations of the same cell line.

    Those that were not seen alone count nothing; where none was, it is the mean response.
    """
    if task.train.delta is None:
        raise ValueError("additive needs values of responses, found a table of signs.")
    sums = single_sums(task.train, task.perturbed, task.line)
    change = np.where(np.isfinite(sums), sums, mean_response(task).change)
    return from_change(change, np.asarray(np.isfinite(sums).any(1)))


def gene_effects(task: Task) -> Prediction:
    """Predict the sum of effects of the perturbed genes, which all perturbations tell of.

    See `infosem_jax.perturbation.gene_effects`.
    """
    variances = estimate_variances(task.train)
    change = predict_effects(task.train, task.perturbed, task.line, variances)
    return from_change(change, were_perturbed(task.train, task.perturbed))


def ridge(task: Task, *, features: str) -> Prediction:
    """Regress responses on vectors of the perturbed genes, by kernel ridge regression.

    ``Y = K (K + s I)^-1 (Y - mean) + mean`` with ``K`` the inner products of ``text``, of rows of
    the ``graph`` after one step of smoothing, of the gene's loadings on the main components of the
    training responses (``pca``, Ahlmann-Eltze et al. 2025), or the sum of all. The strength is the
    one with the least error of leaving each training perturbation out, in closed form.

    Parameters
    ----------
    task
        The task.
    features
        ``text``, ``graph``, ``pca`` or ``all``.
    """
    kernel, cross, informed = _kernels(task, features)
    outcome, offset = _outcomes(task.train)
    values, vectors = np.linalg.eigh(kernel)
    rotated = vectors.T @ outcome
    best, best_error = None, np.inf
    scale = max(float(np.trace(kernel)) / max(len(kernel), 1), 1e-12)
    for strength in STRENGTHS:
        shrink = 1 / (np.maximum(values, 0) + strength * scale)
        diagonal = np.square(vectors) @ shrink
        dual = vectors @ (shrink[:, None] * rotated)
        error = float(np.square(dual / diagonal[:, None]).mean())
        if error < best_error:
            best, best_error = dual, error
    found = cross @ best + offset
    return _from_outcomes(task, found)._replace(informed=informed)


def single_sums(
    train: Responses,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
) -> Float32[np.ndarray, "n genes"]:
    """Return the sums of responses to those single perturbations that were seen in the cell line.

    NaN where none was.

    Parameters
    ----------
    train
        Responses to learn from, with values.
    perturbed, line
        Genes and cell line of each perturbation.
    """
    single = {
        (own, genes[0]): i
        for i, (own, genes) in enumerate(zip(train.line, train.perturbed, strict=True))
        if len(genes) == 1
    }
    sums = np.full((len(perturbed), len(train.genes)), np.nan, np.float32)
    for i, (where, genes) in enumerate(zip(line, perturbed, strict=True)):
        rows = [single[where, gene] for gene in genes if (where, gene) in single]
        if rows and train.delta is not None:
            sums[i] = train.delta[rows].sum(0)
    return sums


def _averaged(task: Task, weight: np.ndarray, near=None) -> Prediction:
    train = task.train
    if train.delta is not None:
        total = weight.sum(1, keepdims=True)
        # A little of the mean response goes with every average, so that lone neighbours do not
        # decide alone, and perturbations without any have something to go by.
        usual = np.full(weight.shape, 1.0 / weight.shape[1])
        own = (weight + PRIOR * usual) / (total + PRIOR)
        return from_change((own @ train.delta).astype(np.float32))
    shares = ((0.0, 0.0), (0.0, 0.0)) if near is None else SHARES
    parts = zip(count(train, near), rates(train), shares, strict=True)
    return _signed(*(np.clip(posterior(weight.astype(np.float32), *p), 0, 1) for p in parts))


def _same_line(task: Task) -> np.ndarray:
    same = np.array([[a == b for b in task.train.line] for a in task.line], float)
    return np.where(same.any(1, keepdims=True), same, 1.0)


def _signed(de: np.ndarray, up: np.ndarray) -> Prediction:
    change = de * (2 * up - 1)
    return Prediction(*(part.astype(np.float32) for part in (change, de, up)))


def _kernels(task: Task, features: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inner products among training perturbations, and of test with training ones."""
    train, test = task.train.perturbed, task.perturbed
    edges, texts = reach(task.knowledge, test)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    if features in ("text", "all"):
        here, there = text_of(task.knowledge, test), text_of(task.knowledge, train)
        parts.append((there @ there.T, here @ there.T, texts))
    if features in ("graph", "all"):
        for graph in task.knowledge.graphs.values():
            here, there = (_smooth(graph, indicator(task.knowledge, p)) for p in (test, train))
            parts.append(((there @ there.T).toarray(), (here @ there.T).toarray(), edges))
    if features == "pca":
        parts.append(_loadings(task))
    if not parts:
        raise ValueError(f"Expected features text, graph, pca or all, found {features!r}.")
    kernel, cross = (sum(part[i] / len(parts) for part in parts) for i in (0, 1))
    return np.asarray(kernel), np.asarray(cross), np.any([part[2] for part in parts], axis=0)


def _smooth(graph, start):
    """Spread each perturbation over its node and its neighbours, to length 1."""
    from scipy import sparse

    both = graph.maximum(graph.T)
    scale = sparse.diags_array(1 / np.sqrt(np.maximum(np.asarray(both.sum(1)).ravel(), 1.0)))
    spread = sparse.csr_array(start + start @ (scale @ both @ scale))
    norm = np.sqrt(np.asarray(spread.multiply(spread).sum(1)).ravel())
    return sparse.csr_array(spread.multiply(1 / np.maximum(norm, 1e-9)[:, None]))


def _loadings(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outcome, _ = _outcomes(task.train)
    genes = len(task.genes)
    k = min(DIMENSIONS, *outcome.shape)
    axes = np.linalg.svd(outcome[:, :genes], full_matrices=False)[2][:k]
    place = {gene: i for i, gene in enumerate(task.genes)}
    size = np.sqrt(np.square(axes).mean()) or 1.0

    def of(perturbed: Sequence[Sequence[str]]) -> np.ndarray:
        rows = [sum((axes[:, place[g]] for g in p if g in place), np.zeros(k)) for p in perturbed]
        return np.asarray(rows) / size

    here, there = of(task.perturbed), of(task.train.perturbed)
    return there @ there.T, here @ there.T, np.any(here != 0, axis=1)


def _outcomes(train: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Return what is regressed, centred, and its centre: changes, or signs where they are known."""
    if train.delta is not None:
        mean = train.delta.mean(0)
        return (train.delta - mean).astype(np.float64), mean
    de_rate, up_rate = rates(train)
    de = np.where(train.known, (train.sign != 0) - de_rate, 0.0)
    up = np.where(train.sign != 0, (train.sign > 0) - up_rate, 0.0)
    return np.concatenate([de, up], 1), np.concatenate([de_rate, up_rate])


def _from_outcomes(task: Task, found: np.ndarray) -> Prediction:
    if task.train.delta is not None:
        return from_change(found.astype(np.float32))
    de, up = np.split(found, 2, axis=1)
    return _signed(np.clip(de, 0, 1), np.clip(up, 0, 1))._replace(
        de=de.astype(np.float32), up=up.astype(np.float32)
    )


def _plain(predict: Callable[..., Prediction], about: str, **settings) -> Method:
    control = predict in (no_change, mean_response)
    each = partial(_each, partial(predict, **settings))
    return Method(each, about, random=False, control=control)


def _each(predict: Callable[..., Prediction], tasks: Sequence[Task]) -> list[Prediction]:
    return [predict(task) for task in tasks]


METHODS: dict[str, Method] = {
    "no_change": _plain(no_change, "Nothing changes."),
    "mean": _plain(mean_response, "The mean response to all training perturbations."),
    "matching_mean": _plain(
        matching_mean, "The mean over training perturbations that share a gene, or the cell line."
    ),
    "graph_neighbours": _plain(
        neighbours, "The mean over neighbours in the knowledge graphs.", graph=True, text=False
    ),
    "text_neighbours": _plain(
        neighbours, "The mean over genes with similar texts.", graph=False, text=True
    ),
    "neighbours": _plain(
        neighbours, "The mean over neighbours in graphs and texts.", graph=True, text=True
    ),
    "neighbours_genes": _plain(
        neighbours,
        "The same; in tables of signs, similar genes and all genes are counted too.",
        graph=True,
        text=True,
        genes=True,
    ),
    "ridge_text": _plain(ridge, "Ridge regression on texts.", features="text"),
    "ridge_graph": _plain(ridge, "Ridge regression on smoothed graphs.", features="graph"),
    "ridge_pca": _plain(ridge, "Ridge regression on loadings of genes.", features="pca"),
    "ridge": _plain(ridge, "Ridge regression on texts and graphs.", features="all"),
    "additive": _plain(additive, "The sum of the single responses, for combinations."),
    "gene_effects": _plain(
        gene_effects, "The sum of effects of genes, estimated from single ones and combinations."
    ),
}
