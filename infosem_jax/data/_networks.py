"""Lists of regulators and tables of edges, in the spellings of the field."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import csv
import logging
import re
from pathlib import Path as FilePath

import numpy as np
import pandas as pd
from jaxtyping import Int8

from infosem_jax._typing import Path
from infosem_jax.data._edge_table import edge_signs, numbers, read_edge_table
from infosem_jax.data._names import are_regulators
from infosem_jax.data._species import SPECIES, regulators_of
from infosem_jax.data._tables import delimiter, open_text, pick, read_table

_REGULATOR = (
    *("regulator", "tf", "tfname", "tfsymbol", "transcriptionfactor", "symbol", "hgncsymbol"),
    *("genesymbol", "approvedsymbol", "genename", "externalgenename", "associatedgenename", "gene"),
    *("name", "regulators", "tfs", "genes"),
)
# Of whether a gene counts, of which the last may also hold names; and what R calls a column without
# a name.
_FLAG = ("istf", "tfassessment", "tf", "regulator")
_NAMELESS = ("x", "v1")

_log = logging.getLogger("infosem_jax")


def read_regulators(path: Path) -> tuple[str, ...]:
    """Read gene symbols from a list or table, plain or gzipped, each once and in order.

    ``human`` and ``mouse``, where no file has that name, stand for the transcription factors of
    these species that ship with the package (Lambert et al. 2018, and those of MGI).

    One symbol per line, or a CSV or TSV file whose column ``regulator``, ``TF``, ``symbol`` or
    ``gene`` holds them (any case); the first column where no header has such a name. A column
    ``is_tf`` (also ``Is TF?``, or else ``TF assessment`` of Lambert et al. 2018) tells which of the
    genes count, and how many do is logged. Blank lines and lines that start with ``#`` are skipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read or lists nothing.
    """
    if str(path) in SPECIES and not FilePath(path).is_file():
        return regulators_of(str(path))
    with open_text(path, "list of regulators") as stream:
        rows = _rows([line for line in stream if line.strip() and line.lstrip()[0] != "#"])
        header = _plain(rows[0]) if rows else []
        flag, marks = _flag(rows, header)
        column = pick([name for i, name in enumerate(header) if i != flag], *_REGULATOR)
        if column is None and header in [[name] for name in _NAMELESS] and len(rows) > 1:
            column = header[0]
        # What R and pandas save beside a list is a row number.
        wide = len(header) > 1
        numbered = wide and all(row[0].strip().isdigit() for row in rows if row)
        index = header.index(column) if column else int(wide and (numbered or not header[0]))
        body = rows[column is not None or (wide and not header[0]) :]
        if flag is not None:
            body = [row for row, counts in zip(rows[1:], marks, strict=True) if counts]
            _log.info(
                "%s: left out %d of %d genes, which are no regulators by its column %s",
                *(path, len(marks) - len(body), len(marks), rows[0][flag].strip()),
            )
        cells = [row[index].strip() for row in body if len(row) > index]
        found = tuple(dict.fromkeys(cell for cell in cells if cell))
        if not found:
            raise ValueError("it lists no regulator; expected one gene symbol per line.")
        return found


def _rows(lines: list[str]) -> list[list[str]]:
    """Split a list or table of regulators, whose first row is its header if it has one."""
    parted = next((line for line in lines[:2] if re.search(r"[\t,;]", line)), "".join(lines[1:2]))
    rows = list(csv.reader(lines, delimiter=delimiter(parted or "".join(lines))))
    if len(rows) == 1 and len(rows[0]) > 2:  # all in one line
        return [[cell] for cell in rows[0]]
    # R leaves out the name of the column of row names, and sheets have titles above the header.
    if len(rows) > 1 and len(rows[1]) == len(rows[0]) + 1 and rows[1][-1].strip():
        rows[0] = ["", *rows[0]]
    named = [len(row) > 2 and pick(_plain(row), *_REGULATOR) is not None for row in rows[:3]]
    return rows[named.index(True) if any(named) else 0 :]


def _plain(row: list[str]) -> list[str]:
    return [re.sub(r"\W|_", "", cell).lower() for cell in row]


def _flag(rows: list[list[str]], header: list[str]) -> tuple[int | None, list[bool]]:
    """Return the column that says of each row whether it counts, and what it says."""
    for name in _FLAG:
        if name not in header or len(rows) < 2:
            continue
        at = header.index(name)
        values = [row[at] if len(row) > at else "" for row in rows[1:]]
        try:
            return at, are_regulators(values, rows[0][at].strip())
        except ValueError:
            if name in _FLAG[:2]:
                raise
    return None, []


def read_network(path: Path, *, weight: str | None = None) -> pd.DataFrame:
    """Read directed edges into the columns ``source`` and ``target``, and what else is there.

    Columns may be called as by any tool that ``read_edge_table`` knows. Optional ones become
    ``weight`` (also ``EdgeWeight``, ``importance``, ``score``, ``coef_mean``, ...), ``score``
    (where it has values beside another column of weights), ``label`` (1 present, 0 absent),
    ``sign`` (also ``Type``: ``+``, ``-``) and ``split`` (kept as it is).
    Self pairs and repeated rows are dropped; a pair listed with both signs gets the sign 0.

    GENELink's ``Label.csv``, or the folder that holds it, gives genes by number. The numbers count
    along ``Target.csv`` of the same folder and mean other genes in any other, so symbols are looked
    up there, and ``TF.csv`` has to agree.

    Parameters
    ----------
    path
        The file or folder.
    weight
        Column to take as ``weight``, and no ``score`` then; the first of a usual name where None.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On a missing header or file, values that are no numbers, labels other than 0 and 1, a pair
        with two labels, weights or splits, and if no edge is left.
    """
    file = _network_file(FilePath(path))
    table = read_edge_table(file, "network", weight=weight)
    frame = table.frame
    edges = frame[["source", "target"]]
    if table.weight:
        edges = edges.assign(weight=numbers(frame[table.weight], str(file)))
    if weight is None and table.weight not in (None, "score") and "score" in frame:
        scores = pd.to_numeric(frame["score"], errors="coerce")
        edges = edges.assign(score=scores) if scores.notna().any() else edges
    if "label" in frame:
        edges = edges.assign(label=_labels(file, frame["label"]))
    if table.sign:
        signs = edge_signs(frame[[table.sign]], str(file))
        edges = edges.assign(sign=signs.astype(np.int8))
    if "split" in frame:
        edges = edges.assign(split=frame["split"])
    edges = _resolve(file, edges)
    if (edges[["source", "target"]] == "").any(axis=None):
        raise ValueError(f"{file}: some rows lack the source or target; remove them.")
    edges = edges[edges["source"] != edges["target"]].drop_duplicates()
    edges = _agree(file, edges)
    if edges.empty:
        raise ValueError(f"{file}: no edge between two different genes.")
    return edges.reset_index(drop=True)


def _network_file(path: FilePath) -> FilePath:
    if not path.is_dir():
        return path
    for name in ("Label.csv", "BL--network.csv", "refNetwork.csv"):
        if (path / name).exists():
            return path / name
    found = sorted(file.name for file in path.glob("*network*"))
    raise ValueError(
        f"{path}: expected Label.csv (GENELink) or refNetwork.csv (BEELINE) in this folder; "
        f"give one network file ({', '.join(found) or 'none seen here'})."
    )


def _resolve(file: FilePath, edges: pd.DataFrame) -> pd.DataFrame:
    """Replace GENELink's numbers by symbols."""
    beside = file.parent / "Target.csv"
    numbers = edges[["source", "target"]].apply(lambda c: c.str.fullmatch(r"\d+")).all(axis=None)
    if not numbers or not (file.name == "Label.csv" or beside.exists()):
        return edges
    if not beside.exists():
        raise ValueError(
            f"{file}: genes are given by number and Target.csv is not beside it; numbers mean "
            "nothing without the Target.csv of the same folder, so keep the two together."
        )
    genes = _numbered(beside, "gene")
    if (file.parent / "TF.csv").exists():
        regulators = _numbered(file.parent / "TF.csv", "tf")
        wrong = [i for i, symbol in regulators.items() if genes.get(i) != symbol]
        wrong += [i for i in edges["source"].unique() if i not in regulators]
        if wrong:
            raise ValueError(
                f"{file}: TF.csv, Target.csv and {file.name} disagree on gene number {wrong[0]}; "
                "they come from different folders, take all three from one."
            )
    unknown = set(edges["source"]).union(edges["target"]).difference(genes)
    if unknown:
        raise ValueError(
            f"{file}: {len(unknown)} gene numbers are not in {beside.name} ({min(unknown)}, ...); "
            "they come from different folders."
        )
    return edges.assign(source=edges["source"].map(genes), target=edges["target"].map(genes))


