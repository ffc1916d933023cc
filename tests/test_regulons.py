"""Regulons: the cut, gene sets, what they are over-represented for, and the commands."""

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from infosem_jax import grn
from infosem_jax.cli.app import app
from infosem_jax.data import dataset, read_gene_sets, write_gmt
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import exact
from infosem_jax.grn.false_signs import spread_without_edges


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rng = np.random.default_rng(0)
    targets = np.where(rng.random((4, 150)) < 0.05, rng.choice([-1, 1], (4, 150)), 0.0)
    a = rng.normal(size=(300, 4))
    x = np.hstack([a, a @ targets + rng.normal(0, 0.7, (300, 150))])
    names = [*(f"R{i}" for i in range(4)), *(f"G{i:03d}" for i in range(150))]
    data = dataset(x - x.min() + 0.1, names, names[:4])
    fitted = grn.fit(data, config=exact.Config(rows="regulators"))
    folder = tmp_path_factory.mktemp("run")
    grn.save(folder / "fit.npz", fitted)
    adata = anndata.AnnData(data.x)
    adata.obs_names, adata.var_names = data.cells, list(data.genes)
    adata.obs["cluster"] = np.where(np.arange(300) < 100, "one", "two")
    adata.write_h5ad(folder / "cells.h5ad")
    return folder, fitted, data, np.hstack([np.zeros((4, 4)), targets])


def test_the_cut_keeps_edges_that_exist_with_their_sign(run):
    _, fitted, data, truth = run
    net, rate = grn.network(fitted), grn.false_sign_rate(fitted, data)
    assert net.probability is not None
    table = grn.regulons(fitted, data, least=3)
    found = np.zeros(truth.shape)
    at = {name: i for i, name in enumerate(net.genes)}
    of = {name: i for i, name in enumerate(net.regulators)}
    for row in table.to_dict("records"):
        i, j = of[row["source"]], at[row["target"]]
        assert row["lfsr"] == pytest.approx(rate[i, j]) and row["lfsr"] <= 0.05
        assert row["weight"] == pytest.approx(net.weight[i, j]) and row["source"] != row["target"]
        found[i, j] = np.sign(row["weight"])
    assert (found[truth != 0] == truth[truth != 0]).mean() > 0.8
    assert (found != truth)[found != 0].mean() < 0.1
    assert table["source"].value_counts().min() >= 3
    alone = grn.false_sign_rate(fitted)
    assert (rate <= alone).all() and (rate < alone).any()
    expected = np.where(rate < 1, 1 - net.probability * net.sign_agreement, 1)
    np.testing.assert_allclose(alone[rate < 1], expected[rate < 1], rtol=1e-6)
    assert len(grn.regulons(fitted, lfsr=1.0, least=1)) == len(grn.edges(net))
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        grn.regulons(fitted, lfsr=0.0)


def test_regulators_of_few_cells_have_few_targets_by_chance():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(1000, 2))
    targets = np.exp(0.7 * np.repeat(a, 20, axis=1) + rng.normal(0, 0.7, (1000, 40)))
    common = rng.poisson(np.hstack([3 * np.exp(0.5 * a), 3 * targets])).astype(float)
    depth = np.exp(rng.normal(0, 0.8, (1000, 1)))  # which genes of few cells have in common
    rare = rng.poisson(depth * rng.uniform(0.004, 0.02, 260)).clip(0, 1)
    x = np.hstack([common, rare])[:, [0, 1, *range(42, 302), *range(2, 42)]]
    x = x[:, x.any(0)]
    names = [*("R0", "R1"), *(f"F{i:03d}" for i in range(x.shape[1] - 42))]
    names += [f"T{i:02d}" for i in range(40)]
    data = dataset(x, names, names[:62])
    fitted = grn.fit(data, config=exact.Config(rows="regulators", normalisation="log1p_cpm_zscore"))
    counts = grn.regulons(fitted, data, least=1)["source"].value_counts()
    assert (counts[["R0", "R1"]] >= 15).all()
    assert counts.drop(["R0", "R1"]).max() < 10


def test_what_hidden_states_do_to_all_pairs_is_no_edge():
    settings = SimulationConfig(genes=300, regulators=100, cells=500, as_counts=True, log_mean=1.0)
    made = simulate(settings, seed=0)
    fitted = grn.fit(made.data, config=exact.Config(rows="regulators", normalisation="auto"))
    table = grn.regulons(fitted, made.data, least=1)
    pairs = ["source", "target"]
    right = len(table[pairs].merge(made.network[pairs]))
    assert right > 0.7 * len(table) and right >= 15


@pytest.mark.parametrize(("share", "width"), [(0.0, 1.0), (0.02, 1.6), (0.1, 1.6), (0.4, 1.0)])
def test_how_far_z_values_of_no_edge_spread_is_learned_beside_edges(share, width):
    rng = np.random.default_rng(0)
    shape = (150, 200)
    edges = rng.random(shape) < share
    z = rng.normal(size=shape) * np.where(edges, 6.0, width)
    pairs = np.arange(150)[:, None] != np.arange(200)
    z[~pairs] = np.nan
    found = spread_without_edges(z, pairs)
    assert np.median(found) == pytest.approx(width, rel=0.08)
    # Of targets whose values vary twice as much, half is believed or more.
    z[:, :40] *= 2
    again = spread_without_edges(z, pairs)
    assert again[:40].mean() > 1.4 * again[40:].mean()
    assert (spread_without_edges(np.zeros((1, 3)), np.eye(1, 3) == 0) >= 1).all()


