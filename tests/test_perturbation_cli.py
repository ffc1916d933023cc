"""infosem perturbation and infosem benchmark perturbation: results, resuming, and refusals."""

import json
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import perturbed as made
import pytest
from typer.testing import CliRunner

from infosem_jax._settings import Method
from infosem_jax.benchmark.perturbation.cells import STORE
from infosem_jax.benchmark.perturbation.compare import against_best, resampled
from infosem_jax.benchmark.perturbation.runner import Grid
from infosem_jax.benchmark.runner import run_grid
from infosem_jax.benchmark.table import difference
from infosem_jax.cli.app import app
from infosem_jax.perturbation.methods import methods
from infosem_jax.perturbation.screen import Screen, read_screen

TINY = """[adapert]
features = 4
layers = 1
latent = 4
hidden = 8
epochs = 2
members = 1
"""


@pytest.fixture
def files(tmp_path):
    made.cells().write_h5ad(tmp_path / "screen.h5ad")
    made.edges().drop(columns="directed").to_csv(tmp_path / "edges.csv", index=False)
    np.savez(
        tmp_path / "text.npz",
        genes=np.array(made.names()),
        X=np.eye(3, dtype=np.float32)[np.repeat(range(3), 5)],
    )
    signed, rows = made.signed(), []
    for i, (name,) in enumerate(signed.perturbed):
        for g, gene in enumerate(signed.genes):
            if signed.known[i, g]:
                part = "test" if i in made.split().test else "train"
                sign = signed.sign[i, g]
                rows.append(
                    (name, gene, int(sign != 0), 1 if sign > 0 else 0 if sign else -1, part)
                )
    columns = pd.Index(["pert", "gene", "label", "direction", "split"])
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "signed.csv", index=False)
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


def command(*arguments):
    # The number of devices cannot change once other tests of this process have used them.
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"JAX_NUM_CPU_DEVICES": "1"})


def knowledge(files, datasets=""):
    return "--graph", f"{datasets}groups={files / 'edges.csv'}", "--text", files / "text.npz"


