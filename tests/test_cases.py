"""What users of neighbouring tools reported, at the command line: a right result, or a refusal.

Situations that a test of their reader covers are not repeated here.
"""

import tomllib

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from test_screens import GENES, IDS, TARGETS, named
from typer.testing import CliRunner

from infosem_jax.cli.app import app
from infosem_jax.data import read_expression
from infosem_jax.data.dataset import normalise

ONE = {"JAX_NUM_CPU_DEVICES": "1"}
COUNTS = np.random.default_rng(0).poisson(
    np.random.default_rng(1).uniform(1, 9, len(GENES)), (len(TARGETS), len(GENES))
)
CELLS = [f"c{i}" for i in range(len(TARGETS))]


def run(folder, words):
    """Run a command in a folder, and return its exit status with what it said."""
    done = CliRunner().invoke(app, [*words.split(), "--out", str(folder / "out")], env=ONE)
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done.exit_code, " ".join(done.output.split())


def write(path, x=COUNTS, obs=None, var=None, uns=None):
    labels = {"perturbation": named(lambda i, gene: gene)} if obs is None else obs
    var = pd.DataFrame(index=list(GENES)) if var is None else var
    adata = anndata.AnnData(
        sparse.csr_matrix(np.asarray(x, np.float32)), pd.DataFrame(labels, CELLS), var, uns=uns
    )
    adata.write_h5ad(path)


# What perturbations there are.


