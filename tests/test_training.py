from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from infosem_jax.engine import training
from infosem_jax.engine.layout import Layout
from infosem_jax.engine.training import by_epoch
from infosem_jax.engine.types import (
    Cells,
    Chunk,
    Extent,
    Fits,
    Losses,
    Rate,
    Resident,
    Schedule,
    TrainState,
)

CELLS = 12
RATES = {"networks": (0.05, 1.0), "edges": (0.01, 1.0), "marks": (0.0, 1.0)}


class Own(NamedTuple):
    n_cells: Any
    n_held_out: Any


class Data(NamedTuple):
    """Cells of one segment; ``total`` and ``segments`` tell of how large a whole they are part."""

    x: jax.Array
    n_cells: Any
    n_held_out: Any
    total: Any
    segments: Any

    @property
    def extent(self) -> Extent:
        return Extent(len(self.x), self.n_cells, self.n_held_out, self.total, self.segments)


class Part(NamedTuple):
    """One segment of an epoch of several."""

    x: np.ndarray
    n_cells: np.ndarray
    total: np.ndarray
    segments: np.ndarray


@dataclass(frozen=True)
class Quadratic:
    """Move ``a`` (group networks) and ``b`` (group edges) to the cells of each batch.

    ``mark`` differs between fits and never moves. The loss is not finite in fits with a mark above
    ``sound`` from epoch ``fails`` on. Held-out scores, which come with a large epoch, are best
    where ``a`` is near ``held_out_at``.
    """

    sound: float = 10.0
    fails: int = 0
    held_out_at: float | None = None
    noise: float = 0.1
    traces: list = field(default_factory=list, compare=False)

    def view(self, shared, own):
        if isinstance(shared, Part):
            return Data(shared.x, shared.n_cells, 0, shared.total, shared.segments)
        return Data(shared, own.n_cells, own.n_held_out, own.n_cells - own.n_held_out, 1)

    def init(self, key, data):
        return {
            "a": random.normal(key, (3,)),
            "b": random.normal(random.fold_in(key, 1), (3,)),
            "mark": random.uniform(random.fold_in(key, 2)),
        }

    def loss(self, params, key, data, cells: Cells, epoch):
        self.traces.append(epoch)
        x = data.x[cells.index] + self.noise * random.normal(key, (3,))
        each = ((params["a"] - x) ** 2).mean(1) + ((params["b"] + x**2) ** 2).mean(1)
        loss = jnp.where(cells.real, each, 0).sum() / cells.real.sum()
        if self.held_out_at is not None:
            score = ((params["a"] - self.held_out_at) ** 2).mean()
            pull = ((params["a"] - 5.0) ** 2).mean()
            loss = jnp.where(epoch > 10**5, score, pull)
        bad = (params["mark"] > self.sound) & (epoch >= self.fails)
        return loss + jnp.where(bad, jnp.nan, 0.0) * params["a"].sum()

    def group(self, name):
        return {"a": "networks", "b": "edges", "mark": "marks"}[name]


SCHEDULE = Schedule(
    optimisers=(("networks", "adam"), ("edges", "rmsprop"), ("marks", "adam")),
    phases=((("networks", "edges"), 1),),
    batch_size=4,
    steps=3,
    chunk=2,
)
HOLDING = replace(SCHEDULE, held_out=4, steps=2)


def cells_of(seed: int = 0, *, padding: int = 0) -> jax.Array:
    x = np.random.default_rng(seed).normal(size=(CELLS + padding, 3))
    return jnp.asarray(x, jnp.float32)


def fits_of(
    n: int, schedule: Schedule = SCHEDULE, *, rates=RATES, n_cells=CELLS, held_out=None
) -> Fits:
    def each(value, dtype):
        return jnp.broadcast_to(jnp.asarray(value, dtype), (n,))

    held_out = schedule.held_out if held_out is None else held_out
    return Fits(
        keys=jax.vmap(lambda i: random.fold_in(random.key(0), i))(jnp.arange(n)),
        rates={
            name: Rate(each(rate, jnp.float32), each(decay, jnp.float32))
            for name, (rate, decay) in rates.items()
        },
        own=Own(each(n_cells, jnp.int32), each(held_out, jnp.int32)),
    )


