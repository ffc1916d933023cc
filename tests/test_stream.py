"""Streams: the numbers of a data set in memory, from files that are never read as a whole."""

import inspect
import json
import pickle
import sys
import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import anndata as ad
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from infosem_jax.data import (
    CellBlock,
    Stream,
    dataset,
    densify,
    held_out_cells,
    normalise,
    open_stream,
    plan,
    prefetch,
    read_block,
    read_expression,
    write_sparse_simulation,
)
from infosem_jax.data import _sparse as sparse
from infosem_jax.data.dataset import NORMALISATIONS

CELLS, GENES = 150, 24
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(RNG.gamma(0.3, 3.0, GENES) + 0.05, (CELLS, GENES)).astype(np.float32)
COUNTS[np.arange(CELLS), np.arange(CELLS) % GENES] += 1
COUNTS[-1] += 1  # one cell with every gene
LOG = np.log1p(COUNTS * 1.7).astype(np.float32)
NAMES = tuple(f"G{i}" for i in range(GENES))
WRITERS = ("h5ad", "zarr2", "zarr3")
zscored = jax.jit(densify, static_argnames="n_genes")


def write(path: Path, x, kind: str = "h5ad", names=NAMES, layers=None, **var) -> Path:
    """Write an AnnData store of a kind; the warnings are AnnData's and zarr's about formats."""
    table = pd.DataFrame(var, index=pd.Index(list(names)))
    cells = pd.DataFrame(index=pd.Index([f"c{i}" for i in range(x.shape[0])]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = ad.AnnData(x, cells, table, layers=layers)
        if kind == "h5ad":
            data.write_h5ad(path.with_suffix(".h5ad"))
            return path.with_suffix(".h5ad")
        with ad.settings.override(zarr_write_format=int(kind[-1])):
            data.write_zarr(path.with_suffix(".zarr"), chunks=(32, GENES))
        return path.with_suffix(".zarr")


def values(how: str) -> np.ndarray:
    if how == "cell_range_zscore":
        return changed(LOG, -1, 7, 0)  # no cell without zeros
    return COUNTS if how.startswith("log1p_cpm") else LOG


def dense(stream: Stream, block: CellBlock) -> tuple[np.ndarray, np.ndarray]:
    x, observed = zscored(
        block.values, block.columns, stream.mean, stream.sd, stream.clip, n_genes=len(stream.genes)
    )
    return np.asarray(x), np.asarray(observed)


def fake(n_cells: int) -> Stream:
    none = np.zeros(0, np.float32)
    return Stream(
        "", None, (), (), n_cells, "fake", "none", none, none, 1.0, 0, np.zeros(0, int), ""
    )


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("how", NORMALISATIONS)
def test_blocks_are_what_normalise_gives_in_memory(tmp_path, kind, make, how):
    path = write(tmp_path / "a", make(values(how)), kind)
    stream = open_stream(path, normalisation=how, chunk_cells=37, clip=3.0)
    whole = normalise(dataset(values(how), NAMES), how, clip=3.0)
    cells = np.r_[140:150, 3, 70:20:-1, 3]
    block = read_block(stream, cells, block_cells=80)
    assert block.values.shape == block.columns.shape == (80, stream.slots)
    assert stream.slots == (GENES - 1 if how == "cell_range_zscore" else GENES)
    x, observed = dense(stream, block)
    np.testing.assert_allclose(x[: len(cells)], whole.x[cells], rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(observed[: len(cells)], whole.observed[cells])
    assert not observed[len(cells) :].any()
    assert np.all(block.columns[len(cells) :] == GENES)
    assert np.all(block.values[block.columns == GENES] == 0)
    assert (stream.genes, stream.regulators, stream.n_cells) == (NAMES, NAMES, CELLS)
    if "zscore" in how:
        assert np.abs(x).max() == 3.0  # or the clip would not be tested


def test_a_gene_whose_measured_values_are_equal_has_zero_scores(tmp_path):
    x = LOG.copy()
    x[:, 3] = np.where(np.arange(CELLS) % 2, 1.5, 0)
    stream = open_stream(write(tmp_path / "a", x), normalisation="zscore_nonzero")
    whole = normalise(dataset(x, NAMES), "zscore_nonzero")
    found, _ = dense(stream, read_block(stream, np.arange(CELLS)))
    np.testing.assert_allclose(found, whole.x, rtol=2e-6, atol=2e-6)
    assert not found[:, 3].any()


def test_moments_hold_where_a_sum_of_squares_loses_them(tmp_path):
    x = np.float32(24 + RNG.integers(0, 3, (CELLS, GENES)) / 2**18)
    stream = open_stream(write(tmp_path / "a", x), chunk_cells=7)
    np.testing.assert_allclose(stream.sd, x.astype(float).std(0), rtol=1e-6)


@pytest.mark.parametrize("constant", [0, 5])
@pytest.mark.parametrize("how", ["log1p_cpm_zscore", "log1p_cpm"])
def test_constant_genes_are_left_out_as_in_memory(tmp_path, constant, how):
    x = COUNTS.copy()
    x[:, 4] = constant
    path = write(tmp_path / "a", sp.csr_matrix(x), regulator=[n in ("G4", "G7") for n in NAMES])
    stream = open_stream(path, normalisation=how, chunk_cells=40)
    assert stream.notes[0] == "left out 1 genes that have the same value in every cell (G4)"
    whole = normalise(read_expression(path), how)
    assert stream.genes == whole.genes == NAMES[:4] + NAMES[5:]
    assert stream.regulators == whole.regulators == ("G7",)
    assert stream.slots == GENES - 1
    found, observed = dense(stream, read_block(stream, np.arange(CELLS)))
    np.testing.assert_allclose(found, whole.x, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(observed, whole.observed)


@pytest.mark.parametrize("constant", [0, 9.5])
def test_cell_ranges_are_over_the_genes_that_are_kept(tmp_path, constant):
    x = changed(LOG, -1, 7, 0)
    x[:, 4] = constant
    path = write(tmp_path / "a", sp.csr_matrix(x))
    how = {"normalisation": "cell_range_zscore", "chunk_cells": 40}
    whole = normalise(read_expression(path), "cell_range_zscore")
    stream = open_stream(path, **how)
    assert stream.genes == whole.genes == NAMES[:4] + NAMES[5:]
    found, observed = dense(stream, read_block(stream, np.arange(CELLS)))
    np.testing.assert_allclose(found, whole.x, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(observed, whole.observed)
    x[-1, 7] = 1.3  # now the last cell has no zero but in the gene that is dropped
    path = write(tmp_path / "b", sp.csr_matrix(x))
    with pytest.raises(ValueError, match="b: a cell has no zero among its 23 genes"):
        open_stream(path, **how)


@pytest.mark.parametrize("kind", WRITERS)
def test_layers_and_regulators(tmp_path, kind):
    log = {"log": sp.csr_matrix(LOG)}
    path = write(tmp_path / "a", COUNTS, kind, layers=log, is_tf=[n == "G5" for n in NAMES])
    stream = open_stream(path, layer="log", regulators=["G9", "G2", "MYC"], name="mine")
    assert (stream.regulators, stream.name) == (("G2", "G9"), "mine")
    np.testing.assert_allclose(stream.mean, LOG.mean(0), rtol=1e-5)
    assert open_stream(path, layer="log").regulators == ("G5",)
    assert open_stream(path, layer="log").name == "a"
    with pytest.raises(ValueError, match=r"no layer 'raw'.*found X, log"):
        open_stream(path, layer="raw")
    with pytest.raises(ValueError, match="None of the 1 regulators"):
        open_stream(path, layer="log", regulators=["H5"])
    with pytest.raises(ValueError, match="see read_regulators"):
        open_stream(path, layer="log", regulators="tfs.txt")


def test_sparse_rows_that_are_unsorted_doubled_or_hold_zeros(tmp_path):
    path = write(tmp_path / "a", sp.csr_matrix(LOG))
    expected = open_stream(path)
    parts = sp.csr_matrix(LOG)
    with h5py.File(path, "r+") as file:
        group = file["X"]
        for name in ("data", "indices", "indptr"):
            del group[name]
        halves = []  # every row: its values halved, backwards; then once more; then a zero
        for row in range(CELLS):
            data, columns = parts[[row]].data, parts[[row]].indices
            halves.append((np.r_[data[::-1] / 2, data / 2, 0], np.r_[columns[::-1], columns, 0]))
        group["data"] = np.concatenate([data for data, _ in halves])
        group["indices"] = np.concatenate([columns for _, columns in halves])
        group["indptr"] = np.r_[0, np.cumsum([len(data) for data, _ in halves])]
    assert open_stream(path).fingerprint == expected.fingerprint
    found, wanted = (read_block(s, np.arange(50)) for s in (open_stream(path), expected))
    np.testing.assert_array_equal(found.columns, wanted.columns)
    np.testing.assert_array_equal(found.values, wanted.values)


def test_fingerprint_is_of_content_and_settings(tmp_path):
    path = write(tmp_path / "a", sp.csr_matrix(LOG))
    first = open_stream(path)
    assert open_stream(path, chunk_cells=11).fingerprint == first.fingerprint
    assert open_stream(write(tmp_path / "b", LOG, "zarr3")).fingerprint == first.fingerprint
    others = [
        open_stream(path, clip=5.0),
        open_stream(path, normalisation="zscore_nonzero"),
        open_stream(path, regulators=["G1"]),
        open_stream(write(tmp_path / "c", LOG[::-1].copy())),  # the same statistics
        open_stream(write(tmp_path / "d", LOG, names=NAMES[::-1])),
    ]
    assert len({stream.fingerprint for stream in (first, *others)}) == 6


def test_progress_is_reported(tmp_path):
    seen = []
    open_stream(
        write(tmp_path / "a", LOG), chunk_cells=64, on_chunk=lambda *counts: seen.append(counts)
    )
    assert seen == [(64, 150), (128, 150), (150, 150)]


def changed(x: np.ndarray, row: int, column: int, value: float) -> np.ndarray:
    x = x.copy()
    x[row, column] = value
    return x


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize(
    ("x", "how", "message"),
    [
        (changed(LOG, 77, 5, np.nan), "zscore", "NaN or infinite.*row 77, gene G5"),
        (changed(LOG, 77, 5, np.inf), "zscore", "NaN or infinite.*row 77, gene G5"),
        (changed(LOG.astype(float), 9, 2, 1e300), "zscore", "NaN or infinite.*row 9, gene G2"),
        (changed(LOG, 0, 0, -1), "zscore", "negative.*row 0, gene G0.*not z-scores"),
        (COUNTS, "zscore", "whole numbers.*Use 'log1p_cpm_zscore'"),
        (COUNTS, "zscore_nonzero", "whole numbers"),
        (COUNTS, "cell_range_zscore", "whole numbers"),
        (LOG, "cell_range_zscore", "a cell has no zero among its 24 genes.*into memory"),
        (LOG * (np.arange(CELLS) != 90)[:, None], "cell_range_zscore", "same value.*row 90"),
        (LOG, "log1p_cpm_zscore", "expects raw counts.*looks like logarithms"),
        (np.minimum(COUNTS, 1), "log1p_cpm", "expects raw counts"),
        (COUNTS * (np.arange(CELLS) != 90)[:, None], "log1p_cpm", "1 cells have no.*row 90"),
        (LOG[:9], "zscore", "9 cells, at least 10"),
        (LOG.astype(complex), "zscore", "real numbers"),
    ],
)
def test_bad_values_are_refused(tmp_path, make, x, how, message):
    path = write(tmp_path / "a", make(x))
    with pytest.raises(ValueError, match=message):
        open_stream(path, normalisation=how, chunk_cells=32)


def test_bad_names_and_settings_are_refused(tmp_path):
    path = write(tmp_path / "a", LOG, names=("A", "A", *NAMES[2:-1], ""))
    stream = open_stream(path)
    assert stream.genes == ("A", *NAMES[2:-1])
    assert stream.notes == (
        "left out 2 genes without a name, or of a name that an earlier one has",
    )
    path = write(tmp_path / "a", LOG, regulator=[0.5] * GENES)
    with pytest.raises(ValueError, match="one true or false per gene"):
        open_stream(path)
    path = write(tmp_path / "a", LOG[:, :1], names=NAMES[:1])
    with pytest.raises(ValueError, match="at least two"):
        open_stream(path)
    path = write(tmp_path / "a", np.tile(LOG[:1], (20, 1)))
    with pytest.raises(ValueError, match="0 genes vary"):
        open_stream(path)
    with pytest.raises(ValueError, match="Unknown normalisation 'tpm'; choose one of auto, none"):
        inspect.unwrap(open_stream)(path, normalisation="tpm")
    for settings_, message in (({"clip": 0.0}, "clip"), ({"chunk_cells": 0}, "chunk_cells")):
        with pytest.raises(ValueError, match=message):
            open_stream(path, **settings_)


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"stored by genes \(CSC\).*tocsr"):
        open_stream(write(tmp_path / "a", sp.csc_matrix(LOG)))
    with pytest.raises(FileNotFoundError):
        open_stream(tmp_path / "missing.h5ad")
    with pytest.raises(ValueError, match=r"\.h5ad files and \.zarr folders only"):
        open_stream(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"neither zarr\.json nor \.zgroup"):
        open_stream(tmp_path)
    (tmp_path / "b.h5ad").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"b\.h5ad"):
        open_stream(tmp_path / "b.h5ad")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("X/indices", 10**7, "cannot be used"),
        ("X/indices", -1, "cannot be used"),
        ("X/indptr", 10**9, "does not fit"),
        ("shape", (CELLS, 2**40), "the matrix has"),
        ("shape", (CELLS + 1, GENES), "does not fit"),
        ("link", "elsewhere.h5", "is a link"),
        ("obs", None, "obs names 3 cells"),
    ],
)
def test_damaged_hdf5_is_refused(tmp_path, key, value, message):
    path = write(tmp_path / "a", sp.csr_matrix(LOG))
    with h5py.File(path, "r+") as file:
        if key == "shape":
            file["X"].attrs["shape"] = value
        elif key == "link":
            del file["X/data"]
            file["X/data"] = h5py.ExternalLink(value, "data")
        elif key == "obs":
            del file["obs/_index"]
            file["obs/_index"] = ["a", "b", "c"]
        else:
            file[key][5] = value
    with pytest.raises(ValueError, match=message):
        open_stream(path)


@pytest.mark.parametrize("kind", ["zarr2", "zarr3"])
def test_unsafe_zarr_is_refused(tmp_path, kind):
    path = write(tmp_path / "a", sp.csr_matrix(LOG), kind)
    array = path / "X" / "data" / (".zarray" if kind == "zarr2" else "zarr.json")
    good = json.loads(array.read_text())

    def refused(message: str, **change) -> None:
        array.write_text(json.dumps(good | change))
        with pytest.raises(ValueError, match=message):
            open_stream(path)
        array.write_text(json.dumps(good))

    if kind == "zarr2":
        refused("encoded with 'pickle'", filters=[{"id": "pickle"}])
        refused("more than 1000 to one", chunks=[2**50])
    else:
        bad = {"name": "numcodecs.pickle", "configuration": {}}
        refused("encoded with 'numcodecs.pickle'", codecs=[bad, *good["codecs"]])
        refused("more than 1000 to one", shape=[2**50])
    open_stream(path)
    (path / "X" / "data" / "more").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="more is a link to elsewhere"):
        open_stream(path)


