"""Training saved to disk, so that a killed job goes on where it was."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax

from infosem_jax import _typing
from infosem_jax.data import archive

SPARE_BYTES = 50 * 2**20


def save(path: _typing.Path, tree: Any, record: dict[str, Any]) -> None:
    """Write a pytree of arrays and a record of what it belongs to, see `infosem_jax.data.archive`.

    Parameters
    ----------
    path
        The file.
    tree
        Pytree of arrays; numbers come back as arrays.
    record
        What the arrays belong to; anything that JSON can hold.

    Raises
    ------
    OSError
        If writing fails, for instance on a full disk; an older file is then as it was.
    """
    archive.write(path, jax.tree.leaves(tree), record)


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
    record, arrays = _read(path)
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
    for (at, leaf), found in zip(leaves, arrays, strict=True):
        if archive.describe(leaf) != archive.describe(found):
            raise ValueError(
                f"{path}: expected {_spell(leaf)} at {jax.tree_util.keystr(at)}, found "
                f"{_spell(found)}; {advice}"
            )
    return jax.tree.unflatten(treedef, arrays)


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


def checkpoint_folder(out: _typing.Path) -> Path:
    """Return the folder of checkpoints, which lies beside the results until they are complete."""
    out = Path(out).absolute()
    return out.with_name(f"{out.name}.checkpoint")


def _read(path: _typing.Path) -> tuple[dict[str, Any], list[Any]]:
    try:
        return archive.read(path, "checkpoint")
    except ValueError as error:
        raise ValueError(f"{error} Remove it to begin anew, or restore a copy of it.") from error


def _spell(leaf: Any) -> str:
    shape, dtype = archive.describe(leaf)
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
