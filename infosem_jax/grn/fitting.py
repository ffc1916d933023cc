"""Fit InfoSEM: one data set with several seeds, or a grid of data sets, priors and settings."""

import logging
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import random

from infosem_jax.data.covariates import regress_out
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.stream import Stream
from infosem_jax.engine import training
from infosem_jax.engine.compiled import release_programs
from infosem_jax.engine.layout import Layout, choose, place
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.training import to_host
from infosem_jax.engine.types import Fits, Progress, Resident
from infosem_jax.grn import exact, nuts, own_guide, prepare
from infosem_jax.grn.config import Config, recorded
from infosem_jax.grn.exact import grid as exact_grid
from infosem_jax.grn.objective import FitIndex, rates, weights
from infosem_jax.grn.prepare import Group, Job
from infosem_jax.grn.priors.binding import Prior, PriorLike, Priors, as_priors
from infosem_jax.grn.result import Fit, moments
from infosem_jax.grn.streaming import StreamFeed

log = logging.getLogger("infosem_jax")


Key: TypeAlias = int | Mapping[str, int]


@overload
def fit(
    data: Dataset | Stream,
    effect: Prior | None = ...,
    edge: Prior | None = ...,
    *,
    config: exact.Config = ...,
    covariates: pd.DataFrame | None = ...,
    seeds: int = ...,
    key: int = ...,
    on_chunk: Callable[[Progress], None] | None = ...,
    saver: Saver | None = ...,
) -> exact.Fit: ...
@overload
def fit(
    data: Dataset | Stream,
    effect: Prior | None = ...,
    edge: Prior | None = ...,
    *,
    config: Config,
    covariates: pd.DataFrame | None = ...,
    seeds: int = ...,
    key: int = ...,
    on_chunk: Callable[[Progress], None] | None = ...,
    saver: Saver | None = ...,
) -> Fit: ...
def fit(
    data: Dataset | Stream,
    effect: Prior | None = None,
    edge: Prior | None = None,
    *,
    config: Config | exact.Config = exact.Config(),
    covariates: pd.DataFrame | None = None,
    seeds: int = 1,
    key: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
) -> Fit | exact.Fit:
    """Fit a network to expression, by the engine that the settings are of.

    The exact engine, `infosem_jax.grn.exact.Config`, is the default: the network is the closed-form
    posterior of linear-Gaussian regressions, see `infosem_jax.grn.exact.fit`. With settings of the
    svi engine, `infosem_jax.grn.Config`, InfoSEM is trained with one posterior per seed, all seeds
    in one compiled program; with ``guide="nuts"`` each seed is a chain, and networks are trained
    first, see `nuts`.

    The result depends on the key, the data and the settings only: genes and cells are put in the
    order of their names first, so that the order they came in does not matter. (Cells of a stream
    are taken in an order drawn from the key and their place in the file.)

    Parameters
    ----------
    data
        Expression as read, or already normalised; or a stream of cells that stay on disk.
    effect
        Prior of the effects; None is a normal one whose scale is learned, and of the svi engine
        DeepSEM's Laplace prior, ``priors.MeanAbsolute()``.
    edge
        Prior of the logits; None is a model without a gate.
    config
        Settings of the exact engine, or of the svi engine.
    covariates
        What is known of the cells and has no part in the network, such as their batch, with the
        names of the cells as index; see `infosem_jax.data.regress_out`, which takes it out.
    seeds
        Number of svi fits that differ by their random numbers only; the exact engine has none.
    key
        Seeds the random numbers; fit i of one key is the same however many seeds there are.
    on_chunk
        Called every few seconds with the number of epochs done, and the losses of each seed and
        segment so far.
    saver
        Saves training now and then, and goes on from what was saved.

    Raises
    ------
    ValueError
        If data, settings or priors do not fit together.
    FloatingPointError
        If every seed diverged.

    Examples
    --------
    >>> from infosem_jax import data, grn
    >>> sizes = data.simulate.SimulationConfig(genes=20, regulators=4, cells=60)
    >>> truth = data.simulate.simulate(sizes, seed=0)
    >>> fitted = grn.fit(truth.data, edge=grn.priors.KnownEdges(truth.known))
    >>> list(grn.edges(grn.network(fitted), top=3))
    ['source', 'target', 'score', 'weight', 'sd', 'sign_agreement', 'probability']
    """
    if covariates is not None:
        if isinstance(data, Stream):
            raise ValueError(
                f"{data.name}: expected cells in memory with covariates, found a stream; read a "
                "sample of it."
            )
        data = regress_out(data, covariates, config.normalisation, clip=config.clip)
    grid = fit_many(
        {data.name: data},
        {"": Priors(effect, edge)},
        configs=config,
        seeds=seeds,
        key=key,
        on_chunk=on_chunk,
        saver=saver,
    )
    ((_, fitted),) = grid
    if isinstance(fitted, exact.Fit):
        return fitted
    if (fitted.diverged >= 0).all():
        raise FloatingPointError(_divergence(fitted))
    return fitted


