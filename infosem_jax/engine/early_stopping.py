"""Training that is judged by held-out samples every few epochs, and ends when they gain no more.

And the training of one fit alone, which small networks need.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Bool, Int

from infosem_jax.engine import training
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.layout import Layout, choose, lay_out, place
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.training import finished, to_host
from infosem_jax.engine.types import (
    Fits,
    Losses,
    Objective,
    Params,
    Progress,
    Rate,
    Resident,
    Schedule,
    TrainState,
)


class Trained(NamedTuple):
    """What training gave; every array has a leading axis of fits, and lies on the host.

    Attributes
    ----------
    params
        Parameters with the least held-out loss of each fit; the last ones without held-out samples.
    converged
        Whether a fit has such parameters, which one that diverged at once has not, [fits].
    losses
        Of each epoch, those of held-out samples NaN where they were not evaluated.
    """

    params: Params
    converged: Bool[np.ndarray, " fits"]
    losses: Losses


def train(
    objective: Objective,
    own: Any,
    shared: Any,
    held_out: Any = None,
    *,
    rate: float,
    batch_size: int,
    epochs: int,
    check_every: int,
    patience: int = 0,
    seed: int = 0,
    clip: bool = False,
    halve_after: int = 0,
    from_start: bool = False,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
    number: int = 0,
) -> Trained:
    """Train fits side by side by Adam, and evaluate each on held-out samples every few epochs.

    Parameters
    ----------
    objective
        What is trained.
    own, shared
        What sets fits apart, of which ``train`` are the samples that each learns from, [fits,
        samples]; and what they share.
    held_out
        Takes the place of ``shared`` in evaluations; None trains for all epochs.
    rate, batch_size
        Learning rate, and samples per step.
    epochs
        Number of epochs at most.
    check_every, patience
        Epochs between evaluations, and those without a less held-out loss after which a fit ends.
    seed
        Seeds the random numbers.
    clip
        Whether gradients are clipped to a norm of 0.1.
    halve_after
        Evaluations without a gain after which the rates of a fit are halved; 0 leaves them.
    from_start
        Whether the parameters before training are evaluated too.
    on_chunk
        Told of progress after each evaluation.
    saver, number
        Saves training under this number, and goes on from what was saved.

    Raises
    ------
    ValueError
        If what was saved is of other data or settings.
    Interrupted
        If training was told to stop; it has been saved.
    """
    n, size = own.train.shape
    batch_size = min(batch_size, size)
    schedule = Schedule(
        optimisers=(("network", "adam_clipped" if clip else "adam"),),
        phases=((("network",), 1),),
        batch_size=batch_size,
        steps=-(-size // batch_size),
        patience=patience if held_out is not None else 0,
        chunk=check_every,
    )
    keys = jax.vmap(random.fold_in, (None, 0))(random.key(seed), np.arange(n))
    each = Rate(np.full(n, rate, np.float32), np.ones(n, np.float32))
    fits = Fits(keys, {"network": each}, own)
    layout = choose(n, batch_size)
    identity = partial(_identity, objective, schedule, fits, (shared, held_out), epochs)
    fits, shared, held_out = lay_out(fits, layout), place(shared, layout), place(held_out, layout)
    static = (objective, schedule, layout)
    stalled, began, resumed = np.zeros(len(fits.keys), int), time.perf_counter(), None
    if saver is not None:
        example = training.init.eval_shape(*static, fits, shared)
        resumed = saver.open(number, _Now(example, fits.rates, stalled), identity)
    if resumed is not None:
        (now, losses), earlier = resumed
        state, rates = place((now.state, now.rates), layout, fits=True)
        now, began = _Now(state, rates, now.stalled), began - earlier
    else:
        state = training.init(*static, fits, shared)
        if from_start and held_out is not None:
            state, _ = training.score(*static, state, fits, held_out, jnp.int32(-1))
        now = _Now(state, fits.rates, stalled)
        losses = Losses(*np.empty((2, len(fits.keys), 0), np.float32))
    done = losses.train.shape[1]
    with nullcontext() if saver is None else saver.listening():
        while done < epochs and not (done and finished(now.state, schedule, done)):
            until = min(done + schedule.chunk, epochs)
            fits = fits._replace(rates=now.rates)
            span = jnp.int32(done), jnp.int32(until)
            state, new = training.run_chunk(*static, now.state, fits, shared, *span)
            new = Losses(*(to_host(part)[:, : until - done] for part in new))
            if held_out is not None:
                state, loss = training.score(*static, state, fits, held_out, jnp.int32(until - 1))
                new.held_out[:, -1] = to_host(loss)
            losses = Losses(*(np.concatenate(pair, 1) for pair in zip(losses, new, strict=True)))
            now, done = _slowed(now._replace(state=state), until, halve_after), until
            if on_chunk is not None:
                told = Losses(*(part[:n] for part in losses))
                text = f"loss {told[held_out is not None][:, -1].mean():.4g}"
                on_chunk(Progress(until, epochs, "epochs", text, told))
            if saver is not None:
                last = done == epochs or finished(now.state, schedule, done)
                seconds = time.perf_counter() - began
                saver.update((now, losses), seconds, done, last=last)
    state = now.state
    params, converged = state.params, to_host(state.diverged)[:n] < 0
    if held_out is not None:
        params, converged = state.best, np.isfinite(to_host(state.best_loss)[:n])
    losses = Losses(*(part[:n] for part in losses))
    return Trained(jax.tree.map(lambda leaf: to_host(leaf)[:n], params), converged, losses)


def train_one(
    objective: Objective,
    shared: Any,
    rates: Mapping[str, float],
    key: Array,
    *,
    epochs: int,
    samples: int = 0,
    batch_size: int = 0,
    own: Any = (),
    held_out: Any = None,
    patience: int = 0,
) -> Params:
    """Train one fit on the default device, by Adam, and return its parameters.

    Parameters
    ----------
    objective, shared, own, held_out
        What is trained, and on what; see `Fits` and `train`.
    rates
        Learning rate of each group of parameters.
    key
        Random key.
    epochs
        Number of epochs at most.
    samples, batch_size
        Number of samples, and of those that make a step; 0 takes all data at every step.
    patience
        Epochs without a less held-out loss after which training ends, the best parameters kept.

    Raises
    ------
    FloatingPointError
        If it diverged.
    """
    batch_size = min(batch_size, samples)
    schedule = Schedule(
        optimisers=tuple((name, "adam") for name in rates),
        phases=((tuple(rates), 1),),
        batch_size=batch_size,
        steps=-(-samples // batch_size) if batch_size else 1,
        patience=patience,
        # Samples that lie apart are evaluated between chunks only.
        chunk=1 if held_out is not None else 100,
    )
    one = np.ones(1, np.float32)
    each = {name: Rate(np.full(1, rate, np.float32), one) for name, rate in rates.items()}
    fits = Fits(key[None], each, jax.tree.map(lambda leaf: np.asarray(leaf)[None], own))
    feed: Any = Resident(jax.device_put(shared), held_out=held_out)
    state, _ = training.run(objective, schedule, fits, feed, epochs=epochs, layout=Layout())
    step = to_host(state.diverged)[0]
    if step >= 0:
        raise FloatingPointError(
            f"Training diverged at step {step}; lower the learning rate "
            f"({', '.join(f'{name} {rate}' for name, rate in rates.items())})."
        )
    return jax.tree.map(lambda leaf: to_host(leaf)[0], state.params)


class _Now(NamedTuple):
    """What changes while fits train: states, learning rates, evaluations without a gain."""

    state: TrainState
    rates: dict[str, Rate]
    stalled: Int[np.ndarray, " fits"]


def _slowed(now: _Now, epoch: int, halve_after: int) -> _Now:
    """Count evaluations without a gain, and halve the rates of fits that have so many."""
    gained = to_host(now.state.best_epoch) == epoch - 1
    stalled = np.where(gained, 0, now.stalled + 1)
    if not halve_after or not (halved := stalled >= halve_after).any():
        return now._replace(stalled=stalled)
    factor = np.where(halved, 0.5, 1.0).astype(np.float32)
    rates = {k: rule._replace(rate=rule.rate * factor) for k, rule in now.rates.items()}
    return now._replace(rates=rates, stalled=np.where(halved, 0, stalled))


def _identity(
    objective: Objective, schedule: Schedule, fits: Fits, data: Any, epochs: int
) -> dict[str, Any]:
    """Return all that training depends on, to compare what was saved with what is to go on."""
    return {
        "epochs": epochs,
        "schedule": asdict(schedule),
        "rates": {name: np.asarray(rule.rate).tolist() for name, rule in fits.rates.items()},
        "key": np.asarray(jax.random.key_data(fits.keys)).tolist(),
        "model": fingerprint(objective),
        "data": fingerprint((fits.own, data)),
    }
