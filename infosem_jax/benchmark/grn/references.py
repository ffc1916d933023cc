"""Data sets, reference networks and gene embeddings, found in a folder and brought together."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import pandas as pd

from infosem_jax._settings import hint
from infosem_jax._typing import Names, Path
from infosem_jax.benchmark.folder import of_h5ad
from infosem_jax.data.dataset import Dataset, normalise
from infosem_jax.data.gene_text import embed_genes, read_gene_text
from infosem_jax.data.io import (
    Embedding,
    align_embedding,
    read_embedding,
    read_expression,
    read_network,
)
from infosem_jax.data.units import describe_units

USUAL_GENES = "TFs+500"
USUAL_NETWORK = "specific"
ALL_GENES = "all"
EXPRESSION = (
    "expression.npz", "expression.h5ad", "expression.csv", "expression.csv.gz", "expression.tsv",
    "expression.tsv.gz",
)  # fmt: skip
DIMENSIONS = 128
# An embedding found by itself is used where it knows at least this share of the genes.
COVERAGE = 0.5

_log = logging.getLogger("infosem_jax")


class Reference(NamedTuple):
    """Files of one data set with one set of genes.

    Attributes
    ----------
    dataset, genes
        Names of the data set and of its gene set.
    folder
        Where its files are.
    networks
        Reference networks by name.
    published
        Published splits by name.
    """

    dataset: str
    genes: str
    folder: FilePath
    networks: dict[str, FilePath]
    published: dict[str, FilePath]


class Loaded(NamedTuple):
    """Content of these files: expression, edges by network, and vectors of the genes by name.

    ``others`` holds the networks of other data sets, by network.
    """

    reference: Reference
    data: Dataset
    networks: dict[str, pd.DataFrame]
    embeddings: Mapping[str, Embedding] = {}
    others: Mapping[str, tuple[pd.DataFrame, ...]] = {}


def find_references(
    folder: Path,
    *,
    datasets: Names = (),
    genes: Names = (),
    networks: Names = (),
) -> tuple[list[Reference], dict[str, str]]:
    """Find what can be benchmarked in a folder.

    A data set is a folder that holds expression (``expression.npz``, ``.h5ad``, ``.csv`` or
    ``.tsv``, text also gzipped) and at least one ``network_<name>.csv`` or ``.csv.gz``; or holds
    such folders, one for each set of genes.

    Parameters
    ----------
    folder
        The folder of data sets.
    datasets
        Names of data sets, in this order; all if empty.
    genes
        Gene sets; if empty, TFs+500 of each data set, or the first that can be used.
    networks
        Reference networks, in this order; all if empty, the cell-type-specific one first.

    Returns
    -------
    tuple
        What can be used, and for each folder that cannot, the reason.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If something that was asked for by name is not there or cannot be used, or nothing can.
    """
    folder = FilePath(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the one that holds data sets.")
    there = sorted(path.name for path in folder.iterdir() if path.is_dir())
    for name in datasets:
        if name not in there:
            raise ValueError(f"{folder}: no data set {name!r} there; {hint(name, there)}")
    found: list[Reference] = []
    left_out: dict[str, str] = {}
    for name in datasets or [name for name in there if not name.startswith(".")]:
        usable, reasons = _gene_sets(folder / name, networks)
        wanted = genes or ([USUAL_GENES] if USUAL_GENES in usable else list(usable)[:1])
        for which in wanted or [""]:
            if which in usable:
                found.append(usable[which])
                continue
            place = f"{name}/{which}" if which else name
            known = f"its gene sets are {', '.join(usable) or 'none that can be used'}"
            # Without a wish for a gene set, the one folder that could have been used says why not.
            reason = reasons.get(which) or (
                next(iter(reasons.values()), "") if not which else known
            )
            left_out[place] = reason or "it holds no expression and no network"
            if datasets:
                raise ValueError(f"{folder / place} cannot be used: {left_out[place]}.")
    for name in networks:
        if not any(name in reference.networks for reference in found):
            tables = folder.rglob("network_*.csv*")
            known = sorted({path.name.split(".csv")[0].removeprefix("network_") for path in tables})
            raise ValueError(f"{folder}: no data set has a network {name!r}; {hint(name, known)}")
    if not found:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise ValueError(
            f"{folder}: no data set there can be used; expected folders with expression.npz (or "
            f".h5ad, .csv) and network_<name>.csv ({reasons or 'it has no folders'})."
        )
    return found, left_out


def load(reference: Reference, reading: Mapping[str, str | None] = {}) -> Loaded:
    """Read expression and networks; genes with the same value in every cell are left out.

    Counts are brought to ``log1p`` of counts per million first, the same for all methods.

    Parameters
    ----------
    reference
        The files.
    reading
        Layer and names of genes of h5ad files, see `read_expression`.

    Raises
    ------
    ValueError
        If a file cannot be read, or no regulator of the networks was measured.
    """
    networks = {name: read_network(path) for name, path in reference.networks.items()}
    regulators = sorted({gene for table in networks.values() for gene in table["source"]})
    file = _expression(reference.folder) or reference.folder
    how = of_h5ad(file, reading)
    data = read_expression(file, regulators=regulators, name=reference.dataset, **how)  # pyright: ignore[reportArgumentType]
    units = describe_units(data.x)
    if units.countable:
        _log.info("%s: these are %s; methods get log1p of counts per million", data.name, units)
        data = data._replace(x=normalise(data, "log1p_cpm").x)
    return Loaded(reference, data, networks)


def find_embeddings(folder: Path) -> list[tuple[str, FilePath]]:
    """List the embeddings and gene texts of the folder ``embeddings`` in a folder, or beside it.

    Vectors (npz) are called by their file's name up to the first underscore; tables
    ``gene_text/*_gene_text.csv.gz`` are called ``text``, whatever the species.
    """
    folder = FilePath(folder).resolve()
    for place in (folder / "embeddings", folder.parent / "embeddings"):
        if place.is_dir():
            vectors = [(path.stem.split("_")[0], path) for path in sorted(place.glob("*.npz"))]
            texts = sorted(place.glob("gene_text/*_gene_text.csv*"))
            return vectors + [("text", path) for path in texts]
    return []


def add_embeddings(
    loaded: Sequence[Loaded], files: Sequence[tuple[str, FilePath]], *, asked: bool
) -> tuple[list[Loaded], list[str]]:
    """Give each data set the vectors of its genes, whatever the letter case of their names.

    Of several files of one name, that which covers most genes of a data set is used. Texts become
    vectors by TF-IDF, learned from the whole table.

    Parameters
    ----------
    loaded
        Data sets.
    files
        Names and files: vectors (npz, h5ad), or tables of gene texts (csv, tsv).
    asked
        Whether the files were asked for: then each has to be readable and to cover some gene;
        otherwise it has to cover at least half of a data set's genes, or is left aside.

    Returns
    -------
    tuple
        The data sets, and a sentence on each use or reason against.

    Raises
    ------
    ValueError
        If a file that was asked for cannot be read, or covers no gene of any data set.
    """
    notes: list[str] = []
    sources: dict[str, list[_Source]] = {}
    for name, path in files:
        try:
            source = _open(path)
            sources.setdefault(name, []).append(source)
        except ValueError as error:
            if asked:
                raise
            notes.append(f"{path.name}: not used as an embedding ({error})")
    found, used = [], set()
    for each in loaded:
        vectors = {}
        for name, choices in sources.items():
            best = max(choices, key=lambda source: _coverage(source, each.data))
            n, share = len(each.data.genes), _coverage(best, each.data)
            about = f"{each.reference.dataset}: {name} covers {round(share * n)} of {n} genes"
            if share == 0 or (share < COVERAGE and not asked):
                notes.append(f"{about}, too few to be used")
                continue
            genes = np.asarray(each.data.genes, object)
            aligned, known = align_embedding(best.vectors(), each.data.genes, ignore_case=True)
            vectors[name] = Embedding(tuple(genes[known].tolist()), aligned[known])
            used.add(name)
            notes.append(f"{about} ({best.path.name})")
        found.append(each._replace(embeddings=vectors))
    idle = [name for name in sources if name not in used]
    if asked and idle:
        raise ValueError(
            f"The embedding {idle[0]} covers no gene of any data set; its names look like "
            f"{', '.join(sorted(sources[idle[0]][0].names)[:3])}."
        )
    return found, notes


class _Source(NamedTuple):
    """A file with vectors of genes, or with texts that become vectors when they are needed."""

    path: FilePath
    names: set[str]
    vectors: Callable[[], Embedding]


def _open(path: FilePath) -> _Source:
    if path.suffix in (".npz", ".h5ad"):
        known = read_embedding(path)
        return _Source(path, {name.upper() for name in known.names}, lambda: known)
    text = read_gene_text(path)

    @cache
    def embedded() -> Embedding:
        _log.info("%s: turning texts into vectors", path)
        return embed_genes(text, dimensions=DIMENSIONS)

    return _Source(path, {str(name).upper() for name in text["symbol"]}, embedded)


def _coverage(source: _Source, data: Dataset) -> float:
    return sum(gene.upper() in source.names for gene in data.genes) / len(data.genes)


def _gene_sets(folder: FilePath, networks: Names) -> tuple[dict[str, Reference], dict[str, str]]:
    """Gene sets of a data set that can be used, and why others cannot."""
    places = {ALL_GENES: folder} if _expression(folder) or _networks(folder) else {}
    places |= {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    usable, reasons = {}, {}
    for name, place in places.items():
        known = _networks(place)
        wanted = {n: known[n] for n in networks if n in known} if networks else known
        if _expression(place) is None:
            reasons[name] = "it holds no expression"
        elif not known:
            reasons[name] = "it holds no network_<name>.csv"
        elif not wanted:
            reasons[name] = f"of its networks {', '.join(known)} none was asked for"
        else:
            usable[name] = Reference(folder.name, name, place, wanted, _tables(place, "split_"))
    return usable, reasons


def _expression(folder: FilePath) -> FilePath | None:
    return next((folder / name for name in EXPRESSION if (folder / name).is_file()), None)


def _networks(folder: FilePath) -> dict[str, FilePath]:
    known = _tables(folder, "network_")
    order = sorted(known, key=lambda name: (name != f"network_{USUAL_NETWORK}", name))
    return {name.removeprefix("network_"): known[name] for name in order}


def _tables(folder: FilePath, start: str) -> dict[str, FilePath]:
    files = (*folder.glob(f"{start}*.csv"), *folder.glob(f"{start}*.csv.gz"))
    return {path.name.split(".csv")[0]: path for path in sorted(files)}
