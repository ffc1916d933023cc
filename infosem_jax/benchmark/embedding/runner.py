"""The grid of the benchmark: groups of studies x methods x seeds."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from typing import Any, NamedTuple

from infosem_jax._settings import Method, choose
from infosem_jax._typing import Path
from infosem_jax.benchmark.embedding import leaderboard
from infosem_jax.benchmark.embedding.cells import STORE, At, Cell, measure
from infosem_jax.benchmark.embedding.compare import average_ranks, rank_estimates
from infosem_jax.benchmark.embedding.sources import (
    QUICK_GENES,
    Prepared,
    Source,
    find_gene_sets,
    find_sources,
    reduce,
    rename,
    study_graphs,
)
from infosem_jax.benchmark.runner import Job, Plan, check_grid, one_by_one
from infosem_jax.benchmark.table import wide
from infosem_jax.embedding import joining, model
from infosem_jax.embedding.gene_sets import GeneSets
from infosem_jax.embedding.graph import GraphSettings, StudyGraph
from infosem_jax.embedding.methods import METHODS, USUAL
from infosem_jax.embedding.methods import methods as all_methods
from infosem_jax.embedding.model import Vectors
from infosem_jax.embedding.network import MuSeGNNConfig
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.outputs.page import Table, interval

GRAPHS = GraphSettings()
# What MuSe-GNN made of a group with one seed, and the seconds it took, by its settings.
_Learned = dict[MuSeGNNConfig, tuple[Any, float]]


class Grid(NamedTuple):
    """What is to be computed.

    Attributes
    ----------
    sources
        Groups of studies.
    methods
        Methods by name.
    sets
        Collections of gene sets by name, for the recovery of functions.
    graphs
        How graphs are made.
    seeds
        Fits of each method, and draws of withheld orthologues.
    quick
        Whether data and methods are reduced.
    notes
        What readers of the results are to be told.
    """

    sources: list[Source]
    methods: dict[str, Method]
    sets: dict[str, GeneSets]
    graphs: GraphSettings = GRAPHS
    seeds: int = 5
    quick: bool = False
    notes: tuple[str, ...] = ()

    def plan(self) -> Plan:
        """Return what is to be computed, see `benchmark.runner`.

        Methods are given graphs alone: neither gene sets nor withheld orthologues.
        """
        _check(self)
        sets = {
            f"gene sets {name}": fingerprint({key: sorted(genes) for key, genes in own.items()})
            for name, own in self.sets.items()
        }
        return Plan(
            store=STORE,
            settings={"quick": self.quick, **asdict(self.graphs)},
            data={
                source.name: {
                    "expression": fingerprint(source.studies),
                    "orthologues": fingerprint(source.orthologues),
                    **sets,
                }
                for source in self.sources
            },
            methods=self.methods,
            known=METHODS,
            jobs=_jobs(self),
            total=len(self.sources) * len(self.methods) * self.seeds,
            notes=self.notes,
            make_page=leaderboard.make_page,
        )


def make_grid(
    data: Path,
    *,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    splits: Sequence[str] = (),
    seeds: int = 5,
    quick: bool = False,
    orthologues: Mapping[str, Path] | None = None,
    graphs: GraphSettings = GRAPHS,
    **reading: str | None,
) -> Grid:
    """Read the studies and gene sets of a folder, and choose methods by name.

    Parameters
    ----------
    data, datasets, orthologues
        The folder, which groups of its studies, and tables by species; see `find_sources`.
    methods
        Names of methods; those of `embedding.methods.USUAL` where empty.
    splits
        ``all`` or nothing: there is one, as gene sets are never trained on.
    seeds
        How many.
    quick
        Take the first two groups in a reduced form, small networks and one seed.
    graphs
        How graphs are made.
    **reading
        See `find_sources`.

    Raises
    ------
    ValueError
        If there is no such group, method or split.
    """
    chosen = choose("method", methods or USUAL, all_methods(quick=quick))
    choose("split", splits, {"all": None})
    sources, notes = find_sources(data, datasets, orthologues, reading)
    if quick:
        graphs = replace(graphs, genes=min(graphs.genes, QUICK_GENES))
        sources, reduced = reduce(sources)
        notes.append(reduced)
    sets = find_gene_sets(data)
    if not sets:
        notes.append("No gene sets were found, so that functions are not measured.")
    return Grid(sources, chosen, sets, graphs, 1 if quick else seeds, quick, tuple(notes))


def headline_tables(cells: Sequence[Cell]) -> list[Table]:
    """Return average ranks over the six metrics, and the recovery of functions, by group."""
    table, tables = wide(cells), []
    for dataset, ranks in rank_estimates(average_ranks(table)).items():
        own = table.loc[table["dataset"] == dataset].groupby("method").mean(numeric_only=True)
        rows = [
            (
                name,
                [
                    interval(found.mean, found.low, found.high, 2),
                    f"{own.loc[name, 'auc']:.3f}",
                    f"{own.loc[name, 'function_auroc']:.3f}",
                ],
            )
            for name, found in sorted(ranks.items(), key=lambda pair: pair[1].mean)
        ]
        columns = ["average rank [95 %]", "AUC of edges", "AUROC of function"]
        tables.append(Table("method", columns, rows, dataset))
    return tables


def _check(grid: Grid) -> None:
    check_grid(grid.seeds, group_of_studies=grid.sources, method=grid.methods)
    names = [source.name for source in grid.sources]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected groups with names of their own, found {', '.join(names)}.")
    for source in grid.sources:
        missing = source.species - {source.target} - source.orthologues.keys()
        if len(source.species) > 1 and missing:
            raise ValueError(
                f"{source.name}: expected a table of orthologues for {', '.join(sorted(missing))}; "
                "put one named *ortholog* into the folder, or leave the group out."
            )


def _jobs(grid: Grid) -> Iterator[Job]:
    """Yield a job for each group and seed; seeds share the graphs of a group."""
    genes = f"{grid.graphs.edges} {grid.graphs.genes}"
    for source in grid.sources:
        graphs = cache(partial(study_graphs, source, grid.graphs))
        for seed in range(grid.seeds):
            places = [At(source.name, genes, name, seed) for name in grid.methods]
            solve = partial(
                one_by_one,
                prepare=partial(_renamed, source, graphs, seed),
                make=partial(_cells, source, grid, {}),
            )
            yield Job(places, solve)


def _renamed(source: Source, graphs: Callable[[], tuple[StudyGraph, ...]], seed: int) -> Prepared:
    return rename(source, graphs(), seed)


def _cells(source: Source, grid: Grid, learned: _Learned, at: At, prepared: Prepared) -> list[Cell]:
    vectors, seconds = _embedded(grid.methods[at.method], prepared, at.seed, learned)
    return [measure(at, source, prepared, vectors, grid.sets, seconds)]


def _embedded(
    method: Method, prepared: Prepared, seed: int, learned: _Learned
) -> tuple[Vectors, float]:
    """Return vectors and seconds; MuSe-GNN is trained once for itself and for what joins it."""
    began, earlier, graphs = time.monotonic(), 0.0, prepared.graphs
    if method.function not in (model.embed, joining.embed):
        vectors = method.predict(graphs, seed)
    else:
        if method.settings not in learned:
            vectors = model.embed(graphs, seed, method.settings)
            learned[method.settings] = vectors, time.monotonic() - began
            began = time.monotonic()
        vectors, earlier = learned[method.settings]
        if method.function is joining.embed:
            vectors = joining.beside_components(graphs, vectors)
    return vectors, earlier + time.monotonic() - began
