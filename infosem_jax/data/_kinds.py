"""What a file is, by its first bytes, and the line that brings it to a kind that is read."""

import gzip
import zlib
from pathlib import Path as FilePath

import h5py

from infosem_jax._typing import Path

_UNPICKLE = (
    "if you trust where it is from, and it is a dictionary of vectors, convert it with\n"
    "  vectors = pickle.load(open('{name}', 'rb'))\n"
    "  numpy.savez('{stem}.npz', X=numpy.array([*vectors.values()]), genes=[*vectors])"
)
# First bytes, what they are the first of, and how that becomes a file that is read.
_BYTES = (
    (b"PAR1", "a parquet table", "pandas.read_parquet('{name}').to_csv('{stem}.csv')"),
    (b"ARROW1", "a feather table", "pandas.read_feather('{name}').to_csv('{stem}.csv')"),
    (b"%%MatrixMarket", "a Matrix Market file, which has no names",
     "scanpy.read_10x_mtx('{folder}').write_h5ad('{stem}.h5ad') with barcodes and features beside"),
    (b"\x80", "a pickle, which may run code and is never read", _UNPICKLE),
    (b"(dp", "a pickle, which may run code and is never read", _UNPICKLE),
    (b"\x93NUMPY", "an array of numpy without names",
     "numpy.savez('{stem}.npz', X=numpy.load('{name}'), genes=names)"),
    (b"MATLAB", "a MATLAB file", "numpy.savez('{stem}.npz', X=scipy.io.loadmat('{name}')['x'],"
     " genes=names)"),
    (b"SQLite format 3", "a SQLite database", "pandas.read_sql(...).to_csv('{stem}.csv')"),
    (b"#1.2", "a GCT table (text)", "rename it to {stem}.gct"),
    (b"#1.3", "a GCT table (text)", "rename it to {stem}.gct"),
    (b"RDX", "an R data file", "write.csv(as.matrix(x), '{stem}.csv') in R"),
    (b"X\n\0", "an R data file", "write.csv(as.matrix(x), '{stem}.csv') in R"),
    (b"\xff\xfe", "UTF-16 text", "iconv -f UTF-16 -t UTF-8 '{name}' > '{stem}.utf8.csv'"),
    (b"\xfe\xff", "UTF-16 text", "iconv -f UTF-16 -t UTF-8 '{name}' > '{stem}.utf8.csv'"),
    (b"BZh", "compressed by bzip2", "bunzip2 '{name}'"),
    (b"\xfd7zXZ", "compressed by xz", "unxz '{name}'"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unzstd '{name}'"),
    (b"\xd0\xcf\x11\xe0", "an old Excel sheet (xls)",
     "pandas.read_excel('{name}', index_col=0).to_csv('{stem}.csv')"),
    (b"!Series_", "a series matrix of GEO",
     "grep -v '^!' '{name}' | grep . > '{stem}.tsv' (zgrep of one that is compressed)"),
    (b"<!doctype html", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (b"version https://git-lfs", "a pointer of Git LFS", "git lfs pull"),
    (b"%PDF", "a PDF document", "take the table it was printed from"),
)  # fmt: skip
_ZIPS = (
    (b"[Content_Types].xml", "an Excel sheet (xlsx)",
     "pandas.read_excel('{name}', index_col=0).to_csv('{stem}.csv')"),
    (b"xl/", "an Excel sheet (xlsx)",
     "pandas.read_excel('{name}', index_col=0).to_csv('{stem}.csv')"),
    (b".npy", "an npz archive of numpy", "rename it to {stem}.npz"),
    (b"data.pkl", "a file of torch, which may run code and is never read",
     "save its arrays where it was made: numpy.savez('{stem}.npz', X=vectors, genes=names)"),
    (b"", "a zip archive", "unzip '{name}'"),
)  # fmt: skip
# Places that only files of a kind have.
_HDF5 = (
    (("matrix", "row_attrs"), "a loom file",
     "anndata.io.read_loom('{name}').write_h5ad('{stem}.h5ad') (needs loompy)"),
    (("matrix/barcodes",), "a 10x file", "scanpy.read_10x_h5('{name}').write_h5ad('{stem}.h5ad')"),
    (("mod",), "a MuData file", "mudata.read('{name}')['rna'].write_h5ad('{stem}.h5ad')"),
    (("assays", "cell.names"), "a Seurat file", "SeuratDisk::Convert('{name}', 'h5ad') in R"),
    (("obs", "var"), "an AnnData file", "rename it to {stem}.h5ad"),
    (("0/DATA/0/matrix",), "a GCTX file", "rename it to {stem}.gctx"),
)  # fmt: skip
# Endings of the kinds that are read.
_READ = {
    "an AnnData file": (".h5ad", ".h5"),
    "a GCTX file": (".gctx",),
    "an npz archive of numpy": (".npz",),
    "a GCT table (text)": (".gct",),
}


def describe_kind(path: Path) -> str:
    """Say what a file is that has another kind than its ending tells, and what to do; or ``""``.

    Only the first bytes are looked at, those below gzip, and the names of places of HDF5.
    """
    file = FilePath(path)
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        head = stream.read(512)
    try:
        found = _kind(file, head)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(file) as stream:
                inner = stream.read(512)
            found = _kind(None, inner)
            if inner[:4] == b"\x89HDF":
                found = "HDF5, compressed by gzip", "gunzip '{name}'"
            elif inner[257:262] == b"ustar":
                found = "a tar archive, compressed by gzip", "tar -xzf '{name}'"
    except (OSError, EOFError, RuntimeError, zlib.error):  # damaged
        return ""
    endings = _READ.get(found[0] if found else "", ())
    if found is None or file.name.removesuffix(".gz").endswith(endings or "\0"):
        return ""
    stem = file.name.split(".")[0]
    line = found[1].format(name=file.name, stem=stem, folder=file.parent)
    return f"it is {found[0]}; {line}"


def describe_folder(folder: FilePath) -> str:
    """Say how a store of zarr, or a matrix of 10x, is read or brought to a file; or ``""``."""
    if any((folder / name).is_file() for name in (".zgroup", "zarr.json")):
        return (
            f" It is a zarr store, which --stream reads; anndata.read_zarr('{folder}')"
            f".write_h5ad('{folder.stem}.h5ad') makes a file of it."
        )
    if not any(folder.glob("*.mtx*")):
        return ""
    return (
        f" It holds a sparse matrix of 10x; scanpy.read_10x_mtx('{folder}')"
        f".write_h5ad('{folder.name}.h5ad')."
    )


def _kind(file: FilePath | None, head: bytes) -> tuple[str, str] | None:
    if head.startswith(b"PK\x03\x04"):
        if file is not None and file.suffix == ".xlsx":
            return _ZIPS[0][1:]
        return next(kind[1:] for kind in _ZIPS if kind[0] in head)
    if head.startswith(b"\x89HDF") and file is not None:
        with h5py.File(file, "r") as store:
            return next(
                (kind[1:] for kind in _HDF5 if all(place in store for place in kind[0])),
                None,
            )
    plain = head.lstrip().lower()
    return next(
        (kind[1:] for kind in _BYTES if head.startswith(kind[0]) or plain.startswith(kind[0])),
        None,
    )
