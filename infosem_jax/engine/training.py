"""The training loop of every model here: many fits in one compiled program.

An objective defines how parameters start and what a batch of cells costs. Fits that share shapes
run side by side: over the devices of a mesh, under `vmap`, or one after the other in the program.
Training proceeds in segments (an epoch of resident cells, or a block of streamed ones); a chunk of
segments is one call of a compiled program, and Python reports, saves and stops between chunks.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax, random
from jaxtyping import Array, Float, Int

from infosem_jax.engine.layout import Layout, over_fits, split_cells
from infosem_jax.engine.types import (
    Cells,
    Chunk,
    Extent,
    Feed,
    Fits,
    Losses,
    Objective,
    Params,
    Resident,
    Schedule,
    StepRule,
    TrainState,
)

CHUNK_SECONDS = 2.0
# What runs once is not worth optimising: it compiles in half the time.
RUNS_ONCE = {"xla_backend_optimization_level": 0}


@partial(
    jax.jit,
    static_argnames=("objective", "schedule", "layout"),
    compiler_options=RUNS_ONCE,
)
def init(
    objective: Objective, schedule: Schedule, layout: Layout, fits: Fits, shared: Any
) -> TrainState:
    """Start every fit.

    Parameters
    ----------
    objective, schedule, layout
        What is trained, how, and on which devices.
    fits, shared
        What sets fits apart, and what they share.
    """

    def one(fit: Fits, shared):
        params = objective.init(random.fold_in(fit.keys, 0), objective.view(shared, fit.own))
        optimisers = dict(schedule.optimisers)
        groups = _split(objective, params)
        optimiser = {name: step_rule(optimisers[name]).init(p) for name, p in groups.items()}
        best = params if schedule.patience else {}
        return TrainState(
            params, optimiser, best, jnp.float32(jnp.inf), jnp.int32(-1), jnp.int32(-1)
        )

    return over_fits(one, layout)(fits, shared)


@partial(jax.jit, static_argnames=("objective", "schedule", "layout"), donate_argnames="state")
def run_chunk(
    objective: Objective,
    schedule: Schedule,
    layout: Layout,
    state: TrainState,
    fits: Fits,
    shared: Any,
    start: Array,
    stop: Array,
) -> tuple[TrainState, Losses]:
    """Train the segments from ``start`` to below ``stop``, at most ``schedule.chunk`` of them.

    Parameters
    ----------
    objective, schedule, layout, fits, shared
        As in `init`.
    state
        State of every fit; its buffers are reused.
    start, stop
        First segment, and the one to stop before; where the segments of a fit are cut into chunks
        does not change it.

    Returns
    -------
    The state, and losses [fits, chunk] of which the first ``stop - start`` are meant.
    """
    cycle = [i for i, (_, length) in enumerate(schedule.phases) for _ in range(length)]

    def one(state_and_fit, shared, start, stop):
        state, fit = state_and_fit
        data = objective.view(shared, fit.own)

        def go(state, segment):
            epoch, part, held_out = _parts(fit.keys, segment, data, schedule, layout)
            phases = [
                partial(_train_segment, objective, schedule, groups)
                for groups, _ in schedule.phases
            ]
            phase = jnp.array(cycle)[epoch % len(cycle)]
            state, train = lax.switch(phase, phases, state, fit, data, part, segment, epoch)
            if held_out is None:
                return state, Losses(train, jnp.array(jnp.nan))
            state, loss = _score(objective, schedule, state, fit.keys, data, held_out, epoch)
            return state, Losses(train, loss)

        def body(segment, carried):
            state, losses = carried
            state, new = go(state, segment)
            at = segment - start
            return state, jax.tree.map(lambda kept, one: kept.at[at].set(one), losses, new)

        # A loop of so many rounds, as a branch that skips the rest of a chunk copies the state.
        losses = Losses(*jnp.full((2, schedule.chunk), jnp.nan))
        return lax.fori_loop(start, stop, body, (state, losses))

    return over_fits(one, layout)((state, fits), shared, start, stop)


@partial(jax.jit, static_argnames=("objective", "schedule", "layout"), donate_argnames="state")
def score(
    objective: Objective,
    schedule: Schedule,
    layout: Layout,
    state: TrainState,
    fits: Fits,
    held_out: Any,
    epoch: Array,
) -> tuple[TrainState, Float[Array, " fits"]]:
    """Score the cells of ``held_out``, all of them in one batch, and keep what is best.

    Parameters
    ----------
    objective, schedule, layout, fits
        As in `init`.
    state
        State of every fit; its buffers are reused.
    held_out
        Takes the place of what fits share.
    epoch
        The epoch that has ended.
    """

    def one(state_and_fit, held_out, epoch):
        state, fit = state_and_fit
        data = objective.view(held_out, fit.own)
        index = jnp.arange(data.extent.n_rows)
        cells = Cells(index, index < data.extent.n_cells, data.extent.n_cells)
        return _score(objective, schedule, state, fit.keys, data, cells, epoch)

    return over_fits(one, layout)((state, fits), held_out, epoch)


def run(
    objective: Objective,
    schedule: Schedule,
    fits: Fits,
    feed: Feed,
    *,
    epochs: int,
    layout: Layout = Layout(),
    on_chunk: Callable[[Chunk], None] | None = None,
    resume: tuple[TrainState, Losses] | None = None,
) -> tuple[TrainState, Losses]:
    """Train every fit to the end, or until none goes on.

    Parameters
    ----------
    objective, schedule, layout, fits
        As in `init`.
    feed
        Where cells come from.
    epochs
        Number of epochs.
    on_chunk
        Called between chunks; what it raises ends training.
    resume
        State and losses of a progress report to go on from.

    Returns
    -------
    The state, and the losses of each segment.
    """
    segments = epochs * feed.segments
    state, losses = resume or (None, None)
    done = 0 if losses is None else losses.train.shape[1]
    pace = _Pace(schedule.chunk if isinstance(feed, Resident) else 1)
    cells = feed(done)
    for shared in cells:
        if state is None:
            state = init(objective, schedule, layout, fits, shared)
        if done >= segments or finished(state, schedule, done // feed.segments):
            break
        until = min(done + pace.take(), segments)
        state, new = run_chunk(
            objective, schedule, layout, state, fits, shared, jnp.int32(done), jnp.int32(until)
        )
        new = jax.tree.map(lambda part, n=until - done: to_host(part)[:, :n], new)
        pace.took(until - done)
        done = until
        if feed.held_out is not None and done % feed.segments == 0:
            epoch = jnp.int32(done // feed.segments - 1)
            state, held_out = score(objective, schedule, layout, state, fits, feed.held_out, epoch)
            new.held_out[:, -1] = to_host(held_out)
        losses = new if losses is None else _join(losses, new)
        if on_chunk is not None:
            on_chunk(Chunk(done, segments, losses, state))
    close = getattr(cells, "close", None)
    if close is not None:
        close()
    if state is None or losses is None:
        raise ValueError(f"Expected at least one epoch, found {epochs}.")
    if schedule.patience:
        state = state._replace(params=state.best)
    return state, losses


def cell_order(key: Array, n_rows: int, n_cells: Any) -> Int[Array, " rows"]:
    """Order the cells of a fit at random: those kept out of training come last, then padding.

    Parameters
    ----------
    key
        Random key of the fit.
    n_rows, n_cells
        Number of cells with padding, and of real ones.
    """
    draw = random.uniform(random.fold_in(key, 4), (n_rows,))
    return jnp.argsort(jnp.where(jnp.arange(n_rows) < n_cells, draw, 2.0))


def by_epoch(losses: Losses, segments: int) -> Losses:
    """Average the training losses of an epoch's segments; its held-out loss is that of the last."""
    n_fits, n = losses.train.shape
    whole = slice(0, n - n % segments)
    train = np.asarray(losses.train)[:, whole].reshape(n_fits, -1, segments)
    held_out = np.asarray(losses.held_out)[:, whole].reshape(n_fits, -1, segments)
    return Losses(train.mean(2), held_out[:, :, -1])


