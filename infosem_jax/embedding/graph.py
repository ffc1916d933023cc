"""The graph of a study: its variable genes, their features, and edges of co-expression."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int

from infosem_jax._settings import check
from infosem_jax._shown import shown
from infosem_jax.data._names import some
from infosem_jax.embedding import coexpression
from infosem_jax.embedding.coexpression import KINDS
from infosem_jax.embedding.genes import choose_genes, features
from infosem_jax.embedding.studies import Study

_log = logging.getLogger("infosem_jax")


@dataclass(frozen=True)
class GraphSettings:
    """How graphs are made.

    Attributes
    ----------
    genes
        Most genes of a graph.
    edges
        ``cscore``: the test of CS-CORE, for counts; ``correlation`` or ``cosine``: at least
        ``threshold`` in size; ``knn``: the most correlated of each gene; ``auto``: CS-CORE for
        counts, knn for others.
    alpha
        Pairs with a smaller p-value of CS-CORE are edges.
    correct
        Whether p-values are corrected for the number of pairs first.
    threshold
        Least absolute correlation or cosine of an edge.
    neighbours
        Nearest neighbours of a gene.
    """

    genes: int = 1000
    edges: str = "auto"
    alpha: float = 0.005
    correct: bool = False
    threshold: float = 0.3
    neighbours: int = 15

    def __post_init__(self):
        if self.edges not in KINDS:
            raise ValueError(f"edges: expected one of {', '.join(KINDS)}, found {self.edges!r}.")
        check(
            self,
            least={20: ["genes"], 1: ["neighbours"]},
            above={0: ("alpha", "threshold")},
            below={1: ("alpha", "threshold")},
        )


@shown("features", "adjacency", "genes", "label", "species", "edges")
class StudyGraph(NamedTuple):
    """What methods are given of a study.

    Attributes
    ----------
    name, label, species
        What it is called, its technique and tissue, and its species.
    genes
        Names that studies share.
    symbols
        Names as the study has them.
    features
        Residuals, [genes, cells].
    adjacency
        Which pairs are co-expressed; every gene with itself, [genes, genes].
    edges
        How edges were made.
    chance
        Probability of an edge between genes that are independent; 0 where edges are no test.
    """

    name: str
    label: str
    species: str
    genes: tuple[str, ...]
    symbols: tuple[str, ...]
    features: Float32[np.ndarray, "genes cells"]
    adjacency: Bool[np.ndarray, "genes genes"]
    edges: str
    chance: float = 0.0

    @property
    def degree(self) -> float:
        """Mean number of neighbours of a gene, itself left out."""
        return float(self.adjacency.sum(1).mean() - 1)


def study_graph(study: Study, settings: GraphSettings = GraphSettings()) -> StudyGraph:
    """Make the graph of a study.

    Parameters
    ----------
    study
        Expression with names that studies share.
    settings
        How.

    Raises
    ------
    ValueError
        If CS-CORE is chosen for values that are no counts, or fewer than 20 genes are expressed by
        three cells.
    """
    residuals = features(study)
    chosen = choose_genes(study, residuals, settings.genes)
    if len(chosen) < 20:
        raise ValueError(
            f"{study.name}: expected at least 20 genes that three cells express, found "
            f"{len(chosen)}."
        )
    kind = settings.edges
    if kind == "auto":
        kind = "cscore" if study.counts else "knn"
    x = np.ascontiguousarray(residuals[:, chosen].T)
    adjacency = _edges(study, chosen, x, kind, settings)
    np.fill_diagonal(adjacency, True)
    graph = StudyGraph(
        study.name,
        study.label,
        study.species,
        tuple(study.genes[i] for i in chosen),
        tuple(study.symbols[i] for i in chosen),
        x,
        adjacency,
        kind,
        _chance(adjacency, settings) if kind == "cscore" else 0.0,
    )
    _log.info(
        "%s: %d genes, %d cells, %.1f neighbours by %s",
        *(graph.name, *x.shape, graph.degree, kind),
    )
    return graph


def common(graphs: Sequence[StudyGraph]) -> list[str]:
    """Return the genes that all graphs have, in the order of the first."""
    shared = set.intersection(*(set(graph.genes) for graph in graphs))
    return [gene for gene in graphs[0].genes if gene in shared]


def isolated(graphs: Sequence[StudyGraph]) -> list[str]:
    """Return sentences about studies that nothing joins to others, or others alone."""
    if len(graphs) == 1:
        return ["One study alone: nothing is joined, and the embedding reflects its graph only."]
    return [
        f"{b.name} and {a.name} share no gene; only what each shares with others joins them."
        for i, a in enumerate(graphs)
        for b in graphs[:i]
        if not common([a, b])
    ]


def refuse_apart(studies: Sequence[Study] | Sequence[StudyGraph]) -> None:
    """Refuse studies that no chain of common genes joins: their vectors could not be compared.

    Parameters
    ----------
    studies
        With names that studies share, see `harmonise`.

    Raises
    ------
    ValueError
        Naming studies that are apart, with genes of both.
    """
    parts: list[tuple[set[str], list[int]]] = []
    for i, study in enumerate(studies):
        own, members = set(study.genes), [i]
        touching = [part for part in parts if part[0] & own]
        for genes, others in touching:
            own, members = own | genes, others + members
        parts = [part for part in parts if part not in touching] + [(own, members)]
    if len(parts) < 2:
        return
    a, b = (studies[min(members)] for _, members in parts[:2])
    variable = isinstance(a, StudyGraph)
    genes = "variable gene" if variable else "gene"
    raise ValueError(
        f"Expected studies that common genes join, found no {genes} in common between {a.name} "
        f"({some(a.genes)}) and {b.name} ({some(b.genes)}); "
        + (
            "take more genes (--genes), or embed each alone."
            if variable
            else "give names of one kind, say of which species each is (--species) with a table "
            "of orthologues (--orthologues), or embed each alone."
        )
    )


def _chance(adjacency: Bool[np.ndarray, "genes genes"], settings: GraphSettings) -> float:
    """Return the level of a test of pairs; of corrected ones, what it lets pass by chance."""
    if not settings.correct:
        return settings.alpha
    n = len(adjacency)
    return settings.alpha * float(adjacency.sum() - n) / (n * (n - 1))


def _edges(
    study: Study,
    chosen: Int[np.ndarray, " chosen"],
    x: Float32[np.ndarray, "genes cells"],
    kind: str,
    settings: GraphSettings,
) -> Bool[np.ndarray, "genes genes"]:
    if kind == "cscore":
        depth = study.x.sum(1, dtype=np.float64)
        found = coexpression.cscore(study.x[:, chosen], depth)
        return coexpression.significant(found.z, settings.alpha, correct=settings.correct)
    correlation = coexpression.correlate(x).correlation
    if kind == "knn":
        return coexpression.nearest(correlation, settings.neighbours)
    similarity = correlation if kind == "correlation" else coexpression.cosine(x)
    return np.abs(similarity) >= settings.threshold
