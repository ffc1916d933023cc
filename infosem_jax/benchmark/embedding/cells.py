"""One cell of the grid: what one method's embedding of one group of studies is worth."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from infosem_jax.benchmark.embedding.sources import Prepared, Source
from infosem_jax.benchmark.store import Store
from infosem_jax.embedding.gene_sets import GeneSets, function_recovery
from infosem_jax.embedding.metrics import evaluate
from infosem_jax.embedding.model import Vectors
from infosem_jax.embedding.orthologues import retrieval_scores, retrieve_orthologues
from infosem_jax.embedding.result import embedded


class At(NamedTuple):
    """Place of a cell in the grid.

    Attributes
    ----------
    dataset
        The group of studies.
    genes
        How graphs were made: edges and most genes.
    method, seed
        As everywhere; the seed also draws the orthologues that are withheld.
    """

    dataset: str
    genes: str
    method: str
    seed: int


class Cell(NamedTuple):
    """What was measured there.

    Attributes
    ----------
    at
        Its place.
    metrics
        Those of `embedding.metrics.evaluate`, `function_recovery` and `retrieval_scores`.
    seconds
        Time that the method took, compilation included.
    studies
        Name, genes, cells and mean number of neighbours of each study.
    """

    at: At
    metrics: dict[str, float]
    seconds: float
    studies: tuple[tuple[str, int, int, float], ...]


def measure(
    at: At,
    source: Source,
    prepared: Prepared,
    vectors: Vectors,
    sets: Mapping[str, GeneSets],
    seconds: float,
) -> Cell:
    """Measure the embedding of a group.

    Parameters
    ----------
    at
        Place in the grid.
    source, prepared
        The group, its graphs and the orthologues that training did not know.
    vectors
        An embedding for each study.
    sets
        Collections of gene sets by name.
    seconds
        Time that the method took.

    Raises
    ------
    ValueError
        If embeddings do not go with the studies, or are not finite.
    """
    graphs = prepared.graphs
    metrics = evaluate(embedded(graphs, vectors, at.method, key=at.seed), graphs, sets)
    for measure_name in ("function_auroc", "function_precision_ratio"):
        metrics[measure_name] = _mean(metrics[f"{measure_name}_{name}"] for name in sets)
    # The mean over studies blurs spaces that nothing joins; each alone says what it holds.
    metrics["function_auroc_within"] = _mean(
        function_recovery(graph.genes, own, each)["function_auroc"]
        for graph, own in zip(graphs, vectors, strict=True)
        for each in sets.values()
    )
    if prepared.withheld:
        hits = retrieve_orthologues(
            graphs, vectors, source.orthologues, prepared.withheld, target=source.target
        )
        metrics |= retrieval_scores(hits)
    sizes = [(g.name, len(g.genes), g.features.shape[1], round(g.degree, 2)) for g in graphs]
    return Cell(at, {k: float(v) for k, v in metrics.items()}, float(seconds), tuple(sizes))


# The column ``dataset`` holds the group of studies, ``network`` nothing.
STORE = Store(
    "embedding",
    At,
    Cell,
    ("dataset", "genes", "method"),
    fixed=(("network", ""), ("split", "all")),
)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan
