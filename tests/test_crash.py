"""Jobs that are killed, stopped and resumed end as if nothing had happened."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tomli_w

from infosem_jax.data.simulate import SimulationConfig, simulate

MODEL = {
    "rows": "regulators",
    "epochs": 120,
    "hidden": 8,
    "knots": 16,
    "held_out": 0.2,
    "rate_edges": 1e-3,
}


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return a grid of two data sets, two priors and two seeds as a command without --out."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed in (0, 1):
        data = simulate(SimulationConfig(genes=20, regulators=5, cells=200), seed).data
        table = pd.DataFrame(data.x, index=list(data.cells), columns=list(data.genes))
        table.to_csv(folder / f"x{seed}.csv")
        (folder / "regulators.txt").write_text("\n".join(data.regulators))
    (folder / "model.toml").write_text(tomli_w.dumps({"model": MODEL}))
    options = {
        "--regulators": folder / "regulators.txt",
        "--config": folder / "model.toml",
        "--seeds": 2,
        "--save-every": 0,
        "--compile-cache": folder / "cache",
    }
    words = [folder / "x0.csv", folder / "x1.csv", "--effect", "mean-absolute"]
    words += ["--effect", "horseshoe", *(word for pair in options.items() for word in pair)]
    return [sys.executable, "-m", "infosem_jax", "fit", *map(str, words)]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory):
    """Return what the command writes if it is left alone, and the seconds that it takes."""
    began = time.monotonic()
    found = finish(command, tmp_path_factory.mktemp("whole") / "out")
    assert len(found) == 4 * 6
    return found, time.monotonic() - began


def results(folder: Path) -> dict[str, bytes]:
    # The seconds that a run took are in the versions and nowhere else; the summary names folders.
    others = ("versions.json", "summary.csv")
    files = [path for path in folder.rglob("*.*") if path.name not in others]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def finish(command: list[str], out: Path, *more: str) -> dict[str, bytes]:
    done = subprocess.run(
        [*command, "--out", str(out), *more], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return results(out)


@pytest.mark.slow
def test_kills_at_any_moment_change_nothing(command: list[str], whole, tmp_path: Path):
    expected, seconds = whole
    moments, out = random.Random(2), tmp_path / "killed"
    for _ in range(2):
        # Early enough that the job does not end between kills, late enough to hit every stage.
        with subprocess.Popen(
            [*command, "--out", str(out), "--resume"], stderr=subprocess.DEVNULL
        ) as job:
            time.sleep(moments.uniform(0.2, 0.9) * min(seconds, 9))
            job.kill()
        left = [path.name for path in tmp_path.glob("killed.checkpoint/*")]
        assert sum(name.endswith(".draft") for name in left) <= 1, left
    assert finish(command, out, "--resume") == expected
    assert {path.name for path in tmp_path.iterdir()} == {"killed"}


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_says_how_to_go_on(
    command: list[str], request: pytest.FixtureRequest, tmp_path: Path, number: int
):
    out = tmp_path / "out"
    with subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True) as job:
        wait_for(tmp_path / "out.checkpoint" / "group-000.npz")
        job.send_signal(number)
        _, told = job.communicate(timeout=120)
    assert job.returncode == 130
    assert "--resume" in told
    if number == signal.SIGINT:
        return
    again = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    other = subprocess.run(
        [*command, "--out", str(out), "--resume", "--key", "5"], capture_output=True, text=True
    )
    assert other.returncode == 2
    assert "key (saved 0, now 5)" in other.stderr.replace("\n", " ")
    assert finish(command, out, "--resume") == request.getfixturevalue("whole")[0]
    done = subprocess.run([*command, "--out", str(out), "--resume"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "nothing to resume" in done.stdout


def wait_for(path: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)
