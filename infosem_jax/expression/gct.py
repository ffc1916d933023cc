"""The file formats of the Connectivity Map: GCT (text, versions 1.2 and 1.3) and GCTX (HDF5)."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from jaxtyping import Float32, Shaped

from infosem_jax._typing import Path
from infosem_jax.data._files import LIMITS, STREAM_LIMITS, check_h5, reading
from infosem_jax.data._tables import open_text

_MATRIX = "0/DATA/0/matrix"
_SIDES = {"genes": "0/META/ROW", "samples": "0/META/COL"}
_MISSING = ("-666", "-666.0")  # how these formats write that nothing is known


class Annotated(NamedTuple):
    """Expression as it lies in a file, with every annotation of its genes and samples.

    Attributes
    ----------
    x
        Expression, [samples, genes].
    genes, samples
        Annotations by name, ``id`` first; ``""`` where nothing is known, [genes] and [samples].
    """

    x: Float32[np.ndarray, "samples genes"]
    genes: dict[str, Shaped[np.ndarray, " genes"]]
    samples: dict[str, Shaped[np.ndarray, " samples"]]


def read_gct(path: Path) -> Annotated:
    """Read a GCT file of version 1.2 or 1.3, plain or gzipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On other versions, a table that has not the size that its second line declares, and cells
        that hold no number.
    """
    with open_text(path, "GCT file") as stream:
        version = stream.readline().strip()
        if version not in ("#1.2", "#1.3"):
            raise ValueError(f"expected #1.2 or #1.3 in the first line, found {version[:40]!r}.")
        size = stream.readline().split()
        fields = 2 if version == "#1.2" else 4
        if len(size) != fields or not all(number.isdigit() for number in size):
            raise ValueError(
                f"expected {fields} numbers in the second line, found {' '.join(size)[:60]!r}."
            )
        n_genes, n_samples, *annotations = map(int, size)
        n_gene_fields, n_sample_fields = annotations or (1, 0)
        first = 1 + n_gene_fields
        width = first + n_samples
        header = _fields(stream.readline(), width, 3)
        about = [_fields(stream.readline(), width, 4 + i) for i in range(n_sample_fields)]
        body = _body(stream, first, width, n_genes)
        return Annotated(
            _numbers(body.iloc[:, first:], body[0], header[first:]),
            {"id": body[0].to_numpy(str)}
            | {header[i]: _known(body[i].to_numpy(str)) for i in range(1, first)},
            {"id": np.array(header[first:], str)}
            | {line[0]: _known(np.array(line[first:], str)) for line in about},
        )


def read_gctx(
    path: Path, *, genes: Sequence[str] | None = None, samples: Sequence[str] | None = None
) -> Annotated:
    """Read a GCTX file, or some genes and samples of it, by their ids.

    The matrix lies in ``0/DATA/0/matrix``, [samples, genes]; the annotations of genes in
    ``0/META/ROW`` and those of samples in ``0/META/COL``. The rest of the matrix is not loaded, so
    that a part of a large compendium fits in memory.

    Parameters
    ----------
    path
        The file.
    genes, samples
        Ids to read; None for all.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On a truncated, damaged or gzipped file, one without these places, annotations that do not
        fit the matrix, and ids that it does not hold.
    """
    with reading(path, "GCTX file"):
        # Of a part, what it holds counts and not what the file declares.
        whole = genes is None and samples is None
        check_h5(path, parts=_SIDES.values())
        unlimited = replace(STREAM_LIMITS, ratio=math.inf)
        check_h5(path, LIMITS if whole else unlimited, parts=[_MATRIX])
        with h5py.File(path, "r") as file:
            for place in (_MATRIX, *(f"{side}/id" for side in _SIDES.values())):
                if not isinstance(file.get(place), h5py.Dataset):
                    raise ValueError(f"it has no {place}; was it written as GCTX?")
            about = {name: _annotations(file[place]) for name, place in _SIDES.items()}
            matrix: Any = file[_MATRIX]
            expected = tuple(len(about[name]["id"]) for name in ("samples", "genes"))
            if matrix.shape != expected or matrix.dtype.kind not in "fiu":
                raise ValueError(
                    f"expected a matrix of {expected[0]} samples x {expected[1]} genes, found "
                    f"shape {matrix.shape} of {matrix.dtype}."
                )
            rows = _choose(about["samples"]["id"], samples, "samples")
            columns = _choose(about["genes"]["id"], genes, "genes")
            if 4 * len(rows) * len(columns) > LIMITS.size:
                raise ValueError(
                    f"{len(rows)} samples x {len(columns)} genes are too many at once."
                )
            x = _part(matrix, rows, columns)
        return Annotated(
            x,
            {key: value[columns] for key, value in about["genes"].items()},
            {key: value[rows] for key, value in about["samples"].items()},
        )


def _fields(line: str, width: int, number: int) -> list[str]:
    fields = line.rstrip("\r\n").split("\t")
    # Spreadsheets fill lines up with tabs.
    while len(fields) > width and not fields[-1]:
        fields.pop()
    if len(fields) != width:
        raise ValueError(
            f"expected {width} fields in line {number}, as the second line declares, found "
            f"{len(fields)}; was it written or downloaded completely?"
        )
    return fields


def _body(stream: io.TextIOWrapper, first: int, width: int, n_genes: int) -> pd.DataFrame:
    text = dict.fromkeys(range(first), str)
    try:
        body = pd.read_csv(
            stream, sep="\t", header=None, dtype=text, na_filter=False, low_memory=False,
            quoting=csv.QUOTE_NONE,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        body = pd.DataFrame(index=[], columns=range(width))
    while body.shape[1] > width and (body.iloc[:, -1] == "").all():
        body = body.iloc[:, :-1]
    if body.shape != (n_genes, width):
        raise ValueError(
            f"its second line declares {n_genes} genes in lines of {width} fields, found "
            f"{len(body)} lines of {body.shape[1]}; was it written or downloaded completely?"
        )
    return body


def _numbers(values: pd.DataFrame, genes: pd.Series, samples: list[str]) -> np.ndarray:
    for i in np.flatnonzero([dtype.kind not in "iuf" for dtype in values.dtypes]):
        text = values.iloc[:, i].astype(str)
        bad = pd.to_numeric(text, errors="coerce").isna().to_numpy()
        if bad.any():
            at = int(bad.argmax())
            raise ValueError(
                f"expected numbers, found {text.iloc[at]!r} for gene {genes.iloc[at]!r} in sample "
                f"{samples[i]!r}; impute missing values first."
            )
    return np.ascontiguousarray(values.to_numpy(np.float32).T)


def _annotations(group: Any) -> dict[str, np.ndarray]:
    found = {}
    for name in ["id", *(name for name in group if name != "id")]:
        values = np.asarray(group[name])
        if values.dtype.kind in "SO":
            values = np.array([_decode(value) for value in values.ravel()], str)
        found[name] = _known(values.ravel().astype(str))
        if len(found[name]) != len(found["id"]):
            raise ValueError(
                f"expected one value of {group.name}/{name} for each of {len(found['id'])} ids, "
                f"found {len(found[name])}."
            )
    return found


def _decode(value: bytes | str) -> str:
    # Some writers fill names up to one length.
    return (value.decode("utf-8") if isinstance(value, bytes) else value).rstrip("\x00 ")


def _known(values: np.ndarray) -> np.ndarray:
    return np.where(np.isin(values, _MISSING), "", values)


def _choose(ids: np.ndarray, wanted: Sequence[str] | None, kind: str) -> np.ndarray:
    if wanted is None:
        return np.arange(len(ids))
    place = {name: i for i, name in enumerate(ids.tolist())}
    missing = [name for name in wanted if name not in place]
    if missing:
        raise ValueError(
            f"it does not hold {len(missing)} of {len(wanted)} {kind}: {', '.join(missing[:10])}; "
            f"its ids look like {', '.join(ids[:3])}."
        )
    return np.array([place[name] for name in wanted], int)


def _part(matrix: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    # HDF5 takes places in rising order, each once, and one list of them at a time.
    few, inverse = np.unique(rows, return_inverse=True)
    whole = len(few) == matrix.shape[0]
    values = np.concatenate(
        [
            np.asarray(matrix[part.min() : part.max() + 1] if whole else matrix[part])[:, columns]
            for part in np.array_split(few, max(1, len(few) // 256))
        ]
    )
    return np.ascontiguousarray(values[inverse], np.float32)
