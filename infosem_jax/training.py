"""The training loop of every model here: many fits in one compiled program.

An objective says how parameters start and what a batch of cells costs. Fits differ by their key
only and run side by side under `vmap`; epochs run in chunks under `lax.scan`, and Python reports
and stops between chunks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import lax, random
from jaxtyping import Array, Bool, Float, Int

Params = dict[str, Any]


@runtime_checkable
class Objective(Protocol):
    """What is minimised; hashable, so that equal objectives share one compilation."""

    def init(self, key: Array, data: Any) -> Params:
        """Return starting parameters."""
        ...

    def loss(self, params: Params, key: Array, data: Any, cells: "Cells", epoch: Array) -> Array:
        """Return the cost of some cells, scaled so that it does not depend on how many they are."""
        ...

    def group(self, name: str) -> str:
        """Return the group of parameters that a parameter is trained with."""
        ...


class Cells(NamedTuple):
    """Which cells make a batch.

    Attributes
    ----------
    index
        Rows of the data, [batch].
    real
        False where the index is padding, [batch].
    total
        Number of cells that they stand for.
    """

    index: Int[Array, " batch"]
    real: Bool[Array, " batch"]
    total: Int[Array, ""]


@dataclass(frozen=True)
class Rule:
    """How one group of parameters moves.

    Attributes
    ----------
    optimiser
        ``adam`` or ``rmsprop`` (decay 0.99, as in PyTorch).
    rate
        Learning rate.
    decay
        Factor on the rate after each epoch.
    """

    optimiser: str
    rate: float
    decay: float = 1.0


@dataclass(frozen=True)
class Schedule:
    """How training proceeds; every field is fixed at compilation.

    Attributes
    ----------
    rules
        Step rule of each group, as pairs.
    phases
        Groups trained together and for how many epochs, repeated in turn.
    batch_size
        Cells per step.
    steps
        Steps per epoch.
    held_out
        Number of cells kept out of training.
    keep_best
        Whether the parameters with the best held-out loss are kept.
    chunk
        Epochs between two returns to Python.
    """

    rules: tuple[tuple[str, Rule], ...]
    phases: tuple[tuple[tuple[str, ...], int], ...]
    batch_size: int
    steps: int
    held_out: int = 0
    keep_best: bool = False
    chunk: int = 5


class TrainState(NamedTuple):
    """Everything that changes while a fit trains.

    Attributes
    ----------
    params, optimiser
        Parameters and the state of each group's step rule.
    best, best_loss, best_epoch
        Parameters, loss and epoch of the best held-out score so far.
    diverged
        First step whose loss or gradient was not finite, -1 if none; parameters rest from there on.
    """

    params: Params
    optimiser: dict[str, Any]
    best: Params
    best_loss: Float[Array, "*fits"]
    best_epoch: Int[Array, "*fits"]
    diverged: Int[Array, "*fits"]


class Losses(NamedTuple):
    """Mean training and held-out loss of each epoch, [fits, epochs]; NaN where not computed."""

    train: Float[Array, "fits epochs"]
    held_out: Float[Array, "fits epochs"]


@partial(jax.jit, static_argnames=("objective", "schedule"))
def init(objective: Objective, schedule: Schedule, keys: Array, data: Any) -> TrainState:
    """Start one fit per key.

    Parameters
    ----------
    objective, schedule
        What is trained, and how.
    keys
        One key per fit, [fits].
    data
        Pytree with the number of real cells as ``n_cells``; shared by the fits.
    """

    def one(key):
        params = objective.init(random.fold_in(key, 0), data)
        groups = _split(objective, params)
        rules = dict(schedule.rules)
        optimiser = {name: _transform(rules[name]).init(group) for name, group in groups.items()}
        best = params if schedule.keep_best else {}
        return TrainState(params, optimiser, best, jnp.array(jnp.inf), jnp.int32(-1), jnp.int32(-1))

    return jax.vmap(one)(keys)


@partial(jax.jit, static_argnames=("objective", "schedule"), donate_argnames="state")
def run_chunk(
    objective: Objective,
    schedule: Schedule,
    state: TrainState,
    keys: Array,
    data: Any,
    start: Array,
    epochs: Array,
) -> tuple[TrainState, Losses]:
    """Train the epochs ``start, ..., start + chunk - 1`` that are below ``epochs``.

    Parameters
    ----------
    objective, schedule, keys, data
        As in `init`.
    state
        State of every fit; its buffers are reused.
    start, epochs
        First epoch of the chunk and number of epochs in all.
    """
    cycle = [i for i, (_, length) in enumerate(schedule.phases) for _ in range(length)]

    def one_epoch(state, key, epoch):
        order, n_train = _split_cells(key, data.n_cells, data.n_rows, schedule.held_out)
        batches = _batches(random.fold_in(key, 2), epoch, order, n_train, schedule)
        phases = [
            partial(_train_epoch, objective, schedule, set(groups)) for groups, _ in schedule.phases
        ]
        phase = jnp.array(cycle)[epoch % len(cycle)]
        state, train = lax.switch(phase, phases, state, key, data, batches, epoch)
        if not schedule.held_out:
            return state, Losses(train, jnp.array(jnp.nan))
        rest = lax.dynamic_slice_in_dim(order, n_train, schedule.held_out)
        cells = Cells(rest, jnp.ones(schedule.held_out, bool), jnp.int32(schedule.held_out))
        # One key for all epochs: scores differ by their parameters, not by their noise.
        held_out = objective.loss(
            state.params, random.fold_in(key, 3), data, cells, jnp.int32(10**6)
        )
        return _keep_best(state, held_out, epoch, schedule), Losses(train, held_out)

    def body(state, epoch):
        def skip(state):
            blank = jnp.full(keys.shape, jnp.nan)
            return state, Losses(blank, blank)

        def go(state):
            return jax.vmap(one_epoch, in_axes=(0, 0, None))(state, keys, epoch)

        return lax.cond(epoch < epochs, go, skip, state)

    state, losses = lax.scan(body, state, start + jnp.arange(schedule.chunk))
    return state, jax.tree.map(jnp.transpose, losses)


def run(
    objective: Objective,
    schedule: Schedule,
    keys: Array,
    data: Any,
    *,
    epochs: int,
    patience: int = 0,
    on_chunk: Callable[[int, Losses], None] | None = None,
) -> tuple[TrainState, Losses]:
    """Train one fit per key to the end, or until none improves any more.

    Parameters
    ----------
    objective, schedule, keys, data
        As in `init`.
    epochs
        Number of epochs.
    patience
        Stop when no fit has had a better held-out loss for so many epochs; 0 never stops.
    on_chunk
        Called between chunks with the number of epochs done and the losses so far.
    """
    state = init(objective, schedule, keys, data)
    chunks: list[Losses] = []
    done = 0
    while done < epochs:
        state, losses = run_chunk(
            objective, schedule, state, keys, data, jnp.int32(done), jnp.int32(epochs)
        )
        take = min(schedule.chunk, epochs - done)
        chunks.append(Losses(*(loss[:, :take] for loss in losses)))
        done += take
        so_far = Losses(*(jnp.concatenate(part, 1) for part in zip(*chunks, strict=True)))
        if on_chunk is not None:
            on_chunk(done, so_far)
        if bool((state.diverged >= 0).all()):
            break
        if patience and bool((done - 1 - state.best_epoch >= patience).all()):
            break
    if schedule.keep_best:
        state = state._replace(params=state.best)
    return state, so_far


def _train_epoch(objective, schedule, groups, state, key, data, batches, epoch):
    trained = {name for name in state.params if objective.group(name) in groups}
    rules = dict(schedule.rules)

    def step(state, i):
        frozen = {k: v for k, v in state.params.items() if k not in trained}
        free = {k: v for k, v in state.params.items() if k in trained}
        number = epoch * schedule.steps + i
        cells = jax.tree.map(lambda a: a[i], batches)

        def loss_of(free):
            step_key = random.fold_in(random.fold_in(key, 1), number)
            return objective.loss({**frozen, **free}, step_key, data, cells, epoch)

        loss, gradient = jax.value_and_grad(loss_of)(free)
        leaves = jax.tree.leaves((loss, gradient))
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
        alive = finite & (state.diverged < 0)
        params, optimiser = dict(frozen), dict(state.optimiser)
        for name, part in _split(objective, gradient).items():
            old = {k: free[k] for k in part}
            update, new_state = _transform(rules[name]).update(part, state.optimiser[name], old)
            rate = rules[name].rate * rules[name].decay ** epoch.astype(jnp.float32)
            new = jax.tree.map(lambda p, u, rate=rate: p - rate * u, old, update)
            params |= _where(alive, new, old)
            optimiser[name] = _where(alive, new_state, state.optimiser[name])
        first = jnp.where((state.diverged < 0) & ~finite, number, state.diverged)
        return state._replace(params=params, optimiser=optimiser, diverged=first), loss

    state, losses = lax.scan(step, state, jnp.arange(schedule.steps))
    return state, losses.mean()


def _split(objective: Objective, params: Params) -> dict[str, Params]:
    groups: dict[str, Params] = {}
    for name, value in params.items():
        groups.setdefault(objective.group(name), {})[name] = value
    return groups


def _transform(rule: Rule) -> optax.GradientTransformation:
    if rule.optimiser == "adam":
        return optax.scale_by_adam()
    return optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False)


def _split_cells(key, n_cells, n_rows: int, held_out: int):
    """Order the cells at random, held-out ones after the others, padding last."""
    draw = random.uniform(random.fold_in(key, 4), (n_rows,))
    order = jnp.argsort(jnp.where(jnp.arange(n_rows) < n_cells, draw, 2.0))
    return order, n_cells - held_out


def _batches(key, epoch, order, n_train, schedule: Schedule) -> Cells:
    """Deal the training cells to the steps of an epoch, some twice so that batches are full."""
    n = len(order)
    draw = random.uniform(random.fold_in(key, epoch), (n,))
    shuffled = order[jnp.argsort(jnp.where(jnp.arange(n) < n_train, draw, 2.0))]
    at = jnp.arange(schedule.steps * schedule.batch_size) % n_train
    index = shuffled[at].reshape(schedule.steps, schedule.batch_size)
    total = jnp.full(schedule.steps, n_train, jnp.int32)
    return Cells(index, jnp.ones(index.shape, bool), total)


def _keep_best(state: TrainState, loss, epoch, schedule: Schedule) -> TrainState:
    better = (loss < state.best_loss) & (state.diverged < 0)
    best = _where(better, state.params, state.best) if schedule.keep_best else {}
    return state._replace(
        best=best,
        best_loss=jnp.where(better, loss, state.best_loss),
        best_epoch=jnp.where(better, epoch, state.best_epoch),
    )


def _where(condition, new, old):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
