"""Genes of human and mouse: their names, and which of them are regulators.

The tables ship with the package; ``tables/SOURCES.md`` tells where they are from.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import re
from functools import cache
from pathlib import Path as FilePath

import pandas as pd

from infosem_jax._typing import Names

SPECIES = ("human", "mouse")
# Least share of names that are symbols or identifiers of a species, to tell that they are.
LEAST = 0.1
_TABLES = FilePath(__file__).parent / "tables"


@cache
def gene_table(species: str) -> pd.DataFrame:
    """Return symbol, Ensembl identifiers, aliases, orthologue and role of each gene of a species.

    Raises
    ------
    ValueError
        On another species than ``human`` and ``mouse``.
    """
    if species not in SPECIES:
        raise ValueError(f"species: expected {' or '.join(SPECIES)}, found {species!r}.")
    return pd.read_csv(_TABLES / f"{species}_genes.csv.xz", dtype=str, keep_default_na=False)


def regulators_of(species: str) -> tuple[str, ...]:
    """Return the transcription factors of a species (Lambert et al. 2018; MGI).

    Raises
    ------
    ValueError
        As `gene_table`.
    """
    table = gene_table(species)
    return tuple(table["symbol"][table["regulator"] == "1"])


@cache
def symbols_of(species: str) -> dict[str, str]:
    """Return the symbol that an Ensembl identifier or an alias stands for, both in upper case.

    Raises
    ------
    ValueError
        As `gene_table`.
    """
    table = gene_table(species)
    found = {}
    for column in ("aliases", "ensembl"):
        for symbol, names in zip(table["symbol"], table[column], strict=True):
            found |= {name.upper(): symbol.upper() for name in names.split("|") if name}
    return found


def common_name(species: str) -> str:
    """Return the name that tables go by: ``human`` for ``Homo sapiens``; others as they are."""
    return _COMMON.get(re.sub(r"[\W_]+", " ", species).strip().lower(), species)


def guess_species(names: Names) -> str | None:
    """Tell the species from symbols or Ensembl identifiers; None where they are of neither.

    Symbols of mouse in upper case look like those of human.
    """
    names = [without_version(name) for name in names]
    shares = {species: sum(name in _known(species) for name in names) for species in SPECIES}
    best = max(SPECIES, key=lambda species: shares[species])
    return best if shares[best] >= LEAST * max(len(names), 1) else None


def human_symbols(genes: Names) -> dict[str, str]:
    """Return the human symbol of each gene, or of its orthologue, in upper case.

    Genes are known by symbol in any case, alias or Ensembl identifier; others are called as they
    are. Nothing is returned where names are of neither species.
    """
    species = guess_species(genes)
    if species is None:
        return {}
    others, found = symbols_of(species), {}
    for gene in genes:
        name = without_version(gene).upper()
        name = others.get(name, name)
        found[gene] = name if species == "human" else _orthologues().get(name, name)
    return found


def without_version(name: str) -> str:
    """Return an Ensembl identifier without its version; other names as they are."""
    return re.sub(r"^(ENS[A-Z]*\d{6,})\.\d+(_PAR_Y)?$", r"\1", name)


_COMMON: dict[str, str] = dict.fromkeys(("human", "homo sapiens", "h sapiens", "hsapiens"), "human")
_COMMON |= dict.fromkeys(("mouse", "mus musculus", "m musculus", "mmusculus"), "mouse")


@cache
def _orthologues() -> dict[str, str]:
    table = gene_table("mouse")
    pairs = zip(table["symbol"], table["orthologue"], strict=True)
    return {name.upper(): other.upper() for name, other in pairs if other}


@cache
def _known(species: str) -> frozenset[str]:
    table = gene_table(species)
    return frozenset(table["symbol"]).union(*table["ensembl"].str.split("|")) - {""}
