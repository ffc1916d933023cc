"""infosem embed and infosem benchmark embedding as users run them."""

import json
import shutil
import subprocess
import sys
import tomllib

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from infosem_jax._settings import Method
from infosem_jax.benchmark.embedding import cells, runner, sources
from infosem_jax.benchmark.runner import run_grid
from infosem_jax.cli.app import app
from infosem_jax.data.io import read_candidates, read_embedding
from infosem_jax.embedding import (
    GraphSettings,
    embedded,
    evaluate,
    load,
    model,
    one_per_gene,
    predict,
)
from infosem_jax.embedding.methods import methods


def write_studies(folder, species=("human", "human")):
    """Two studies of thirty genes in two groups, twenty of them common."""
    for i, kind in enumerate(species):
        rng = np.random.default_rng(i)
        group = np.arange(30) % 2
        factor = np.exp(0.7 * rng.normal(size=(60, 2)))
        x = rng.poisson(3 * factor[:, group]).astype(np.float32)
        first = 10 * i
        names = [f"{'G' if kind == 'human' else 'g'}{j}" for j in range(first, first + 30)]
        adata = anndata.AnnData(x, var=pd.DataFrame(index=pd.Index(names)))
        adata.uns = {"tissue": "blood", "species": kind, "modality": "scRNA"}
        adata.write_h5ad(folder / f"s{i}.h5ad")
    pairs = "\n".join(f"g{i}\tG{i}" for i in range(40))
    (folder / "mouse_orthologs.tsv").write_text(f"mouse_symbol\thuman_symbol\n{pairs}\n")
    sets = ["\t".join([f"S{g}", "-", *(f"G{i}" for i in range(g, 40, 2))]) for g in (0, 1)]
    (folder / "h.all.gmt").write_text("\n".join(sets) + "\n")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed")
    write_studies(folder)
    (folder / "small.toml").write_text("[musegnn]\ndim = 4\nheads = [2, 1]\npairs = 5\n")
    studies = [folder / "s0.h5ad", folder / "s1.h5ad"]
    result = infosem(
        "embed", "fit", *studies, "--out", folder / "run", "--epochs", 12, "--method",
        "musegnn", "--config", folder / "small.toml", "--sets", folder / "h.all.gmt",
        "--plane", "pca",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


def test_fit_leaves_vectors_clusters_measures_and_a_page(fitted):
    run = fitted / "run"
    vectors = read_embedding(run / "embedding.npz")
    assert set(vectors.names) == {f"G{i}" for i in range(40)}
    assert vectors.vectors.shape == (40, 4)
    rows = anndata.read_h5ad(run / "genes.h5ad")
    assert rows.shape == (60, 4) and set(rows.obs["study"]) == {"s0", "s1"}
    assert (rows.obs["label"] == "scRNA blood").all()
    table = pd.read_csv(run / "genes.csv")
    assert list(table) == ["gene", "symbol", "study", "cluster"] and len(table) == 60
    assert len(pd.read_csv(run / "losses.csv")) == 12
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"asw", "auc", "ilisi", "function_auroc_h.all"} <= set(metrics)
    settings = tomllib.loads((run / "config.toml").read_text())
    assert settings["musegnn"]["heads"] == [2, 1] and settings["musegnn"]["epochs"] == 12
    page = (run / "report.html").read_text()
    assert "Genes in the plane" in page and 'id="explorer"' in page


