"""A screen from a file: responses, the control cells behind them, and published parts."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np

from infosem_jax._shown import shown
from infosem_jax._typing import Path
from infosem_jax.data._names import count_matches
from infosem_jax.perturbation.data import Cells, Responses, controls_of, summarise
from infosem_jax.perturbation.de import USUAL, Changes, Thresholds, predicted_cells, rank_sum
from infosem_jax.perturbation.knowledge import Knowledge, make_knowledge, read_edges, read_text
from infosem_jax.perturbation.readers import AUTO, Columns, read_cells
from infosem_jax.perturbation.tables import read_means, read_signed
from infosem_jax.perturbation.task import Prediction

# Cells made of a prediction for its tests; more cost time and find no other genes.
MOST_MADE = 1000


@shown("responses", "controls", "published")
class Screen(NamedTuple):
    """A perturbation screen.

    Attributes
    ----------
    responses
        What perturbations did.
    controls
        Control cells of each cell line; none of tables.
    published
        Published part of each perturbation, "" where there is none.
    thresholds
        What counts as differentially expressed.
    cells
        All cells; None of tables.
    """

    responses: Responses
    controls: dict[str, np.ndarray]
    published: tuple[str, ...]
    thresholds: Thresholds = USUAL
    cells: Cells | None = None

    @property
    def genes(self) -> list[str]:
        """All genes that are perturbed or respond, sorted: those that need a node."""
        perturbed = {gene for genes in self.responses.perturbed for gene in genes}
        return sorted(perturbed | set(self.responses.genes))


def read_screen(
    path: Path,
    *,
    columns: Columns = AUTO,
    thresholds: Thresholds = USUAL,
    least_cells: int = 10,
    least_counts: float = 0.0,
    keep: Sequence[tuple[str, float]] = (),
    top_genes: int = 0,
    most_cells: int = 0,
    line: str = "",
) -> Screen:
    """Read a screen by the ending of its file: cells (h5ad), means (npz) or signs (CSV, TSV).

    Parameters
    ----------
    path
        The file; see ``readers``.
    columns, least_counts, keep, top_genes, most_cells
        Of cells, see `read_cells`.
    thresholds, least_cells
        See `summarise`.
    line
        Cell line of tables.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As the readers.
    """
    name = FilePath(path).name
    if name.endswith(".h5ad"):
        cells = read_cells(
            path, columns, top_genes=top_genes, most_cells=most_cells,
            least_counts=least_counts, keep=keep,
        )  # fmt: skip
        return screen_of_cells(cells, thresholds=thresholds, least_cells=least_cells)
    if name.endswith(".npz"):
        found = read_means(path, line=line, thresholds=thresholds)
        return Screen(found, {}, ("",) * len(found.perturbed), thresholds)
    found, published = read_signed(path, line=line)
    return Screen(found, {}, published, thresholds)


def screen_of_cells(
    cells: Cells, *, thresholds: Thresholds = USUAL, least_cells: int = 10
) -> Screen:
    """Make a screen of cells.

    Parameters
    ----------
    cells
        The cells.
    thresholds, least_cells
        See `summarise`.
    """
    found = summarise(cells, thresholds=thresholds, least_cells=least_cells)
    controls = {line: controls_of(cells, line) for line in sorted(set(found.line))}
    return Screen(found, controls, ("",) * len(found.perturbed), thresholds, cells)


def read_knowledge(
    graphs: Mapping[str, Path], text: Path | None, genes: Sequence[str], *, top: int = 0
) -> Knowledge:
    """Read graphs by name and texts; ``genes`` have a node whatever is known of them.

    Parameters
    ----------
    graphs
        Files of edges, see `read_edges`; ``edges.csv`` of ``infosem fit`` is one.
    text
        File of texts or vectors, see `read_text`.
    genes
        Perturbed and responding genes.
    top
        Edges of each target of a network that lists all pairs; 0 keeps all.

    Raises
    ------
    ValueError
        If a file cannot be read, or knows less than a twentieth of the genes while these are less
        than a twentieth of its own.
    """
    tables = {name: read_edges(path, top=top) for name, path in graphs.items()}
    vectors = None if text is None else read_text(text)
    for name, table in tables.items():
        count_matches(genes, [*table["source"], *table["target"]], f"graph {name}")
    if vectors is not None:
        count_matches(genes, vectors.names, "the file of texts")
    return make_knowledge(tables, vectors, genes)


def coverage(knowledge: Knowledge, responses: Responses) -> list[str]:
    """Say of how many perturbed genes each graph, and the texts, know something."""
    perturbed = {gene for genes in responses.perturbed for gene in genes}
    at = [i for i, name in enumerate(knowledge.nodes) if name in perturbed]
    parts = {f"graph {name}": graph for name, graph in knowledge.graphs.items()}
    known = {name: graph.sum(0) + graph.sum(1) for name, graph in parts.items()}
    if knowledge.has_text.any():
        known["the file of texts"] = knowledge.has_text
    return [
        f"{name} knows {int((np.asarray(own).ravel()[at] > 0).sum())} of {len(perturbed)} "
        "perturbed genes"
        for name, own in known.items()
    ]


def predicted_changes(
    prediction: Prediction, truth: Responses, controls: Mapping[str, np.ndarray], seed: int
) -> Changes | None:
    """Test predicted cells against the observed controls, as observed cells were.

    As many cells as were observed, at most 1,000, are made of each prediction, see
    `predicted_cells`; None where there are no control cells.

    Parameters
    ----------
    prediction, truth
        What was predicted, and observed.
    controls
        Control cells of each cell line.
    seed
        Seeds the draw of cells.
    """
    if not controls or truth.n_cells is None:
        return None
    found = []
    for i, (line, n) in enumerate(zip(truth.line, truth.n_cells, strict=True)):
        own = controls[line]
        cells = predicted_cells(prediction.change[i], own, int(min(n, MOST_MADE)), seed + i)
        found.append(rank_sum(cells, own))
    return Changes(*(np.stack(part) for part in zip(*found, strict=True)))
