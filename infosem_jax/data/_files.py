"""Files handled with care: atomic writes, and containers checked before their content is loaded."""

import math
import os
import uuid
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path as FilePath
from typing import Any, NoReturn

import h5py
import numpy as np

from infosem_jax._typing import Path
from infosem_jax.data import _h5
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
    columns
        Columns of a text table.
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
    columns: int = 100_000
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
        damaged = _h5.Damaged in (type(error), type(error.__cause__))
        if not damaged and (other := describe_kind(path)):
            raise ValueError(f"{path}: cannot be used as {kind}: {other}.") from error
        _blame(path, kind, error)


def _blame(path: Path, kind: str, error: Exception) -> NoReturn:
    if isinstance(error, UnicodeError):
        raise ValueError(
            f"{path}: cannot be used as {kind}: expected UTF-8 text ({error}); if it is text of "
            f"Windows, iconv -f WINDOWS-1252 -t UTF-8 '{FilePath(path).name}' converts it; check "
            "its ending if it is no text."
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
    with reading(path, "HDF5 file"):
        _h5.inspect(path, asdict(limits), sorted(parts))


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
        _h5.check_members(len(members), limits.members)
        _h5.check_size(path, sum(member.file_size for member in members), asdict(limits))
        if len({member.filename for member in members}) < len(members):
            raise ValueError("two members have the same name.")
        for member in members:
            _check_member(archive, member)


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Check an npz file and load its arrays, without pickle.

    Raises
    ------
    FileNotFoundError, ValueError
        As ``check_npz``.
    """
    check_npz(path)
    with reading(path, "npz file"), np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


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
