"""The grid of the benchmark: data sets x splits x seeds x inputs x methods, a file for each cell.

Cells are written as soon as they are measured, each whole or not at all, so that a run that was
stopped or killed at any moment goes on with what is missing.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from infosem_jax import __version__
from infosem_jax._typing import Path
from infosem_jax.benchmark import folder
from infosem_jax.benchmark.expression import leaderboard
from infosem_jax.benchmark.expression.cells import STORE, At, Cell, measure
from infosem_jax.benchmark.expression.sources import Source, draw_problem, splits_of
from infosem_jax.benchmark.grid import Failure, Outcome, check_grid, compute, finish, write_failures
from infosem_jax.engine.compiled import release_programs
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.interrupts import Interrupted, interrupts
from infosem_jax.expression.choices import Inputs, choose_inputs, parse_inputs
from infosem_jax.expression.methods import methods
from infosem_jax.expression.task import Method, Problem

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


class _Job(NamedTuple):
    """All cells that share a split and a pool."""

    source: Source
    name: str
    split: str
    seed: int
    inputs: list[Inputs]


def run_grid(
    grid: Grid,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Outcome:
    """Compute the cells of a grid, and write tables, plots and a report of all that is there.

    Methods are given a task without the truth of its test samples. Inputs are chosen on the
    training samples of each split.

    Parameters
    ----------
    grid
        What is to be computed.
    out
        Folder for the results.
    resume
        Compute only what is missing there. Results of other methods, data sets or seeds stay.
    overwrite
        Remove the results of an earlier run first.
    on_progress
        Called with the number of cells that are done, that of all, and what is being done.

    Raises
    ------
    ValueError
        If the grid is empty or asks for what there is not, or results are there already or belong
        to other data or settings.
    Interrupted
        If the process was told to stop; what was computed is in the folder.
    """
    jobs = _jobs(grid)
    out = FilePath(out)
    record = _record(grid)
    folder.check(out, record, resume=resume, overwrite=overwrite)
    folder.start(out, record, overwrite=overwrite)
    failures: list[Failure] = []
    done, total = 0, sum(len(job.inputs) for job in jobs) * len(grid.methods)
    with interrupts() as stopped:
        for job in jobs:
            ats = [_at(job, inputs, name) for inputs in job.inputs for name in grid.methods]
            pending = {at for at in ats if not STORE.has(out, at)}
            done += len(ats) - len(pending)
            for at, problem in _problems(job, grid, pending, failures):
                if stopped():
                    raise Interrupted(str(out))
                on_progress(done, total, f"{at.dataset}, {at.genes}, {at.method}, seed {at.seed}")
                release_programs()
                make = partial(_cell, at, problem, grid.methods[at.method])
                failures += compute(STORE, out, at, make)
                done += 1
            write_failures(out, failures)
    notes = [*grid.notes, *(note for source in grid.sources for note in source.notes)]
    on_progress(total, total, "writing tables and plots")
    known = {name: method.about for name, method in {**methods(), **grid.methods}.items()}
    return finish(STORE, out, failures, notes, known, leaderboard.make_page)


def _jobs(grid: Grid) -> list[_Job]:
    check_grid(grid.seeds, data_set=grid.sources, method=grid.methods, choice_of_inputs=grid.inputs)
    inputs = [parse_inputs(text) for text in grid.inputs]
    jobs = []
    for source in grid.sources:
        # Labels that a data set lacks are nothing to ask of it.
        own = [each for each in inputs if set(each.labels) <= source.inputs.labels.keys()]
        for name, split in splits_of(source, grid.splits).items():
            # A first draw shows, before anything is computed, that the words can be followed.
            draw_problem(source, grid.pool, split, (), 0, scaling=grid.scaling)
            jobs += [_Job(source, name, split, seed, own) for seed in range(grid.seeds)]
    return jobs


def _problems(
    job: _Job, grid: Grid, pending: set[At], failures: list[Failure]
) -> Iterator[tuple[At, Problem]]:
    """Make the problems of the cells that are missing; methods share them."""
    drawn: dict[tuple[str, ...], Problem] = {}
    for inputs in job.inputs:
        own = sorted(at for at in pending if at.genes == inputs.text)
        if not own:
            continue
        try:
            if inputs.labels not in drawn:
                drawn[inputs.labels] = draw_problem(
                    job.source,
                    grid.pool,
                    job.split,
                    inputs.labels,
                    job.seed,
                    scaling=grid.scaling,
                )
            problem = drawn[inputs.labels]
            chosen = choose_inputs(problem.task, inputs, job.seed)
        except (ValueError, FloatingPointError) as error:
            failures += [Failure(at, str(error)) for at in own]
            continue
        for at in own:
            yield at, problem._replace(task=chosen)


def _cell(at: At, problem: Problem, method: Method) -> Cell:
    began = time.monotonic()
    prediction = method.predict(problem.task, at.seed)
    return measure(at, problem, prediction, time.monotonic() - began)


def _at(job: _Job, inputs: Inputs, method: str) -> At:
    source = job.source
    return At(source.dataset, source.network, inputs.text, method, job.name, job.seed)


def _record(grid: Grid) -> dict[str, Any]:
    """Return what results depend on: software, data and settings."""
    data = {
        f"{each.dataset}/{each.network}": {
            "expression": fingerprint((each.profiles, each.cohort)),
            "embeddings": {},
            "networks": {},
        }
        for each in grid.sources
    }
    run_of = {
        "task": "expression",
        "version": __version__,
        "quick": grid.quick,
        "pool": grid.pool,
        "scaling": grid.scaling,
    }
    about = {name: {"about": method.about} for name, method in grid.methods.items()}
    return {"run": run_of, "data": data, "methods": about}
