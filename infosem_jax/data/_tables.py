"""Text tables: opened, decompressed and split the same way for every reader."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import csv
import gzip
import importlib.util
import io
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Num

from infosem_jax._typing import Names, Path
from infosem_jax.data._files import LIMITS, Limits, reading
from infosem_jax.data._kinds import describe_kind
from infosem_jax.data._names import describes_genes


class Matrix(NamedTuple):
    """Numbers with a name for each row and column."""

    x: Num[np.ndarray, "rows columns"]
    rows: tuple[str, ...]
    columns: tuple[str, ...]


def read_table(path: Path, kind: str = "table", *, header: list[str] | None = None) -> pd.DataFrame:
    """Read a CSV or TSV file with a header, plain or gzipped, as strings.

    Column names are lower-cased and stripped; a first column without a name is called ``""``, and
    cells that a short row lacks are ``""``.

    Parameters
    ----------
    path
        The file.
    kind
        What the file is called in messages.
    header
        Names of the columns, for a file whose first line holds none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On text that is not UTF-8, rows longer than the header, or no rows.
    """
    with open_text(path, kind) as stream:
        header, frame = _split(stream, LIMITS, dtype=str, header=header)
        header = [name.lower() for name in header]
        if len(set(header)) < len(header):
            raise ValueError(f"the header names a column twice: {', '.join(header)}.")
        frame.columns = pd.Index(header)
        return frame.apply(lambda column: column.str.strip())


def read_matrix(path: Path, kind: str, limits: Limits = LIMITS) -> Matrix:
    """Read a table of numbers whose first column and header hold names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As ``read_table``, and on cells that hold no number, naming the first.
    """
    with open_text(path, kind, limits) as stream:
        header, frame = _split(stream, limits, dtype={0: str})
        names, columns = frame[0].str.strip(), header[1:]
        if not columns:
            raise ValueError(
                f"expected a column of names and columns of numbers, found only {header[0]!r}."
            )
        if looks_like_data(columns):
            raise ValueError(
                f"expected names in the first line, found numbers ({', '.join(columns[:3])}, ...); "
                "add a header."
            )
        if _are_values(names, header[0]):
            raise ValueError(
                f"expected names in the first column, found numbers in {header[0]!r} "
                f"({', '.join(names[:3])}, ...); add a column of names before it."
            )
        # featureCounts and GTEx put what they know of genes, such as the strand, before the cells.
        texts = [i for i, kind in enumerate(frame.dtypes[1:]) if kind.kind not in "iuf"]
        told = {i for i in texts if describes_genes(columns[i])}
        values = frame.drop(columns=[0, *(i + 1 for i in told)])
        columns = [column for i, column in enumerate(columns) if i not in told]
        for i in np.flatnonzero([dtype.kind not in "iuf" for dtype in values.dtypes]):
            text = values.iloc[:, i].astype(str)
            number = pd.to_numeric(text, errors="coerce")
            if number.isna().any():
                bad = int(number.isna().to_numpy().argmax())
                raise ValueError(
                    f"expected numbers, found {text.iloc[bad]!r} in row {names.iloc[bad]!r}, "
                    f"column {columns[i]!r}; {_advice(text.iloc[bad])}."
                )
            values[values.columns[i]] = number
        return Matrix(values.to_numpy(), tuple(names), tuple(columns))


def read_parquet(path: Path, kind: str) -> pd.DataFrame:
    """Read a parquet table, which takes pyarrow.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If pyarrow is not installed, or the file cannot be read.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(
            f"{path}: reading parquet needs pyarrow, which is not installed; install it, or save "
            "the table as CSV (to_csv) where it was made."
        )
    with reading(path, kind):
        return pd.read_parquet(path, engine="pyarrow")


@contextmanager
def open_text(path: Path, kind: str, limits: Limits = LIMITS) -> Iterator[io.TextIOWrapper]:
    """Open text, plain or gzipped, that may not exceed the limit on text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no UTF-8 text or too long; errors of the block carry the path.
    """
    with reading(path, kind), FilePath(path).open("rb") as raw:
        if other := describe_kind(path):
            raise ValueError(f"{other}.")
        head = raw.read(4)
        if head in (b"\x89HDF", b"PK\x03\x04"):
            kind = "HDF5, as of AnnData" if head[1:] == b"HDF" else "an archive of arrays"
            raise ValueError(f"expected text, found {kind}; give a text file.")
        zipped = head[:2] == b"\x1f\x8b"
        raw.seek(0)
        source = gzip.GzipFile(fileobj=raw) if zipped else raw
        _check_length(source, limits.text)
        with io.TextIOWrapper(io.BufferedReader(source, 1 << 16), encoding="utf-8-sig") as stream:
            yield stream


