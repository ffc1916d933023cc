"""Gene sets of pathways and functions: how they are read, and which of them genes belong to."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TypeVar

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write
from infosem_jax.data._tables import open_text, read_table

LEAST, MOST = 5, 200
FDR = 0.05

GeneSets = Mapping[str, frozenset[str]]
Name = TypeVar("Name", int, str)


def read_gene_sets(path: Path) -> dict[str, frozenset[str]]:
    """Read gene sets: a GMT file, or a table with ``go_id`` and ``gene_symbols`` (split by ``|``).

    Parameters
    ----------
    path
        The file, plain or gzipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no gene set.
    """
    if ".gmt" in FilePath(path).name:
        with open_text(path, "gene sets") as stream:
            lines = [line.rstrip("\n").split("\t") for line in stream if line.strip()]
        found = {cells[0]: frozenset(filter(None, cells[2:])) for cells in lines}
    else:
        table = read_table(path, "gene sets")
        if not {"go_id", "gene_symbols"} <= set(table):
            raise ValueError(
                f"{path}: expected a GMT file or columns go_id and gene_symbols, found "
                f"{', '.join(table)}."
            )
        pairs = zip(table["go_id"], table["gene_symbols"], strict=True)
        found = {name: frozenset(filter(None, re.split(r"\|", genes))) for name, genes in pairs}
    if not any(found.values()):
        raise ValueError(f"{path}: holds no gene set.")
    return found


def write_gmt(path: Path, sets: Mapping[str, Collection[str]]) -> None:
    """Write gene sets as a GMT file: name, an empty description and the genes, split by tabs."""
    lines = ["\t".join([name, "", *genes]) + "\n" for name, genes in sets.items()]
    with atomic_write(path) as draft:
        draft.write_text("".join(lines), encoding="utf-8")


def over_represented(
    genes: Sequence[str], groups: Mapping[Name, Collection[str]], sets: GeneSets
) -> list[tuple[Name, str, int, int, float]]:
    """Test which gene sets are over-represented in groups of genes.

    Hypergeometric tests against all genes, corrected over groups and sets (Benjamini and Hochberg
    1995) to a false discovery rate of 5 %.

    Parameters
    ----------
    genes
        All genes, each once.
    groups
        Some of these genes, by name of the group.
    sets
        Gene sets; those with 5 to 200 of the genes count.

    Returns
    -------
    Group, name of the set, its genes there, its genes in all, and the corrected p-value; by group,
    the smallest p-value first.
    """
    from scipy import stats

    known = set(genes)
    inside = {name: set(own) & known for name, own in sets.items()}
    tests: list[tuple[Name, str, int, int, float]] = []
    for group, members in groups.items():
        members = set(members) & known
        for name, own in inside.items():
            hits = len(own & members)
            if hits and LEAST <= len(own) <= MOST:
                p = stats.hypergeom.sf(hits - 1, len(genes), len(own), len(members))
                tests.append((group, name, hits, len(own), float(p)))
    if not tests:
        return []
    corrected = stats.false_discovery_control([p for *_, p in tests])
    found = [(*test[:4], float(q)) for test, q in zip(tests, corrected, strict=True) if q <= FDR]
    return sorted(found, key=lambda row: (row[0], row[4], row[1]))
