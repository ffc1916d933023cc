"""Training saved to disk, so that a killed job goes on where it was."""

import hashlib
import io
import json
import os
import shutil
import signal
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from infosem_jax import _typing

FORMAT = 1
RECORD = "record"
SPARE_BYTES = 50 * 2**20


class Interrupted(Exception):
    """Training was asked to stop, and has been saved."""


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
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    draft = path.with_name(f".{path.name}.draft")
    try:
        with open(draft, "wb") as file:
            np.savez(file, **{RECORD: text}, **{f"a{i:05d}": a for i, a in enumerate(arrays)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        kept = "the last checkpoint is as it was" if path.exists() else "nothing was saved"
        raise OSError(
            error.errno, f"cannot save a checkpoint, {kept}: {error.strerror}; make room", str(path)
        ) from error


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
    header, arrays = _read(path)
    differences = [
        difference
        for name, value in json.loads(json.dumps(expected)).items()
        for difference in _differences(name, header["record"].get(name), value)
    ]
    if differences:
        raise ValueError(
            f"{path}: cannot resume, what was saved differs in {'; '.join(differences[:5])}. Start "
            "as it was started then, or remove the checkpoint to begin anew."
        )
    leaves, treedef = jax.tree_util.tree_flatten_with_path(like)
    wanted = [(jax.tree_util.keystr(at), *_describe(leaf)) for at, leaf in leaves]
    found = [tuple(description) for description in header["arrays"]]
    if len(wanted) != len(found):
        raise ValueError(f"{path}: expected {len(wanted)} arrays, found {len(found)}.")
    for (name, shape, dtype), (saved_shape, saved_dtype) in zip(wanted, found, strict=True):
        if (list(shape), dtype) != (list(saved_shape), saved_dtype):
            raise ValueError(
                f"{path}: expected {dtype} of shape {tuple(shape)} at {name}, found {saved_dtype} "
                f"of shape {tuple(saved_shape)}."
            )
    restored = [
        np.frombuffer(raw.tobytes(), np.dtype(dtype)).reshape(shape).copy()
        for raw, (shape, dtype) in zip(arrays, found, strict=True)
    ]
    return jax.tree.unflatten(treedef, restored)


def read_record(path: _typing.Path) -> dict[str, Any]:
    """Return the record of a checkpoint, once its checksum is found right.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load`.
    """
    return _read(path)[0]["record"]


def fingerprint(tree: Any) -> str:
    """Return a checksum of arrays, names and numbers, and of how they are put together."""
    digest = hashlib.sha256()
    _absorb(digest, tree)
    return digest.hexdigest()


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


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and Ctrl-C into a wish to stop, which the block can ask for.

    A second signal ends the process at once. Outside the main thread signals are left alone.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    signals = (signal.SIGTERM, signal.SIGINT)

    def handle(number, frame):
        asked.set()
        for each in signals:
            signal.signal(each, signal.SIG_DFL)

    previous = {each: signal.signal(each, handle) for each in signals}
    try:
        yield asked.is_set
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


class Saver:
    """Saves the groups of a grid to a folder while they train, and hands back what it finds there.

    Parameters
    ----------
    folder
        Where checkpoints lie, one file per group.
    versions
        Versions of the software; a checkpoint of others is refused, as it would not go on alike.
    resume
        Whether to go on from checkpoints in the folder.
    every
        Seconds between two checkpoints.
    stop
        Asked after every chunk: whether to save and stop.
    """

    def __init__(
        self,
        folder: _typing.Path,
        versions: dict[str, str],
        *,
        resume: bool = False,
        every: float = 60.0,
        stop: Callable[[], bool] = lambda: False,
    ):
        self.folder = Path(folder)
        self._versions, self._resume, self._every, self._stop = versions, resume, every, stop
        self._path = self.folder
        self._identity: dict[str, Any] = {}
        self._saved = 0.0

    def open(
        self, group: int, state: Any, identity: Callable[[], dict[str, Any]]
    ) -> tuple[tuple[Any, Any], float] | None:
        """Prepare to save a group.

        Parameters
        ----------
        group
            Its number.
        state
            Shapes of its state.
        identity
            Returns all that the result depends on.

        Returns
        -------
        The saved state and losses, and the seconds they took; None where nothing was saved.

        Raises
        ------
        ValueError
            If nothing can be saved, or what was saved cannot be gone on from.
        """
        sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)]
        check_writable(self.folder, sum(sizes))
        self._path = self.folder / f"group-{group:03d}.npz"
        self._identity = {**identity(), "versions": self._versions}
        self._saved = time.monotonic()
        if not (self._resume and self._path.exists()):
            return None
        record = read_record(self._path)
        shape = (_fits(state), int(record.get("segments", 0)))
        losses = tuple(jax.ShapeDtypeStruct(shape, np.float32) for _ in range(2))
        state, losses = load(self._path, (state, losses), self._identity)
        from infosem_jax.training import Losses

        return (state, Losses(*losses)), float(record["seconds"])

    def update(self, state_and_losses: tuple[Any, Any], seconds: float, segments: int) -> None:
        """Save, if it is time to, or if training is to stop.

        Raises
        ------
        Interrupted
            If training is to stop; it has been saved.
        """
        stop, due = self._agree(self._stop(), time.monotonic() - self._saved >= self._every)
        if not (stop or due):
            return
        from infosem_jax.training import to_host

        state, losses = state_and_losses
        host = (jax.tree.map(to_host, state), tuple(map(np.asarray, losses)))
        if jax.process_index() == 0:
            save(self._path, host, {**self._identity, "seconds": seconds, "segments": segments})
        self._saved = time.monotonic()
        if stop:
            raise Interrupted(str(self.folder))

    def forget(self, group: int) -> None:
        """Remove the checkpoint of a group whose results are safe."""
        if jax.process_index() == 0:
            (self.folder / f"group-{group:03d}.npz").unlink(missing_ok=True)

    def _agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Let processes that compute together decide alike: what one wants, all do."""
        if jax.process_count() == 1:
            return wishes
        from jax.experimental import multihost_utils

        gathered = np.asarray(multihost_utils.process_allgather(np.asarray(wishes)))
        return tuple(map(bool, gathered.reshape(-1, len(wishes)).any(0)))


def _sync_folder(folder: Path) -> None:
    """Make sure that a file moved into a folder is found there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fits(state: Any) -> int:
    return jax.tree.leaves(state)[0].shape[0]


