"""Stores of cells, AnnData in HDF5 or zarr, are looked at before anything in them is decoded."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import h5py

from infosem_jax._typing import Path
from infosem_jax.data._anndata import matrix_place, places
from infosem_jax.data._files import STREAM_LIMITS, check_h5, reading
from infosem_jax.data._kinds import describe_kind

KIND = "AnnData store"

# Codecs that only rearrange bytes; others may run code that the store brings along (pickle).
CODECS = frozenset(
    (
        *("adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta"),
        *("fixedscaleoffset", "fletcher32", "gzip", "lz4", "lzma", "packbits", "quantize"),
        *("sharding_indexed", "shuffle", "transpose", "vlen-bytes", "vlen-utf8", "zlib", "zstd"),
    )
)
ZARR_METADATA = (".zarray", ".zmetadata", "zarr.json")


def check_store(path: Path, layer: str | None = None) -> None:
    """Refuse a store that reaches outside itself, runs code, or declares far more than it stores.

    Only obs, var and one matrix are looked at.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        On any of the above, and on what is neither an h5ad file nor a zarr folder.
    """
    file = marker(path)
    if not FilePath(path).is_dir():
        check_h5(path, STREAM_LIMITS, parts=(*places(layer), "obs"))
        with reading(file, KIND), h5py.File(path, "r") as store:
            matrix_place(store, layer)
        return
    with reading(file, KIND):
        _check_zarr(FilePath(path))


def marker(path: Path) -> FilePath:
    """Return the file that makes a path a store: itself, or the metadata of a zarr folder.

    Raises
    ------
    ValueError
        If it is neither an h5ad file nor a zarr folder.
    """
    place = FilePath(path)
    if not place.is_dir():
        if place.suffix not in (".h5ad", ".h5"):
            other = describe_kind(path) if place.exists() else ""
            raise ValueError(
                f"{path}: cells are streamed from .h5ad files and .zarr folders only (AnnData)"
                f"{other and '; '}{other}."
            )
        return place
    for name in ("zarr.json", ".zgroup"):
        if (place / name).is_file():
            return place / name
    raise ValueError(f"{path}: the folder is no zarr store, it has neither zarr.json nor .zgroup.")


def _check_zarr(folder: FilePath) -> None:
    stored = declared = 0
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(root, name)):
                raise ValueError(f"{name} is a link to elsewhere, which is not followed.")
        for name in files:
            file = FilePath(root, name)
            if not file.is_file():  # a pipe would wait for ever
                raise ValueError(f"{name} is no plain file.")
            stored += file.stat().st_size
            if name in ZARR_METADATA:
                for part in _dicts(json.loads(file.read_text("utf-8"))):
                    _check_codecs(part)
                    declared += _declared(part)
    if declared > STREAM_LIMITS.small and declared > STREAM_LIMITS.ratio * stored:
        raise ValueError(
            f"it declares {declared} bytes of data but has {stored}; "
            f"more than {STREAM_LIMITS.ratio:g} to one is refused as damaged or hostile."
        )


def _dicts(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _dicts(part)


def _check_codecs(part: dict[str, Any]) -> None:
    steps = [part.get("compressor")]
    for key in ("codecs", "index_codecs", "filters"):
        steps += part.get(key) or ()
    for step in steps:
        if isinstance(step, dict):
            name = str(step.get("id", step.get("name")))
            if name.removeprefix("numcodecs.") not in CODECS:
                raise ValueError(f"it is encoded with {name!r}, which is not decoded as unsafe.")


def _declared(part: dict[str, Any]) -> int:
    """Return the bytes that an array or one of its chunks takes in memory, 8 for a value."""
    if "shape" not in part:
        return 0
    if "chunk_grid" in part:
        chunk = part["chunk_grid"]["configuration"]["chunk_shape"]
    else:
        chunk = part.get("chunks") or ()
    return 8 * max(math.prod(part["shape"]), math.prod(chunk))
