"""Cells of a benchmark as files, a folder for each part of their place."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.outputs import arrays

COLUMNS = (
    "task", "dataset", "network", "genes", "method", "split", "seed", "metric", "value", "seconds",
)  # fmt: skip

_log = logging.getLogger("infosem_jax")


class Store(NamedTuple):
    """How a benchmark keeps its cells.

    Cells are NamedTuples with at least ``at``, their place, ``metrics``, ``seconds``; places are
    NamedTuples with at least ``dataset``, ``method`` and ``seed``.

    Attributes
    ----------
    task
        Name of the benchmark.
    at, cell
        Types of places and cells.
    folders
        Fields of a place that folders are named by, in order; its seed names the file.
    fixed
        Columns of ``results.csv`` that places lack, with what they hold.
    """

    task: str
    at: type[Any]
    cell: type[Any]
    folders: tuple[str, ...]
    fixed: tuple[tuple[str, str], ...] = ()

    def path_of(self, out: Path, at: Any) -> FilePath:
        """Return the file of a cell in an output folder."""
        names = (re.sub(r"[^\w .+=()-]|^\.", "_", getattr(at, name)) for name in self.folders)
        return FilePath(out, "cells", *names) / f"{at.seed}.npz"

    def write(self, out: Path, cell: Any) -> None:
        """Write a cell to its file, whole or not at all, see `outputs.arrays`."""
        path = self.path_of(out, cell.at)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays.save(path, f"cell of {self.task} 1", cell)

    def read(self, path: Path) -> Any:
        """Read what :meth:`write` wrote; ``ValueError`` if it is no cell, damaged, or was moved."""
        types = self.at, self.cell
        cell = arrays.load(path, f"cell of {self.task} 1", "infosem benchmark", types)
        where = self.path_of("", cell.at).parts[1:]
        if where != FilePath(path).parts[-len(where) :]:
            raise ValueError(f"{path}: it belongs to {cell.at}; was it moved?")
        return cell

    def has(self, out: Path, at: Any) -> bool:
        """Tell whether a cell is there, whole."""
        path = self.path_of(out, at)
        if not path.exists():
            return False
        try:
            self.read(path)
        except ValueError as error:
            _log.warning("computed again: %s", error)
            return False
        return True

    def read_all(self, out: Path) -> list[Any]:
        """Read all cells of an output folder, in order of their places."""
        pattern = "/".join([*("*" for _ in self.folders), "[0-9]*.npz"])
        cells = map(self.read, FilePath(out, "cells").glob(pattern))
        return sorted(cells, key=lambda cell: cell.at)

    def table(self, cells: Sequence[Any]) -> pd.DataFrame:
        """List every metric of every cell in a row, with the columns of ``results.csv``."""
        fixed = {"task": self.task, **dict(self.fixed)}
        rows = [
            {**fixed, **cell.at._asdict(), "metric": name, "value": value, "seconds": cell.seconds}
            for cell in sorted(cells, key=lambda cell: cell.at)
            for name, value in cell.metrics.items()
        ]
        return pd.DataFrame(rows, columns=pd.Index(COLUMNS))
