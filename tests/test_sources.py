"""Which matrix, names and totals are read of a file, and what is said of the others."""

from functools import partial

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

from infosem_jax import expression
from infosem_jax.cli.app import app
from infosem_jax.data.dataset import normalise
from infosem_jax.data.io import read_expression, read_groups
from infosem_jax.data.stream import open_stream, read_block
from infosem_jax.embedding import read_study
from infosem_jax.expression.gct import read_gctx
from infosem_jax.perturbation import read_cells

GENES = [f"GENE{i}" for i in range(24)]
IDS = [f"ENSG{100000 + i:011d}.{i % 9 + 1}" for i in range(24)]
COUNTS = np.random.default_rng(0).poisson(4, (30, 24)).astype(np.float32)
LOGS = np.log1p(COUNTS)


def h5ad(path, x=COUNTS, *, index=GENES, raw=None, obs=None, **columns):
    cells = [f"c{i}" for i in range(len(x))]
    adata = anndata.AnnData(
        sparse.csr_matrix(x), pd.DataFrame(obs, index=cells), pd.DataFrame(columns, index=index)
    )
    if raw is not None:
        adata.raw = anndata.AnnData(sparse.csr_matrix(raw), adata.obs, adata.var)
    adata.write_h5ad(path)
    return path


def test_raw_is_read_by_every_system(tmp_path):
    path = h5ad(tmp_path / "a.h5ad", LOGS - LOGS.mean(0), raw=COUNTS, obs={"t": ["a", "b"] * 15})
    np.testing.assert_array_equal(read_expression(path, layer="raw").x, COUNTS)
    np.testing.assert_array_equal(expression.read_profiles(path, layer="raw").x, COUNTS)
    np.testing.assert_array_equal(read_study(path, layer="raw").x, COUNTS)
    assert open_stream(path, layer="raw", normalisation="none").n_cells == 30
    assert read_groups(path, "t", layer="raw", min_cells=10)["a"].x.max() == COUNTS[::2].max()
    message = r"values are negative.*another matrix of the file: raw \(--layer"
    for read in (read_expression, expression.read_profiles, read_study, open_stream):
        with pytest.raises(ValueError, match=message):
            read(path)


def test_genes_are_named_by_a_column_and_where_it_is_refused_that_column_is_told(tmp_path):
    path = h5ad(tmp_path / "a.h5ad", LOGS, index=IDS, feature_name=pd.Categorical(GENES))
    for read in (read_expression, open_stream):
        with pytest.raises(ValueError, match=r"feature_name of var holds 5 of 5.*--var-names"):
            read(path, regulators=GENES[:5])
        found = read(path, regulators=GENES[:5], names="feature_name")
        assert found.genes == tuple(GENES) and found.regulators == tuple(GENES[:5])
    assert expression.read_profiles(path, names="feature_name").genes == tuple(GENES)
    assert read_study(path, names="feature_name").symbols == tuple(GENES)
    with pytest.raises(ValueError, match=r"var has no column 'x'; its columns are: feature_name"):
        read_expression(path, names="x")


def test_a_column_of_text_called_regulator_does_not_matter_where_regulators_are_given(tmp_path):
    path = h5ad(tmp_path / "a.h5ad", LOGS, regulator=["yes"] * 24)
    for read in (read_expression, open_stream):
        assert read(path, regulators=GENES[:5]).regulators == tuple(GENES[:5])


@pytest.mark.parametrize("column", ["total_counts", "n_counts", "nCount_RNA"])
def test_totals_are_those_of_all_genes_where_obs_tells_them(tmp_path, column):
    total = COUNTS.sum(1) * np.random.default_rng(1).uniform(5, 50, 30)
    path = h5ad(tmp_path / "a.h5ad", obs={column: total})
    data = read_expression(path)
    assert f"obs['{column}'], of more genes" in data.notes[0]
    expected = np.log1p(1e6 * COUNTS / total.astype(np.float32)[:, None])
    np.testing.assert_allclose(normalise(data, "log1p_cpm").x, expected, rtol=1e-5)
    stream = open_stream(path, normalisation="log1p_cpm")
    block = read_block(stream, np.arange(30))
    np.testing.assert_allclose(block.values.sum(1), expected.sum(1), rtol=1e-5)
    assert f"obs['{column}'], of more genes" in stream.notes[0]
    assert stream.fingerprint != open_stream(h5ad(path), normalisation="log1p_cpm").fingerprint
    # Those of the same genes, of fewer, and of logarithms change nothing.
    for x, other in ((COUNTS, COUNTS.sum(1)), (COUNTS, COUNTS.sum(1) / 2), (LOGS, total)):
        assert read_expression(h5ad(path, x, obs={column: other})).totals is None