def test_gene_sets_of_regulons_are_found_and_written(run, tmp_path):
    _, fitted, data, _ = run
    table = grn.regulons(fitted, data)
    sets = grn.as_sets(table)
    assert sum(map(len, sets.values())) == len(table)
    write_gmt(tmp_path / "regulons.gmt", sets)
    again = read_gene_sets(tmp_path / "regulons.gmt")
    assert again == {name: frozenset(genes) for name, genes in sets.items()}
    largest = max(sets, key=lambda name: len(sets[name]))
    known = {"mine": frozenset(sets[largest]), "none": frozenset(["x", "y", "z", "u", "v"])}
    found = grn.enrich(table, fitted.genes, known)
    assert len(sets[largest]) >= 5
    assert (found["regulon"][0], found["set"][0]) == (largest, "mine")
    assert found["hits"][0] == found["size"][0] == len(sets[largest])
    assert set(found["set"]) == {"mine"} and found["p_adjusted"].max() <= 0.05


def test_gene_sets_of_other_genes_are_refused(run, tmp_path):
    folder, *_ = run
    write_gmt(tmp_path / "mouse.gmt", {"one": [f"g{i:03d}" for i in range(20)]})
    words = ["regulons", str(folder), "--sets", f"{tmp_path}/mouse.gmt", "--out", f"{tmp_path}/o"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "the file of gene sets knows 0 of 154 genes" in done.output


def test_modules_are_genes_with_the_same_regulators():
    rng = np.random.default_rng(0)
    planted = np.repeat(np.arange(4), 15)
    pattern = np.array([[1, 0, 0, 0], [-1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, -1]]).T
    a = rng.normal(size=(400, 4))
    x = np.hstack([a, a @ pattern[:, planted] + rng.normal(size=(400, 60))])
    names = [*(f"R{i}" for i in range(4)), *(f"G{i:02d}" for i in range(60))]
    data = dataset(x - x.min() + 0.1, names, names[:4])
    table = grn.regulons(grn.fit(data, config=exact.Config(rows="regulators")), data)
    found = grn.modules(table, similarity=0.8)
    of = found.set_index("gene")["module"].reindex(names[4:])
    assert of.notna().mean() > 0.9 and set(of.dropna()) == {"M1", "M2", "M3", "M4"}
    for module, own in of.groupby(of):
        assert len(set(planted[[names.index(str(gene)) - 4 for gene in own.index]])) == 1, module
    second = found.loc[found["gene"] == "G15", "regulators"].item().split()
    assert set(second[:2]) == {"R0(-)", "R2(+)"}
    first = str(of["G00"])
    assert grn.as_sets(found)[first] == found.loc[found["module"] == first, "gene"].tolist()
    assert grn.modules(table, least=61).empty and grn.modules(table.head(0)).empty
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        grn.modules(table, similarity=0.0)


def test_the_command_writes_regulons_for_other_software(run, tmp_path):
    folder, fitted, *_ = run
    write_gmt(tmp_path / "sets.gmt", {"some": list(fitted.genes[:30])})
    command = ["regulons", str(folder), "--out", str(tmp_path / "out")]
    more = ["--sets", str(tmp_path / "sets.gmt"), "--expression", str(folder / "cells.h5ad")]
    result = CliRunner().invoke(app, [*command, *more])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "regulons.csv")
    assert list(table)[:3] == ["source", "target", "weight"]
    stored = anndata.read_h5ad(tmp_path / "out" / "regulons.h5ad")
    assert len(stored.uns["infosem_regulons"]) == len(table)
    together = pd.read_csv(tmp_path / "out" / "modules.csv")
    assert len(stored.uns["infosem_modules"]) == len(together) > 0
    assert set(read_gene_sets(tmp_path / "out" / "modules.gmt")) == set(together["module"])
    assert (tmp_path / "out" / "enrichment.csv").exists()
    none = ["--overwrite", "--least", "500", "--expression", str(folder / "cells.h5ad")]
    empty = CliRunner().invoke(app, [*command, *none])
    assert empty.exit_code == 0 and "No regulator has 500 edges that sure" in empty.output
    missing = CliRunner().invoke(app, ["regulons", str(tmp_path), "--out", str(tmp_path / "no")])
    assert missing.exit_code == 2 and "fit.npz" in missing.output


def test_the_command_knocks_out_genes_in_a_cluster(run, tmp_path):
    folder, fitted, *_ = run
    a, b = fitted.regulators[:2]
    command = ["knockout", str(folder), f"{a},{b}", "--to", "halved", "--upstream"]
    cluster = ["--expression", str(folder / "cells.h5ad"), "--groupby", "cluster"]
    result = CliRunner().invoke(
        app, [*command, *cluster, "--group", "one", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    shifts = pd.read_csv(tmp_path / "out" / "shifts.csv").set_index("gene")
    assert len(shifts) == len(fitted.genes) and (shifts.loc[[a, b], "shift"] < 0).all()
    total = pd.read_csv(tmp_path / "out" / "total_effects.csv")
    assert len(total) == len(grn.edges(grn.network(fitted)))
    above = pd.read_csv(tmp_path / "out" / "upstream.csv")
    assert set(above["target"]) == {a, b}
    for wrong, message in (
        (["--groupby", "cluster"], "together"),
        ([*cluster, "--group", "three"], "expected one of one, two"),
        (["--to", "gone"], "overexpressed, found gone"),
    ):
        refused = CliRunner().invoke(app, [*command, *wrong, "--out", str(tmp_path / "no")])
        assert refused.exit_code == 2 and message in refused.output, refused.output
