"""Every command as a user runs it, and what it says when the input is bad."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from infosem_jax import __version__
from infosem_jax.cli import _common as cli_common
from infosem_jax.cli import _progress as cli_progress
from infosem_jax.cli.app import app
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
RESUME = ("--seeds", 2, "--resume", "--save-every", 0)
FILES = {
    *("edges.csv", "network.h5ad", "fit.npz", "losses.csv", "config.toml", "versions.json"),
    "report.html",
}


def infosem(*arguments: object, wrapper: Sequence[str] = (), **options):
    command = [*wrapper, sys.executable, "-m", "infosem_jax", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, **options)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(SimulationConfig(genes=20, regulators=5, cells=40), 0)


@pytest.fixture
def inputs(tmp_path: Path, simulation: Simulation) -> Path:
    return write_inputs(tmp_path, simulation)


def write_inputs(folder: Path, simulation: Simulation) -> Path:
    """Write the simulated data as a user's files."""
    data = simulation.data
    table = pd.DataFrame(data.x, index=list(data.cells), columns=list(data.genes))
    table.to_csv(folder / "x.csv")
    anndata.AnnData(table.astype("float32")).write_h5ad(folder / "x.h5ad")
    (folder / "regulators.txt").write_text("\n".join(data.regulators) + "\n")
    write_embedding(folder / "embedding.npz", simulation.embedding)
    simulation.known.to_csv(folder / "known.csv", index=False)
    simulation.network.to_csv(folder / "truth.csv", index=False)
    (folder / "quick.toml").write_text(QUICK)
    return folder


def fit_command(folder: Path, expression: str = "x.csv") -> list[object]:
    command = ["fit", folder / expression, "--regulators", folder / "regulators.txt"]
    return [*command, "--config", folder / "quick.toml", "--out", folder / "out"]


def quick_fit(folder: Path, *more: object, expression: str = "x.csv", **options):
    return infosem(*fit_command(folder, expression), *more, **options)


def invoke(*arguments: object):
    """Run a command in this process, whose devices are what they are."""
    return CliRunner().invoke(app, [*map(str, arguments)], env={"JAX_NUM_CPU_DEVICES": "1"})


def in_process(folder: Path, *more: object, expression: str = "x.csv"):
    return invoke(*fit_command(folder, expression), *more)


