"""infosem expression fit, predict and select: models that come back, trust, and refusals."""

import json
import shutil
import tomllib
import zipfile

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from infosem_jax.cli.app import app
from infosem_jax.expression import (
    METHODS,
    Config,
    fit,
    load,
    make_problem,
    make_profiles,
    make_task,
    predict,
    random_split,
    save,
    select,
    trust_table,
    unscale,
)
from infosem_jax.expression.fitting import Refitted
from infosem_jax.expression.methods import configured
from infosem_jax.expression.profiles import take_samples

GENES = tuple(f"G{i}" for i in range(24))
TISSUES = np.array(["liver", "skin", "lung", "brain", "eye"])
SMALL = {"layers": 1, "channels": 3, "neighbours": 2, "epochs": 4, "check_every": 2, "members": 2}


def profiles(n=50, seed=0, genes=24):
    rng = np.random.default_rng(seed)
    x = 6 + rng.normal(size=(n, 3)) @ np.random.default_rng(9).normal(size=(3, genes))
    x = (x + 0.3 * rng.normal(size=x.shape)).clip(0.01, 29)
    labels = {"tissue": TISSUES[np.arange(n) % 5]}
    return make_profiles(x, GENES[:genes], [f"s{seed}_{i}" for i in range(n)], labels)


def problem(covariates=(), scaling="standard"):
    p = profiles()
    parts = random_split(len(p.samples))
    return make_task(p, GENES[:8], parts, targets="rest", covariates=covariates, scaling=scaling)


def write(path, p, **arrays):
    arrays = {"X": p.x, "genes": np.array(p.genes), "samples": np.array(p.samples), **arrays}
    np.savez(path, **arrays)
    return path


@pytest.fixture
def files(tmp_path):
    p, new = profiles(), profiles(12, seed=1)
    write(tmp_path / "train.npz", p, **p.labels)
    few = new._replace(x=new.x[:, :12], genes=GENES[:12])
    write(tmp_path / "new.npz", few, **few.labels)
    (tmp_path / "inputs.txt").write_text("\n".join(GENES[:8]))
    return tmp_path


@pytest.mark.parametrize("scaling", ["standard", "max"])
@pytest.mark.parametrize("method", ["mean", "least_squares", "ridge", "knn"])
def test_kept_fits_infer_as_their_methods(method, scaling, tmp_path):
    own = problem("tissue", scaling)
    fitted = fit(own, config=Config(method=method), seeds=3)
    save(tmp_path / "model.npz", fitted)
    again = load(tmp_path / "model.npz")
    expected = unscale(METHODS[method].predict(own.task, 0), own.y_scaling)
    for each in (fitted, again):
        found = predict(each, own)
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(found.sd, expected.sd, rtol=1e-3, atol=2e-3)
    # Only methods that learn from single samples need keep them.
    assert isinstance(again.members[0], Refitted) == (method == "knn")


@pytest.mark.parametrize("changes", [{}, {"skip": "ridge", "covariate": "feature"}])
def test_kept_networks_infer_as_before(changes, tmp_path):
    own, told = problem("tissue"), []
    config = Config(method="graph", settings=SMALL | changes)
    fitted = fit(own, config=config, seeds=2, on_chunk=told.append)
    assert [each.done for each in told] == [0.5, 1, 1, 1.5, 2, 2]
    save(tmp_path / "model.npz", fitted)
    again = load(tmp_path / "model.npz")
    assert again.settings == fitted.settings and again.levels == fitted.levels
    before, after = (predict(each, own) for each in (fitted, again))
    np.testing.assert_array_equal(before.mean, after.mean)
    np.testing.assert_array_equal(before.sd, after.sd)
    # Two seeds: the mean of both, and a deviation that holds how far they differ.
    singles = [predict(fitted._replace(members=(m,)), own) for m in fitted.members]
    np.testing.assert_allclose(before.mean, np.mean([s.mean for s in singles], 0), rtol=1e-5)
    variance = np.mean([s.sd**2 for s in singles], 0) + np.var([s.mean for s in singles], 0)
    np.testing.assert_allclose(before.sd**2, variance, rtol=1e-4)


def test_random_methods_that_keep_samples_come_back(tmp_path):
    own, settings = problem(), {"hidden": [4], "epochs": 3}
    save(tmp_path / "model.npz", fit(own, config=Config(method="mlp", settings=settings)))
    expected = unscale(configured("mlp", settings).predict(own.task, 0), own.y_scaling)
    found = predict(load(tmp_path / "model.npz"), own)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-4, atol=1e-4)


