"""Files of kinds that are not read are named by their first bytes, with the line that converts."""

import gzip
import io
import json
import tarfile
import zipfile

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from infosem_jax.cli.app import app
from infosem_jax.data.io import align_embedding, embedding, read_embedding, read_expression
from infosem_jax.expression import read_profiles
from infosem_jax.perturbation import read_screen, read_text

GENES = [f"G{i}" for i in range(8)]
X = np.random.default_rng(0).gamma(2, 1, (20, 8)).astype(np.float32)


def h5(make):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        make(file)
    return buffer.getvalue()


def ten_x(file):
    for name in ("barcodes", "data", "features/name"):
        file[f"matrix/{name}"] = [1, 2]


def loom(file):
    file["matrix"], file["row_attrs/Gene"], file["col_attrs/CellID"] = X.T, [1], [2]


def seurat(file):
    file["assays/RNA/counts/data"], file["cell.names"] = [1], [1]


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("matrix.mtx"))
    return gzip.compress(buffer.getvalue())


KINDS = {
    "cells.h5": (h5(ten_x), r"10x.*scanpy\.read_10x_h5\('cells\.h5'\)"),
    "cells.hdf5": (h5(ten_x), r"10x.*scanpy\.read_10x_h5"),
    "cells.loom": (h5(loom), r"loom.*read_loom"),
    "cells.h5mu": (h5(lambda file: file.create_group("mod/rna")), r"MuData.*mudata\.read"),
    "cells.h5ad.gz": (gzip.compress(h5(loom)), r"compressed by gzip; gunzip 'cells\.h5ad\.gz'"),
    "cells.gctx": (b"#1.3\n2\t2\t0\t0\n", r"GCT table \(text\); rename it to cells\.gct"),
    "table.parquet": (b"PAR1" + bytes(99), r"parquet.*pandas\.read_parquet"),
    "table.feather": (b"ARROW1" + bytes(99), r"feather.*read_feather"),
    "table.xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), r"xlsx.*read_excel"),
    "table.csv": (zipped("xl/workbook.xml"), r"xlsx.*read_excel"),
    "old.xls": (b"\xd0\xcf\x11\xe0" + bytes(99), r"xls.*read_excel"),
    "table.zip": (zipped("a.csv"), "zip archive; unzip"),
    "table.tsv": (b"PK\x03\x04" + bytes(99), "zip archive"),
    "matrix.mtx": (b"%%MatrixMarket matrix coordinate\n1 1 1\n1 1 2\n", r"read_10x_mtx"),
    "matrix.mtx.gz": (gzip.compress(b"%%MatrixMarket matrix\n1 1 1\n1 1 2\n"), "read_10x_mtx"),
    "all.tar.gz": (tar(), r"tar archive.*tar -xzf"),
    "vectors.pickle": (b"\x80\x04}q\x00.", r"(?s)pickle.*never read.*numpy\.savez"),
    "old.pickle": (b"(dp0\nVSOX2\np1\n(lp2\nF1.0\nas.", r"(?s)pickle.*pickle\.load.*numpy\.savez"),
    "vectors.pkl.gz": (gzip.compress(b"\x80\x04}q\x00."), "pickle"),
    "vectors.pt": (zipped("archive/data.pkl"), "torch.*never read"),
    "counts.rds": (gzip.compress(b"X\n\0\0\0\3\0\4"), r"R data.*write\.csv"),
    "vectors.npy": (b"\x93NUMPY\1\0" + bytes(99), r"without names.*numpy\.savez"),
    "counts.mat": (b"MATLAB 5.0 MAT-file" + bytes(200), r"MATLAB.*scipy\.io\.loadmat"),
    "cells.db": (b"SQLite format 3\0" + bytes(99), "SQLite database"),
    "cells.h5seurat": (h5(seurat), r"Seurat.*SeuratDisk::Convert"),
    "utf16.csv": ("gene,a,b\nx,1,2\n".encode("utf-16"), r"UTF-16.*iconv"),
    "table.csv.bz2": (b"BZh91AY" + bytes(30), "bunzip2"),
    "series_matrix.txt": (b'!Series_title\t"x"\n!Series_y\t"z"\n', r"GEO; grep -v '\^!'"),
    "page.csv": (b"<!DOCTYPE html>\n<html><body>404</body></html>\n", "web page"),
    "pointer.npz": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
}


