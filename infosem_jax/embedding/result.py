"""The result of an embedding: genes of studies with their vectors, and the files others read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int

from infosem_jax._shown import shown
from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write
from infosem_jax.data.io import Embedding
from infosem_jax.embedding.clustering import clusters
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.vectors import gene_vectors, nearest_pairs

if TYPE_CHECKING:
    import anndata

FORMATS = ("npz", "csv", "h5ad")


@shown("gene", "studies", "labels", "species")
class Genes(NamedTuple):
    """Which gene of which study each row of an embedding is.

    Attributes
    ----------
    gene, symbol
        Name that studies share, and name in the study, [rows].
    study
        Number of the study, [rows].
    studies, labels, species
        Name, technique with tissue, and species of each study.
    """

    gene: tuple[str, ...]
    symbol: tuple[str, ...]
    study: Int[np.ndarray, " rows"]
    studies: tuple[str, ...]
    labels: tuple[str, ...]
    species: tuple[str, ...]


@shown("vectors", "genes", "method")
class Embedded(NamedTuple):
    """Genes of several studies with their vectors: a row for each gene of each study.

    Attributes
    ----------
    vectors
        Their vectors as the method made them, [rows, dim]; cosines compare them.
    cluster
        Group of genes that lie together, from the largest, [rows].
    genes
        What the rows are.
    method
        How it was made.
    """

    vectors: Float32[np.ndarray, "rows dim"]
    cluster: Int[np.ndarray, " rows"]
    genes: Genes
    method: str


def embedded(
    graphs: Sequence[StudyGraph],
    vectors: Sequence[Float[np.ndarray, "_ dim"]],
    method: str,
    *,
    key: int = 0,
) -> Embedded:
    """Put the vectors of all studies together, and group the genes.

    Parameters
    ----------
    graphs
        The studies.
    vectors
        An embedding for each, [genes, dim].
    method
        How it was made.
    key
        Seeds the clusters.

    Raises
    ------
    ValueError
        If embeddings do not go with the studies, or are not finite.
    """
    for graph, z in zip(graphs, vectors, strict=True):
        if len(z) != len(graph.genes) or not np.isfinite(z).all():
            raise ValueError(
                f"{graph.name}: expected finite vectors of {len(graph.genes)} genes, found "
                f"{len(z)} vectors, {int((~np.isfinite(z)).any(1).sum())} of them not finite."
            )
    z = np.concatenate(vectors).astype(np.float32)
    genes = Genes(
        tuple(gene for graph in graphs for gene in graph.genes),
        tuple(symbol for graph in graphs for symbol in graph.symbols),
        np.repeat(np.arange(len(graphs)), [len(graph.genes) for graph in graphs]),
        tuple(graph.name for graph in graphs),
        tuple(graph.label for graph in graphs),
        tuple(graph.species for graph in graphs),
    )
    return Embedded(z, clusters(z.astype(np.float64), key), genes, method)


def one_per_gene(found: Embedded, study: str | None = None) -> Embedding:
    """Return one vector for each gene: of one study, or the mean over all, at unit length.

    Parameters
    ----------
    found
        The embedding.
    study
        A study; all where None.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    studies = found.genes.studies
    if study is not None and study not in studies:
        raise ValueError(f"There is no study {study!r}; choose from {', '.join(studies)}.")
    wanted = range(len(studies)) if study is None else [studies.index(study)]
    parts = [found.genes.study == i for i in wanted]
    genes = np.asarray(found.genes.gene, object)
    names, vectors = gene_vectors(
        [genes[part].tolist() for part in parts], [found.vectors[part] for part in parts]
    )
    return Embedding(tuple(map(str, names)), vectors.astype(np.float32))


def to_anndata(found: Embedded) -> "anndata.AnnData":
    """Return AnnData with genes as observations: ``X`` holds the vectors.

    ``obs`` holds gene, symbol, study, technique and tissue, species and cluster of each row.
    """
    import anndata

    genes = found.genes

    def of_study(names: Sequence[str]) -> Any:
        return pd.Categorical(np.asarray(names, object)[genes.study])

    obs = pd.DataFrame(
        {
            "gene": list(genes.gene),
            "symbol": list(genes.symbol),
            "study": of_study(genes.studies),
            "label": of_study(genes.labels),
            "species": of_study(genes.species),
            "cluster": pd.Categorical(found.cluster.astype(str)),
        },
        index=pd.Index(
            [f"{g}@{genes.studies[s]}" for g, s in zip(genes.gene, genes.study, strict=True)]
        ),
    )
    var = pd.DataFrame(index=pd.Index([f"z{i}" for i in range(found.vectors.shape[1])]))
    return anndata.AnnData(found.vectors, obs=obs, var=var, uns={"method": found.method})


def export(path: Path, found: Embedded, *, study: str | None = None, nearest: int = 0) -> None:
    """Write an embedding for other software, by the ending of the file.

    ``.npz`` and ``.csv`` hold one vector for each gene (see `one_per_gene`), as priors of
    ``infosem fit`` read them; ``.h5ad`` holds a row for each gene of each study.

    Parameters
    ----------
    path
        File to write.
    found
        The embedding.
    study
        One study only; all where None.
    nearest
        So many nearest genes of each are written as edges instead (``.csv``), see `nearest_pairs`.

    Raises
    ------
    ValueError
        On other endings or studies.
    """
    from infosem_jax.data.io import write_embedding

    ending = str(path).rpartition(".")[2]
    if ending not in FORMATS:
        raise ValueError(f"{path}: expected a file that ends in {', '.join(FORMATS)}.")
    if nearest and ending != "csv":
        raise ValueError(f"{path}: edges need a file that ends in csv.")
    genes = one_per_gene(found, study)
    if nearest:
        with atomic_write(path) as draft:
            nearest_pairs(genes.names, genes.vectors, nearest).to_csv(draft, index=False)
    elif ending == "npz":
        write_embedding(path, genes, origin=f"{found.method} of {', '.join(found.genes.studies)}")
    elif ending == "csv":
        columns = pd.Index([f"z{i}" for i in range(genes.vectors.shape[1])])
        table = pd.DataFrame(genes.vectors, pd.Index(genes.names, name="gene"), columns)
        with atomic_write(path) as draft:
            table.to_csv(draft)
    else:
        from infosem_jax.outputs.folder import write_h5ad

        adata = to_anndata(found)
        write_h5ad(path, adata if study is None else adata[adata.obs["study"] == study].copy())
