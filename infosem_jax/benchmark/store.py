"""Cells of a benchmark as files, a folder for each part of their place."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write, load_npz, reading

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
    arrays
        Fields of a cell that are arrays. Others are numbers, names, and tuples of them.
    fixed
        Columns of ``results.csv`` that places lack, with what they hold.
    """

    task: str
    at: type[Any]
    cell: type[Any]
    folders: tuple[str, ...]
    arrays: tuple[str, ...] = ()
    fixed: tuple[tuple[str, str], ...] = ()

    def path_of(self, out: Path, at: Any) -> FilePath:
        """Return the file of a cell in an output folder."""
        names = (re.sub(r"[^\w .+=()-]|^\.", "_", getattr(at, name)) for name in self.folders)
        return FilePath(out, "cells", *names) / f"{at.seed}.npz"

    def write(self, out: Path, cell: Any) -> None:
        """Write a cell to its file, whole or not at all.

        Raises
        ------
        OSError
            If writing fails, for instance on a full disk.
        """
        path = self.path_of(out, cell.at)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([getattr(cell, name) for name in self._texts])
        arrays = {name: getattr(cell, name) for name in self.arrays}
        with atomic_write(path) as draft:
            np.savez_compressed(draft, allow_pickle=False, text=np.asarray(text), **arrays)

    def read(self, path: Path) -> Any:
        """Read what :meth:`write` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no cell, damaged, or was moved.
        """
        found = load_npz(path)
        with reading(path, "cell of a benchmark"):
            values = map(_as_tuples, json.loads(str(found["text"])))
            fields = dict(zip(self._texts, values, strict=True))
            fields |= {name: found[name] for name in self.arrays}
            cell = self.cell(**(fields | {"at": self.at(*fields["at"])}))
            where = self.path_of("", cell.at).parts[1:]
            if where != FilePath(path).parts[-len(where) :]:
                raise ValueError(f"it belongs to {cell.at}; was it moved?")
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
        """Read all cells of an output folder, in order of their places.

        Raises
        ------
        ValueError
            If one of them is damaged.
        """
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

    @property
    def _texts(self) -> tuple[str, ...]:
        return tuple(name for name in self.cell._fields if name not in self.arrays)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
