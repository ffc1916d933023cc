"""Training that is judged by held-out samples every few epochs, and ends when they gain no more."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from infosem_jax.engine import training
from infosem_jax.engine.layout import choose, lay_out, place
from infosem_jax.engine.training import finished, to_host
from infosem_jax.engine.types import Fits, Losses, Objective, Params, Progress, Schedule


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
    schedule: Schedule,
    fits: Fits,
    shared: Any,
    held_out: Any = None,
    *,
    epochs: int,
    halve_after: int = 0,
    from_start: bool = False,
    on_chunk: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train fits side by side, and evaluate each on held-out samples every few epochs.

    Parameters
    ----------
    objective
        What is trained.
    schedule
        How; ``chunk`` is the number of epochs between evaluations, and ``patience`` that without a
        less held-out loss after which a fit ends.
    fits, shared
        What sets fits apart, and what they share.
    held_out
        Takes the place of ``shared`` in evaluations; None trains for all epochs.
    epochs
        Number of epochs at most.
    halve_after
        Evaluations without a gain after which the rates of a fit are halved; 0 leaves them.
    from_start
        Whether the parameters before training are evaluated too.
    on_chunk
        Told of progress after each evaluation.
    """
    n = len(fits.keys)
    layout = choose(n, schedule.batch_size)
    fits, shared, held_out = lay_out(fits, layout), place(shared, layout), place(held_out, layout)
    static = (objective, schedule, layout)
    state = training.init(*static, fits, shared)
    if from_start and held_out is not None:
        state, _ = training.score(*static, state, fits, held_out, jnp.int32(-1))
    losses = Losses(*np.empty((2, n, 0), np.float32))
    stalled = np.zeros(len(fits.keys), int)
    for done in range(0, epochs, schedule.chunk):
        until = min(done + schedule.chunk, epochs)
        span = jnp.int32(done), jnp.int32(until)
        state, new = training.run_chunk(*static, state, fits, shared, *span)
        new = Losses(*(to_host(part)[:n, : until - done] for part in new))
        if held_out is not None:
            state, loss = training.score(*static, state, fits, held_out, jnp.int32(until - 1))
            new.held_out[:, -1] = to_host(loss)[:n]
        losses = Losses(*(np.concatenate(pair, 1) for pair in zip(losses, new, strict=True)))
        if on_chunk is not None:
            text = f"loss {losses[held_out is not None][:, -1].mean():.4g}"
            on_chunk(Progress(until, epochs, "epochs", text, losses))
        if finished(state, schedule, until):
            break
        stalled = np.where(to_host(state.best_epoch) == until - 1, 0, stalled + 1)
        if halve_after and (halved := stalled >= halve_after).any():
            factor = np.where(halved, 0.5, 1.0).astype(np.float32)
            rates = {k: rule._replace(rate=rule.rate * factor) for k, rule in fits.rates.items()}
            fits, stalled = fits._replace(rates=rates), np.where(halved, 0, stalled)
    params, converged = state.params, to_host(state.diverged)[:n] < 0
    if held_out is not None:
        params, converged = state.best, np.isfinite(to_host(state.best_loss)[:n])
    return Trained(jax.tree.map(lambda leaf: to_host(leaf)[:n], params), converged, losses)
