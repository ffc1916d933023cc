"""The benchmark of inferred expression: closed forms, leaks, resuming, refusals, real data."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from infosem_jax._settings import Method
from infosem_jax.benchmark.expression import compare, runner
from infosem_jax.benchmark.expression.cells import STORE, At, Cell
from infosem_jax.benchmark.expression.compare import against_best, gains_of_labels
from infosem_jax.benchmark.expression.runner import Grid
from infosem_jax.benchmark.expression.sources import draw_problem, find_sources, reduce
from infosem_jax.benchmark.runner import run_grid
from infosem_jax.benchmark.table import difference
from infosem_jax.cli.app import app
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.expression.choices import (
    choose_inputs,
    draw_split,
    parse_inputs,
    usual_split,
)
from infosem_jax.expression.methods import METHODS, configured, methods
from infosem_jax.expression.profiles import make_profiles

FAST = ("mean", "ridge", "knn")


def expression(samples=60, genes=40, seed=0):
    rng = np.random.default_rng(seed)
    x = 6 + rng.normal(size=(samples, 4)) @ np.random.default_rng(9).normal(size=(4, genes))
    return (x + 0.3 * rng.normal(size=x.shape)).clip(0.01, 29).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """Two cohorts, a second platform of the first, and a gene table."""
    folder = tmp_path / "data"
    folder.mkdir()
    genes = np.array([f"G{i}" for i in range(40)])
    for name, seed, n in (("one", 0, 60), ("other", 1, 50)):
        tissue = np.array(["liver", "skin", "lung", "brain", "eye"])[np.arange(n) % 5]
        samples = np.array([f"{name}{i}" for i in range(n)])
        x = expression(n, seed=seed)
        np.savez(folder / f"{name}.npz", X=x, genes=genes, samples=samples, tissue=tissue)
        if name == "one":
            x = (0.8 * x[5:] + 0.5)[:, ::-1]
            np.savez(folder / "second.npz", X=x, genes=genes[::-1], samples=samples[5:])
    table = pd.DataFrame({"gene_symbol": genes, "feature_space": ["landmark"] * 10 + [""] * 30})
    table.to_csv(folder / "geneinfo_beta.tsv", sep="\t", index=False)
    return folder


def grid(data, names=("one",), methods=FAST, **changes):
    sources, _ = find_sources(data, names)
    known = {name: METHODS[name] for name in methods}
    return Grid(sources, known, **{"inputs": ("all", "greedy:3"), "seeds": 2, **changes})


def cell(method, seed, value, genes="all", train=80, test=20):
    nothing = np.zeros((test, 1), np.float32)
    scores = {"rank_correlation": value, "gene_pearson": value / 2, "n_inputs": 5.0}
    at = At("a", "a", genes, method, "random", seed)
    few = np.zeros(3, np.float32)
    return Cell(at, scores, 1.0, (train, 5, test, 3), ("G",), ("H",), few, few, *[nothing] * 3)


def test_grid_writes_every_cell_in_the_agreed_columns(data, tmp_path):
    outcome = run_grid(grid(data, inputs=("all", "greedy:3", "all+tissue")), tmp_path / "out")
    assert len(outcome.cells) == 3 * 3 * 2 and not outcome.failures
    table = pd.read_csv(tmp_path / "out/results.csv")
    assert list(table) == [
        *("task", "dataset", "network", "genes", "method", "split", "seed", "metric"),
        *("value", "seconds"),
    ]
    assert set(table["task"]) == {"expression"} and set(table["split"]) == {"stratified:tissue"}
    assert set(table["genes"]) == {"all", "greedy:3", "all+tissue"}
    ridge = table[(table["method"] == "ridge") & (table["metric"] == "gene_pearson")]
    assert ridge.loc[ridge["genes"] == "all", "value"].min() > 0.9
    assert (table.loc[(table["method"] == "mean") & (table["metric"] == "gene_pearson"), "value"]
            == 0).all()  # fmt: skip
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<svg") >= 4 and "what labels of samples add" in page
    assert "Learning from validation samples" in (tmp_path / "out/table.md").read_text()
    assert list((tmp_path / "out/plots").glob("*.png"))


def test_cells_come_back(data, tmp_path):
    found = run_grid(grid(data, methods=("ridge",), inputs=("greedy:3",)), tmp_path / "out").cells
    again = STORE.read(next((tmp_path / "out/cells").glob("*/*/*/*/*/0.npz")))
    assert fingerprint(again) == fingerprint(found[0])
    assert found[0].metrics["n_inputs"] == 3 and len(found[0].inputs) == 3
    STORE.write(tmp_path, found[0])
    moved = tmp_path / "cells/a/b/c/d/e"
    moved.mkdir(parents=True)
    (next((tmp_path / "cells/one").rglob("0.npz"))).rename(moved / "0.npz")
    with pytest.raises(ValueError, match="moved"):
        STORE.read(moved / "0.npz")


@pytest.mark.parametrize("name", ["one", "one:second", "one@other"])
def test_truth_of_the_test_never_reaches_a_method(data, name, monkeypatch):
    (source,), _ = find_sources(data, [name])
    problem = draw_problem(source, "auto", "random", (), 0)
    chosen = choose_inputs(problem.task, parse_inputs("greedy:3"), 0)
    rng = np.random.default_rng(0)

    def permuted(profiles, rows, inputs):
        if isinstance(profiles, tuple) and not hasattr(profiles, "genes"):
            return profiles[0], permuted(profiles[1], rows, ())
        x = profiles.x.copy()
        columns = [i for i, gene in enumerate(profiles.genes) if gene not in inputs]
        x[np.ix_(rows, columns)] = rng.permutation(x[np.ix_(rows, columns)].ravel()).reshape(
            len(rows), len(columns)
        )
        return profiles._replace(x=x)

    if source.cohort is None:
        test = draw_split(source.inputs, "random", 0).test
        changed = source._replace(profiles=permuted(source.profiles, test, problem.task.inputs))
    else:
        rows = np.arange(len(source.cohort.samples))
        changed = source._replace(cohort=permuted(source.cohort, rows, problem.task.inputs))
    other = draw_problem(changed, "auto", "random", (), 0)
    assert fingerprint(other.task) == fingerprint(problem.task)
    assert choose_inputs(other.task, parse_inputs("greedy:3"), 0).inputs == chosen.inputs
    assert not np.array_equal(other.y_test, problem.y_test)


def test_methods_share_splits_pools_and_inputs(data, tmp_path):
    seen = []

    def spy(task, seed):
        seen.append((seed, fingerprint(task)))
        return METHODS["mean"].predict(task, seed)

    spies = {"a": Method(spy, "A."), "b": Method(spy, "B.")}
    run_grid(grid(data)._replace(methods=spies), tmp_path / "out")
    assert len(seen) == 8 and len(set(seen)) == 4


def test_resume_computes_only_what_is_missing(data, tmp_path):
    calls = []

    def count(task, seed):
        calls.append(seed)
        return METHODS["ridge"].predict(task, seed)

    counted = grid(data)._replace(methods={"own": Method(count, "Counted.")})
    first = run_grid(counted, tmp_path / "out").cells
    lost = sorted((tmp_path / "out/cells").rglob("*.npz"))
    lost[0].unlink()
    lost[1].write_bytes(lost[1].read_bytes()[:100])
    calls.clear()
    again = run_grid(counted, tmp_path / "out", resume=True).cells
    assert len(calls) == 2
    gone = [each._replace(seconds=0.0) for each in (*first, *again)]
    assert fingerprint(gone[:4]) == fingerprint(gone[4:])
    with pytest.raises(ValueError, match="--resume"):
        run_grid(counted, tmp_path / "out")
    with pytest.raises(ValueError, match="differs in"):
        run_grid(counted._replace(pool="random:8"), tmp_path / "out", resume=True)


def test_failures_are_told_and_spoil_nothing_else(data, tmp_path):
    def broken(task, seed):
        raise RuntimeError("no luck")

    def wrong(task, seed):
        return METHODS["mean"].predict(task._replace(x_test=task.x_test[:3]), seed)

    bad = {"broken": Method(broken, "."), "wrong": Method(wrong, "."), "mean": METHODS["mean"]}
    outcome = run_grid(grid(data, seeds=1)._replace(methods=bad), tmp_path / "out")
    assert {each.at.method for each in outcome.cells} == {"mean"}
    reasons = pd.read_csv(tmp_path / "out/failures.csv").set_index("method")["reason"]
    assert reasons.loc["broken"].iloc[0] == "RuntimeError: no luck"
    assert "Expected values of shape" in reasons.loc["wrong"].iloc[0]


def test_cross_platform_and_cohort(data, tmp_path):
    both = grid(data, ["one:second", "one@other"], seeds=2, inputs=("all",), splits=("folds:5",))
    cells = run_grid(both, tmp_path / "out").cells
    assert {(c.at.network, c.at.split) for c in cells} == {
        ("second", "folds:5"),
        ("other", "cohort"),
    }
    by = {(c.at.network, c.at.method, c.at.seed): c for c in cells}
    # 10 of 40 genes are landmarks: too few, so a quarter of all is drawn.
    assert by["second", "ridge", 0].sizes[2:] == (11, 40)
    assert by["other", "ridge", 0].sizes[2:] == (50, 30)
    assert by["second", "ridge", 0].metrics["gene_pearson"] > 0.9
    assert by["other", "ridge", 0].metrics["gene_pearson"] > 0.9


def test_difference_is_the_corrected_interval():
    a = [cell("a", seed, value) for seed, value in enumerate((0.5, 0.7, 0.6, 0.9))]
    b = [cell("b", seed, value) for seed, value in enumerate((0.4, 0.5, 0.6))]
    gap = difference(a, b, "rank_correlation")
    gaps = np.array([0.1, 0.2, 0.0])
    reach = stats.t.ppf(0.975, 2) * gaps.std(ddof=1) * np.sqrt(1 / 3 + 20 / 80)
    np.testing.assert_allclose([gap.mean, gap.low, gap.high], [0.1, 0.1 - reach, 0.1 + reach])
    assert (gap.n, gap.won, gap.verdict) == (3, 2, "open")
    assert difference(a[:1], b, "rank_correlation").verdict == "–"
    lower = [cell("b", i, each.metrics["rank_correlation"] - 0.3) for i, each in enumerate(a)]
    certain = difference(a, lower, "rank_correlation")
    assert certain.verdict == "above"


def test_each_method_meets_the_best_other_and_labels_are_paired():
    cells = [cell(m, s, v + 0.01 * s) for m, v in (("a", 0.3), ("b", 0.5), ("c", 0.4))
             for s in range(3)]  # fmt: skip
    found = {m: (best, gap.mean) for _, _, m, best, gap in against_best(cells, "rank_correlation")}
    assert {m: best for m, (best, _) in found.items()} == {"a": "b", "b": "c", "c": "b"}
    np.testing.assert_allclose(found["b"][1], 0.1)
    labelled = [cell("a", s, 0.35 + 0.01 * s, genes="all+tissue") for s in range(3)]
    ((_, genes, method, gain),) = gains_of_labels([*cells, *labelled], "rank_correlation")
    assert (genes, method, gain.won) == ("all+tissue", "a", 3)
    np.testing.assert_allclose(gain.mean, 0.05)
    order = compare.ranks(cells, "rank_correlation")
    assert order["method"].tolist() == ["b", "c", "a"] and order["rank"].tolist() == [1, 2, 3]


def test_inputs_in_words():
    assert parse_inputs("greedy:10+tissue").labels == ("tissue",)
    assert str(parse_inputs("random:1/3").amount) == "1/3"
    assert parse_inputs("all").amount is None
    for text in ("greedy", "greedy:0", "greedy:-2", "random:4/3", "best:3", "all+", "random:x",
                 "random:1/0"):  # fmt: skip
        with pytest.raises(ValueError, match="Expected inputs"):
            parse_inputs(text)


def test_splits_in_words():
    n = 60
    labels = {"tissue": np.arange(n) % 6, "donor": np.arange(n) // 5, "one": np.zeros(n)}
    p = make_profiles(expression(n), [f"G{i}" for i in range(40)], labels=labels)
    assert usual_split(p) == "grouped:donor"
    assert usual_split(p._replace(labels={"tissue": labels["tissue"]})) == "stratified:tissue"
    assert usual_split(p._replace(labels={})) == "random"
    tests = [draw_split(p, "folds:4", seed).test for seed in range(4)]
    assert sorted(np.concatenate(tests)) == list(range(n))
    assert not np.array_equal(draw_split(p, "folds:4", 4).test, tests[0])
    for text in ("grouped:nobody", "folds:x", "folds", "half", "stratified"):
        with pytest.raises(ValueError, match=r"split"):
            draw_split(p, text, 0)


def test_settings_from_tables():
    method = configured("mlp", {"hidden": [5, 4], "learning_rate": 1})
    assert method.settings.hidden == (5, 4) and method.settings.learning_rate == 1.0
    assert method.random
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        configured("rigde")
    with pytest.raises(ValueError, match="did you mean 'layers'"):
        configured("graph", {"layer": 3})
    with pytest.raises(ValueError, match=r"graph\.layers: expected a value like"):
        configured("graph", {"layers": "four"})
    with pytest.raises(ValueError, match="has no settings"):
        configured("ridge", {"strength": 1})
    assert set(methods(quick=True)) == set(METHODS)


def test_command_and_its_refusals(data, tmp_path):
    out = tmp_path / "out"
    start = ["benchmark", "expression", "--data", data, "--out", out]
    done = call(*start, "--datasets", "one", "--methods", "mean,ridge", "--quick")
    assert done.exit_code == 0, done.output
    assert "A quick look" in done.output and "ridge" in done.output
    again = call(*start, "--datasets", "one", "--methods", "mean,ridge", "--quick", "--resume")
    assert again.exit_code == 0, again.output
    versions = json.loads((out / "versions.json").read_text())
    assert "jax" in versions
    start[-1] = tmp_path / "no"
    for words, message in (
        (["--datasets", "zzz"], "choose from one, other, second"),
        (["--datasets", "one", "--methods", "rigde"], "did you mean 'ridge'"),
        (["--datasets", "one", "--inputs", "greedy"], "Expected inputs"),
        (["--datasets", "one", "--pool", "random:100"], "up to 40"),
        (["--datasets", "one", "--splits", "grouped:donor"], "expected a label 'donor'"),
        (["--datasets", "one@one:second"], "two on both"),
    ):
        failed = call(*start, *words)
        assert failed.exit_code == 2 and message in " ".join(failed.output.split()), failed.output
        assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_real_cohorts_are_inferred(real_data, tmp_path):
    names = ["gtex_520x467@hpa_tissues_200x467", "lincs_celllines_affx:lincs_celllines_rnaseq"]
    sources, _ = find_sources(real_data / "l1000", names)
    sources, _ = reduce(sources)
    known = {name: METHODS[name] for name in FAST}
    cells = run_grid(Grid(sources, known, ("all",), seeds=2), tmp_path / "out").cells
    scores = {}
    for each in cells:
        place = each.at.network, each.at.method
        scores.setdefault(place, []).append(each.metrics["gene_pearson"])
    assert np.mean(scores["hpa_tissues_200x467", "ridge"]) > 0.4
    assert np.mean(scores["lincs_celllines_rnaseq", "ridge"]) > 0.3
    assert runner.USUAL_INPUTS[0] == "all"


def call(*words):
    return CliRunner().invoke(app, [*map(str, words)], env={"JAX_NUM_CPU_DEVICES": "1"})
