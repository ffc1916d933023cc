"""Train groups of fits that share a program, side by side, and bring them to results."""

import logging
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from infosem_jax.data.stream import Stream
from infosem_jax.engine import training
from infosem_jax.engine.compiled import release_programs
from infosem_jax.engine.layout import Layout, choose, lay_out, place
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.training import to_host
from infosem_jax.engine.types import Fits, Progress, Resident
from infosem_jax.grn import nuts, own_guide, prepare
from infosem_jax.grn.config import recorded
from infosem_jax.grn.objective import FitIndex, rates, weights
from infosem_jax.grn.prepare import Group, Job
from infosem_jax.grn.result import Fit, moments
from infosem_jax.grn.streaming import StreamFeed

log = logging.getLogger("infosem_jax")

# One for all, or one for each prior by its name.
Key: TypeAlias = int | Mapping[str, int]


def fit_groups(
    grid: list[Group],
    seeds: int,
    key: Key,
    spread: tuple[int | None, int | None],
    on_chunk: Callable[[Progress], None] | None,
    saver: Saver | None,
    skip: frozenset[Job],
) -> Generator[tuple[Job, Fit], None, None]:
    """Train group after group, and yield each job with its fit.

    Parameters
    ----------
    grid
        Groups of `infosem_jax.grn.prepare.groups`.
    seeds, key, on_chunk, saver, skip
        As in `infosem_jax.grn.fit_many`.
    spread
        Devices that share the cells of each batch, and fits that one computes side by side.
    """
    todo = [number for number, group in enumerate(grid) if not skip.issuperset(group.jobs)]
    for number, group in enumerate(grid):
        if number in todo:
            release_programs()
            report = partial(_report, on_chunk, [grid[i] for i in todo], todo.index(number))
            trained = _train(group, number, seeds, key, spread, report, saver)
            for i, job in enumerate(group.jobs):
                if job not in skip:
                    yield job, _result(group, i, seeds, _key_of(key, job), trained)
        if saver is not None:
            saver.forget(number)


class _Trained(NamedTuple):
    params: Any
    losses: training.Losses
    diverged: np.ndarray
    seconds: float


def _train(
    group: Group,
    number: int,
    seeds: int,
    key: Key,
    spread: tuple[int | None, int | None],
    report: Callable[[training.Chunk, int], None],
    saver: Saver | None,
) -> _Trained:
    n_fits = len(group.members) * seeds
    cells_over, at_once = spread
    layout = choose(n_fits, group.schedule.batch_size, cells=cells_over)
    if at_once is not None:
        layout = layout._replace(at_once=at_once)
    feed, own = _feed(group, layout, key)
    fits = _fits(group, own, seeds, key, layout)
    began = time.perf_counter()
    config, graph = group.objective.config, group.members[0].graph
    n_genes = len(group.members[0].data.genes)
    if config.guide == "nuts" and not nuts.has_parameters(config, graph, n_genes):
        state = training.init(group.objective, group.schedule, layout, fits, feed.shared)
        losses, earlier = training.Losses(*2 * [np.zeros((len(fits.keys), 0))]), 0.0
    else:
        identity = partial(_identity, group, seeds, key, layout)
        state, losses, earlier = _optimise(
            group, number, (fits, feed, layout), identity, report, saver
        )
    params, diverged = state.params, to_host(state.diverged)
    if config.guide == "nuts":
        params, losses, failed = nuts.run(group.objective, layout, fits, feed.shared, params)
        diverged = np.where(diverged < 0, failed, diverged)
    params = jax.tree.map(lambda leaf: to_host(leaf)[:n_fits], params)
    losses = jax.tree.map(lambda leaf: leaf[:n_fits], training.by_epoch(losses, feed.segments))
    seconds = earlier + time.perf_counter() - began
    return _Trained(params, losses, diverged[:n_fits], seconds)


def _optimise(
    group: Group,
    number: int,
    what: tuple[Fits, Any, Layout],
    identity: Callable[[], dict[str, Any]],
    report: Callable[[training.Chunk, int], None],
    saver: Saver | None,
) -> tuple[training.TrainState, training.Losses, float]:
    """Train by gradients; also returns the seconds that went into what was resumed."""
    fits, feed, layout = what
    began = time.perf_counter()
    resume, earlier = None, 0.0
    if saver is not None:
        saved = saver.open(number, _example(group, layout, fits, feed), identity)
        if saved is not None:
            (state, losses), earlier = saved
            resume = place(state, layout, fits=True), losses

    def on_chunk(progress: training.Chunk) -> None:
        report(progress, feed.segments)
        if saver is not None:
            seconds = earlier + time.perf_counter() - began
            saver.update((progress.state, progress.losses), seconds, progress.done)

    state, losses = training.run(
        group.objective,
        group.schedule,
        fits,
        feed,
        epochs=group.epochs,
        layout=layout,
        on_chunk=on_chunk,
        resume=resume,
    )
    return state, losses, earlier