@overload
def fit_many(
    datasets: Mapping[str, Dataset | Stream] | Sequence[Dataset | Stream],
    priors: Mapping[str, PriorLike],
    *,
    configs: exact.Config | Mapping[str, exact.Config] = ...,
    seeds: int = ...,
    key: Key = ...,
    cells_over: int | None = ...,
    at_once: int | None = ...,
    on_chunk: Callable[[Progress], None] | None = ...,
    saver: Saver | None = ...,
    skip: Collection[Job] = ...,
) -> Generator[tuple[Job, exact.Fit], None, None]: ...
@overload
def fit_many(
    datasets: Mapping[str, Dataset | Stream] | Sequence[Dataset | Stream],
    priors: Mapping[str, PriorLike],
    *,
    configs: Config | Mapping[str, Config],
    seeds: int = ...,
    key: Key = ...,
    cells_over: int | None = ...,
    at_once: int | None = ...,
    on_chunk: Callable[[Progress], None] | None = ...,
    saver: Saver | None = ...,
    skip: Collection[Job] = ...,
) -> Generator[tuple[Job, Fit], None, None]: ...
def fit_many(
    datasets: Mapping[str, Dataset | Stream] | Sequence[Dataset | Stream],
    priors: Mapping[str, PriorLike],
    *,
    configs: exact.Config | Config | Mapping[str, exact.Config] | Mapping[str, Config] = (
        exact.Config()
    ),
    seeds: int = 1,
    key: Key = 0,
    cells_over: int | None = None,
    at_once: int | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
    skip: Collection[Job] = (),
) -> Generator[tuple[Job, Fit], None, None] | Generator[tuple[Job, exact.Fit], None, None]:
    """Fit every data set with every prior, setting and seed, in as few programs as possible.

    Exact fits are made one after the other, and the cells of a data set are summed up once.

    What of the svi engine shares shapes trains side by side, over all devices of `jax.devices()`:
    see `prepare.groups`. Each fit equals the one that `fit` makes of it alone, to rounding. All is
    checked before the first is trained; ``dict(fit_many(...))`` holds all results, a loop over it
    one at a time.

    Parameters
    ----------
    datasets
        Data sets by name, or a list of data sets with names of their own.
    priors
        Priors by name: of the effects, or ``{"effect": ..., "edge": ...}``, as `variant` returns.
    configs
        Settings, or several by name. Those that differ in learning rates and weights only share a
        program. All are of one engine.
    seeds, key
        As in `fit`, for each; or the key of each prior, by its name.
    cells_over
        Number of devices that share the cells of each batch; None decides.
    at_once
        Fits that one device computes side by side; None is one on a CPU and all elsewhere.
    on_chunk
        Called every few seconds with the number of epochs done, those of all jobs added up, and
        the losses of the fits that train at the time.
    saver
        Saves training now and then, and goes on from what was saved.
    skip
        Jobs whose results are not wanted any more.

    Yields
    ------
    The job and its fit (a `Fit`, or an `exact.Fit`), group by group. A fit whose seeds all diverged
    is yielded too.

    Raises
    ------
    ValueError, TypeError
        If data, settings or priors do not fit together.
    """
    if seeds < 1:
        raise ValueError(f"Expected at least one seed, found {seeds}.")
    named_configs: dict[str, Any] = dict(configs) if isinstance(configs, Mapping) else {"": configs}
    if any(isinstance(config, exact.Config) for config in named_configs.values()):
        _check_exact(named_configs, seeds, (cells_over, at_once, saver))
        named_data = prepare.named(datasets, "data sets")
        given = {name: as_priors(each) for name, each in prepare.named(priors, "priors").items()}
        own: dict[str, Any] = {"key": key, "on_chunk": on_chunk, "skip": skip}
        return exact_grid.fit_many(named_data, given, named_configs, **own)
    grid = prepare.groups(
        prepare.named(datasets, "data sets"),
        prepare.named(priors, "priors"),
        prepare.named(named_configs, "settings"),
    )
    _check_keys(key, grid)
    if any(member.config.guide == "own" for group in grid for member in group.members):
        raise ValueError(
            "guide: own is the record of a guide that was made in Python; give it again, or choose "
            "point, normal, lowrank or nuts."
        )
    return _fit_groups(grid, seeds, key, (cells_over, at_once), on_chunk, saver, frozenset(skip))


