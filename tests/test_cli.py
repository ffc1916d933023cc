"""Every command as a user runs it, and what it says when the input is bad."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from infosem_jax.data import write_embedding
from infosem_jax.data.simulate import Simulation, SimulationConfig, simulate

QUICK = """
[model]
rows = "regulators"
epochs = 4
phase_networks = 0
phase_edges = 0
hidden = 8
"""
FILES = {"edges.csv", "network.h5ad", "losses.csv", "config.toml", "versions.json", "report.html"}


def infosem(*arguments: object, wrapper: Sequence[str] = (), **options):
    command = [*wrapper, sys.executable, "-m", "infosem_jax.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, **options)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(SimulationConfig(genes=20, regulators=5, cells=40), 0)


@pytest.fixture
def inputs(tmp_path: Path, simulation: Simulation) -> Path:
    """Write the simulated data as a user's files."""
    data = simulation.data
    table = pd.DataFrame(data.x, index=list(data.cells), columns=list(data.genes))
    table.to_csv(tmp_path / "x.csv")
    anndata.AnnData(table.astype("float32")).write_h5ad(tmp_path / "x.h5ad")
    (tmp_path / "regulators.txt").write_text("\n".join(data.regulators) + "\n")
    write_embedding(tmp_path / "embedding.npz", simulation.embedding)
    simulation.known.to_csv(tmp_path / "known.csv", index=False)
    simulation.network.to_csv(tmp_path / "truth.csv", index=False)
    (tmp_path / "quick.toml").write_text(QUICK)
    return tmp_path


def quick_fit(folder: Path, *more: object, expression: str = "x.csv", **options):
    return infosem(
        "fit",
        folder / expression,
        "--regulators",
        folder / "regulators.txt",
        "--config",
        folder / "quick.toml",
        "--out",
        folder / "out",
        *more,
        **options,
    )


def test_fit_writes_the_contracted_folder(inputs: Path, simulation: Simulation):
    done = quick_fit(
        inputs,
        *("--effect", f"gene-embedding={inputs / 'embedding.npz'}"),
        *("--edge", f"known-edges={inputs / 'known.csv'}"),
        *("--seeds", 2),
        expression="x.h5ad",
    )
    assert done.returncode == 0, done.stderr
    out = inputs / "out"
    assert {path.name for path in out.iterdir()} == FILES
    edges = pd.read_csv(out / "edges.csv")
    assert list(edges) == ["source", "target", "weight", "sd", "sign_agreement", "probability"]
    assert len(edges) == 5 * 19
    assert (edges["weight"].abs().diff().dropna() <= 0).all()
    assert edges["probability"].between(0, 1).all()
    adata = anndata.read_h5ad(out / "network.h5ad")
    assert adata.varp["infosem"].shape == (20, 20)
    assert "config" in adata.uns["infosem"]
    losses = pd.read_csv(out / "losses.csv")
    assert list(losses) == ["seed", "epoch", "loss", "held_out"]
    assert len(losses) == 2 * 4
    assert "jax" in json.loads((out / "versions.json").read_text())
    report = (out / "report.html").read_text()
    assert "pairs labelled present" in report and "genes with an embedding" in report

    again = inputs / "again"
    repeat = infosem(
        "fit",
        inputs / "x.csv",
        *("--regulators", inputs / "regulators.txt", "--config", out / "config.toml"),
        *("--effect", f"gene-embedding={inputs / 'embedding.npz'}"),
        *("--edge", f"known-edges={inputs / 'known.csv'}"),
        *("--seeds", 2, "--out", again),
    )
    assert repeat.returncode == 0, repeat.stderr
    assert (again / "edges.csv").read_bytes() == (out / "edges.csv").read_bytes()

    scores = infosem("evaluate", out / "edges.csv", inputs / "truth.csv")
    assert scores.returncode == 0, scores.stderr
    assert {"auprc", "auprc_ratio", "auroc", "epr"} <= set(json.loads(scores.stdout))