def _feed(group: Group, layout: Layout, key: Key) -> tuple[Any, list[FitIndex]]:
    data = group.members[0].data
    if not isinstance(data, Stream):
        shared, own = prepare.fit_data(group)
        return Resident(place(shared, layout)), own
    graphs, graph_of = prepare.stack_graphs(group)
    share = group.objective.config.held_out
    seed = _key_of(key, group.members[0].job) % 2**32
    feed = StreamFeed(data, graphs, layout, share=share, seed=seed)
    nothing = np.array(0, np.int32)
    own = [
        FitIndex(nothing, np.array(graph, np.int32), nothing, nothing, weights(member.config))
        for graph, member in zip(graph_of, group.members, strict=True)
    ]
    return feed, own


def _fits(group: Group, indices: list[FitIndex], seeds: int, key: Key, layout: Layout) -> Fits:
    """Lay out the fits, seeds within members; the last is repeated where devices would idle."""
    member = np.repeat(np.arange(len(indices)), seeds)
    seed = np.tile(np.arange(seeds), len(indices))
    rates_of = [rates(m.config) for m in group.members]
    own, own_rates = (
        jax.tree.map(lambda *leaves: np.stack(leaves)[member], *parts)
        for parts in (indices, rates_of)
    )
    own_keys = [random.key(_key_of(key, job)) for job in group.jobs]
    keys = jax.vmap(random.fold_in)(jnp.stack(own_keys)[member], jnp.asarray(seed))
    return lay_out(Fits(keys, own_rates, own), layout)


def _key_of(key: Key, job: Job) -> int:
    return key[job.prior] if isinstance(key, Mapping) else key


def _example(group: Group, layout: Layout, fits: Fits, feed) -> Any:
    """Return the shapes of the state, without computing it."""
    cells = feed(0)
    shared = next(cells)
    cells.close()
    return training.init.eval_shape(group.objective, group.schedule, layout, fits, shared)


def _identity(group: Group, seeds: int, key: Key, layout: Layout) -> dict[str, Any]:
    """Return all that a fit depends on, to compare what was saved with what is asked for."""
    from infosem_jax.engine.fingerprint import fingerprint

    members = {
        "/".join(member.job): {
            "config": asdict(recorded(member.config)),
            "guide": fingerprint(member.config.guide),
            "optimiser": fingerprint(member.config.optimiser),
            "data": (
                member.data.fingerprint
                if isinstance(member.data, Stream)
                else fingerprint(member.data)
            ),
            "priors": fingerprint(member.graph),
        }
        for member in group.members
    }
    return {
        "fits": members,
        "seeds": seeds,
        "key": dict(key) if isinstance(key, Mapping) else key,
        "devices": list(layout.devices),
        "at_once": layout.at_once,
    }


def _result(group: Group, i: int, seeds: int, key: int, trained: _Trained) -> Fit:
    member, data = group.members[i], group.members[i].data
    part = slice(i * seeds, (i + 1) * seeds)
    params = jax.tree.map(lambda leaf: leaf[part], trained.params)
    objective, config = group.objective, member.config
    if callable(config.guide):
        keys = jax.vmap(lambda seed: random.fold_in(random.fold_in(random.key(key), seed), 6))
        params = own_guide.draw(objective, params, member.graph, keys(jnp.arange(seeds)))
        params = jax.tree.map(to_host, params)
        objective = replace(objective, config=replace(objective.config, guide="own"))
        config = replace(config, guide="own")
    summary = moments(objective, params, member.graph, prepare.reported(member))
    restore = np.argsort(np.argsort(np.asarray(data.genes)))
    summary = jax.tree.map(lambda leaf: np.asarray(leaf)[:, :, restore], summary)
    fitted = Fit(
        genes=data.genes,
        rows=member.rows,
        regulators=data.regulators,
        name=data.name,
        config=config,
        **summary._asdict(),
        losses=jax.tree.map(lambda leaf: leaf[part], trained.losses),
        diverged=trained.diverged[part],
        params=params,
        seconds=trained.seconds,
        coverage=member.coverage,
        covariates=() if isinstance(data, Stream) else data.covariates,
    )
    if (fitted.diverged >= 0).any():
        log.warning("%s They are left out of the network.", divergence(fitted))
    elif fitted.config.guide == "nuts":
        nuts.log_diagnostics(fitted)
    return fitted


def _report(
    on_chunk: Callable[[Progress], None] | None,
    grid: list[Group],
    number: int,
    chunk: training.Chunk,
    segments: int,
) -> None:
    """Say how many epochs of all groups are done, each as often as it has jobs."""
    if on_chunk is None:
        return
    of_groups = [len(group.jobs) * group.epochs for group in grid]
    group, epochs = grid[number], chunk.done / segments
    where = f"group {number + 1} of {len(grid)}, " if len(grid) > 1 else ""
    loss = float(np.nanmean(chunk.losses.train[:, -1])) if chunk.done else np.nan
    text = f"{where}epoch {epochs:.0f} of {group.epochs}, loss {loss:.4f}"
    done = sum(of_groups[:number]) + len(group.jobs) * epochs
    on_chunk(Progress(done, sum(of_groups), "epochs", text, chunk.losses))


def divergence(fitted: Fit) -> str:
    """Say which seeds diverged, and what to do."""
    bad = np.flatnonzero(fitted.diverged >= 0)
    where = ", ".join(f"seed {i} at step {fitted.diverged[i]}" for i in bad[:5])
    return (
        f"{fitted.name}: {len(bad)} of {len(fitted.diverged)} seeds diverged ({where}). "
        "Lower the learning rates, or clip expression harder."
    )