def delimiter(line: str) -> str:
    """Return the delimiter of a header line: a tab, comma or semicolon, or else spaces.

    Two words may be one name, so that spaces part columns from three words on.
    """
    found = next((sep for sep in "\t,;" if sep in line), None)
    return found or (" " if len(line.split()) > 2 else ",")


def cells_of(line: str) -> list[str]:
    """Return the cells of one line of a table, none of a blank one."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter(line)), [])]


def pick(columns: Collection, *wanted: str) -> str | None:
    """Return the first of the wanted column names that is there, or None."""
    return next((name for name in wanted if name in columns), None)


def _split(
    stream: io.TextIOWrapper, limits: Limits, dtype: object, header: list[str] | None = None
) -> tuple[list[str], pd.DataFrame]:
    remark = re.compile(r"\s*$|##|# ")  # as featureCounts writes above its header
    line = next((line for line in stream if not remark.match(line)), "")
    if not line:
        raise ValueError("the file is blank; was it written or downloaded completely?")
    sep = delimiter(line)
    below = next(stream, "")
    if (columns := max(line.count(sep), below.count(sep)) + 1) > limits.columns:
        raise ValueError(
            f"it has {columns:,} columns; at most {limits.columns:,} are read from text: write "
            "them as rows, or save the matrix as h5ad."
        )
    body = Joined(below if header is None else line + below, stream)
    header = header or cells_of(line)
    try:
        # Header and body apart: pandas would rename duplicates and read "NA" or "nan", which are
        # also gene symbols, as missing.
        frame = pd.read_csv(
            body, sep=sep, header=None, dtype=dtype, na_filter=False, low_memory=False,
            decimal="," if sep == ";" else ".",
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise ValueError(
            f"expected rows below the header {line.strip()[:80]!r}, found none."
        ) from None
    if frame.shape[1] == len(header) + 1:  # R leaves out the name of the column of row names
        header = ["", *header]
    if frame.shape[1] != len(header):
        raise ValueError(
            f"the header names {len(header)} columns, the rows have {frame.shape[1]}; "
            "is the delimiter a comma or tab, and is the first line the header?"
        )
    return header, frame


def looks_like_data(columns: Names) -> bool:
    """Tell whether all are numbers and some are fractions; whole numbers may be names."""
    try:
        return not all(number.is_integer() for number in [float(name) for name in columns])
    except ValueError:
        return False


def _are_values(names: pd.Series, title: str) -> bool:
    """Tell whether a first column holds values: fractions, or repeated numbers below a title."""
    told = r"|(cell|gene|sample|barcode|probe|row)?[_. ]?(index|ids?|names?|symbols?)?s?|entrez\w*"
    number = np.asarray(pd.to_numeric(names, errors="coerce"), np.float64)
    if re.fullmatch(told, title, re.IGNORECASE) or np.isnan(number).any():
        return False
    return bool(np.mod(number, 1).any() or names.duplicated().any())


def _advice(cell: str) -> str:
    if re.fullmatch(r"[-+]?\d+(,\d+)+(\.\d+)?", cell):
        return "write decimals with a point, and thousands without a comma"
    return "impute missing values, and keep one header line"


def _check_length(source: io.BufferedIOBase, limit: int) -> None:
    """Refuse more bytes than are read before any is split, which takes a hundred times as long."""
    left = limit
    while left >= 0 and (size := len(source.read(min(left + 1, 1 << 20)))):
        left -= size
    if left < 0:
        raise ValueError(
            f"it holds more than {limit:,} bytes of text, which is the most that is read; keep "
            "fewer cells or genes, or save the matrix as h5ad."
        )
    source.seek(0)


class Joined:
    """A line that was read already, and the text after it."""

    def __init__(self, line: str, stream: io.TextIOWrapper):
        self.line, self.stream = line, stream

    def read(self, size: int = -1) -> str:
        line, self.line = self.line, ""
        return line or self.stream.read(size)

    def __iter__(self) -> Iterator[str]:
        return iter((self.line, *self.stream))
