"""Examples and benchmark scripts run as users run them, and give what they announce."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_quickstart_goes_from_anndata_to_anndata(tmp_path):
    printed = run("examples/quickstart.py", "--out", tmp_path)

    counts, result = (anndata.read_h5ad(tmp_path / f) for f in ("counts.h5ad", "network.h5ad"))
    assert (result.X != counts.X).nnz == 0
    network, is_regulator = result.varp["infosem"], result.var["is_regulator"].to_numpy()
    assert is_regulator.sum() == 12
    assert np.array_equal(np.unique(network.nonzero()[0]), np.flatnonzero(is_regulator))
    assert network.diagonal().max() == 0
    edges = pd.read_csv(tmp_path / "edges.csv")
    assert len(edges) == 12 * 99
    assert edges["weight"].abs().is_monotonic_decreasing
    regulons = pd.read_csv(tmp_path / "regulons.csv")
    assert list(regulons) == ["source", "target", "weight"]
    pd.testing.assert_frame_equal(regulons, edges.loc[:199, list(regulons)])
    assert edges["source"][0] in printed.split("Strongest edges:")[1]
    ratio, chance = numbers(r"AUPRC ratio per regulator ([\d.]+), at random ([\d.]+)", printed)[0]
    assert ratio > 1.3 * chance


@pytest.mark.slow
def test_numpyro_recipes_draw_train_and_intervene():
    printed = run("examples/numpyro_user.py")
    ((before, after),) = numbers(r"loss (\d+), after training (\d+)", printed)
    assert after < before
    ((replicated,),) = numbers(r"replicated cells with theirs ([\d.]+)", printed)
    assert 0.2 < replicated < 0.99
    ((agreement,),) = numbers(r"correlation of mean effects ([\d.]+)", printed)
    assert agreement > 0.5
    ((between,),) = numbers(r"between its two seeds ([\d.]+)", printed)
    assert between > 0.8
    ((alone, together),) = numbers(r"of G\d+ ([\d.]+), was ([\d.]+)", printed)
    assert alone < together


@pytest.mark.slow
def test_own_prior_helps_and_knock_outs_move_the_true_targets():
    printed = run("examples/own_prior.py")

    pattern = r"{} +([\d.]+) \(([\d.]+)\), at random ([\d.]+)"
    deepsem, default, learned, correlation = (
        numbers(pattern.format(name), printed)[0][0]
        for name in ("DeepSEM", "default", "learned scale", "correlation")
    )
    assert learned > deepsem + 0.5
    assert learned > default > correlation
    knock_outs = numbers(
        r"([\d.]+) for its \d+ true targets, ([\d.]+) for other genes; "
        r"AUROC ([\d.]+); direction right for (\d+)%",
        printed,
    )
    assert len(knock_outs) == 3
    for targets, others, auroc, right in knock_outs:
        assert targets > others
        assert auroc > 0.55
        assert right > 70


@pytest.mark.slow
def test_reading_uncertainty_shows_what_it_says():
    printed = run("examples/reading_uncertainty.py")

    clear, unclear = (
        numbers(rf"Sign agreement {what}: the sign is right for (\d+)% of edges", printed)[0][0]
        for what in ("at least 0.9", "less")
    )
    assert clear > 80 and clear > unclear
    pattern = r"calibration error ([\d.]+), among the strongest ([\d.]+); Brier skill (-?[\d.]+)"
    (before, top_before, skill_before), (after, top_after, skill_after) = numbers(pattern, printed)
    assert after < before and top_after < top_before and skill_after > skill_before > 0
    assert "Reconstructed cells have" in printed and "looks wrong" in printed
    assert re.search(r"gene +shift +sd +probability\n *R\d+ -\d", printed)


@pytest.mark.slow
def test_the_prior_that_helped_is_found_without_labels():
    printed = run("examples/which_prior_helped.py")

    found = {
        name: numbers(rf"{name} .*: ([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\]", printed)[0]
        for name in ("true graph against reference", "true graph against own control")
    }
    assert all(low > 0 for _, low, _ in found.values())
    pattern = r"wrong graph against reference .*: ([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\]"
    assert numbers(pattern, printed)[0][1] < 0


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
def test_panels_are_completed_and_trust_tells_which_genes_are_right(tmp_path):
    printed = run("examples/infer_genes.py", "--out", tmp_path)

    ((size, random), (_, greedy)) = numbers(r"panel of (\d+): .* correlation ([\d.]+)", printed)
    assert size == 12 and greedy > random > 0.4
    ((within, _),) = numbers(r"(\d+)% of the values lie in their (\d+) %", printed)
    assert 80 < within < 97
    ((sure, others),) = numbers(
        r"Correlation there ([\d.-]+) of sure genes, ([\d.-]+) of others", printed
    )
    assert sure > others + 0.3
    adata = anndata.read_h5ad(tmp_path / "completed.h5ad")
    assert adata.shape == (50, 152) and adata.var["is_input"].sum() == 12


@pytest.mark.slow
def test_genes_of_one_programme_are_neighbours_across_studies(tmp_path):
    printed = run("examples/genes_across_studies.py", "--out", tmp_path)

    auroc = float(re.findall(r"AUROC of programmes ([\d.]+)", printed)[0])
    assert auroc > 0.9
    near = re.findall(r"G(\d+) [\d.]+", printed.split("of programme 5:")[1])
    assert sum(int(gene) % 6 == 5 for gene in near) >= 4
    assert anndata.read_h5ad(tmp_path / "genes.h5ad").shape == (140, 16)


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