@pytest.mark.parametrize("name", KINDS)
def test_other_kinds_are_named_by_every_reader(tmp_path, name):
    content, message = KINDS[name]
    path = tmp_path / name
    path.write_bytes(content)
    readers = (read_expression, read_embedding, read_profiles, read_screen, read_text)
    for read in readers:
        if read is read_embedding and name == "table.parquet":
            continue  # which it reads
        with pytest.raises(ValueError, match=message):
            read(path)


def test_kinds_that_are_read_need_no_advice(tmp_path):
    anndata.AnnData(X, var=pd.DataFrame(index=GENES)).write_h5ad(tmp_path / "a.loom")
    for name in ("a.loom", "a.csv"):
        (tmp_path / name).write_bytes((tmp_path / "a.loom").read_bytes())
        with pytest.raises(ValueError, match=r"an AnnData file; rename it to a\.h5ad"):
            read_expression(tmp_path / name)
    np.savez(tmp_path / "b.npz", X=X, genes=GENES)
    (tmp_path / "b.npz").rename(tmp_path / "b.dat")
    with pytest.raises(ValueError, match=r"npz archive of numpy; rename it to b\.npz"):
        read_expression(tmp_path / "b.dat")


# The devices of this process cannot be changed any more.
ONE_DEVICE = {"JAX_NUM_CPU_DEVICES": "1"}


def test_a_folder_of_10x_is_named_on_the_command_line(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "matrix.mtx.gz").write_bytes(KINDS["matrix.mtx.gz"][0])
    for path in (tmp_path / "run", tmp_path / "run" / "matrix.mtx.gz"):
        done = CliRunner().invoke(
            app, ["fit", str(path), "--out", str(tmp_path / "out")], env=ONE_DEVICE
        )
        text = " ".join(done.output.split())
        assert done.exit_code == 2 and "scanpy.read_10x_mtx" in text, text
        assert "Traceback" not in text and not (tmp_path / "out").exists()


def test_a_zarr_store_is_named_with_the_option_that_reads_it(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(ValueError, match=r"It is a zarr store, which --stream reads"):
        read_expression(tmp_path / "a.zarr")


VECTORS = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)


def lines(sep, first="", inner=None):
    rows = [f"{g}{sep}{(inner or sep).join(map(str, v))}" for g, v in zip(GENES, VECTORS.tolist(),
                                                                         strict=True)]  # fmt: skip
    return (first + "\n".join(rows) + "\n").encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("genept.json", json.dumps(dict(zip(GENES, VECTORS.tolist(), strict=True))).encode()),
        ("gene2vec.txt", lines(" ", "8 5\n")),
        ("plain.txt", lines(" ")),
        ("tabs.tsv", lines("\t")),
        ("mixed.txt", lines("\t", inner=" ")),
        ("bare.csv", lines(",")),
        ("header.csv", lines(",", "gene,a,b,c,d,e\n")),
        ("plain.txt.gz", gzip.compress(lines(" ", "8 5\n"))),
    ],
)
def test_vectors_are_read_as_tools_write_them(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for read in (read_embedding, read_text):
        found = read(tmp_path / name)
        assert list(found.names) == GENES
        np.testing.assert_allclose(found.vectors, VECTORS, rtol=1e-5)


@pytest.mark.parametrize("key", ["X", "emb", "embedding", "vectors"])
@pytest.mark.parametrize("names", ["genes", "names"])
def test_arrays_of_vectors_have_one_list_of_names(tmp_path, key, names):
    np.savez(tmp_path / "a.npz", **{key: VECTORS, names: GENES})
    for read in (read_embedding, read_text):
        np.testing.assert_array_equal(read(tmp_path / "a.npz").vectors, VECTORS)


@pytest.mark.parametrize(
    "text", ['{"A": [1, 2], "B": [1]}', '{"A": 3}', '{"A": [1], "A": [2]}', "[1, 2]", "{}"]
)
def test_damaged_vectors_in_json_are_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: cannot be used as embedding"):
        read_embedding(tmp_path / "a.json")


def test_an_embedding_of_other_names_is_refused_with_what_differs(tmp_path):
    human = embedding([f"GENE{i}" for i in range(100)], np.ones((100, 2), np.float32))
    mouse = [f"Gene{i}" for i in range(99)] + ["GENE99"]
    with pytest.raises(ValueError, match=r"only 1 of the 100 genes.*100 match when case"):
        align_embedding(human, mouse)
    assert align_embedding(human, mouse, ignore_case=True)[1].all()
