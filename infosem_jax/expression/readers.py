"""Expression compendia, gene tables and lists of landmark genes from files."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import json
from collections.abc import Sequence
from pathlib import Path as FilePath

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.data._anndata import PathOrAnnData, holds_anndata, title
from infosem_jax.data._copies import copies
from infosem_jax.data._files import load_npz, reading
from infosem_jax.data._names import describes_cells, describes_genes
from infosem_jax.data._sources import Orientation, read_source
from infosem_jax.data._tables import open_text, pick, read_table
from infosem_jax.data.units import BASES, describe_units
from infosem_jax.expression.gct import Annotated, read_gct, read_gctx
from infosem_jax.expression.profiles import Profiles, make_profiles, pair_samples, to_symbols


def read_profiles(
    path: PathOrAnnData,
    *,
    names: str | None = None,
    layer: str | None = None,
    orientation: Orientation = "auto",
    unit: str = "unknown",
    base: str | None = None,
) -> Profiles:
    """Read bulk expression from a file, or from AnnData.

    ``.npz``
        ``X`` [samples, genes] with ``gene_symbol`` (or ``genes``) and ``samples``; genes without a
        symbol go by their Ensembl id or Entrez number. Every other array with one value per
        sample is a label.
    ``.gct``, ``.gct.gz``, ``.gctx``
        Of the Connectivity Map, levels 3 to 5; annotations of samples become labels.
    ``.h5ad``, or an AnnData object in memory
        ``X``, a layer or ``raw``, [samples, genes]; columns of ``obs`` become labels.
    other files
        CSV or TSV, plain or gzipped, with names in the first column and in the header;
        ``orientation`` says where the genes are.

    Parameters
    ----------
    path
        The file, or an AnnData object, [samples, genes], which is left as it is.
    names
        Annotation of the genes to name them by, such as ``pr_gene_symbol`` or ``entrez``, where
        the file holds several, or a column of ``var``; ids where None (symbols in npz files).
    layer
        Layer to read instead of ``X``, of AnnData.
    orientation
        Where the genes of a text table are.
    unit
        What the values are in.
    base
        Of logarithms, ``e``, ``2`` or ``10``; that which AnnData declares in ``uns["log1p"]``
        where None.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On unreadable or damaged files, unknown annotations or layers, a text table without
        orientation, a base that is unknown or stated of values that are no logarithms, and
        whatever `make_profiles` refuses.
    """
    found = _read(path, names, layer, orientation, unit)
    return found if base is None else _stated(found, base)


def _read(
    path: PathOrAnnData, names: str | None, layer: str | None, orientation: Orientation, unit: str
) -> Profiles:
    file = FilePath(title(path))
    name = file.name.removesuffix(".gz").rsplit(".", 1)[0]
    plain = file.name.removesuffix(".gz")
    if layer is not None and not holds_anndata(path):
        raise ValueError(f"{file}: only .h5ad files have layers; leave layer out.")
    if file.suffix == ".gctx" or plain.endswith(".gct"):
        found = read_gctx(file) if file.suffix == ".gctx" else read_gct(file)
        return _named(file, found, names, name, unit)
    if file.suffix == ".npz":
        return _named(file, _read_npz(file), names, name, unit)
    if names is not None and not holds_anndata(path):
        raise ValueError(f"{file}: its genes have one name each; leave names out.")
    source = read_source(path, layer, None, names=names, marked=False)
    x, samples, genes = source.x, source.rows, source.columns
    if source.usual == "auto" and orientation == "auto":
        raise ValueError(
            f"{path}: expected to be told where the genes of a text table are; choose "
            "orientation='genes_in_rows' or 'genes_in_columns' (--orientation genes_in_rows, ...)."
        )
    if orientation == "genes_in_rows":
        x, samples, genes = x.T, genes, samples
    labels = {}
    if source.obs is not None:
        labels = {
            str(key): column.astype(object).where(column.notna(), "").astype(str).to_numpy(str)
            for key, column in source.obs.items()
        }
    found = _usable(x, genes, samples, labels, name, unit)
    notes = (*(f"{name}: {note}" for note in source.notes), *found.notes)
    return found._replace(notes=notes, base=source.base)


def _stated(profiles: Profiles, base: str) -> Profiles:
    """Return profiles whose user says which base their logarithms have."""
    if base not in BASES:
        raise ValueError(f"base: expected one of {', '.join(BASES)}, found {base!r}.")
    found = describe_units(profiles.x, base=base, name=profiles.name)
    if found.kind != "log":
        raise ValueError(
            f"{profiles.name}: expected logarithms, as their base was stated (--log-base {base}), "
            f"found what looks like {found} ({found.why})."
        )
    return profiles._replace(base=base)


def read_gene_table(path: Path) -> pd.DataFrame:
    """Read a gene table, such as the ``geneinfo_beta`` of the Connectivity Map.

    Returns
    -------
    Columns ``gene_symbol`` and whichever of ``gene_id`` (Entrez), ``ensembl_id``, ``probe`` and
    ``feature_space`` (landmark, best inferred, inferred) the file has; ``symbol``, ``entrez``,
    ``ensembl`` and ``role`` are read as these. ``""`` where nothing is known.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On an unreadable table, or one without symbols.
    """
    table = read_table(path, "gene table").rename(columns=_OTHER_NAMES)
    if "gene_symbol" not in table:
        raise ValueError(f"{path}: expected a column gene_symbol, found {', '.join(table)}.")
    known = ["gene_symbol", "gene_id", "ensembl_id", "probe", "feature_space"]
    return table[[column for column in known if column in table]]


def read_landmarks(
    path: Path, *, key: str | None = None, names: str = "gene_symbol"
) -> tuple[str, ...]:
    """Read a list of input genes.

    Parameters
    ----------
    path
        A gene table, whose landmarks are taken; a table with a column ``gene``, as ``infosem
        expression select`` writes it; a JSON file of lists, plain or gzipped; or a text file with
        one gene in each line.
    key
        List in the JSON file.
    names
        Column of the gene table to take, ``gene_symbol``, ``gene_id``, ``ensembl_id`` or
        ``probe``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On an unreadable file, an unknown list or column, and a file without genes.
    """
    plain = FilePath(path).name.removesuffix(".gz")
    if plain.endswith(".json"):
        with open_text(path, "JSON file of gene lists") as stream:
            lists = json.load(stream)
            lists = {str(key): lists} if isinstance(lists, list) else lists
            found = [name for name, value in lists.items() if isinstance(value, list)]
            if str(key) not in found:
                raise ValueError(f"expected a list {key!r}; choose from {', '.join(found)}.")
            genes = [str(gene) for gene in lists[str(key)]]
    elif plain.endswith((".tsv", ".csv", ".txt")) and _has_columns(path):
        genes = _genes_of_table(path, names)
    else:
        with open_text(path, "list of genes") as stream:
            genes = [line.strip() for line in stream if line.strip()]
            titles = ("gene", "genes", "gene_name", *_OTHER_NAMES, *_OTHER_NAMES.values())
            genes = genes[1:] if genes and genes[0].lower() in titles else genes
    if not genes:
        raise ValueError(f"{path}: expected landmark genes, found none.")
    return tuple(genes)


def read_gse92743(
    l1000: Path, rnaseq: Path, gene_table: pd.DataFrame | None = None
) -> tuple[Profiles, Profiles]:
    """Read the two platforms of the GTEx samples of GSE92743, on which Kim et al. (2025) train.

    Their files are the L1000 level 3 and the RNA-seq log2 RPKM matrices, unpacked. Samples are
    matched by id and keep the order of the L1000 file, by which the paper splits them: give
    ``ordered_split(len(pair[0].samples))`` to `make_task`, with scaling "max".

    Parameters
    ----------
    l1000, rnaseq
        GCTX (or GCT) files of the inputs and of the targets.
    gene_table
        To name genes by symbols; genes keep their Entrez numbers where None.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_profiles` and `pair_samples`.
    """
    pair = (
        read_profiles(l1000, unit="L1000 level 3"),
        read_profiles(rnaseq, unit="log2 RPKM"),
    )
    if gene_table is not None:
        pair = to_symbols(pair[0], gene_table), to_symbols(pair[1], gene_table)
    return pair_samples(*pair)


_OTHER_NAMES = {
    "symbol": "gene_symbol",
    "pr_gene_symbol": "gene_symbol",
    "entrez": "gene_id",
    "pr_gene_id": "gene_id",
    "ensembl": "ensembl_id",
    "role": "feature_space",
}


def _named(path: Path, found: Annotated, names: str | None, name: str, unit: str) -> Profiles:
    names = "id" if names is None else names
    if names not in found.genes:
        raise ValueError(
            f"{path}: expected an annotation {names!r} of its genes, found "
            f"{', '.join(found.genes)}."
        )
    labels = {key: value for key, value in found.samples.items() if key != "id"}
    genes = found.genes[names].tolist()
    return _usable(found.x, genes, found.samples["id"].tolist(), labels, name, unit)


def _usable(
    x: np.ndarray,
    genes: Sequence[str],
    samples: Sequence[str],
    labels: dict[str, np.ndarray],
    name: str,
    unit: str,
) -> Profiles:
    """Leave out columns that are no genes, and all but the first of each name, and say so."""
    seen: set[str] = set()
    parts: dict[str, list[str]] = {"without a name": [], "of a name that others have": [],
                                   "that describe samples and are no genes": []}  # fmt: skip
    kept = []
    for i, gene in enumerate(map(str, genes)):
        why = (
            "without a name" if not gene.strip()
            else "that describe samples and are no genes" if describes_cells(gene)
            else "of a name that others have" if gene in seen
            else ""
        )  # fmt: skip
        seen.add(gene)
        if why:
            parts[why].append(gene)
        else:
            kept.append(i)
    notes = tuple(
        f"{name}: left out {len(own)} columns {why}"
        + (f" ({', '.join(own[:5])})" if own[0].strip() else "")
        for why, own in parts.items()
        if own
    )
    some = [i for i, sample in enumerate(samples) if not describes_genes(str(sample))]
    if len(some) < len(samples):
        others = sorted(set(map(str, samples)) - {str(samples[i]) for i in some})
        notes += (
            f"{name}: left out {len(others)} columns that describe genes and are no samples "
            f"({', '.join(others[:5])})",
        )
    found = make_profiles(
        x[np.ix_(some, kept)],
        [str(genes[i]) for i in kept],
        [samples[i] for i in some],
        {key: np.asarray(value)[some] for key, value in labels.items()},
        name=name,
        unit=unit,
    )
    twice = (f"{name}: {note}" for note in copies(found.x, "samples"))
    return found._replace(notes=(*notes, *twice))


def _read_npz(path: Path) -> Annotated:
    arrays = load_npz(path)
    with reading(path, "npz file"):
        x = arrays.pop("X", None)
        main = pick(arrays, "gene_symbol", "genes")
        if x is None or x.ndim != 2 or main is None:
            raise ValueError(
                "expected X [samples, genes] and gene_symbol or genes, found "
                f"{', '.join(arrays) or 'nothing'}."
            )
        if x.dtype.kind not in "fiu":
            raise ValueError(f"expected numbers in X, found {x.dtype}.")
        samples = arrays.pop("samples", np.array([f"sample{i}" for i in range(len(x))]))
        of_genes = {"gene_symbol", "genes", "entrez", "ensembl", "probe", "feature_space"}
        genes = {key: value.astype(str) for key, value in arrays.items() if key in of_genes}
        wrong = {key: value.shape for key, value in genes.items() if value.shape != x.shape[1:]}
        if wrong:
            raise ValueError(f"expected {x.shape[1]} names of genes each, found shapes {wrong}.")
        ids = genes[main]
        for other in ("ensembl", "entrez"):
            ids = np.where(ids == "", genes.get(other, ids), ids)
        labels = {
            key: value
            for key, value in arrays.items()
            if key not in of_genes and value.shape == (len(x),)
        }
        return Annotated(x.astype(np.float32), {"id": ids, **genes}, {"id": samples, **labels})


def _genes_of_table(path: Path, names: str) -> list[str]:
    chosen = read_table(path, "list of genes")
    if "gene" in chosen and "gene_symbol" not in chosen:
        return [gene for gene in chosen["gene"] if gene]
    table = read_gene_table(path)
    if "feature_space" not in table or names not in table:
        raise ValueError(
            f"{path}: expected columns feature_space and {names}, found {', '.join(table)}."
        )
    return table[names][table["feature_space"] == "landmark"].tolist()


def _has_columns(path: Path) -> bool:
    with open_text(path, "list of genes") as stream:
        return "\t" in (line := stream.readline()) or "," in line
