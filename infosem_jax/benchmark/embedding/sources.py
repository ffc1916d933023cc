"""Data of the benchmark: groups of studies from a folder, their orthologues and gene sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np

from infosem_jax._typing import Orthologues, Path
from infosem_jax.benchmark.folder import of_h5ad
from infosem_jax.data.gene_sets import GeneSets, read_gene_sets
from infosem_jax.data.io import read_orthologues
from infosem_jax.embedding.graph import GraphSettings, StudyGraph, study_graph
from infosem_jax.embedding.orthologues import withhold
from infosem_jax.embedding.studies import Study, harmonise, read_study

QUICK_GENES, QUICK_CELLS = 120, 150
# Collections of gene sets by what their files are called.
COLLECTIONS = {
    "hallmark": "*h.all*.gmt*",
    "reactome": "*reactome*.gmt*",
    "go": "go_*human*",
}


class Source(NamedTuple):
    """Studies that are embedded together.

    Attributes
    ----------
    name
        Of the group.
    studies
        Their expression, with names of their own.
    orthologues
        For each species but the target, symbol -> symbol of the target species.
    target
        Species that genes are named by.
    """

    name: str
    studies: tuple[Study, ...]
    orthologues: dict[str, Orthologues]
    target: str = "human"

    @property
    def species(self) -> set[str]:
        """Species of the studies."""
        return {study.species for study in self.studies} - {""}


class Prepared(NamedTuple):
    """What methods are given of a group, and what only its runner knows."""

    graphs: tuple[StudyGraph, ...]
    withheld: dict[str, frozenset[str]]


def find_sources(
    folder: Path,
    wanted: Sequence[str] = (),
    orthologues: Mapping[str, Path] | None = None,
    reading: Mapping[str, str | None] = {},
) -> tuple[list[Source], list[str]]:
    """Read groups of studies from a folder.

    Parameters
    ----------
    folder
        Holds h5ad files and folders with ``expression.npz``, also below it.
    wanted
        ``A:B`` or ``NAME=A:B`` for studies A and B together; a study is named by its file without
        its ending, as far from the folder as needed. Where empty, all studies of one species and
        tissue, if there are two.
    orthologues
        Tables of orthologues for species other than human; those of the folder that are named
        ``*ortholog*`` for mice where None.
    reading
        Layer and names of genes of h5ad files, see `read_study`.

    Returns
    -------
    Groups, and sentences about studies that were left out.

    Raises
    ------
    ValueError
        If there is no group, or one that was asked for cannot be used.
    """
    folder = FilePath(folder)
    files = _files(folder)
    if orthologues is None:
        found = sorted(folder.rglob("*ortholog*"))
        orthologues = {"mouse": found[0]} if found else {}
    tables = {
        species: read_orthologues(path, source=species) for species, path in orthologues.items()
    }
    known: dict[str, Study] = {}

    def load(text: str) -> Study:
        if text not in known:
            file = files[_resolve(text, files, folder)]
            known[text] = read_study(file, name=text, **of_h5ad(file, reading))  # pyright: ignore[reportArgumentType]
        return known[text]

    if wanted:
        sources = []
        for text in wanted:
            name, _, members = text.rpartition("=")
            studies = tuple(load(each) for each in members.split(":"))
            sources.append(Source(name or _name(studies), studies, _own(studies, tables)))
        return sources, []
    return _by_tissue(files, load, tables)


def study_graphs(source: Source, settings: GraphSettings) -> tuple[StudyGraph, ...]:
    """Make the graphs of a group, which all seeds share but for the names of genes."""
    return tuple(study_graph(study, settings) for study in source.studies)


def rename(source: Source, graphs: Sequence[StudyGraph], seed: int) -> Prepared:
    """Give graphs of a group the names that studies share, other for each seed.

    Where there are several species, the seed withholds orthologues from training, and so from
    names.

    Parameters
    ----------
    source
        The group.
    graphs
        Of its studies.
    seed
        Decides which orthologues are withheld.
    """
    withheld = {}
    if len(source.species) > 1:
        withheld = withhold(source.studies, source.orthologues, seed=seed)
    named = harmonise(source.studies, source.orthologues, target=source.target, withheld=withheld)
    renamed = []
    for graph, study in zip(graphs, named, strict=True):
        gene = dict(zip(study.symbols, study.genes, strict=True))
        renamed.append(graph._replace(genes=tuple(gene[symbol] for symbol in graph.symbols)))
    return Prepared(tuple(renamed), withheld)


def find_gene_sets(folder: Path) -> dict[str, GeneSets]:
    """Read the gene sets of a folder: hallmarks, Reactome and GO, as far as they are there."""
    found = {}
    for name, pattern in COLLECTIONS.items():
        files = sorted(FilePath(folder).rglob(pattern))
        if files:
            found[name] = read_gene_sets(files[0])
    return found


def reduce(sources: Sequence[Source], count: int = 2) -> tuple[list[Source], str]:
    """Reduce data for a quick look: the first groups, few cells and genes of each study."""
    kept = [
        source._replace(studies=tuple(_cut(study) for study in source.studies))
        for source in sources[:count]
    ]
    names = ", ".join(source.name for source in kept)
    return kept, (
        f"A quick look, no benchmark: {names} only, at most {QUICK_CELLS} cells and {QUICK_GENES} "
        "genes of each study, and methods that are trained for a moment only."
    )


def _cut(study: Study) -> Study:
    rows = np.unique(np.linspace(0, len(study.x) - 1, min(len(study.x), QUICK_CELLS)).astype(int))
    x = study.x[rows]
    # Genes that few cells express say nothing in so small a study.
    kept = (x > 0).sum(0) >= 5
    return study._replace(
        x=np.ascontiguousarray(x[:, kept]),
        genes=tuple(np.asarray(study.genes, object)[kept].tolist()),
        symbols=tuple(np.asarray(study.symbols, object)[kept].tolist()),
        places=None if study.places is None else study.places[rows],
    )


def _files(folder: FilePath) -> dict[str, FilePath]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of studies.")
    found = {
        path.relative_to(folder).as_posix().removesuffix(".h5ad"): path
        for path in sorted(folder.rglob("*.h5ad"))
    }
    for path in sorted(folder.rglob("expression.npz")):
        found[path.parent.relative_to(folder).as_posix()] = path.parent
    if not found:
        raise ValueError(f"{folder}: expected h5ad files or folders with expression.npz.")
    return found


def _resolve(text: str, files: Mapping[str, FilePath], folder: FilePath) -> str:
    fitting = [name for name in files if name == text or name.endswith(f"/{text}")]
    if len(fitting) != 1:
        raise ValueError(
            f"Expected one study {text!r} in {folder}, found "
            f"{', '.join(fitting) or 'none'}; choose from {', '.join(files)}."
        )
    return fitting[0]


def _by_tissue(files, load, tables) -> tuple[list[Source], list[str]]:
    groups: dict[tuple[str, str], list[Study]] = {}
    notes = []
    for name in files:
        try:
            study = load(name)
        except ValueError as error:
            notes.append(f"{name} was left out: {error}")
            continue
        if study.tissue:
            groups.setdefault((study.species, study.tissue), []).append(study)
    groups = {place: studies for place, studies in groups.items() if len(studies) > 1}
    tissues = [tissue for _, tissue in groups]
    sources = [
        Source(
            tissue if tissues.count(tissue) == 1 else f"{tissue} ({species})",
            tuple(studies),
            _own(studies, tables),
        )
        for (species, tissue), studies in groups.items()
    ]
    if not sources:
        raise ValueError(
            "Expected two studies of one species and tissue, found none; name groups yourself "
            "(--datasets A:B)."
        )
    return sources, notes


def _own(studies: Sequence[Study], tables: Mapping[str, Orthologues]) -> dict[str, Orthologues]:
    species = {study.species for study in studies}
    return {name: table for name, table in tables.items() if name in species}


def _name(studies: Sequence[Study]) -> str:
    return " + ".join(study.name for study in studies)
