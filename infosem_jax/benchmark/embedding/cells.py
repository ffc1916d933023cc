"""One cell of the grid: what one method's embedding of one group of studies is worth."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.benchmark.cell import COLUMNS
from infosem_jax.benchmark.embedding.sources import Prepared, Source
from infosem_jax.data._files import atomic_write, reading
from infosem_jax.embedding.function import (
    GeneSets,
    function_recovery,
    gene_vectors,
    retrieval_scores,
    retrieve_orthologues,
)
from infosem_jax.embedding.metrics import evaluate
from infosem_jax.embedding.model import Vectors


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
    metrics = evaluate(graphs, vectors, seed=at.seed)
    genes, z = gene_vectors([graph.genes for graph in graphs], vectors)
    found = {name: function_recovery(genes, z, own) for name, own in sets.items()}
    for measure_name in ("function_auroc", "function_precision_ratio"):
        metrics[measure_name] = _mean(scores[measure_name] for scores in found.values())
    # The mean over studies blurs spaces that nothing joins; each alone says what it holds.
    metrics["function_auroc_within"] = _mean(
        function_recovery(graph.genes, own, each)["function_auroc"]
        for graph, own in zip(graphs, vectors, strict=True)
        for each in sets.values()
    )
    metrics |= {
        f"{measure_name}_{name}": value
        for name, scores in found.items()
        for measure_name, value in scores.items()
    }
    if prepared.withheld:
        hits = retrieve_orthologues(
            graphs, vectors, source.orthologues, prepared.withheld, target=source.target
        )
        metrics |= retrieval_scores(hits)
    sizes = [(g.name, len(g.genes), g.features.shape[1], round(g.degree, 2)) for g in graphs]
    return Cell(at, {k: float(v) for k, v in metrics.items()}, float(seconds), tuple(sizes))


def path_of(out: Path, at: At) -> FilePath:
    """Return the file of a cell in an output folder."""
    names = (re.sub(r"[^\w .+=()-]|^\.", "_", name) for name in (at.dataset, at.genes, at.method))
    return FilePath(out, "cells", *names) / f"{at.seed}.json"


def write_cell(out: Path, cell: Cell) -> None:
    """Write a cell to its file, whole or not at all.

    Raises
    ------
    OSError
        If writing fails.
    """
    path = path_of(out, cell.at)
    path.parent.mkdir(parents=True, exist_ok=True)
    # NaN is not JSON; what is not defined is null.
    metrics = {k: v if np.isfinite(v) else None for k, v in cell.metrics.items()}
    text = json.dumps(cell._replace(metrics=metrics)._asdict(), allow_nan=False, indent=1)
    with atomic_write(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def read_cell(path: Path) -> Cell:
    """Read what :func:`write_cell` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no cell, damaged, or was moved.
    """
    with reading(path, "cell of a benchmark"):
        found = json.loads(FilePath(path).read_text(encoding="utf-8"))
        metrics = {k: np.nan if v is None else float(v) for k, v in found["metrics"].items()}
        studies = tuple(tuple(own) for own in found["studies"])
        cell = Cell(At(*found["at"]), metrics, float(found["seconds"]), studies)
        if path_of("", cell.at).parts != FilePath(path).parts[-5:]:
            raise ValueError(f"it belongs to {cell.at}; was it moved?")
        return cell


def read_cells(out: Path) -> list[Cell]:
    """Read all cells of an output folder, in order of their places.

    Raises
    ------
    ValueError
        If one of them is damaged.
    """
    paths = FilePath(out, "cells").glob("*/*/*/[0-9]*.json")
    return sorted((read_cell(path) for path in paths), key=lambda cell: cell.at)


def results_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """List every metric of every cell in a row, with the columns of ``results.csv``.

    ``dataset`` holds the group of studies, ``network`` nothing.
    """
    rows = [
        {
            "task": "embedding",
            "network": "",
            "split": "all",
            **cell.at._asdict(),
            "metric": name,
            "value": value,
            "seconds": cell.seconds,
        }
        for cell in cells
        for name, value in cell.metrics.items()
    ]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan
