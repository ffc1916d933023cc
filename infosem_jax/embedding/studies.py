"""Expression of several studies: what each measured, and names of genes that all share."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# Inferred from its source, the types of anndata are unions that no call narrows.

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import h5py
import numpy as np
from jaxtyping import Float, Float32

from infosem_jax._shown import shown
from infosem_jax._typing import Orthologues, Path
from infosem_jax.data._anndata import PathOrAnnData, holds_anndata, title
from infosem_jax.data._copies import copies
from infosem_jax.data._files import check_h5, read_element, reading
from infosem_jax.data._names import some
from infosem_jax.data._sources import read_source
from infosem_jax.data._species import common_name, guess_species
from infosem_jax.data.units import describe_units

MIN_CELLS, MIN_GENES = 20, 20

_log = logging.getLogger("infosem_jax")


@shown("x", "genes", "tissue", "species", "technique")
class Study(NamedTuple):
    """Expression that one study measured in one tissue with one technique.

    Attributes
    ----------
    x
        Counts or logarithms of normalised expression, [cells, genes]; cells may be spots.
    genes
        Names that studies share, see `harmonise`; none occurs twice.
    symbols
        Names as the study has them.
    name, tissue, species, technique
        What it is called, and what it measured; "" where unknown.
    places
        Coordinates of spots, [cells, 2]; None of data that are not spatial.
    """

    x: Float32[np.ndarray, "cells genes"]
    genes: tuple[str, ...]
    symbols: tuple[str, ...]
    name: str
    tissue: str = ""
    species: str = ""
    technique: str = ""
    places: Float[np.ndarray, "cells 2"] | None = None

    @property
    def label(self) -> str:
        """Technique and tissue; studies of one label share layers."""
        return f"{self.technique} {self.tissue}".strip()

    @property
    def counts(self) -> bool:
        """Whether the values are counts."""
        return bool((self.x == np.round(self.x)).all())


def make_study(
    x: np.ndarray,
    genes: Sequence[str],
    *,
    name: str,
    tissue: str = "",
    species: str = "",
    technique: str = "",
    places: np.ndarray | None = None,
) -> Study:
    """Check expression and put a study together; genes without any expression are left out.

    Of a symbol that occurs twice the gene with more expression is kept.

    Parameters
    ----------
    x
        Counts or normalised expression, of which linear values become log(1 + x), [cells, genes].
    genes
        Their symbols.
    name, tissue, species, technique, places
        As of :class:`Study`.

    Raises
    ------
    ValueError
        On values below 0 or not finite, numbers that do not agree, fewer than 20 cells, or fewer
        than 20 genes that are expressed.
    """
    x = np.asarray(x, np.float32)
    if x.ndim != 2 or x.shape[1] != len(genes):
        raise ValueError(
            f"{name}: expected [cells, genes] with {len(genes)} genes, found {x.shape}."
        )
    if len(x) < MIN_CELLS:
        raise ValueError(
            f"{name}: expected at least {MIN_CELLS} cells, found {len(x)}; co-expression cannot be "
            "estimated from fewer, so join samples or leave the study out."
        )
    if not np.isfinite(x).all() or x.min() < 0:
        raise ValueError(
            f"{name}: expected finite values of at least 0 (counts or logarithms of 1 + "
            "expression), found others; give values before centring and scaling."
        )
    units = describe_units(x, name=name)
    if units.countable and units.kind != "counts":
        _log.info("%s: %s (%s), of which log(1 + x) is taken", name, units, units.why)
        x = np.log1p(x)
    names = np.char.strip(np.asarray(genes, str))
    total = x.sum(0)
    # Stable, so that of equals the first is kept; then back in the order of the file.
    order = np.argsort(-total, kind="stable")
    _, first = np.unique(names[order], return_index=True)
    kept = np.sort(order[first])
    kept = kept[total[kept] > 0]
    if len(kept) < len(names):
        _log.info(
            "%s: left out %d genes without expression, %d repeated names",
            *(name, int((total == 0).sum()), len(names) - len(first)),
        )
    if len(kept) < MIN_GENES:
        raise ValueError(f"{name}: expected at least {MIN_GENES} genes, found {len(kept)}.")
    if places is not None and np.shape(places) != (len(x), 2):
        raise ValueError(
            f"{name}: expected two coordinates of every spot, found {np.shape(places)}."
        )
    empty = x[:, kept].sum(1) == 0
    if empty.any():
        _log.info("%s: left out %d cells without expression", name, int(empty.sum()))
        x, places = x[~empty], None if places is None else places[~empty]
    symbols = tuple(names[kept].tolist())
    return Study(
        np.ascontiguousarray(x[:, kept]), symbols, symbols, name, tissue, species, technique,
        None if places is None else np.asarray(places, float),
    )  # fmt: skip


def read_study(
    path: PathOrAnnData,
    *,
    name: str | None = None,
    layer: str | None = None,
    names: str | None = None,
    **known: str,
) -> Study:
    """Read a study from a file, or from AnnData.

    Of AnnData, ``uns`` may hold ``tissue``, ``species`` (or ``organism``; human and mouse also
    in Latin) and ``modality`` (or ``technique``), and ``obsm["spatial"]`` where spots lie. Other
    files are read as `infosem_jax.data` reads them. Cells must be in rows: names of human or mouse
    genes there are refused where columns have none.

    Parameters
    ----------
    path
        h5ad or npz file, a folder with ``expression.npz``, or an AnnData object, [cells, genes].
    name
        What it is called; the name of the file, or AnnData, where None.
    layer, names
        Layer of AnnData to read instead of ``X``, and column of ``var`` that names genes.
    known
        ``tissue``, ``species`` or ``technique``, in place of those of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On files that cannot be read or have genes in rows, and as `make_study`.
    """
    source = read_source(path, layer, None, names=names, marked=False)
    if source.usual == "auto":
        raise ValueError(
            f"{path}: expected an h5ad or npz file, which say where genes are, found a text table."
        )
    annotated: dict[str, str] = {}
    places = None
    if holds_anndata(path):
        annotated, places = _annotation(path)
    x, genes = source.x, source.columns
    if source.usual == "genes_in_rows":
        x, genes = x.T, source.rows
    elif guess_species(source.rows) and not guess_species(genes):
        raise ValueError(
            f"{title(path)}: expected cells in rows and genes in columns, found genes in rows "
            f"({some(source.rows)}) and none in columns ({some(genes)}); transpose it (adata.T)."
        )
    name = name or FilePath(title(path)).name.split(".")[0]
    for note in (*source.notes, *copies(x)):
        _log.info("%s: %s", name, note)
    return make_study(x, genes, name=name, places=places, **{**annotated, **known})


def read_studies(
    paths: Sequence[Path],
    *,
    species: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    layer: str | None = None,
    names: str | None = None,
) -> list[Study]:
    """Read several studies, which are named by their files, or by their folders too if need be.

    Parameters
    ----------
    paths
        A file or folder for each, as `read_study` reads them.
    species
        Species by name of study, in place of that of its file.
    labels
        The same for technique and tissue, which decide about shared layers.
    layer, names
        Of h5ad files, see `read_study`.

    Raises
    ------
    ValueError
        On names that no study has, and as `read_study`.
    """
    titles = _names([FilePath(path) for path in paths])
    species, labels = species or {}, labels or {}
    for what, given in (("species", species), ("label", labels)):
        unknown = sorted(given.keys() - set(titles))
        if unknown:
            raise ValueError(
                f"{what}: expected names of studies ({', '.join(titles)}), found "
                f"{', '.join(unknown)}."
            )
    found = []
    for path, name in zip(paths, titles, strict=True):
        known = {"species": species[name]} if name in species else {}
        if name in labels:
            known |= {"technique": labels[name], "tissue": ""}
        found.append(read_study(path, name=name, layer=layer, names=names, **known))
    return found


def harmonise(
    studies: Sequence[Study],
    orthologues: Mapping[str, Orthologues] | None = None,
    *,
    target: str = "human",
    withheld: Mapping[str, frozenset[str]] | None = None,
) -> list[Study]:
    """Give genes names that studies share: symbols of one species.

    A gene of another species takes the name of its counterpart; one without is called
    ``Symbol (species)``, so that genes of two species with one symbol stay apart. Letter case does
    not matter where a symbol is looked up. Of several genes with one counterpart that with most
    expression takes its name.

    Parameters
    ----------
    studies
        The studies.
    orthologues
        For each other species, symbol -> symbol of the target species; see
        `infosem_jax.data.read_orthologues`.
    target
        Species whose symbols name genes.
    withheld
        For each other species, symbols whose counterparts are withheld, for a test of
        whether an embedding finds them.

    Raises
    ------
    ValueError
        If studies of several species come without a table for one of them, or two have one name.
    """
    names = [study.name for study in studies]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected studies with names of their own, found {', '.join(names)}.")
    species = {study.species for study in studies} - {""}
    tables = dict(orthologues or {})
    # One species needs no names but its own.
    if len(species) <= 1 and not species & tables.keys():
        return list(studies)
    missing = sorted(species - {target} - tables.keys())
    if missing:
        raise ValueError(
            f"Expected a table of orthologues to {target} for {', '.join(missing)}, as studies are "
            f"of {', '.join(sorted(species))}; give one (--orthologues), or embed each species "
            "alone."
        )
    hidden = withheld or {}
    return [
        study
        if study.species in ("", target)
        else _renamed(study, tables[study.species], hidden.get(study.species, frozenset()))
        for study in studies
    ]


def _names(paths: Sequence[FilePath]) -> list[str]:
    short = [path.name.split(".")[0] for path in paths]
    if len(set(short)) == len(short):
        return short
    return [
        f"{path.absolute().parent.name}/{name}" for path, name in zip(paths, short, strict=True)
    ]


def _renamed(study: Study, table: Orthologues, hidden: frozenset[str]) -> Study:
    lowered = {symbol.lower(): other for symbol, other in table.items()}
    withheld = {symbol.lower() for symbol in hidden}
    _check_direction(study, table)
    taken: dict[str, int] = {}
    total = study.x.sum(0)
    for i in np.argsort(-total, kind="stable"):
        symbol = study.symbols[i].lower()
        other = None if symbol in withheld else lowered.get(symbol)
        if other is not None:
            taken.setdefault(other, int(i))
    found = {i: other for other, i in taken.items()}
    genes = tuple(
        found.get(i, f"{symbol} ({study.species})") for i, symbol in enumerate(study.symbols)
    )
    _log.info("%s: %d of %d genes have a counterpart", study.name, len(found), len(genes))
    return study._replace(genes=genes)


def _check_direction(study: Study, table: Orthologues) -> None:
    """Refuse a table from the other species, whose symbols may differ in case only.

    Symbols of mice in capitals are known by those that differ in more.
    """
    lowered = {symbol.lower(): counterpart.lower() for symbol, counterpart in table.items()}
    apart = {symbol: other for symbol, other in lowered.items() if symbol != other}
    own, other = _found(study.symbols, table)
    here, there = _found([symbol.lower() for symbol in study.symbols], apart)
    if other > 2 * own and other > 0.1 * len(study.symbols) and here <= there:
        raise ValueError(
            f"{study.name}: expected a table from genes of {study.species} to others, found {own} "
            f"of its genes in the first and {other} in the second column; swap them, or name the "
            "columns by their species."
        )


def _found(symbols: Sequence[str], table: Mapping[str, str]) -> tuple[int, int]:
    """Count symbols in the first and in the second column of a table."""
    others = set(table.values())
    return sum(symbol in table for symbol in symbols), sum(symbol in others for symbol in symbols)


def _annotation(source: PathOrAnnData) -> tuple[dict[str, str], np.ndarray | None]:
    keys = {
        "tissue": ("tissue",),
        "species": ("species", "organism"),
        "technique": ("technique", "modality"),
    }
    if isinstance(source, str | os.PathLike):
        uns, places = _read_annotation(source, [name for names in keys.values() for name in names])
    else:
        uns, places = source.uns, source.obsm.get("spatial")
    annotated = {}
    for key, names in keys.items():
        value = next((uns[name] for name in names if isinstance(uns.get(name), str)), None)
        if value is not None:
            annotated[key] = common_name(value) if key == "species" else value
    return annotated, None if places is None else np.asarray(places)[:, :2]


def _read_annotation(path: Path, names: list[str]) -> tuple[dict[str, Any], Any]:
    check_h5(path, parts=[*(f"uns/{name}" for name in names), "obsm/spatial"])
    with reading(path, "h5ad file"), h5py.File(path, "r") as file:
        uns = {name: read_element(file, f"uns/{name}") for name in names if f"uns/{name}" in file}
        places = read_element(file, "obsm/spatial") if "obsm/spatial" in file else None
    return uns, places
