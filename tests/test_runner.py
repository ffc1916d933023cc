"""The grid of the benchmark: what methods are given, what is written, and how it goes on."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve
from typer.testing import CliRunner

from infosem_jax.benchmark.grn import methods as registry
from infosem_jax.benchmark.grn import runner
from infosem_jax.benchmark.grn.cells import STORE
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.methods import CONTROLS, methods, register
from infosem_jax.benchmark.grn.references import (
    add_embeddings,
    find_embeddings,
    find_references,
    load,
)
from infosem_jax.benchmark.grn.runner import Grid, reduce
from infosem_jax.benchmark.runner import run_grid
from infosem_jax.cli.app import app
from infosem_jax.data import Embedding, write_embedding
from infosem_jax.grn.accuracy import At, measure
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.splits import KINDS, Universe, candidates, split

COLUMNS = "task,dataset,network,genes,method,split,seed,metric,value,seconds"
LABELLED = "regulator_positive_rate"


@pytest.fixture(autouse=True)
def told(monkeypatch) -> list[SimpleNamespace]:
    """Keep what the leaderboard is given, instead of drawing it."""
    kept = []

    def make_page(cells, *, notes, about, versions):
        kept.append(SimpleNamespace(cells=cells, notes=notes, about=about))

    monkeypatch.setattr(
        "infosem_jax.benchmark.grn.runner.leaderboard", SimpleNamespace(make_page=make_page)
    )
    monkeypatch.setattr("infosem_jax.benchmark.runner.write_board", lambda out, page: None)
    return kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Write two data sets: one with gene sets and two networks, one flat and as text."""
    top = tmp_path_factory.mktemp("data")
    write_data(top / "one" / "TFs+500", 0, ("specific", "other"))
    write_data(top / "two", 1, ("chip",), text=True)
    write_data(top / "bare" / "TFs+500", 2, ())
    return top


def write_data(folder: Path, seed: int, networks: tuple[str, ...], *, text: bool = False) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    genes = [f"G{i:02d}" for i in rng.permutation(50)]
    x = rng.gamma(2.0, size=(40, 50)).astype(np.float32)
    if text:
        cells = [f"c{i}" for i in range(len(x))]
        pd.DataFrame(x.T, genes, cells).to_csv(folder / "expression.csv")
    else:
        np.savez(folder / "expression.npz", X=x, genes=np.array(genes))
    for i, name in enumerate(networks):
        # The networks share some of their regulators.
        known = rng.uniform(size=(14, 50)) < np.linspace(0.3, 0.6, 14)[:, None]
        row, column = np.nonzero(known)
        edges = {"TF": np.take(genes[3 * i :], row), "Target": np.take(genes, column)}
        edges = pd.DataFrame(edges).query("TF != Target")
        edges.to_csv(folder / f"network_{name}.csv.gz", index=False)


@pytest.fixture
def loaded(folder: Path):
    return [load(reference) for reference in find_references(folder)[0]]


def chosen(*names: str) -> dict[str, Method]:
    return {name: methods()[name] for name in names}


def run(grid: Grid, out: Path, **options):
    """Run a grid whose methods are trusted."""
    return run_grid(grid._replace(check_leaks="none"), out, **options)


def recorder(problems: list, **fields) -> Method:
    """Return a method that keeps the problems of each call."""

    def solve(given):
        problems.append(list(given))
        for problem in given:
            yield np.random.default_rng(problem.seed).uniform(size=problem.labels.shape)

    return Method(solve, **fields)


def contents(out: Path) -> dict[str, dict]:
    """Return the cells of a folder but for the time they took."""
    return {str(cell.at): str(cell._replace(seconds=0.0)) for cell in STORE.read_all(out)}


def scored(seed: int = 0):
    """Return scores that say something, with ties and pairs without score, and what they are of."""
    rng = np.random.default_rng(seed)
    genes = tuple(f"G{i:02d}" for i in range(60))
    candidate = np.array(genes[:12])[:, None] != np.array(genes)
    truth = candidate & (rng.uniform(size=(12, 60)) < np.linspace(0.05, 0.6, 12)[:, None])
    scores = (rng.normal(size=truth.shape) + truth).round(1)
    scores[3, :7] = np.nan
    universe = Universe(genes[:12], genes, candidate, truth)
    return scores, universe


