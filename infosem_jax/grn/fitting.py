"""Fit InfoSEM: one data set with several seeds, or a grid of data sets, priors and settings."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any, overload

import pandas as pd

from infosem_jax.data.covariates import regress_out
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.stream import Stream, as_read
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Progress
from infosem_jax.grn import exact, prepare
from infosem_jax.grn.config import Config
from infosem_jax.grn.exact import grid as exact_grid
from infosem_jax.grn.group_training import Key, divergence, fit_groups
from infosem_jax.grn.prepare import Group, Job
from infosem_jax.grn.priors.binding import Prior, PriorLike, Priors, as_priors
from infosem_jax.grn.result import Fit


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
    first, see ``nuts``.

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
    data = as_read(data)
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
        raise FloatingPointError(divergence(fitted))
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

    What of the svi engine shares shapes trains side by side, over all devices of ``jax.devices()``.
    Each fit equals the one that `fit` makes of it alone, to rounding. All is checked before the
    first is trained; ``dict(fit_many(...))`` holds all results, a loop over it one at a time.

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
    return fit_groups(grid, seeds, key, (cells_over, at_once), on_chunk, saver, frozenset(skip))


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
