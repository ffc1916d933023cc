"""The scripts that test the papers' claims: what they run by default is there, and runs."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_studies_of_musegnn_are_there(script, real_data):
    from infosem_jax.benchmark.embedding.sources import find_sources

    groups = script("paper_musegnn").GROUPS
    sources, _ = find_sources(real_data, groups)
    assert [source.name for source in sources] == [text.partition("=")[0] for text in groups]
    across = {source.name for source in sources if len(source.species) > 1}
    assert across == {"pbmc and bulb", "breast and bulb"}
    assert all(source.orthologues for source in sources if source.name in across)


def test_samples_of_the_graph_network_are_there(script, real_data):
    from infosem_jax.benchmark.expression.sources import find_sources

    names = script("paper_l1000").DATASETS
    sources, _ = find_sources(real_data / "l1000", names)
    assert len(sources) == len(names)


@pytest.mark.parametrize("part", ["papalexi", "norman", "signed", "sources", "losses"])
def test_screens_and_methods_of_adapert_are_there(script, real_data, monkeypatch, part):
    monkeypatch.setenv("INFOSEM_DATA", str(real_data))
    module = script("paper_adapert")
    given = argparse.Namespace(lines="hepg2", screen=None, quick=False, network=[])
    screens, knowledge, names, _ = module.plan(part, given)
    assert len(screens) == 1
    assert set(names) <= set(module.all_methods(quick=False))
    graphs = module.GRAPHS | module.OTHERS
    assert set(knowledge) == (set(graphs) if part == "sources" else {"string+corum+go"})
    assert all(len(own.graphs) for own in knowledge.values())


def expression_cells():
    from infosem_jax.benchmark.expression.cells import STORE, At, Cell

    few, none = np.zeros(3, np.float32), np.zeros((20, 1), np.float32)
    cells = [
        Cell(
            At("a", "a", genes, method, "random", seed),
            {"rank_correlation": score + 0.01 * seed, "gene_pearson": score / 2, "n_inputs": 5.0,
             "r95_percent": 1.0, "r99_percent": 1.0},
            1.0, (80, 5, 20, 3), ("G",), ("H",), few, few, none, none, none,
        )
        for genes, by in (("all", {"graph": 0.7, "ridge": 0.6, "knn": 0.5}),
                          ("all+tissue", {"graph": 0.75}))
        for method, score in by.items()
        for seed in range(3)
    ]  # fmt: skip
    return (
        STORE,
        cells,
        {
            "graph, all minus ridge, a, split: random, gene ranks": 0.1,
            "graph, all minus ridge, a, split: random, per gene": 0.05,
            "graph, all+tissue minus graph, no organ, a, split: random, gene ranks": 0.05,
        },
    )


def perturbation_cells():
    from infosem_jax.benchmark.perturbation.cells import STORE, At, Cell
    from infosem_jax.benchmark.perturbation.compare import OF_VALUES

    none = np.zeros((0, 4), np.float32)
    cells = [
        Cell(
            At("a", "string", method, "leave_one_out", seed),
            dict.fromkeys(OF_VALUES, score + 0.01 * seed),
            1.0, (9, 10, 4), ("p", "q"), np.array([6, 7]), ("wr2",),
            np.zeros((1, 2), np.float32), (), none, none,
        )
        for method, score in {"adapert": 0.3, "neighbours": 0.4, "adapert_no_graph": 0.1}.items()
        for seed in range(2)
    ]  # fmt: skip
    where = "a, knowledge: string, split: leave_one_out, wr2_affected"
    return (
        STORE,
        cells,
        {
            f"adapert minus neighbours, {where}": -0.1,
            f"adapert minus adapert_no_graph, {where}": 0.2,
        },
    )


def embedding_cells():
    from infosem_jax.benchmark.embedding.cells import STORE, At, Cell
    from infosem_jax.embedding.metrics import SIX

    cells = [
        Cell(
            At(group, "auto 100", method, seed),
            {**dict.fromkeys(SIX, score), "function_auroc": score + 0.01 * seed},
            1.0, (("s", 10, 20, 3.0),),
        )
        for group, scores in {
            "a": {"musegnn": 0.6, "pca": 0.7, "gae": 0.5},
            "b": {"musegnn": 0.8, "auto": 0.65, "pca": 0.7, "pca_aligned": 0.62},
        }.items()
        for method, score in scores.items()
        for seed in range(3)
    ]  # fmt: skip
    return (
        STORE,
        cells,
        {
            "average rank minus pca, a": 1.0,
            "function_auroc minus pca, a": -0.1,
            "function_auroc minus chance, a": 0.11,
            # The best part, not the best of all.
            "b, function auroc, auto minus best part": -0.15,
            "b, rank, auto minus next": 2.0,
            "mean of groups, function auroc, musegnn": 0.71,
        },
    )


def network_cells():
    from infosem_jax.benchmark.grn.cells import STORE
    from infosem_jax.grn.accuracy import At, Cell
    from infosem_jax.grn.paired import METRICS

    cells = [
        Cell(
            At(dataset, "string", "TFs+500", method, "seen", 0),
            dict.fromkeys(METRICS, score * size), 1.0, ("A",), np.ones(1),
            np.full(40, score * size), np.full(40, score * size), np.linspace(1, 0, 101),
        )
        for dataset, size in (("d", 1.0), ("e", 3.0))
        for method, score in {
            "exact_none": 1.0, "exact_B": 1.2, "exact_B_shuffled": 0.9, "correlation": 1.5,
            "infosem_B": 1.1,
        }.items()
    ]  # fmt: skip
    return (
        STORE,
        cells,
        {
            "B against none, string, seen, pooled": 1.2,
            "B against shuffled B, string, seen, per regulator": 1.2 / 0.9,
            "B against best control, string, seen, pooled": 0.8,
            "B against B of svi, string, seen, pooled": 1.2 / 1.1,
        },
    )


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("paper_l1000", expression_cells),
        ("paper_adapert", perturbation_cells),
        ("paper_musegnn", embedding_cells),
        ("paper_infosem", network_cells),
    ],
)
def test_claims_are_what_the_cells_say(name, make, script, tmp_path, monkeypatch):
    store, cells, wanted = make()
    folder = tmp_path / "run"
    for cell in cells:
        store.write(folder / "part" if name == "paper_adapert" else folder, cell)
    for place in ("l1000", "perturb"):
        (tmp_path / place).mkdir()
    monkeypatch.setenv("INFOSEM_DATA", str(tmp_path))
    record = tmp_path / "claims.json"
    monkeypatch.setattr(sys, "argv", [name, "--from", str(folder), "--json", str(record)])
    script(name).main()
    found = {each["name"]: each["value"] for each in json.loads(record.read_text())["figures"]}
    for claim, value in wanted.items():
        assert found[f"{name}: {claim}"] == pytest.approx(value), claim


def test_switched_regulators_lead_where_targets_say_little_and_types_of_cells_differ(script):
    module = script("switched_grn")
    case = {"how": "rare genes", "types": 3, "cells": 600, "regulators": 60, "targets": 300}
    found = pd.DataFrame([module.scores(*module.switched(seed, **case)) for seed in range(3)])
    assert found["between"].mean() > found["range"].mean() + 0.05, found
    assert found["between"].mean() > 0.4, found  # by chance about a tenth
    # Means of few cells are far from zero by chance.
    cases = [module.types(seed, sizes=(150, 100, 60, 30, 8, 5, 5)) for seed in range(2)]
    found = pd.DataFrame([module.scores(*case) for case in cases])
    assert found["between"].mean() > found["range"].mean() + 0.05, found


def test_labels_are_held_against_the_best_part_of_each_data_set(script, tmp_path, monkeypatch):
    from infosem_jax.benchmark.grn.cells import STORE
    from infosem_jax.grn.accuracy import At, Cell

    module = script("labels_grn")
    names = (*module.RATIOS, *module.AREAS, module.MATCHED)
    none = np.zeros(0)
    by = {"exact_BC": (2.0, 4.0), "exact_B": (1.6, 2.0), "exact_C": (1.0, 1.0)}
    by |= {"one_hot": (1.0, 5.0), "genie3": (4.0, 1.0)}
    for method, scores in by.items():
        for dataset, score in zip("de", scores, strict=True):
            for seed in range(2):
                at = At(dataset, "string", "TFs+500", method, "unseen_both", seed)
                values = dict.fromkeys(names, score + seed)
                STORE.write(tmp_path, Cell(at, values, 1.0, (), none, none, none, none))
    record = tmp_path / "claims.json"
    monkeypatch.setattr(sys, "argv", ["x", "--from", str(tmp_path), "--json", str(record)])
    module.main()
    found = {each["name"]: each for each in json.loads(record.read_text())["figures"]}
    where = "string, unseen both, pooled"
    assert found[f"mean, {where}, exact_BC"]["value"] == pytest.approx(3.5)
    assert found[f"mean, {where}, exact_BC"]["high"] > 10
    ratio = found[f"exact_BC over the best baseline, {where}"]["value"]
    assert ratio == pytest.approx((2.5 / 4.5 * 4.5 / 5.5) ** 0.5)
    # Networks that learn from labels are no part of it.
    for dataset, above in (("d", 2.0 - 1.6), ("e", 4.0 - 5.0)):
        name = f"AUPRC of exact_BC minus the best part, {where}, {dataset}"
        assert found[name]["value"] == pytest.approx(above)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "claim", "low", "high"),
    [
        ("paper_musegnn", "function_auroc minus chance, pbmc", -0.2, 0.2),
        ("paper_adapert", "adapert minus neighbours", -1, 1),
        ("paper_l1000", "ridge, all+tissue minus ridge, no organ", -0.2, 0.2),
        ("paper_infosem", "B against none", 0.3, 3),
        ("labels_grn", "exact_BC over the best baseline", 0.3, 3),
    ],
)
def test_quick_run_tests_the_claims(name, claim, low, high, real_data, tmp_path):
    record = tmp_path / "claims.json"
    found = run(name, "--quick", "--out", tmp_path / "run", "--json", record, data=real_data)
    assert found.returncode == 0, found.stderr
    figures = json.loads(record.read_text())["figures"]
    values = [
        each["value"]
        for each in figures
        if each["name"].removeprefix(f"{name}: ").startswith(claim)
    ]
    assert values and all(low < value < high for value in values), figures
    again = run(name, "--from", tmp_path / "run", "--json", record, data=real_data)
    assert again.returncode == 0, again.stderr
    again = [(each["name"], each["value"]) for each in json.loads(record.read_text())["figures"]]
    assert again == [(each["name"], each["value"]) for each in figures]


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        pytest.param("paper_musegnn", "--datasets", "a=nowhere:else", marks=pytest.mark.slow),
        pytest.param("paper_musegnn", "--methods", "musegn", marks=pytest.mark.slow),
        pytest.param("paper_adapert", "--methods", "adapart", marks=pytest.mark.slow),
        ("paper_l1000", "--datasets", "nowhere"),
    ],
)
def test_unknown_names_are_refused_in_a_line(name, option, said, real_data, tmp_path):
    found = run(name, "--quick", "--out", tmp_path / "run", option, said, data=real_data)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert said.rpartition("=")[2].partition(":")[0] in found.stderr
    assert not (tmp_path / "run").exists()


def run(name, *options, data):
    return subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *map(str, options)],
        env=os.environ | {"INFOSEM_DATA": str(data)},
        capture_output=True,
        text=True,
    )
