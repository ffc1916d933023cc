"""Fits of the three trained systems are stopped, killed and resumed as if nothing had happened."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
import perturbed as made
import pytest
import tomli_w
from test_embedding_cli import write_studies
from test_expression_cli import GENES, profiles, write
from test_perturbation_cli import command

from infosem_jax.embedding import reports as of_embedding
from infosem_jax.engine import training
from infosem_jax.engine.saver import Saver
from infosem_jax.outputs import page
from infosem_jax.outputs.folder import locked
from infosem_jax.perturbation import reports

NETWORK = {"layers": 1, "channels": 3, "neighbours": 2, "epochs": 20, "check_every": 2,
           "halve_after": 2, "stop_after": 30, "members": 2}  # fmt: skip
ADAPERT = {"features": 4, "layers": 1, "latent": 4, "hidden": 8, "epochs": 12, "patience": 60,
           "members": 2}  # fmt: skip
MUSEGNN = {"dim": 4, "heads": [2, 1], "pairs": 5, "epochs": 150}


class Job(NamedTuple):
    """A command without --out, and what it writes if it is left alone."""

    words: list[str]
    results: dict[str, bytes]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write(folder / "train.npz", profiles())
    (folder / "inputs.txt").write_text("\n".join(GENES[:8]))
    made.cells().write_h5ad(folder / "screen.h5ad")
    made.edges().drop(columns="directed").to_csv(folder / "edges.csv", index=False)
    write_studies(folder)
    x = np.random.default_rng(0).normal(5, 1, (36 * 10, 12)).astype(np.float32)
    obs = pd.DataFrame({"group": [f"g{i % 36}" for i in range(len(x))]}, map(str, range(len(x))))
    anndata.AnnData(x, obs, pd.DataFrame(index=GENES[:12])).write_h5ad(folder / "cells.h5ad")
    (folder / "regulators.txt").write_text("\n".join(GENES[:4]))
    for method, settings in (("graph", NETWORK), ("adapert", ADAPERT), ("auto", MUSEGNN)):
        (folder / f"{method}.toml").write_text(tomli_w.dumps({method: settings}))
    return folder


def commands(inputs: Path, settings: Path) -> dict[str, list[str]]:
    """Return the fit of each system without --out."""
    grn = [inputs / "cells.h5ad", "--regulators", inputs / "regulators.txt"]
    words = {
        "expression": ["expression", "fit", inputs / "train.npz", "--inputs", inputs / "inputs.txt",
                       "--seeds", 2, "--method", "graph"],
        "perturbation": ["perturbation", "fit", inputs / "screen.h5ad", "--graph",
                         f"g={inputs / 'edges.csv'}", "--split", "unseen", "--seeds", 2],
        "embed": ["embed", "fit", inputs / "s0.h5ad", inputs / "s1.h5ad", "--plane", "pca"],
        "svi": ["fit", *grn, "--engine", "svi", "--seeds", 2],
        "exact": ["fit", *grn, "--groupby", "group"],
    }  # fmt: skip
    return {name: [*map(str, own), "--config", str(settings)] for name, own in words.items()}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("perturbation", "embed")]


@pytest.fixture(scope="module", params=["expression", *SLOW])
def job(request, inputs, tmp_path_factory) -> Job:
    name = request.param
    table = {"expression": "graph", "perturbation": "adapert", "embed": "auto"}[name]
    words = [*commands(inputs, inputs / f"{table}.toml")[name], "--save-every", "0"]
    out = tmp_path_factory.mktemp("whole") / "out"
    assert command(*words, "--out", out).exit_code == 0
    return Job(words, written(out))


def written(out: Path) -> dict[str, bytes]:
    """Return the files of a folder that has none beside it any more."""
    assert {path.name for path in out.parent.iterdir()} == {out.name}
    # Those of networks tell seconds, and where they lie.
    others = {"versions.json", "summary.csv"} if any(out.rglob("fit.npz")) else set()
    files = [path for path in out.rglob("*.*") if path.name not in others]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_a_signal_is_told_in_one_line_and_the_job_goes_on(job: Job, tmp_path: Path, monkeypatch):
    out = tmp_path / "out"
    number = signal.SIGINT if job.words[0] == "embed" else signal.SIGTERM
    update, chunks = Saver.update, []

    def stop(*told, **more):
        chunks.append(told)
        if len(chunks) == 3:
            signal.raise_signal(number)
        update(*told, **more)

    monkeypatch.setattr(Saver, "update", stop)
    stopped = command(*job.words, "--out", out)
    assert stopped.exit_code == 130
    assert stopped.output.splitlines()[-1].startswith(f"Saved in {out}.checkpoint; the same")
    assert "Traceback" not in stopped.output and not out.exists()
    for options, refusal in (
        ((), "pass --resume"),
        (("--resume", "--key", "5"), "key (saved 0, now 5)"),
    ):
        again = command(*job.words, "--out", out, *options)
        assert again.exit_code == 2 and refusal in again.output.replace("\n", " ")
    resumed = command(*job.words, "--out", out, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert written(out) == job.results
    done = command(*job.words, "--out", out, "--resume")
    assert done.exit_code == 0 and "nothing to resume" in done.output
    other = command(*job.words, "--out", out, "--resume", "--key", "5")
    assert other.exit_code == 2 and "key (there 0, now 5)" in other.output.replace("\n", " ")


def test_a_job_that_is_stopped_before_training_saves_nothing(job: Job, tmp_path, monkeypatch):
    monkeypatch.setattr(Saver, "open", lambda *given: signal.raise_signal(signal.SIGTERM))
    stopped = command(*job.words, "--out", tmp_path / "out")
    assert stopped.exit_code == 130 and "Stopped; nothing was saved." in stopped.output
    assert not list(tmp_path.iterdir())


def test_a_job_that_is_stopped_after_training_goes_on_with_its_results(
    job: Job, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(page, "write_page", lambda *given: signal.raise_signal(signal.SIGTERM))
        patched.setattr(reports, "write_page", page.write_page)
        patched.setattr(of_embedding, "write_page", page.write_page)
        stopped = command(*job.words, "--out", tmp_path / "out")
    assert stopped.exit_code == 130 and "Saved in" in stopped.output
    monkeypatch.setattr(training, "run_chunk", None)  # it would train again
    assert command(*job.words, "--out", tmp_path / "out", "--resume").exit_code == 0
    assert written(tmp_path / "out") == job.results


# Enough to save that no run ends between kills; a network is one fit, of which there are many.
LONG = {
    "expression": {"graph": {**NETWORK, "epochs": 90, "stop_after": 200}},
    "perturbation": {"adapert": {**ADAPERT, "epochs": 60, "patience": 200}},
    "embed": {"auto": {**MUSEGNN, "epochs": 3000}},
    "svi": {"model": {"rows": "regulators", "epochs": 150, "hidden": 4, "knots": 8}},
    "exact": {},
}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, which Windows cannot")
@pytest.mark.parametrize("system", LONG)
def test_twenty_kills_change_no_byte(system: str, inputs: Path, tmp_path: Path):
    settings = tmp_path / "long.toml"
    settings.write_text(tomli_w.dumps(LONG[system]))
    often = ["--save-every", "0"] * (system != "exact")  # which keeps every network
    words = [*commands(inputs, settings)[system], *often]
    programs = {"JAX_NUM_CPU_DEVICES": "1", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    kept = {}
    for kills in (0, 20):
        out = tmp_path / str(kills) / "out"
        out.parent.mkdir()
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parent / "killed.py"), str(kills), *words,
             "--out", str(out), "--resume"],
            env=os.environ | programs, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        kept[kills] = written(out)
    assert kept[20] == kept[0]


def test_what_cannot_be_saved_is_refused_before_training(job: Job, tmp_path: Path, monkeypatch):
    full = shutil._ntuple_diskusage(10**9, 10**9, 0)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    refused = command(*job.words, "--out", tmp_path / "out")
    assert refused.exit_code == 2 and "make room" in refused.output.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_two_processes_on_one_folder_are_kept_apart(job: Job, tmp_path: Path):
    with locked(tmp_path / "out"):
        for options in ((), ("--resume",), ("--overwrite",)):
            second = command(*job.words, "--out", tmp_path / "out", *options)
            said = second.output.replace("\n", " ")
            assert second.exit_code == 2 and "another process writes there" in said
    assert not list(tmp_path.iterdir())


def test_a_lock_ends_with_its_process(tmp_path: Path):
    code = (
        "import os; from infosem_jax.outputs.folder import locked\n"
        f"with locked({str(tmp_path / 'out')!r}): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]
    with locked(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())