def _raw(tree: Any) -> list[np.ndarray]:
    """Return the bytes of each leaf, which survive for every dtype."""
    leaves = (np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree))
    return [leaf.reshape(-1).view(np.uint8) if leaf.size else leaf.reshape(-1)[:0].astype(np.uint8)
            for leaf in leaves]  # fmt: skip


def _describe(leaf: Any) -> tuple[list[int], str]:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return list(leaf.shape), np.dtype(leaf.dtype).name


def _digest(arrays: list[np.ndarray], described: list, record: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([described, record]).encode())
    for array in arrays:
        digest.update(array.data)
    return digest.hexdigest()


def _read(path: _typing.Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no checkpoint.")
    try:
        content = Path(path).read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            header = json.loads(file[RECORD].tobytes())
            arrays = [file[f"a{i:05d}"] for i in range(len(header["arrays"]))]
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        _refuse(path, "is damaged or no checkpoint", error)
    except (
        zipfile.LargeZipFile,
        NotImplementedError,
        RuntimeError,
        OSError,
        OverflowError,
    ) as error:
        _refuse(path, "cannot be read", error)
    if header.get("format") != FORMAT:
        _refuse(path, f"has format {header.get('format')}, expected {FORMAT}")
    if any(array.dtype != np.uint8 or array.ndim != 1 for array in arrays):
        _refuse(path, "is damaged or no checkpoint")
    if header.get("sha256") != _digest(arrays, header["arrays"], header["record"]):
        _refuse(path, "was changed or damaged after it was written")
    return header, arrays


def _refuse(path: _typing.Path, why: str, error: Exception | None = None) -> NoReturn:
    raise ValueError(
        f"{path}: the checkpoint {why}; remove it to begin anew, or restore a copy."
    ) from error


def _differences(name: str, saved: Any, wanted: Any) -> list[str]:
    if saved == wanted:
        return []
    if isinstance(saved, dict) and isinstance(wanted, dict):
        return [
            difference
            for key in sorted({*saved, *wanted})
            for difference in _differences(f"{name}.{key}", saved.get(key), wanted.get(key))
        ]
    return [f"{name} (saved {_short(saved)}, now {_short(wanted)})"]


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:12] + "..."


def _absorb(digest: Any, value: Any) -> None:
    """Feed a value to a digest, each part under its kind and length, so that none runs together."""
    if hasattr(value, "dtype") and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.ascontiguousarray(value)
        digest.update(f"array {array.dtype} {array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    elif isinstance(value, str | bytes | bool | int | float | None):
        text = value if isinstance(value, bytes) else str(value).encode()
        digest.update(f"{type(value).__name__} {len(text)};".encode() + text)
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)};".encode())
        for key in sorted(value, key=str):
            _absorb(digest, str(key))
            _absorb(digest, value[key])
    elif isinstance(value, tuple | list):
        digest.update(f"{type(value).__qualname__} {len(value)};".encode())
        for part in value:
            _absorb(digest, part)
    elif callable(value) and hasattr(value, "__qualname__"):
        _absorb(digest, f"{value.__module__}.{value.__qualname__}")
    elif is_dataclass(value) and not isinstance(value, type):
        digest.update(f"{type(value).__qualname__};".encode())
        _absorb(digest, vars(value))
    else:
        _absorb_node(digest, value)


def _absorb_node(digest: Any, value: Any) -> None:
    """Feed a node of a pytree that is no plain container, such as a distribution."""
    children = jax.tree_util.default_registry.flatten_one_level(value)
    if children is None:
        raise TypeError(f"Expected arrays, names and numbers, found {type(value).__qualname__}.")
    digest.update(f"{type(value).__module__}.{type(value).__qualname__};".encode())
    _absorb(digest, list(children[0]))
    # What is no child is told by the type, and by names that carry no memory address.
    _absorb(digest, " ".join(sorted(_words(children[1]))))


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, tuple | list | set | frozenset):
        for part in value:
            yield from _words(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from _words(part)
    elif isinstance(value, str | int | float | bool | None):
        yield str(value)
    else:
        yield getattr(value, "__qualname__", type(value).__qualname__)