def step_rule(rule: StepRule) -> optax.GradientTransformation:
    """Return an optimiser; one that is named gives directions, before its learning rate."""
    if not isinstance(rule, str):
        return rule
    if rule == "adam":
        return optax.scale_by_adam()
    if rule == "adam_clipped":
        return optax.chain(optax.clip_by_global_norm(0.1), optax.scale_by_adam())
    return optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False)


def finished(state: TrainState, schedule: Schedule, epoch: int) -> bool:
    """Tell whether every fit has diverged, or gained nothing for as long as its patience.

    Parameters
    ----------
    state, schedule
        Of all fits.
    epoch
        Number of epochs trained so far.
    """
    over = to_host(state.diverged) >= 0
    if schedule.patience:
        over |= epoch - 1 - to_host(state.best_epoch) >= schedule.patience
    return bool(over.all())


def to_host(array: Array | np.ndarray) -> np.ndarray:
    """Copy an array that may lie on several devices, or on those of several hosts, to this one."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        from jax.experimental import multihost_utils

        array = multihost_utils.process_allgather(array, tiled=True)
    return np.array(array)


class _Pace:
    """Choose chunks of a few seconds each, so that progress shows and stopping is prompt."""

    def __init__(self, most: int):
        self.most = most
        # Hosts that compute together must cut alike, and their clocks differ.
        self.adapt = jax.process_count() == 1
        self.next = 1
        self.began = time.perf_counter()

    def take(self) -> int:
        self.began = time.perf_counter()
        return self.next

    def took(self, n: int) -> None:
        seconds = max(time.perf_counter() - self.began, 1e-6)
        wanted = CHUNK_SECONDS * n / seconds if self.adapt else 5
        # The first chunk may include compilation, so the pace is corrected step by step.
        self.next = int(max(1, min(self.most, wanted, 4 * self.next)))


def _parts(key, segment, data, schedule: Schedule, layout: Layout):
    """Return the epoch of a segment, its batches and their number, and the held-out cells."""
    if not schedule.batch_size:
        return segment, (None, jnp.int32(schedule.steps)), None
    extent: Extent = data.extent
    order = cell_order(key, extent.n_rows, extent.n_cells)
    batches = _batches(random.fold_in(key, 2), segment, order, extent, schedule, layout)
    steps = jnp.minimum(-(-extent.n_train // schedule.batch_size), schedule.steps)
    held_out = None
    if schedule.held_out:
        slots = jnp.arange(schedule.held_out)
        rest = order[jnp.minimum(extent.n_train + slots, extent.n_rows - 1)]
        held_out = Cells(rest, slots < extent.n_held_out, extent.n_held_out)
    return segment // extent.segments, (batches, steps), held_out


def _train_segment(objective, schedule, groups, state, fit, data, part, segment, epoch):
    batches, steps = part
    trained = [name for name in sorted(state.params) if objective.group(name) in groups]
    optimisers = dict(schedule.optimisers)

    def step(state, i):
        frozen = {k: v for k, v in state.params.items() if k not in trained}
        free = {k: v for k, v in state.params.items() if k in trained}
        number = segment * steps + i
        # None where every step takes all data.
        cells = jax.tree.map(lambda a: a[i], batches)

        def loss_of(free):
            step_key = random.fold_in(random.fold_in(fit.keys, 1), number)
            return objective.loss({**frozen, **free}, step_key, data, cells, epoch)

        loss, gradient = jax.value_and_grad(loss_of)(free)
        leaves = jax.tree.leaves((loss, gradient))
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
        # Data sets of one program may differ a little in their number of steps.
        due = i < steps
        alive = finite & due & (state.diverged < 0)
        params, optimiser = dict(frozen), dict(state.optimiser)
        for name, part in _split(objective, gradient).items():
            old = {k: free[k] for k in part}
            transform, rule = step_rule(optimisers[name]), fit.rates[name]
            update, new_state = transform.update(part, state.optimiser[name], old)
            if isinstance(optimisers[name], str):
                rate = rule.rate * rule.decay ** epoch.astype(jnp.float32)
                update = jax.tree.map(lambda u, rate=rate: -rate * u, update)
            new = optax.apply_updates(old, update)
            params |= _where(alive, new, old)
            optimiser[name] = _where(alive, new_state, state.optimiser[name])
        fails = due & ~finite & (state.diverged < 0)
        diverged = jnp.where(fails, number, state.diverged)
        new_state = state._replace(params=params, optimiser=optimiser, diverged=diverged)
        return _typed_as(state, new_state), jnp.where(due, loss, 0.0)

    state, losses = lax.scan(step, state, jnp.arange(schedule.steps))
    return state, losses.sum() / steps


def _split(objective: Objective, params: Params) -> dict[str, Params]:
    groups: dict[str, Params] = {}
    for name, value in params.items():
        groups.setdefault(objective.group(name), {})[name] = value
    return groups


def _batches(key, segment, order, extent: Extent, schedule: Schedule, layout: Layout) -> Cells:
    """Split the training cells into batches, some of them twice so that batches are full."""
    n, n_train = len(order), extent.n_train
    draw = random.uniform(random.fold_in(key, segment), (n,))
    shuffled = order[jnp.argsort(jnp.where(jnp.arange(n) < n_train, draw, 2.0))]
    at = jnp.arange(schedule.steps * schedule.batch_size) % n_train
    index = shuffled[at].reshape(schedule.steps, schedule.batch_size)
    index = split_cells(index, layout, axis=1)
    total = jnp.full(schedule.steps, extent.total, jnp.int32)
    return Cells(index, jnp.ones(index.shape, bool), total)


def _score(objective, schedule: Schedule, state: TrainState, key, data, cells: Cells, epoch):
    # One key for all epochs: scores differ by their parameters, not by their noise. The epoch is
    # a late one, at which weights that rise during training have arrived.
    loss = objective.loss(state.params, random.fold_in(key, 3), data, cells, jnp.int32(10**6))
    better = (loss < state.best_loss) & (state.diverged < 0)
    if schedule.patience:
        better &= epoch - state.best_epoch <= schedule.patience
    best = _where(better, state.params, state.best) if schedule.patience else {}
    new = state._replace(
        best=best,
        best_loss=jnp.where(better, loss, state.best_loss),
        best_epoch=jnp.where(better, epoch, state.best_epoch),
    )
    return _typed_as(state, new), loss


def _join(old: Losses, new: Losses) -> Losses:
    return Losses(*(np.concatenate(pair, 1) for pair in zip(old, new, strict=True)))


def _typed_as(state: TrainState, new: TrainState) -> TrainState:
    """Keep the types of a state that a scan carries, also where JAX_ENABLE_X64 is set."""
    return jax.tree.map(lambda old, value: value.astype(old.dtype), state, new)


def _where(condition, new, old):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
