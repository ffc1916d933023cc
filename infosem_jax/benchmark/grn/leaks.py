"""A look for what a method knows beyond what it was given.

A small problem is solved in four forms: as it is; with genes called by other names; made from a
network that differs in the labels of the test; and with expression, labels and vectors shuffled, so
that nothing is left to learn from. Scores of an honest method are the same in the first three, and
go with the truth in the last one no more than by luck.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.problems import cut, labelled, read_outs, restrict, unlabelled
from infosem_jax.benchmark.grn.references import Loaded
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.io import Embedding
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.splits import KINDS, Split, Universe, candidates, split

REGULATORS, GENES, CELLS = 12, 60, 60
# Standard deviations above orders at random that shuffled data cannot explain.
LUCK = 6.0
_ORDERS = 200


class Leak(NamedTuple):
    """What a method was found to know: ``kind``, and the finding in words."""

    kind: Literal["names", "test labels", "answers", "not reproducible", "failed"]
    text: str


class Case(NamedTuple):
    """A small problem in its four forms, with the truth of the pairs that are tested.

    Attributes
    ----------
    problem, renamed, relabelled, shuffled
        As above.
    truth, tested
        The known edges, and which pairs count, [regulators, genes] of the problem.
    """

    problem: Problem
    renamed: Problem
    relabelled: Problem
    shuffled: Problem
    truth: np.ndarray
    tested: np.ndarray


def check(method: Method, loaded: Loaded) -> Leak | None:
    """Find out whether a method knows what it was not given; None if nothing was found.

    Names are no secret to a method that declares to know them. What a method knows of whole
    regulators or targets only, such as their number of edges, may stay within luck.

    Parameters
    ----------
    method
        The method.
    loaded
        Data; the first network is used, cut to 12 regulators, 60 genes and 60 cells.

    Raises
    ------
    ValueError
        If no split of so few pairs can be drawn.
    """
    case = small_case(method, loaded)
    forms = [case.problem, case.relabelled]
    if not method.knows_names:
        forms += [case.renamed, case.shuffled]
    try:
        scores, relabelled, *others = _solve(method, forms)
        if not _same(scores, relabelled):
            return _confirm(
                method,
                case.problem,
                case.relabelled,
                Leak("test labels", "its scores change with the labels of the tested pairs"),
            )
        if not others:
            return None
        renamed, shuffled = others
        if not _same(scores, renamed):
            found = _confirm(
                method,
                case.problem,
                case.renamed,
                Leak(
                    "names",
                    "its scores change when genes are called by other names in the same order, so "
                    "it knows something about genes that it was not given; declare "
                    "knows_names=True if it may",
                ),
            )
            if found is not None:
                return found
        luck = max(_beyond_luck(each, case.truth, case.tested) for each in shuffled.values())
    except Exception as error:  # whatever code of others may raise
        return Leak("failed", f"it could not be checked ({type(error).__name__}: {error})")
    if luck > LUCK:
        return Leak(
            "answers",
            "its scores find the known edges in shuffled data, which hold nothing about them "
            f"({luck:.0f} standard deviations above luck)",
        )
    return None


def small_case(method: Method, loaded: Loaded) -> Case:
    """Make the four forms of a small problem, in the same way as those of the benchmark."""
    name, network = next(iter(loaded.networks.items()))
    data = cut(loaded.data, network, regulators=REGULATORS, genes=GENES, cells=CELLS)
    universe = candidates(data, network)
    drawn = _first_split(universe) if method.uses == "labels" else split(universe, "all")
    rng = np.random.default_rng(0)
    embeddings = restrict(loaded.embeddings, data)
    permuted = universe.truth.copy()
    permuted[drawn.test] = rng.permutation(permuted[drawn.test])

    def make(data: Dataset, truth: np.ndarray, embeddings: Mapping[str, Embedding]) -> Problem:
        of = universe._replace(truth=truth)
        if method.uses == "labels":
            others = tuple(loaded.others.get(name, ())) if method.elsewhere else ()
            return labelled(data, of, drawn, 0, embeddings)._replace(others=others)
        return unlabelled(data, [of], 0, embeddings)

    problem = make(data, universe.truth, embeddings)
    random_truth = universe.truth.copy()
    random_truth[universe.candidate] = rng.permutation(random_truth[universe.candidate])
    shuffled = make(_shuffled(data, rng), random_truth, _reassigned(embeddings, rng))
    columns = [problem.genes.index(gene) for gene in universe.genes]
    truth, tested = (np.zeros(problem.labels.shape, bool) for _ in range(2))
    truth[:, columns], tested[:, columns] = universe.truth, drawn.test
    return Case(
        problem, _renamed(problem), make(data, permuted, embeddings), shuffled, truth, tested
    )


def _first_split(universe: Universe) -> Split:
    reason = ""
    for kind in KINDS[1:]:
        try:
            return split(universe, kind)  # pyright: ignore[reportArgumentType]
        except ValueError as error:
            reason = str(error)
    raise ValueError(f"No small problem to look for leaks with: {reason}")


def _renamed(problem: Problem) -> Problem:
    """Call genes by other names, in the same order."""
    genes = sorted(problem.data.genes)
    new = {gene: f"gene{i:06d}" for i, gene in enumerate(genes)}

    def of(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(new[name] for name in names)

    data = problem.data._replace(
        genes=of(problem.data.genes), regulators=of(problem.data.regulators), name="data"
    )
    return problem._replace(
        data=data,
        regulators=of(problem.regulators),
        genes=of(problem.genes),
        embeddings={
            name: Embedding(of(each.names), each.vectors)
            for name, each in problem.embeddings.items()
        },
    )


def _shuffled(data: Dataset, rng: np.random.Generator) -> Dataset:
    """Give each gene the values of another, in an order of cells of their own."""
    x = rng.permuted(data.x[:, rng.permutation(data.x.shape[1])], axis=0)
    return data._replace(x=x, observed=x != 0)


def _reassigned(
    embeddings: Mapping[str, Embedding], rng: np.random.Generator
) -> dict[str, Embedding]:
    return {
        name: Embedding(names, vectors[rng.permutation(len(names))])
        for name, (names, vectors) in embeddings.items()
    }


def _solve(method: Method, problems: Sequence[Problem]) -> list[dict[str, np.ndarray]]:
    results = zip(method.solve(problems), problems, strict=True)
    return [read_outs(result, problem) for result, problem in results]


def _same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)


def _confirm(method: Method, problem: Problem, other: Problem, leak: Leak) -> Leak | None:
    """Solve problems on their own: those solved together may have been rounded differently."""
    first, again, changed = (_solve(method, [each])[0] for each in (problem, problem, other))
    if not _same(first, again):
        return Leak(
            "not reproducible",
            "its scores differ between two runs on the same problem; let the seed of the problem "
            "decide all that is random",
        )
    return None if _same(first, changed) else leak


def _beyond_luck(scores: np.ndarray, truth: np.ndarray, tested: np.ndarray) -> float:
    """How far scores agree with the truth beyond orders of regulators and targets at random.

    In standard deviations of the mean rank of true edges, over truths whose rows and columns are
    permuted, so that numbers of edges count for nothing.
    """
    from scipy.stats import rankdata

    filled = np.where(np.isnan(scores), np.nanmin(scores) - 1, scores)
    rank = np.zeros(scores.shape)
    rank[tested] = rankdata(filled[tested])
    rank[tested] -= rank[tested].mean()
    rng = np.random.default_rng(0)
    rows, columns = truth.shape
    orders = [
        (rank * truth[np.ix_(rng.permutation(rows), rng.permutation(columns))]).sum()
        for _ in range(_ORDERS)
    ]
    spread = float(np.std(orders))
    return float((rank * truth).sum() - np.mean(orders)) / spread if spread > 0 else 0.0