def test_export_and_neighbours_tell_what_was_saved(fitted, tmp_path):
    found = predict(load(fitted / "run/fitted.npz"))
    out = tmp_path / "genes.csv"
    assert call("embed", "export", fitted / "run", "--out", out).exit_code == 0
    assert call("embed", "export", fitted / "run", "--out", tmp_path / "genes.npz").exit_code == 0
    for ending in ("npz", "csv"):
        out = tmp_path / f"genes.{ending}"
        back = read_embedding(out)
        np.testing.assert_allclose(back.vectors, one_per_gene(found).vectors, rtol=1e-5, atol=1e-6)
    out = tmp_path / "genes.h5ad"
    call("embed", "export", fitted / "run", "--out", out, "--study", "s1")
    assert anndata.read_h5ad(out).n_obs == 30
    printed = call("embed", "neighbours", fitted / "run", "G12", "-n", 3).output
    z = one_per_gene(found)
    unit = z.vectors / np.linalg.norm(z.vectors, axis=1, keepdims=True)
    order = np.argsort(-(unit @ unit[z.names.index("G12")]))[1:4]
    assert all(f" {z.names[i]} " in printed for i in order)
    again = call("embed", "export", fitted / "run", "--out", out)
    assert again.exit_code == 2 and "--overwrite" in again.output
    graph = tmp_path / "graph.csv"
    assert call("embed", "export", fitted / "run", "--out", graph, "--graph", 2).exit_code == 0
    table = read_candidates(graph)
    assert set(zip(table["source"], table["target"], strict=True)) == set(
        zip(table["target"], table["source"], strict=True)
    )
    assert table.groupby("source").size().min() >= 1


