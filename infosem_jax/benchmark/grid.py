"""What the runners of all benchmarks share: failures, and what a run leaves in its folder."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pandas as pd

from infosem_jax.benchmark.folder import FAILURES, RESULTS
from infosem_jax.benchmark.store import Store
from infosem_jax.data._files import atomic_write
from infosem_jax.outputs.folder import software_versions
from infosem_jax.outputs.page import Page, write_board

_log = logging.getLogger("infosem_jax")


class Failure(NamedTuple):
    """A cell without a result, by its place, and why."""

    at: Any
    reason: str


class Outcome(NamedTuple):
    """All cells of the output folder, the failures of this run, and what readers are told."""

    cells: list[Any]
    failures: list[Failure]
    notes: list[str]


@runtime_checkable
class MakePage(Protocol):
    """How a benchmark brings its cells into tables and figures."""

    def __call__(
        self,
        cells: Sequence[Any],
        *,
        notes: Sequence[str],
        about: Mapping[str, str],
        versions: Mapping[str, Any],
    ) -> Page:
        """Return the page.

        Parameters
        ----------
        cells
            What was measured.
        notes
            Sentences that readers need: reduced sizes, what was skipped, what failed.
        about
            A sentence for each method.
        versions
            Software and hardware, by name.
        """
        ...


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


def compute(store: Store, out: FilePath, at: Any, make: Callable[[], Any]) -> list[Failure]:
    """Make a cell and write it; an error in a method is a failure of its cell alone."""
    try:
        cell = make()
    except Exception as error:  # whatever code of others may raise
        return [failed(at, error)]
    store.write(out, cell)
    return []


def failed(at: Any, error: Exception) -> Failure:
    """Return what went wrong, and tell it in the log."""
    reason = f"{type(error).__name__}: {error}"
    _log.warning("%s failed: %s", "/".join(map(str, at)), reason)
    return Failure(at, reason)


def failure_notes(failures: Sequence[Failure]) -> list[str]:
    """Say once for each data set, method and reason what failed."""
    once = {(f.at.dataset, f.at.method, f.reason): f for f in failures}.values()
    return [f"{f.at.dataset}, {f.at.method}: failed ({f.reason})." for f in once]


def write_failures(out: FilePath, failures: Sequence[Failure]) -> None:
    """Write ``failures.csv``, or remove that of an earlier run where nothing failed."""
    path = out / FAILURES
    if not failures:
        path.unlink(missing_ok=True)
        return
    table = pd.DataFrame([{**f.at._asdict(), "reason": f.reason} for f in failures])
    with atomic_write(path) as draft:
        table.to_csv(draft, index=False)


def write_tables(store: Store, out: FilePath, cells: Sequence[Any]) -> dict[str, str]:
    """Write ``results.csv`` and ``versions.json``, and return the versions."""
    versions = {**software_versions(), "cores": str(os.cpu_count())}
    with atomic_write(out / RESULTS) as draft:
        store.table(cells).to_csv(draft, index=False)
    with atomic_write(out / "versions.json") as draft:
        draft.write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    return versions


def finish(
    store: Store,
    out: FilePath,
    failures: list[Failure],
    notes: Sequence[str],
    about: Mapping[str, str],
    make_page: MakePage,
) -> Outcome:
    """Write tables, plots and a report of all cells in a folder.

    Parameters
    ----------
    store
        How cells are kept.
    out
        The folder.
    failures
        Of this run.
    notes
        What readers are told besides failures.
    about
        A sentence for each method, also those that an earlier run may have left results of.
    make_page
        Brings cells into tables and figures.
    """
    notes = [*notes, *failure_notes(failures)]
    cells = store.read_all(out)
    if cells:
        versions = write_tables(store, out, cells)
        unique = list(dict.fromkeys(notes))
        write_board(out, make_page(cells, notes=unique, about=about, versions=versions))
    return Outcome(cells, failures, notes)
