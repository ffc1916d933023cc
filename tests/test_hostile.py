"""Damaged files of every kind: read, or refused in a sentence; no other error, and at once."""

import gzip
import os
import shutil
import sys
import time
from dataclasses import asdict

import anndata
import numpy as np
import pandas as pd
import perturbed as made
import pytest
from gct_files import write_gct, write_gctx
from scipy import sparse
from typer.testing import CliRunner

from infosem_jax import embedding, expression, grn, perturbation
from infosem_jax.cli.app import app
from infosem_jax.data import _h5, io
from infosem_jax.data._files import LIMITS, Limits, check_h5
from infosem_jax.data.dataset import dataset
from infosem_jax.data.stream import open_stream
from infosem_jax.engine import checkpoint
from infosem_jax.grn import Config, batch
from infosem_jax.grn.inputs import read_config

ONE = {"JAX_NUM_CPU_DEVICES": "1"}
GENES = [f"G{i}" for i in range(24)]
RNG = np.random.default_rng(0)
X = RNG.poisson(3, (30, 24)).astype(np.float32)
STATE = {"x": np.arange(6.0), "n": np.arange(3)}
RECORD = {"key": 0, "seconds": 1.5}
PAIRS = pd.DataFrame({"source": GENES[:8], "target": GENES[8:16], "weight": np.arange(8.0) + 1})


def cells(path):
    obs = pd.DataFrame(
        {"perturbation": pd.Categorical(["control"] * 15 + ["G1"] * 15)},
        [f"c{i}" for i in range(30)],
    )
    var = pd.DataFrame({"is_tf": [True] * 5 + [False] * 19}, index=GENES)
    adata = anndata.AnnData(sparse.csr_matrix(X), obs=obs, var=var, varm={"v": X[:24, :3]})
    adata.uns = {"species": "human", "log1p": {"base": None}}
    return adata.write_zarr(path) if path.suffix == ".zarr" else adata.write_h5ad(path)


def profiles():
    labels = {"tissue": np.array(["a", "b"] * 15)}
    return expression.make_profiles(np.log1p(X), GENES, labels=labels)


def expression_model(path):
    how = expression.Config(method="ridge", inputs=tuple(GENES[:6]))
    expression.save(path, expression.fit(profiles(), config=how))


def perturbation_model(path):
    how = perturbation.Config("ridge", "unseen")
    perturbation.save(path, perturbation.fit(made.values(), made.knowledge(), config=how))


def embedding_model(path):
    studies = [
        embedding.make_study(X, GENES, name=name, species="human", tissue="x") for name in "ab"
    ]
    own = embedding.configured("pca", {}).settings
    how = embedding.Config("pca", own, embedding.GraphSettings(24, "correlation"))
    embedding.save(path, embedding.fit(embedding.study_graphs(studies, config=how), config=how))


def network_model(path):
    grn.save(path, grn.fit(dataset(np.log1p(X), GENES, GENES[:4])))


def text(content):
    return lambda path: path.write_text(content)


def table(frame, **how):
    return lambda path: frame.to_csv(path, **how)


