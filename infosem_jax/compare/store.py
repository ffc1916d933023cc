"""What was measured of a prior, as a file for each part of a comparison."""

from pathlib import Path

from infosem_jax import _typing
from infosem_jax.compare.measures import Outcome
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.grn.accuracy import At, Cell
from infosem_jax.outputs import arrays

KIND = "outcome of a comparison 1"


def place(folder: _typing.Path, *names: str) -> Path:
    """Return the file of a part; names may hold what file names must not, or differ by case only.

    Parameters
    ----------
    folder
        Folder of the comparison.
    names
        Data set, prior and part.
    """
    return Path(folder, f"{fingerprint(names)[:24]}.npz")


def write(path: Path, outcome: Outcome) -> None:
    """Write what was measured, whole or not at all, see `outputs.arrays`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays.save(path, KIND, outcome)


def read(path: Path) -> Outcome:
    """Read what `write` wrote; ``ValueError`` if it is damaged or something else."""
    try:
        return arrays.load(path, KIND, "infosem compare", (Outcome, Cell, At))
    except ValueError as error:
        raise ValueError(
            f"{path}: not written by this comparison, or damaged ({error}); remove it."
        ) from error