def test_pickles_in_zarr_never_run(tmp_path):
    path = write(tmp_path / "a", sp.csr_matrix(LOG), "zarr2")
    index = next((path / "var").rglob(".zarray")).parent
    meta = json.loads((index / ".zarray").read_text())
    meta |= {"filters": [{"id": "pickle", "protocol": 5}], "compressor": None}
    (index / ".zarray").write_text(json.dumps(meta))
    (index / "0").write_bytes(pickle.dumps(Bomb(str(tmp_path / "ran"))))
    with pytest.raises(ValueError, match="pickle"):
        open_stream(path)
    assert not (tmp_path / "ran").exists()


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_zarr_missing_is_said_clearly(tmp_path, monkeypatch):
    path = write(tmp_path / "a", LOG, "zarr3")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match="needs the package zarr"):
        open_stream(path)


def test_blocks_say_what_they_cannot_read(tmp_path):
    path = write(tmp_path / "a", sp.csr_matrix(LOG))
    stream = open_stream(path)
    for cells in ([], [-1], [CELLS], range(5)):
        with pytest.raises(ValueError, match="Expected 1 to 4 row numbers below 150"):
            read_block(stream, np.array(cells, int), block_cells=4)
    for other in (LOG[:100], LOG[:, :20], np.maximum(LOG, 0.5)):
        write(tmp_path / "a", sp.csr_matrix(other), names=NAMES[: other.shape[1]])
        changed_slots = stream._replace(slots=GENES - 1)
        with pytest.raises(ValueError, match="not the one that was opened"):
            read_block(changed_slots, np.arange(20))


