"""Screens and knowledge of the perturbation benchmark are found by name in a folder."""

import importlib

import anndata
import numpy as np
import pandas as pd
import perturbed as made
import pytest

from infosem_jax._settings import choose
from infosem_jax.benchmark.perturbation import make_grid
from infosem_jax.benchmark.perturbation.sources import find_screens
from infosem_jax.perturbation.screen import read_screen


@pytest.fixture
def folder(tmp_path):
    for name in ("sc", "labels", "kg", "splits"):
        (tmp_path / name).mkdir()
    made.cells().write_h5ad(tmp_path / "sc" / "screen.h5ad")
    signed = made.signed()
    rows = [
        (name, gene, int(signed.sign[i, g] != 0), max(int(signed.sign[i, g]), 0))
        for i, (name,) in enumerate(signed.perturbed)
        for g, gene in enumerate(signed.genes)
        if signed.known[i, g]
    ]
    table = pd.DataFrame(rows, columns=pd.Index(["pert", "gene", "label", "direction"]))
    de = table.drop(columns="direction")
    de.to_csv(tmp_path / "labels" / "line_de.csv.gz", index=False)
    up = table[table["label"] == 1].drop(columns="label").rename(columns={"direction": "label"})
    up.to_csv(tmp_path / "labels" / "line_dir.csv.gz", index=False)
    (tmp_path / "labels" / "broken.csv").write_text("a,b\n1,2\n")
    edges = made.edges().drop(columns="directed")
    edges.to_csv(tmp_path / "kg" / "groups_pairs.csv.gz", index=False)
    edges.to_csv(tmp_path / "kg" / "other.csv", index=False)
    vectors = np.eye(3, dtype=np.float32)[np.repeat(range(3), 5)]
    np.savez(tmp_path / "kg" / "gene_text_small.npz", genes=np.array(made.names()), X=vectors)
    (tmp_path / "splits" / "mine.csv").write_text("name,split\np00,test\np10,valid\n")
    return tmp_path


def test_screens_are_found_by_name_and_what_cannot_be_read_is_told(folder):
    screens, notes = find_screens(folder, (), read_screen)
    # The table of directions belongs to that of differential expression.
    assert [screen.responses.name for screen in screens] == ["screen", "line_de"]
    assert len(notes) == 1 and notes[0].startswith("broken was left out")
    (one,), _ = find_screens(folder, ["line_de"], read_screen)
    assert (one.responses.sign < 0).any() and (one.responses.sign > 0).any()
    with pytest.raises(ValueError, match="did you mean 'screen'"):
        find_screens(folder, ["scren"], read_screen)
    with pytest.raises(ValueError, match="expected a folder"):
        find_screens(folder / "nothing", (), read_screen)

    def refuse(path):
        raise ValueError("not this one")

    with pytest.raises(ValueError, match=r"none that can be used.*other was left out"):
        find_screens(folder / "kg", (), refuse)


def test_knowledge_and_splits_are_found_beside_the_screens(folder):
    grid = make_grid(folder, datasets=["screen"], methods=["mean"], splits=["mine"], quick=True)
    (known,) = grid.knowledge.values()
    assert list(grid.knowledge) == ["graphs"] and list(known.graphs) == ["groups"]
    assert known.text is not None
    assert grid.splits == (str(folder / "splits" / "mine.csv"),) and grid.seeds == 1
    named = {"a": {"x": "other"}, "b": {"x": folder / "kg" / "groups_pairs.csv.gz"}}
    sets = make_grid(folder, datasets=["screen"], methods=["mean"], graphs=named).knowledge
    assert list(sets) == ["a", "b"]
    with pytest.raises(ValueError, match="did you mean 'other'"):
        make_grid(folder, datasets=["screen"], methods=["mean"], graphs={"a": {"x": "othr"}})


def test_what_methods_need_is_said_of_methods_that_there_are():
    from infosem_jax.benchmark.perturbation import runner
    from infosem_jax.perturbation.methods import METHODS

    assert runner._NEEDS.keys() <= METHODS.keys()


@pytest.mark.parametrize(
    ("method", "needs"),
    [("txpert_untuned", "a graph"), ("ridge_text", "a text"), ("neighbours", "a graph or text")],
)
def test_methods_that_would_know_nothing_are_refused_by_name(folder, method, needs):
    for place in ("groups_pairs.csv.gz", "gene_text_small.npz"):
        (folder / "kg" / place).unlink()
    with pytest.raises(ValueError, match=f"{method} needs {needs} of genes, and none was found"):
        make_grid(folder, datasets=["screen"], methods=["mean", method])
    assert "neighbours" in make_grid(folder, datasets=["screen"]).methods


@pytest.mark.parametrize("system", ["grn", "expression", "embedding", "perturbation"])
def test_layers_and_names_of_genes_are_those_asked_for(tmp_path, system):
    own = made.cells()
    if system != "perturbation":
        own = anndata.AnnData(np.random.default_rng(0).poisson(3, (40, 24)).astype(np.float32))
        own.var_names = [f"G{i}" for i in range(24)]
    own.layers["own"], own.X = own.X, -np.ones(own.shape, np.float32)
    own.var = pd.DataFrame({"symbol": own.var_names}, [f"ENSG{i:011d}" for i in range(own.n_vars)])
    place = tmp_path / "study" if system == "grn" else tmp_path
    place.mkdir(exist_ok=True)
    names = list(own.var["symbol"])
    own.uns |= {"species": "human", "tissue": "x"}
    for name in ("expression", "other"):
        own.write_h5ad(place / f"{name}.h5ad")
    pairs = pd.DataFrame({"source": names[0], "target": names[1:]})
    pairs.to_csv(place / "network_x.csv", index=False)
    grid = importlib.import_module(f"infosem_jax.benchmark.{system}").make_grid(
        tmp_path,
        datasets=["study" if system == "grn" else "a=expression:other"
                  if system == "embedding" else "expression"],
        layer="own", names="symbol",
    )  # fmt: skip
    x, genes = {
        "grn": lambda: (grid.loaded[0].data.x, grid.loaded[0].data.genes),
        "expression": lambda: (grid.sources[0].inputs.x, grid.sources[0].inputs.genes),
        "embedding": lambda: (grid.sources[0].studies[0].x, grid.sources[0].studies[0].genes),
        "perturbation": lambda: (
            grid.screens[0].responses.control,
            grid.screens[0].responses.genes,
        ),
    }[system]()
    assert set(genes) <= set(names) and x.min() >= 0


def test_names_are_chosen_in_order_and_unknown_ones_refused_with_a_hint():
    known = {"mean": 1, "ridge": 2}
    assert list(choose("method", ["ridge", "mean"], known)) == ["ridge", "mean"]
    assert choose("method", [], known) == known
    with pytest.raises(ValueError, match=r"There is no method 'rigde'; did you mean 'ridge'\?"):
        choose("method", ["rigde"], known)
