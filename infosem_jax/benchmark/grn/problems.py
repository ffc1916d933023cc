"""What methods are given, made from data, a reference network and a split; and smaller forms."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from infosem_jax.data.dataset import Dataset, subset
from infosem_jax.data.io import Embedding
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.splits import Split, Universe, training_labels


def labelled(
    data: Dataset,
    universe: Universe,
    split: Split,
    seed: int = 0,
    embeddings: Mapping[str, Embedding] = {},
) -> Problem:
    """Make the problem of a method that learns from labels; those of the test stay behind.

    Parameters
    ----------
    data, universe, split
        Expression, candidates with their labels, and which of these are for the test.
    seed
        Of all that is random in the method.
    embeddings
        Vectors of genes by name.
    """
    return Problem(
        data,
        universe.regulators,
        universe.genes,
        training_labels(universe, split),
        np.where(split.validation, universe.truth.astype(float), np.nan),
        seed,
        embeddings,
    )


def unlabelled(
    data: Dataset,
    universes: Sequence[Universe],
    seed: int = 0,
    embeddings: Mapping[str, Embedding] = {},
) -> Problem:
    """Make the problem of a method that learns from expression alone, for several networks at once.

    Its regulators are those of any of the networks, its genes all that are expressed.

    Parameters
    ----------
    data, universes
        Expression, and the candidates of each network.
    seed, embeddings
        See `labelled`.
    """
    regulators = tuple(sorted(set().union(*(universe.regulators for universe in universes))))
    genes = tuple(sorted(data.genes))
    none = np.full((len(regulators), len(genes)), np.nan)
    return Problem(data, regulators, genes, none, none.copy(), seed, embeddings)


def part_of(scores: np.ndarray, problem: Problem, universe: Universe) -> np.ndarray:
    """Return the scores of the pairs of a network, from those of a problem that holds them.

    Parameters
    ----------
    scores, problem
        Scores of the pairs of a problem, [regulators, genes].
    universe
        Candidates of the network.
    """
    rows = pd.Index(problem.regulators).get_indexer(pd.Index(universe.regulators))
    columns = pd.Index(problem.genes).get_indexer(pd.Index(universe.genes))
    return scores[np.ix_(rows, columns)]


def read_outs(result: object, problem: Problem) -> dict[str, np.ndarray]:
    """Return what a method gave for a problem as scores by read-out, "" for the main one.

    Raises
    ------
    ValueError
        If there is no main read-out, or scores are not a number (or NaN) for each pair, with one
        at least.
    """
    results = dict(result) if isinstance(result, Mapping) else {"": result}
    if "" not in results:
        raise ValueError(f"expected a main read-out called '', found {', '.join(results)}.")
    found = {}
    shape = (len(problem.regulators), len(problem.genes))
    for name, values in results.items():
        scores = np.asarray(values, np.float64)
        if scores.shape != shape:
            raise ValueError(f"expected scores of shape {shape}, found {scores.shape}.")
        if np.isinf(scores).any() or np.isnan(scores).all():
            raise ValueError("expected finite scores (or NaN for some pairs), found others.")
        found[str(name)] = scores
    return found


def cut(
    data: Dataset, network: pd.DataFrame, *, regulators: int, genes: int, cells: int
) -> Dataset:
    """Reduce data to a size for a quick look, in the same way every time.

    Cells are taken at equal distances, genes from those that vary over these and that the network
    names: the regulators with most edges, and of other genes half those with most edges from these
    regulators and half those with fewest, so that there are known edges and other pairs to test.
    Where numbers of edges are equal, the order of names decides.

    Parameters
    ----------
    data
        Expression.
    network
        Columns ``source, target``, and ``label`` where it holds absent pairs too.
    regulators, genes, cells
        How many are kept at most; regulators count among the genes.
    """
    rows = np.linspace(0, len(data.cells) - 1, min(cells, len(data.cells))).round().astype(int)
    x = data.x[rows]
    varied = {gene for gene, sd in zip(data.genes, np.ptp(x, axis=0), strict=True) if sd > 0}
    present = (
        np.asarray(network["label"]) > 0 if "label" in network else np.ones(len(network), bool)
    )
    pairs = zip(network["source"][present], network["target"][present], strict=True)
    edges = [(a, b) for a, b in pairs if a in varied and b in varied and a != b]
    first = _by_frequency((a for a, _ in edges), {a for a, _ in edges})[:regulators]
    others = varied.intersection([*network["source"], *network["target"]]).difference(first)
    targets = _by_frequency((b for a, b in edges if a in set(first)), others)
    places = min(max(genes - len(first), 0), len(targets))
    few = len(targets) - places // 2
    kept = {*first, *targets[: places - places // 2], *targets[few:]}
    columns = [i for i, gene in enumerate(data.genes) if gene in kept]
    return subset(data, cells=rows, genes=np.array(columns, int))


def restrict(embeddings: Mapping[str, Embedding], data: Dataset) -> dict[str, Embedding]:
    """Keep the vectors of the genes of data; embeddings without any are left out."""
    known, found = set(data.genes), {}
    for name, (names, vectors) in embeddings.items():
        rows = [i for i, gene in enumerate(names) if gene in known]
        if rows:
            found[name] = Embedding(tuple(names[i] for i in rows), vectors[rows])
    return found


def _by_frequency(names: Iterable[str], among: set[str]) -> list[str]:
    """Return names to choose from, those first that occur most often."""
    times = Counter(names)
    return sorted(among, key=lambda name: (-times[name], name))
