"""Readers: every kind of file, every message, and nothing but ValueError on anything else."""

import gzip
import json
import logging
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infosem_jax.data import (
    Embedding,
    _tables,
    align_embedding,
    read_embedding,
    read_expression,
    read_groups,
    read_network,
    read_orthologues,
    read_regulators,
    read_signed_edges,
    write_embedding,
)
from infosem_jax.data.io import embedding
from infosem_jax.perturbation.knowledge import read_edges

GENES = ("SOX2", "NANOG", "NA", "nan", "GATA4")
CELLS = tuple(f"c{i}" for i in range(12))
REGULATORS = ("SOX2", "GATA4")
X = np.random.default_rng(0).gamma(2.0, size=(12, 5)).astype(np.float32) * (
    np.arange(60) % 3 > 0
).reshape(12, 5)

quick = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def h5ad(path: Path, x=X, obs=CELLS, var=GENES, **kwargs) -> Path:
    data = ad.AnnData(x, pd.DataFrame(index=list(obs)), pd.DataFrame(index=list(var)))
    for name, value in kwargs.items():
        field, _, key = name.partition("_")
        getattr(data, field)[key] = value
    data.write_h5ad(path)
    return path


def table(path: Path, x=X, rows=CELLS, columns=GENES, sep=",") -> Path:
    pd.DataFrame(x, list(rows), list(columns)).to_csv(path, sep=sep)
    return path


def check(data, x=X) -> None:
    assert data.genes == GENES
    assert data.cells == CELLS
    np.testing.assert_allclose(data.x, x, rtol=1e-6)
    np.testing.assert_array_equal(data.observed, x != 0)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_h5ad(tmp_path, make):
    path = h5ad(tmp_path / "a.h5ad", make(X), layers_log=make(2 * X))
    check(read_expression(path))
    check(read_expression(path, layer="log"), 2 * X)
    data = read_expression(path, regulators=["GATA4", "SOX2", "MYC"], name="my data")
    assert data.regulators == REGULATORS
    assert data.name == "my data"
    assert read_expression(path).name == "a"


@pytest.mark.parametrize("column", ["is_tf", "regulator"])
def test_h5ad_regulators_of_var(tmp_path, column):
    path = h5ad(tmp_path / "a.h5ad", **{f"var_{column}": [g in REGULATORS for g in GENES]})
    assert read_expression(path).regulators == REGULATORS
    assert read_expression(path, regulators=["NANOG"]).regulators == ("NANOG",)


def test_h5ad_messages(tmp_path):
    path = h5ad(tmp_path / "a.h5ad", layers_log=X)
    with pytest.raises(ValueError, match=r"no layer 'counts'.*found X, log"):
        read_expression(path, layer="counts")
    with pytest.raises(ValueError, match="variants"):
        read_expression(path, variant="1")
    with pytest.raises(ValueError, match="see read_regulators"):
        read_expression(path, regulators="tfs.txt")
    with pytest.raises(ValueError, match="marks no gene"):
        read_expression(h5ad(path, var_regulator=[False] * 5))
    with pytest.raises(ValueError, match="one true or false per gene"):
        read_expression(h5ad(path, var_regulator=[0.5] * 5))
    with pytest.warns(UserWarning, match="not unique"):
        h5ad(path, var=["A", "A", "B", "C", "D"])
    assert read_expression(path).genes == ("A", "B", "C", "D")
    with h5py.File(path, "w") as file:
        file["matrix"] = X
    with pytest.raises(ValueError, match=r"no matrix X as AnnData writes it"):
        read_expression(path)


def test_h5ad_with_wrong_sparse_indices_is_refused(tmp_path):
    path = h5ad(tmp_path / "a.h5ad", sp.csr_matrix(X))
    with h5py.File(path, "r+") as file:
        file["X/indices"][3] = 10_000_000
    with pytest.raises(ValueError, match="cannot be used as h5ad"):
        read_expression(path)
    with h5py.File(path, "r+") as file:
        file["X"].attrs["shape"] = (12, 2**40)
    with pytest.raises(ValueError, match="12 x 5 values"):
        read_expression(path)


def test_constant_genes_are_left_out(tmp_path, caplog):
    x = X.copy()
    x[:, 1] = 3
    path = h5ad(tmp_path / "a.h5ad", x)
    with caplog.at_level(logging.INFO, "infosem_jax"):
        data = read_expression(path)
    assert data.genes == ("SOX2", "NA", "nan", "GATA4")
    np.testing.assert_allclose(data.x, x[:, [0, 2, 3, 4]])
    assert "left out 1 genes that have the same value in every cell (NANOG)" in caplog.text


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.csv.gz"])
@pytest.mark.parametrize("transposed", [False, True])
def test_text_tables_either_way_round(tmp_path, caplog, name, transposed):
    sep = "," if "csv" in name else "\t"
    parts = (X.T, GENES, CELLS) if transposed else (X, CELLS, GENES)
    path = table(tmp_path / name, *parts, sep=sep)
    with caplog.at_level(logging.INFO, "infosem_jax"):
        data = read_expression(path, regulators=REGULATORS)
    check(data)
    assert data.name == "a"
    assert ("genes in rows" if transposed else "genes in columns") in caplog.text
    side = "genes_in_rows" if transposed else "genes_in_columns"
    told = read_expression(path, orientation=side)
    check(told)
    assert told.regulators == GENES