def test_fit_chooses_genes_and_splits_samples_as_settings_say():
    p = profiles()
    config = Config(method="ridge", inputs=4, split="random")
    fitted = fit(p, config=config, key=3)
    parts = random_split(len(p.samples), seed=3)
    candidates = make_task(p, p.genes, parts).task
    assert fitted.inputs == select(candidates, 4, "greedy", 3).genes
    by_hand = make_task(p, fitted.inputs, parts, targets="rest")
    expected = unscale(METHODS["ridge"].predict(by_hand.task, 3), by_hand.y_scaling)
    found = predict(fitted, take_samples(p, parts.test))
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-3, atol=2e-3)
    landmarks = (*GENES[:3], "GENE")
    own = make_problem(p, landmarks, config=Config(split="random"))
    assert own.task.inputs == GENES[:3] and own.notes[1] == "The data hold 3 of 4 landmark genes."
    # Of two platforms, the samples that both have are kept, and all genes are inferred.
    other = take_samples(p, np.arange(40)[::-1])._replace(name="other")
    pair = make_problem((p, other), config=Config(inputs=GENES[:2]))
    assert pair.platforms == (p.name, "other") and pair.task.targets == GENES
    with pytest.raises(ValueError, match="names of landmark genes, found none"):
        fit(p)
    with pytest.raises(ValueError, match="inputs: expected landmarks, all, a number"):
        Config(inputs="hallmarks")


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "model.npz"
    save(path, fit(problem(), config=Config(method="ridge")))
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
    # What no checksum covers, such as the dates between members, does not matter.
    at = largest.header_offset + 30 + len(largest.filename) + largest.compress_size // 2
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.npz"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")


def test_trust_is_that_of_the_test_samples():
    own = problem()
    found = predict(fit(own, config=Config(method="ridge")), own)
    table = trust_table(own, found)
    truth = own.y_test * own.y_scaling.scale + own.y_scaling.location
    expected = [np.corrcoef(truth[:, i], found.mean[:, i])[0, 1] for i in range(16)]
    np.testing.assert_allclose(table["pearson"], expected, rtol=1e-4)
    np.testing.assert_allclose(table["mae"], np.abs(truth - found.mean).mean(0), rtol=1e-4)
    inside = (np.abs(truth - found.mean) <= 1.6448536 * found.sd).mean(0)
    np.testing.assert_allclose(table["within_90"], inside)


def test_fit_and_predict_complete_samples(files):
    out, done = files / "model", files / "completed.h5ad"
    fitted = call("fit", files / "train.npz", "--inputs", files / "inputs.txt", "--method", "ridge",
                  "--label", "tissue", "--show", "G9,G10", "--out", out)  # fmt: skip
    assert fitted.exit_code == 0, fitted.output
    assert {path.name for path in out.iterdir()} == {
        *("model.npz", "genes.csv", "config.toml", "versions.json", "report.html"),
    }
    trust = pd.read_csv(out / "genes.csv")
    assert trust["gene"].tolist() == list(GENES[8:]) and trust["pearson"].median() > 0.9
    assert tomllib.loads((out / "config.toml").read_text())["run"]["split"] == "stratified:tissue"
    assert "G9, G10" in (out / "report.html").read_text()
    assert "jax" in json.loads((out / "versions.json").read_text())
    predicted = call("predict", out, files / "new.npz", "--out", done)
    assert predicted.exit_code == 0, predicted.output
    adata, new = anndata.read_h5ad(done), profiles(12, seed=1)
    assert adata.shape == (12, 24) and list(adata.obs["tissue"]) == new.labels["tissue"].tolist()
    var, x = adata.var, adata.to_df()
    assert var.index[var["is_input"]].tolist() == list(GENES[:8])
    assert set(var.index[var["is_measured"]]) == set(GENES[:12])
    np.testing.assert_array_equal(x[list(GENES[:12])], new.x[:, :12])
    inferred = pd.DataFrame(adata.layers["inferred"], x.index, x.columns)
    np.testing.assert_array_equal(x[list(GENES[12:])], inferred[list(GENES[12:])])
    assert inferred[list(GENES[:8])].isna().all(axis=None)
    gap = inferred[list(GENES[8:])].to_numpy() - new.x[:, 8:]
    spread = adata[:, list(GENES[8:])].layers["inferred_sd"]
    assert np.abs(gap).mean() < 0.5 and 0.7 < (np.abs(gap) < 1.64 * spread).mean() <= 1
    stated = var["pearson"].dropna()
    np.testing.assert_allclose(stated, trust.set_index("gene")["pearson"][stated.index])
    assert call("predict", out, files / "new.npz", "--out", done).exit_code == 2


def test_across_platforms_the_inputs_stand_apart(files):
    p = profiles()
    other = p._replace(x=(2 * p.x + 1)[::-1], samples=p.samples[::-1], labels={})
    write(files / "other.npz", other)
    out = files / "model"
    fitted = call("fit", files / "train.npz", "--truth", files / "other.npz", "--inputs", "5",
                  "--method", "ridge", "--out", out)  # fmt: skip
    assert fitted.exit_code == 0, fitted.output
    assert "24 genes from 5" in fitted.output and "(greedy)" in fitted.output
    done = files / "done.h5ad"
    result = call("predict", out, files / "train.npz", "--out", done)
    assert result.exit_code == 0, result.output
    adata = anndata.read_h5ad(done)
    assert adata.obsm["inputs"].shape == (50, 5) and adata.shape == (50, 24)
    np.testing.assert_array_equal(adata.X, adata.layers["inferred"])
    assert np.abs(adata.X - (2 * p.x + 1)).mean() < 1


def test_logarithms_of_another_base_are_refused_where_totals_tell_it():
    rates = 2 ** profiles(60).x
    natural = np.log1p(1e4 * rates / rates.sum(1, keepdims=True))
    samples = make_profiles(natural, GENES)
    fitted = fit(samples, config=Config(inputs=GENES[:8], method="ridge"))
    base2 = samples._replace(x=(samples.x / np.log(2)).astype(np.float32))
    assert predict(fitted, samples).mean.shape == (60, 16)
    with pytest.raises(ValueError, match="logarithms to base 2, the training data to e"):
        predict(fitted, base2)
    # A panel does not tell: its totals differ.
    panel = base2._replace(x=base2.x[:, :8], genes=GENES[:8])
    assert predict(fitted, panel).mean.shape == (60, 16)


def test_a_base_is_stated_or_declared_and_compared(files):
    start = ("fit", files / "train.npz", "--inputs", files / "inputs.txt", "--method", "ridge")
    untold = call(*start, "--out", files / "untold")
    assert untold.exit_code == 0 and "do not tell the base" in " ".join(untold.output.split())
    told = call(*start, "--out", files / "told", "--log-base", "2")
    assert told.exit_code == 0 and "do not tell" not in told.output
    new = profiles(12, seed=1)
    natural = anndata.AnnData((new.x * np.log(2)).astype(np.float32))
    natural.var_names, natural.obs_names = list(new.genes), list(new.samples)
    natural.uns["log1p"] = {"base": None}
    natural.write_h5ad(files / "natural.h5ad")
    done = ("--out", files / "done.h5ad", "--overwrite")
    write(files / "counts.npz", new._replace(x=np.round(100 * new.x)))
    for name, stated, message in (
        ("natural.h5ad", (), "to base e, the training data to 2, so that they are to be"),
        ("new.npz", ("--log-base", "10"), "multiplied by 3.322"),
        ("new.npz", ("--log-base", "3"), "base: expected one of e, 2, 10, found '3'"),
        ("counts.npz", ("--log-base", "2"), "expected logarithms, as their base was stated"),
    ):
        failed = call("predict", files / "told", files / name, *stated, *done)
        text = " ".join(failed.output.split())
        assert failed.exit_code == 2 and message in text, text
    assert call("predict", files / "told", files / "new.npz", *done).exit_code == 0


def test_a_base_that_only_new_samples_tell_is_said(caplog):
    samples = profiles(60)
    fitted = fit(samples, config=Config(inputs=GENES[:8], method="ridge"))
    predict(fitted, samples)
    assert not caplog.records
    predict(fitted, samples._replace(base="e"))
    assert "logarithms to base e, and the training data do not tell theirs" in caplog.text


def test_models_that_keep_samples_compare_new_ones_with_them(caplog):
    samples = profiles(60)
    fitted = fit(samples, config=Config(inputs=GENES[:20], method="auto_fast"))
    predict(fitted, take_samples(samples, range(5)))
    assert not caplog.records
    few = take_samples(samples, range(5))
    predict(fitted, few._replace(x=few.x * np.float32(np.log(2))))
    assert "samples are unlike those of the training" in caplog.text


def test_prediction_refuses_what_does_not_fit(files):
    out, done = files / "model", files / "done.h5ad"
    assert call("fit", files / "train.npz", "--inputs", files / "inputs.txt", "--method", "ridge",
                "--label", "tissue", "--out", out).exit_code == 0  # fmt: skip
    new = profiles(12, seed=1)
    tissue = new.labels
    lacking = write(files / "lacking.npz", new._replace(x=new.x[:, 2:], genes=GENES[2:]), **tissue)
    twice = write(files / "twice.npz", new._replace(genes=("G1", *GENES[1:])), **tissue)
    counts = write(files / "counts.npz", new._replace(x=np.round(100 * new.x)), **tissue)
    probes = write(
        files / "probes.npz", new._replace(genes=tuple(f"{i}_at" for i in range(24))), **tissue
    )
    bare = write(files / "bare.npz", new)
    for file, message in (
        (lacking, "2 of 8 genes are missing: G0, G1"),
        (twice, "1 of 8 genes are missing: G0"),
        (counts, "units of the inputs"),
        (probes, "Affymetrix probe"),
        (bare, "label 'tissue'"),
        (files / "inputs.txt", "cannot be used as expression table"),
    ):
        failed = call("predict", out, file, "--out", done)
        text = " ".join(failed.output.split())
        assert failed.exit_code == 2 and message in text, text
        assert not done.exists()
    imputed = call("predict", out, lacking, "--out", done, "--impute")
    assert imputed.exit_code == 0 and "2 of 8 inputs were missing" in imputed.output
    var = anndata.read_h5ad(done).var
    assert var.index[var["is_imputed"]].tolist() == ["G0", "G1"]
    table = pd.read_csv(out / "genes.csv")
    table.iloc[1:].to_csv(out / "genes.csv", index=False)
    assert "does not go with" in call("predict", out, files / "new.npz", "--out",
                                      files / "x.h5ad").output  # fmt: skip


def test_genes_of_one_symbol_are_averaged(files):
    """As of GTEx, where genes of both sex chromosomes and old identifiers share a symbol."""
    p = profiles()
    ids = tuple(f"ENSG{i:011}" for i in range(len(GENES)))
    write(files / "ids.npz", p._replace(genes=ids), **p.labels)
    symbols = ["TWICE", "TWICE", *GENES[2:]]
    table = pd.DataFrame({"gene_symbol": symbols, "ensembl_id": ids, "feature_space": "inferred"})
    table.to_csv(files / "table.csv", index=False)
    (files / "panel.txt").write_text("\n".join(GENES[2:8]))
    words = ("--inputs", files / "panel.txt", "--gene-table", files / "table.csv")
    done = call("fit", files / "ids.npz", "--out", files / "m", "--method", "ridge", *words)
    assert done.exit_code == 0, done.output
    assert sorted(pd.read_csv(files / "m" / "genes.csv")["gene"]) == sorted(["TWICE", *GENES[8:]])


def test_fit_refuses_and_leaves_nothing(files):
    out = files / "model"
    config = files / "c.toml"
    config.write_text("[ridge]\nstrength = 2\n")
    start = ("fit", files / "train.npz", "--out", out, "--inputs", files / "inputs.txt")
    (files / "bad.txt").write_text("G1\nXYZ\n")
    for words, message in (
        (("--method", "rigde"), "did you mean 'ridge'"),
        (("--method", "ridge", "--config", config), "has no settings"),
        (("--method", "knn", "--config", config), "expected a table [knn]"),
        (("--method", "ridge", "--label", "age"), "expected a label 'age'"),
        (("--method", "ridge", "--inputs", "landmarks"), "--gene-table"),
        (("--method", "ridge", "--inputs", files / "bad.txt"), "XYZ"),
        (("--method", "ridge", "--inputs", "500"), "at most 24 genes"),
        (("--method", "ridge", "--show", "G1"), "expected genes to infer"),
        (("--method", "ridge", "--split", "half"), "Expected a split"),
    ):
        failed = call(*start, *words)
        text = " ".join(failed.output.split())
        assert failed.exit_code == 2 and message in text, text
        assert not out.exists()
    p = profiles()
    write(files / "counts.npz", p._replace(x=np.exp2(p.x).round()))
    linear = ("fit", files / "counts.npz", "--out", out, "--inputs", files / "inputs.txt")
    failed = call(*linear, "--method", "ridge")
    text = " ".join(failed.output.split())
    assert failed.exit_code == 2 and "looks like counts" in text and "--log-counts" in text
    assert call(*linear, "--method", "ridge", "--log-counts").exit_code == 0
    few = p._replace(x=np.exp2(p.x[:, :8]).round(), genes=GENES[:8])
    panel = write(files / "few.npz", few)
    failed = call("predict", out, panel, "--log-counts", "--out", files / "few.h5ad")
    assert failed.exit_code == 2 and "8 of the 24 genes of the model" in failed.output
    shutil.rmtree(out)
    out.mkdir()
    (out / "own.txt").write_text("mine")
    assert "holds other files" in call(*start, "--overwrite").output
    assert (out / "own.txt").read_text() == "mine"


def test_select_orders_genes_and_says_what_they_are_worth(files):
    out = files / "chosen"
    done = call("select", files / "train.npz", "--n", "4", "--out", out)
    assert done.exit_code == 0, done.output
    genes = pd.read_csv(out / "genes.csv")
    assert genes["place"].tolist() == [1, 2, 3, 4] and genes["gene"].is_unique
    worth = pd.read_csv(out / "accuracy.csv").pivot(index="n", columns="how", values="accuracy")
    # Three factors make all genes: so many well chosen ones tell nearly all.
    assert worth.loc[3, "greedy"] > 0.9 > worth.loc[1, "greedy"]
    page, order = (out / "report.html").read_text(), ", ".join(genes["gene"])
    assert page.count("<svg") == 1 and order in page and order in done.output
    panel = ("--inputs", out / "genes.csv", "--method", "ridge", "--out", files / "of panel")
    fitted = call("fit", files / "train.npz", *panel)
    assert fitted.exit_code == 0 and "from 4:" in fitted.output, fitted.output
    failed = call("select", files / "train.npz", "--n", "4", "--how", "best", "--out", out / "x")
    assert failed.exit_code == 2 and "expected one of" in failed.output


def call(*words):
    command = ["expression", *map(str, words)]
    return CliRunner().invoke(app, command, env={"JAX_NUM_CPU_DEVICES": "1"})


def test_panels_of_counts_are_divided_by_their_own_mean(files):
    rng = np.random.default_rng(0)
    state = rng.normal(size=(80, 2))
    rate = np.exp(1 + state @ rng.normal(size=(2, 24)))
    counts = rng.poisson(rate * rng.uniform(0.5, 2, 80)[:, None]).astype(np.float32)
    cells = make_profiles(counts, GENES, [f"c{i}" for i in range(80)])
    write(files / "cells.npz", take_samples(cells, range(60)))
    new = take_samples(cells, range(60, 80))
    few = new._replace(x=new.x[:, :8], genes=GENES[:8])
    write(files / "deep.npz", few._replace(x=5 * few.x))
    write(files / "few.npz", few)
    panel = ("--inputs", files / "inputs.txt", "--method", "auto_fast", "--panel-counts")
    done = call("fit", files / "cells.npz", *panel, "--out", files / "fitted")
    assert not done.exit_code, done.output
    found = []
    for name in ("few", "deep"):
        out = files / f"{name}.h5ad"
        done = call("predict", files / "fitted", files / f"{name}.npz", "--panel-counts",
                    "--out", out)  # fmt: skip
        assert not done.exit_code, done.output
        found.append(anndata.read_h5ad(out))
    # Neither depth nor genes outside the panel matter.
    np.testing.assert_allclose(found[0].X, found[1].X, rtol=1e-4)
    assert list(found[0].var_names) == list(GENES[8:])
    truth = np.log2(1 + 1e4 * new.x / new.x.sum(1, keepdims=True))[:, 8:]
    each = [np.corrcoef(a, b)[0, 1] for a, b in zip(truth.T, found[0].X.T, strict=True)]
    assert np.mean(each) > 0.5
    refused = call("fit", files / "cells.npz", "--inputs", "5", "--panel-counts", "--out",
                   files / "x")  # fmt: skip
    assert "--panel-counts: expected one file of counts" in " ".join(refused.output.split())
