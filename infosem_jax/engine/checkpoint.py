"""Training saved to disk, so that a killed job goes on where it was."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infosem_jax import _typing
from infosem_jax.data._files import Limits, check_npz, reading

FORMAT = 1
# Nothing is compressed, so that a file can hold no more than its size.
LIMITS = Limits(size=sys.maxsize, ratio=1.0, members=sys.maxsize)
RECORD = "record"
SPARE_BYTES = 50 * 2**20


def save(path: _typing.Path, tree: Any, record: dict[str, Any]) -> None:
    """Write arrays and a record to one file, whole or not at all.

    The file is an npz without pickles: the arrays of the tree in order, and a JSON record with a
    checksum over them. It is written beside its place, flushed to disk, and moved there, so that
    a crash at any moment leaves the old file or the new one.

    Parameters
    ----------
    path
        The file; what an earlier, killed attempt left beside it is removed.
    tree
        Pytree of arrays; numbers come back as arrays.
    record
        What the arrays belong to; anything that JSON can hold.

    Raises
    ------
    OSError
        If writing fails, for instance on a full disk; an older file is then as it was.
    """
    path = Path(path)
    arrays = _raw(tree)
    header = {"format": FORMAT, "arrays": [_describe(leaf) for leaf in jax.tree.leaves(tree)]}
    header |= {"record": record, "sha256": _digest(arrays, header["arrays"], record)}
    members: dict[str, Any] = {f"a{i:05d}": array for i, array in enumerate(arrays)}
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
            f"cannot save a checkpoint ({error.strerror or error}), {kept}; make room, or give a "
            "folder that can be written to",
            str(path),
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()
    _sync_folder(path.parent)


def load(path: _typing.Path, like: Any, expected: dict[str, Any]) -> Any:
    """Read what `save` wrote, if it belongs to what is to go on.

    Parameters
    ----------
    path
        The file.
    like
        Pytree of arrays, or of their shapes, that the saved ones must agree with.
    expected
        What the record must hold under these names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, was changed, or belongs to something else; the message names the
        fields that differ.
    """
    return _restore(path, _read(path), like, expected)


def read_record(path: _typing.Path) -> dict[str, Any]:
    """Return the record of a checkpoint, once its checksum is found right.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load`.
    """
    return _read(path)[0]


def check_writable(folder: _typing.Path, n_bytes: int) -> None:
    """Find out before a long computation whether its checkpoints can be written.

    Parameters
    ----------
    folder
        Where they go; it is made if need be.
    n_bytes
        Size of one; two lie there while one replaces the other.

    Raises
    ------
    ValueError
        If the folder cannot be written to, or its disk is too full.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot save checkpoints there ({error.strerror}); choose another folder."
        ) from error
    free, needed = shutil.disk_usage(folder).free, 2 * n_bytes + SPARE_BYTES
    if free < needed:
        raise ValueError(
            f"{folder}: checkpoints take up to {needed / 2**20:.0f} MiB, found "
            f"{free / 2**20:.0f} MiB free on that disk; make room or choose another folder."
        )


def _sync_folder(folder: Path) -> None:
    """Make sure that a file moved into a folder is found there after a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raw(tree: Any) -> list[np.ndarray]:
    """Return the bytes of each leaf, which survive for every dtype."""
    leaves = map(np.asarray, jax.tree.leaves(tree))
    native = (np.ascontiguousarray(leaf, leaf.dtype.newbyteorder("=")) for leaf in leaves)
    return [leaf.reshape(-1).view(np.uint8) for leaf in native]


def _describe(leaf: Any) -> list[Any]:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return [list(leaf.shape), np.dtype(leaf.dtype).name]


def _digest(arrays: list[np.ndarray], described: list, record: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([described, record]).encode())
    for array in arrays:
        digest.update(array.data)
    return digest.hexdigest()


def _read(path: _typing.Path) -> tuple[dict[str, Any], list[tuple[Any, np.ndarray]]]:
    """Return the record, and each array's description and bytes, all found sound."""
    try:
        with reading(path, "checkpoint"):
            check_npz(path, LIMITS)
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(file[RECORD].tobytes())
                if header["format"] != FORMAT:
                    raise ValueError(f"expected format {FORMAT}, found {header['format']}.")
                arrays = [file[f"a{i:05d}"] for i in range(len(header["arrays"]))]
            if header["sha256"] != _digest(arrays, header["arrays"], header["record"]):
                raise ValueError("it was changed or damaged after it was written.")
    except ValueError as error:
        raise ValueError(f"{error} Remove it to begin anew, or restore a copy of it.") from error
    return header["record"], list(zip(header["arrays"], arrays, strict=True))


def _restore(path: _typing.Path, content: tuple, like: Any, expected: dict[str, Any]) -> Any:
    record, arrays = content
    differences = [
        difference
        for name, value in json.loads(json.dumps(expected)).items()
        for difference in _differences(name, record.get(name), value)
    ]
    if differences:
        raise ValueError(
            f"{path}: cannot resume, what was saved differs in {'; '.join(differences[:5])}. Start "
            "as it was started then, or remove the checkpoint to begin anew."
        )
    leaves, treedef = jax.tree_util.tree_flatten_with_path(like)
    advice = "was it saved by another version? Remove it to begin anew."
    if len(leaves) != len(arrays):
        raise ValueError(f"{path}: expected {len(leaves)} arrays, found {len(arrays)}; {advice}")
    for (at, leaf), (found, _) in zip(leaves, arrays, strict=True):
        wanted = _describe(leaf)
        if wanted != found:
            raise ValueError(
                f"{path}: expected {_spell(wanted)} at {jax.tree_util.keystr(at)}, found "
                f"{_spell(found)}; {advice}"
            )
    restored = [raw.view(dtype).reshape(shape) for (shape, dtype), raw in arrays]
    return jax.tree.unflatten(treedef, restored)


def _spell(description: list[Any]) -> str:
    shape, dtype = description
    return f"{dtype} of shape {tuple(shape)}"


def _differences(name: str, saved: Any, wanted: Any) -> list[str]:
    if saved == wanted:
        return []
    if isinstance(saved, list) and isinstance(wanted, list) and len(saved) == len(wanted):
        saved, wanted = dict(enumerate(saved)), dict(enumerate(wanted))
    if isinstance(saved, dict) and isinstance(wanted, dict):
        return [
            difference
            for key in dict.fromkeys([*wanted, *saved])
            for difference in _differences(f"{name}.{key}", saved.get(key), wanted.get(key))
        ]
    return [f"{name} (saved {_short(saved)}, now {_short(wanted)})"]


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else text[:12] + "..."
