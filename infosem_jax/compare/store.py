"""What was measured of a prior, as a file for each part of a comparison."""

import json
from pathlib import Path

import numpy as np

from infosem_jax import _typing
from infosem_jax.compare.measures import Outcome
from infosem_jax.data.io import atomic_write
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.grn.accuracy import At, Cell


def place(folder: _typing.Path, *names: str) -> Path:
    """Return the file of a part; names may hold what file names must not, or differ by case only.

    Parameters
    ----------
    folder
        Folder of the comparison.
    names
        Data set, prior and part.
    """
    return Path(folder, f"{fingerprint(names)[:24]}.json")


def write(path: Path, outcome: Outcome) -> None:
    """Write what was measured, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [[np.asarray(part).tolist() for part in cell[3:]] for cell in outcome.scored]
    heads = [[cell.at, cell.metrics, cell.seconds] for cell in outcome.scored]
    record = outcome._asdict() | {"scored": [[*a, *b] for a, b in zip(heads, cells, strict=True)]}
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(record), encoding="utf-8")


def read(path: Path) -> Outcome:
    """Read what was measured.

    Raises
    ------
    ValueError
        If the file is damaged, or of something else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        scored = [
            Cell(At(*at), metrics, seconds, tuple(names), *(np.asarray(a, float) for a in arrays))
            for at, metrics, seconds, names, *arrays in record.pop("scored")
        ]
        numbers = [(seed, name, value) for seed, name, value in record.pop("numbers")]
        return Outcome(**record, scored=scored, numbers=numbers)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: not written by this comparison, or damaged ({error}); remove it."
        ) from error
