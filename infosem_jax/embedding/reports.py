"""What is written of an embedding: tables, and a page with figures."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax.embedding.fitting import Fitted, predict, save
from infosem_jax.embedding.gene_sets import GeneSets, enrichment
from infosem_jax.embedding.graph import StudyGraph, isolated
from infosem_jax.embedding.metrics import SIX
from infosem_jax.embedding.result import Embedded, export
from infosem_jax.outputs.explorer import explore
from infosem_jax.outputs.folder import to_json
from infosem_jax.outputs.page import Page, Picture, Section, Table, number, write_page

FILES = {
    "embedding.npz": "one vector for each gene: infosem fit --effect gene-embedding=embedding.npz",
    "genes.h5ad": "all rows as AnnData, genes of studies as observations",
    "fitted.npz": "the same, for infosem embed export and neighbours",
    "genes.csv": "cluster of each gene of each study",
    "clusters.csv": "gene sets over-represented in clusters, where gene sets were given",
    "metrics.json": "measures of the embedding",
    "losses.csv": "training loss of each epoch, where something was trained",
    "config.toml": "all settings",
    "versions.json": "versions of the software, and the device",
    "report.html": "figures and how to read them",
}
SHOWN = 25
READING = {
    "Rows": "A gene of a study; a gene that several studies have is there as often.",
    "Clusters": "Louvain's method on the 15 nearest neighbours of all rows; 0 is the largest.",
    "AUC of edges": "Of cosines, as scores of which genes are co-expressed in a study.",
    "Silhouette, iLISI, connectivity": (
        "How well studies mix, for genes that all have; 1 is the best. They do not measure "
        "function."
    ),
    "Common genes together": "How often rows of one gene share a cluster.",
    "Enrichment": (
        "Hypergeometric tests of gene sets in clusters, against all embedded genes, corrected over "
        "clusters and sets; a gene counts in the cluster that most of its rows are in."
    ),
}


def write_results(
    folder: FilePath,
    fitted: Fitted,
    graphs: Sequence[StudyGraph],
    metrics: Mapping[str, float],
    *,
    sets: Mapping[str, GeneSets],
    plane: str,
    record: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Write an embedding, its tables and its page into a folder, see `FILES`.

    Parameters
    ----------
    folder
        The folder; its settings and versions are written by the caller.
    fitted, graphs
        The embedding, of which the first seed is reported, and the graphs it was made from.
    metrics
        Of `evaluate`.
    sets
        Collections of gene sets by name.
    plane
        How genes are drawn, see `places`.
    record, versions
        Settings of the run, and of the software, for the page.
    """
    found, own = predict(fitted), fitted.config.settings
    facts = {"Settings": {**record, **(asdict(own) if own else {})}, "Versions": versions}
    enriched = enrichment_table(found, sets) if sets else None
    save(folder / "fitted.npz", fitted)
    export(folder / "embedding.npz", found)
    export(folder / "genes.h5ad", found)
    cluster_table(found).to_csv(folder / "genes.csv", index=False)
    if enriched is not None:
        enriched.to_csv(folder / "clusters.csv", index=False)
    if fitted.losses.size:
        epoch = range(1, fitted.losses.shape[1] + 1)
        table = pd.DataFrame({"epoch": epoch, "loss": fitted.losses[0]})
        table.to_csv(folder / "losses.csv", index=False)
    (folder / "metrics.json").write_text(to_json(dict(metrics)), encoding="utf-8")
    page = _page(graphs, found, metrics, fitted.losses, enriched, plane=plane, facts=facts)
    write_page(folder / "report.html", page)


def cluster_table(found: Embedded) -> pd.DataFrame:
    """List every row's place: ``gene, symbol, study, cluster``."""
    return pd.DataFrame(
        {
            "gene": list(found.genes.gene),
            "symbol": list(found.genes.symbol),
            "study": [found.genes.studies[i] for i in found.genes.study],
            "cluster": found.cluster,
        }
    )


