"""Examples and benchmark scripts run as users run them, and give what they announce."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import anndata
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_own_method_is_benchmarked_beside_the_controls(tmp_path):
    printed = run("examples/own_method.py", "--out", tmp_path / "results")

    table = pd.read_csv(tmp_path / "results/results.csv")
    assert {"ridge", "correlation", "one_hot"} <= set(table["method"])
    assert set(table.loc[table["method"] == "one_hot", "split"]) == {
        *("seen", "unseen_target", "unseen_regulator", "unseen_both"),
    }
    (ridge, chance), *_ = numbers(r"simulated ridge: ([\d.]+), at random ([\d.]+)", printed)
    assert ridge > 1.5 * chance
    assert (tmp_path / "results/report.html").exists()


@pytest.mark.slow
def test_two_conditions_are_told_apart(tmp_path):
    printed = run("examples/stimulated_cells.py", "--out", tmp_path)

    changed = re.findall(r"^ *(R\d)", printed, re.MULTILINE)
    assert changed[0] == "R0"
    surest = re.findall(r"^ *(R\d) +[RG]\d+", printed.split("surest:")[1], re.MULTILINE)
    assert surest[:5] == ["R1"] * 5
    cells = anndata.read_h5ad(tmp_path / "activity/cells.h5ad")
    assert list(cells.obsm["infosem_activity"]) == [f"R{i}" for i in range(8)]
    assert (tmp_path / "network/report.html").exists() and (tmp_path / "activity.png").exists()


@pytest.mark.slow
def test_step_benchmark_writes_its_record_and_the_gradients_agree(tmp_path):
    record = tmp_path / "step.json"
    run("benchmarks/step_grn.py", "--quick", "--repeats", 2, "--json", record)

    found = json.loads(record.read_text())
    keys = ["command", "settings", "date", "commit", "hardware", "versions", "figures"]
    assert list(found) == keys
    assert set(found["hardware"]) == {"cpu", "cores", "memory_gib", "device"}
    packages = {"python", "jax", "numpyro", "flax", "optax", "infosem_jax"}
    assert set(found["versions"]) == packages
    speed, difference = found["figures"]
    for entry in (speed, difference):
        assert list(entry) == ["name", "value", "unit", "better", "target"]
    assert (speed["better"], speed["target"]) == ("higher", 10)
    assert speed["value"] > 0
    assert (difference["better"], difference["target"]) == ("lower", 1e-3)
    # Zero would mean that both sides were computed in the same way.
    assert 0 < difference["value"] <= 1e-3


@pytest.mark.slow
def test_embedding_step_is_that_of_pytorch(tmp_path):
    pytest.importorskip("torch")
    record = tmp_path / "speed.json"
    run("benchmarks/speed_embedding.py", "--quick", "--parts", "step", "--json", record)

    speed, difference = json.loads(record.read_text())["figures"]
    assert speed["value"] > 0 and speed["unit"] == "ratio"
    assert 0 < difference["value"] <= 1e-3


def test_deepsem_benchmark_says_which_data_it_misses(tmp_path):
    found = subprocess.run(
        [sys.executable, ROOT / "benchmarks/deepsem_grn.py", "--quick"],
        env=os.environ | {"INFOSEM_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert "INFOSEM_DATA" in found.stderr
    assert "Traceback" not in found.stderr


def run(script: str, *options: object) -> str:
    """Run a script of the repository and return what it prints."""
    command = [sys.executable, str(ROOT / script), *map(str, options)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def numbers(pattern: str, text: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, found.groups())) for found in re.finditer(pattern, text)]