def run(objective=None, schedule=SCHEDULE, *, fits=3, epochs=4, data=None, **options):
    return training.run(
        objective or Quadratic(),
        schedule,
        fits_of(fits, schedule) if isinstance(fits, int) else fits,
        Resident(cells_of() if data is None else data),
        epochs=epochs,
        **options,
    )


def copy(tree):
    """Copy to the host what the next chunk would use up."""
    return jax.tree.map(np.array, tree)


def fit_of(tree, i: int):
    """Take one fit, which keeps its leading axis."""
    return jax.tree.map(lambda leaf: leaf[i : i + 1], tree)


def identical(a, b) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def close(a, b, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def test_one_compilation_serves_other_data_lengths_and_rates():
    objective = Quadratic(noise=0.11)
    run(objective, epochs=3)
    first = len(objective.traces)
    assert first > 0
    run(objective, epochs=3, data=cells_of(1))
    run(objective, epochs=8)
    run(objective, epochs=3, fits=fits_of(3, rates=RATES | {"edges": (0.1, 0.9)}))
    run(replace(objective), epochs=3, data=cells_of(2))
    assert len(objective.traces) == first
    run(objective, fits=2, epochs=3)
    assert len(objective.traces) > first


def test_losses_are_laid_out_by_fit_and_epoch_and_fall():
    state, losses = run(epochs=25)
    assert losses.train.shape == losses.held_out.shape == (3, 25)
    assert np.isfinite(losses.train).all()
    assert np.isnan(losses.held_out).all()
    assert (losses.train[:, -1] < losses.train[:, 0]).all()
    assert (np.asarray(state.diverged) == -1).all()


def test_an_epoch_is_needed():
    with pytest.raises(ValueError, match="at least one epoch, found 0"):
        run(epochs=0)


def chunks(cuts: list[int], *, most: int, schedule=HOLDING, objective=Quadratic()):
    """Train in one call of the compiled program per cut."""
    schedule = replace(schedule, chunk=most)
    fits, shared = fits_of(3, schedule), cells_of()
    state, parts = training.init(objective, schedule, Layout(), fits, shared), []
    for start, stop in zip([0, *cuts], cuts, strict=False):
        state, losses = training.run_chunk(
            objective, schedule, Layout(), state, fits, shared, jnp.int32(start), jnp.int32(stop)
        )
        parts.append([np.asarray(part)[:, : stop - start] for part in losses])
    return copy(state), Losses(*(np.concatenate(part, 1) for part in zip(*parts, strict=True)))


def test_where_training_is_cut_changes_no_bit():
    whole = chunks([7], most=7)
    assert whole[1].train.shape == (3, 7)
    assert identical(chunks([1, 2, 3, 4, 5, 6, 7], most=7), whole)
    assert identical(chunks([3, 4, 7], most=7), whole)
    close(chunks([2, 4, 6, 7], most=2), whole)


def test_segments_past_the_stop_leave_no_trace():
    assert identical(chunks([3], most=7), chunks([1, 3], most=7))
    assert not identical(chunks([3], most=7)[0], chunks([4], most=7)[0])


@pytest.mark.parametrize("patience", [0, 30])
def test_training_resumes_from_host_copies_to_the_bit(patience):
    schedule = replace(HOLDING, patience=patience, phases=((("networks",), 1), (("edges",), 2)))
    saved: list[Chunk] = []

    def keep(progress: Chunk):
        assert progress.losses.train.shape == (3, progress.done)
        saved.append(copy(progress))

    whole = run(schedule=schedule, epochs=9, on_chunk=keep)
    assert len(saved) > 3
    assert all(progress.segments == 9 for progress in saved)
    for at in saved:
        again = run(schedule=schedule, epochs=9, resume=(at.state, at.losses))
        assert identical(again, whole)
    short = run(schedule=schedule, epochs=4, on_chunk=keep)[1]
    longer = run(schedule=schedule, epochs=9, resume=(saved[-1].state, short))
    assert identical(longer, whole)


def test_a_stop_between_chunks_can_be_resumed():
    saved = []

    def stop(progress: Chunk):
        saved.append((copy(progress.state), progress.losses))
        if progress.done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(epochs=8, on_chunk=stop)
    assert identical(run(epochs=8, resume=saved[-1]), run(epochs=8))


def test_fits_side_by_side_are_fits_one_at_a_time():
    together = run()
    for i in range(3):
        alone = run(fits=fit_of(fits_of(3), i))
        close(fit_of(together, i), alone, rtol=1e-4)


@pytest.mark.parametrize("at_once", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_after_the_other_is_side_by_side(at_once):
    options = {"schedule": replace(HOLDING, patience=9), "epochs": 5}
    close(run(layout=Layout(at_once=at_once), **options), run(**options), rtol=1e-4)


def test_same_keys_same_bytes():
    assert identical(run(), run())
    assert not identical(run()[0].params, run(data=cells_of(1))[0].params)


def test_each_fit_has_rates_of_its_own():
    rates = {
        "networks": ([0.05, 0.02, 0.0], [1.0, 0.5, 1.0]),
        "edges": ([0.0, 0.01, 0.03], 1.0),
        "marks": (0.0, 1.0),
    }
    fits = fits_of(3, rates=rates)
    together, _ = run(fits=fits)
    start = training.init(Quadratic(), SCHEDULE, Layout(), fits, cells_of()).params
    for i in range(3):
        close(fit_of(together, i), run(fits=fit_of(fits, i))[0], rtol=1e-4)
    assert identical(together.params["b"][0], start["b"][0])
    assert identical(together.params["a"][2], start["a"][2])
    assert not np.array_equal(together.params["a"][1], start["a"][1])


@pytest.mark.parametrize("held_out", [False, True])
def test_fits_of_different_numbers_of_cells_share_a_program(held_out):
    n_cells, held = np.array([12, 9, 5]), np.array([4, 3, 1]) if held_out else np.zeros(3, int)
    steps = -(-(n_cells - held) // 4)
    schedule = replace(SCHEDULE, held_out=int(held.max()), steps=int(steps.max()))
    fits = fits_of(3, schedule, n_cells=n_cells, held_out=held)
    together = run(schedule=schedule, fits=fits, epochs=5)
    assert len(set(steps)) > 1
    assert np.isfinite(together[1].held_out).all() == held_out
    for i, n in enumerate(n_cells):
        own = replace(schedule, held_out=int(held[i]), steps=int(steps[i]))
        fit = fit_of(fits, i)
        alone = run(schedule=own, fits=fit, epochs=5, data=cells_of()[:n])
        close(fit_of(together, i), alone, rtol=1e-4)


def test_a_fit_that_diverges_rests_and_leaves_the_others_alone():
    marks = np.asarray(run(epochs=1)[0].params["mark"])
    sound = float(np.sort(marks)[-2:].mean())
    bad = marks > sound
    assert bad.sum() == 1
    state, losses = run(Quadratic(sound=sound, fails=2), epochs=6)
    rested, _ = run(Quadratic(sound=sound, fails=2), epochs=2)
    # The bound is compiled in, so that sound fits are compared in the same program.
    healthy, other = run(Quadratic(sound=sound, fails=100), epochs=6)
    np.testing.assert_array_equal(state.diverged, np.where(bad, 2 * SCHEDULE.steps, -1))
    for i in range(3):
        if bad[i]:
            left = [fit_of(s._replace(diverged=s.best_epoch), i) for s in (state, rested)]
            assert identical(*left)
        else:
            assert identical(fit_of((state, losses), i), fit_of((healthy, other), i))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert np.isnan(losses.train[bad, 2:]).all()
    assert np.isfinite(losses.train[~bad]).all()


def test_training_ends_when_every_fit_has_diverged():
    state, losses = run(Quadratic(sound=-1.0), epochs=20)
    np.testing.assert_array_equal(state.diverged, 0)
    assert losses.train.shape[1] <= SCHEDULE.chunk


@pytest.mark.parametrize("padding", [0, 3])
def test_held_out_cells_and_padding_never_influence_training(padding):
    schedule = replace(SCHEDULE, held_out=4, batch_size=3)
    data = cells_of(padding=padding)
    settings = {"objective": Quadratic(), "schedule": schedule, "fits": 1, "epochs": 4}
    reference, losses = run(data=data, **settings)
    silent, scored = [], []
    for cell in range(len(data)):
        state, other = run(data=data.at[cell].add(1.0), **settings)
        silent.append(identical(state.params, reference.params))
        scored.append(not identical(other.held_out, losses.held_out))
    # Every cell is trained on, or scored and not trained on, or padding.
    assert sum(silent[:CELLS]) == 4
    assert all(silent[CELLS:])
    assert all(scored[:CELLS])
    assert not any(scored[CELLS:])


def test_held_out_scores_are_of_their_epoch():
    _, losses = run(Quadratic(held_out_at=2.0), HOLDING, epochs=5)
    state, _ = run(Quadratic(held_out_at=2.0), HOLDING, epochs=3)
    expected = ((np.asarray(state.params["a"]) - 2.0) ** 2).mean(1)
    np.testing.assert_allclose(losses.held_out[:, 2], expected, rtol=1e-5)


def score_of(state: TrainState) -> np.ndarray:
    return ((np.asarray(state.params["a"]) - 2.0) ** 2).mean(1)


def test_the_best_parameters_are_kept():
    objective = Quadratic(held_out_at=2.0)
    state, losses = run(objective, replace(HOLDING, patience=100), epochs=60)
    best = np.nanargmin(losses.held_out, 1)
    assert (best > 0).all() and (best < 59).all()
    np.testing.assert_array_equal(state.best_epoch, best)
    np.testing.assert_allclose(state.best_loss, losses.held_out.min(1), rtol=1e-6)
    np.testing.assert_allclose(score_of(state), losses.held_out.min(1), rtol=1e-5)
    last, _ = run(objective, HOLDING, epochs=60)
    assert (score_of(last) > score_of(state)).all()


@pytest.mark.parametrize("patience", [1, 6])
def test_patience_stops_soon_after_the_last_improvement(patience):
    schedule = replace(HOLDING, patience=patience)
    state, losses = run(Quadratic(held_out_at=2.0), schedule, epochs=200)
    waited = losses.train.shape[1] - 1 - int(np.max(state.best_epoch))
    assert patience <= waited < patience + schedule.chunk


def test_a_fit_out_of_patience_keeps_its_best_while_others_train_on():
    schedule = replace(HOLDING, patience=3)
    fits = fits_of(2, schedule, rates=RATES | {"networks": ([0.3, 0.02], 1.0)})
    together, losses = run(Quadratic(held_out_at=2.0), schedule, fits=fits, epochs=200)
    alone = [run(Quadratic(held_out_at=2.0), schedule, fits=fit_of(fits, i)) for i in range(2)]
    quick, _ = run(Quadratic(held_out_at=2.0), schedule, fits=fit_of(fits, 0), epochs=200)
    assert losses.train.shape[1] > 2 * (int(quick.best_epoch[0]) + 4)
    assert int(together.best_epoch[0]) == int(quick.best_epoch[0])
    close(fit_of(together.params, 0), quick.params, rtol=1e-4)
    assert len(alone) == 2


def test_a_late_record_comes_too_late():
    """A fit is finished after its patience, also where a chunk runs past it."""
    objective = Quadratic(held_out_at=2.0)
    short, long = (replace(HOLDING, patience=2, chunk=chunk) for chunk in (1, 40))
    fits = fits_of(2, short, rates=RATES | {"networks": ([0.9, 0.02], 1.0)})
    results = [run(objective, schedule, fits=fits, epochs=80)[0] for schedule in (short, long)]
    np.testing.assert_array_equal(results[0].best_epoch, results[1].best_epoch)
    close(results[0].params, results[1].params, rtol=1e-4)


def test_without_patience_training_goes_on():
    _, losses = run(Quadratic(held_out_at=2.0), HOLDING, epochs=61)
    assert losses.train.shape == (3, 61)


def test_phases_move_their_groups_only():
    schedule = replace(SCHEDULE, phases=((("networks",), 1), (("edges",), 2)))
    states = [run(schedule=schedule, epochs=n)[0].params for n in range(1, 6)]
    start = training.init(Quadratic(), schedule, Layout(), fits_of(3), cells_of()).params
    moved = [
        {name for name in start if not np.array_equal(before[name], after[name])}
        for before, after in zip([start, *states], states, strict=False)
    ]
    assert moved == [{"a"}, {"b"}, {"b"}, {"a"}, {"b"}]


def test_groups_that_no_phase_names_rest():
    state, _ = run()
    start = training.init(Quadratic(), SCHEDULE, Layout(), fits_of(3), cells_of())
    np.testing.assert_array_equal(state.params["mark"], start.params["mark"])


def test_progress_is_reported_between_chunks():
    seen = []
    run(epochs=5, on_chunk=lambda p: seen.append((p.done, p.segments, p.losses.train.shape)))
    assert seen[0] == (1, 5, (3, 1))
    assert seen[-1] == (5, 5, (3, 5))
    steps = np.diff([0, *(done for done, *_ in seen)])
    assert (steps >= 1).all() and (steps <= SCHEDULE.chunk).all()


class Parts:
    """Cells in two parts of 7 and 5, padded to 7 rows, and the held-out ones apart."""

    segments = 2

    def __init__(self, *, held_out: bool = False):
        x = np.asarray(cells_of())
        spread = [x[:7], np.pad(x[7:], ((0, 2), (0, 0)), constant_values=np.nan)]
        self.parts = [self.part(x, n) for x, n in zip(spread, (7, 5), strict=True)]
        self.held_out = self.part(x[:4] + 1, 4) if held_out else None
        self.given: list[int] = []
        self.closed = 0

    def part(self, x, n: int) -> Part:
        return Part(x, np.array(n), np.array(CELLS), np.array(2))

    def __call__(self, first: int) -> Iterator[Part]:
        try:
            while True:
                self.given.append(first)
                yield self.parts[first % 2]
                first += 1
        finally:
            self.closed += 1


@dataclass(frozen=True)
class Counting:
    """Count with ``a`` how often each cell is met, in ``log`` what a step was told, and where."""

    def view(self, shared, own):
        return Quadratic().view(shared, own)

    def init(self, key, data):
        return {"a": jnp.zeros(CELLS), "b": jnp.zeros(8), "c": jnp.zeros(8), "total": jnp.zeros(())}

    def loss(self, params, key, data, cells: Cells, epoch):
        known = cells_of()
        x = data.x[cells.index]
        hit = (x[:, None] == known).all(-1) & cells.real[:, None]
        marks = params["b"][epoch % 8] + params["c"][epoch % 8]
        return -(params["a"] * hit.sum(0)).sum() - marks - params["total"] * cells.total

    def group(self, name):
        return {"a": "networks", "b": "edges", "c": "priors", "total": "networks"}[name]


def count(monkeypatch, feed: Parts, *, epochs: int, phases, batch_size=1, steps=7):
    """Sum gradients: every step adds minus the gradient of the loss."""
    import optax

    monkeypatch.setattr(training, "step_rule", lambda rule: optax.identity())
    groups = ("networks", "edges", "priors")
    schedule = Schedule(tuple((g, "adam") for g in groups), phases, batch_size, steps)
    fits = fits_of(1, schedule, rates=dict.fromkeys(groups, (1.0, 1.0)))
    state, losses = training.run(Counting(), schedule, fits, feed, epochs=epochs)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], state.params), losses


def test_an_epoch_of_several_segments_passes_every_cell(monkeypatch):
    feed = Parts()
    met, losses = count(monkeypatch, feed, epochs=3, phases=((("networks", "edges"), 1),))
    np.testing.assert_array_equal(met["a"], 3)
    # Each of the 12 steps of an epoch tells it the number of the epoch and the cells in all.
    np.testing.assert_array_equal(met["b"], [12, 12, 12, 0, 0, 0, 0, 0])
    assert met["total"] == 36 * CELLS
    assert losses.train.shape == (1, 6)
    assert feed.given[:6] == [0, 1, 2, 3, 4, 5]
    assert feed.closed == 1


def test_phases_last_for_epochs_not_for_segments(monkeypatch):
    phases = ((("edges",), 1), (("priors",), 2))
    met, _ = count(monkeypatch, Parts(), epochs=5, phases=phases)
    np.testing.assert_array_equal(met["b"], [12, 0, 0, 12, 0, 0, 0, 0])
    np.testing.assert_array_equal(met["c"], [0, 12, 12, 0, 12, 0, 0, 0])


def test_segments_of_different_sizes_fill_their_last_batch(monkeypatch):
    met, _ = count(
        monkeypatch, Parts(), epochs=1, phases=((("networks",), 1),), batch_size=3, steps=3
    )
    # 7 cells make 3 batches of 3, and 5 cells 2: two, and one, come up twice.
    assert (met["a"] >= 1).all()
    assert met["a"][:7].sum() == 9
    assert met["a"][7:].sum() == 6


def run_parts(feed: Parts, schedule: Schedule, *, epochs: int = 4, objective=None, **options):
    fits = fits_of(3, schedule, held_out=0)
    objective = objective or Quadratic()
    return training.run(objective, schedule, fits, feed, epochs=epochs, **options)


def test_training_on_segments_resumes_to_the_bit():
    schedule, saved = replace(SCHEDULE, steps=2, phases=((("networks",), 1), (("edges",), 1))), []
    whole = run_parts(Parts(held_out=True), schedule, on_chunk=lambda p: saved.append(copy(p)))
    assert [progress.done for progress in saved] == list(range(1, 9))
    for at in saved[:-1]:
        feed = Parts(held_out=True)
        again = run_parts(feed, schedule, resume=(at.state, at.losses))
        assert identical(again, whole)
        assert feed.given[0] == at.done
        assert feed.closed == 1


def test_held_out_segments_are_scored_at_the_end_of_each_epoch():
    schedule = replace(SCHEDULE, steps=2, patience=5)
    objective = Quadratic(held_out_at=2.0)
    state, losses = run_parts(Parts(held_out=True), schedule, objective=objective, epochs=60)
    assert np.isnan(losses.held_out[:, ::2]).all()
    assert np.isfinite(losses.held_out[:, 1::2]).all()
    per_epoch = by_epoch(losses, 2)
    assert per_epoch.train.shape == per_epoch.held_out.shape
    np.testing.assert_array_equal(per_epoch.held_out, losses.held_out[:, 1::2])
    best = per_epoch.held_out.argmin(1)
    np.testing.assert_array_equal(state.best_epoch, best)
    np.testing.assert_allclose(score_of(state), per_epoch.held_out.min(1), rtol=1e-5)
    # Patience counts epochs, each of two segments.
    assert per_epoch.train.shape[1] == best.max() + 1 + schedule.patience


def test_losses_of_an_epoch_are_averaged():
    train = np.arange(14, dtype=np.float32).reshape(2, 7)
    held_out = train + 100
    averaged = by_epoch(Losses(train, held_out), 3)
    np.testing.assert_array_equal(averaged.train, [[1, 4], [8, 11]])
    np.testing.assert_array_equal(averaged.held_out, [[102, 105], [109, 112]])
    assert identical(by_epoch(Losses(train, held_out), 1), Losses(train, held_out))


@dataclass(frozen=True)
class Bowl:
    """A loss without cells or noise, so that the steps can be written out."""

    def view(self, shared, own):
        return Quadratic().view(shared, own)

    def init(self, key, data):
        return {"a": jnp.array([3.0, -0.5])}

    def loss(self, params, key, data, cells, epoch):
        return (jnp.array([0.5, 2.0]) * params["a"] ** 2).sum()

    def group(self, name):
        return "only"


def torch_steps(optimiser: str, rate: float, decay: float, steps: int, epochs: int) -> np.ndarray:
    """Write out the updates of torch.optim.RMSprop(alpha=0.99) and Adam with their defaults."""
    a, mean, square = np.array([3.0, -0.5]), np.zeros(2), np.zeros(2)
    for number in range(steps * epochs):
        gradient = np.array([1.0, 4.0]) * a
        step_rate = rate * decay ** (number // steps)
        if optimiser == "rmsprop":
            square = 0.99 * square + 0.01 * gradient**2
            a = a - step_rate * gradient / (np.sqrt(square) + 1e-8)
        else:
            n = number + 1
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            unbiased = mean / (1 - 0.9**n), square / (1 - 0.999**n)
            a = a - step_rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    return a


@pytest.mark.parametrize("optimiser", ["rmsprop", "adam"])
def test_rules_step_as_in_torch(optimiser):
    schedule = Schedule((("only", optimiser),), ((("only",), 1),), batch_size=4, steps=3, chunk=2)
    fits = fits_of(2, schedule, rates={"only": ([0.02, 0.02], [1.0, 0.5])})
    state, _ = run(Bowl(), schedule, fits=fits, epochs=4)
    for i, decay in enumerate((1.0, 0.5)):
        expected = torch_steps(optimiser, 0.02, decay, steps=3, epochs=4)
        np.testing.assert_allclose(state.params["a"][i], expected, rtol=1e-4)