def test_an_exported_embedding_is_a_prior_of_a_network(fitted):
    from infosem_jax.grn.priors.binding import GeneContext
    from infosem_jax.grn.priors.registry import build

    for name in ("gene-embedding", "gene-similarity"):
        prior = build(name, fitted / "run/embedding.npz", "effect", {})
        genes = tuple(f"G{i}" for i in range(15))
        context = GeneContext(genes, genes[:5], 60)
        assert prior.coverage(context)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["s0.h5ad", "m/s1.h5ad"], "table of orthologues to human for mouse"),
        (["s0.h5ad", "--method", "pcb"], "did you mean 'pca'"),
        (["s0.h5ad", "--edges", "all"], "edges: expected one of"),
        (["s0.h5ad", "none.h5ad"], "none.h5ad"),
        (["s0.h5ad", "far.h5ad"], "no gene in common between s0 (G0, G1, G2, ...) and far"),
        (["s0.h5ad", "--species", "s7=mouse"], "species: expected names of studies (s0)"),
        (["s0.h5ad", "--out", "run"], "is not empty"),
        (["=s.h5ad"], "read as formulas"),
        (["s0.h5ad", "--sets", "formula.gmt"], "read as formulas"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(fitted, options, message, monkeypatch):
    monkeypatch.chdir(fitted)
    (fitted / "m").mkdir(exist_ok=True)
    if not (fitted / "m/s1.h5ad").exists():
        write_studies(fitted / "m", ("human", "mouse"))
    shutil.copy(fitted / "s0.h5ad", fitted / "=s.h5ad")
    far = anndata.read_h5ad(fitted / "s0.h5ad")
    far.var_names = [f"H{i}" for i in range(30)]
    far.write_h5ad(fitted / "far.h5ad")
    (fitted / "formula.gmt").write_text("=HYPERLINK(1)\t-\tG1\tG2\n")
    given = [] if "--out" in options else ["--out", "other"]
    result = call("embed", "fit", *options, *given)
    assert result.exit_code == 2 and message in " ".join(result.output.split())
    assert not (fitted / "other").exists()


def test_several_species_are_embedded_with_a_table(fitted):
    (fitted / "m").mkdir(exist_ok=True)
    write_studies(fitted / "m", ("human", "mouse"))
    table = fitted / "m/mouse_orthologs.tsv"
    result = call(
        "embed", "fit", fitted / "m/s0.h5ad", fitted / "m/s1.h5ad", "--out", fitted / "species",
        "--method", "pca", "--orthologues", f"mouse={table}", "--plane", "pca",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = load(fitted / "species/fitted.npz")
    assert len(set(found.genes.gene)) == 40 and found.genes.species == ("human", "mouse")


def test_benchmark_writes_a_leaderboard_and_goes_on(tmp_path):
    write_studies(tmp_path)
    out = tmp_path / "out"
    command = ("benchmark", "embedding", "--data", tmp_path, "--out", out, "--quick")
    result = call(*command, "--methods", "pca,mae")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "results.csv")
    assert set(table["method"]) == {"pca", "mae"} and set(table["task"]) == {"embedding"}
    assert set(table["dataset"]) == {"blood"}
    page = (out / "report.html").read_text()
    assert "Average ranks" in page and "quick look" in page
    assert "| pca |" in (out / "table.md").read_text()
    refused = call(*command, "--methods", "pca")
    assert refused.exit_code == 2 and "--resume" in refused.output


def test_a_run_goes_on_with_what_is_missing_and_keeps_failures_apart(tmp_path):
    write_studies(tmp_path, ("human", "mouse"))
    found, _ = sources.find_sources(tmp_path, ["both=s0:s1"])
    assert found[0].name == "both" and set(found[0].orthologues) == {"mouse"}
    calls = []

    def embed(graphs, seed):
        calls.append(seed)
        return tuple(g.features[:, :5] for g in graphs)

    def fails(graphs, seed):
        raise RuntimeError("no")

    chosen = {"mine": Method(embed, "Mine."), "fails": Method(fails, "Fails.")}
    grid = runner.Grid(found, chosen, {}, GraphSettings(edges="knn"), seeds=2)
    outcome = run_grid(grid, tmp_path / "out")
    assert len(outcome.cells) == 2 and calls == [0, 1]
    assert {f.reason for f in outcome.failures} == {"RuntimeError: no"}
    assert (tmp_path / "out/failures.csv").exists()
    cells.STORE.path_of(tmp_path / "out", outcome.cells[0].at).unlink()
    grid = grid._replace(methods={"mine": chosen["mine"]})
    outcome = run_grid(grid, tmp_path / "out", resume=True)
    assert calls == [0, 1, 0] and len(outcome.cells) == 2
    assert outcome.cells[0].metrics["orthologue_pairs"] > 0
    with pytest.raises(ValueError, match="differs in"):
        other = grid._replace(graphs=GraphSettings(edges="knn", neighbours=3))
        run_grid(other, tmp_path / "out", resume=True)


@pytest.mark.slow
def test_what_auto_joins_is_trained_once_for_each_seed(tmp_path, monkeypatch):
    write_studies(tmp_path)
    found, _ = sources.find_sources(tmp_path)
    chosen = {name: methods(quick=True)[name] for name in ("auto", "musegnn", "pca_aligned")}
    sets, train, trained = sources.find_gene_sets(tmp_path), model.train, []

    def counted(graphs, config, *, seeds):
        trained.extend(seeds)
        return train(graphs, config, seeds=seeds)

    monkeypatch.setattr(model, "train", counted)
    grid = runner.Grid(found, chosen, sets, GraphSettings(edges="knn"), seeds=2)
    outcome = run_grid(grid, tmp_path / "out")
    assert trained == [0, 1] and not outcome.failures
    own = {cell.at.method: cell for cell in outcome.cells if cell.at.seed == 1}
    graphs = sources.rename(found[0], sources.study_graphs(found[0], grid.graphs), 1).graphs
    alone = embedded(graphs, chosen["auto"].predict(graphs, 1), "auto", key=1)
    assert own["auto"].metrics["auc"] == pytest.approx(evaluate(alone, graphs, sets)["auc"])
    assert own["auto"].metrics["auc"] != own["musegnn"].metrics["auc"]
    assert own["auto"].seconds >= own["musegnn"].seconds > own["pca_aligned"].seconds


def test_groups_are_named_and_refused_as_told(tmp_path):
    write_studies(tmp_path)
    found, notes = sources.find_sources(tmp_path)
    assert [source.name for source in found] == ["blood"] and not notes
    with pytest.raises(ValueError, match="Expected one study 's7'"):
        sources.find_sources(tmp_path, ["s0:s7"])
    with pytest.raises(ValueError, match="expected a folder"):
        sources.find_sources(tmp_path / "nothing")
    assert set(sources.find_gene_sets(tmp_path)) == {"hallmark"}
    assert set(methods(quick=True)) == set(methods())


def infosem(*options):
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "infosem_jax", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


def call(*options):
    """Run a command in this process, which takes less time."""
    return CliRunner().invoke(app, [*map(str, options)], env={"JAX_NUM_CPU_DEVICES": "1"})