FILES = {
    "cells.h5ad": (
        cells,
        [io.read_expression, perturbation.read_screen, expression.read_profiles, io.read_embedding,
         open_stream, embedding.read_study],
    ),
    "cells.zarr": (cells, [open_stream]),
    "cells.npz": (
        lambda path: np.savez(path, X=X, genes=GENES),
        [io.read_expression, expression.read_profiles, embedding.read_study],
    ),
    "vectors.npz": (lambda path: np.savez(path, X=X[:24], genes=GENES), [io.read_embedding]),
    "means.npz": (
        lambda path: np.savez(path, perts=GENES[:3], genes=GENES, delta=X[:3], ctrl_mean=X[3]),
        [perturbation.read_screen],
    ),
    "matrix.csv": (
        table(pd.DataFrame(X, columns=GENES)),
        [lambda path: io.read_expression(path, orientation="genes_in_columns"), io.read_embedding,
         lambda path: expression.read_profiles(path, orientation="genes_in_columns")],
    ),
    "edges.csv": (
        table(PAIRS, index=False),
        [io.read_network, io.read_candidates, perturbation.read_edges, io.read_regulators],
    ),
    "signs.csv": (
        table(pd.DataFrame({"pert": GENES[:4], "gene": GENES[4:8], "label": 1, "direction": 0}),
              index=False),
        [perturbation.read_screen],
    ),
    "genes.csv": (
        table(pd.DataFrame({"gene_symbol": GENES, "gene_id": range(24)}), index=False),
        [expression.read_gene_table, expression.read_landmarks],
    ),
    "profiles.gct": (lambda path: write_gct(path, profiles()),
                     [expression.read_profiles]),
    "profiles.gctx": (lambda path: write_gctx(path, profiles()),
                      [expression.read_profiles]),
    "sets.gmt": (text("A\tx\tG1\tG2\nB\ty\tG3\tG4\n"), [embedding.read_gene_sets]),
    "settings.toml": (text("[model]\nepochs = 3\n[effect]\nscale = 0.1\n"),
                      [lambda path: read_config(path, Config())]),
    "vectors.json": (text('{"G1": [1.0, 2.0], "G2": [0.5, 1.5]}'), [io.read_embedding]),
    "expression.npz": (expression_model, [expression.load]),
    "perturbation.npz": (perturbation_model, [perturbation.load]),
    "embedding.npz": (embedding_model, [embedding.load]),
    "network.npz": (network_model, [grn.load]),
    "group-000.npz": (lambda path: checkpoint.save(path, STATE, RECORD),
                      [checkpoint.read_record, lambda path: checkpoint.load(path, STATE, RECORD)]),
}  # fmt: skip
# Commands that read each file, up to the work itself; models are in a folder of results.
COMMANDS = {
    "cells.h5ad": ["fit {} --regulators tfs.txt", "fit {} --stream",
                   "expression fit {} --inputs tfs.txt --method ridge",
                   "perturbation fit {} --method mean", "embed fit {} --method pca"],
    "cells.zarr": ["fit {} --stream"],
    "cells.npz": ["fit {} --regulators tfs.txt"],
    "matrix.csv": ["fit {} --regulators tfs.txt"],
    "edges.csv": ["evaluate {} pairs.csv", "fit x.csv --regulators {}",
                  "perturbation fit screen.h5ad --graph g={} --method mean"],
    "profiles.gct": ["expression fit {} --inputs tfs.txt"],
    "profiles.gctx": ["expression fit {} --inputs tfs.txt"],
    "sets.gmt": ["embed fit screen.h5ad --method pca --sets {}"],
    "settings.toml": ["fit x.csv --regulators tfs.txt --engine svi --config {}"],
    "vectors.json": ["fit x.csv --regulators tfs.txt --engine svi --effect gene-embedding={}"],
    "expression.npz": ["expression predict . new.npz"],
    "perturbation.npz": ["perturbation predict . p01"],
    "embedding.npz": ["embed neighbours . G1"],
    "network.npz": ["knockout . G1", "regulons ."],
}  # fmt: skip
SAVED = {"expression": "model.npz", "perturbation": "model.npz", "embedding": "fitted.npz",
         "network": "fit.npz"}  # fmt: skip


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, blank, repeat or exchange bytes; text gets what spreadsheets make of it too."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, size = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 40))
        kind = rng.integers(7)
        if kind == 0:
            data = data[:at]
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            data[at : at + size] = bytes(len(data[at : at + size]))
        elif kind == 3:
            data[at:at] = data[at : at + size] * int(rng.integers(1, 5))
        elif kind == 4:
            data[at : at + size] = b"\xff" * len(data[at : at + size])
        elif kind == 5:
            data[at:at] = rng.choice([b"\xed\xa0\x80", b"nan", b"-666", b"\x00", b'"', b"1e999",
                                      b"\n\n", b",,", b"\t", b"=1+1", b"<b>", b"../x"])  # fmt: skip
        else:
            other = int(rng.integers(0, len(data) + 1))
            data[at : at + size] = data[other : other + size]
    return bytes(data)