def test_a_cell_holds_what_the_metrics_say_of_the_tested_pairs():
    scores, universe = scored()
    drawn = split(universe, "unseen_regulator")
    at = At("data", "network", "genes", "method", "unseen_regulator", 3)
    cell = measure(at, scores, universe, drawn.test, 2.0)
    assert cell.metrics == score_matrix(scores, universe.truth, drawn.test, 3)
    assert cell.auprc_ratio.mean() == pytest.approx(cell.metrics["auprc_ratio_per_regulator"])
    assert len(cell.regulators) == cell.metrics["regulators_scored"] > 1
    # A ranking without ties, so that the order of drawing them does not matter.
    scores = np.random.default_rng(0).permutation(720).reshape(12, 60) + 300.5 * universe.truth
    cell = measure(at, scores, universe, drawn.test, 2.0)
    precision, recall, _ = precision_recall_curve(universe.truth[drawn.test], scores[drawn.test])
    best = [precision[recall >= r - 1e-12].max() for r in np.arange(101) / 100]
    np.testing.assert_allclose(cell.precision, best)


def test_draws_are_of_regulators_and_the_same_for_every_method_and_seed(monkeypatch):
    scores, universe = scored()
    scores = np.random.default_rng(0).permutation(720).reshape(12, 60) + 300.5 * universe.truth
    drawn = split(universe, "unseen_regulator")
    at = At("data", "network", "genes", "a", "unseen_regulator", 0)
    cell = measure(at, scores, universe, drawn.test, 0.0)
    tested = np.flatnonzero(drawn.test.any(1))
    n = len(tested)
    assert n == 4
    row, truth = np.nonzero(drawn.test)[0], universe.truth[drawn.test]
    possible = []
    for index in np.ndindex(*[n] * n):
        weight = np.bincount(tested[list(index)], minlength=12)[row]
        value = average_precision_score(truth, scores[drawn.test], sample_weight=weight)
        possible.append(value)
    near = np.abs(cell.resampled[:, None] - possible).min(1)
    assert near.max() < 1e-12
    assert len(np.unique(cell.resampled.round(9))) > 15
    other = measure(at._replace(method="b"), np.exp(scores / 300), universe, drawn.test, 0.0)
    np.testing.assert_array_equal(cell.resampled, other.resampled)
    np.testing.assert_array_equal(cell.resampled_per_regulator, other.resampled_per_regulator)
    again = measure(at._replace(seed=1), scores, universe, drawn.test, 0.0)
    np.testing.assert_array_equal(again.resampled, cell.resampled)
    elsewhere = measure(at._replace(dataset="other"), scores, universe, drawn.test, 0.0)
    assert (elsewhere.resampled != cell.resampled).any()
    monkeypatch.setattr("infosem_jax.grn.accuracy._CHUNK", 300)
    parts = measure(at, scores, universe, drawn.test, 0.0)
    np.testing.assert_allclose(parts.resampled, cell.resampled, rtol=1e-12)


def test_regulators_without_enough_edges_have_no_score_of_their_own():
    scores, universe = scored()
    few = np.zeros_like(universe.truth)
    few[:3, 20:24] = True
    part = universe.candidate
    cell = measure(At(*"abcde", 0), scores, universe._replace(truth=few), part, 0.0)
    assert cell.regulators == () and len(cell.auprc_ratio) == 0
    assert np.isnan(cell.resampled_per_regulator).all()
    # Draws without any of the three regulators that have edges.
    assert 0 < np.isnan(cell.resampled).sum() < 20


def test_a_cell_reads_back_as_written(tmp_path: Path):
    scores, universe = scored()
    at = At("a/b", "..", "TFs+500", "x.prior", "published:some", 0)
    cell = measure(at, scores, universe, universe.candidate, 1.5)
    STORE.write(tmp_path, cell)
    path = STORE.path_of(tmp_path, at)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert str(STORE.read(path)) == str(cell)
    moved = path.with_name("1.npz")
    moved.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="was it moved"):
        STORE.read(moved)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="npz file"):
        STORE.read(path)


