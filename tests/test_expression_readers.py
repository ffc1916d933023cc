"""Readers of expression: round trips, the layouts of others, and clear words on damage."""

import gzip
import json
import string

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from gct_files import write_gct, write_gctx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infosem_jax.expression.gct import read_gct, read_gctx
from infosem_jax.expression.profiles import make_profiles
from infosem_jax.expression.readers import (
    read_gene_table,
    read_gse92743,
    read_landmarks,
    read_profiles,
)
from infosem_jax.expression.splits import ordered_split
from infosem_jax.expression.task import make_task

quick = settings(
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

GCT13 = """#1.3
2\t3\t2\t1
id\tpr_gene_symbol\tpr_is_lm\tp1:A\tp1:B\tp1:C
pert_type\tna\tna\ttrt\t-666\tctl
5720\tPSME1\t1\t1.5\t-2\t3e-1
7157\tNA\t0\t4\t5\t6
"""
GCT12 = "#1.2\n2\t2\nNAME\tDescription\ts1\ts2\n200814_at\tPSME1\t1\t2\n201_at\tnan\t3\t4.25\n"


def profiles(samples=5, genes=7, seed=0, **labels):
    x = np.random.default_rng(seed).normal(8, 2, (samples, genes))
    return make_profiles(x, [f"{i}" for i in range(genes)], labels=labels)


name = st.text(string.ascii_letters + string.digits + " _-:/é'\"#", min_size=1, max_size=8)
number = st.floats(-(2.0**99), 2.0**99, width=32)


@quick
@given(st.data())
def test_gct_gives_back_what_was_written(tmp_path, data):
    n, g = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    names = st.lists(name.filter(str.strip), min_size=max(n, g), max_size=max(n, g), unique=True)
    genes, samples = data.draw(names)[:g], data.draw(names)[:n]
    x = data.draw(arrays(np.float32, (n, g), elements=number))
    label = data.draw(st.lists(name, min_size=n, max_size=n))
    label = [value if value not in ("-666", "-666.0") else "" for value in label]
    # Readers give back any number; profiles refuse those that mark missing values.
    written = make_profiles(np.ones_like(x), genes, samples, {"tissue": np.array(label)})
    written = written._replace(x=x)
    for write, read, file in (
        (write_gct, read_gct, tmp_path / "x.gct"),
        (write_gctx, read_gctx, tmp_path / "x.gctx"),
    ):
        write(file, written)
        found = read(file)
        np.testing.assert_array_equal(found.x, written.x)
        ends = " " if read is read_gctx else ""
        assert found.genes["id"].tolist() == [each.rstrip(ends) if ends else each for each in genes]
        strip = (lambda s: s.rstrip()) if ends else (lambda s: s)
        assert found.samples["id"].tolist() == list(map(strip, samples))
        assert found.samples["tissue"].tolist() == list(map(strip, label))


def test_gct_of_both_versions(tmp_path):
    (tmp_path / "a.gct").write_text(GCT13)
    found = read_profiles(tmp_path / "a.gct")
    assert found.genes == ("5720", "7157") and found.samples == ("p1:A", "p1:B", "p1:C")
    np.testing.assert_allclose(found.x, [[1.5, 4], [-2, 5], [0.3, 6]])
    assert found.labels["pert_type"].tolist() == ["trt", "", "ctl"]
    assert found.name == "a"
    named = read_profiles(tmp_path / "a.gct", names="pr_gene_symbol")
    assert named.genes == ("PSME1", "NA")
    with pytest.raises(ValueError, match=r"'symbol' of its genes, found id, pr_gene_symbol, pr_is"):
        read_profiles(tmp_path / "a.gct", names="symbol")
    (tmp_path / "tabs.gct").write_text(GCT13.replace("\n", "\t\t\n"))
    tabs = read_profiles(tmp_path / "tabs.gct")
    assert tabs.genes == found.genes and (tabs.x == found.x).all()
    with gzip.open(tmp_path / "b.gct.gz", "wt") as stream:
        stream.write(GCT12)
    found = read_profiles(tmp_path / "b.gct.gz", names="Description")
    assert found.genes == ("PSME1", "nan") and found.x.tolist() == [[1, 3], [2, 4.25]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("#1.1\n", "expected #1.2 or #1.3"),
        ("#1.3\n2\t3\n", "expected 4 numbers"),
        ("#1.2\n2\tx\n", "expected 2 numbers"),
        (GCT13.replace("2\t3\t2\t1", "3\t3\t2\t1"), "declares 3 genes .* found 2 lines"),
        (GCT13.replace("2\t3\t2\t1", "2\t4\t2\t1"), "expected 7 fields in line 3"),
        (GCT13.replace("3e-1", "many"), "found 'many' for gene '5720' in sample 'p1:C'"),
        (GCT13[: GCT13.index("7157")], "declares 2 genes .* found 1 lines"),
        (GCT13[: GCT13.index("5720")], "declares 2 genes .* found 0 lines"),
        (GCT13.replace("\t6\n", "\t-666\n"), "1 values of x are -666"),
        (GCT13.replace("\t6\n", "\tnan\n"), "expected finite values|expected numbers"),
    ],
)
def test_damaged_gct(tmp_path, text, message):
    file = tmp_path / "x.gct"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_profiles(file)
    assert "x" in str(error.value)


