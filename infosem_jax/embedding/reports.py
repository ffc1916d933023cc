"""What is written of an embedding: tables, and a page with figures."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax.embedding.function import GeneSets, enrichment
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.metrics import SIX
from infosem_jax.embedding.saved import Embedded
from infosem_jax.outputs.page import Page, Picture, Section, Table, number

SHOWN = 25
READING = {
    "Rows": "A gene of a study; a gene that several studies have is there as often.",
    "Clusters": "Louvain's method on the 15 nearest neighbours of all rows; 0 is the largest.",
    "AUC of edges": "Of cosines, as scores of which genes are co-expressed in a study.",
    "Silhouette, iLISI, connectivity": (
        "How well studies mix, for genes that all have; 1 is the best. They say nothing of "
        "function."
    ),
    "Common genes together": "How often rows of one gene share a cluster.",
    "Enrichment": (
        "Hypergeometric tests of gene sets in clusters, against all embedded genes, corrected over "
        "clusters and sets; a gene counts in the cluster that most of its rows are in."
    ),
}


def cluster_table(found: Embedded) -> pd.DataFrame:
    """List every row's place: ``gene, symbol, study, cluster``."""
    return pd.DataFrame(
        {
            "gene": list(found.gene),
            "symbol": list(found.symbol),
            "study": [found.studies[i] for i in found.study],
            "cluster": found.cluster,
        }
    )


def enrichment_table(found: Embedded, sets: Mapping[str, GeneSets]) -> pd.DataFrame:
    """List over-represented gene sets: ``cluster, collection, set, genes, of, p_adjusted``."""
    votes = pd.DataFrame({"gene": list(found.gene), "cluster": found.cluster})
    cluster = votes.groupby("gene", sort=False)["cluster"].agg(lambda own: int(own.mode()[0]))
    rows = [
        (c, collection, name, hits, size, q)
        for collection, own in sets.items()
        for c, name, hits, size, q in enrichment(
            [str(gene) for gene in cluster.index], cluster.to_numpy(), own
        )
    ]
    columns = ["cluster", "collection", "set", "genes", "of", "p_adjusted"]
    return pd.DataFrame(rows, columns=pd.Index(columns)).sort_values(["cluster", "p_adjusted"])


def measured_text(name: str, value: float) -> str:
    """Write a measure: numbers of things whole, others with three digits."""
    return number(value, 0 if name.startswith(_COUNTS) else 3)


def places(
    found: Embedded, how: str = "auto", *, seed: int = 0
) -> tuple[Float[np.ndarray, "rows 2"], tuple[str, str]]:
    """Return two coordinates of each row.

    Parameters
    ----------
    found
        The embedding.
    how
        ``umap``, ``pca``, or ``auto``: UMAP where umap-learn is installed.
    seed
        Of UMAP.

    Returns
    -------
    The coordinates, and what they are called.

    Raises
    ------
    ValueError
        If UMAP is asked for and not installed, or ``how`` is unknown.
    """
    check_plane(how)
    z = found.vectors.astype(np.float64)
    if how == "pca" or (how == "auto" and importlib.util.find_spec("umap") is None):
        u, s, _ = np.linalg.svd(z - z.mean(0), full_matrices=False)
        return (u * s)[:, :2], ("PC 1", "PC 2")
    import umap  # pyright: ignore[reportMissingImports]  (an extra)

    n = min(15, len(z) - 1)
    model = umap.UMAP(n_neighbors=n, metric="cosine", random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(z), float), ("UMAP 1", "UMAP 2")


def check_plane(how: str) -> None:
    """Refuse a way to draw the plane that is unknown, or whose package is not installed."""
    if how not in ("auto", "umap", "pca"):
        raise ValueError(f"Expected a plane by auto, umap or pca, found {how!r}.")
    if how == "umap" and importlib.util.find_spec("umap") is None:
        raise ValueError("UMAP needs umap-learn: pip install infosem_jax[umap]; or choose pca.")


