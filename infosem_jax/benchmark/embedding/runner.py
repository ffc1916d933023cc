"""The grid of the benchmark: groups of studies x methods x seeds, a file for each cell.

Cells are written as soon as they are measured, each whole or not at all, so that a run that was
stopped or killed at any moment goes on with what is missing.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from infosem_jax import __version__
from infosem_jax._typing import Path
from infosem_jax.benchmark import folder
from infosem_jax.benchmark.embedding import leaderboard
from infosem_jax.benchmark.embedding.cells import STORE, At, Cell, measure
from infosem_jax.benchmark.embedding.sources import Prepared, Source, prepare, rename
from infosem_jax.benchmark.grid import Failure, Outcome, check_grid, compute, finish, write_failures
from infosem_jax.embedding.function import GeneSets
from infosem_jax.embedding.graph import GraphSettings
from infosem_jax.embedding.methods import Method, methods
from infosem_jax.engine.compiled import release_programs
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.interrupts import Interrupted, interrupts


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
    graphs: GraphSettings = GraphSettings()
    seeds: int = 5
    quick: bool = False
    notes: tuple[str, ...] = ()


def run_grid(
    grid: Grid,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Outcome:
    """Compute the cells of a grid, and write tables, plots and a report of all that is there.

    Methods are given graphs alone: neither gene sets nor withheld orthologues.

    Parameters
    ----------
    grid
        What is to be computed.
    out
        Folder for the results.
    resume
        Compute only what is missing there. Results of other methods, groups or seeds stay.
    overwrite
        Remove the results of an earlier run first.
    on_progress
        Called with the number of cells that are done, that of all, and what is being done.

    Raises
    ------
    ValueError
        If the grid is empty, or results are there already or belong to other data or settings.
    Interrupted
        If the process was told to stop; what was computed is in the folder.
    """
    _check(grid)
    out = FilePath(out)
    record = _record(grid)
    folder.check(out, record, resume=resume, overwrite=overwrite)
    folder.start(out, record, overwrite=overwrite)
    failures: list[Failure] = []
    done, total = 0, len(grid.sources) * len(grid.methods) * grid.seeds
    with interrupts() as stopped:
        for source in grid.sources:
            graphs = None
            for seed in range(grid.seeds):
                pending = [at for at in _places(grid, source, seed) if not STORE.has(out, at)]
                done += len(grid.methods) - len(pending)
                if not pending:
                    continue
                if graphs is None:
                    on_progress(done, total, f"{source.name}: graphs")
                    graphs = prepare(source, grid.graphs, seed).graphs
                prepared = rename(source, graphs, seed)
                for at in pending:
                    if stopped():
                        raise Interrupted(str(out))
                    on_progress(done, total, f"{at.dataset}, {at.method}, seed {at.seed}")
                    release_programs()
                    make = partial(_cell, at, source, prepared, grid)
                    failures += compute(STORE, out, at, make)
                    done += 1
                write_failures(out, failures)
    on_progress(total, total, "writing tables and plots")
    known = {name: method.about for name, method in {**methods(), **grid.methods}.items()}
    return finish(STORE, out, failures, grid.notes, known, leaderboard.make_page)


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


def _places(grid: Grid, source: Source, seed: int) -> list[At]:
    genes = f"{grid.graphs.edges} {grid.graphs.genes}"
    return [At(source.name, genes, name, seed) for name in grid.methods]


def _cell(at: At, source: Source, prepared: Prepared, grid: Grid) -> Cell:
    began = time.monotonic()
    vectors = grid.methods[at.method].embed(prepared.graphs, at.seed)
    seconds = time.monotonic() - began
    return measure(at, source, prepared, vectors, grid.sets, seconds)


def _record(grid: Grid) -> dict[str, Any]:
    """Return what results depend on: software, data and settings."""
    data = {
        source.name: {
            "expression": fingerprint(source.studies),
            "embeddings": {"orthologues": fingerprint(source.orthologues)},
            "networks": {name: fingerprint(_sorted(own)) for name, own in grid.sets.items()},
        }
        for source in grid.sources
    }
    run_of = {
        "task": "embedding",
        "version": __version__,
        "quick": grid.quick,
        **asdict(grid.graphs),
    }
    about = {name: {"about": method.about} for name, method in grid.methods.items()}
    return {"run": run_of, "data": data, "methods": about}


def _sorted(sets: GeneSets) -> dict[str, list[str]]:
    return {name: sorted(genes) for name, genes in sets.items()}