def _check_exact(configs: Mapping[str, Any], seeds: int, others: tuple) -> None:
    """Refuse what only the svi engine does."""
    if not all(isinstance(config, exact.Config) for config in configs.values()):
        raise ValueError(
            "Expected settings of one engine, found some of svi and some of exact; call twice."
        )
    if seeds > 1:
        raise ValueError(
            f"Expected seeds=1 with the exact engine, found {seeds}: its posterior is exact, so "
            "that there are no seeds; take the svi engine, config=infosem_jax.grn.Config(), for "
            "several."
        )
    if any(other is not None for other in others):
        raise ValueError(
            "Expected no saver, cells_over or at_once with the exact engine, which neither saves "
            "its progress nor shares cells; they are for the svi engine."
        )


def _check_keys(key: Key, grid: list[Group]) -> None:
    if not isinstance(key, Mapping):
        return
    members = [member for group in grid for member in group.members]
    missing = sorted({member.job.prior for member in members} - set(key))
    if missing:
        raise ValueError(
            f"Expected a key for every prior, found none for {', '.join(map(repr, missing))}; add "
            "them, or give one key for all."
        )
    for member in members:
        if isinstance(member.data, Stream):
            raise ValueError(
                f"{member.data.name}: expected one key for all priors, since a stream is read in "
                "one order; found a key for each."
            )


def _fit_groups(
    grid: list[Group],
    seeds: int,
    key: Key,
    spread: tuple[int | None, int | None],
    on_chunk: Callable[[Progress], None] | None,
    saver: Saver | None,
    skip: frozenset[Job],
) -> Generator[tuple[Job, Fit], None, None]:
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
    devices = layout.devices[0]
    fill = -len(member) % devices
    member, seed = np.pad(member, (0, fill), mode="edge"), np.pad(seed, (0, fill), mode="edge")
    rates_of = [rates(m.config) for m in group.members]
    own, own_rates = (
        jax.tree.map(lambda *leaves: np.stack(leaves)[member], *parts)
        for parts in (indices, rates_of)
    )
    own_keys = [random.key(_key_of(key, job)) for job in group.jobs]
    keys = jax.vmap(random.fold_in)(jnp.stack(own_keys)[member], jnp.asarray(seed))
    return place(Fits(keys, own_rates, own), layout, fits=True)


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
    )
    if (fitted.diverged >= 0).any():
        log.warning("%s They are left out of the network.", _divergence(fitted))
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


def _divergence(fitted: Fit) -> str:
    bad = np.flatnonzero(fitted.diverged >= 0)
    where = ", ".join(f"seed {i} at step {fitted.diverged[i]}" for i in bad[:5])
    return (
        f"{fitted.name}: {len(bad)} of {len(fitted.diverged)} seeds diverged ({where}). "
        "Lower the learning rates, or clip expression harder."
    )
