from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from infosem_jax import training
from infosem_jax.training import Cells, Rule, Schedule

CELLS = 12


class Data(NamedTuple):
    x: jax.Array
    n_cells: jax.Array

    @property
    def n_rows(self) -> int:
        return self.x.shape[0]


def data_of(seed: int = 0, *, padding: int = 0) -> Data:
    x = np.random.default_rng(seed).normal(size=(CELLS + padding, 3)).astype(np.float32)
    return Data(jnp.asarray(x), jnp.int32(CELLS))


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

    def init(self, key, data):
        return {
            "a": random.normal(key, (3,)),
            "b": random.normal(random.fold_in(key, 1), (3,)),
            "mark": random.uniform(random.fold_in(key, 2)),
        }

    def loss(self, params, key, data, cells: Cells, epoch):
        self.traces.append(epoch)
        x = data.x[cells.index] + self.noise * random.normal(key, (3,))
        loss = ((params["a"] - x) ** 2).mean() + ((params["b"] + x**2) ** 2).mean()
        if self.held_out_at is not None:
            score = ((params["a"] - self.held_out_at) ** 2).mean()
            pull = ((params["a"] - 5.0) ** 2).mean()
            loss = jnp.where(epoch > 10**5, score, pull)
        bad = (params["mark"] > self.sound) & (epoch >= self.fails)
        return loss + jnp.where(bad, jnp.nan, 0.0) * params["a"].sum()

    def group(self, name):
        return {"a": "networks", "b": "edges", "mark": "marks"}[name]


BOTH = ((("networks", "edges"), 1),)
SCHEDULE = Schedule(
    rules=(
        ("networks", Rule("adam", 0.05)),
        ("edges", Rule("rmsprop", 0.01)),
        ("marks", Rule("adam", 0.0)),
    ),
    phases=BOTH,
    batch_size=4,
    steps=3,
    chunk=2,
)


def keys_of(n: int, seed: int = 0):
    return jax.vmap(lambda i: random.fold_in(random.key(seed), i))(jnp.arange(n))


def run(objective=None, schedule=SCHEDULE, *, fits: int = 3, epochs: int = 4, data=None, **options):
    return training.run(
        objective or Quadratic(),
        schedule,
        keys_of(fits),
        data or data_of(),
        epochs=epochs,
        **options,
    )


def identical(a, b) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def test_one_compilation_serves_other_data_and_lengths():
    objective = Quadratic(noise=0.11)
    run(objective, epochs=3)
    first = len(objective.traces)
    assert first > 0
    run(objective, epochs=3, data=data_of(1))
    run(objective, epochs=8)
    run(replace(objective), epochs=3, data=data_of(2))
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