def gctx(path, x, genes, samples, **annotations):
    """Write the layout of the Connectivity Map: fixed-length bytes, compressed annotations."""
    with h5py.File(path, "w") as file:
        file.attrs["version"] = np.bytes_("GCTX1.0")
        file.create_dataset("0/DATA/0/matrix", data=x, chunks=True)
        for side, ids in (("ROW", genes), ("COL", samples)):
            values = np.array([f"{each:<12}".encode() for each in ids])
            file.create_dataset(f"0/META/{side}/id", data=values, compression=6)
        for key, value in annotations.items():
            file.create_dataset(f"0/META/{key}", data=value)
    return path


def test_gctx_in_the_layout_of_others(tmp_path):
    x = np.arange(12, dtype=np.float64).reshape(3, 4)
    file = gctx(
        tmp_path / "level3.gctx", x, ["5720", "466", "6009", "2309"], ["s1", "s2", "s3"],
        **{"ROW/pr_gene_symbol": [b"PSME1", b"ATF1", b"RHEB", b"FOXO3"],
           "COL/pert_time": np.array([24, -666, 6])},
    )  # fmt: skip
    found = read_profiles(file, names="pr_gene_symbol", unit="L1000 level 3")
    assert found.genes == ("PSME1", "ATF1", "RHEB", "FOXO3") and found.samples == ("s1", "s2", "s3")
    np.testing.assert_array_equal(found.x, x)
    assert found.labels["pert_time"].tolist() == ["24", "", "6"]
    part = read_gctx(file, genes=["2309", "466"], samples=["s3", "s1"])
    np.testing.assert_array_equal(part.x, x[[2, 0]][:, [3, 1]])
    assert part.samples["id"].tolist() == ["s3", "s1"]
    assert part.genes["pr_gene_symbol"].tolist() == ["FOXO3", "ATF1"]
    with pytest.raises(ValueError, match="does not hold 1 of 2 genes: 7157; its ids look like 572"):
        read_gctx(file, genes=["7157", "466"])