def test_only_the_rows_asked_for_are_read(tmp_path, monkeypatch):
    stream = open_stream(write(tmp_path / "a", sp.csr_matrix(LOG)))
    asked = []
    monkeypatch.setattr(
        "infosem_jax.data.stream.read_rows",
        lambda matrix, *rows: (asked.append(rows), sparse.read_rows(matrix, *rows))[1],
    )
    read_block(stream, np.r_[120:140, 10:30, 30:32, 0])
    assert asked == [(0, 1), (10, 32), (120, 140)]


@pytest.mark.parametrize("kind", ["csr", "dense"])
def test_memory_is_that_of_a_chunk(tmp_path, kind):
    path = tmp_path / "a.h5ad"
    write_sparse_simulation(
        path, genes=400, regulators=20, cells=6000, density=0.3, chunk_cells=500
    )
    if kind == "dense":
        write(tmp_path / "a", ad.read_h5ad(path).X.toarray(), names=range(400))
    full = 6000 * 400 * (4 if kind == "dense" else 0.3 * 8)
    tracemalloc.start()
    stream = open_stream(path, normalisation="log1p_cpm_zscore", chunk_cells=100)
    for cells in plan(stream, block_cells=100, seed=0, epoch=0):
        read_block(stream, cells)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < full / 3


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    n_cells=st.integers(1, 500),
    block_cells=st.integers(1, 200),
    run_cells=st.integers(1, 150),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 10_000),
)
def test_plans_deal_every_training_cell_once(n_cells, block_cells, run_cells, share, seed, epoch):
    stream, held_out = fake(n_cells), int(share * n_cells)
    how = {"seed": seed, "run_cells": run_cells, "held_out": held_out}
    try:
        out = held_out_cells(stream, **how)
    except ValueError as error:
        assert "leaves none to train on" in str(error)
        assert held_out > 0
        with pytest.raises(ValueError, match="leaves none"):
            plan(stream, block_cells=block_cells, epoch=epoch, **how)
        return
    blocks = plan(stream, block_cells=block_cells, epoch=epoch, **how)
    dealt = np.concatenate(blocks)
    np.testing.assert_array_equal(np.sort(np.concatenate([dealt, out])), np.arange(n_cells))
    sizes = [len(block) for block in blocks]
    assert max(sizes) <= block_cells
    assert max(sizes) - min(sizes) <= 1
    assert len(blocks) == -(-len(dealt) // block_cells)
    assert held_out <= len(out) < held_out + run_cells
    assert (len(out) == 0) == (held_out == 0)
    # Neighbours stay together but for the ends of runs and blocks.
    breaks = sum((np.diff(block) != 1).sum() for block in blocks)
    assert breaks <= -(-n_cells // run_cells)


def test_plans_follow_seed_and_epoch_alone():
    def dealt(seed, epoch):
        how = {"seed": seed, "run_cells": 16, "held_out": 100}
        blocks = plan(fake(1000), block_cells=90, epoch=epoch, **how)
        return tuple(map(tuple, blocks)), tuple(held_out_cells(fake(1000), **how))

    assert dealt(3, 7) == dealt(3, 7)
    assert dealt(3, 7)[0] != dealt(3, 8)[0]
    assert dealt(3, 7)[1] == dealt(3, 8)[1]
    assert dealt(3, 7)[1] != dealt(4, 7)[1]
    for wrong in ({"seed": -1}, {"epoch": -1}, {"block_cells": 0}, {"run_cells": 0}):
        with pytest.raises(ValueError, match="at least"):
            plan(fake(100), **{"block_cells": 10, "seed": 0, "epoch": 0} | wrong)


def test_an_epoch_of_blocks_has_one_shape(tmp_path):
    stream = open_stream(write(tmp_path / "a", sp.csr_matrix(LOG)))
    cells = plan(stream, block_cells=64, seed=0, epoch=0, run_cells=16)
    blocks = [read_block(stream, rows, block_cells=64) for rows in cells]
    assert {block.values.shape for block in blocks} == {(64, stream.slots)}
    assert sum(block.n_cells for block in blocks) == CELLS
    total = sum(block.values.sum(dtype=float) for block in blocks)
    np.testing.assert_allclose(total, LOG.sum(dtype=float), rtol=1e-6)


def reading_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("infosem-prefetch")]


def test_prefetch_reads_ahead_in_one_thread_and_in_order():
    read, names = [], set()

    def slow(i: int) -> int:
        names.add(threading.current_thread().name)
        read.append(i)
        return i * i

    found = prefetch(slow, range(6), ahead=2)
    assert not read
    assert next(found) == 0
    for _ in range(200):
        if len(read) == 3:
            break
        time.sleep(0.01)
    assert read == [0, 1, 2]
    assert list(found) == [1, 4, 9, 16, 25]
    assert len(names) == 1
    assert threading.current_thread().name not in names
    assert not reading_threads()
    assert list(prefetch(slow, [])) == []
    with pytest.raises(ValueError, match="at least 1 item ahead"):
        prefetch(slow, range(3), ahead=0)


def test_prefetch_ends_with_errors_and_when_closed():
    def fails(i: int) -> int:
        if i == 2:
            raise OSError("disk gone")
        return i

    found = prefetch(fails, range(10), ahead=3)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(OSError, match="disk gone"):
        next(found)
    assert not reading_threads()
    read = []
    endless = prefetch(lambda i: read.append(i), range(10**9), ahead=2)
    next(endless)
    assert reading_threads()
    endless.close()
    assert not reading_threads()
    assert len(read) <= 3


def test_blocks_can_be_prefetched(tmp_path):
    for kind in ("h5ad", "zarr3"):
        stream = open_stream(write(tmp_path / "a", sp.csr_matrix(LOG), kind))
        cells = plan(stream, block_cells=40, seed=1, epoch=0, run_cells=8)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            blocks = list(prefetch(lambda rows: read_block(stream, rows), cells))  # noqa: B023
        for rows, block in zip(cells, blocks, strict=True):
            np.testing.assert_array_equal(block.values, read_block(stream, rows).values)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.data(), spare=st.integers(0, 3))