def test_unclear_orientation_says_how_to_choose(tmp_path):
    path = table(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="without regulators: give them, or choose with orient"):
        read_expression(path)
    with pytest.raises(ValueError, match=r"no regulator is among.*Nearest symbols.*orientation"):
        read_expression(path, regulators=["SOX21"])
    assert read_expression(path, regulators=["Sox2"]).regulators == ("SOX2",)
    both = table(tmp_path / "b.csv", rows=(*CELLS[:-1], "SOX2"))
    with pytest.raises(ValueError, match=r"in rows \(1\) and in columns \(2\).*orientation="):
        read_expression(both, regulators=REGULATORS)


def test_transposed_binary_files_are_turned(tmp_path):
    check(read_expression(h5ad(tmp_path / "a.h5ad", X.T, GENES, CELLS), regulators=REGULATORS))
    np.savez(tmp_path / "a.npz", X=X.T, genes=np.array(CELLS), cells=np.array(GENES))
    check(read_expression(tmp_path / "a.npz", orientation="genes_in_rows"))


def test_r_style_header_and_byte_order_mark(tmp_path):
    lines = ["\t".join(GENES)] + [
        "\t".join([c, *map(str, row)]) for c, row in zip(CELLS, X.tolist(), strict=True)
    ]
    path = tmp_path / "a.tsv"
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    check(read_expression(path, regulators=REGULATORS))