def test_damaged_gctx(tmp_path):
    good = tmp_path / "good.gctx"
    write_gctx(good, profiles(60, 400))
    content = good.read_bytes()
    for i, share in enumerate((0.001, 0.1, 0.5, 0.95)):
        cut = tmp_path / f"cut{i}.gctx"
        cut.write_bytes(content[: int(len(content) * share) + 1])
        with pytest.raises(ValueError, match=f"cut{i}.gctx: cannot be used as"):
            read_profiles(cut)
    (tmp_path / "zip.gctx").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"zip\.gctx.* compressed by gzip; gunzip"):
        read_profiles(tmp_path / "zip.gctx")
    (tmp_path / "text.gctx").write_text(GCT13)
    with pytest.raises(ValueError, match=r"text\.gctx"):
        read_profiles(tmp_path / "text.gctx")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_profiles(tmp_path / "none.gctx")
    with h5py.File(tmp_path / "empty.gctx", "w") as file:
        file["other"] = 1
    with pytest.raises(ValueError, match=r"empty\.gctx.* it has no 0/DATA/0/matrix"):
        read_profiles(tmp_path / "empty.gctx")
    turned = gctx(tmp_path / "turned.gctx", np.ones((4, 3)), ["1", "2", "3", "4"], ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"3 samples x 4 genes, found shape \(4, 3\)"):
        read_profiles(turned)
    short = gctx(
        tmp_path / "short.gctx", np.ones((2, 3)), ["1", "2", "3"], ["a", "b"],
        **{"COL/cell": [b"x"]},
    )  # fmt: skip
    with pytest.raises(ValueError, match="COL/cell for each of 2 ids, found 1"):
        read_profiles(short)


def test_npz_of_the_shared_form(tmp_path):
    x = np.arange(6).reshape(2, 3)
    np.savez(
        tmp_path / "x.npz", X=x, samples=["a", "b"], gene_symbol=["TP53", "", ""],
        entrez=["7157", "1", ""], ensembl=["", "ENSG1", ""], tissue=["lung", "liver"],
    )  # fmt: skip
    found = read_profiles(tmp_path / "x.npz", unit="counts")
    assert found.genes == ("TP53", "ENSG1") and found.x.tolist() == [[0, 1], [3, 4]]
    assert found.labels["tissue"].tolist() == ["lung", "liver"] and found.unit == "counts"
    assert read_profiles(tmp_path / "x.npz", names="entrez").genes == ("7157", "1")
    for arrays_, message in (
        ({"X": x}, "expected X"),
        ({"X": x, "genes": ["A", "B"]}, "expected 3 names of genes each"),
        ({"X": np.full((2, 3), "a"), "genes": list("ABC")}, "expected numbers in X"),
    ):
        np.savez(tmp_path / "y.npz", **arrays_)
        with pytest.raises(ValueError, match=message):
            read_profiles(tmp_path / "y.npz")


def test_h5ad_and_tables(tmp_path):
    data = profiles(4, 3)
    obs = pd.DataFrame({"tissue": list("abab")}, index=list(data.samples))
    adata = ad.AnnData(data.x, obs, pd.DataFrame(index=list("ABC")))
    adata.layers["log"] = data.x + 1
    adata.write_h5ad(tmp_path / "x.h5ad")
    found = read_profiles(tmp_path / "x.h5ad", layer="log")
    assert found.genes == ("A", "B", "C") and found.labels["tissue"].tolist() == list("abab")
    np.testing.assert_array_equal(found.x, data.x + 1)
    pd.DataFrame(data.x.T, list("ABC"), list(data.samples)).to_csv(tmp_path / "x.tsv", sep="\t")
    with pytest.raises(ValueError, match=r"choose orientation=.*--orientation genes_in_rows"):
        read_profiles(tmp_path / "x.tsv")
    found = read_profiles(tmp_path / "x.tsv", orientation="genes_in_rows")
    assert found.genes == ("A", "B", "C") and found.samples == data.samples
    np.testing.assert_allclose(found.x, data.x, rtol=1e-6)
    for arguments, message in (
        ({"layer": "log"}, "only .h5ad files have layers"),
        ({"names": "symbol"}, "leave names out"),
    ):
        with pytest.raises(ValueError, match=message):
            read_profiles(tmp_path / "x.tsv", orientation="genes_in_rows", **arguments)


