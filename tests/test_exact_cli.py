"""The exact engine as users meet it: command, folder, files, and what it refuses."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from infosem_jax import grn
from infosem_jax.cli.app import app
from infosem_jax.data import read_network, write_embedding
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import exact, priors
from infosem_jax.grn.fitting import fit, fit_many
from infosem_jax.grn.result import network

NAMES = ["source", "target", "score", "weight", "sd", "sign_agreement", "probability"]
FILES = {
    *("edges.csv", "network.h5ad", "fit.npz", "losses.csv", "config.toml", "versions.json"),
    "report.html",
}
QUICK = exact.Config(steps=5)
# JAX runs in this process already, with the devices that it has.
DEVICES = {"JAX_NUM_CPU_DEVICES": "1"}


@pytest.fixture(scope="module")
def simulation():
    return simulate(
        SimulationConfig(genes=24, regulators=6, cells=300, link="linear", dropout=0), 0
    )


@pytest.fixture(scope="module")
def folder(simulation, tmp_path_factory) -> Path:
    """Input files, and in ``out`` what a run with an embedding has written."""
    folder = tmp_path_factory.mktemp("exact")
    data = simulation.data
    table = pd.DataFrame(data.x, index=list(data.cells), columns=list(data.genes))
    table.to_csv(folder / "x.csv")
    halves = pd.DataFrame({"half": ["a", "b"] * (len(table) // 2)}, index=table.index)
    anndata.AnnData(table.astype("float32"), obs=halves).write_h5ad(folder / "x.h5ad")
    (folder / "regulators.txt").write_text("\n".join(data.regulators) + "\n")
    (folder / "exact.toml").write_text("[exact]\nsteps = 20\n")
    write_embedding(folder / "embedding.npz", simulation.embedding)
    simulation.network.to_csv(folder / "truth.csv", index=False)
    run(folder, "--effect", f"gene-similarity={folder / 'embedding.npz'}")
    return folder


def run(folder, *more, expression="x.csv", out="out", code=0):
    known = ["--regulators", folder / "regulators.txt", "--config", folder / "exact.toml"]
    command = ["fit", folder / expression, *known, "--out", folder / out]
    done = CliRunner().invoke(app, [str(part) for part in (*command, *more)], env=DEVICES)
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_a_run_writes_the_contracted_folder(folder):
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == FILES
    table = pd.read_csv(out / "edges.csv")
    assert list(table) == NAMES and len(table) == 6 * 23
    assert table["score"].is_monotonic_decreasing
    assert table.notna().all(axis=None)
    assert table["probability"].between(0, 1).all()
    assert table["probability"].diff().max() < 1e-5  # ties of scores apart
    adata = anndata.read_h5ad(out / "network.h5ad")
    assert adata.varp["infosem_score"].shape == (24, 24)
    pd.testing.assert_frame_equal(
        grn.edges(grn.from_anndata(adata)), table, check_dtype=False, rtol=1e-5
    )
    losses = pd.read_csv(out / "losses.csv")
    assert list(losses) == ["step", "loss"] and len(losses) == 20
    settings = (out / "config.toml").read_text()
    assert settings.startswith('engine = "exact"') and "steps = 20" in settings
    assert "seeds" not in settings
    assert "jax" in json.loads((out / "versions.json").read_text())
    report = (out / "report.html").read_text()
    for words in ("(r2)", "(slope)", "(strength)", "(reliability)", "log evidence", "nothing was"):
        assert words in report
    assert "How the fit went" not in report and "seeds" not in report


def test_the_settings_that_were_written_give_the_same_run(folder):
    command = ["fit", folder / "x.csv", "--regulators", folder / "regulators.txt", "--out"]
    command += [folder / "again", "--config", folder / "out" / "config.toml"]
    command += ["--effect", f"gene-similarity={folder / 'embedding.npz'}"]
    done = CliRunner().invoke(app, list(map(str, command)), env=DEVICES)
    assert done.exit_code == 0, done.output
    first = (folder / "out" / "edges.csv").read_bytes()
    assert (folder / "again" / "edges.csv").read_bytes() == first


def test_evaluate_uses_the_score_and_the_score_finds_edges(folder, simulation):
    edges, truth = folder / "out" / "edges.csv", folder / "truth.csv"

    def scores(*more):
        done = CliRunner().invoke(app, ["evaluate", str(edges), str(truth), *more])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    by_score, by_weight = scores(), scores("--weight", "weight")
    assert "ranked by score" in by_score["universe"]
    assert "ranked by |weight|" in by_weight["universe"]
    assert by_score["auprc_ratio"] > 1.5 and by_score["auroc"] > 0.6
    fitted = grn.load(folder / "out" / "fit.npz")
    own = grn.evaluate(network(fitted), simulation.network)
    assert own["auprc"] == pytest.approx(by_score["auprc"], abs=1e-6)
    table = pd.read_csv(edges).drop(columns="score")
    assert grn.evaluate(table, simulation.network)["auprc"] == by_weight["auprc"]
    assert scores("--scored-only")["auprc"] == by_score["auprc"]
    # Scores are signed: the reverse order is another one.
    reverse = pd.read_csv(edges).assign(score=lambda t: -t["score"])
    assert grn.evaluate(reverse, simulation.network)["auroc"] == pytest.approx(
        1 - by_score["auroc"], abs=0.02
    )


def test_a_table_with_an_empty_score_is_ranked_by_weight(folder, simulation, tmp_path):
    table = pd.read_csv(folder / "out" / "edges.csv").assign(score=np.nan)
    table.to_csv(tmp_path / "edges.csv", index=False)
    assert "score" not in read_network(tmp_path / "edges.csv")
    assert "|weight|" in str(grn.evaluate(table, simulation.network)["universe"])
    partly = table.assign(score=[np.nan, *[1.0] * (len(table) - 1)])
    with pytest.raises(ValueError, match="a score that is no finite number"):
        grn.evaluate(partly, simulation.network)


def test_what_a_prior_knows_is_said_once(simulation, caplog):
    cells = simulation.data
    halves = {f"half {i}": cells._replace(x=cells.x[i::2], cells=cells.cells[i::2]) for i in (0, 1)}
    known = {"known": {"edge": priors.KnownEdges(simulation.known)}, "none": None}
    with caplog.at_level("INFO", logger="infosem_jax"):
        fits = dict(grn.fit_many(halves, known, configs=QUICK))
    said = [line for line in caplog.messages if line.startswith("Prior on the")]
    assert len(fits) == 4 and len(said) == 1
    assert re.search(r"edge, KnownEdges: pairs labelled present: \d+; ", said[0])


def test_fits_come_back_from_disk(tmp_path, simulation):
    fitted = fit(
        simulation.data,
        priors.GeneEmbedding(simulation.embedding, hidden=3, rank=2),
        priors.KnownEdges(simulation.known),
        config=QUICK,
    )
    grn.save(tmp_path / "fit.npz", fitted)
    back = grn.load(tmp_path / "fit.npz")
    assert isinstance(back, exact.Fit) and back.config == fitted.config
    assert back._replace(config=None).coverage == fitted.coverage and fitted.coverage["edge"]
    kept, made = (jax.tree.leaves(each._replace(config=0)) for each in (back, fitted))
    assert len(kept) == len(made)
    for a, b in zip(kept, made, strict=True):
        np.testing.assert_array_equal(a, b)
    assert grn.edges(network(back)).equals(grn.edges(network(fitted)))


def test_a_grid_has_a_folder_each(folder):
    run(
        folder,
        *("--effect", "none", "--effect", f"gene-similarity={folder / 'embedding.npz'}"),
        *("--groupby", "half"),
        expression="x.h5ad",
        out="grid",
    )
    table = pd.read_csv(folder / "grid" / "summary.csv")
    assert len(table) == 4 and np.isfinite(table["log_evidence"]).all()
    for place in table["folder"]:
        assert {path.name for path in Path(place).iterdir()} == FILES


def test_many_fits_share_sums_and_equal_those_alone(simulation, monkeypatch):
    from infosem_jax.grn.exact import grid

    calls = []
    plain = grid.decomposed
    monkeypatch.setattr(grid, "decomposed", lambda *a, **k: (calls.append(1), plain(*a, **k))[1])
    similar = priors.GeneSimilarity(simulation.embedding)
    found = dict(fit_many([simulation.data], {"none": None, "text": similar}, configs=QUICK))
    assert len(calls) == 1 and len(found) == 2
    alone = fit(simulation.data, similar, config=QUICK)
    together = next(each for job, each in found.items() if job.prior == "text")
    np.testing.assert_allclose(together.score, alone.score, atol=1e-5)


def test_cells_on_disk_give_the_run_of_cells_in_memory(folder):
    tables = []
    for more in ([], ["--stream"]):
        run(folder, *more, expression="x.h5ad", out=f"on-disk{len(more)}")
        tables.append(pd.read_csv(folder / f"on-disk{len(more)}" / "edges.csv"))
    pd.testing.assert_frame_equal(
        *(table.sort_values(["source", "target"], ignore_index=True) for table in tables), atol=1e-3
    )


@pytest.mark.slow
def test_two_processes_of_two_devices_write_what_one_does(folder):
    code = "import jax; jax.config.update('jax_num_cpu_devices', 2);"
    code += "from infosem_jax.grn.exact import statistics; statistics.BLOCK = 32;"
    code += "from infosem_jax.cli.app import app; app()"
    words = ["fit", folder / "x.h5ad", "--stream", "--distributed"]
    words += ["--regulators", folder / "regulators.txt", "--config", folder / "exact.toml"]
    words += ["--out", folder / "together"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    cluster = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            env={**os.environ, **cluster, "JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    told = [job.communicate(timeout=200)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], told
    assert "Wrote" in told[0] and "Wrote" not in told[1]
    run(folder, "--stream", expression="x.h5ad", out="alone")
    one, both = (pd.read_csv(folder / name / "edges.csv") for name in ("alone", "together"))
    order = ["source", "target"]
    pd.testing.assert_frame_equal(
        *(table.sort_values(order, ignore_index=True) for table in (one, both)), atol=1e-3
    )


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--seeds", 3], "--seeds is for the svi engine"),
        (["--save-every", 5], "--save-every is for the svi engine"),
        (["--engine", "vi"], "expected svi or exact"),
    ],
)
def test_the_command_refuses_what_the_engine_lacks(folder, option, words):
    assert words in run(folder, *option, out="refused", code=2)
    assert not (folder / "refused").exists()


def test_settings_of_the_other_engine_or_unknown_ones_are_refused(folder, tmp_path):
    where = folder / "out" / "config.toml"
    smooth = f"graph-smooth={folder / 'truth.csv'}"
    (tmp_path / "over.toml").write_text('[effect]\nover = "regulators"\n')
    over = ("--effect", smooth, "--config", tmp_path / "over.toml")
    assert "--engine svi" in run(folder, *over, out="refused", code=2)
    assert not (folder / "refused").exists()
    assert "of the engine exact" in run(folder, "--config", where, "--engine", "svi", code=2)
    (tmp_path / "typo.toml").write_text("[exact]\nstep = 3\n")
    assert "'steps'" in run(folder, "--config", tmp_path / "typo.toml", out="refused", code=2)


def test_python_refuses_what_the_engine_lacks(folder, simulation):
    with pytest.raises(ValueError, match="no seeds"):
        fit(simulation.data, config=QUICK, seeds=2)
    with pytest.raises(ValueError, match="one engine"):
        fit_many([simulation.data], {"": None}, configs={"a": QUICK, "b": grn.Config()})


def test_a_grid_that_was_stopped_goes_on_and_a_complete_one_is_left_alone(folder, monkeypatch):
    from infosem_jax.grn.exact import grid

    made = []
    plain = grid.solution

    def solution(given, **settings):
        made.append(given.data.name)
        if len(made) == 2:
            raise KeyboardInterrupt
        return plain(given, **settings)

    monkeypatch.setattr(grid, "solution", solution)
    words = ("--groupby", "half")
    with pytest.raises((AssertionError, KeyboardInterrupt)):
        run(folder, *words, expression="x.h5ad", out="stopped")
    assert len(made) == 2 and (folder / "stopped.checkpoint").exists()
    assert "--resume to go on" in run(folder, *words, expression="x.h5ad", out="stopped", code=2)
    run(folder, *words, "--resume", expression="x.h5ad", out="stopped")
    assert len(made) == 3 and made[1] == made[2] != made[0]
    table = pd.read_csv(folder / "stopped" / "summary.csv")
    assert len(table) == 2 and not (folder / "stopped.checkpoint").exists()
    assert "nothing to resume" in run(
        folder, *words, "--resume", expression="x.h5ad", out="stopped"
    )
    other = run(folder, *words, "--resume", "--key", 3, expression="x.h5ad", out="stopped", code=2)
    assert "key (there 0, now 3)" in other and len(made) == 3