def test_length_does_not_depend_on_chunks():
    short = run(schedule=replace(SCHEDULE, chunk=1), epochs=5)
    long = run(schedule=replace(SCHEDULE, chunk=7), epochs=5)
    assert short[1].train.shape == long[1].train.shape == (3, 5)
    for a, b in zip(jax.tree.leaves(short), jax.tree.leaves(long), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_fits_side_by_side_are_fits_one_at_a_time():
    together, losses = run()
    for i in range(3):
        alone, loss = training.run(
            Quadratic(), SCHEDULE, keys_of(3)[i : i + 1], data_of(), epochs=4
        )
        np.testing.assert_allclose(loss.train[0], losses.train[i], rtol=1e-4)
        for name, value in alone.params.items():
            np.testing.assert_allclose(value[0], together.params[name][i], rtol=1e-4)


def test_same_keys_same_bytes():
    assert identical(run(), run())
    assert not identical(run()[0].params, run(data=data_of(1))[0].params)


def test_a_fit_that_diverges_rests_and_leaves_the_others_alone():
    marks = np.asarray(run(epochs=1)[0].params["mark"])
    sound = float(np.sort(marks)[-2:].mean())
    bad = marks > sound
    assert bad.sum() == 1
    state, losses = run(Quadratic(sound=sound, fails=2), epochs=6)
    rested, _ = run(Quadratic(sound=sound, fails=2), epochs=2)
    healthy, _ = run(Quadratic(), epochs=6)
    np.testing.assert_array_equal(state.diverged, np.where(bad, 2 * SCHEDULE.steps, -1))
    for name in ("a", "b"):
        np.testing.assert_array_equal(state.params[name][bad], rested.params[name][bad])
        expected = healthy.params[name][~bad]
        np.testing.assert_allclose(state.params[name][~bad], expected, rtol=1e-5)
        assert not np.array_equal(expected, rested.params[name][~bad])
    assert np.isfinite(jax.tree.leaves(state.params)[0]).all()
    assert np.isnan(losses.train[bad, 2:]).all()
    assert np.isfinite(losses.train[~bad]).all()


def test_training_ends_when_every_fit_has_diverged():
    state, losses = run(Quadratic(sound=-1.0), epochs=20)
    np.testing.assert_array_equal(state.diverged, 0)
    assert losses.train.shape[1] <= SCHEDULE.chunk


@pytest.mark.parametrize("padding", [0, 3])
def test_held_out_cells_and_padding_never_influence_training(padding):
    schedule = replace(SCHEDULE, held_out=4, batch_size=3)
    data = data_of(padding=padding)
    settings = {"objective": Quadratic(), "schedule": schedule, "fits": 1, "epochs": 4}
    reference, losses = run(data=data, **settings)
    silent, scored = [], []
    for cell in range(data.n_rows):
        changed = data._replace(x=data.x.at[cell].add(1.0))
        state, other = run(data=changed, **settings)
        silent.append(identical(state.params, reference.params))
        scored.append(not identical(other.held_out, losses.held_out))
    # Every cell is trained on, or scored and not trained on, or padding.
    assert sum(silent[:CELLS]) == 4
    assert all(silent[CELLS:])
    assert all(scored[:CELLS])
    assert not any(scored[CELLS:])


def test_held_out_scores_are_of_their_epoch():
    schedule = replace(SCHEDULE, held_out=4, batch_size=4, steps=2)
    _, losses = run(Quadratic(held_out_at=2.0), schedule, epochs=5)
    state, _ = run(Quadratic(held_out_at=2.0), schedule, epochs=3)
    expected = ((np.asarray(state.params["a"]) - 2.0) ** 2).mean(1)
    np.testing.assert_allclose(losses.held_out[:, 2], expected, rtol=1e-5)


def test_the_best_parameters_are_kept():
    schedule = replace(SCHEDULE, held_out=4, batch_size=4, steps=2, keep_best=True)
    objective = Quadratic(held_out_at=2.0)
    state, losses = run(objective, schedule, epochs=60)
    best = np.nanargmin(losses.held_out, 1)
    assert (best > 0).all() and (best < 59).all()
    np.testing.assert_array_equal(state.best_epoch, best)
    np.testing.assert_allclose(state.best_loss, losses.held_out.min(1), rtol=1e-6)
    score = ((np.asarray(state.params["a"]) - 2.0) ** 2).mean(1)
    np.testing.assert_allclose(score, losses.held_out.min(1), rtol=1e-5)
    last, _ = run(objective, replace(schedule, keep_best=False), epochs=60)
    assert (((np.asarray(last.params["a"]) - 2.0) ** 2).mean(1) > score).all()


@pytest.mark.parametrize("patience", [1, 6])
def test_patience_stops_soon_after_the_last_improvement(patience):
    schedule = replace(SCHEDULE, held_out=4, batch_size=4, steps=2)
    state, losses = run(Quadratic(held_out_at=2.0), schedule, epochs=200, patience=patience)
    waited = losses.train.shape[1] - 1 - int(np.max(state.best_epoch))
    assert patience <= waited < patience + schedule.chunk


def test_without_patience_training_goes_on():
    schedule = replace(SCHEDULE, held_out=4, batch_size=4, steps=2)
    _, losses = run(Quadratic(held_out_at=2.0), schedule, epochs=61)
    assert losses.train.shape == (3, 61)


def test_phases_move_their_groups_only():
    schedule = replace(SCHEDULE, phases=((("networks",), 1), (("edges",), 2)))
    states = [run(schedule=schedule, epochs=n)[0].params for n in range(1, 6)]
    start = training.init(Quadratic(), schedule, keys_of(3), data_of()).params
    moved = [
        {name for name in start if not np.array_equal(before[name], after[name])}
        for before, after in zip([start, *states], states, strict=False)
    ]
    assert moved == [{"a"}, {"b"}, {"b"}, {"a"}, {"b"}]


def test_groups_that_no_phase_names_rest():
    state, _ = run()
    start = training.init(Quadratic(), SCHEDULE, keys_of(3), data_of())
    np.testing.assert_array_equal(state.params["mark"], start.params["mark"])


def test_progress_is_reported_between_chunks():
    seen = []
    run(epochs=5, on_chunk=lambda done, losses: seen.append((done, losses.train.shape)))
    assert seen == [(2, (3, 2)), (4, (3, 4)), (5, (3, 5))]


@dataclass(frozen=True)
class Bowl:
    """A loss without cells or noise, so that the steps can be written out."""

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
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_rules_step_as_in_torch(optimiser, decay):
    rules = (("only", Rule(optimiser, 0.02, decay)),)
    schedule = Schedule(rules, ((("only",), 1),), batch_size=4, steps=3, chunk=2)
    state, _ = run(Bowl(), schedule, fits=1, epochs=4)
    expected = torch_steps(optimiser, 0.02, decay, steps=3, epochs=4)
    np.testing.assert_allclose(state.params["a"][0], expected, rtol=1e-4)