@pytest.mark.slow
def test_fit_as_a_program_then_predict_and_explain(files):
    out = files / "fit"
    call = [
        "perturbation", "fit", files / "screen.h5ad", *knowledge(files), "--split", "unseen",
        "--out", out, "--config", files / "tiny.toml",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "infosem_jax", *map(str, call)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "3 test perturbations" in said
    assert {path.name for path in out.iterdir()} == {
        "model.npz", "predictions.h5ad", "scores.csv", "metrics.json", "config.toml",
        "versions.json", "report.html",
    }  # fmt: skip
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {"adapert", "mean"} and metrics["mean"]["pearson_reference"] == 0
    page = (out / "report.html").read_text()
    assert "<svg" in page and 'id="explorer"' in page
    assert "Names that end in _affected are means over the 3 of 3 perturbations" in page
    # The model comes back in another process, this one.
    done = command(
        "perturbation", "predict", out, "--perturb", "p00,p10+p20", "--out", files / "new.h5ad"
    )
    assert done.exit_code == 0, done.output
    found = anndata.read_h5ad(files / "new.h5ad")
    assert list(found.obs_names) == ["p00", "p10+p20"]
    assert {"de", "up", "sd", "mean"} <= set(found.layers)
    assert found.obs["informed"].all()
    done = command("perturbation", "explain", out, "--perturb", "p00", "--out", files / "why")
    assert done.exit_code == 0 and "p00" in done.output
    nodes = pd.read_csv(files / "why" / "nodes.csv")
    assert set(nodes["gene"]) == {f"p0{i}" for i in range(5)}


def test_signed_tables_use_their_published_split(files):
    out = files / "fit"
    done = command(
        "perturbation", "fit", files / "signed.csv", *knowledge(files), "--method", "neighbours",
        "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    scores = json.loads((out / "metrics.json").read_text())["neighbours"]
    assert scores["de_auroc"] == 1.0
    predicted = anndata.read_h5ad(out / "predictions.h5ad")
    assert sorted(predicted.obs["perturbation"]) == ["p04", "p14", "p24"]
    done = command(
        "perturbation", "predict", out, "--perturb", "nowhere", "--out", files / "x.h5ad"
    )
    assert done.exit_code == 0 and not anndata.read_h5ad(files / "x.h5ad").obs["informed"].any()
    done = command("perturbation", "explain", out, "--perturb", "p00", "--out", files / "w")
    assert done.exit_code == 2 and not (files / "w").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("--method", "adapret"), "did you mean"),
        (("--split", "leave_one_out"), "15 folds"),
        (("--split", "combination"), "combinations"),
        (("--perturbation", "nothing"), "no column"),
        (("--control", "nothing"), "no cell is a control"),
        (("--least-cells", "1000"), "at least 1000"),
        (("--keep", "batch"), "COLUMN=LEAST"),
        (("--graph", "x=nothing.csv"), "no such file"),
        (("--fdr", "0"), "fdr"),
        (("--graph", "x=formula.csv"), "read as formulas"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(files, changes, words, monkeypatch):
    out = files / "fit"
    monkeypatch.chdir(files)
    (files / "formula.csv").write_text("source,target\n=1+1,p00\np00,p01\n")
    done = command(
        "perturbation", "fit", files / "screen.h5ad", "--method", "mean", "--split", "unseen",
        "--out", out, *changes,
    )  # fmt: skip
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
    assert not out.exists()


def grid(files, **changes) -> Grid:
    known = made.knowledge()
    screen = read_screen(files / "screen.h5ad")
    chosen = {name: methods(quick=True)[name] for name in ("mean", "neighbours")}
    return Grid([screen], {"groups": known}, chosen, ("folds:5",), 2)._replace(**changes)


@pytest.mark.slow
def test_a_grid_is_resumed_and_methods_see_no_truth(files, tmp_path):
    out = files / "out"
    asked = []

    def spy(tasks, seed):
        asked.append(seed)
        for task in tasks:
            own = set(task.train.perturbed)
            assert not own & set(task.perturbed)
            assert task.train.halves is None
        return methods()["mean"].predict(tasks, seed)

    own = grid(files)
    first = run_grid(own, out)
    assert len(first.cells) == 6 and not first.failures
    by = {(c.at.method, c.at.seed): c for c in first.cells}
    assert by["neighbours", 0].metrics["pearson_reference"] > 0.8
    assert by["mean", 0].metrics["pearson_reference"] == pytest.approx(0, abs=1e-6)
    assert by["mean", 0].metrics["wr2_calibrated"] == pytest.approx(0, abs=1e-6)
    assert by["replicate", 0].metrics["pearson_delta"] > 0.8
    for name, better in (("mse", -1), ("fidelity", 1), ("virtual_cell", 1)):
        mean, near, half = (by[m, 0].metrics[name] for m in ("mean", "neighbours", "replicate"))
        assert better * (near - mean) > 0.1 and better * (half - mean) > 0.1
    assert "Mean of the six, placed" in (out / "table.md").read_text()
    again = run_grid(
        own._replace(methods=own.methods | {"spy": Method(spy, "A spy.")}), out, resume=True
    )
    assert asked == [0, 1] and len(again.cells) == 8
    table = pd.read_csv(out / "results.csv")
    assert set(table["task"]) == {"perturbation"} and "spy" in set(table["method"])
    assert len(table.groupby(["method", "seed"])) == 8
    assert (out / "report.html").exists() and "spy" in (out / "table.md").read_text()
    with pytest.raises(ValueError, match="not empty"):
        run_grid(own, out)
    gap = difference([by["neighbours", s] for s in (0, 1)], [by["mean", s] for s in (0, 1)],
                     "pearson_reference")  # fmt: skip
    assert gap.won == 2 and gap.mean > 0.5
    low, high = resampled([by["neighbours", 0]], [by["mean", 0]], "pearson_delta")
    assert low <= high
    assert {m for _, m, *_ in against_best(first.cells, "pearson_delta")} == {"mean", "neighbours"}
    assert len(STORE.read_all(out)) == 8


def test_failures_are_told_and_the_others_go_on(files):
    def broken(tasks, seed):
        raise RuntimeError("no luck")

    def short(tasks, seed):
        return [p._replace(change=p.change[:, :3]) for p in methods()["mean"].predict(tasks, seed)]

    chosen = {"broken": Method(broken, "Broken."), "short": Method(short, "Short.")}
    own = grid(files)
    found = run_grid(own._replace(methods=own.methods | chosen, seeds=1), files / "out")
    assert {f.at.method for f in found.failures} == {"broken", "short"}
    assert len(found.cells) == 3
    assert "no luck" in (files / "out" / "failures.csv").read_text()


def test_the_benchmark_command(files):
    both = "--data", files, "--datasets", "signed,screen"
    out = files / "out"
    done = command(
        "benchmark", "perturbation", *both, *knowledge(files, "all:"), "--quick",
        "--methods", "mean,neighbours", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "de_auroc" in done.output
    table = pd.read_csv(out / "results.csv")
    assert set(table["dataset"]) == {"signed", "screen"}
    assert set(table["method"]) == {"mean", "neighbours", "replicate"}
    assert set(table["split"]) == {"published", "leave_one_out"}
    done = command("benchmark", "perturbation", *both, "--out", out)
    assert done.exit_code == 2


@pytest.mark.slow
def test_the_benchmark_command_trains_a_network_that_ranks_what_changes(files):
    out = files / "out"
    done = command(
        "benchmark", "perturbation", "--data", files, "--datasets", "signed",
        *knowledge(files, "all:"), "--methods", "adapert", "--quick", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out / "results.csv")
    assert table.set_index("metric")["value"]["de_auroc"] > 0.5


def test_tables_have_no_replicate_and_no_cells(files):
    screen = read_screen(files / "signed.csv")
    assert isinstance(screen, Screen) and not screen.controls
    found = run_grid(grid(files, screens=[screen], splits=("auto",), seeds=1), files / "out")
    assert {c.at.method for c in found.cells} == {"mean", "neighbours"}
    assert {c.at.split for c in found.cells} == {"published"}


@pytest.mark.slow
def test_the_mean_and_neighbours_on_papalexi_are_where_they_were_measured(real_data):
    path = real_data / "perturb" / "sc" / "papalexi2021_thp1_panel.h5ad"
    from infosem_jax.perturbation.baselines import METHODS
    from infosem_jax.perturbation.metrics import evaluate
    from infosem_jax.perturbation.screen import read_knowledge
    from infosem_jax.perturbation.splits import draw_splits
    from infosem_jax.perturbation.task import Prediction, make_problem

    responses = read_screen(path, least_counts=30.0, keep=[("guide_frac", 0.5)]).responses
    assert (responses.n_cells.sum() < 19756) and len(responses.perturbed) == 25
    affected = (responses.sign != 0).sum(1) >= 5
    assert affected.sum() == 8
    graph = {"string": real_data / "perturb" / "kg" / "stringdb_pairs.csv.gz"}
    genes = [g for p in responses.perturbed for g in p]
    known = read_knowledge(graph, None, genes)
    splits = draw_splits(responses, "leave_one_out", 0)
    tasks = [make_problem(responses, split, known).task for split in splits]
    scores = {}
    for name in ("mean", "graph_neighbours"):
        found = METHODS[name].predict(tasks, 0)
        change = np.empty(responses.delta.shape, np.float32)
        for split, each in zip(splits, found, strict=True):
            change[split.test] = each.change
        scores[name] = evaluate(Prediction(change, np.abs(change), change), responses).metrics
    assert scores["mean"]["pearson_delta_affected"] == pytest.approx(0.52, abs=0.02)
    assert scores["graph_neighbours"]["pearson_delta_affected"] > 0.53
