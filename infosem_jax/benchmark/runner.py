"""One loop for all benchmarks: every method at every place of a grid, a file for each cell.

Cells are written as soon as they are measured, each whole or not at all, so that a run that was
stopped or killed at any moment goes on with what is missing.
"""

import json
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import pandas as pd

from infosem_jax import __version__
from infosem_jax._typing import Path
from infosem_jax.benchmark import folder
from infosem_jax.benchmark.store import Store
from infosem_jax.data._files import atomic_write
from infosem_jax.engine.compiled import release_programs
from infosem_jax.engine.interrupts import Interrupted, handled
from infosem_jax.engine.types import Progress
from infosem_jax.outputs.folder import software_versions
from infosem_jax.outputs.page import Page, write_board

_log = logging.getLogger("infosem_jax")

OnChunk = Callable[[Progress], None]
# The cells at a place (its own last, as its file says that all are there), or why there are none.
Result = list[Any] | Exception
Prepared = TypeVar("Prepared")


class Failure(NamedTuple):
    """A place without a result, and why."""

    at: Any
    reason: str


class Outcome(NamedTuple):
    """All cells of the output folder, the failures of this run, and what readers are told."""

    cells: list[Any]
    failures: list[Failure]
    notes: list[str]


class Job(NamedTuple):
    """Places of a grid whose cells are computed together.

    Attributes
    ----------
    places
        All of them.
    solve
        Yields each of the places that it is given with its cells, as they come; a place may come
        again with cells that replace the first.
    notes
        What readers of the results are to be told.
    """

    places: Sequence[Any]
    solve: Callable[[Sequence[Any]], Iterator[tuple[Any, Result]]]
    notes: Sequence[str] = ()


class Plan(NamedTuple):
    """What is special to the grid of one benchmark.

    Attributes
    ----------
    store
        How cells are kept.
    settings, data
        What results depend on: settings of the run, and fingerprints of each data set by what they
        are of.
    methods, known
        Methods by name, and those that an earlier run may have left results of; each has a sentence
        ``about`` it, and a ``record`` of what its results depend on.
    jobs
        In order; made one by one, as the run comes to them.
    total
        Number of places, or the most that there can be.
    notes
        What readers of the results are to be told.
    make_page
        Brings cells into tables and figures, given ``notes``, ``about`` with a sentence for each
        method, and ``versions`` of software and hardware.
    check
        Looks at the methods, before anything is written.
    """

    store: Store
    settings: Mapping[str, Any]
    data: Mapping[str, Mapping[str, str]]
    methods: Mapping[str, Any]
    known: Mapping[str, Any]
    jobs: Iterable[Job]
    total: int
    notes: Sequence[str]
    make_page: Callable[..., Page]
    check: Callable[[OnChunk], None] = lambda on_chunk: None


@runtime_checkable
class Grid(Protocol):
    """Data sets, methods, splits and seeds, each with each."""

    def plan(self) -> Plan:
        """Return what is to be computed.

        Raises
        ------
        ValueError
            If the grid is empty, or asks for what there is not.
        """
        ...


def run_grid(
    grid: Grid,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_chunk: OnChunk = lambda progress: None,
) -> Outcome:
    """Compute the cells of a grid, and write tables, plots and a report of all that is there.

    Methods are never given the truth that they are tested on.

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
    on_chunk
        Told the number of cells that are done, that of all, and what is being done.

    Raises
    ------
    ValueError
        If the grid is empty or asks for what there is not, or results are there already or belong
        to other data or settings.
    Interrupted
        If the process was told to stop; what was computed is in the folder.
    """
    plan, out = grid.plan(), FilePath(out)
    run = {"task": plan.store.task, "version": __version__, **plan.settings}
    methods = {name: method.record for name, method in plan.methods.items()}
    record = {"run": run, "data": dict(plan.data), "methods": methods}
    folder.check(out, record, resume=resume, overwrite=overwrite)
    with _stoppable(out):
        plan.check(on_chunk)
        folder.start(out, record, overwrite=overwrite)
        failures: list[Failure] = []
        notes, done = [*plan.notes], 0
        for job in plan.jobs:
            notes += job.notes
            missing = dict.fromkeys(at for at in job.places if not plan.store.has(out, at))
            done += len(job.places) - len(missing)
            if not missing:
                continue
            on_chunk(_progress(done, plan.total, next(iter(missing))))
            for at, found in job.solve(list(missing)):
                if isinstance(found, Exception):
                    failures.append(_failed(at, found))
                else:
                    for cell in found:
                        plan.store.write(out, cell)
                done += at in missing
                missing.pop(at, None)
                on_chunk(_progress(done, plan.total, next(iter(missing), at)))
            _write_failures(out, failures)
        on_chunk(Progress(plan.total, plan.total, "cells", "writing tables and plots"))
        return _finish(plan, out, failures, notes)


