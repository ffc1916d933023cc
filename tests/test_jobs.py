"""Fits of the three trained systems are stopped, killed and resumed as if nothing had happened."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

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
    for method, settings in (("graph", NETWORK), ("adapert", ADAPERT), ("musegnn", MUSEGNN)):
        (folder / f"{method}.toml").write_text(tomli_w.dumps({method: settings}))
    return folder


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("perturbation", "embed")]


@pytest.fixture(scope="module", params=["expression", *SLOW])
def job(request, inputs, tmp_path_factory) -> Job:
    words = {
        "expression": [inputs / "train.npz", "--inputs", inputs / "inputs.txt", "--seeds", 2,
                       "--method", "graph", "--config", inputs / "graph.toml"],
        "perturbation": [inputs / "screen.h5ad", "--graph", f"g={inputs / 'edges.csv'}",
                         "--split", "unseen", "--seeds", 2, "--config", inputs / "adapert.toml"],
        "embed": [inputs / "s0.h5ad", inputs / "s1.h5ad", "--method", "musegnn",
                  "--config", inputs / "musegnn.toml", "--plane", "pca"],
    }[request.param]  # fmt: skip
    words = [request.param, "fit", *map(str, words), "--save-every", "0"]
    out = tmp_path_factory.mktemp("whole") / "out"
    assert command(*words, "--out", out).exit_code == 0
    return Job(words, written(out))


def written(out: Path) -> dict[str, bytes]:
    """Return the files of a folder that has none beside it any more."""
    assert {path.name for path in out.parent.iterdir()} == {out.name}
    return {path.name: path.read_bytes() for path in out.iterdir()}


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


@pytest.mark.slow
def test_kills_change_no_byte(job: Job, tmp_path: Path):
    kills, out = random.Random(0), tmp_path / "out"
    words = [sys.executable, "-m", "infosem_jax", *job.words, "--out", str(out), "--resume"]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    left = 3
    while left:
        with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as running:
            time.sleep(kills.uniform(3, 7))
            running.kill()
        left -= 1
    subprocess.run(words, env=environment, check=True, capture_output=True)
    assert written(out) == job.results


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