def fit_page(
    graphs: Sequence[StudyGraph],
    found: Embedded,
    metrics: Mapping[str, float],
    losses: Float[np.ndarray, "seeds epochs"] | None,
    enriched: pd.DataFrame | None,
    *,
    plane: str = "auto",
    notes: Sequence[str] = (),
    facts: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Tell what was embedded, and what it looks like.

    Parameters
    ----------
    graphs, found
        Studies and their embedding.
    metrics
        Of `metrics.evaluate` and others, by name.
    losses
        Of training; None where there was none.
    enriched
        Of `enrichment_table`; None without gene sets.
    plane
        How genes are drawn, see `places`.
    notes
        Warnings.
    facts
        Settings and versions.
    """
    from infosem_jax.embedding import _figures

    xy, axes = places(found, plane)
    n_clusters = int(found.cluster.max()) + 1
    clusters = [f"cluster {i}" for i in range(n_clusters)]
    studies = [
        (
            graph.name,
            [
                graph.label or "–",
                graph.species or "–",
                f"{len(graph.genes):,}",
                f"{graph.features.shape[1]:,}",
                f"{graph.degree:.1f}",
                graph.edges,
            ],
        )
        for graph in graphs
    ]
    named = {**SIX, **{k: k.replace("_", " ") for k in metrics if k not in SIX}}
    measured = [(named[k], [measured_text(k, float(v))]) for k, v in metrics.items()]
    sections = [
        Section(
            "Genes in the plane",
            [f"{axes[0][:-2]} of all rows: distances are only roughly kept."],
            [
                Picture(_figures.scatter(xy, found.study, found.studies, axes), "By study."),
                Picture(_figures.scatter(xy, found.cluster, clusters, axes), "By cluster."),
            ],
        ),
        Section("Studies", tables=[Table("Study", _STUDY, studies)]),
        Section("Measures", tables=[Table("Measure", ["Value"], measured)]),
        Section("Clusters", tables=[_clusters(found)]),
    ]
    if enriched is not None:
        sections.append(_enriched(enriched))
    if losses is not None:
        picture = Picture(_figures.losses(losses), "Loss of each epoch.")
        sections.append(Section("Training", pictures=[picture], folded=True))
    return Page(
        "Gene embedding",
        "Which genes act alike, across studies?",
        [
            f"{len(set(found.gene)):,} genes of {len(graphs)} studies, {len(found.gene):,} rows, "
            f"in {found.vectors.shape[1]} dimensions by {found.method}; {n_clusters} clusters."
        ],
        notes,
        sections,
        {"How to read this page": READING, **facts},
    )


_COUNTS = ("clusters", "common_genes", "function_sets")
_STUDY = ("Technique and tissue", "Species", "Genes", "Cells", "Neighbours", "Edges")


def _clusters(found: Embedded) -> Table:
    rows = []
    genes = np.asarray(found.gene, object)
    for c in range(min(SHOWN, int(found.cluster.max()) + 1)):
        own = found.cluster == c
        centre = found.vectors[own].mean(0)
        order = np.argsort(np.square(found.vectors[own] - centre).sum(1), kind="stable")
        middle = list(dict.fromkeys(genes[own][order].tolist()))[:8]
        per_study = np.bincount(found.study[own], minlength=len(found.studies))
        rows.append((f"{c}", [f"{own.sum()}", " / ".join(map(str, per_study)), ", ".join(middle)]))
    return Table("Cluster", ["Rows", "By study", "Genes near its middle"], rows)


def _enriched(table: pd.DataFrame) -> Section:
    rows = [
        (f"{row['cluster']}: {row['set']}", [f"{row['genes']} of {row['of']}",
                                             f"{row['p_adjusted']:.1e}"])
        for row in table.head(3 * SHOWN).to_dict("records")
    ]  # fmt: skip
    text = [] if rows else ["No gene set is over-represented in a cluster."]
    return Section(
        "Gene sets of clusters", text, tables=[Table("Cluster: set", ["Genes", "p"], rows)]
    )