def check(read, path, seconds=20.0):
    """Return whether a file is refused; any error but the ones promised is raised."""
    began = time.monotonic()
    try:
        read(path)
        refused = False
    except (ValueError, FileNotFoundError) as error:
        assert str(error) and "\n  File" not in str(error)
        refused = True
    assert time.monotonic() - began < seconds, "it hangs"
    return refused


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Files that HDF5 hangs on need not be waited for."""
    monkeypatch.setattr(_h5, "SECONDS", 2.0)


def attack(tmp_path, name, seeds):
    """Return how often mutations of a file were refused; any error but a refusal is raised."""
    make, readers = FILES[name]
    good, bad = tmp_path / name, tmp_path / "bad" / name
    bad.parent.mkdir()
    make(good)
    for read in readers:
        check(read, good)
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if good.is_dir():
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(good, bad)
            files = sorted(file for file in bad.rglob("*") if file.is_file())
            file = files[int(rng.integers(len(files)))]
        else:
            shutil.copy(good, bad)
            file = bad
        content = mutate(file.read_bytes(), rng)
        file.write_bytes(gzip.compress(content) if rng.random() < 0.05 else content)
        refused += sum(check(read, bad) for read in readers)
    return refused


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_mutated_files_are_read_or_refused(tmp_path, name):
    assert attack(tmp_path, name, range(12)) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_two_thousand_mutated_files_are_read_or_refused(tmp_path, name):
    assert attack(tmp_path, name, range(12, 12 + 2000 // len(FILES))) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_refuse_mutated_files_in_a_sentence(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tfs.txt").write_text("\n".join(GENES[:4]))
    pd.DataFrame(np.log1p(X), columns=GENES).to_csv("x.csv")
    PAIRS.to_csv("pairs.csv", index=False)
    np.savez("new.npz", X=np.log1p(X), genes=GENES)
    cells(tmp_path / "screen.h5ad")
    good = tmp_path / "good" / name
    good.parent.mkdir()
    FILES[name][0](good)
    for system in (embedding, expression, perturbation):
        monkeypatch.setattr(system, "fit", refuse)
    monkeypatch.setattr(batch, "run_grid", refuse)
    bad = tmp_path / SAVED.get(name.split(".")[0], name)
    for seed in range(40):
        if good.is_dir():
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(good, bad)
            files = sorted(file for file in bad.rglob("*") if file.is_file())
            file = files[seed % len(files)]
        else:
            shutil.copy(good, bad)
            file = bad
        file.write_bytes(mutate(file.read_bytes(), np.random.default_rng(1000 + seed)))
        for words in COMMANDS[name]:
            out = ["--out", "out"] * (words.split()[0] not in ("evaluate", "embed neighbours"))
            done = CliRunner().invoke(app, [*words.format(bad.name).split(), *out], env=ONE)
            assert isinstance(done.exception, SystemExit | None), (seed, words)
            assert done.exit_code in (0, 2) and "Traceback" not in done.output, done.output


def refuse(*given, **options):
    raise ValueError("the files are sound")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_file_that_hdf5_hangs_on_is_refused_and_the_next_is_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.h5")
    cells(tmp_path / "cells.h5ad")
    for _ in range(2):
        monkeypatch.setattr(_h5, "SECONDS", 0.3)
        with pytest.raises(_h5.Damaged, match="hangs or crashes"):
            _h5.inspect(tmp_path / "pipe.h5", asdict(LIMITS), [])
        monkeypatch.setattr(_h5, "SECONDS", 20.0)
        check_h5(tmp_path / "cells.h5ad")


def test_a_process_that_cannot_start_another_looks_itself(tmp_path, monkeypatch):
    cells(tmp_path / "cells.h5ad")
    monkeypatch.setattr(_h5, "_child", None)
    monkeypatch.setattr(sys, "executable", None)
    check_h5(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match="at most 10 bytes"):
        check_h5(tmp_path / "cells.h5ad", Limits(size=10))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_in_a_store_is_refused(tmp_path):
    cells(tmp_path / "cells.zarr")
    os.mkfifo(tmp_path / "cells.zarr" / "X" / "zarr.json.pipe")
    with pytest.raises(ValueError, match="no plain file"):
        open_stream(tmp_path / "cells.zarr")
