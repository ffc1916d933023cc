"""Files handled with care: atomic writes, and containers checked before their content is loaded."""

import math
import os
import uuid
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, NoReturn

import h5py
import numpy as np
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]

from infosem_jax._typing import Path
from infosem_jax.data._kinds import describe_kind

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Limits:
    """What an input file may declare; beyond it, the file is refused before memory is allocated.

    Attributes
    ----------
    size
        Bytes that all arrays of a file may take in memory.
    text
        Bytes of text, after decompression.
    ratio
        Bytes in memory for each byte on disk; looked at above ``small`` bytes only, because tiny
        files of zeros shrink to nothing without any harm.
    small
        See ``ratio``.
    members
        Arrays and groups in one file.
    """

    size: int = 64 * 2**30
    text: int = 2 * 2**30
    ratio: float = 1000.0
    small: int = 16 * 2**20
    members: int = 10_000


LIMITS = Limits()
# Where no more than a part is ever in memory, what a file declares in all is of no concern.
STREAM_LIMITS = replace(LIMITS, size=2**50)


@contextmanager
def atomic_write(path: Path) -> Iterator[FilePath]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends well.

    A reader sees the old file or the complete new one, also after a crash. On any error inside
    the block the temporary file is removed and the old file stays as it was.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the path is a folder.
    """
    final = FilePath(path).resolve()
    if final.is_dir():
        raise ValueError(f"{path}: expected a file to write, found a folder; give a file name.")
    if not final.parent.is_dir():
        raise FileNotFoundError(
            f"{path}: the folder {final.parent} does not exist; create it first."
        )
    # The suffix stays last, since some writers append their own when they miss it.
    draft = final.with_name(f".{final.stem[:80]}.{uuid.uuid4().hex}{final.suffix}")
    try:
        draft.open("xb").close()
        yield draft
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(draft, final)
    finally:
        draft.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong with a file inside the block into a ValueError that names it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the path is no file, the file is empty, or its content cannot be read as ``kind``.
    """
    try:
        file = FilePath(path)
        if not file.exists():
            raise FileNotFoundError(f"{path}: no such file; check the path of the {kind}.")
        if not file.is_file():
            raise ValueError(f"expected a {kind}, found a folder or device; give a file.")
        if not file.stat().st_size:
            raise ValueError("the file is empty; was it written or downloaded completely?")
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if other := describe_kind(path):
            raise ValueError(f"{path}: cannot be used as {kind}: {other}.") from error
        _blame(path, kind, error)


def _blame(path: Path, kind: str, error: Exception) -> NoReturn:
    if isinstance(error, UnicodeError):
        raise ValueError(
            f"{path}: cannot be used as {kind}: expected UTF-8 text ({error}); "
            "convert the file, or check its ending if it is no text."
        ) from error
    if isinstance(error, ValueError) and str(path) in str(error):
        raise error
    reason = str(error) or type(error).__name__
    raise ValueError(f"{path}: cannot be used as {kind}: {reason}") from error


def check_h5(path: Path, limits: Limits = LIMITS, *, parts: Collection[str] = ()) -> None:
    """Refuse an HDF5 file that reaches outside itself or declares far more than it stores.

    Only plain hard links are followed, and each group may be linked once. That leaves out
    external and soft links, virtual datasets, external storage and loops, none of which AnnData
    writes.

    Parameters
    ----------
    path
        The file.
    limits
        What it may declare.
    parts
        What will be read, as far as it is there; the whole file where empty.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On any of the above, on a truncated file, and on one beyond the limits.
    """
    with reading(path, "HDF5 file"), h5py.File(path, "r") as file:
        declared = 0
        groups: list[h5py.Group] = [file]
        known = {_address(file)}
        members = 0
        while groups:
            group = groups.pop()
            members += len(group)
            _check_members(members, limits)
            for name in group:
                if not _asked(f"{group.name}/{name}".lstrip("/"), parts):
                    continue
                item = _follow(group, str(name))
                if isinstance(item, h5py.Group):
                    if _address(item) in known:
                        raise ValueError(f"group {item.name} is linked more than once.")
                    known.add(_address(item))
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    declared += _declared(item)
                    _check_size(path, declared, limits)
                    declared = _count_strings(path, item, declared, limits)


