"""The grid of the benchmark: data sets x networks x splits x seeds x methods, a file for each cell.

Cells are written as soon as they are measured, each whole or not at all, so that a run that was
stopped or killed at any moment goes on with what is missing.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path as FilePath
from typing import Any, Literal, NamedTuple

import numpy as np

from infosem_jax import __version__
from infosem_jax._typing import Path
from infosem_jax.benchmark import folder
from infosem_jax.benchmark.grid import (
    Failure,
    Outcome,
    check_grid,
    failed,
    failure_notes,
    write_failures,
    write_tables,
)
from infosem_jax.benchmark.grn import leaderboard, leaks
from infosem_jax.benchmark.grn.cells import STORE
from infosem_jax.benchmark.grn.draws import Test, check_splits, draw_tests
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.methods import methods
from infosem_jax.benchmark.grn.problems import cut, labelled, part_of, read_outs, unlabelled
from infosem_jax.benchmark.grn.references import Loaded
from infosem_jax.engine.compiled import make_room
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.grn.accuracy import At, Cell, measure
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.splits import KINDS

QUICK = {"regulators": 24, "genes": 120, "cells": 150}
QUICK_DATASETS = 2

LeakCheck = Literal["registered", "all", "none"]


class Grid(NamedTuple):
    """What is to be computed.

    Attributes
    ----------
    loaded
        Data sets with their networks and embeddings.
    methods
        Methods by name.
    splits
        Kinds of split, or ``published:<name>`` for those that come with data.
    seeds
        How many; each decides a split, and all that is random in a method.
    quick
        Whether this is a run on reduced data, which no other run goes on with.
    notes
        What readers of the results are to be told.
    """

    loaded: list[Loaded]
    methods: dict[str, Method]
    splits: tuple[str, ...] = KINDS
    seeds: int = 3
    quick: bool = False
    notes: tuple[str, ...] = ()


def run_grid(
    grid: Grid,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    check_leaks: LeakCheck = "registered",
    on_progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Outcome:
    """Compute the cells of a grid, and write tables, plots and a report of all that is there.

    A method that learns from expression is solved once per data set and seed, on the regulators of
    all networks, whatever the networks and splits that it is then tested on; once per data set if
    it is not random. A method that learns from labels is given every network, split and seed of a
    data set at once. No method sees the truth, nor the labels of tested pairs.

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
    check_leaks
        Refuse methods that know more than they are given, before anything is computed: those that
        users have registered, ``all`` (a few minutes more), or ``none``.
    on_progress
        Called with the number of cells that are done, that of all, and what is being done.

    Raises
    ------
    ValueError
        If the grid is empty or asks for what there is not, results are there already or belong to
        other data or settings, or a method was found to know too much.
    Interrupted
        If the process was told to stop; what was computed is in the folder.
    """
    _check_grid(grid)
    out = FilePath(out)
    record = _record(grid)
    folder.check(out, record, resume=resume, overwrite=overwrite)
    with _stoppable(out):
        if check_leaks != "none":
            _refuse_leaks(grid, check_leaks == "all", on_progress)
        folder.start(out, record, overwrite=overwrite)
        failures: list[Failure] = []
        notes = [*grid.notes, *_method_notes(grid, checked=check_leaks != "none")]
        total = sum(_size(grid, each) for each in grid.loaded)
        done = 0

        def tell(cells: int, text: str) -> None:
            nonlocal done
            done += cells
            on_progress(done, total, text)

        for loaded in grid.loaded:
            tests, skipped = draw_tests(loaded, grid.splits, grid.seeds)
            notes += skipped
            total -= _size(grid, loaded) - _size(grid, loaded, tests)
            for name, method in grid.methods.items():
                if missing := _missing_embeddings(method, loaded):
                    notes.append(
                        f"{loaded.reference.dataset}: {name} was left out, as there is no "
                        f"embedding {', '.join(missing)}."
                    )
                    continue
                make_room()
                solve = _solve_labelled if method.uses == "labels" else _solve_unlabelled
                failures += solve(out, loaded, name, method, tests, tell)
                write_failures(out, failures)
        cells = STORE.read_all(out)
        notes += failure_notes(failures)
        on_progress(total, total, "writing tables and plots")
        # Also of methods that an earlier run has left results of.
        about = {name: method.about for name, method in {**methods(), **grid.methods}.items()}
        versions = write_tables(STORE, out, cells)
        leaderboard.write(out, cells, notes=notes, about=about, versions=versions)
    return Outcome(cells, failures, notes)


def reduce(loaded: Sequence[Loaded]) -> tuple[list[Loaded], list[str]]:
    """Reduce data to a size for a quick look: first data sets, first network, few genes and cells.

    Returns
    -------
    tuple
        The reduced data, and sentences that say what was done.
    """
    reduced = []
    for each in loaded[:QUICK_DATASETS]:
        name, network = next(iter(each.networks.items()))
        data = cut(each.data, network, **QUICK)
        reduced.append(each._replace(data=data, networks={name: network}))
    names = ", ".join(each.reference.dataset for each in reduced)
    sizes = ", ".join(f"{n} {what}" for what, n in QUICK.items())
    return reduced, [
        f"A quick look, no benchmark: {names} only, cut to at most {sizes} (those with most edges "
        "in the first network; cells at equal distances), one network, one seed."
    ]


def _solve_labelled(
    out: FilePath,
    loaded: Loaded,
    name: str,
    method: Method,
    tests: list[Test],
    tell: Callable[[int, str], None],
) -> list[Failure]:
    """Solve every split of a data set at once; each result is written as it comes."""
    asked = [test for test in tests if test.split.train.any()]
    pending = [test for test in asked if not STORE.has(out, _at(loaded, test, name))]
    tell(len(asked) - len(pending), f"{loaded.reference.dataset}, {name}")
    problems = [
        labelled(loaded.data, test.universe, test.split, test.seed, loaded.embeddings)
        for test in pending
    ]
    return _measure_all(out, loaded, name, method, problems, [[test] for test in pending], tell)


def _solve_unlabelled(
    out: FilePath,
    loaded: Loaded,
    name: str,
    method: Method,
    tests: list[Test],
    tell: Callable[[int, str], None],
) -> list[Failure]:
    """Solve a data set once per seed, for all its networks and splits."""
    pending = [test for test in tests if not STORE.has(out, _at(loaded, test, name))]
    tell(len(tests) - len(pending), f"{loaded.reference.dataset}, {name}")
    seeds = sorted({test.seed for test in pending}) if method.random else [0]
    groups = [[t for t in pending if t.seed == seed or not method.random] for seed in seeds]
    groups = [group for group in groups if group]
    # All networks, also those without a missing cell: the scores of the others depend on them.
    universes = [test.universe for test in tests]
    problems = [
        unlabelled(loaded.data, universes, group[0].seed if method.random else 0, loaded.embeddings)
        for group in groups
    ]
    return _measure_all(out, loaded, name, method, problems, groups, tell)


def _measure_all(
    out: FilePath,
    loaded: Loaded,
    name: str,
    method: Method,
    problems: list[Problem],
    groups: list[list[Test]],
    tell: Callable[[int, str], None],
) -> list[Failure]:
    """Write the cells that each problem gives; return what failed."""
    failures, written, seconds = [], [], []
    for i, result, took in _results(method, problems):
        for test in groups[i]:
            at = _at(loaded, test, name)
            if isinstance(result, Exception):
                failures.append(failed(at, result))
            else:
                share = took / len(groups[i])
                written.append(_write(out, at, problems[i], result, test, share))
            text = f"{at.dataset}, {at.method}: {at.network}, {at.split}, seed {at.seed}"
            tell(1, text)
        seconds.append(took)
    total = sum(seconds)
    # What trained side by side shares its time, though the first result had to wait for it all.
    if written and total > 1 and max(seconds) > 2 * total / len(seconds):
        for cell in chain.from_iterable(written):
            STORE.write(out, cell._replace(seconds=total / len(written)))
    return failures


def _write(
    out: FilePath,
    at: At,
    problem: Problem,
    scores: Mapping[str, np.ndarray],
    test: Test,
    seconds: float,
) -> list[Cell]:
    """Measure and write the read-outs of one place; the main one last, as it says that all are."""
    cells = []
    for name in sorted(scores, reverse=True):
        place = at._replace(method=f"{at.method}.{name}") if name else at
        part = part_of(scores[name], problem, test.universe)
        cells.append(measure(place, part, test.universe, test.split.test, seconds))
        STORE.write(out, cells[-1])
    return cells


def _results(
    method: Method, problems: list[Problem]
) -> Iterator[tuple[int, dict[str, np.ndarray] | Exception, float]]:
    """Yield a result or an error for each problem, with the seconds since the last one.

    After an error the method is asked for the remaining problems anew, until it fails twice in the
    same way without any result.
    """
    i, last = 0, None
    while i < len(problems):
        began, first = time.monotonic(), i
        try:
            for result in method.solve(problems[i:]):
                now = time.monotonic()
                try:
                    yield i, read_outs(result, problems[i]), now - began
                except ValueError as error:
                    yield i, error, now - began
                i, began = i + 1, time.monotonic()
                if i == len(problems):
                    return
            raise ValueError(
                f"it returned {i - first} results for {len(problems) - first} problems"
            )
        except Exception as error:  # whatever code of others may raise
            alike = i == first and last == (type(error), str(error))
            last = (type(error), str(error))
            for j in range(i, len(problems) if alike else i + 1):
                yield j, error, time.monotonic() - began if j == i else 0.0
            i = len(problems) if alike else i + 1


def _at(loaded: Loaded, test: Test, method: str) -> At:
    reference = loaded.reference
    return At(reference.dataset, test.network, reference.genes, method, test.name, test.seed)


def _size(grid: Grid, loaded: Loaded, tests: list[Test] | None = None) -> int:
    """Count the cells of a data set, before or after its splits were drawn."""
    methods = [m for m in grid.methods.values() if not _missing_embeddings(m, loaded)]
    n_labelled = sum(method.uses == "labels" for method in methods)
    if tests is not None:
        trained = sum(bool(test.split.train.any()) for test in tests)
        return trained * n_labelled + len(tests) * (len(methods) - n_labelled)
    each = len(loaded.networks) * grid.seeds
    trained = sum(name != "all" for name in grid.splits)
    return each * (trained * n_labelled + len(grid.splits) * (len(methods) - n_labelled))


def _missing_embeddings(method: Method, loaded: Loaded) -> list[str]:
    return [name for name in method.needs if name not in loaded.embeddings]


def _method_notes(grid: Grid, *, checked: bool) -> list[str]:
    notes = [] if checked else ["Methods were not checked for knowing more than they are given."]
    declared = [name for name, method in grid.methods.items() if method.knows_names]
    if declared:
        notes.append(
            f"Gene names tell {', '.join(declared)} something that other methods are not given."
        )
    return notes


def _refuse_leaks(
    grid: Grid, everything: bool, on_progress: Callable[[int, int, str], None]
) -> None:
    found = []
    for name, method in grid.methods.items():
        if method.tested and not everything:
            continue
        loaded = next((x for x in grid.loaded if not _missing_embeddings(method, x)), None)
        if loaded is None:
            continue
        on_progress(0, 1, f"checking {name} for leaks")
        leak = leaks.check(method, loaded)
        if leak is not None:
            found.append(f"{name}: {leak.text}")
    if found:
        raise ValueError(
            f"Refused methods (leave them out with --methods, or pass --leak-check none): "
            f"{'; '.join(found)}."
        )


def _check_grid(grid: Grid) -> None:
    check_grid(grid.seeds, data_set=grid.loaded, method=grid.methods)
    check_splits(grid.splits, grid.loaded)


def _record(grid: Grid) -> dict[str, Any]:
    """Return what results depend on: software, data and settings."""
    data = {}
    for each in grid.loaded:
        reference = each.reference
        data[f"{reference.dataset}/{reference.genes}"] = {
            "cells": len(each.data.cells),
            "genes": len(each.data.genes),
            # Which regulators there are depends on the networks that are asked for.
            "expression": fingerprint(each.data._replace(regulators=())),
            "embeddings": {name: fingerprint(e) for name, e in sorted(each.embeddings.items())},
            "networks": {
                name: fingerprint({column: table[column].tolist() for column in table})
                for name, table in each.networks.items()
            },
        }
    return {
        "run": {"task": "grn", "version": __version__, "quick": grid.quick},
        "data": data,
        "methods": {
            name: {"uses": m.uses, "random": m.random, **m.settings}
            for name, m in grid.methods.items()
        },
    }


@contextmanager
def _stoppable(out: FilePath) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the block at once: whatever it has written is whole.

    Raises
    ------
    Interrupted
        On one of these signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGINT)
    previous = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(str(out)) from error
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
