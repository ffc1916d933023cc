"""The grid of the benchmark: data sets x splits x seeds x inputs x methods."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

from infosem_jax._settings import Method, choose
from infosem_jax._typing import Path
from infosem_jax.benchmark.expression import leaderboard
from infosem_jax.benchmark.expression.cells import STORE, At, Cell, measure
from infosem_jax.benchmark.expression.compare import by_method, group_of, mean_scores
from infosem_jax.benchmark.expression.sources import (
    Source,
    draw_problem,
    find_sources,
    reduce,
    splits_of,
)
from infosem_jax.benchmark.runner import Job, Plan, check_grid, one_by_one
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.expression.choices import Inputs, choose_inputs, parse_inputs
from infosem_jax.expression.methods import METHODS, USUAL
from infosem_jax.expression.methods import methods as all_methods
from infosem_jax.expression.task import Problem
from infosem_jax.outputs.page import Table

QUICK_INPUTS = ("all", "greedy:10")
USUAL_INPUTS = ("all", "random:1/3", "greedy:1/3", "random:10", "greedy:10", "lasso:10")


class Grid(NamedTuple):
    """What is to be computed.

    Attributes
    ----------
    sources
        Data sets.
    methods
        Methods by name.
    inputs
        Choices of inputs, see `choices.parse_inputs`; each from the pool of a data set.
    splits
        Splits, see `choices.SPLITS`; the one that suits the labels of a data set where empty.
    pool
        Genes that inputs are chosen from, see `sources.draw_problem`.
    scaling
        Of what methods see: ``standard`` for each gene, ``max`` as Kim et al., or ``none``.
    seeds
        How many; each decides a split, a pool if that is drawn, and all that is random in a
        method. Methods share all but the last, so that they can be compared in pairs.
    quick
        Whether this is a run on reduced data, which no other run goes on with.
    notes
        What readers of the results are to be told.
    """

    sources: list[Source]
    methods: dict[str, Method]
    inputs: tuple[str, ...] = USUAL_INPUTS
    splits: tuple[str, ...] = ()
    pool: str = "auto"
    scaling: str = "standard"
    seeds: int = 5
    quick: bool = False
    notes: tuple[str, ...] = ()

    def plan(self) -> Plan:
        """Return what is to be computed, see `benchmark.runner`.

        Inputs are chosen on the training samples of each split.
        """
        jobs = list(_jobs(self))
        return Plan(
            store=STORE,
            settings={"quick": self.quick, "pool": self.pool, "scaling": self.scaling},
            data={
                f"{each.dataset}/{each.network}": {
                    "expression": fingerprint((each.profiles, each.cohort))
                }
                for each in self.sources
            },
            methods=self.methods,
            known=METHODS,
            jobs=jobs,
            total=sum(len(job.places) for job in jobs),
            notes=[*self.notes, *(note for source in self.sources for note in source.notes)],
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
    inputs: Sequence[str] = (),
    pool: str = "auto",
    scaling: str = "standard",
    **reading: str | None,
) -> Grid:
    """Read the data sets of a folder, and choose methods by name.

    Parameters
    ----------
    data, datasets
        The folder, and which of its data sets; see `find_sources`.
    methods
        Names of methods; those of `expression.methods.USUAL` where empty.
    splits, inputs, pool, scaling
        See :class:`Grid`; the usual ones where empty.
    seeds
        How many.
    quick
        Take the first two data sets in a reduced form, small networks, few inputs and one seed.
    **reading
        See `find_sources`.

    Raises
    ------
    ValueError
        If there is no such data set, method, or choice of inputs.
    """
    chosen = choose("method", methods or USUAL, all_methods(quick=quick))
    wanted = tuple(inputs) or (QUICK_INPUTS if quick else USUAL_INPUTS)
    for text in wanted:
        parse_inputs(text)
    sources, notes = find_sources(data, datasets, reading)
    if quick:
        sources, reduced = reduce(sources)
        notes.append(reduced)
    return Grid(
        sources, chosen, wanted, tuple(splits), pool, scaling, 1 if quick else seeds, quick,
        tuple(notes),
    )  # fmt: skip


def headline_tables(cells: Sequence[Cell]) -> list[Table]:
    """Return the main scores of each data set, methods by inputs."""
    tables = []
    for group in sorted({group_of(cell.at) for cell in cells}):
        found = {genes: of for (own, genes), of in by_method(cells) if own == group}
        rows = [
            (name, [mean_scores(of[name]) if name in of else "-" for of in found.values()])
            for name in sorted({name for of in found.values() for name in of})
        ]
        title = f"{group.title}: correlation of gene ranks / per gene"
        tables.append(Table("method", list(found), rows, title))
    return tables


def _jobs(grid: Grid) -> Iterator[Job]:
    """Yield a job for each data set, split, seed and choice of inputs."""
    check_grid(grid.seeds, data_set=grid.sources, method=grid.methods, choice_of_inputs=grid.inputs)
    inputs = [parse_inputs(text) for text in grid.inputs]
    for source in grid.sources:
        # Labels that a data set lacks are nothing to ask of it.
        own = [each for each in inputs if set(each.labels) <= source.inputs.labels.keys()]
        for name, split in splits_of(source, grid.splits).items():
            # A first draw shows, before anything is computed, that the words can be followed.
            draw_problem(source, grid.pool, split, (), 0, scaling=grid.scaling)
            for seed, chosen in product(range(grid.seeds), own):
                places = [
                    At(source.dataset, source.network, chosen.text, method, name, seed)
                    for method in grid.methods
                ]
                prepare = partial(_problem, source, grid, split, chosen, seed)
                make = partial(_cells, grid.methods)
                yield Job(places, partial(one_by_one, prepare=prepare, make=make))


def _problem(source: Source, grid: Grid, split: str, inputs: Inputs, seed: int) -> Problem:
    problem = draw_problem(source, grid.pool, split, inputs.labels, seed, scaling=grid.scaling)
    return problem._replace(task=choose_inputs(problem.task, inputs, seed))


def _cells(known: Mapping[str, Method], at: At, problem: Problem) -> list[Cell]:
    began = time.monotonic()
    prediction = known[at.method].predict(problem.task, at.seed)
    return [measure(at, problem, prediction, time.monotonic() - began)]