def test_methods_get_no_truth_and_expression_is_solved_once(loaded, tmp_path: Path, told):
    plain, fixed, labelled = [], [], []
    known = {
        "plain": recorder(plain),
        "fixed": recorder(fixed, random=False),
        "labelled": recorder(labelled, uses="labels"),
    }
    run(Grid(loaded, known, seeds=2), tmp_path / "out")
    assert [[p.seed for p in call] for call in plain] == [[0, 1], [0, 1]]
    assert [[p.seed for p in call] for call in fixed] == [[0], [0]]
    both = loaded[0].networks
    for problem in plain[0]:
        assert np.isnan(problem.labels).all() and np.isnan(problem.validation).all()
        assert set(problem.regulators) == set().union(*(t["source"] for t in both.values()))
        assert set(problem.genes) == set(problem.data.genes)
    assert [len(call) for call in labelled] == [2 * 4 * 2, 4 * 2]
    universe = candidates(loaded[0].data, both["specific"])
    for problem, kind in zip(labelled[0][:8], np.repeat(runner.USUAL[1:], 2), strict=True):
        part = split(universe, kind, problem.seed)
        assert (np.isnan(problem.labels) == ~part.train).all()
        assert (np.isnan(problem.validation) == ~part.validation).all()
    cells = told[0].cells
    assert len(cells) == (2 + 1) * (5 + 5 + 4) * 2
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert ",".join(table.columns) == COLUMNS and set(table["task"]) == {"grn"}
    assert len(table) == sum(len(cell.metrics) for cell in cells)
    record = json.loads((tmp_path / "out" / "versions.json").read_text())
    assert record["infosem_jax"] and record["cores"]


def test_scores_land_on_their_own_pairs(loaded, tmp_path: Path):
    """A method that is told the edges finds them all, whatever the network's genes and split."""
    edges = {
        (name, *pair)
        for each in loaded[:1]
        for name, table in each.networks.items()
        for pair in table[["source", "target"]].itertuples(index=False, name=None)
    }

    def of(network):
        def score(problem):
            pairs = [[(network, a, b) in edges for b in problem.genes] for a in problem.regulators]
            return np.array(pairs, float)

        return Method(partial(map, score), knows_names=True)

    grid = Grid(loaded[:1], {name: of(name) for name in ("specific", "other")}, KINDS, 1)
    outcome = run(grid, tmp_path / "out")
    for cell in outcome.cells:
        if cell.at.method == cell.at.network:
            assert cell.metrics["auprc"] == pytest.approx(1), cell.at


@pytest.mark.slow
def test_resuming_computes_only_what_is_missing(loaded, tmp_path: Path):
    out, calls, labelled = tmp_path / "out", [], []
    known = {"plain": recorder(calls), "labelled": recorder(labelled, uses="labels")}
    grid = Grid(loaded[:1], known, ("all", "seen"), 2)
    run(grid, out)
    whole = contents(out)
    calls.clear(), labelled.clear()
    run(grid, out, resume=True)
    assert calls == labelled == []
    lost = At("one", "other", "TFs+500", "labelled", "seen", 1)
    STORE.path_of(out, lost).unlink()
    STORE.path_of(out, lost._replace(method="plain")).write_bytes(b"damaged")
    run(grid, out, resume=True)
    assert [[p.seed for p in call] for call in (*calls, *labelled)] == [[1], [1]]
    assert contents(out) == whole
    more = Grid(loaded[:1], chosen("correlation"), ("all",), 1)
    assert len(run_grid(more, out, resume=True).cells) == len(whole) + 2


def test_only_a_run_on_the_same_terms_goes_on(loaded, tmp_path: Path):
    out = tmp_path / "out"
    grid = Grid(loaded[:1], chosen("random"), ("all",), 1)
    run(grid, out)
    with pytest.raises(ValueError, match="--resume"):
        run_grid(grid, out)
    with pytest.raises(ValueError, match="found both"):
        run_grid(grid, out, resume=True, overwrite=True)
    one = loaded[0]
    vectors = {"v": Embedding(one.data.genes, np.ones((50, 2), np.float32))}
    edges = one.networks["specific"].iloc[1:]
    for what, each in (
        ("expression", one._replace(data=one.data._replace(x=one.data.x + 1))),
        ("embeddings", one._replace(embeddings=vectors)),
        ("network specific", one._replace(networks={**one.networks, "specific": edges})),
    ):
        with pytest.raises(ValueError, match=f"differs in the {what} of one"):
            run_grid(grid._replace(loaded=[each]), out, resume=True)
    with pytest.raises(ValueError, match="quick"):
        run_grid(grid._replace(quick=True), out, resume=True)
    other = {"random": methods()["random"]._replace(settings={"width": 3})}
    with pytest.raises(ValueError, match="the settings of random"):
        run_grid(grid._replace(methods=other), out, resume=True)
    (out / "mine.txt").write_text("keep")
    run_grid(grid._replace(methods=chosen("correlation")), out, overwrite=True)
    assert {cell.at.method for cell in STORE.read_all(out)} == {"correlation"}
    assert (out / "mine.txt").exists()
    with pytest.raises(ValueError, match="holds no benchmark"):
        run_grid(grid, out.parent, overwrite=True)