def _numbered(file: FilePath, column: str) -> dict[str, str]:
    frame = read_table(file, "numbered genes")
    if not {column, "index"} <= set(frame):
        raise ValueError(f"{file}: expected columns {column} and index, found {', '.join(frame)}.")
    return dict(zip(frame["index"], frame[column], strict=True))


def _agree(file: FilePath, edges: pd.DataFrame) -> pd.DataFrame:
    """Leave one row per pair, or refuse pairs whose rows contradict each other."""
    pairs = ["source", "target"]
    twice = edges[edges.duplicated(pairs, keep=False)]
    for column in ("label", "weight", "split"):
        if column in edges and len(twice):
            differ = twice[[*pairs, column]].drop_duplicates().duplicated(pairs)
            if differ.any():
                a, b = twice.loc[differ.index[differ][0], pairs]
                raise ValueError(
                    f"{file}: {differ.sum()} pairs have more than one {column} "
                    f"(first: {a} -> {b}); keep one row per pair."
                )
    if "sign" in edges and len(twice):
        _log.info("%s: %d rows repeat a pair with another sign: sign 0", file, len(twice))
        edges = edges.assign(sign=edges["sign"].where(~edges.duplicated(pairs, keep=False), 0))
    return edges.drop_duplicates(pairs)


def _labels(file: FilePath, column: pd.Series) -> Int8[np.ndarray, " pairs"]:
    values = numbers(column, str(file))
    wrong = values[~np.isin(values, (0, 1))]
    if len(wrong):
        raise ValueError(f"{file}: expected labels 1 (present) and 0 (absent), found {wrong[0]:g}.")
    return values.astype(np.int8)
