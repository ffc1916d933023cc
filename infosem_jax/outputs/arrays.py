"""Fitted models as files: named arrays of any shapes with a record, checked like checkpoints."""

from typing import Any

import jax
import numpy as np

from infosem_jax._typing import Path
from infosem_jax.engine import checkpoint


def save_arrays(path: Path, kind: str, arrays: dict[str, Any], record: dict[str, Any]) -> None:
    """Write named arrays so that `load_arrays` needs not be told their shapes.

    Parameters
    ----------
    path
        The file.
    kind
        What the file is, with a version.
    arrays
        By name.
    record
        What else is kept, as JSON.
    """
    arrays = {key: np.asarray(value) for key, value in arrays.items()}
    shapes = {key: [value.shape, str(value.dtype)] for key, value in arrays.items()}
    checkpoint.save(path, arrays, {"kind": kind, **record, "arrays": shapes})


def load_arrays(
    path: Path, kind: str, written_by: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the record and the arrays that `save_arrays` wrote.

    Parameters
    ----------
    path, kind
        As of `save_arrays`.
    written_by
        The command that writes such files, for those who give another.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, was changed, or is something else.
    """
    record = checkpoint.read_record(path)
    if record.get("kind") != kind:
        raise ValueError(f"{path}: expected a model of {written_by} of this version.")
    like = {
        key: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
        for key, (shape, dtype) in record["arrays"].items()
    }
    found = checkpoint.load(path, like, {"kind": kind})
    return record, {key: np.asarray(value) for key, value in found.items()}