def test_densify_places_every_value(data, spare):
    one = st.sampled_from([0, 0, 0.25, 1, 7])
    x = np.array(data.draw(st.lists(one, min_size=24, max_size=24)), np.float32).reshape(4, 6)
    rows = sp.csr_array(x)
    filled = np.arange(6 + spare) < np.diff(rows.indptr)[:, None]
    values, columns = np.zeros(filled.shape, np.float32), np.full(filled.shape, 6, np.int32)
    values[filled], columns[filled] = rows.data, rows.indices
    mean, sd = x.mean(0), x.std(0) + 0.1
    found, observed = zscored(values, columns, mean, sd, 2.0, n_genes=6)
    np.testing.assert_allclose(found, np.clip((x - mean) / sd, -2, 2), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(observed, x != 0)


def test_densify_under_vmap_and_grad():
    stack = np.array([[[2.0, 0.0], [1.0, 3.0]]] * 3, np.float32)
    columns = np.array([[[1, 3], [0, 2]]] * 3, np.int32)
    mean, sd = np.ones(3, np.float32), np.full(3, 2, np.float32)
    mapped = jax.vmap(lambda v, c: densify(v, c, mean, sd, 10.0, 3)[0])(stack, columns)
    np.testing.assert_array_equal(mapped[2], [[-0.5, 0.5, -0.5], [0.0, -0.5, 1.0]])
    slope = jax.grad(lambda v: densify(v, columns[0], mean, sd, 10.0, 3)[0].sum())(
        jnp.asarray(stack[0])
    )
    np.testing.assert_array_equal(slope, [[0.5, 0.0], [0.5, 0.5]])


def test_simulation_is_a_sound_file_with_structure(tmp_path):
    path = tmp_path / "a.h5ad"
    how = {"genes": 300, "regulators": 20, "cells": 1500, "density": 0.2, "seed": 1}
    edges = write_sparse_simulation(path, **how, chunk_cells=400)
    backed = ad.read_h5ad(path, backed="r")
    assert isinstance(backed.X[:3], sp.csr_matrix | sp.csr_array)
    backed.file.close()
    x = ad.read_h5ad(path).X.toarray()
    assert abs((x > 0).mean() - 0.2) < 0.03
    assert (x > 0).any(0).all()
    assert (x > 0).any(1).all()
    assert x.mean(0).max() > 20 * np.median(x.mean(0))
    data = read_expression(path)
    assert len(data.regulators) == 20
    assert set(edges["source"]) <= set(data.regulators)
    assert not set(edges["target"]) & set(data.regulators)
    scores = np.corrcoef(normalise(data, "log1p_cpm_zscore").x.T)
    place = pd.Series(range(300), data.genes)
    source, target = place[edges["source"]], place[edges["target"]]
    signed = scores[source, target] * np.sign(edges["weight"])
    assert signed.mean() > 5 * signed.std() / np.sqrt(len(signed))
    again = tmp_path / "b.h5ad"
    write_sparse_simulation(again, **how, chunk_cells=400)
    assert open_stream(again, normalisation="log1p_cpm").fingerprint == (
        open_stream(path, normalisation="log1p_cpm").fingerprint
    )
    with pytest.raises(ValueError, match="density: expected between"):
        write_sparse_simulation(path, **how | {"density": 1.0})
    with pytest.raises(ValueError, match="regulators: expected between"):
        write_sparse_simulation(path, **how | {"regulators": 300})


def test_a_tiny_sparse_simulation_has_no_empty_cell_or_gene(tmp_path):
    path = tmp_path / "a.h5ad"
    write_sparse_simulation(path, genes=40, regulators=5, cells=60, density=0.01, chunk_cells=25)
    stream = open_stream(path, normalisation="log1p_cpm_zscore")
    assert (stream.n_cells, len(stream.genes), len(stream.regulators)) == (60, 40, 5)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("human_pbmc_ctrl", "log1p_cpm_zscore"),
        ("human_pancreas_xin", "zscore_nonzero"),
        ("human_pancreas_xin", "cell_range_zscore"),
    ],
)
def test_real_cells(real_data, name, how):
    path = real_data / "expression" / f"{name}.h5ad"
    stream = open_stream(path, normalisation=how, chunk_cells=300)
    whole = normalise(read_expression(path), how)
    assert stream.genes == whole.genes
    cells = plan(stream, block_cells=200, seed=0, epoch=0, run_cells=32)[0]
    found, observed = dense(stream, read_block(stream, cells))
    np.testing.assert_allclose(found, whole.x[cells], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(observed, whole.observed[cells])


def test_a_plain_store_is_read_without_anndata(tmp_path, monkeypatch):
    path = tmp_path / "x.h5ad"
    write_sparse_simulation(path, genes=30, regulators=4, cells=50)
    whole = open_stream(path, normalisation="log1p_cpm")
    monkeypatch.setitem(sys.modules, "anndata.io", None)
    assert open_stream(path, normalisation="log1p_cpm").regulators == whole.regulators
