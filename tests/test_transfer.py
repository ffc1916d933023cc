"""The split ``transfer``: other data sets teach, this one tests, and nothing of it leaks back."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from infosem_jax.benchmark.grn.leaks import check
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.methods import methods
from infosem_jax.benchmark.grn.references import find_references, load
from infosem_jax.benchmark.grn.runner import make_grid
from infosem_jax.benchmark.grn.transfer import Given, add_others, transfer
from infosem_jax.benchmark.runner import run_grid

HUMAN = ("STAT1", "IRF1", "TP53", "POU5F1", "NANOG", "SOX2", "GATA1", "SPI1", "CEBPA", "JUN", "FOS")
OTHERS = tuple(f"ZNF{i}" for i in (2, 3, 7, 8, 10, 12, 14, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26))


def write(folder, genes, regulators, seed, networks=("specific",)):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, size=(40, len(genes))).astype(np.float32)
    np.savez(folder / "expression.npz", X=x, genes=np.array(genes))
    popular = np.random.default_rng(0).uniform(0.1, 0.9, len(genes))
    for name in networks:
        known = rng.uniform(size=(len(regulators), len(genes))) < popular
        edges = [
            (a, b)
            for i, a in enumerate(regulators)
            for b, there in zip(genes, known[i], strict=True)
            if there and a != b
        ]
        table = pd.DataFrame(edges, columns=["TF", "Target"])
        table.to_csv(folder / f"network_{name}.csv.gz", index=False)


@pytest.fixture(autouse=True)
def no_page(monkeypatch):
    monkeypatch.setattr(
        "infosem_jax.benchmark.grn.runner.leaderboard",
        SimpleNamespace(make_page=lambda *args, **kwargs: None),
    )
    monkeypatch.setattr("infosem_jax.benchmark.runner.write_board", lambda out, page: None)


@pytest.fixture
def folder(tmp_path):
    genes = HUMAN + OTHERS
    write(tmp_path / "here" / "TFs+500", genes, HUMAN[:6], 1, ("specific", "string"))
    write(tmp_path / "there" / "TFs+500", genes, HUMAN[4:], 2, ("specific", "string"))
    mouse = [name.capitalize() for name in genes]
    mouse[2], mouse[3] = "Trp53", "Oct4"
    write(tmp_path / "mouse" / "TFs+1000", mouse, mouse[2:8], 3)
    (tmp_path / "networks_full").mkdir()
    for name in ("human_There_ChIP-seq", "human_Here_ChIP-seq", "mouse_STRING"):
        source = "JUND" if "There" in name else "FOSB"
        table = pd.DataFrame({"TF": source, "Target": [*OTHERS[:9], "XYZ"]})
        table.to_csv(tmp_path / "networks_full" / f"{name}.csv.gz", index=False)
    return tmp_path


@pytest.fixture
def here(folder):
    (found,) = find_references(folder, datasets=["here"])[0]
    return add_others([load(found)], folder)[0]


def test_networks_of_other_data_sets_are_found(folder, here):
    of_there, of_mouse = sorted(here.others["specific"], key=lambda t: "Trp53" in set(t["source"]))
    assert set(of_there["source"]) == {*HUMAN[4:], "JUND"}
    assert "XYZ" in set(of_there["target"]) and "Trp53" in set(of_mouse["source"])
    assert len(here.others["string"]) == 1
    # Neither this data set's own network nor the whole of it is among them.
    assert all("FOSB" not in set(t["source"]) for t in here.others["specific"])
    alone = add_others([here], folder.parent)[0]
    assert alone.others == {}
    with pytest.raises(ValueError, match="no network of this name of another data set"):
        transfer(alone, "specific", 0)


def test_labels_are_those_of_other_data_sets(here):
    universe, split, given = transfer(here, "specific", 0)
    assert not (split.train | split.validation).any()
    np.testing.assert_array_equal(split.test, universe.candidate)
    assert set(universe.regulators) == set(HUMAN[:6]) < set(given.regulators)
    known = np.where(np.isnan(given.labels), given.validation, given.labels)
    names = {(a, b): known[i, j] for i, a in enumerate(given.regulators)
             for j, b in enumerate(given.genes)}  # fmt: skip
    both = [set(zip(t["source"].str.upper(), t["target"].str.upper(), strict=True))
            for t in here.others["specific"]]  # fmt: skip
    rename = {"TP53": "TRP53", "POU5F1": "OCT4"}
    told = 0
    for (a, b), value in names.items():
        pairs = {(a, b), (rename.get(a, a), rename.get(b, b))}
        own = {x for x, _ in pairs}
        votes = [bool(pairs & table) for table in both if own & {x for x, _ in table}]
        if not np.isnan(value):
            assert value == (np.mean(votes) >= 0.5), (a, b)
            told += len(votes)
    assert told > 200
    assert all(np.isnan(names["STAT1", gene]) for gene in given.genes)
    # Regulators are in training or in validation.
    there = [~np.isnan(part).all(1) for part in (given.labels, given.validation)]
    assert there[0].sum() > there[1].sum() > 0 and not (there[0] & there[1]).any()
    assert (transfer(here, "specific", 1)[2].labels != given.labels).any()


def test_nothing_of_the_tested_network_leaks(here):
    rng = np.random.default_rng(5)
    own = here.networks["specific"]
    universe, _, given = transfer(here, "specific", 0)
    truth = universe.truth.copy()
    for row in truth:  # other edges of the same regulators and genes
        row[:] = rng.permutation(row)
    row, column = np.nonzero(truth & universe.candidate)
    edges = pd.DataFrame(
        {"source": np.take(universe.regulators, row), "target": np.take(universe.genes, column)}
    )
    names = pd.DataFrame({"source": universe.regulators[0], "target": universe.genes, "label": 0})
    other = pd.concat([edges.assign(label=1), names[names["source"] != names["target"]]])
    other = other.drop_duplicates(["source", "target"])
    assert len(other) != len(own)
    changed = here._replace(networks={**here.networks, "specific": other})
    again = transfer(changed, "specific", 0)
    assert (again[0].truth != universe.truth).any()
    for name in Given._fields[:-1]:
        np.testing.assert_array_equal(getattr(again[2], name), getattr(given, name))
    # What is one reference for all data sets may not tell of tested regulators at all.
    _, _, shared = transfer(here, "string", 0)
    tested = np.isin(shared.regulators, HUMAN[:6])
    assert np.isnan(shared.labels[tested]).all() and np.isnan(shared.validation[tested]).all()
    assert not any(set(table["source"]) & set(HUMAN[:6]) for table in shared.others)


@pytest.mark.slow
def test_the_exact_engine_does_not_know_tested_labels(here):
    assert check(methods()["exact_elsewhere"], here) is None


def test_methods_run_on_it(folder, tmp_path):
    seen = []

    def solve(problems):
        for problem in problems:
            seen.append(problem)
            yield np.nan_to_num(problem.labels).sum(0) + np.zeros_like(problem.labels)

    grid = make_grid(
        folder,
        datasets=["here"],
        methods=["target_mean", "target_positive_rate"],
        networks=["specific"],
        seeds=2,
    )
    assert grid.splits[-1] == "transfer"
    own = {"own": Method(solve, "labels"), "elsewhere": Method(solve, "labels", elsewhere="alone")}
    out = tmp_path / "out"
    run_grid(
        grid._replace(methods=grid.methods | own, splits=("all", "transfer"), check_leaks="none"),
        out,
    )
    rows = pd.read_csv(out / "results.csv")
    ran = rows.groupby("method")["split"].agg(lambda names: set(names)).to_dict()
    assert ran["target_mean"] == {"all", "transfer"}
    assert ran["elsewhere"] == ran["own"] == ran["target_positive_rate"] == {"transfer"}
    assert len(seen) == 4 and len(seen[0].others) == 2
    # Targets are as popular in these data sets: what others know of it is worth something here.
    ratio = rows[rows["metric"] == "auprc_ratio"].groupby("method")["value"].mean()
    assert ratio["target_positive_rate"] > 1.1


@pytest.mark.slow
def test_the_exact_engine_learns_from_other_data_sets(folder, tmp_path):
    names = ["exact_none", "exact_elsewhere", "exact_elsewhere_shuffled"]
    grid = make_grid(folder, datasets=["here"], methods=names, networks=["specific"], seeds=1)
    out = tmp_path / "out"
    run_grid(grid._replace(splits=("transfer",), check_leaks="none"), out)
    rows = pd.read_csv(out / "results.csv").query("metric == 'auprc_ratio'")
    ratio = rows.set_index("method")["value"]
    assert ratio["exact_elsewhere"] > 0.05 + max(ratio.drop("exact_elsewhere"))
