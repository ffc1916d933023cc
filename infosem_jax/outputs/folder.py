"""Folders and files that are written whole or not at all, and what software wrote them."""

import importlib.metadata
import json
import math
import numbers
import os
import platform
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

# Nothing heavy is imported here: every command needs this module.
if TYPE_CHECKING:
    import anndata

Where: TypeAlias = str | os.PathLike[str]

PACKAGES = ("infosem_jax", "jax", "numpyro", "flax", "optax", "numpy", "pandas", "anndata")


def check_file(file: Where, ending: str, *, overwrite: bool) -> None:
    """Refuse a file that results cannot go to.

    Parameters
    ----------
    file
        The file.
    ending
        How its name must end, such as ``.h5ad``.
    overwrite
        Whether a file that exists may be replaced.

    Raises
    ------
    ValueError
        If it ends otherwise, exists and is not to be replaced, or its folder does not exist.
    """
    file = Path(file)
    if file.suffix != ending:
        raise ValueError(f"--out: expected a file that ends in {ending}, found {file}.")
    if file.exists() and not overwrite:
        raise ValueError(f"{file}: the file exists; choose another, or pass --overwrite.")
    if not file.absolute().parent.is_dir():
        raise ValueError(f"{file}: the folder does not exist; create it first.")


@contextmanager
def locked(out: Where) -> Iterator[None]:
    """Keep a place for results to this process while the block lasts.

    A hidden file beside it is locked. Windows, and file systems that know no locks, let others in.

    Raises
    ------
    ValueError
        If another process has it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    out = Path(out).absolute()
    path = out.with_name(f".{out.name}.lock")
    with ExitStack() as stack:
        # What else hinders writing there, those who write will say.
        with suppress(OSError):
            out.parent.mkdir(parents=True, exist_ok=True)
            mine = False
            while not mine:
                file = stack.enter_context(path.open("a"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise ValueError(
                        f"{out}: another process writes there; wait until it ends, or choose "
                        "another place."
                    ) from error
                # The process before may have removed the file between the two calls above.
                with suppress(FileNotFoundError):
                    mine = os.path.samestat(os.fstat(file.fileno()), path.stat())
            stack.callback(path.unlink, missing_ok=True)
        yield


@contextmanager
def whole_folder(folder: Where) -> Iterator[Path]:
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


def check_folder(folder: Where, files: Collection[str], *, overwrite: bool) -> None:
    """Refuse a folder that results cannot go to, and make the one that it lies in.

    Parameters
    ----------
    folder
        Where to.
    files
        Names of our files, and of folders that are wholly ours. Anything else in the folder is
        kept, by refusing to replace it.
    overwrite
        Whether results of an earlier run are to be replaced.

    Raises
    ------
    ValueError
        If it is a file, holds something and is not to be replaced, or holds other files than ours.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder to write to, found a file.")
    # The Finder leaves these everywhere.
    content = [path.relative_to(folder) for path in folder.rglob("*") if path.name != ".DS_Store"]
    if content and not overwrite:
        raise ValueError(f"{folder}: is not empty; choose another folder, or pass --overwrite.")
    foreign = sorted(
        str(path)
        for path in content
        if not (folder / path).is_dir() and not set(path.parts) & set(files)
    )
    if foreign:
        raise ValueError(f"{folder}: holds other files ({', '.join(foreign[:3])}); choose another.")
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)


def to_json(value: Any) -> str:
    """Write a value as JSON; numbers that are not finite, which JSON lacks, become null."""
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def write_h5ad(path: Where, adata: "anndata.AnnData") -> None:
    """Write an h5ad file by way of memory.

    HDF5 takes the whole process down when a disk fills up under an open file; a failed write of
    finished bytes is an ordinary OSError.
    """
    import h5py
    from anndata.io import write_elem

    from infosem_jax.data._files import atomic_write

    with h5py.File(f"{path}", "w", driver="core", backing_store=False) as file:
        write_elem(file, "/", adata)
        file.flush()
        image = file.id.get_file_image()
    with atomic_write(path) as draft:
        draft.write_bytes(image)


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, and the device."""
    import jax

    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    device = jax.devices()[0]
    return {
        **versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.platform} ({device.device_kind})",
    }


def _plain(value: Any) -> Any:
    """Turn numbers of NumPy into plain ones."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, numbers.Integral):
        return value if isinstance(value, bool) else int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return value
