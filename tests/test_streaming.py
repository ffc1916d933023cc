"""Fits of cells that stay on disk: what they see, and that they equal fits of data in memory."""

import warnings
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import anndata as ad
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from jax import random

from infosem_jax.data.dataset import dataset, normalise
from infosem_jax.data.passes import held_out_cells, plan
from infosem_jax.data.stream import CellBlock, Stream, open_stream
from infosem_jax.engine import training
from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.engine.layout import Layout
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Cells, Fits, Rate
from infosem_jax.grn import prepare, streaming
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit, fit_many
from infosem_jax.grn.model import Weights
from infosem_jax.grn.objective import FitIndex, InfoSEM, weights
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors import Normal
from infosem_jax.grn.result import Fit

# Five runs of neighbours, of which one is held out; the others make four blocks.
CELLS, GENES, BLOCK = 640, 12, 160
SETTINGS = Config(
    rows="regulators",
    hidden=4,
    knots=0,
    epochs=40,
    batch_size=30,
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_networks=1e-2,
    rate_edges=1e-2,
    held_out=0.2,
    patience=3,
)
SHARE = SETTINGS.held_out
NAMES = [f"G{i:02d}" for i in range(GENES)]


def expression(cells: int = CELLS) -> np.ndarray:
    """Make log expression with many zeros; later genes follow earlier ones, no cells are equal."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(1.0, 1.5, (cells, GENES))
    rate[:, 4:] *= 0.2 + rate[:, np.arange(GENES - 4) % 4]
    x = np.log1p(rng.poisson(rate) * rng.uniform(1, 2, rate.shape))
    x[0] += 1.0
    x[x.sum(1) == 0, 0] = 1.0
    return x.astype(np.float32)


X = expression()
MEMORY = dataset(X, NAMES, NAMES[:4], cells=[f"c{i:04d}" for i in range(CELLS)], name="memory")


def write(path: Path, x: np.ndarray, names=NAMES) -> Stream:
    table = pd.DataFrame({"regulator": [name < "G04" for name in names]}, index=names)
    cells = pd.DataFrame(index=[f"c{i:04d}" for i in range(len(x))])
    with warnings.catch_warnings():
        # AnnData warns about formats to come.
        warnings.simplefilter("ignore")
        ad.AnnData(sp.csr_matrix(x), cells, table).write_h5ad(path)
    return open_stream(path, chunk_cells=100)


def cut(patch: pytest.MonkeyPatch, size: int = BLOCK) -> None:
    """Make blocks small, so that a small file has several."""
    patch.setattr(streaming, "BLOCK_CELLS", size)


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Stream:
    return write(tmp_path_factory.mktemp("stream") / "x.h5ad", X)


@pytest.fixture
def blocks(monkeypatch):
    cut(monkeypatch)


@pytest.fixture(scope="module")
def streamed(stream) -> Fit:
    with pytest.MonkeyPatch.context() as patch:
        cut(patch)
        return fit(stream, Normal(0.1), config=SETTINGS, seeds=2)


@pytest.fixture(scope="module")
def in_memory() -> Fit:
    return fit(MEMORY, Normal(0.1), config=SETTINGS, seeds=2)


def identical(a: Fit, b: Fit) -> bool:
    """Compare everything that two fits found, to the bit."""
    parts = [(*f[5:12], f.params) for f in (a, b)]
    pairs = zip(*map(jax.tree.leaves, parts), strict=True)
    return all(x.tobytes() == y.tobytes() for x, y in pairs)


@pytest.mark.slow
def test_every_training_cell_is_seen_each_epoch_and_no_other(stream, blocks, monkeypatch):
    """Batches are rows of the normalised data in memory, and the right ones."""
    seen, read = defaultdict(list), []
    loss, read_block = InfoSEM.loss, streaming.read_block

    def spying(self, params, key, data, cells, epoch):
        x, observed = data.batch(cells.index)
        jax.debug.callback(lambda *found: seen[int(found[0])].append(found[1:]), epoch, x, observed)
        return loss(self, params, key, data, cells, epoch)

    def reading(stream, cells, *, block_cells=None):
        read.append(cells)
        return read_block(stream, cells, block_cells=block_cells)

    monkeypatch.setattr(InfoSEM, "loss", spying)
    monkeypatch.setattr(streaming, "read_block", reading)
    # This width is used nowhere else, so that the program with the spy in it is not, either.
    config = replace(SETTINGS, epochs=3, patience=0, observe="nonzero", hidden=3)
    fitted = fit(stream, Normal(0.1), config=config)
    jax.effects_barrier()
    held = held_out_cells(stream, held_out=round(SHARE * CELLS), seed=0)
    trained = np.setdiff1d(np.arange(CELLS), held)
    assert len(held) >= SHARE * CELLS
    assert np.isfinite(fitted.losses.train).all()

    scored = 10**6
    assert set(seen) == {0, 1, 2, scored}
    orders = []
    for epoch in range(3):
        cells = np.concatenate([which(*batch) for batch in seen[epoch]])
        np.testing.assert_array_equal(np.unique(cells), trained)
        assert len(seen[epoch]) == 4 * 5
        orders.append(cells.tobytes())
    assert len(set(orders)) == 3
    for batch in seen[scored]:
        np.testing.assert_array_equal(np.sort(which(*batch)), held)

    np.testing.assert_array_equal(read[0], held)
    for epoch in range(3):
        own = read[1 + 4 * epoch : 5 + 4 * epoch]
        assert max(map(len, own)) <= BLOCK
        np.testing.assert_array_equal(np.sort(np.concatenate(own)), trained)


def which(x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Tell which cells of the data in memory a batch is made of."""
    expected = normalise(MEMORY)
    far = np.abs(np.asarray(x)[:, None] - expected.x[None]).max(2)
    nearest = far.argmin(1)
    np.testing.assert_allclose(x, expected.x[nearest], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(observed, expected.observed[nearest])
    assert (np.sort(far, 1)[:, 1] > 1e-3).all()
    return nearest


@pytest.mark.parametrize("cells", [300, 600, 1000])
def test_steps_suffice_for_every_block(cells, monkeypatch):
    """Whole runs are held out, so that blocks may be fewer and larger than their share tells."""
    none, one = np.zeros(GENES, np.float32), np.ones(GENES, np.float32)
    names = tuple(NAMES)
    kept = np.arange(GENES)
    fake = Stream(
        "none", None, names, names[:4], cells, "fake", "zscore", none, one, 10.0, 3, kept, ""
    )
    empty = CellBlock(np.zeros((1, 3), np.float32), np.full((1, 3), GENES, np.int32), 1)
    monkeypatch.setattr(streaming, "read_block", lambda *args, **options: empty)
    checked = 0
    for size in (100, 250, 270, 420, 500):
        for share in (0.0, 0.05, 0.1, 0.3):
            config = replace(SETTINGS, held_out=share, patience=0)
            cut(monkeypatch, size)
            (group,) = prepare.groups({"": fake}, {"": Normal(0.1)}, {"": config})
            graphs, _ = prepare.stack_graphs(group)
            for seed in range(3):
                feed = streaming.StreamFeed(fake, graphs, Layout(), share=share, seed=seed)
                steps = group.schedule.steps
                assert steps * group.schedule.batch_size >= feed.block_cells, (size, share, seed)
                parts = plan(
                    fake, block_cells=size, seed=seed, epoch=0, held_out=round(share * cells)
                )
                assert max(map(len, parts)) <= size
                checked += 1
    assert checked == 60


@pytest.mark.slow
def test_the_objective_is_that_of_data_in_memory(stream, blocks):
    """The same cells in the same order cost the same, gradients included, to rounding."""
    config = replace(SETTINGS, held_out=0.0, patience=0, observe="nonzero")
    groups = [
        prepare.groups({"": data}, {"": Normal(0.1)}, {"": config})[0] for data in (stream, MEMORY)
    ]
    shared, (own,) = prepare.fit_data(groups[1])
    graphs, _ = prepare.stack_graphs(groups[0])
    feed = streaming.StreamFeed(stream, graphs, Layout(), share=0.0, seed=0)
    block = next(feed(0))
    zero = np.array(0, np.int32)
    streamed_own = FitIndex(zero, zero, zero, zero, weights(config))
    which_cells = plan(stream, block_cells=BLOCK, seed=0, epoch=0)[0]
    objective = groups[0].objective
    assert objective == groups[1].objective
    views = [
        jax.tree.map(jnp.asarray, objective.view(*pair))
        for pair in ((block, streamed_own), (shared, own))
    ]
    assert [int(view.extent.total) for view in views] == [CELLS, CELLS]
    assert int(views[0].extent.segments) == 4
    params = objective.init(random.key(3), views[1])
    params["effect_loc"] += 0.1

    @jax.jit
    def cost(params, view, index):
        cells = Cells(index, jnp.ones(len(index), bool), jnp.int32(view.extent.total))
        return objective.loss(params, random.key(1), view, cells, jnp.int32(0))

    rows = np.arange(len(which_cells), dtype=np.int32)
    indices = rows, which_cells.astype(np.int32)
    found = [
        jax.value_and_grad(cost)(params, view, index)
        for view, index in zip(views, indices, strict=True)
    ]
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert np.isfinite(found[0][0])
    other = cost(params, views[1], np.roll(indices[1], 1))
    assert abs(float(other) - float(found[0][0])) > 1e-4


def test_a_streamed_fit_finds_what_one_in_memory_finds(streamed, in_memory):
    assert (streamed.genes, streamed.regulators) == (in_memory.genes, in_memory.regulators)
    n = min(len(fitted.losses.train[0]) for fitted in (streamed, in_memory))
    assert n > 4
    for part in ("train", "held_out"):
        a, b = (getattr(fitted.losses, part)[:, :n].mean(0) for fitted in (streamed, in_memory))
        # Cells come in other orders and others are held out: losses agree to a few per cent.
        np.testing.assert_allclose(a[2:], b[2:], rtol=0.05)
    a, b = (fitted.weight.mean(0).ravel() for fitted in (streamed, in_memory))
    assert np.corrcoef(a, b)[0, 1] > 0.9


def test_the_same_key_gives_the_same_bytes(stream, streamed, blocks):
    assert identical(fit(stream, Normal(0.1), config=SETTINGS, seeds=2), streamed)
    other = fit(stream, Normal(0.1), config=SETTINGS, seeds=2, key=1)
    assert np.abs(other.weight - streamed.weight).max() > 1e-4


def test_patience_ends_a_streamed_fit_soon_after_its_best(streamed):
    held_out = streamed.losses.held_out
    epochs = held_out.shape[1]
    assert np.isfinite(held_out).all()
    assert np.isfinite(streamed.losses.train).all()
    assert SETTINGS.patience < epochs < SETTINGS.epochs
    # The first epoch whose bound no later one within the patience beats.
    best = []
    for losses in held_out:
        at = 0
        for epoch in range(epochs):
            if epoch - at <= SETTINGS.patience and losses[epoch] < losses[at]:
                at = epoch
        best.append(at)
    assert epochs == max(best) + SETTINGS.patience + 1


@pytest.mark.parametrize("chunks", [1, 6, 8])
def test_a_stop_inside_an_epoch_is_resumed_to_the_bit(stream, streamed, blocks, tmp_path, chunks):
    asked = iter([False] * (chunks - 1) + [True])
    saver = Saver(tmp_path, {}, every=1e9, stop=lambda: next(asked))
    options = {"config": SETTINGS, "seeds": 2}
    told = []
    with pytest.raises(Interrupted):
        fit(stream, Normal(0.1), saver=saver, on_chunk=told.append, **options)
    # Four blocks make an epoch.
    assert [progress.done for progress in told] == [(i + 1) / 4 for i in range(chunks)]
    again = Saver(tmp_path, {}, resume=True)
    resumed = []
    other = fit(stream, Normal(0.1), saver=again, on_chunk=resumed.append, **options)
    assert identical(other, streamed)
    assert len(resumed) == 4 * streamed.losses.train.shape[1] - chunks


def test_another_file_is_not_gone_on_with(stream, blocks, tmp_path):
    saver = Saver(tmp_path, {}, every=1e9, stop=lambda: True)
    with pytest.raises(Interrupted):
        fit(stream, Normal(0.1), config=SETTINGS, seeds=2, saver=saver)
    x = X.copy()
    x[5, 5] += 0.25
    changed = write(tmp_path / "x.h5ad", x)._replace(name=stream.name)
    with pytest.raises(ValueError, match=r"cannot resume, what was saved differs in .*\.data"):
        fit(
            changed,
            Normal(0.1),
            config=SETTINGS,
            seeds=2,
            saver=Saver(tmp_path, {}, resume=True),
        )


@dataclass(frozen=True)
class Centre:
    """Move ``a`` to the mean of the cells: compiles in no time."""

    def view(self, shared, own):
        return shared.view(own)

    def init(self, key, data):
        return {"a": jnp.zeros(data.n_genes)}

    def loss(self, params, key, data, cells: Cells, epoch):
        x, _ = data.batch(cells.index)
        return ((params["a"] - x) ** 2 * cells.real[:, None]).sum() / cells.real.sum()

    def group(self, name):
        return "networks"


def test_the_pace_of_the_machine_does_not_matter_with_one_block(stream, monkeypatch):
    """A slow machine returns after every epoch, a fast one after several; both train alike."""
    (group,) = prepare.groups({"": stream}, {"": Normal(0.1)}, {"": SETTINGS})
    graphs, _ = prepare.stack_graphs(group)
    feed = streaming.StreamFeed(stream, graphs, Layout(), share=SHARE, seed=0)
    assert feed.segments == 1
    schedule = replace(
        group.schedule, optimisers=(("networks", "adam"),), phases=((("networks",), 1),), patience=0
    )
    zero = np.zeros(1, np.int32)
    own = FitIndex(zero, zero, zero, zero, weights(SETTINGS))
    rates = {"networks": Rate(np.full(1, 0.05, np.float32), np.ones(1, np.float32))}
    fits = Fits(
        random.key(0)[None],
        rates,
        own._replace(weights=Weights(*np.ones((3, 1))), share=np.ones(1)),
    )
    runs = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(training, "CHUNK_SECONDS", seconds)
        runs.append(training.run(Centre(), schedule, fits, feed, epochs=9))
    assert all(np.isfinite(losses.held_out).all() for _, losses in runs)
    (slow, slow_losses), (fast, fast_losses) = runs
    np.testing.assert_array_equal(fast.params["a"], slow.params["a"])
    np.testing.assert_array_equal(fast_losses.train, slow_losses.train)


def test_gene_order_in_the_file_does_not_matter(streamed, blocks, tmp_path):
    order = np.random.default_rng(1).permutation(GENES)
    names = [NAMES[i] for i in order]
    other = fit(
        write(tmp_path / "x.h5ad", X[:, order], names),
        Normal(0.1),
        config=SETTINGS,
        seeds=2,
    )
    assert other.genes == tuple(names)
    for a, b in zip(by_name(other), by_name(streamed), strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def by_name(fitted: Fit) -> list[pd.DataFrame]:
    tables = (pd.DataFrame(weight, fitted.regulators, fitted.genes) for weight in fitted.weight)
    return [table.sort_index(axis=0).sort_index(axis=1) for table in tables]


@pytest.mark.slow
def test_priors_of_a_grid_share_the_stream(stream, streamed, blocks):
    priors = {"narrow": Normal(0.02), "wide": Normal(0.1)}
    made = prepare.groups({"s": stream, "m": MEMORY}, priors, {"": SETTINGS})
    assert [{member.job.data for member in group.members} for group in made] == [{"s"}, {"m"}]
    fits = dict(fit_many({"s": stream}, priors, configs=SETTINGS))
    weights = {job.prior: fitted.weight[0] for job, fitted in fits.items()}
    assert set(fits) == {Job("s", "narrow", ""), Job("s", "wide", "")}
    np.testing.assert_allclose(weights["wide"], streamed.weight[0], rtol=1e-3, atol=1e-5)
    assert np.abs(weights["narrow"]).mean() < np.abs(weights["wide"]).mean()


class Captured(Exception):
    """Carries what training was called with."""


def program(stream: Stream, config: Config, monkeypatch: pytest.MonkeyPatch):
    """Return the program that a fit would run, as far as shapes go."""
    real = training.run_chunk, training.init

    def capture(*args):
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), args[3:])
        static = jax.make_jaxpr(real[0].__wrapped__, static_argnums=(0, 1, 2))
        raise Captured(static(*args[:3], *shapes))

    def start(*args):
        shapes = real[1].eval_shape(*args)
        return jax.tree.map(lambda a: jnp.full(a.shape, -1, a.dtype), shapes)

    with monkeypatch.context() as patch:
        patch.setattr(training, "run_chunk", capture)
        patch.setattr(training, "init", start)
        with pytest.raises(Captured) as found:
            fit(stream, Normal(0.1), config=config, seeds=2)
    return found.value.args[0].jaxpr