def refusal(folder: Path, *more: object, **options) -> str:
    result = in_process(folder, *more, **options)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


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
    names = "source,target,score,weight,sd,sign_agreement,probability"
    assert list(edges) == names.split(",") and edges["score"].isna().all()
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
    repeat = invoke(
        "fit",
        inputs / "x.csv",
        *("--regulators", inputs / "regulators.txt", "--config", out / "config.toml"),
        *("--effect", f"gene-embedding={inputs / 'embedding.npz'}"),
        *("--edge", f"known-edges={inputs / 'known.csv'}"),
        *("--seeds", 2, "--out", again),
    )
    assert repeat.exit_code == 0, repeat.output
    assert (again / "edges.csv").read_bytes() == (out / "edges.csv").read_bytes()

    scores = invoke("evaluate", out / "edges.csv", inputs / "truth.csv")
    assert scores.exit_code == 0, scores.output
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
    done = invoke("embed-text", tmp_path / "text.csv", "--out", out, "--dimensions", 3)
    assert done.exit_code == 0, done.output
    assert np.load(out)["X"].shape == (12, 3)
    assert invoke("data", "list").exit_code == 0
    refused = invoke("data", "fetch", "no-such-data")
    assert refused.exit_code == 2 and "no-such-data" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--effect", "gene-embeding=x.npz"], ["Unknown prior", "gene-embedding"]),
        (["--effect", "known-edges=known.csv"], ["no prior of the effect but of edges (--edge)"]),
        (["--effect", "gene-embedding"], ["gene-embedding=FILE"]),
        (["--effect", "laplace=x.npz"], ["without a file"]),
        (["--regulators", "missing.txt"], ["missing.txt"]),
        (["--regulators", "other.txt"], ["None of the", "Nearest symbols"]),
        (["--edge", "known-edges=foreign.csv"], ["none of the", "check symbols"]),
        (["--effect", "gene-embedding=foreign.npz"], ["none of the"]),
        (["--config", "typo.toml"], ["'epoch'", "'epochs'"]),
        (["--config", "table.toml"], ["modell", "[model]"]),
    ],
)
def test_bad_input_is_refused_before_the_fit(
    inputs: Path,
    simulation: Simulation,
    arguments: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    other = "\n".join(f"{name}Z" for name in simulation.data.regulators)
    (inputs / "other.txt").write_text(other + "\n")
    (inputs / "foreign.csv").write_text("source,target,label\nTP53,MDM2,1\n")
    write_embedding(
        inputs / "foreign.npz",
        simulation.embedding._replace(names=tuple(f"X{i}" for i in range(20))),
    )
    (inputs / "typo.toml").write_text("[model]\nepoch = 3\n")
    (inputs / "table.toml").write_text("[modell]\nepochs = 3\n")
    monkeypatch.chdir(inputs)
    told = refusal(inputs, *arguments)
    for word in words:
        assert word.lower() in told.lower()
    assert not (inputs / "out").exists()


def test_counts_where_logs_are_expected(inputs: Path):
    counts = pd.read_csv(inputs / "x.csv", index_col=0).mul(3).round()
    counts.to_csv(inputs / "counts.csv")
    done = in_process(inputs, expression="counts.csv")
    assert done.exit_code == 0, done.output
    recorded = (inputs / "out" / "config.toml").read_text()
    assert 'normalisation = "log1p_cpm_zscore"' in recorded
    settings = (inputs / "quick.toml").read_text()
    (inputs / "quick.toml").write_text(f'{settings}normalisation = "zscore"\n')
    assert "log1p_cpm_zscore" in refusal(inputs, "--overwrite", expression="counts.csv")


def test_an_output_folder_that_exists_is_kept(inputs: Path):
    out = inputs / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert "--overwrite" in refusal(inputs)
    assert (out / "mine.txt").read_text() == "mine"
    assert "other files (mine.txt)" in refusal(inputs, "--overwrite")
    assert (out / "mine.txt").read_text() == "mine"
    (out / "mine.txt").rename(out / "edges.csv")
    done = in_process(inputs, "--overwrite")
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == FILES


@pytest.mark.skipif(os.name != "posix", reason="file size limits are a POSIX feature")
# KiB: too small for the edges, for the h5ad file
@pytest.mark.parametrize("limit", [20, 2])
@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(inputs: Path, limit: int):
    before = {path.name for path in inputs.iterdir()}
    limited = f'ulimit -f {limit}; exec "$@"'
    done = quick_fit(inputs, "--seeds", 1, wrapper=["bash", "-c", limited, "bash"])
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "too large" in done.stderr
    assert {path.name for path in inputs.iterdir()} == before


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the processes of this file keep what they compiled."""
    return tmp_path_factory.mktemp("private") / "new" / "cache"


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, simulation: Simulation, cache: Path
) -> tuple[Path, subprocess.CompletedProcess]:
    """Fit once, as one process, ready to go on from checkpoints that are not there."""
    folder = write_inputs(tmp_path_factory.mktemp("alone"), simulation)
    done = quick_fit(folder, *RESUME, "--compile-cache", cache)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.mark.slow
def test_a_grid_of_inputs_and_priors(inputs: Path):
    shutil.copytree(inputs, inputs / "other", ignore=shutil.ignore_patterns("other"))
    files = [inputs / "embedding.npz", inputs / "other" / "embedding.npz"]
    done = in_process(
        inputs,
        inputs / "other" / "x.csv",
        *(word for file in files for word in ("--effect", f"gene-embedding={file}")),
        *("--edge", "none", "--edge", f"known-edges={inputs / 'known.csv'}"),
        *("--seeds", 1, "--top", 7, "--save-every", 0),
    )
    assert done.exit_code == 0, done.output
    out = inputs / "out"
    table = pd.read_csv(out / "summary.csv")
    priors = [f"gene-embedding={file}" for file in files]
    priors += [f"{name}+known-edges" for name in priors]
    names = [f"{inputs.name}/x.csv", "other/x.csv"]
    assert set(zip(table["data"], table["prior"], strict=True)) == {
        (name, prior) for name in names for prior in priors
    }
    assert len(table) == 8 and (table["sound_seeds"] == 1).all() and table["loss"].notna().all()
    for folder in map(Path, table["folder"]):
        assert out in folder.parents
        assert {path.name for path in folder.iterdir()} == FILES
        assert len(pd.read_csv(folder / "edges.csv")) == 7
    assert not (inputs / "out.checkpoint").exists()
    assert "Wrote 8 networks" in done.stdout and "summary.csv" in done.stdout
    for told in (*(f"{name}: 40 cells, 20 genes" for name in names), "known-edges: pairs"):
        assert told in done.stderr
    assert "100/100 %" in done.stderr and "left" in done.stderr
    # All are of the same data with the same priors, so their networks are, and each says whose.
    for _, same in table.groupby(table["prior"].str.endswith("known-edges")):
        weights = [pd.read_csv(Path(folder) / "edges.csv")["weight"] for folder in same["folder"]]
        np.testing.assert_allclose(weights[1:], weights[:1] * 3, rtol=1e-4)
    for name, folder in zip(table["data"], table["folder"], strict=True):
        assert f"Network of {name}" in (Path(folder) / "report.html").read_text(encoding="utf-8")


def test_one_network_for_each_group(inputs: Path):
    adata = anndata.read_h5ad(inputs / "x.h5ad")
    adata.obs["type"] = ["T/cell"] * 18 + [".."] * 18 + ["few"] * 2 + [None] * 2
    adata.write_h5ad(inputs / "x.h5ad")
    before = {path.name for path in inputs.iterdir()}
    done = in_process(inputs, "--groupby", "type", "--seeds", 1, expression="x.h5ad")
    assert done.exit_code == 0, done.output
    assert {path.name for path in inputs.iterdir()} == before | {"out"}
    table = pd.read_csv(inputs / "out" / "summary.csv", index_col="data")
    assert set(table.index) == {"T/cell", ".."}
    for name, folder in table["folder"].items():
        folder = Path(folder)
        assert ".." not in folder.parts and inputs / "out" in folder.parents
        assert {path.name for path in folder.iterdir()} == FILES
        assert f"x {name}" in (folder / "report.html").read_text(encoding="utf-8")
    assert "fewer than 10 cells: {'few': 2}" in done.stderr
    assert "2 cells had no group" in done.stderr
    assert "x T/cell: 18 cells, 20 genes, 5 candidate regulators" in done.stderr


@pytest.mark.slow
def test_cells_are_streamed_from_both_kinds_of_store(inputs: Path):
    table = pd.read_csv(inputs / "x.csv", index_col=0)
    counts = np.random.default_rng(0).poisson(np.exp(table.clip(-3, 2))).astype("float32")
    adata = anndata.AnnData(sp.csr_matrix(counts), table[[]], pd.DataFrame(index=table.columns))
    adata.write_h5ad(inputs / "counts.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions of the format
        adata.write_zarr(inputs / "counts.zarr")
    quick = (inputs / "quick.toml").read_text()
    (inputs / "quick.toml").write_text(f'{quick}normalisation = "zscore"\n')
    refused = refusal(inputs, "--stream", expression="counts.h5ad")
    assert "look like counts" in refused and "log1p_cpm_zscore" in refused

    settings = QUICK.replace('"regulators"', '"regulators+2"')
    (inputs / "quick.toml").write_text(f'{settings}normalisation = "log1p_cpm_zscore"\n')
    edges = []
    for kind in ("h5ad", "zarr"):
        more = ("--stream", "--seeds", 1, "--overwrite")
        done = in_process(inputs, *more, expression=f"counts.{kind}")
        assert done.exit_code == 0, done.output
        assert {path.name for path in (inputs / "out").iterdir()} == FILES
        assert "counts: 40 cells" in done.stderr and "One seed only" in done.stdout
        assert "stream = true" in (inputs / "out" / "config.toml").read_text()
        edges.append((inputs / "out" / "edges.csv").read_bytes())
    assert edges[0] == edges[1]


@pytest.mark.slow
def test_two_processes_write_what_one_does(alone, cache: Path):
    inputs, _ = alone
    expected = {name: (inputs / "out" / name).read_bytes() for name in ("edges.csv", "losses.csv")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    def together(*more: object) -> list[tuple[int, str, str]]:
        arguments = [inputs / "x.csv", "--regulators", inputs / "regulators.txt", "--config"]
        arguments += [inputs / "quick.toml", "--seeds", 2, "--compile-cache", cache]
        arguments += ["--distributed", *more]
        command = [sys.executable, "-m", "infosem_jax", "fit", *map(str, arguments)]
        cluster = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
        jobs = [
            subprocess.Popen(
                command,
                env={**os.environ, **cluster, "JAX_PROCESS_ID": str(i)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(2)
        ]
        try:
            told = [job.communicate(timeout=200) for job in jobs]
        finally:
            for job in jobs:
                job.kill()
        return [(job.returncode, *words) for job, words in zip(jobs, told, strict=True)]

    first, second = together("--out", inputs / "both")
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert "Wrote" in first[1] and "Wrote" not in second[1]
    assert {path.name for path in (inputs / "both").iterdir()} == FILES
    for name, content in expected.items():
        assert (inputs / "both" / name).read_bytes() == content

    first, second = together("--out", inputs / "out")
    assert (first[0], second[0]) == (2, 2), (first, second)
    assert "--overwrite" in first[2] and "first process refused" in second[2]
    assert "Traceback" not in first[2] + second[2]


def test_a_run_to_resume_may_be_new_complete_or_another(alone, cache: Path):
    inputs, done = alone
    if os.name == "posix":
        assert cache.stat().st_mode & 0o777 == 0o700
    # The quick programs are kept as well, of which there are dozens.
    assert len(list(cache.glob("*-cache"))) > 20
    assert "report.html" in done.stdout and "One seed only" not in done.stdout
    before = {path.name: path.stat().st_mtime_ns for path in (inputs / "out").iterdir()}
    assert before.keys() == FILES
    assert not (inputs / "out.checkpoint").exists()
    again = in_process(inputs, *RESUME)
    assert again.exit_code == 0 and "nothing to resume" in again.output
    other = refusal(inputs, *RESUME, "--key", 4)
    assert "key (there 0, now 4)" in other and "--overwrite" in other
    after = {path.name: path.stat().st_mtime_ns for path in (inputs / "out").iterdir()}
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume", "--overwrite"], ["--resume or --overwrite"]),
        (["--save-every", "-1"], ["--save-every"]),
        (["--top", "0"], ["--top"]),
        (["other.csv", "--name", "mine"], ["--name", "several"]),
        (["x.csv"], ["names of their own", "x.csv"]),
        (["--effect", "laplace", "--effect", "laplace"], ["differ", "laplace"]),
        (["--edge", "none", "--edge", "none"], ["differ", "none"]),
        (["--groupby", "type"], [".h5ad"]),
        (["--groupby", "type", "--name", "mine"], ["--name"]),
        (["--groupby", "type", "--variant", "a"], ["--variant"]),
        (["--stream"], ["x.csv", ".h5ad files and .zarr folders"]),
        (["--stream", "--groupby", "type"], ["--stream or --groupby"]),
        (["--stream", "--orientation", "genes_in_rows"], ["--orientation"]),
        (["--orientation", "sideways"], ["sideways", "genes_in_rows"]),
        (["--out", "x.csv"], ["expected a folder"]),
        (["--out", "x.csv/out"], ["cannot write to"]),
        (["--compile-cache", "x.csv"], ["expected a folder"]),
        pytest.param(
            ["--compile-cache", "open"],
            ["others may write", "chmod go-w"],
            marks=pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's"),
        ),
    ],
)
def test_options_that_do_not_go_together(inputs: Path, arguments: list[str], words: list[str]):
    shutil.copy(inputs / "x.csv", inputs / "other.csv")
    (inputs / "open").mkdir()
    (inputs / "open").chmod(0o770)
    told = refusal(
        inputs,
        *(
            inputs / a if a.split("/")[0] in {"x.csv", "other.csv", "open"} else a
            for a in arguments
        ),
    )
    for word in words:
        assert word in told
    assert not (inputs / "out").exists() and not any((inputs / "open").iterdir())


def test_groups_of_a_column_that_is_not_there(inputs: Path):
    told = refusal(inputs, "--groupby", "type", expression="x.h5ad")
    assert "no column 'type'" in told


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({}, ["cannot join a cluster", "JAX_COORDINATOR_ADDRESS"]),
        ({"ADDRESS": "127.0.0.1:9999"}, ["JAX_NUM_PROCESSES", "JAX_PROCESS_ID"]),
        ({"ADDRESS": "127.0.0.1", "NUMBER": "1", "ID": "0"}, ["HOST:PORT", "'127.0.0.1'"]),
        ({"ADDRESS": "127.0.0.1:9999", "NUMBER": "2", "ID": "2"}, ["process_id"]),
    ],
)
def test_a_cluster_that_cannot_be_joined(inputs: Path, cluster: dict[str, str], words: list[str]):
    names = {
        "ADDRESS": "JAX_COORDINATOR_ADDRESS",
        "NUMBER": "JAX_NUM_PROCESSES",
        "ID": "JAX_PROCESS_ID",
    }
    env = {**os.environ, **{names[name]: value for name, value in cluster.items()}}
    done = quick_fit(inputs, "--distributed", env=env)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (inputs / "out").exists()


@pytest.mark.slow
def test_demo_shows_what_priors_are_worth(tmp_path: Path):
    done = infosem("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Prior on the effect, ") == 1
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


def test_progress_is_lines_of_their_own_where_no_terminal_redraws(monkeypatch, capsys):
    clock = iter([0.0, 30.0, 61.0, 100.0, 130.0])
    monkeypatch.setattr(cli_progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with cli_progress.progress(8, "fits") as update:
        for done in range(4):
            update(done, f"loss {done}")
    assert capsys.readouterr().err.splitlines() == [
        "1/8 fits, ? left, loss 1",
        "3/8 fits, 172 s left, loss 3",
    ]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--quiet"], ["a warning"]),
        ([], ["a note", "a warning", "2/2 fits, 0 s left, loss 1"]),
        (["--verbose"], ["a detail", "a note", "a warning", "2/2 fits, 0 s left, loss 1"]),
    ],
)
def test_how_much_is_shown_beside_results(options: list[str], shown: list[str], capsys):
    listed = CliRunner().invoke(app, [*options, "data", "list"])
    assert listed.exit_code == 0 and "licence" in listed.stdout
    logger = logging.getLogger("infosem_jax")
    with cli_common.plain_errors(), cli_progress.progress(2, "fits") as update:
        logger.debug("a detail")
        cli_common.note("a note")
        logger.warning("a warning")
        update(2, "loss 1")
    told = capsys.readouterr()
    assert told.err.splitlines() == shown and told.out == ""


@pytest.mark.parametrize("slow", [True, False])
def test_a_long_compilation_is_told(slow: bool, monkeypatch, capsys):
    monkeypatch.setattr(cli_progress, "SLOW_COMPILATION", 0.01 if slow else 5.0)
    with cli_common.plain_errors(), cli_progress.progress(2, "fits") as update:
        time.sleep(0.1)
        update(2, "loss 1")
    assert ("Still compiling" in capsys.readouterr().err) == slow


def test_version_and_options_that_exclude_each_other():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"infosem {__version__}\n"
    refused = CliRunner().invoke(app, ["--quiet", "--verbose", "data", "list"])
    assert refused.exit_code == 2 and "found both" in refused.output