OTHERS = ["Antibody Capture"] * 3 + ["CRISPR Guide Capture", "Peaks"]


@pytest.mark.parametrize("kind", ["Gene Expression", "GEX"])
def test_features_that_are_no_genes_are_left_out_by_every_reader(tmp_path, caplog, kind):
    """As of CITE-seq and multiome; and totals over all features are not those of genes."""
    caplog.set_level("INFO")
    every = np.insert(COUNTS, [0, 0, 10, 24, 24], 900.0, axis=1)
    names = list(np.insert(np.array(GENES, object), [0, 0, 10, 24, 24], list("PQRST")))
    kinds = list(np.insert(np.array([kind] * 24, object), [0, 0, 10, 24, 24], OTHERS))
    label = ["control"] * 10 + ["GENE1", "GENE2"] * 10
    obs = {"total_counts": every.sum(1), "perturbation": label}
    path = h5ad(tmp_path / "a.h5ad", every, index=names, obs=obs, feature_types=kinds)
    genes = h5ad(tmp_path / "genes.h5ad", obs={"perturbation": label})
    said = "left out 5 features of other kinds than genes: Antibody Capture (3), "
    for read in (read_expression, partial(read_groups, groupby="perturbation")):
        found, only = read(path), read(genes)
        for a, b in zip(*([own] if read is read_expression else own.values()
                          for own in (found, only)), strict=True):  # fmt: skip
            np.testing.assert_array_equal(a.x, b.x)
            assert a.genes == b.genes and a.totals is None and said in a.notes[0]
    for own in (read_cells, expression.read_profiles, read_study):
        np.testing.assert_array_equal(own(path).x, own(genes).x)
    assert said in read_cells(path).notes[0] and said in expression.read_profiles(path).notes[0]
    assert sum(said in text for text in caplog.messages) == 3, caplog.messages
    streams = open_stream(path, normalisation="auto"), open_stream(genes, normalisation="auto")
    np.testing.assert_array_equal(streams[0].mean, streams[1].mean)
    values = [read_block(own, np.arange(30)).values for own in streams]
    np.testing.assert_array_equal(*values)
    assert said in streams[0].notes[0]
    assert sum(said in text for text in caplog.messages) == 4, caplog.messages


def test_features_of_one_kind_are_what_a_fit_is_asked_for(tmp_path):
    for kind in ("Antibody Capture", "protein_coding"):
        path = h5ad(tmp_path / "a.h5ad", LOGS, feature_types=[kind] * 24)
        assert read_expression(path).genes == tuple(GENES)


def test_columns_that_describe_cells_are_no_genes(tmp_path):
    frame = pd.DataFrame(LOGS, columns=GENES, index=[f"c{i}" for i in range(30)])
    own = {"n_counts": COUNTS.sum(1), "leiden": np.arange(30) % 3, "pct_counts_mt": 0.1,
           "percent.mt": 0.2, "nCount_RNA": 3.0, "louvain_r1.0": np.arange(30) % 2,
           "timepoint": np.arange(30) % 4, "cluster_id": np.arange(30) % 5,
           "label": np.arange(30) % 2}  # fmt: skip
    frame.assign(**own).to_csv(tmp_path / "a.csv")
    data = read_expression(tmp_path / "a.csv", regulators=GENES[:3])
    assert data.genes == tuple(GENES)
    assert "left out 9 columns that describe cells and are no genes (n_counts" in data.notes[0]
    found = expression.read_profiles(tmp_path / "a.csv", orientation="genes_in_columns")
    assert found.genes == tuple(GENES) and "left out 9 columns" in found.notes[0]
    path = h5ad(tmp_path / "a.h5ad", LOGS, index=[*GENES[:22], "n_counts", "leiden"])
    assert open_stream(path).genes == tuple(GENES[:22])


