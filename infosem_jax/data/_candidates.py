"""Tables of candidate edges from motifs and open chromatin, and of edges with a sign."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

from pathlib import Path as FilePath

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.data._edge_table import REGULATOR, TARGET, edge_signs, read_edge_table
from infosem_jax.data._networks import read_network
from infosem_jax.data._tables import cells_of, delimiter, open_text, pick, read_matrix, read_parquet

_GENE, _PEAK = "gene_short_name", "peak_id"

FORMS = (
    "expected a CellOracle base network (gene_short_name and one 0/1 column per regulator), an "
    "inferelator prior (targets in rows, regulators in columns, numbers) or a list of edges "
    "(source,target)"
)


def read_candidates(path: Path) -> pd.DataFrame:
    """Read which edges are possible, as motifs and open chromatin tell, in any of three forms.

    A CellOracle base network has a column ``gene_short_name`` and one 0/1 column per regulator; the
    rows of a gene, one for each of its peaks (``peak_id``), are taken together. An inferelator
    prior has targets in rows and regulators in columns, 0 for no edge. Anything with columns for
    source and target is read by `read_network`. Text may be CSV or TSV, plain or gzipped; parquet
    needs pyarrow. Genes do not regulate themselves: self pairs are dropped.

    Returns
    -------
    DataFrame
        Columns source and target, one row per pair; ``weight`` where a matrix has other numbers
        than 0 and 1; and what `read_network` finds in a list.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of none of the three forms, or has no edge.
    """
    file = FilePath(path)
    if file.is_dir():
        return read_network(file)
    if file.suffix == ".parquet":
        frame = read_parquet(file, "CellOracle base network")
        if _GENE not in frame:
            columns = ", ".join(map(str, frame.columns[:5]))
            raise ValueError(f"{file}: expected a column {_GENE}, found {columns}.")
        return _edges(file, _binary(file, frame, _GENE))
    header = _header(file)
    names = [name.lower() for name in header]
    if _GENE in names:
        return _edges(file, _read_base_network(file, header))
    if pick(names, *REGULATOR) and pick(names, *TARGET):
        return read_network(file)
    try:
        x, targets, regulators = read_matrix(file, "table of candidate edges")
    except ValueError as error:
        raise ValueError(f"{error} For candidate edges, {FORMS}.") from error
    return _edges(file, pd.DataFrame(x, index=list(targets), columns=list(regulators)))


def read_signed_edges(path: Path) -> pd.DataFrame:
    """Read known activations and repressions: columns source, target and sign (1 or -1).

    The sign comes from a column ``sign``, ``mode``, ``mor``, ``type``, ``effect`` or
    ``interaction``, see ``edge_signs``. Pairs of unknown sign, or listed with both, are dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is missing, a sign cannot be read, or none is known.
    """
    table = read_edge_table(path, "table of signed edges")
    edges = table.frame[["source", "target"]].assign(sign=edge_signs(table.frame, str(path)))
    edges = edges[(edges["sign"] != 0) & (edges["source"] != edges["target"])].drop_duplicates()
    edges = edges.drop_duplicates(["source", "target"], keep=False).reset_index(drop=True)
    if edges.empty:
        raise ValueError(f"{path}: no edge with one known sign.")
    return edges.astype({"sign": np.int8})


def _header(file: FilePath) -> list[str]:
    with open_text(file, "table of candidate edges") as stream:
        line = next((line for line in stream if line.strip()), "")
        return cells_of(line)


def _read_base_network(file: FilePath, header: list[str]) -> pd.DataFrame:
    """Return 0/1 with genes as index, once per peak."""
    at = [name.lower() for name in header].index(_GENE)
    with open_text(file, "CellOracle base network") as stream:
        line = next(line for line in stream if line.strip())
        # Header and body apart, as pandas would rename what is there twice; and genes called NA.
        frame = pd.read_csv(
            stream, sep=delimiter(line), header=None, na_filter=False, dtype={at: str}
        )
        if frame.shape[1] != len(header):
            raise ValueError(
                f"the header names {len(header)} columns, the rows have {frame.shape[1]}."
            )
    return _binary(file, frame.set_axis(header, axis=1), header[at])


def _binary(file: FilePath, frame: pd.DataFrame, gene: str) -> pd.DataFrame:
    # What pandas or a spreadsheet saves beside the table is a row number.
    other = [name for name in frame if str(name).lower() in (_PEAK, "", "index")]
    values = frame.drop(columns=[gene, *other])
    for name, column in values.items():
        if not column.isin((0, 1)).all():
            raise ValueError(
                f"{file}: expected 0 and 1 in column {name}, found "
                f"{str(column[~column.isin((0, 1))].iloc[0])!r}; is it a regulator?"
            )
    return values.astype(np.int8).set_index(frame[gene].astype(str).str.strip())


def _edges(file: FilePath, matrix: pd.DataFrame) -> pd.DataFrame:
    """List the entries of a matrix, targets in rows, that are not 0; the largest of a pair."""
    x = matrix.to_numpy()
    if not np.isfinite(x).all():
        raise ValueError(f"{file}: expected finite numbers, 0 for no edge, found others.")
    row, column = np.nonzero(x)
    edges = pd.DataFrame(
        {
            "source": np.asarray(matrix.columns, dtype=object)[column],
            "target": np.asarray(matrix.index, dtype=object)[row],
            "weight": x[row, column].astype(np.float64),
        }
    )
    edges = edges[edges["source"] != edges["target"]]
    if (edges["target"] == "").any():
        raise ValueError(f"{file}: some rows lack the name of the target; remove them.")
    if edges.empty:
        raise ValueError(f"{file}: no edge between two different genes; {FORMS}.")
    order = edges["weight"].abs().argsort(kind="stable").to_numpy()[::-1]
    edges = edges.iloc[order].drop_duplicates(["source", "target"])
    edges = edges.sort_values(["source", "target"], ignore_index=True)
    return edges if set(edges["weight"]) != {1.0} else edges[["source", "target"]]