def enrichment_table(found: Embedded, sets: Mapping[str, GeneSets]) -> pd.DataFrame:
    """List over-represented gene sets: ``cluster, collection, set, genes, of, p_adjusted``."""
    votes = pd.DataFrame({"gene": list(found.genes.gene), "cluster": found.cluster})
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
    found: Embedded, how: str = "auto"
) -> tuple[Float[np.ndarray, "rows 2"], tuple[str, str]]:
    """Return two coordinates of each row, and what they are called.

    By ``umap``, ``pca``, or ``auto``: UMAP where umap-learn is installed. See `check_plane`.
    """
    check_plane(how)
    z = found.vectors.astype(np.float64)
    if how == "pca" or (how == "auto" and importlib.util.find_spec("umap") is None):
        u, s, _ = np.linalg.svd(z - z.mean(0), full_matrices=False)
        return (u * s)[:, :2], ("PC 1", "PC 2")
    import umap  # pyright: ignore[reportMissingImports]  (an extra)

    n = min(15, len(z) - 1)
    model = umap.UMAP(n_neighbors=n, metric="cosine", random_state=0, n_jobs=1)
    return np.asarray(model.fit_transform(z), float), ("UMAP 1", "UMAP 2")


def check_plane(how: str) -> None:
    """Refuse a way to draw the plane that is unknown, or whose package is not installed."""
    if how not in ("auto", "umap", "pca"):
        raise ValueError(f"Expected a plane by auto, umap or pca, found {how!r}.")
    if how == "umap" and importlib.util.find_spec("umap") is None:
        raise ValueError("UMAP needs umap-learn: pip install infosem_jax[umap]; or choose pca.")


def _page(
    graphs: Sequence[StudyGraph],
    found: Embedded,
    metrics: Mapping[str, float],
    losses: Float[np.ndarray, "seeds epochs"],
    enriched: pd.DataFrame | None,
    *,
    plane: str,
    facts: Mapping[str, Mapping[str, Any]],
) -> Page:
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
    by_study = _figures.scatter(xy, found.genes.study, found.genes.studies, axes)
    named = {**SIX, **{k: k.replace("_", " ") for k in metrics if k not in SIX}}
    measured = [(named[k], [measured_text(k, float(v))]) for k, v in metrics.items()]
    sections = [
        Section(
            "Genes in the plane",
            [f"{axes[0][:-2]} of all rows: distances are only roughly kept."],
            [
                Picture(by_study, "By study."),
                Picture(_figures.scatter(xy, found.cluster, clusters, axes), "By cluster."),
            ],
        ),
        Section("Studies", tables=[Table("Study", _STUDY, studies, words=2)]),
        Section("Measures", tables=[Table("Measure", ["Value"], measured)]),
        Section(
            "Clusters",
            tables=[_clusters(found)],
            explorer=explore(
                cluster_table(found), search=["gene", "symbol"], label="Gene", file="genes.csv"
            ).layout,
        ),
    ]
    if enriched is not None:
        sections.append(_enriched(enriched))
    if losses.size:
        picture = Picture(_figures.losses(losses), "Loss of each epoch.")
        sections.append(Section("Training", pictures=[picture], folded=True))
    return Page(
        "Gene embedding",
        "Which genes act alike, across studies?",
        [
            f"{len(set(found.genes.gene)):,} genes of {len(graphs)} studies, "
            f"{len(found.vectors):,} rows, "
            f"in {found.vectors.shape[1]} dimensions by {found.method}; {n_clusters} clusters."
        ],
        isolated(graphs),
        sections,
        {"How to read this page": READING, "Files": FILES, **facts},
    )


_COUNTS = ("clusters", "common_genes", "function_sets")
_STUDY = ("Technique and tissue", "Species", "Genes", "Cells", "Neighbours", "Edges")


def _clusters(found: Embedded) -> Table:
    rows = []
    genes = np.asarray(found.genes.gene, object)
    for c in range(min(SHOWN, int(found.cluster.max()) + 1)):
        own = found.cluster == c
        centre = found.vectors[own].mean(0)
        order = np.argsort(np.square(found.vectors[own] - centre).sum(1), kind="stable")
        middle = list(dict.fromkeys(genes[own][order].tolist()))[:8]
        per_study = np.bincount(found.genes.study[own], minlength=len(found.genes.studies))
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
