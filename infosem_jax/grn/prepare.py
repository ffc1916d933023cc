"""From data sets, priors and settings to groups of fits that share one compiled program."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from infosem_jax.data.dataset import Dataset, normalise
from infosem_jax.data.passes import held_out_cells
from infosem_jax.data.stream import Stream, as_read, n_cells
from infosem_jax.engine.types import Schedule
from infosem_jax.grn import exact, nuts, own_guide
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Graph
from infosem_jax.grn.objective import FitData, FitIndex, InfoSEM, objective, schedule, weights
from infosem_jax.grn.priors import MeanAbsolute
from infosem_jax.grn.priors.binding import (
    GeneContext,
    PriorLike,
    Priors,
    as_priors,
    bind,
    coverage,
    say_coverage,
)
from infosem_jax.grn.streaming import MOST_HELD_OUT, block_cells

# Data sets share a program where none takes more than this many times the steps of another, since
# all of them are computed for the largest.
SPREAD = 1.25


class Job(NamedTuple):
    """One point of a grid, by the names of its parts."""

    data: str
    prior: str
    setting: str


class Member(NamedTuple):
    """One job of a group.

    Attributes
    ----------
    job, data, config
        Its names, its data set and its settings.
    graph
        Its priors, bound to genes sorted by name.
    rows
        Names of the genes that have a row.
    coverage
        How much of the data each of its priors knows about, by ``effect`` and ``edge``.
    """

    job: Job
    data: Dataset | Stream
    config: Config
    graph: Graph
    rows: tuple[str, ...]
    coverage: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Group:
    """Jobs whose fits are one compiled program.

    Attributes
    ----------
    objective, schedule
        What is trained, and how.
    members
        The jobs.
    """

    objective: InfoSEM
    schedule: Schedule
    members: list[Member]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Names of the jobs."""
        return tuple(member.job for member in self.members)

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return self.members[0].config.epochs


def context(
    data: Dataset | Stream, config: Config | exact.Config, site: str = "effect"
) -> GeneContext:
    """Return what priors see of the data: names in sorted order, and which genes have rows.

    Parameters
    ----------
    data
        Expression.
    config
        Settings; ``rows`` matters.
    site
        ``effect`` or ``logit``.
    """
    genes = tuple(sorted(data.genes))
    acting = set(genes if config.rows == "all" else data.regulators)
    return GeneContext(genes, tuple(g for g in genes if g in acting), n_cells(data), site)


def groups(
    datasets: Mapping[str, Dataset | Stream],
    priors: Mapping[str, PriorLike],
    configs: Mapping[str, Config],
) -> list[Group]:
    """Bind every prior to every data set, and put together what shares a program.

    That is what has the same numbers of genes and rows, the same kind of priors, settings that
    differ in rates and weights only, and about the same number of steps. Streams train alone.

    Parameters
    ----------
    datasets, priors, configs
        By name, as in `infosem_jax.grn.fit_many`.

    Raises
    ------
    ValueError, TypeError
        If data, settings or priors do not fit together.
    """
    found: dict[Any, list[tuple[Member, Schedule]]] = {}
    for data_name, data in datasets.items():
        settled = {setting: _settle(data, config) for setting, config in configs.items()}
        bound: dict[Any, tuple[Graph, tuple[str, ...], dict[str, dict[str, Any]]]] = {}
        for prior_name, prior in priors.items():
            for setting, config in settled.items():
                at = (prior_name, config.rows)
                job = Job(data_name, prior_name, setting)
                if at not in bound:
                    with _named_errors(job, alone=len(datasets) * len(priors) == 1):
                        bound[at] = _bind(data, as_priors(prior), config)
                member = Member(job, data, config, *bound[at])
                _check_guide(member)
                plan = _schedule(data, config)
                key = (
                    objective(config),
                    replace(plan, steps=0, held_out=0),
                    config.epochs,
                    len(data.genes),
                    jax.tree.structure(member.graph),
                    tuple((np.shape(x), str(x.dtype)) for x in jax.tree.leaves(member.graph)),
                    id(data) if isinstance(data, Stream) else None,
                )
                found.setdefault(key, []).append((member, plan))
    return [
        Group(
            objective(part[0][0].config),
            replace(
                part[0][1],
                steps=max(plan.steps for _, plan in part),
                held_out=max(plan.held_out for _, plan in part),
            ),
            [member for member, _ in part],
        )
        for alike in found.values()
        for part in _by_steps(alike)
    ]


def named(things: Any, kind: str) -> dict[str, Any]:
    """Give things names: their own where they are mapped, data sets' where listed, else numbers.

    Raises
    ------
    ValueError
        If there are none, or two have the same name.
    """
    if isinstance(things, Mapping):
        names = [str(name) for name in things]
        out = dict(zip(names, things.values(), strict=True))
    elif isinstance(things, Sequence) and not hasattr(things, "_fields"):
        names = [str(getattr(thing, "name", i)) for i, thing in enumerate(things)]
        out = dict(zip(names, things, strict=True))
    else:
        names = [str(getattr(things, "name", ""))]
        out = {names[0]: things}
    if len(out) < len(names):
        raise ValueError(
            f"Expected {kind} with names of their own, found {', '.join(names)}; pass a "
            "mapping from names."
        )
    if not out:
        raise ValueError(f"Expected at least one of the {kind}, found none.")
    return out