@pytest.mark.parametrize(
    ("obs", "options", "said"),
    [
        # Mixscape: one column says whether, another what; and coordinates beside the target.
        ({"perturbation": named(lambda i, gene: "Perturbed", "NT")}, "",
         r"name the column"),
        ({"perturbation": named(lambda i, gene: "Perturbed", "NT"),
          "gene_target": named(lambda i, gene: gene, "NT")}, "",
         "obs['gene_target']"),
        ({"perturbation": named(lambda i, gene: gene, f"chr1.{7}_top_two")}, "",
         "no cell is a control"),
        pytest.param(
            {"perturbation": named(lambda i, gene: f"{gene}_pDS{i % 3}", "62(mod)_pBA581")},
            "--control 62(mod)_pBA581", "10 of 10 perturbed genes are measured",
            marks=pytest.mark.slow),
        pytest.param(
            {"condition": named(lambda i, gene: "IFNB1"),
             "target_gene": named(lambda i, gene: gene)},
            "", "obs['target_gene']", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_screen_is_told_or_refused(tmp_path, obs, options, said):
    write(tmp_path / "s.h5ad", obs=obs)
    status, text = run(tmp_path, f"perturbation fit {tmp_path}/s.h5ad --method mean {options}")
    assert said in text and status == (2 if said.startswith("n") else 0), text


@pytest.mark.parametrize(
    "words",
    ["perturbation fit {} --method mean",
     *(pytest.param(own, marks=pytest.mark.slow) for own in ("fit {}", "fit {} --stream"))],
)  # fmt: skip
def test_what_is_beside_the_matrix_and_unreadable_does_not_matter(tmp_path, words):
    write(tmp_path / "s.h5ad")
    write(tmp_path / "odd.h5ad")
    with h5py.File(tmp_path / "odd.h5ad", "r+") as file:
        group = file["uns"].create_group("future")
        group.attrs["encoding-type"], group.attrs["encoding-version"] = "awkward-ng", "9.0.0"
        file["layers/counts"] = h5py.SoftLink("/X")
        # More than would ever be read, in a file that has nothing of it.
        file.create_dataset("uns/declared", (2**24, 2**20), "f4", chunks=(1024, 1024))
    status, text = run(tmp_path, words.format(tmp_path / "odd.h5ad"))
    assert status == 0, text
    one = read_expression(tmp_path / "s.h5ad")
    np.testing.assert_array_equal(one.x, read_expression(tmp_path / "odd.h5ad").x)


# Units.

CP10K = 1e4 * COUNTS / COUNTS.sum(1, keepdims=True)
LINEAR = {
    "cp10k": CP10K,
    "counts": COUNTS,
    "ambient": 8 * COUNTS * np.random.default_rng(2).uniform(0.9, 1, COUNTS.shape),
}


@pytest.mark.parametrize(
    "name",
    ["cp10k", *(pytest.param(name, marks=pytest.mark.slow) for name in ("counts", "ambient"))],
)
@pytest.mark.parametrize("options", ["", "--stream"])
def test_linear_values_become_logarithms(tmp_path, name, options):
    """They were taken for logarithms where they were no whole numbers."""
    write(tmp_path / "s.h5ad", LINEAR[name])
    status, text = run(tmp_path, f"fit {tmp_path}/s.h5ad {options}")
    assert status == 0, text
    settings = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert settings["exact"]["normalisation"] == "log1p_cpm_zscore"
    (tmp_path / "own.toml").write_text('[exact]\nnormalisation = "zscore"\n')
    status, text = run(
        tmp_path, f"fit {tmp_path}/s.h5ad {options} --overwrite --config {tmp_path}/own.toml"
    )
    assert status == 2 and "Use 'log1p_cpm_zscore', which takes logarithms" in text, text


# Names.


def test_repeated_cells_and_constant_genes_are_no_obstacle(tmp_path):
    x = np.log1p(COUNTS)
    x[:, 3], x[5] = 1.0, 0.0
    frame = pd.DataFrame(x, [str(i % 7) for i in range(len(x))], list(GENES))
    frame.to_csv(tmp_path / "x.csv")
    (tmp_path / "tfs.txt").write_text("\n".join(GENES[:5]))
    status, text = run(tmp_path, f"fit {tmp_path}/x.csv --regulators {tmp_path}/tfs.txt")
    assert status == 0 and "same value in every cell (KLF1)" in text, text
    for said in ("without any value", "numbered"):
        assert said in text, text


def test_regulators_in_other_case_are_found_and_a_match_by_chance_is_refused(tmp_path):
    """One of 301 was taken for a match."""
    x = np.random.default_rng(0).gamma(2.0, 1.0, (30, 120))
    genes = [*GENES[:20], *(f"A{i}" for i in range(100))]
    pd.DataFrame(x, [f"c{i}" for i in range(30)], genes).to_csv(tmp_path / "x.csv")
    mouse = [gene.capitalize() for gene in GENES[:10]]
    data = read_expression(tmp_path / "x.csv", regulators=mouse)
    assert data.regulators == GENES[:10] and "10 in other case" in data.notes[0]
    (tmp_path / "tfs.txt").write_text("\n".join(["TP53", *(f"B{i}" for i in range(300))]))
    status, text = run(tmp_path, f"fit {tmp_path}/x.csv --regulators {tmp_path}/tfs.txt")
    assert status == 2 and "Only 1 of the 301 regulators is among the 120 genes" in text, text


def test_genes_by_identifier_are_told_where_symbols_are(tmp_path):
    versions = [f"{name}.{i % 5 + 1}" for i, name in enumerate(IDS)]
    var = pd.DataFrame({"feature_name": pd.Categorical(GENES)}, index=versions)
    write(tmp_path / "s.h5ad", np.log1p(COUNTS), var=var)
    for names, status in ((GENES[:6], 2), (IDS[:6], 0)):
        (tmp_path / "tfs.txt").write_text("\n".join(names))
        words = f"fit {tmp_path}/s.h5ad --regulators {tmp_path}/tfs.txt"
        found, text = run(tmp_path, words)
        assert found == status, text
    (tmp_path / "tfs.txt").write_text("\n".join(GENES[:6]))
    found, text = run(tmp_path, f"{words} --overwrite")
    assert found == 2 and "feature_name of var holds 6 of 6" in text and "--var-names" in text
    assert run(tmp_path, f"{words} --overwrite --var-names feature_name")[0] == 0


@pytest.mark.slow
def test_totals_of_all_genes_undo_what_cutting_to_variable_genes_does(tmp_path):
    """Genes that do not change are not turned against those that do."""
    rng = np.random.default_rng(0)
    rate = np.tile(rng.lognormal(0, 1.2, 2000), (200, 1))
    rate[rng.random(200) < 0.5, :20] *= 25
    counts = rng.poisson(rate / rate.sum(1, keepdims=True) * rng.lognormal(8, 0.3, (200, 1)))
    few = np.r_[:20, 100:140]
    few = few[counts[:, few].std(0) > 0]
    obs = pd.DataFrame({"total_counts": counts.sum(1)}, [f"c{i}" for i in range(200)])
    var = pd.DataFrame(index=[f"G{i}" for i in few])
    anndata.AnnData(counts[:, few].astype(np.float32), obs, var).write_h5ad(tmp_path / "x.h5ad")
    data = normalise(read_expression(tmp_path / "x.h5ad"), "log1p_cpm_zscore")
    own = normalise(read_expression(tmp_path / "x.h5ad")._replace(totals=None), "log1p_cpm_zscore")
    moving = np.asarray([int(gene[1:]) < 20 for gene in data.genes])
    between = [np.corrcoef(x, rowvar=False)[np.ix_(moving, ~moving)].mean() for x in
               (data.x, own.x)]  # fmt: skip
    assert abs(between[0]) < 0.06 < 0.1 < abs(between[1])


@pytest.mark.parametrize("command", ["activity", "contrast"])
def test_columns_of_cells_are_found_by_place_where_names_repeat(tmp_path, command):
    """Cells of one name, as of two files put together, ended in a KeyError."""
    groups = ["a" if i < len(CELLS) / 2 else "b" for i in range(len(CELLS))]
    obs = {"condition": groups, "batch": [str(i % 3) for i in range(len(CELLS))]}
    write(tmp_path / "one.h5ad", obs=obs)
    twice = anndata.read_h5ad(tmp_path / "one.h5ad")
    twice.obs_names = [f"c{i % 60}" for i in range(len(CELLS))]
    twice.write_h5ad(tmp_path / "twice.h5ad")
    (tmp_path / "tfs.txt").write_text("\n".join(GENES[:5]))
    how = f"--regulators {tmp_path}/tfs.txt --groupby condition --covariates batch"
    how += " --shuffles 0" * (command == "contrast")
    told = {}
    for name in ("one", "twice"):
        status, text = run(tmp_path, f"{command} {tmp_path}/{name}.h5ad {how} --overwrite")
        assert status == 0 and ("numbered" in text) == (name == "twice"), text
        told[name] = pd.read_csv(tmp_path / "out" / "regulators.csv")
    pd.testing.assert_frame_equal(told["one"], told["twice"])


def test_cells_without_a_group_are_no_group(tmp_path):
    """They were one that is called nan."""
    obs = {"condition": ["a", "b"] * (len(CELLS) // 2)}
    obs["condition"][:3] = [None] * 3
    write(tmp_path / "s.h5ad", obs=obs)
    for words in ("activity {} --groupby condition", "compare {} --states condition"):
        status, text = run(tmp_path, words.format(tmp_path / "s.h5ad"))
        assert status == 2 and "3 of 180 cells have no value in obs['condition']" in text, text


def test_a_line_that_was_shown_is_not_shown_again(tmp_path):
    write(tmp_path / "s.h5ad")
    names = [*GENES[:5], *(gene.capitalize() for gene in GENES[5:])]
    vectors = np.random.default_rng(0).normal(size=(len(GENES), 3))
    np.savez(tmp_path / "v.npz", X=vectors, genes=names)
    status, text = run(tmp_path, f"fit {tmp_path}/s.h5ad --effect gene-similarity={tmp_path}/v.npz")
    assert status == 0 and text.count("match when case is ignored") == 1, text