@pytest.mark.parametrize("title", ["gene", "pr_gene_symbol", "Gene_Symbol"])
def test_a_title_above_a_list_of_genes_is_no_gene(tmp_path, title):
    (tmp_path / "genes.txt").write_text(f"{title}\nTP53\nMYC\n")
    assert read_landmarks(tmp_path / "genes.txt") == ("TP53", "MYC")


def test_landmarks_from_tables_lists_and_json(tmp_path, real_data):
    folder = real_data / "l1000"
    landmarks = read_landmarks(folder / "geneinfo_beta.tsv.gz")
    assert len(landmarks) == 978 and "PSME1" in landmarks
    numbers = read_landmarks(folder / "geneinfo_beta.tsv.gz", names="gene_id")
    author = read_landmarks(
        folder / "kim2025_gene_selections.json.gz", key="landmark_970_in_author_order"
    )
    assert len(author) == 970 and set(author) <= set(numbers) and author[0] == "5720"
    with pytest.raises(ValueError, match="choose from landmark_970_in_author_order, genes_12320"):
        read_landmarks(folder / "kim2025_gene_selections.json.gz", key="note")
    dgex = folder / "dgex_gene_map_943lm_9520tg.tsv.gz"
    assert len(read_landmarks(dgex)) == len(read_landmarks(dgex, names="probe")) == 943
    assert list(read_gene_table(dgex)) == ["gene_symbol", "ensembl_id", "probe", "feature_space"]
    (tmp_path / "list.txt").write_text("TP53\n\nPSME1\n")
    assert read_landmarks(tmp_path / "list.txt") == ("TP53", "PSME1")
    (tmp_path / "chosen.csv").write_text("place,gene\n1,TP53\n2,PSME1\n")
    assert read_landmarks(tmp_path / "chosen.csv") == ("TP53", "PSME1")
    (tmp_path / "list.json").write_text(json.dumps([5720, 466]))
    assert read_landmarks(tmp_path / "list.json") == ("5720", "466")
    (tmp_path / "blank.txt").write_text("\n")
    with pytest.raises(ValueError, match="found none"):
        read_landmarks(tmp_path / "blank.txt")
    (tmp_path / "table.csv").write_text("symbol,length\nTP53,5\n")
    with pytest.raises(ValueError, match="columns feature_space and gene_symbol, found gene_sym"):
        read_landmarks(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_text("name,length\nTP53,5\n")
    with pytest.raises(ValueError, match="expected a column gene_symbol"):
        read_gene_table(tmp_path / "table.csv")


def test_the_pair_of_the_paper_on_a_small_file_of_its_form(tmp_path, real_data):
    table = read_gene_table(real_data / "l1000" / "geneinfo_beta.tsv.gz")
    genes = table["gene_id"].tolist()[-40:]
    samples = [f"GTEX-{i}" for i in range(30)]
    rng = np.random.default_rng(0)
    levels, sequenced = rng.uniform(2, 15, (30, 40)), rng.uniform(0, 12, (30, 40))
    order = rng.permutation(30)
    one = gctx(tmp_path / "l1000.gctx", levels.astype("f4"), genes, samples)
    two = gctx(
        tmp_path / "rnaseq.gctx", sequenced[order].astype("f4"), genes, np.array(samples)[order]
    )
    a, b = read_gse92743(one, two, table)
    assert a.samples == b.samples == tuple(samples) and a.unit == "L1000 level 3"
    assert a.genes == tuple(table["gene_symbol"].tolist()[-40:])
    np.testing.assert_allclose(b.x, sequenced, rtol=1e-6)
    assert read_gse92743(one, two)[0].genes == tuple(genes)
    problem = make_task((a, b), a.genes[:5], ordered_split(30, 20, 5), scaling="max")
    assert problem.samples == tuple(samples[25:])
    assert problem.x_scaling.scale[0] == np.float32(levels[:20, :5].max())
    assert problem.y_scaling.scale[0] == np.float32(sequenced[:20].max())