def fit_data(group: Group) -> tuple[FitData, list[FitIndex]]:
    """Lay the cells of a group out, padded to the longest, and say what each member takes of them.

    Genes and cells are sorted by name.
    """
    graphs, graph_of = stack_graphs(group)
    sheets: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    indices = []
    for member, graph in zip(group.members, graph_of, strict=True):
        data, config = member.data, member.config
        if isinstance(data, Stream):
            raise TypeError("Expected a data set in memory, found a stream.")
        if id(data) not in sheets:
            sheets[id(data)] = sheet(data, config)
        held_out = _schedule(data, config).held_out
        which = list(sheets).index(id(data))
        indices.append(
            FitIndex(
                dataset=np.array(which, np.int32),
                graph=np.array(graph, np.int32),
                n_cells=np.array(len(data.cells), np.int32),
                n_held_out=np.array(held_out, np.int32),
                weights=weights(config),
                share=share(data),
            )
        )
    n_rows = max(len(x) for x, _ in sheets.values())

    def stacked(part: int) -> np.ndarray:
        padded = [
            np.pad(sheet[part], ((0, n_rows - len(sheet[part])), (0, 0)))
            for sheet in sheets.values()
        ]
        return np.stack(padded)

    masked = group.objective.config.observe == "nonzero"
    return FitData(stacked(0), stacked(1) if masked else None, graphs), indices


def share(data: Dataset) -> np.ndarray:
    """Return what each cell counts for, as covariates took some of them out."""
    return np.asarray(1 - data.lost / len(data.cells), np.float32)


def stack_graphs(group: Group) -> tuple[Graph, list[int]]:
    """Stack the graphs of a group, each once, and say which one each member has."""
    distinct = {id(member.graph): member.graph for member in group.members}
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *distinct.values())
    return stacked, [list(distinct).index(id(member.graph)) for member in group.members]


def reported(member: Member) -> np.ndarray:
    """Return which rows are candidate regulators, in the order of the data's regulators."""
    return pd.Index(member.rows).get_indexer(pd.Index(member.data.regulators))


def _settle(data: Dataset | Stream, config: Config) -> Config:
    """Return the settings with the normalisation that data have already; refuse a wrong one."""
    data = as_read(data)
    if not isinstance(config, Config):
        raise TypeError(f"Expected a Config, found {type(config).__name__}.")
    if isinstance(data, Stream) or data.normalisation != "none":
        return replace(config, normalisation=data.normalisation)
    done = normalise(data, config.normalisation, clip=config.clip)
    return replace(config, normalisation=done.normalisation)


@contextmanager
def _named_errors(job: Job, *, alone: bool) -> Iterator[None]:
    """Say of which of several jobs an error speaks."""
    try:
        yield
    except ValueError as error:
        if alone:
            raise
        raise ValueError(f"{job.data} with prior {job.prior or '(none)'}: {error}") from error


def _bind(
    data: Dataset | Stream, priors: Priors, config: Config
) -> tuple[Graph, tuple[str, ...], dict[str, dict[str, Any]]]:
    """Align priors to data, and log how much of the data they know about."""
    given = {"effect": MeanAbsolute() if priors.effect is None else priors.effect}
    if priors.edge is not None:
        given["edge"] = priors.edge
    bound, covered = {}, {}
    for site, prior in given.items():
        at = context(data, config, "effect" if site == "effect" else "logit")
        bound[site], covered[site] = bind(prior, at), coverage(prior, at)
        say_coverage(priors, site, covered[site])
    genes, rows = at.genes, at.rows
    graph = Graph(bound["effect"], bound.get("edge"), jnp.asarray(np.searchsorted(genes, rows)))
    return jax.tree.map(lambda leaf: np.asarray(jnp.asarray(leaf)), graph), rows, covered


def _check_guide(member: Member) -> None:
    data, config = member.data, member.config
    own_guide.check(config, member.graph)
    if isinstance(data, Stream):
        if config.guide == "nuts":
            raise ValueError(
                f"{data.name}: guide nuts needs all cells in memory; read a sample of the stream."
            )
        return
    nuts.check(
        config,
        n_rows=len(member.rows),
        n_genes=len(data.genes),
        n_cells=len(data.cells),
        gated=member.graph.edge is not None,
    )


def _schedule(data: Dataset | Stream, config: Config) -> Schedule:
    if not isinstance(data, Stream):
        return schedule(config, len(data.cells))
    held_out = min(round(config.held_out * data.n_cells), MOST_HELD_OUT)
    plan = schedule(config, data.n_cells, held_out=held_out)
    held_out_cells(data, held_out=held_out, seed=0)
    cells = block_cells(data.n_cells, held_out)
    return replace(plan, steps=-(-cells // plan.batch_size), held_out=0)


def _by_steps(alike: list[tuple[Member, Schedule]]) -> list[list[tuple[Member, Schedule]]]:
    """Cut members into runs of about the same number of steps."""
    runs: list[list[tuple[Member, Schedule]]] = []
    for pair in sorted(alike, key=lambda pair: pair[1].steps):
        if runs and pair[1].steps <= SPREAD * runs[-1][0][1].steps:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return runs


def sheet(data: Dataset, config: Config | exact.Config) -> tuple[np.ndarray, np.ndarray]:
    """Return expression at scale and which entries were measured, genes and cells by name."""
    if data.normalisation == "none":
        data = normalise(data, config.normalisation, clip=config.clip)
    sorted_cells = np.ix_(np.argsort(np.asarray(data.cells)), np.argsort(np.asarray(data.genes)))
    return data.x[sorted_cells], data.observed[sorted_cells]