def test_a_method_that_fails_leaves_the_others_alone(loaded, tmp_path: Path):
    out, healthy = tmp_path / "out", []

    def sometimes(problem):
        if problem.seed == 1:
            raise RuntimeError("seed 1 is not for me")
        return np.zeros(problem.labels.shape)

    known = {
        "sometimes": Method(partial(map, sometimes), uses="labels"),
        "never": Method(lambda problems: (1 / 0 for _ in problems)),
        "short": Method(lambda problems: []),
        "shape": Method(lambda problems: (np.zeros((2, 2)) for _ in problems)),
        "infinite": Method(lambda problems: (np.full(p.labels.shape, np.inf) for p in problems)),
        "good": recorder(healthy),
    }
    grid = Grid(loaded[:1], known, ("seen",), 3)
    outcome = run(grid, out)
    counts = pd.Series([cell.at.method for cell in outcome.cells]).value_counts()
    assert counts.to_dict() == {"good": 6, "sometimes": 4}
    failed = pd.read_csv(out / "failures.csv")
    assert failed["method"].value_counts().to_dict() == {
        "never": 6, "short": 6, "shape": 6, "infinite": 6, "sometimes": 2,
    }  # fmt: skip
    assert set(failed.query("method == 'sometimes'")["seed"]) == {1}
    assert "seed 1 is not for me" in failed.query("method == 'sometimes'")["reason"].iloc[0]
    assert any("sometimes: failed" in note for note in outcome.notes)
    # What is mended is computed on resuming, and the list of failures goes.
    mended = {"sometimes": recorder([], uses="labels"), "good": known["good"]}
    outcome = run(grid._replace(methods=mended), out, resume=True)
    assert len(healthy) == 1 and not (out / "failures.csv").exists()
    assert sum(cell.at.method == "sometimes" for cell in outcome.cells) == 6


def test_read_outs_have_cells_of_their_own(loaded, tmp_path: Path):
    def solve(problems):
        for p in problems:
            yield {"": np.zeros(p.labels.shape), "prior": np.ones(p.labels.shape)}

    outcome = run_grid(Grid(loaded[:1], {"two": Method(solve)}, ("all",), 1), tmp_path / "out")
    assert {cell.at.method for cell in outcome.cells} == {"two", "two.prior"}


def test_splits_that_cannot_be_drawn_are_skipped_and_told(loaded, tmp_path: Path, told):
    one = loaded[0]
    edges = one.networks["specific"].drop_duplicates("source").iloc[:2]
    grid = Grid([one._replace(networks={"few": edges})], chosen("random", LABELLED), KINDS, 2)
    outcome = run(grid, tmp_path / "out")
    assert {cell.at.split for cell in outcome.cells} == {"all"}
    for kind in KINDS[1:]:
        assert any(f"few, {kind}: skipped for seed 0, 1" in note for note in told[0].notes)


def test_methods_without_their_embedding_are_left_out_and_told(loaded, tmp_path: Path):
    known = {"needy": recorder([], needs=("text",)), **chosen("random")}
    outcome = run_grid(Grid(loaded[:1], known, ("all",), 1), tmp_path / "out")
    assert {cell.at.method for cell in outcome.cells} == {"random"}
    assert any("needy was left out" in note for note in outcome.notes)