def shapes_in(jaxpr) -> set[tuple[int, ...]]:
    """Collect the shapes of all values of a program."""
    found = {var.aval.shape for var in (*jaxpr.invars, *jaxpr.constvars)}
    for eqn in jaxpr.eqns:
        found |= {var.aval.shape for var in eqn.outvars}
        inner = jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        )
        for part in inner:
            if hasattr(part, "eqns") or hasattr(part, "jaxpr"):
                found |= shapes_in(getattr(part, "jaxpr", part))
    return found


def test_the_program_does_not_grow_with_the_file(stream, tmp_path, monkeypatch):
    """Neither cells x genes nor anything else of the size of the data is ever on the device."""
    config = replace(SETTINGS, held_out=0.0, patience=0)
    cut(monkeypatch, CELLS // 4)
    small = program(stream, config, monkeypatch)
    double = np.concatenate([X, 0.5 * expression(CELLS)])
    large = program(write(tmp_path / "x.h5ad", double), config, monkeypatch)
    shapes = shapes_in(small)
    assert (CELLS // 4, GENES) in shapes
    assert (config.batch_size, GENES) in shapes
    assert max(int(np.prod(shape)) for shape in shapes) < CELLS * GENES
    assert CELLS not in {length for shape in shapes for length in shape}
    assert shapes_in(large) == shapes


def test_holding_out_all_cells_is_refused_before_training(tmp_path):
    """Cells are held out in runs, of which a small file has one only."""
    few = write(tmp_path / "x.h5ad", X[:100])
    with pytest.raises(ValueError, match="leaves none to train on"):
        fit_many({"": few}, {"": Normal(0.1)}, configs=SETTINGS)
