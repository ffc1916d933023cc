"""Which gene of one species answers to which of another."""

import csv

from infosem_jax._typing import Path
from infosem_jax.data._tables import cells_of, delimiter, open_text, pick, read_table


def read_orthologues(path: Path, *, source: str = "mouse", target: str = "human") -> dict[str, str]:
    """Read which gene of one species answers to which of another: symbol -> symbol.

    Reads tables with one column of symbols per species (``mouse_symbol``, ``mouse``, ...), those of
    Ensembl BioMart, tables of just two columns, source first, and MGI's headerless human and mouse
    report. Of several
    counterparts the one of the same spelling is taken, or else the first.

    Parameters
    ----------
    path
        CSV or TSV, plain or gzipped.
    source
        Species of the genes to look up.
    target
        Species of the names to find.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the columns cannot be told or hold no pair.
    """
    from_mgi = _read_mgi(path, source, target)
    pairs = from_mgi if from_mgi is not None else _read_pairs(path, source, target)
    found: dict[str, str] = {}
    for a, b in pairs:
        if a and b and (a not in found or (a.upper() == b.upper() != found[a].upper())):
            found[a] = b
    if not found:
        raise ValueError(f"{path}: no pair of {source} and {target} symbols.")
    return found


def _read_pairs(path: Path, source: str, target: str) -> list[tuple[str, str]]:
    frame = read_table(path, "table of orthologues")
    columns = [_column(list(frame.columns), species) for species in (source, target)]
    if columns.count(None) == 1 and "gene name" in frame:  # Ensembl calls the other by its species
        columns = [column or "gene name" for column in columns]
    if columns == [None, None] and frame.shape[1] == 2:
        columns = list(frame.columns)
    if None in columns or columns[0] == columns[1]:
        raise ValueError(
            f"{path}: expected columns {source}_symbol and {target}_symbol, or two columns, found "
            f"{', '.join(frame.columns)}."
        )
    return list(zip(*(frame[column] for column in columns), strict=True))


def _column(columns: list[str], species: str) -> str | None:
    species = species.lower()
    return pick(
        columns,
        f"{species}_symbol",
        species,
        f"{species}_gene",
        f"{species} symbol",
        f"{species} gene name",
    )


def _read_mgi(path: Path, source: str, target: str) -> list[tuple[str, str]] | None:
    """Read MGI's report, known by an accession that follows the mouse symbol in the first line."""
    with open_text(path, "table of orthologues") as stream:
        line = stream.readline()
        first = cells_of(line)
        place = next((i for i, cell in enumerate(first) if cell.startswith("MGI:")), 0)
        if place < 2:
            return None
        columns = {"human": 0, "mouse": place - 1}
        if not {source, target} <= set(columns):
            raise ValueError(f"MGI's report is on human and mouse, not {source} and {target}.")
        rows = [first, *csv.reader(stream, delimiter=delimiter(line), quoting=csv.QUOTE_NONE)]
        return [
            (row[columns[source]].strip(), row[columns[target]].strip())
            for row in rows
            if len(row) > place
        ]
