"""Arrays with a record in one file that is written whole and found whole: npz with a checksum."""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from infosem_jax._typing import Path
from infosem_jax.data._files import Limits, check_npz, reading

FORMAT = 1
# Nothing is compressed, so that a file can hold no more than its size.
LIMITS = Limits(size=sys.maxsize, ratio=1.0, members=sys.maxsize)
RECORD = "record"


def write(path: Path, arrays: Sequence[Any], record: dict[str, Any]) -> None:
    """Write arrays and a record to one file, whole or not at all.

    The file is an npz without pickles: the bytes of the arrays in order, and a JSON record with a
    checksum over them. It is written beside its place, flushed to disk, and moved there, so that
    a crash at any moment leaves the old file or the new one.

    Parameters
    ----------
    path
        The file; what an earlier, killed attempt left beside it is removed.
    arrays
        Of any type but objects; numbers come back as arrays.
    record
        What the arrays belong to; anything that JSON can hold.

    Raises
    ------
    OSError
        If writing fails, for instance on a full disk; an older file is then as it was.
    TypeError
        If arrays hold objects, or the record something that JSON does not.
    """
    path = FilePath(path)
    described = [describe(array) for array in arrays]
    raw = [_bytes(array) for array in arrays]
    header = {"format": FORMAT, "arrays": described, "record": record}
    header |= {"sha256": _digest(raw, described, record)}
    members: dict[str, Any] = {f"a{i:05d}": array for i, array in enumerate(raw)}
    members[RECORD] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    # A fixed name: what an earlier, killed attempt left is overwritten.
    draft = path.with_name(f".{path.name}.draft")
    try:
        with open(draft, "wb") as file:
            np.savez(file, **members)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        kept = "the last one is as it was" if os.path.exists(path) else "nothing was saved"
        raise OSError(
            error.errno,
            f"cannot save ({error.strerror or error}), {kept}; make room, or give a folder that "
            "can be written to",
            str(path),
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()
    _sync_folder(path.parent)


def read(path: Path, kind: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read the record and the arrays that `write` wrote, once they are found as they were written.

    Sizes are checked against that of the file before memory is taken.

    Parameters
    ----------
    path
        The file.
    kind
        What it should be, for messages.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, was changed, or is something else.
    """
    with reading(path, kind):
        check_npz(path, LIMITS)
        with np.load(path, allow_pickle=False) as file:
            if RECORD not in file.files:
                raise ValueError("it was not written by this version of infosem_jax.")
            header = json.loads(file[RECORD].tobytes())
            if header["format"] != FORMAT:
                raise ValueError(f"expected format {FORMAT}, found {header['format']}.")
            described, record = header["arrays"], header["record"]
            raw = [file[f"a{i:05d}"] for i in range(len(described))]
        if header["sha256"] != _digest(raw, described, record):
            raise ValueError("it was changed or damaged after it was written.")
        pairs = zip(raw, described, strict=True)
        return record, [each.view(dtype).reshape(shape) for each, (shape, dtype) in pairs]


def describe(array: Any) -> list[Any]:
    """Return shape and type of an array, or of what stands for one, as JSON holds them."""
    array = array if hasattr(array, "dtype") else np.asarray(array)
    dtype = np.dtype(array.dtype)
    if dtype.hasobject or dtype.names:
        raise TypeError(f"Expected arrays of numbers or of text, found one of {dtype}.")
    # Types that are not NumPy's own, such as bfloat16, are known by name only.
    return [list(array.shape), dtype.newbyteorder("=").str if dtype.kind in "SU" else dtype.name]


def _bytes(array: Any) -> np.ndarray:
    """Return the bytes of an array, which survive for every type."""
    array = np.asarray(array)
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return native.reshape(-1).view(np.uint8)


def _digest(raw: list[np.ndarray], described: list, record: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([described, record]).encode())
    for array in raw:
        digest.update(array.data)
    return digest.hexdigest()


def _sync_folder(folder: FilePath) -> None:
    """Make sure that a file moved into a folder is found there after a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
