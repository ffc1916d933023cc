"""Regulons: the cut, gene sets, what they are over-represented for, and the commands."""

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from infosem_jax import grn
from infosem_jax.cli.app import app
from infosem_jax.data import read_gene_sets, write_gmt
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import exact


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    simulation = simulate(SimulationConfig(genes=80, regulators=8, cells=300, dropout=0.0), 0)
    data = simulation.data
    fitted = grn.fit(data, config=exact.Config(rows="regulators"))
    folder = tmp_path_factory.mktemp("run")
    grn.save(folder / "fit.npz", fitted)
    adata = anndata.AnnData(data.x)
    adata.obs_names, adata.var_names = data.cells, list(data.genes)
    adata.obs["cluster"] = np.where(np.arange(300) < 100, "one", "two")
    adata.write_h5ad(folder / "cells.h5ad")
    return folder, fitted, simulation


def test_the_cut_keeps_edges_that_exist_with_their_sign(run):
    _, fitted, _ = run
    net = grn.network(fitted)
    table = grn.regulons(net, lfsr=0.3, least=3)
    rate = 1 - net.probability * net.sign_agreement
    at = {name: i for i, name in enumerate(net.genes)}
    of = {name: i for i, name in enumerate(net.regulators)}
    for row in table.to_dict("records"):
        i, j = of[row["source"]], at[row["target"]]
        assert row["lfsr"] == pytest.approx(rate[i, j]) and row["lfsr"] <= 0.3
        assert row["weight"] == pytest.approx(net.weight[i, j]) and row["source"] != row["target"]
    counts = table["source"].value_counts()
    assert counts.min() >= 3
    sizes = pd.Series(((rate <= 0.3) & (rate < 1)).sum(1), net.regulators)
    assert set(counts.index) == set(sizes[sizes >= 3].index)
    assert len(grn.regulons(net, lfsr=1.0, least=1)) == len(grn.edges(net))
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        grn.regulons(net, lfsr=0)


def test_gene_sets_of_regulons_are_found_and_written(run, tmp_path):
    _, fitted, _ = run
    table = grn.regulons(grn.network(fitted), lfsr=0.3, least=6)
    sets = grn.signed_sets(table)
    assert sum(map(len, sets.values())) == len(table)
    write_gmt(tmp_path / "regulons.gmt", sets)
    again = read_gene_sets(tmp_path / "regulons.gmt")
    assert again == {name: frozenset(genes) for name, genes in sets.items()}
    largest = max(sets, key=lambda name: len(sets[name]))
    known = {"mine": frozenset(sets[largest]), "none": frozenset(["x", "y", "z", "u", "v"])}
    found = grn.enrich(table, fitted.genes, known)
    assert (found["regulon"][0], found["set"][0]) == (largest, "mine")
    assert found["hits"][0] == found["size"][0] == len(sets[largest])
    assert set(found["set"]) == {"mine"} and found["p_adjusted"].max() <= 0.05


def test_the_command_writes_regulons_for_other_software(run, tmp_path):
    folder, fitted, _ = run
    write_gmt(tmp_path / "sets.gmt", {"some": list(fitted.genes[:30])})
    command = ["regulons", str(folder), "--lfsr", "0.5", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--sets", str(tmp_path / "sets.gmt")])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "regulons.csv")
    assert list(table)[:3] == ["source", "target", "weight"]
    stored = anndata.read_h5ad(tmp_path / "out" / "regulons.h5ad")
    assert len(stored.uns["infosem_regulons"]) == len(table)
    assert (tmp_path / "out" / "enrichment.csv").exists()
    missing = CliRunner().invoke(app, ["regulons", str(tmp_path), "--out", str(tmp_path / "no")])
    assert missing.exit_code == 2 and "fit.npz" in missing.output


def test_the_command_knocks_out_genes_in_a_cluster(run, tmp_path):
    folder, fitted, _ = run
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