def test_text_table_messages(tmp_path):
    path = table(tmp_path / "a.csv")
    good = path.read_text()

    def message(text: str | bytes) -> str:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(
            ValueError, match=r"a\.csv: cannot be used as expression table"
        ) as error:
            read_expression(path, regulators=REGULATORS)
        return str(error.value)

    value = good.splitlines()[2].split(",")[1]
    text = good.replace(f"c1,{value},", "c1,n/a,")
    assert "found 'n/a' in row 'c1', column 'SOX2'" in message(text)
    assert "file is empty" in message("")
    assert "blank" in message("\n\n")
    assert "expected rows below the header" in message(good.splitlines()[0])
    assert "UTF-8" in message(good.encode("utf-16"))
    assert "UTF-8" in message(good.replace("SOX2", "é").encode("latin-1"))
    assert "found only" in message("gene\nA\nB\n")
    assert "expected names in the first line" in message("\n".join(good.splitlines()[1:]))
    assert "the header names" in message(good.replace(",SOX2", "").replace(",NANOG", ""))
    assert "found '' in row 'c99', column 'NA'" in message(good + "c99,1,2\n")
    assert "Expected 6 fields" in message(good + "c99" + ",1" * 9 + "\n")
    cut = gzip.compress(good.encode())
    assert "end-of-stream" in message(cut[: len(cut) // 2])


def test_genes_that_are_called_like_numbers(tmp_path):
    path = table(tmp_path / "a.csv", columns=("nan", "inf", "NA", "None", "7"))
    assert read_expression(path, regulators=["nan"]).genes == ("nan", "inf", "NA", "None", "7")


def test_names_that_occur_twice_are_not_renamed(tmp_path):
    path = table(tmp_path / "a.csv", columns=("A", "A", "B", "C", "D"))
    assert read_expression(path, orientation="genes_in_columns").genes == ("A", "B", "C", "D")


def test_text_beyond_the_cap_is_refused(tmp_path, monkeypatch):
    from infosem_jax.data import _tables
    from infosem_jax.data._files import Limits

    for name in ("a.csv.gz", "a.csv"):
        path = table(tmp_path / name)
        with pytest.raises(ValueError, match=r"more than 100 bytes of text.*as h5ad"):
            _tables.read_matrix(path, "expression table", Limits(text=100))
        for limits, refused in ((Limits(columns=len(GENES)), True), (Limits(columns=99), False)):
            if refused:
                with pytest.raises(ValueError, match=f"{len(GENES) + 1} columns; at most"):
                    _tables.read_matrix(path, "expression table", limits)
            else:
                _tables.read_matrix(path, "expression table", limits)


def test_tables_of_too_many_columns_are_refused_at_once(tmp_path):
    fields = ",".join(["1"] * 300_000)
    for text in (fields, f"gene,a\n{fields}\n"):
        (tmp_path / "wide.csv").write_text(text)
        with pytest.raises(ValueError, match="300,000 columns; at most"):
            read_expression(tmp_path / "wide.csv", orientation="genes_in_rows")


@pytest.mark.slow
def test_text_that_would_take_minutes_is_refused_in_seconds(tmp_path):
    with gzip.open(tmp_path / "long.csv.gz", "wb", compresslevel=1) as file:
        for _ in range(250):
            file.write(b"SOX2,1.25,3\n" * (10**7 // 12))
    began = time.monotonic()
    with pytest.raises(ValueError, match="bytes of text, which is the most that is read"):
        read_expression(tmp_path / "long.csv.gz", orientation="genes_in_rows")
    assert time.monotonic() - began < 30


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(
        path, X=X, genes=np.array(GENES), cells=np.array(CELLS), is_tf=np.isin(GENES, REGULATORS)
    )
    data = read_expression(path)
    check(data)
    assert data.regulators == REGULATORS
    assert read_expression(path, regulators=["NANOG"]).regulators == ("NANOG",)
    np.savez(path, X_1=X, X_b=2 * X, genes=np.array(GENES))
    np.testing.assert_array_equal(read_expression(path, variant="b").x, 2 * X)
    for kwargs in ({}, {"variant": "2"}):
        with pytest.raises(ValueError, match="choose a variant: 1, b"):
            read_expression(path, **kwargs)
    for arrays, message in (
        ({"X": X}, "list `genes`"),
        ({"X": X, "genes": np.array(CELLS)}, "one column per gene"),
        ({"X": X, "genes": np.array(GENES), "cells": np.array(GENES)}, "`cells` the shape"),
        ({"X": X, "genes": np.array(GENES), "is_tf": np.ones(3)}, "one true or false per gene"),
        ({"Y": X}, "expected an array X"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=message):
            read_expression(path)


def test_folders(tmp_path):
    np.savez(tmp_path / "expression.npz", X=X, genes=np.array(GENES), cells=np.array(CELLS))
    assert read_expression(tmp_path).regulators == GENES
    marks = [int(g in REGULATORS) for g in GENES]
    pd.DataFrame({"gene": GENES, "is_tf": marks}).to_csv(tmp_path / "genes.csv.gz", index=False)
    data = read_expression(tmp_path)
    check(data)
    assert data.regulators == REGULATORS
    assert data.name == tmp_path.name

    beeline = tmp_path / "beeline"
    beeline.mkdir()
    with pytest.raises(ValueError, match="found nothing"):
        read_expression(beeline)
    table(beeline / "ExpressionData.csv", X.T, GENES, CELLS)
    check(read_expression(beeline))
    check(read_expression(beeline, regulators=REGULATORS))

    genelink = tmp_path / "genelink"
    genelink.mkdir()
    table(genelink / "BL--ExpressionData.csv", X.T, GENES, CELLS)
    pd.DataFrame({"TF": REGULATORS, "index": [0, 4]}).to_csv(genelink / "TF.csv")
    data = read_expression(genelink)
    check(data)
    assert data.regulators == REGULATORS


def test_missing_files_are_named(tmp_path):
    readers = (read_expression, read_network, read_regulators, read_embedding, read_orthologues)
    for read in readers:
        for name in ("a.csv", "a.h5ad", "a.npz"):
            with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
                read(tmp_path / name)
        if read is not read_expression:
            with pytest.raises(ValueError, match="folder"):
                read(tmp_path)


def test_groups_share_genes_that_vary_in_all(tmp_path, caplog):
    x = np.random.default_rng(1).gamma(2.0, size=(40, 5))
    x[:12, 1] = 0  # constant in the first group
    x[35:, 2] = 0  # constant in a group that is left out
    group = ["a"] * 12 + ["b"] * 20 + ["tiny"] * 3 + [None] * 5
    path = h5ad(tmp_path / "a.h5ad", x, [f"c{i}" for i in range(40)])
    data = ad.read_h5ad(path)
    data.obs["type"] = pd.Categorical(group)
    data.obs["n"] = np.arange(40)
    data.write_h5ad(path)
    with caplog.at_level(logging.INFO, "infosem_jax"):
        groups = read_groups(path, "type", regulators=REGULATORS)
    assert list(groups) == ["a", "b"]
    assert groups["a"].genes == groups["b"].genes == ("SOX2", "NA", "nan", "GATA4")
    assert groups["b"].cells == tuple(f"c{i}" for i in range(12, 32))
    assert groups["b"].name == "a b"
    assert groups["a"].regulators == REGULATORS
    np.testing.assert_allclose(groups["b"].x, x[12:32][:, [0, 2, 3, 4]], rtol=1e-6)
    assert "{'tiny': 3}" in caplog.text
    assert "4 of 5 genes" in caplog.text
    assert "5 cells had no group" in caplog.text
    assert list(read_groups(path, "type", min_cells=13)) == ["b"]
    with pytest.raises(ValueError, match="columns are: type, n"):
        read_groups(path, "cluster")
    with pytest.raises(ValueError, match=r"none of the 40 values.*largest: 1"):
        read_groups(path, "n")
    with pytest.raises(ValueError, match="at least 10, found 3"):
        read_groups(path, "type", min_cells=3)
    with pytest.raises(ValueError, match="h5ad"):
        read_groups(tmp_path / "a.csv", "type")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SOX2\n\n# comment\n GATA4 \nSOX2\n", ("SOX2", "GATA4")),
        ("SOX2;GATA4;SOX2\n", ("SOX2", "GATA4")),
        ("TF\nSOX2\nGATA4\n", ("SOX2", "GATA4")),
        (",TF,index\n0,SOX2,5\n1,GATA4,7\n", ("SOX2", "GATA4")),
        ("Species\tSymbol\tEnsembl\nhs\tSOX2\tE1\nhs\tGATA4\tE2\n", ("SOX2", "GATA4")),
        ("SOX2,a\nGATA4,b\n", ("SOX2", "GATA4")),
        ("nan\nNA\n", ("nan", "NA")),
    ],
)
def test_regulators(tmp_path, text, expected):
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_regulators(tmp_path / "a.txt") == expected
    assert read_regulators(tmp_path / "a.csv.gz") == expected


@pytest.mark.parametrize("text", ["#\n", "TF\n", "\n \n"])
def test_no_regulators(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match="lists no regulator"):
        read_regulators(tmp_path / "a.txt")


def network(tmp_path: Path, text: str, name: str = "net.csv") -> pd.DataFrame:
    (tmp_path / name).write_text(text)
    return read_network(tmp_path / name)


@pytest.mark.parametrize("header", ["source,target", "TF,Target", "Gene1,Gene2", "GENE1\tgene2"])
def test_network_headers(tmp_path, header):
    sep = "\t" if "\t" in header else ","
    rows = ["A,B", "B,A", "A,A", "A,B", "NA,nan"]
    edges = network(tmp_path, "\n".join([header, *(row.replace(",", sep) for row in rows)]))
    assert edges.to_dict("list") == {"source": ["A", "B", "NA"], "target": ["B", "A", "nan"]}


def test_network_columns(tmp_path):
    edges = network(
        tmp_path, "TF,Target,Label,split,Type,EdgeWeight\nA,B,1,train,+,.5\nB,C,0,test,-,2\n"
    )
    assert edges.to_dict("list") == {
        "source": ["A", "B"],
        "target": ["B", "C"],
        "weight": [0.5, 2.0],
        "label": [1, 0],
        "sign": [1, -1],
        "split": ["train", "test"],
    }
    assert network(tmp_path, "Gene1,Gene2,Type\nA,B,+\nA,B,-\nB,C,-\n")["sign"].tolist() == [0, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A,B\nB,C\n", "expected a header with source,target"),
        ("TF,Target,Label\nA,B,1\nA,B,0\n", r"1 pairs have more than one label \(first: A -> B\)"),
        ("TF,Target,split\nA,B,train\nA,B,test\n", "more than one split"),
        ("source,target,weight\nA,B,1\nA,B,2\n", "more than one weight"),
        ("source,target,weight\nA,B,x\n", "expected numbers in column weight, found 'x'"),
        ("source,target,weight\nA,B,inf\n", "expected numbers"),
        ("TF,Target,Label\nA,B,2\n", "expected labels 1"),
        ("Gene1,Gene2,Type\nA,B,PPI\n", "expected 1, -1, .* in column type, found 'PPI'"),
        ("TF,Target\nA,A\n", "no edge between two different genes"),
        ("TF,Target\nA,\n", "lack the source or target"),
        ("TF,TF\nA,B\n", "names a column twice"),
        ("TF,Target\n", "expected rows"),
    ],
)
def test_network_messages(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        network(tmp_path, text)


def genelink(folder: Path, order: tuple[str, ...]) -> Path:
    folder.mkdir()
    pd.DataFrame({"Gene": order, "index": range(len(order))}).to_csv(folder / "Target.csv")
    regulators = {"TF": REGULATORS, "index": [order.index(g) for g in REGULATORS]}
    pd.DataFrame(regulators).to_csv(folder / "TF.csv")
    pairs = [("SOX2", "NANOG"), ("GATA4", "SOX2"), ("SOX2", "SOX2")]
    numbers = [[order.index(a), order.index(b)] for a, b in pairs]
    pd.DataFrame(numbers, columns=["TF", "Target"]).to_csv(folder / "Label.csv")
    return folder


def test_numbered_networks_use_the_genes_of_their_own_folder(tmp_path):
    one, two = (
        genelink(tmp_path / "one", GENES),
        genelink(tmp_path / "two", ("nan", *GENES[:3], "GATA4")),
    )
    expected = {"source": ["SOX2", "GATA4"], "target": ["NANOG", "SOX2"]}
    for path in (one, two, one / "Label.csv", two / "Label.csv"):
        assert read_network(path).to_dict("list") == expected
    (two / "Label.csv").write_bytes((one / "Label.csv").read_bytes())
    with pytest.raises(ValueError, match="disagree on gene number"):
        read_network(two)
    genelink(tmp_path / "three", GENES)
    (tmp_path / "three" / "TF.csv").write_bytes((tmp_path / "two" / "TF.csv").read_bytes())
    with pytest.raises(ValueError, match="different folders"):
        read_network(tmp_path / "three")
    (one / "Target.csv").unlink()
    with pytest.raises(ValueError, match=r"Target\.csv is not beside it"):
        read_network(one)
    with pytest.raises(ValueError, match="give one network file"):
        read_network(tmp_path)


def test_numbers_are_names_where_nothing_says_otherwise(tmp_path):
    assert network(tmp_path, "TF,Target\n1,2\n")["target"].tolist() == ["2"]


EMBEDDING = Embedding(
    ("SOX2", "GATA4", "Ar", "AR"), np.arange(8, dtype=np.float32).reshape(4, 2) + 1
)


def test_embedding_files(tmp_path):
    write_embedding(tmp_path / "a.npz", EMBEDDING)
    pd.DataFrame(EMBEDDING.vectors, list(EMBEDDING.names)).to_csv(tmp_path / "a.csv")
    h5ad(tmp_path / "a.h5ad", X[:, :4], CELLS, EMBEDDING.names, varm_one=EMBEDDING.vectors)
    for name in ("a.npz", "a.csv", "a.h5ad"):
        found = read_embedding(tmp_path / name)
        assert found.names == EMBEDDING.names
        np.testing.assert_array_equal(found.vectors, EMBEDDING.vectors)
    two = {"varm_one": EMBEDDING.vectors, "varm_two": 2 * EMBEDDING.vectors}
    h5ad(tmp_path / "a.h5ad", X[:, :4], CELLS, EMBEDDING.names, **two)
    np.testing.assert_array_equal(
        read_embedding(tmp_path / "a.h5ad", key="two").vectors, 2 * EMBEDDING.vectors
    )
    for key in (None, "three"):
        with pytest.raises(ValueError, match="choose a key: one, two, X"):
            read_embedding(tmp_path / "a.h5ad", key=key)
    with pytest.raises(ValueError, match="leave key out"):
        read_embedding(tmp_path / "a.npz", key="three")
    with pytest.raises(ValueError, match=r"end in .npz"):
        write_embedding(tmp_path / "b.csv", EMBEDDING)
    np.savez(tmp_path / "a.npz", emb=EMBEDDING.vectors)
    with pytest.raises(ValueError, match="expected arrays X and genes, found emb"):
        read_embedding(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", X=EMBEDDING.vectors, genes=np.array(["A"]))
    with pytest.raises(ValueError, match="genes of shape"):
        read_embedding(tmp_path / "a.npz")


def test_embeddings_as_other_tools_leave_them(tmp_path, monkeypatch):
    names, vectors = list(EMBEDDING.names), EMBEDDING.vectors
    rows = [" ".join([name, *map(str, row)]) for name, row in zip(names, vectors, strict=True)]
    (tmp_path / "gene2vec.txt").write_text("4 2\n" + "\n".join(rows) + "\n")
    lists = {name: row.tolist() for name, row in zip(names, vectors, strict=True)}
    (tmp_path / "genept.json").write_text(json.dumps(lists))
    # Genes as observations, as infosem embed and scGPT's helpers write them.
    obs, features = pd.DataFrame(index=names), pd.DataFrame(index=["0", "1"])
    ad.AnnData(vectors, obs, features).write_h5ad(tmp_path / "dense.h5ad")
    ad.AnnData(sp.csr_matrix(vectors), obs, features).write_h5ad(tmp_path / "sparse.h5ad")
    tables = {
        "index": pd.DataFrame(vectors, names, columns=["0", "1"]),
        "column": pd.DataFrame({"gene": names, "0": vectors[:, 0], "1": vectors[:, 1]}),
        "lists": pd.DataFrame({"gene": names, "embedding": list(vectors)}),
    }
    monkeypatch.setattr(_tables.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(
        _tables.pd, "read_parquet", lambda path, engine: tables[Path(path).stem].copy()
    )
    files = ("gene2vec.txt", "genept.json", "dense.h5ad", "sparse.h5ad")
    tables["words"] = pd.DataFrame({"gene": names, "text": ["a", "b", "c", "d"]})
    for name in tables:
        (tmp_path / f"{name}.parquet").write_bytes(b"PAR1")
    for file in (*files, "index.parquet", "column.parquet", "lists.parquet"):
        found = read_embedding(tmp_path / file)
        assert found.names == EMBEDDING.names, file
        np.testing.assert_array_equal(found.vectors, vectors)
    with pytest.raises(
        ValueError, match=r"columns of numbers or one of lists.*found text: could not"
    ):
        read_embedding(tmp_path / "words.parquet")


@pytest.mark.parametrize(
    ("names", "vectors", "message"),
    [
        (("A", "A"), np.ones((2, 2)), r"more than one vector \(A\)"),
        (("A", "B"), np.array([[1.0], [np.nan]]), "first: B"),
        (("A", "B"), np.array([[1.0], [1e300]]), "first: B"),
        (("A",), np.ones((2, 2)), "one vector per gene"),
        ((), np.ones((0, 2)), "one vector per gene"),
    ],
)
def test_embedding_messages(names, vectors, message):
    with pytest.raises(ValueError, match=message):
        embedding(names, vectors)


def test_align_embedding(caplog):
    def rows(*genes: str, **kwargs) -> list[int]:
        vectors, known = align_embedding(EMBEDDING, genes, **kwargs)
        assert not vectors[~known].any()
        return [int(v[0] // 2) if k else -1 for v, k in zip(vectors, known, strict=True)]

    assert rows("GATA4", "Sox2", "AR") == [1, -1, 3]
    assert rows("GATA4", "Sox2", "Ar", ignore_case=True) == [1, 0, 2]
    assert rows("aR", "sox2", ignore_case=True) == [-1, 0]  # two names answer to aR
    assert rows("Abc", "SOX2", orthologues={"Abc": "GATA4"}) == [1, 0]
    assert rows("SOX2", orthologues={"SOX2": "GATA4"}) == [1]
    assert rows("SOX2", orthologues={"SOX2": "unknown"}) == [0]
    assert rows("ABC", orthologues={"Abc": "gata4"}, ignore_case=True) == [1]
    with pytest.raises(ValueError, match=r"none of the 1 genes.*1 match when case.*orthologues"):
        align_embedding(EMBEDDING, ["Sox2"])
    with caplog.at_level(logging.WARNING, "infosem_jax"):
        align_embedding(EMBEDDING, ["SOX2", "X", "Y"])
    assert "covers 1 of 3 genes" in caplog.text


def test_orthologues(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "human_symbol,id,mouse_symbol\nA1BG,1,A1bg\nX,2,Sox2\nSOX2,3,Sox2\nY,4,Sox2\n,5,Z\n"
    )
    assert read_orthologues(path) == {"A1bg": "A1BG", "Sox2": "SOX2"}
    back = read_orthologues(path, source="human", target="mouse")
    assert back == {"A1BG": "A1bg", "X": "Sox2", "SOX2": "Sox2", "Y": "Sox2"}
    with pytest.raises(ValueError, match="expected columns rat_symbol and human_symbol"):
        read_orthologues(path, source="rat")
    path.write_text("from\tto\nSox2\tSOX2\n")
    assert read_orthologues(path) == {"Sox2": "SOX2"}
    path.write_text("A1BG\t1\tA1bg\tMGI:1\t\nSOX2\t2\tSox2\tMGI:2\tMP:1, MP:2\n")
    assert read_orthologues(path) == {"A1bg": "A1BG", "Sox2": "SOX2"}
    assert read_orthologues(path, source="human", target="mouse") == {
        "A1BG": "A1bg",
        "SOX2": "Sox2",
    }
    with pytest.raises(ValueError, match="human and mouse, not rat"):
        read_orthologues(path, source="rat")


@quick
@given(st.data())
def test_expression_round_trips(tmp_path, data):
    symbols = st.text("abcXYZ019-._", min_size=1, max_size=6).map("g".__add__)
    genes = data.draw(st.lists(symbols, min_size=2, max_size=6, unique=True))
    numbers = st.floats(0, 2**20, width=32).map(lambda v: v if v > 1e-30 else 0.0)
    rows = st.lists(numbers, min_size=len(genes), max_size=len(genes))
    x = np.array(data.draw(st.lists(rows, min_size=10, max_size=12)), np.float32)
    x = x + 1
    x[0] = 0.5  # no gene is constant, and no cell empty
    cells = tuple(f"c{i}" for i in range(len(x)))
    flip = data.draw(st.booleans())
    table(tmp_path / "a.csv", *((x.T, genes, cells) if flip else (x, cells, genes)))
    found = read_expression(tmp_path / "a.csv", regulators=genes[:1])
    assert (found.genes, found.cells) == (tuple(genes), cells)
    np.testing.assert_allclose(found.x, x, rtol=1e-6)


READERS = {
    ".csv": (read_expression, read_network, read_regulators, read_embedding, read_orthologues),
    ".npz": (read_expression, read_embedding),
    ".h5ad": (read_expression, read_embedding),
}


@quick
@given(content=st.binary(max_size=200) | st.text('A,\t"\n1#.\r\0', max_size=60).map(str.encode))
def test_any_text_is_read_or_refused(tmp_path, content):
    path = tmp_path / "a.csv"
    for raw in (content, gzip.compress(content), b"\x1f\x8b" + content):
        path.write_bytes(raw)
        for read in READERS[".csv"]:
            try:
                read(path)
            except ValueError as error:
                assert "Type-check" not in str(error)


@quick
@given(data=st.data())
@pytest.mark.parametrize("kind", [".npz", pytest.param(".h5ad", marks=pytest.mark.slow)])
def test_damaged_containers_are_read_or_refused(tmp_path, kind, data):
    whole = tmp_path / f"whole{kind}"
    if not whole.exists():
        if kind == ".npz":
            np.savez_compressed(whole, X=X, genes=np.array(GENES), cells=np.array(CELLS))
        else:
            h5ad(whole, sp.csr_matrix(X), varm_one=np.ones((5, 2)))
    raw = bytearray(whole.read_bytes())
    spared = heap_of_strings(raw) if kind == ".h5ad" else range(0)
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=8)):
        if place not in spared:
            raw[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path / f"a{kind}"
    path.write_bytes(raw[: data.draw(st.integers(1, len(raw)) | st.just(len(raw)))])
    for read in READERS[kind]:
        try:
            read(path)
        except ValueError as error:
            assert "Type-check" not in str(error)


def heap_of_strings(raw: bytes | bytearray) -> range:
    """Return where HDF5 keeps strings: it may never return once their sizes there are damaged."""
    start = raw.index(b"GCOL")
    assert raw.count(b"GCOL") == 1
    return range(start, start + int.from_bytes(raw[start + 8 : start + 16], "little"))


def test_real_benchmarks(real_data):
    data = read_expression(real_data / "beeline" / "mESC" / "TFs+500")
    assert data.x.shape == (421, 1120)
    assert len(data.regulators) == 627
    edges = read_network(real_data / "beeline" / "mESC" / "TFs+500" / "network_specific.csv.gz")
    assert len(edges) == 29613
    assert set(edges["source"]) <= set(data.genes)
    found = read_embedding(real_data / "embeddings" / "biobert_gene_symbol_768.npz")
    mouse = [gene.capitalize() for gene in data.genes]
    assert align_embedding(found, mouse, ignore_case=True)[1].all()
    texts = real_data / "embeddings" / "gene_text" / "human_mouse_orthologs_mgi.csv.gz"
    assert align_embedding(found, mouse, orthologues=read_orthologues(texts))[1].sum() == 924
    groups = read_groups(real_data / "expression" / "human_pancreas_xin.h5ad", "cell_type")
    assert {name: len(group.cells) for name, group in groups.items()} == {
        "alpha": 285,
        "beta": 261,
        "delta": 49,
        "gamma": 79,
    }


# Scores of three edges as the tools write them: header, rows (A and B regulators), separator.
TABLES = {
    "pyscenic": ("TF,target,importance", "{tf},{gene},{w}"),
    "genie3": ("regulatoryGene,targetGene,weight", "{tf},{gene},{w}"),
    "beeline": ("Gene1\tGene2\tEdgeWeight", "{tf}\t{gene}\t{w}"),
    "celloracle": (",source,target,coef_mean,coef_abs,p,-logp", "0,{tf},{gene},{w},9,.1,1"),
    "inferelator": ("target\tregulator\tcombined_confidences\tp", "{gene}\t{tf}\t{w}\t.5"),
    "scenicplus": ("TF\tGene\tRegion\tTF2G_importance\tregulation", "{tf}\t{gene}\tx\t{w}\t1"),
    "database beside": ("TF,target,weight,source", "{tf},{gene},{w},ChIP-Atlas"),
    "omnipath": ("source\ttarget\tsource_genesymbol\ttarget_genesymbol\tscore",
                 "P0\tP1\t{tf}\t{gene}\t{w}"),
    "arboreto": ("", "{tf}\t{gene}\t{w}"),
    "string web": ("#node1\tnode2\tcombined_score", "{tf}\t{gene}\t{w}"),
    "string": ("protein1 protein2 combined_score", "9606.{tf} 9606.{gene} {w}"),
    "semicolons": ("tf;target;weight", "{tf};{gene};{w}"),
    "hTFtarget": ("TF gene\tTarget gene\tscore", "{tf}\t{gene}\t{w}"),
    "names": ("TF_name,target_name,Edge Weight", "{tf},{gene},{w}"),
    "scenicplus 1.0": ("Region\tGene\timportance_R2G\tTF\timportance_TF2G\tregulation",
                       "x\t{gene}\t.5\t{tf}\t{w}\t1"),
    "pando": ("tf,target,estimate,std_err,pval", "{tf},{gene},{w},.1,.01"),
    "figr": ("Motif,DORC,Score", "{tf},{gene},{w}"),
    "regnetwork": ("regulator_symbol\tregulator_id\ttarget_symbol\ttarget_id\tscore",
                   "{tf}\t7157\t{gene}\t1\t{w}"),
    "letters beside": ("tf,confidence,target,probability", "{tf},A,{gene},{w}"),
}  # fmt: skip
SCORES = [("A", "C", 2.5), ("B", "C", 0.5), ("B", "A", 3.0)]


@pytest.mark.parametrize("tool", TABLES)
def test_edges_of_every_tool_are_read_alike(tmp_path, tool):
    header, row = TABLES[tool]
    rows = [row.format(tf=tf, gene=gene, w=w) for tf, gene, w in SCORES]
    file = tmp_path / "edges.txt"
    file.write_text("\n".join([header, *rows] if header else rows) + "\n")
    table = read_network(file)
    assert list(table[["source", "target", "weight"]].itertuples(index=False, name=None)) == SCORES
    graph = read_edges(file)
    assert graph["weight"].tolist() == [w / 3 for _, _, w in SCORES]
    assert graph["directed"].all() == (not tool.startswith(("string", "beeline")))


def test_versions_of_identifiers_do_not_matter_in_graphs(tmp_path):
    file = tmp_path / "graph.tsv"
    file.write_text("TF\ttarget\nENSG00000141510.18\tENSG00000136997.22\nMIR1.1\tENSG00000141510\n")
    graph = read_edges(file)
    assert graph["source"].tolist() == ["ENSG00000141510", "MIR1.1"]
    assert graph["target"].tolist() == ["ENSG00000136997", "ENSG00000141510"]


def test_a_column_of_weights_can_be_named(tmp_path):
    file = tmp_path / "links.csv"
    file.write_text("source,target,coef_mean,-logp\nA,B,-2,7\nA,C,1,3\n")
    assert read_network(file)["weight"].tolist() == [-2, 1]
    assert read_network(file, weight="-logP")["weight"].tolist() == [7, 3]
    with pytest.raises(ValueError, match=r"no column 'p'; choose from source, target, coef_mean"):
        read_network(file, weight="p")


def test_identifiers_of_string_become_symbols(tmp_path):
    file = tmp_path / "9606.protein.links.v12.0.txt"
    file.write_text("protein1 protein2 combined_score\n9606.ENSP01 9606.ENSP02 700\n")
    with pytest.raises(ValueError, match=r"identifiers of STRING \(9606.ENSP01\); put the file"):
        read_network(file)
    (tmp_path / "9606.protein.info.v12.0.txt").write_text(
        '#string_protein_id\tpreferred_name\tannotation\n9606.ENSP01\tTP53\t5" long\n'
        "9606.ENSP02\tMDM2\tx\n"
    )
    assert read_network(file).iloc[0].tolist() == ["TP53", "MDM2", 700]


@pytest.mark.parametrize("kind", ["is", "consensus"])
def test_stimulation_and_inhibition_of_omnipath_are_signs(tmp_path, kind):
    file = tmp_path / "omnipath.tsv"
    header = f"source_genesymbol\ttarget_genesymbol\t{kind}_stimulation\t{kind}_inhibition"
    rows = ("A\tC\tTrue\tFalse", "B\tC\t0\t1", "B\tA\t1\t1")
    file.write_text("\n".join((header, *rows)) + "\n")
    assert read_network(file)["sign"].tolist() == [1, -1, 0]
    assert read_signed_edges(file)["sign"].tolist() == [1, -1]


@pytest.mark.parametrize("values", [np.array([[0.5, 1.5]]), np.array([[1, 0]])])
def test_values_of_a_gene_are_no_names_of_cells(tmp_path, values):
    """A table without names of cells lost its first gene."""
    frame = pd.DataFrame(np.repeat(values, 12, 0), columns=["TP53", "MYC"])
    frame.to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(ValueError, match=r"names in the first column, found numbers in 'TP53'"):
        read_expression(tmp_path / "x.csv", regulators=["TP53", "MYC"])


def test_trrust_without_a_header_gives_signs(tmp_path):
    file = tmp_path / "trrust.tsv"
    file.write_text("A\tC\tActivation\t1\nB\tC\tRepression\t2\nB\tA\tUnknown\t3\n")
    assert read_network(file)["sign"].tolist() == [1, -1, 0]
    assert read_signed_edges(file)["sign"].tolist() == [1, -1]
    assert len(read_edges(file)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "Symbol,Is TF?\nA,Yes\nB,No\nC,yes\n",
        "gene,gene_symbol,is_tf\nENSG1,A,1\nENSG2,B,0\nENSG3,C,1\n",
        ",Ensembl ID,HGNC symbol,DBD,Is TF?\n1,ENSG1,A,x,Yes\n2,ENSG2,B,y,No\n3,ENSG3,C,z,Yes\n",
        ",0\n0,A\n1,C\n",
        "gene,TF\nA,1\nB,0\nC,1\n",
        "Symbol\tTF?\nA\tYes\nB\tNo\nC\tYes\n",
        "gene_name,regulator\nA,True\nB,False\nC,True\n",
        '"x"\n"A"\n"C"\n',
        "Associated Gene Name\nA\nC\n",
        "tf_symbol;score\nA;1,5\nC;2,5\n",
        "Gene Information,,,\nID,Name,DBD,Is TF?\nE1,A,x,Yes\nE2,B,x,No\nE3,C,x,Yes\n",
        "1\tA\n2\tC\n",
        "TF\n1\tA\n2\tC\n",
        "HGNC symbol,TF assessment\nA,Known motif\nB,Unlikely to be sequence specific TF\n"
        "D,ssDNA/RNA binding\nC,Likely to be sequence specific TF\n",
        "HGNC symbol,TF assessment,Is TF?\nA,Known motif,Yes\nB,Known motif,No\n"
        "C,ssDNA/RNA binding,Yes\n",
    ],
)
def test_flags_and_headers_of_regulators_are_heeded(tmp_path, text, caplog):
    caplog.set_level("INFO")
    (tmp_path / "tfs.csv").write_text(text)
    assert read_regulators(tmp_path / "tfs.csv") == ("A", "C")
    assert ("left out" in caplog.text) == ("B" in text)
    if "TF assessment\n" in text:
        assert "left out 2 of 4 genes, which are no regulators by its column TF" in caplog.text


def test_flags_that_say_neither_are_refused(tmp_path):
    (tmp_path / "tfs.csv").write_text("Symbol,Is TF?\nA,Yes\nB,perhaps\n")
    with pytest.raises(ValueError, match=r"tfs\.csv.*expected Is TF\? as one true.*'perhaps'"):
        read_regulators(tmp_path / "tfs.csv")


def test_values_of_other_types_are_numbers_or_refused(tmp_path):
    counts = np.random.default_rng(0).poisson(2.0, X.shape)
    for kind in (bool, np.float16, np.int64, np.uint8):
        x = np.asarray(counts > 1 if kind is bool else counts, kind)
        data = read_expression(h5ad(tmp_path / "a.h5ad", x))
        np.testing.assert_array_equal(data.x, x[:, [g in data.genes for g in GENES]])
    for kind in (str, complex):
        np.savez(tmp_path / "a.npz", X=X.astype(kind), genes=GENES)
        with pytest.raises(ValueError, match="expected real numbers, found values of type"):
            read_expression(tmp_path / "a.npz")


@pytest.mark.parametrize("cell", ["5,25", "11,000", "1,234.5"])
def test_commas_in_numbers_are_told(tmp_path, cell):
    lines = ["\t".join(["", "A", "B"]), *("\t".join([f"c{i}", "1", cell]) for i in range(12))]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=f"found '{cell}'.*decimals with a point"):
        read_expression(tmp_path / "a.tsv", orientation="genes_in_columns")


@pytest.mark.parametrize("name", ["p_value", "pval", "padj", "q-value", "FDR", "rank", "lfsr"])
def test_columns_of_which_small_values_are_strong_are_no_weights(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"source,target,{name}\nA,B,0.01\n")
    with pytest.raises(ValueError, match="small values stand for strong edges"):
        read_network(tmp_path / "a.csv", weight=name)


def test_vectors_that_are_all_alike_are_refused(tmp_path):
    for value in (0, 1):
        np.savez(tmp_path / "v.npz", X=np.full((3, 4), float(value)), genes=list("ABC"))
        with pytest.raises(ValueError, match="all 3 genes have the same vector"):
            read_embedding(tmp_path / "v.npz")


def test_files_that_are_no_text_are_told_what_they_are(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, genes=GENES)
    for path, said in ((h5ad(tmp_path / "a.h5ad"), "HDF5"), (tmp_path / "a.npz", "an archive")):
        with pytest.raises(ValueError, match=f"expected text, found {said}"):
            read_regulators(path)