def check_grid(seeds: int, **parts: Sequence[Any] | Mapping[str, Any]) -> None:
    """Refuse a grid without any cell; each part, such as ``method``, is named by one of its kind.

    Raises
    ------
    ValueError
        If a part is empty, or there is no seed.
    """
    for name, values in parts.items():
        if not values:
            raise ValueError(f"Expected at least one {name.replace('_', ' ')}, found none.")
    if seeds < 1:
        raise ValueError(f"Expected at least one seed, found {seeds}.")


def one_by_one(
    places: Sequence[Any],
    prepare: Callable[[], Prepared],
    make: Callable[[Any, Prepared], list[Any]],
) -> Iterator[tuple[Any, Result]]:
    """Yield the cells of each place; an error in a method is a failure of its place alone.

    Parameters
    ----------
    places
        Those to be computed.
    prepare
        Makes what they share; where it cannot, all of them fail.
    make
        Makes the cells of a place from it.
    """
    try:
        prepared = prepare()
    except (ValueError, FloatingPointError) as error:
        yield from ((at, error) for at in places)
        return
    for at in places:
        release_programs()
        try:
            found = make(at, prepared)
        except Exception as error:  # whatever code of others may raise
            found = error
        yield at, found


def _progress(done: int, total: int, at: Any) -> Progress:
    text = ", ".join([*filter(None, at[:-1]), f"seed {at.seed}"])
    return Progress(min(done, total), total, "cells", text)


def _failed(at: Any, error: Exception) -> Failure:
    """Return what went wrong, and say it in the log."""
    reason = f"{type(error).__name__}: {error}"
    _log.warning("%s failed: %s", "/".join(map(str, at)), reason)
    return Failure(at, reason)


def _write_failures(out: FilePath, failures: Sequence[Failure]) -> None:
    """Write ``failures.csv``, or remove that of an earlier run where nothing failed."""
    path = out / folder.FAILURES
    if not failures:
        path.unlink(missing_ok=True)
        return
    table = pd.DataFrame([{**f.at._asdict(), "reason": f.reason} for f in failures])
    with atomic_write(path) as draft:
        table.to_csv(draft, index=False)


def _finish(plan: Plan, out: FilePath, failures: list[Failure], notes: list[str]) -> Outcome:
    """Write ``results.csv``, ``versions.json`` and the page of all cells in the folder."""
    # Once for each data set, method and reason.
    once = {(f.at.dataset, f.at.method, f.reason): f for f in failures}.values()
    notes += [f"{f.at.dataset}, {f.at.method}: failed ({f.reason})." for f in once]
    cells = plan.store.read_all(out)
    if cells:
        versions = {**software_versions(), "cores": str(os.cpu_count())}
        with atomic_write(out / folder.RESULTS) as draft:
            plan.store.table(cells).to_csv(draft, index=False)
        with atomic_write(out / "versions.json") as draft:
            draft.write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
        about = {name: each.about for name, each in {**plan.known, **plan.methods}.items()}
        unique = list(dict.fromkeys(notes))
        write_board(out, plan.make_page(cells, notes=unique, about=about, versions=versions))
    return Outcome(cells, failures, notes)


@contextmanager
def _stoppable(out: FilePath) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the block at once: whatever it has written is whole.

    Raises
    ------
    Interrupted
        On one of these signals.
    """
    try:
        with handled(signal.default_int_handler, signal.SIGTERM, signal.SIGINT):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted(str(out)) from error