def test_embed_text_and_data_list(tmp_path: Path):
    words = (
        "kinase binds membrane",
        "factor binds promoter",
        "kinase in membrane",
        "promoter factor",
    )
    rows = [f"G{i},gene {i} {words[i % 4]} number{i % 3}" for i in range(12)]
    (tmp_path / "text.csv").write_text("symbol,summary\n" + "\n".join(rows) + "\n")
    out = tmp_path / "text.npz"
    done = infosem("embed-text", tmp_path / "text.csv", "--out", out, "--dimensions", 3)
    assert done.returncode == 0, done.stderr
    assert np.load(out)["X"].shape == (12, 3)
    assert infosem("data", "list").returncode == 0
    refused = infosem("data", "fetch", "no-such-data")
    assert refused.returncode == 2 and "no-such-data" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--effect", "gene-embeding=x.npz"], ["Unknown prior", "gene-embedding"]),
        (["--effect", "known-edges=known.csv"], ["no prior of the effect"]),
        (["--effect", "gene-embedding"], ["gene-embedding=FILE"]),
        (["--effect", "laplace=x.npz"], ["without a file"]),
        (["--regulators", "missing.txt"], ["missing.txt"]),
        (["--regulators", "lower.txt"], ["None of the", "case is ignored"]),
        (["--edge", "known-edges=foreign.csv"], ["none of the", "check symbols"]),
        (["--effect", "gene-embedding=foreign.npz"], ["none of the"]),
        (["--config", "typo.toml"], ["'epoch'", "'epochs'"]),
        (["--config", "table.toml"], ["modell", "[model]"]),
    ],
)
def test_bad_input_is_refused_before_the_fit(
    inputs: Path, simulation: Simulation, arguments: list[str], words: list[str]
):
    lower = "\n".join(name.lower() for name in simulation.data.regulators)
    (inputs / "lower.txt").write_text(lower + "\n")
    (inputs / "foreign.csv").write_text("source,target,label\nTP53,MDM2,1\n")
    write_embedding(
        inputs / "foreign.npz",
        simulation.embedding._replace(names=tuple(f"X{i}" for i in range(20))),
    )
    (inputs / "typo.toml").write_text("[model]\nepoch = 3\n")
    (inputs / "table.toml").write_text("[modell]\nepochs = 3\n")
    done = quick_fit(inputs, *arguments, cwd=inputs)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in words:
        assert word.lower() in done.stderr.lower()
    assert not (inputs / "out").exists()


def test_counts_where_logs_are_expected(inputs: Path):
    counts = pd.read_csv(inputs / "x.csv", index_col=0).mul(3).round()
    counts.to_csv(inputs / "counts.csv")
    done = quick_fit(inputs, "--drop-constant", expression="counts.csv")
    assert done.returncode == 2 and "log1p_cpm_zscore" in done.stderr


def test_an_output_folder_that_exists_is_kept(inputs: Path):
    out = inputs / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    done = quick_fit(inputs)
    assert done.returncode == 2 and "--overwrite" in done.stderr
    assert (out / "mine.txt").read_text() == "mine"
    done = quick_fit(inputs, "--overwrite", "--seeds", 1)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == FILES


@pytest.mark.skipif(os.name != "posix", reason="file size limits are a POSIX feature")
@pytest.mark.parametrize("limit", [2, 20])  # KiB: too small for the edges, for the h5ad file
def test_a_full_disk_leaves_nothing_behind(inputs: Path, limit: int):
    before = {path.name for path in inputs.iterdir()}
    limited = f'ulimit -f {limit}; exec "$@"'
    done = quick_fit(inputs, "--seeds", 1, wrapper=["bash", "-c", limited, "bash"])
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "too large" in done.stderr
    assert {path.name for path in inputs.iterdir()} == before


@pytest.mark.slow
def test_demo_shows_what_priors_are_worth(tmp_path: Path):
    done = infosem("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "demo" / "comparison.csv")
    assert list(table) == ["variant", "seed", "auprc"]
    assert {path.name for path in (tmp_path / "demo").iterdir()} == FILES | {"comparison.csv"}
    wide = table.pivot(index="seed", columns="variant", values="auprc")
    mean = wide.mean()
    assert len(wide) >= 3
    assert mean["B"] >= 1.2 * mean["none"]
    assert mean["BC"] >= 1.5 * mean["none"]
    spread = max(wide["none"].std(), wide["B-shuffled"].std())
    assert abs(mean["B-shuffled"] - mean["none"]) <= spread
    for variant, row in table.groupby("variant"):
        assert str(variant) in done.stdout and len(row) == len(wide)