def read_element(file: h5py.File, key: str) -> Any:
    """Read one element of an h5ad file, such as ``layers/counts``, and nothing else of it.

    Raises
    ------
    ValueError
        If it is not there, naming what is.
    """
    from anndata.io import read_elem

    if key not in file:
        folder, _, name = key.rpartition("/")
        beside = list(file[folder or "/"]) if (folder or "/") in file else []  # pyright: ignore[reportArgumentType]
        raise ValueError(
            f"it has no {folder + ' ' if folder else ''}{name!r} as AnnData writes it; "
            f"choose from what is there: {', '.join(map(str, beside)) or 'nothing'}."
        )
    return read_elem(file[key])  # pyright: ignore[reportArgumentType]


def check_npz(path: Path, limits: Limits = LIMITS) -> None:
    """Refuse an npz file whose members are not plain arrays of the size that is stored.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On pickled objects, headers that disagree with the stored size, duplicate members, and
        files beyond the limits.
    """
    with reading(path, "npz file"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_members(len(members), limits)
        _check_size(path, sum(member.file_size for member in members), limits)
        if len({member.filename for member in members}) < len(members):
            raise ValueError("two members have the same name.")
        for member in members:
            _check_member(archive, member)


def load_npz(path: Path, limits: Limits = LIMITS) -> dict[str, np.ndarray]:
    """Check an npz file and load its arrays, without pickle.

    Raises
    ------
    FileNotFoundError, ValueError
        As ``check_npz``.
    """
    check_npz(path, limits)
    with reading(path, "npz file"), np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _asked(place: str, parts: Collection[str]) -> bool:
    """Tell whether a place is one of the parts, in one of them or on the way to one."""
    return not parts or any(
        f"{place}/".startswith(f"{part}/") or f"{part}/".startswith(f"{place}/") for part in parts
    )


def _address(group: h5py.Group) -> int:
    return h5o.get_info(group.id).addr


def _follow(group: h5py.Group, name: str) -> h5py.HLObject:
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = type(link).__name__
        raise ValueError(
            f"{group.name}/{name} is a link ({kind}) to elsewhere, which is not followed; "
            "write the file again with AnnData so that it holds its data itself."
        )
    return group[name]


def _declared(item: h5py.Dataset) -> int:
    if item.is_virtual or item.external:
        raise ValueError(
            f"{item.name} keeps its values in other files, which are not read; "
            "write the file again with AnnData so that it holds its data itself."
        )
    return math.prod(item.shape or ()) * item.dtype.itemsize if item.shape is not None else 0


def _count_strings(path: Path, item: h5py.Dataset, declared: int, limits: Limits) -> int:
    """Add the length of strings, many of which may share one long stored value."""
    if item.dtype.kind != "O" or not item.shape or 0 in item.shape:
        return declared
    if h5py.check_ref_dtype(item.dtype) is not None:
        return declared
    # Each string is looked up, which takes for ever where more are declared than can be stored.
    count, stored = math.prod(item.shape), os.path.getsize(path)
    if count > max(2**16, stored):
        raise ValueError(f"{item.name} declares {count} strings in a file of {stored} bytes.")
    row = math.prod(item.shape[1:])
    step = max(1, int(np.clip(2**30 // os.path.getsize(path), 64, 65536)) // row)
    for start in range(0, item.shape[0], step):
        declared += sum(map(len, item[start : start + step].ravel()))
        _check_size(path, declared, limits)
    return declared


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{member.filename} has the unknown array format {version}.")
        shape, _, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            raise ValueError(
                f"{member.filename} holds pickled objects, which are never loaded; "
                "save numbers and strings as plain arrays."
            )
        stored = member.file_size - stream.tell()
        # A zero-byte item type could declare any number of items.
        if min(shape, default=0) < 0 or math.prod(shape) * max(dtype.itemsize, 1) != stored:
            raise ValueError(
                f"{member.filename} declares shape {shape} of {dtype}, but stores {stored} bytes."
            )


def _check_members(count: int, limits: Limits) -> None:
    if count > limits.members:
        raise ValueError(f"it has {count} members; at most {limits.members} are read.")


def _check_size(path: Path, declared: int, limits: Limits) -> None:
    if declared > limits.size:
        raise ValueError(
            f"it declares {_bytes(declared)} of data; at most {_bytes(limits.size)} are read."
        )
    stored = os.path.getsize(path)
    if declared > limits.small and declared > limits.ratio * stored:
        raise ValueError(
            f"it declares {_bytes(declared)} of data but has {_bytes(stored)}; "
            f"more than {limits.ratio:g} to one is refused as damaged or hostile."
        )


def _bytes(n: int) -> str:
    return next(f"{n / 1024**i:.4g} {unit}" for i, unit in _UNITS if n < 1024 ** (i + 1) or i == 5)


_UNITS = tuple(enumerate(("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")))
