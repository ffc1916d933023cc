"""Gene embeddings: read, written, and brought into the order of the genes of a data set."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, NamedTuple, TypeVar

import h5py
import numpy as np
import pandas as pd
import scipy.sparse
from jaxtyping import Bool, Float32, Num

from infosem_jax._shown import shown
from infosem_jax._typing import Names, Orthologues, Path
from infosem_jax.data._files import atomic_write, check_h5, load_npz, read_element, reading
from infosem_jax.data._tables import (
    Joined,
    looks_like_data,
    open_text,
    pick,
    read_matrix,
    read_parquet,
)

VECTORS = ("X", "emb", "embedding", "embeddings", "vectors")
NAMES = ("genes", "names", "gene_names", "symbols")
_T = TypeVar("_T")
_log = logging.getLogger("infosem_jax")


@shown("vectors")
class Embedding(NamedTuple):
    """One vector for each gene.

    Attributes
    ----------
    names
        Gene symbols, each once.
    vectors
        Their vectors, [names, features].
    """

    names: tuple[str, ...]
    vectors: Float32[np.ndarray, "names features"]


def embedding(names: Names, vectors: Num[np.ndarray, "names features"]) -> Embedding:
    """Validate names and vectors, and put them together.

    Parameters
    ----------
    names
        Gene symbols.
    vectors
        Their vectors, [names, features].

    Raises
    ------
    ValueError
        On numbers that do not agree, no gene or feature, duplicate names, and values that are not
        finite in single precision.
    """
    names = tuple(map(str, names))
    if len(names) != len(vectors) or not vectors.size:
        raise ValueError(
            f"Expected one vector per gene, found {len(names)} genes and {vectors.shape}."
        )
    if len(set(names)) < len(names):
        values, counts = np.unique(np.asarray(names, str), return_counts=True)
        raise ValueError(
            f"{(counts > 1).sum()} genes have more than one vector "
            f"({', '.join(values[counts > 1][:3])}); average or drop them."
        )
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(vectors, np.float32)
    bad = ~np.isfinite(vectors).all(1)
    if bad.any():
        raise ValueError(
            f"{bad.sum()} genes have NaN or infinite values (first: {names[int(bad.argmax())]}); "
            "remove them, unknown genes need no vector."
        )
    return Embedding(names, vectors)


def read_embedding(path: Path, *, key: str | None = None) -> Embedding:
    """Read gene vectors from npz, h5ad, JSON, parquet, CSV and TSV, or word2vec text.

    An npz file has ``X`` (or ``emb``, ``embedding``, ``vectors``) and ``genes`` (or ``names``);
    h5ad has vectors in ``varm``, or genes as observations and their vectors as ``X``;
    JSON has a list of numbers for each gene, as GenePT; text and parquet (needs pyarrow) have names
    in their first column or index, text with one header line or none, or that of word2vec, as
    gene2vec. Pickles are refused with the lines that convert them.

    Parameters
    ----------
    path
        The file.
    key
        Entry of ``varm``, or ``X``; may be left out where there is only one of them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read or holds no such entry, if all vectors are alike, and as
        ``embedding``.
    """
    suffix = FilePath(path).suffix
    if key is not None and suffix != ".h5ad":
        raise ValueError(f"{path}: only .h5ad files have keys; leave key out.")
    if suffix == ".npz":
        names, vectors = _from_npz(path)
    elif suffix == ".h5ad":
        names, vectors = _from_h5ad(path, key)
    elif suffix == ".json":
        names, vectors = _from_json(path)
    elif suffix == ".parquet":
        return _from_parquet(path)
    else:
        names, vectors = _from_text(path)
    with reading(path, "embedding"):
        found = embedding(names, vectors)
        if len(found.names) > 1 and (found.vectors == found.vectors[0]).all():
            raise ValueError(
                f"all {len(found.names)} genes have the same vector, which tells them apart in "
                "nothing; was it written before it was learned?"
            )
        return found


def write_embedding(path: Path, embedding: Embedding, *, origin: str = "") -> None:
    """Write gene vectors as npz (``X``, ``genes``), completely or not at all.

    Parameters
    ----------
    path
        File to write; ends in ``.npz``.
    embedding
        What to write.
    origin
        A note on what the vectors were made from, kept beside them.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the path does not end in ``.npz`` or is a folder.
    """
    if FilePath(path).suffix != ".npz":
        raise ValueError(f"{path}: embeddings are written as npz; let the name end in .npz.")
    arrays = {"X": embedding.vectors, "genes": np.asarray(embedding.names, str)}
    if origin:
        arrays["origin"] = np.asarray(origin)
    with atomic_write(path) as draft:
        np.savez_compressed(draft, allow_pickle=False, **arrays)


def align_embedding(
    embedding: Embedding,
    genes: Names,
    *,
    ignore_case: bool = False,
    orthologues: Orthologues | None = None,
) -> tuple[Float32[np.ndarray, "genes features"], Bool[np.ndarray, "genes"]]:
    """Look up the vector of each gene.

    Parameters
    ----------
    embedding
        Vectors by name.
    genes
        Symbols to look up.
    ignore_case
        Also match names that differ in case only (unless several names of the embedding do).
    orthologues
        Symbol here -> name in the embedding, tried before the symbol itself.

    Returns
    -------
    tuple
        Vectors, [genes, features], zero where the gene is unknown, and which genes are known.
        Less than half of them is logged as a warning.

    Raises
    ------
    ValueError
        If no gene is known, or less than a twentieth of the genes and of the embedding.
    """
    exact = {name: i for i, name in enumerate(embedding.names)}
    others: dict[str, str] = dict(orthologues or {})
    folded, folded_others = (_upper(exact), _upper(others)) if ignore_case else ({}, {})

    def row(gene: str) -> int:
        other = others.get(gene, folded_others.get(gene.upper(), gene))
        places = (exact.get(name, folded.get(name.upper(), -1)) for name in (other, gene))
        return next((place for place in places if place >= 0), -1)

    rows = np.array([row(gene) for gene in genes], int)
    known = rows >= 0
    if 20 * known.sum() < min(len(genes), len(embedding.names)) or not known.any():
        count = f"only {known.sum()}" if known.any() else "none"
        raise ValueError(
            f"The embedding covers {count} of the {len(genes)} genes. {_hint(embedding, genes)}"
        )
    if known.mean() < 0.5:
        counts = (int(known.sum()), len(genes))
        _log.warning("The embedding covers %d of %d genes. %s", *counts, _hint(embedding, genes))
    vectors = np.zeros((len(rows), embedding.vectors.shape[1]), np.float32)
    vectors[known] = embedding.vectors[rows[known]]
    return vectors, known


def _from_npz(path: Path) -> tuple[Names, np.ndarray]:
    arrays = load_npz(path)
    with reading(path, "embedding"):
        key, of_genes = pick(arrays, *VECTORS), pick(arrays, *NAMES)
        if key is None or of_genes is None:
            raise ValueError(f"expected arrays X and genes, found {', '.join(arrays)}.")
        x, genes = arrays[key], arrays[of_genes]
        if x.ndim != 2 or genes.shape != (len(x),) or x.dtype.kind not in "iuf":
            raise ValueError(
                f"expected numbers X [genes, features] and their genes, found {x.dtype} of shape "
                f"{x.shape} and genes of shape {genes.shape}."
            )
        return genes.tolist(), x


def _from_json(path: Path) -> tuple[Names, np.ndarray]:
    with open_text(path, "embedding") as stream:
        # Pairs, as a dictionary would hide a gene that is there twice.
        pairs = json.load(stream, object_pairs_hook=list)
        lengths = {len(vector) for _, vector in pairs if isinstance(vector, list)}
        if len(lengths) != 1 or not all(isinstance(vector, list) for _, vector in pairs):
            raise ValueError('expected {"GENE": [numbers], ...}, all of one length.')
        return [str(name) for name, _ in pairs], np.array([v for _, v in pairs], np.float64)


def _from_text(path: Path) -> tuple[Names, np.ndarray]:
    """Read a table with a header, or lines of a name and numbers, as word2vec writes them."""
    with open_text(path, "embedding") as stream:
        first = next((line for line in stream if line.strip()), "")
        sep = "," if "," in first else r"\s+"
        fields = first.replace(",", " ").split()[1:]
        counted = len(first.split()) == 2 and all(map(str.isdecimal, first.split()))
        if counted or (fields and looks_like_data(fields)):
            source: Any = Joined("" if counted else first, stream)
            frame = pd.read_csv(
                source,
                sep=sep, header=None, na_filter=False,
                dtype={0: str},
            )  # fmt: skip
            frame = frame.loc[:, (frame != "").any()]
            return frame[0].tolist(), frame.drop(columns=0).to_numpy(np.float64)
    matrix = read_matrix(path, "embedding")
    return matrix.rows, matrix.x


def _from_parquet(path: Path) -> Embedding:
    frame = read_parquet(path, "embedding")
    if len(frame.columns) and not pd.api.types.is_numeric_dtype(frame.iloc[:, 0]):
        frame = frame.set_index(frame.columns[0])
    try:
        # Vectors lie in one column of lists, or a column for each feature.
        lists = frame.shape[1] == 1 and frame.iloc[:, 0].dtype == object
        vectors = np.array(frame.iloc[:, 0].tolist() if lists else frame, np.float64)
        return embedding(tuple(map(str, frame.index)), vectors)
    except ValueError as error:
        raise ValueError(
            f"{path}: expected a column of genes, and columns of numbers or one of lists of "
            f"numbers, found {', '.join(map(str, frame.columns[:5]))}: {error}"
        ) from error


def _from_h5ad(path: Path, key: str | None) -> tuple[Names, np.ndarray]:
    check_h5(path)
    with reading(path, "embedding"), h5py.File(path, "r") as file:
        varm = [str(name) for name in file["varm"]] if "varm" in file else []  # pyright: ignore[reportGeneralTypeIssues]
        keys = varm or (["X"] if "X" in file else [])
        if (key is None and len(keys) != 1) or (key is not None and key not in (*varm, "X")):
            raise ValueError(
                f"expected vectors in varm, or genes as observations and vectors as X; choose a "
                f"key: {', '.join([*varm, 'X'])}."
            )
        key = key or keys[0]
        names = read_element(file, "obs" if key == "X" else "var").index
        vectors = read_element(file, "X" if key == "X" else f"varm/{key}")
        vectors = vectors.toarray() if scipy.sparse.issparse(vectors) else np.asarray(vectors)
        if vectors.ndim != 2 or vectors.dtype.kind not in "iuf":
            raise ValueError(f"{key} is no matrix of numbers.")
        return tuple(map(str, names)), vectors


def _hint(embedding: Embedding, genes: Names) -> str:
    upper = {name.upper() for name in embedding.names}
    same = sum(gene.upper() in upper for gene in genes)
    return (
        f"Genes look like {', '.join(list(genes)[:3])}, its names like "
        f"{', '.join(embedding.names[:3])}; {same} match when case is ignored (ignore_case). "
        "If they are of different species, give orthologues; identifiers do not match symbols."
    )


def _upper(table: Mapping[str, _T]) -> dict[str, _T]:
    """Key a table by upper-case names, leaving out those that several names share."""
    times = Counter(name.upper() for name in table)
    if shared := sum(n > 1 for n in times.values()):
        _log.info("%d names differ in case only and are matched exactly", shared)
    return {name.upper(): value for name, value in table.items() if times[name.upper()] == 1}
