"""Embeddings that are kept: one file without pickle, and what others read: AnnData, npz, CSV."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write, load_npz, reading
from infosem_jax.data.io import Embedding
from infosem_jax.embedding.function import gene_vectors
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.model import Vectors

if TYPE_CHECKING:
    import anndata

FORMATS = ("npz", "csv", "h5ad")


class Embedded(NamedTuple):
    """Genes of several studies with their vectors: a row for each gene of each study.

    Attributes
    ----------
    vectors
        Their vectors, [rows, dim].
    gene, symbol
        Name that studies share, and name in the study, [rows].
    study
        Number of the study, [rows].
    cluster
        Group of genes that lie together, from the largest, [rows].
    studies, labels, species
        Name, technique with tissue, and species of each study.
    method
        How it was made.
    """

    vectors: Float32[np.ndarray, "rows dim"]
    gene: tuple[str, ...]
    symbol: tuple[str, ...]
    study: Int[np.ndarray, " rows"]
    cluster: Int[np.ndarray, " rows"]
    studies: tuple[str, ...]
    labels: tuple[str, ...]
    species: tuple[str, ...]
    method: str


def embedded(
    graphs: Sequence[StudyGraph], vectors: Vectors, method: str, *, seed: int = 0
) -> Embedded:
    """Put the vectors of all studies together, and group the genes.

    Parameters
    ----------
    graphs
        The studies.
    vectors
        An embedding for each.
    method
        How it was made.
    seed
        Of the clusters.

    Raises
    ------
    ValueError
        If embeddings do not go with the studies, or are not finite.
    """
    from infosem_jax.embedding.metrics import clusters, stack

    rows = stack(graphs, vectors)
    return Embedded(
        rows.z.astype(np.float32),
        tuple(gene for graph in graphs for gene in graph.genes),
        tuple(symbol for graph in graphs for symbol in graph.symbols),
        rows.study,
        clusters(rows.z, seed),
        tuple(graph.name for graph in graphs),
        tuple(graph.label for graph in graphs),
        tuple(graph.species for graph in graphs),
        method,
    )


def save(path: Path, found: Embedded) -> None:
    """Write an embedding to one npz file, whole or not at all."""
    arrays = {name: np.asarray(value) for name, value in found._asdict().items()}
    with atomic_write(path) as draft:
        np.savez_compressed(draft, allow_pickle=False, **arrays)


def load(path: Path) -> Embedded:
    """Read what `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged or something else.
    """
    arrays = load_npz(path)
    with reading(path, "embedding of infosem embed fit"):
        if set(arrays) != set(Embedded._fields):
            raise ValueError(f"expected {', '.join(Embedded._fields)}, found {', '.join(arrays)}.")
        names: dict[str, Any] = {
            name: tuple(map(str, arrays[name]))
            for name in ("gene", "symbol", "studies", "labels", "species")
        }
        numbers = {name: arrays[name] for name in ("vectors", "study", "cluster")}
        rows = {len(numbers["vectors"]), *map(len, (names["gene"], names["symbol"]))}
        if len(rows | {len(numbers["study"]), len(numbers["cluster"])}) != 1:
            raise ValueError("its arrays do not agree on the number of genes.")
        return Embedded(**numbers, **names, method=str(arrays["method"]))


def one_per_gene(found: Embedded, study: str | None = None) -> Embedding:
    """Return one vector for each gene: of one study, or the mean over all at unit length.

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
    parts = [found.study == i for i in range(len(found.studies))]
    if study is not None:
        if study not in found.studies:
            raise ValueError(
                f"There is no study {study!r}; choose from {', '.join(found.studies)}."
            )
        parts = [parts[found.studies.index(study)]]
    genes = np.asarray(found.gene, object)
    names, vectors = gene_vectors(
        [genes[part].tolist() for part in parts], [found.vectors[part] for part in parts]
    )
    return Embedding(tuple(map(str, names)), vectors.astype(np.float32))


def to_anndata(found: Embedded) -> "anndata.AnnData":
    """Return AnnData with genes as observations: ``X`` holds the vectors.

    ``obs`` says gene, symbol, study, technique and tissue, species and cluster of each row.
    """
    import anndata

    def of_study(names: Sequence[str]) -> Any:
        return pd.Categorical(np.asarray(names, object)[found.study])

    obs = pd.DataFrame(
        {
            "gene": list(found.gene),
            "symbol": list(found.symbol),
            "study": of_study(found.studies),
            "label": of_study(found.labels),
            "species": of_study(found.species),
            "cluster": pd.Categorical(found.cluster.astype(str)),
        },
        index=pd.Index(
            [f"{g}@{found.studies[s]}" for g, s in zip(found.gene, found.study, strict=True)]
        ),
    )
    var = pd.DataFrame(index=pd.Index([f"z{i}" for i in range(found.vectors.shape[1])]))
    return anndata.AnnData(found.vectors, obs=obs, var=var, uns={"method": found.method})


def export(path: Path, found: Embedded, *, study: str | None = None) -> None:
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

    Raises
    ------
    ValueError
        On other endings or studies.
    """
    from infosem_jax.data.io import write_embedding

    ending = str(path).rpartition(".")[2]
    if ending not in FORMATS:
        raise ValueError(f"{path}: expected a file that ends in {', '.join(FORMATS)}.")
    genes = one_per_gene(found, study)
    if ending == "npz":
        write_embedding(path, genes, origin=f"{found.method} of {', '.join(found.studies)}")
    elif ending == "csv":
        columns = pd.Index([f"z{i}" for i in range(genes.vectors.shape[1])])
        table = pd.DataFrame(genes.vectors, pd.Index(genes.names, name="gene"), columns)
        with atomic_write(path) as draft:
            table.to_csv(draft)
    else:
        from infosem_jax.outputs.folder import write_h5ad

        adata = to_anndata(found)
        write_h5ad(path, adata if study is None else adata[adata.obs["study"] == study].copy())
