"""Folders and files that are written whole or not at all, and what software wrote them."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from infosem_jax import _typing
from infosem_jax.data.io import atomic_write

if TYPE_CHECKING:
    import anndata


PACKAGES = ("infosem_jax", "jax", "numpyro", "flax", "optax", "numpy", "pandas", "anndata")


@contextmanager
def whole_folder(folder: _typing.Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` when the block ends well, else disappears.

    Raises
    ------
    OSError
        If writing fails, for instance on a full disk; ``folder`` is then as it was before.
    """
    final = Path(folder).absolute()
    # Fixed names, so that what a killed process left is found and cleared by the next.
    draft, old = (final.with_name(f".{final.name}.{what}") for what in ("draft", "old"))
    if old.exists() and not final.exists():
        os.replace(old, final)
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        if final.is_dir():
            os.replace(final, old)
        os.replace(draft, final)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_h5ad(path: _typing.Path, adata: "anndata.AnnData") -> None:
    """Write an h5ad file by way of memory.

    HDF5 takes the whole process down when a disk fills up under an open file; a failed write of
    finished bytes is an ordinary OSError.
    """
    import h5py
    from anndata.io import write_elem

    with h5py.File(f"{path}", "w", driver="core", backing_store=False) as file:
        write_elem(file, "/", adata)
        file.flush()
        image = file.id.get_file_image()
    with atomic_write(path) as draft:
        draft.write_bytes(image)


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, and the device."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    device = jax.devices()[0]
    return {
        **versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.platform} ({device.device_kind})",
    }
