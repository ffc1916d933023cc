"""Training saved to disk, so that a killed job goes on where it was."""

import hashlib
import inspect
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from infosem_jax import _typing
from infosem_jax.data._files import Limits, check_npz, reading
from infosem_jax.training import to_host
from infosem_jax.training_types import Losses

FORMAT = 1
# Nothing is compressed, so that a file can hold no more than its size.
LIMITS = Limits(size=sys.maxsize, ratio=1.0, members=sys.maxsize)
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
        content = _read(self._path)
        shape = (_fits(state), content[0].get("segments", 0))
        losses: Any = jax.ShapeDtypeStruct(shape, np.float32)
        like = (state, Losses(losses, losses))
        resumed = _restore(self._path, content, like, self._identity)
        return resumed, float(content[0]["seconds"])

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
        state, losses = state_and_losses
        host = (jax.tree.map(to_host, state), losses)
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
        return tuple(bool(wish.any()) for wish in gathered.reshape(-1, len(wishes)).T)


def _sync_folder(folder: Path) -> None:
    """Make sure that a file moved into a folder is found there after a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fits(state: Any) -> int:
    return jax.tree.leaves(state)[0].shape[0]


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


def _absorb(digest: Any, value: Any, inside: tuple[int, ...] = ()) -> None:
    """Feed a value to a digest, each part under its kind and length, so that none runs together.

    ``inside`` identifies the functions and objects that the value is a part of.
    """
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        _absorb(digest, str(value.dtype))
        value = jax.random.key_data(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        digest.update(f"array {array.dtype} {array.shape};".encode())
        if array.dtype.hasobject:
            _absorb(digest, array.tolist(), inside)
        else:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    elif isinstance(value, str | bytes | bool | int | float | None):
        text = value if isinstance(value, bytes) else str(value).encode()
        digest.update(f"{type(value).__name__} {len(text)};".encode() + text)
    elif isinstance(value, dict):
        _absorb_sorted(digest, "dict", value.items(), inside)
    elif isinstance(value, set | frozenset):
        _absorb_sorted(digest, "set", value, inside)
    elif isinstance(value, tuple | list):
        digest.update(f"{type(value).__qualname__} {len(value)};".encode())
        for part in value:
            _absorb(digest, part, inside)
    elif id(value) in inside:
        digest.update(f"level {inside.index(id(value))};".encode())
    else:
        parts = _parts(value, optional=bool(inside))
        _absorb(digest, parts, (*inside, id(value)))


def _absorb_sorted(digest: Any, kind: str, values: Any, inside: tuple[int, ...]) -> None:
    """Feed values whose order means nothing."""
    each = []
    for value in values:
        own = hashlib.sha256()
        _absorb(own, value, inside)
        each.append(own.digest())
    digest.update(f"{kind} {len(each)};".encode() + b"".join(sorted(each)))


def _parts(value: Any, *, optional: bool) -> Any:
    """Return what a function or an object is made of, without memory addresses."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, dist.Distribution):
        # By name: the order in which NumPyro flattens them differs between processes.
        fields = value.gather_pytree_data_fields() + value.gather_pytree_aux_fields()
        return name, {field: vars(value).get(field) for field in fields}
    node = jax.tree_util.default_registry.flatten_one_level(value)
    if node is not None:
        return name, list(node[0]), node[1]
    if isinstance(value, CodeType):
        return value.co_code, value.co_names, value.co_consts
    if callable(value) and hasattr(value, "__qualname__"):
        name = f"{value.__module__}.{value.__qualname__}"
        value = inspect.unwrap(value)
        if not isinstance(value, FunctionType):
            return name
        cells = inspect.getclosurevars(value).nonlocals
        return name, value.__code__, value.__defaults__, value.__kwdefaults__, cells
    try:
        # As `copy.copy` sees it: how it is made, its attributes, and its items.
        made = value.__reduce_ex__(4)
    except TypeError as error:
        # What a function only uses, such as a lock, may be told by its kind.
        if optional:
            return name
        raise TypeError(f"Expected arrays, names and numbers, found {name}.") from error
    if isinstance(made, str):
        return name, made
    return name, *(list(part) if isinstance(part, Iterator) else part for part in made)