def test_a_leak_is_refused_before_anything_is_written(loaded, tmp_path: Path):
    def by_name(problem):
        return np.full(problem.labels.shape, float("G01" in problem.genes))

    grid = Grid(loaded, {"peeks": Method(partial(map, by_name))}, ("all",), 1)
    with pytest.raises(ValueError, match="peeks: its scores change when genes"):
        run_grid(grid, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    outcome = run(grid, tmp_path / "out")
    assert any("not checked" in note for note in outcome.notes)


def test_published_splits_are_used_where_data_have_them(tmp_path: Path):
    top = tmp_path / "data"
    write_data(top / "one", 0, ("specific",))
    write_data(top / "two", 1, ("specific",))
    one = load(find_references(top)[0][0])
    universe = candidates(one.data, one.networks["specific"], targets="expressed")
    part = split(universe, "seen")
    rows = [
        (universe.regulators[i], universe.genes[j], int(universe.truth[i, j]), name)
        for name, mask in (("train", part.train), ("test", part.test))
        for i, j in zip(*np.nonzero(mask), strict=True)
    ]
    table = pd.DataFrame(rows, columns=["TF", "Target", "Label", "split"])
    table.to_csv(top / "one" / "split_specific_them.csv.gz", index=False)
    both = [load(reference) for reference in find_references(top)[0]]
    name = "published:split_specific_them"
    grid = Grid(both, chosen("random", LABELLED), (name,), 1)
    outcome = run_grid(grid, tmp_path / "out")
    assert {(c.at.dataset, c.at.split) for c in outcome.cells} == {("one", name)}
    assert outcome.cells[0].metrics["candidates"] == part.test.sum()
    assert any("two all, specific, published" in note for note in outcome.notes)
    with pytest.raises(ValueError, match="mean 'published:split_specific_them'"):
        run_grid(grid._replace(splits=("published:other",)), tmp_path / "no")


def test_data_are_found_in_every_layout(folder: Path):
    found, left_out = find_references(folder)
    assert [(r.dataset, r.genes, list(r.networks)) for r in found] == [
        ("one", "TFs+500", ["specific", "other"]),
        ("two", "all", ["chip"]),
    ]
    assert left_out == {"bare": "it holds no network_<name>.csv"}
    assert find_references(folder, datasets=["two", "one"])[0][0].dataset == "two"
    assert [*find_references(folder, networks=["other"])[0][0].networks] == ["other"]
    for asked, message in (
        ({"datasets": ["bare"]}, "bare cannot be used: it holds no network"),
        ({"datasets": ["onne"]}, "mean 'one'"),
        ({"networks": ["specfic"]}, "no data set"),
        ({"datasets": ["one"], "genes": ["TFs+1000"]}, r"gene sets are TFs\+500"),
    ):
        with pytest.raises(ValueError, match=message):
            find_references(folder, **asked)
    text = load(found[1])
    assert text.data.x.shape == (40, 50) and text.data.name == "two"


def test_embeddings_beside_the_data_are_found_and_aligned(folder: Path, tmp_path: Path, loaded):
    place = tmp_path / "embeddings"
    (place / "gene_text").mkdir(parents=True)
    rng = np.random.default_rng(0)
    genes = [gene.lower() for gene in loaded[0].data.genes]
    vectors = rng.normal(size=(50, 3)).astype(np.float32)
    write_embedding(place / "big_x.npz", Embedding(tuple(genes[:40]), vectors[:40]))
    write_embedding(place / "small.npz", Embedding(tuple(genes[:10]), vectors[:10]))
    np.savez(place / "not.npz", other=np.ones(3))
    words = [f"word{i}" for i in range(150)]
    text = [" ".join(rng.choice(words, 30)) for _ in range(200)]
    names = [*genes, *(f"other{i}" for i in range(150))]
    pd.DataFrame({"symbol": names, "summary": text}).to_csv(
        place / "gene_text" / "fly_gene_text.csv.gz", index=False
    )
    files = find_embeddings(tmp_path / "data")
    assert [name for name, _ in files] == ["big", "not", "small", "text"]
    (one, _), notes = add_embeddings(loaded, files, asked=False)
    assert set(one.embeddings) == {"big", "text"}
    known, found = one.embeddings["big"]
    assert known == one.data.genes[:40]
    np.testing.assert_array_equal(found, vectors[:40])
    assert one.embeddings["text"].vectors.shape == (50, 128)
    told = "; ".join(notes)
    assert "big covers 40 of 50 genes" in told and "small covers 10 of 50 genes, too few" in told
    assert "not.npz: not used" in told
    (one, _), _ = add_embeddings(loaded, [("s", place / "small.npz")], asked=True)
    assert len(one.embeddings["s"].names) == 10
    with pytest.raises(ValueError, match=r"not\.npz"):
        add_embeddings(loaded, [("n", place / "not.npz")], asked=True)


def test_reduced_data_are_small_and_can_be_split(loaded, monkeypatch):
    monkeypatch.setattr(runner, "QUICK", {"regulators": 6, "genes": 30, "cells": 20})
    reduced, notes = reduce([*loaded, *loaded])
    assert len(reduced) == 2 and "no benchmark" in notes[0]
    data, networks = reduced[0].data, reduced[0].networks
    assert data.x.shape == (20, 30) and list(networks) == ["specific"]
    counts = loaded[0].networks["specific"]["source"].value_counts()
    assert set(counts.index[:5]) <= set(data.genes)
    assert str(reduce(loaded)[0]) == str(reduced)
    for kind in KINDS:
        assert split(candidates(data, networks["specific"]), kind).test.any()


def test_the_command_says_what_it_does_and_fails_when_a_method_does(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # a process can choose only once
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))

    def fails(problem):
        if len(problem.data.cells) < 40:
            return np.zeros(problem.labels.shape)
        raise RuntimeError("too many cells")

    for bad in ("a b", "random", "x.y"):
        with pytest.raises(ValueError, match="name"):
            register(bad, fails)
    monkeypatch.setattr("infosem_jax.benchmark.grn.leaks.CELLS", 30)
    register("fails", fails, about="It fails.")
    out = tmp_path / "out"
    command = ["benchmark", "grn", "--data", str(folder), "--out", str(out), "--seeds", "1"]
    limits = ["--splits", "all,seen", "--datasets", "one", "--networks", "other"]
    limits += ["--methods", f"correlation,fails,{LABELLED}"]
    done = CliRunner().invoke(app, [*command, *limits])
    assert done.exit_code == 1, done.output
    assert "2 cells failed" in done.output and "AUPRC ratio per regulator" in done.output
    assert len(STORE.read_all(out)) == 3
    again = CliRunner().invoke(app, [*command, *limits])
    assert again.exit_code == 2 and "--resume" in again.output
    for wrong, message in (
        (["--methods", "corelation"], "did you mean 'correlation'"),
        (["--splits", "unseen"], "There is no split 'unseen'"),
        (["--datasets", "bare"], "cannot be used"),
        (["--embedding", "x"], "NAME=VALUE"),
    ):
        failed = CliRunner().invoke(app, [*command[:-4], "--out", str(tmp_path / "no"), *wrong])
        assert failed.exit_code == 2 and message in failed.output.replace("\n", " ")
    assert not (tmp_path / "no").exists()