def test_genes_that_a_spreadsheet_spoilt_are_told(tmp_path):
    names = ["1-Mar", "2-Sep", "2001-03-01", *GENES[3:]]
    frame = pd.DataFrame(LOGS, columns=names, index=[f"c{i}" for i in range(30)])
    frame.to_csv(tmp_path / "a.csv")
    notes = read_expression(tmp_path / "a.csv", regulators=GENES[3:6]).notes
    assert [note for note in notes if "3 genes are called by dates (1-Mar, 2-Sep, 2001" in note]
    assert not read_expression(h5ad(tmp_path / "a.h5ad", LOGS)).notes


def test_columns_that_describe_genes_are_no_cells(tmp_path):
    frame = pd.DataFrame(COUNTS.T, GENES, [f"c{i}" for i in range(30)])
    left_out = pd.DataFrame(np.arange(60).reshape(2, 30), ["__no_feature", "N_unmapped"],
                            frame.columns)  # fmt: skip
    frame = pd.concat([left_out, frame])
    for name, value in (("Length", range(900, 926)), ("entrez", range(26)), ("Strand", "+")):
        frame.insert(0, name, value)
    text = "# Program:featureCounts v2.0.1\n" + frame.to_csv(sep="\t", index_label="Geneid")
    (tmp_path / "a.txt").write_text(text)
    data = read_expression(tmp_path / "a.txt", regulators=GENES[:3])
    np.testing.assert_array_equal(data.x, COUNTS)
    assert "left out 2 columns that describe genes and are no cells (entrez" in data.notes[1]
    found = expression.read_profiles(tmp_path / "a.txt", orientation="genes_in_rows")
    np.testing.assert_array_equal(found.x, COUNTS)
    assert "left out 2 columns that describe genes and are no samples" in found.notes[-1]


def test_values_that_mark_what_is_missing_are_refused(tmp_path):
    x = LOGS.copy()
    x[3, 4] = -666
    path = h5ad(tmp_path / "a.h5ad", x)
    for read in (read_expression, expression.read_profiles, read_study, open_stream):
        with pytest.raises(ValueError, match=r"-666|finite|negative"):
            read(path)


def labelled(path, tissue, n=60):
    rng = np.random.default_rng(0)
    return h5ad(path, rng.normal(6, 1, (n, 24)).clip(0), obs={"tissue": (tissue * n)[:n]})


def test_labels_that_training_never_had_are_refused_at_prediction(tmp_path):
    """They were predicted as if they had no label."""
    run = partial(CliRunner().invoke, env={"JAX_NUM_CPU_DEVICES": "1"})
    out = tmp_path / "model"
    data = labelled(tmp_path / "train.h5ad", ["liver", "lung", None])
    (tmp_path / "inputs.txt").write_text("\n".join(GENES[:6]))
    done = run(app, ["expression", "fit", str(data), "--inputs", str(tmp_path / "inputs.txt"),
                     "--method", "ridge", "--label", "tissue", "--out", str(out)])  # fmt: skip
    assert done.exit_code == 0, done.output
    for tissue, code, message in (
        (["kidney"], 2, "1 values of the label 'tissue' were not among the training samples"),
        (["Liver"], 2, "some differ in case only: Liver / liver"),
        (["liver"], 0, "Wrote"),
        (["liver", None], 0, "Wrote"),
    ):
        new = labelled(tmp_path / "new.h5ad", tissue, 5)
        done = run(app, ["expression", "predict", str(out), str(new), "--overwrite", "--out",
                         str(tmp_path / "x.h5ad")])  # fmt: skip
        text = " ".join(done.output.split())
        assert done.exit_code == code and message in text, text


def test_a_part_of_a_large_compendium_is_read(tmp_path):
    """What is asked for counts, and not what the file declares."""
    path = tmp_path / "big.gctx"
    n, genes = 2**16, 2**19
    with h5py.File(path, "w") as file:
        matrix = file.create_dataset("0/DATA/0/matrix", (n, genes), "f4", chunks=(1, genes))
        matrix[7] = np.arange(genes)
        file["0/META/ROW/id"] = np.arange(genes)
        file["0/META/COL/id"] = np.arange(n)
    found = read_gctx(path, samples=["7", "5"], genes=["3", "1"])
    np.testing.assert_array_equal(found.x, [[3, 1], [0, 0]])
    with pytest.raises(ValueError, match="at most 64 GiB are read"):
        read_gctx(path)
