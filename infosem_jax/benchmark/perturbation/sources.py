"""Data of the benchmark: screens of a folder, and the graphs and texts beside them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath

from infosem_jax._settings import hint
from infosem_jax._typing import Path
from infosem_jax.benchmark.folder import files_by_name
from infosem_jax.perturbation.knowledge import Knowledge
from infosem_jax.perturbation.screen import Screen, read_knowledge

# Where screens are: cells, means of cells, and tables of signs; else in the folder itself.
PLACES = ("sc", "pseudobulk", "labels")
ENDINGS = (".h5ad", ".npz", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
# Where graphs, texts and lists of perturbations are.
KNOWLEDGE, SPLITS = "kg", "splits"
GRAPHS, TEXTS = "_pairs", "gene_text"


def find_screens(
    folder: Path, wanted: Sequence[str], read: Callable[[FilePath], Screen]
) -> tuple[list[Screen], list[str]]:
    """Read the screens of a folder.

    Parameters
    ----------
    folder
        Holds cells (h5ad), means (npz) or signs (CSV, TSV), in folders ``sc``, ``pseudobulk`` and
        ``labels`` if it has one of these.
    wanted
        Names of files without their endings; all where empty.
    read
        Reads a file.

    Returns
    -------
    Screens, and sentences about files that were left out.

    Raises
    ------
    ValueError
        If there is no screen, or one that was asked for cannot be used.
    """
    folder = FilePath(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of data sets.")
    places = [folder / name for name in PLACES if (folder / name).is_dir()] or [folder]
    files = {name: path for place in places for name, path in files_by_name(place, ENDINGS).items()}
    # The directions of a table NAME_de are read with it.
    for name in list(files):
        if name.endswith("_dir") and f"{name.removesuffix('_dir')}_de" in files:
            del files[name]
    screens, left_out = [], []
    for name in wanted or files:
        if name not in files:
            raise ValueError(f"There is no data set {name!r} in {folder}; {hint(name, files)}")
        try:
            screens.append(read(files[name]))
        except ValueError as error:
            if wanted:
                raise
            left_out.append(f"{name} was left out: {error}")
    if not screens:
        raise ValueError(
            f"{folder}: expected screens (h5ad, npz or CSV files), found none that can be used. "
            f"{' '.join(left_out)}"
        )
    return screens, left_out


def find_knowledge(
    folder: Path,
    sets: Mapping[str, Mapping[str, Path]],
    text: Path | None,
    screens: Sequence[Screen],
    *,
    top: int = 0,
) -> dict[str, Knowledge]:
    """Read what is known of the genes of some screens.

    Parameters
    ----------
    folder
        Its folder ``kg`` holds graphs (CSV, TSV) and texts or vectors of genes.
    sets
        For each set of knowledge, graphs by name: a file, or the name of one in ``kg`` without its
        ending. Where empty, one set of all graphs in ``kg`` that are named ``*_pairs``.
    text
        File of texts or vectors; the first in ``kg`` that is named ``gene_text*`` where None.
    screens
        Whose genes have a node, whatever is known of them.
    top
        Edges of each target of a network that lists all pairs; 0 keeps all.

    Raises
    ------
    ValueError
        If there is no such graph, or it cannot be read.
    """
    files = files_by_name(FilePath(folder) / KNOWLEDGE, ENDINGS)
    pairs = {name.removesuffix(GRAPHS): path for name, path in files.items() if GRAPHS in name}
    text = text or next((path for name, path in files.items() if name.startswith(TEXTS)), None)
    genes = {gene for screen in screens for gene in screen.genes}
    found = {}
    for name, graphs in (sets or {"graphs" if pairs else "none": pairs}).items():
        paths = {graph: _graph(path, files) for graph, path in graphs.items()}
        found[name] = read_knowledge(paths, text, sorted(genes), top=top)
    return found


def find_split(folder: Path, name: str) -> str:
    """Return a split in words, or the file of a list of perturbations that has this name."""
    lists = files_by_name(FilePath(folder) / SPLITS, (".json", *ENDINGS))
    return str(lists.get(name, name))


def _graph(path: Path, files: Mapping[str, FilePath]) -> FilePath:
    if FilePath(path).is_file():
        return FilePath(path)
    if str(path) not in files:
        raise ValueError(f"{path}: no such file, nor a graph there; {hint(str(path), files)}")
    return files[str(path)]