SLOW = """
import sys, time, types
import numpy as np
leaderboard = types.SimpleNamespace(make_page=None)  # as it takes time to import
sys.modules["infosem_jax.benchmark.grn.leaderboard"] = leaderboard
from infosem_jax.benchmark.grn.methods import register
def slow(problem):
    time.sleep(0.1)
    return np.random.default_rng(problem.seed).uniform(size=problem.labels.shape)
register("slow", slow, uses="labels")
from infosem_jax.cli.app import app
app()
"""


@pytest.mark.slow
def test_a_run_that_is_killed_or_stopped_goes_on(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    options = ["--data", folder, "--datasets", "one", "--methods", "slow", "--seeds", "3"]
    options += ["--leak-check", "none", "--out", out]
    counts = []
    for number in (signal.SIGKILL, signal.SIGTERM):
        words = [sys.executable, "-c", SLOW, "benchmark", "grn", *map(str, options)]
        words += ["--resume"] * bool(counts)
        with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as job:
            wanted, end = sum(counts) + 3, time.monotonic() + 60
            while len(list(out.glob("cells/**/[0-9]*.npz"))) < wanted:
                assert time.monotonic() < end and job.poll() is None, job.communicate()
                time.sleep(0.02)
            job.send_signal(number)
            _, said = job.communicate(timeout=300)
        counts.append(len(STORE.read_all(out)))
        assert not (out / "results.csv").exists()
    assert job.returncode == 130 and b"--resume" in said
    assert 3 <= counts[0] < counts[1] < 24
    calls = []
    grid = Grid(
        [load(find_references(folder, datasets=["one"])[0][0])],
        {"slow": recorder(calls, uses="labels", random=True)},
    )
    run(grid, out, resume=True)
    assert len(calls[0]) == 24 - counts[1]
    run(grid, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert set(CONTROLS) <= set(methods())
