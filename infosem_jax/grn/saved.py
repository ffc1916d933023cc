"""Fits on disk: one npz file of plain arrays, with what they are called as JSON."""

import json
from dataclasses import asdict
from typing import Any

import jax
import numpy as np

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write, load_npz, reading
from infosem_jax.engine import training
from infosem_jax.grn.config import from_dict
from infosem_jax.grn.result import Fit

FORMAT = 1
HEADER = "infosem_fit"
MATRICES = ("weight", "sd", "positive", "probability", "prior_mean")


def save(path: Path, fitted: Fit) -> None:
    """Write a fit to an npz file, whole or not at all; `load` returns it bit for bit.

    The file holds the matrices of the fit under their names, losses, every parameter under its path
    in `Fit.params`, and a header in JSON: format version, names, settings. It holds no pickles, and
    no expression.

    Parameters
    ----------
    path
        The file, which ends in ``.npz``.
    fitted
        The fit.

    Raises
    ------
    ValueError
        If the path does not end in ``.npz``.
    """
    if not str(path).endswith(".npz"):
        raise ValueError(f"{path}: expected a file that ends in .npz.")
    header = {
        "format": FORMAT,
        "genes": fitted.genes,
        "rows": fitted.rows,
        "regulators": fitted.regulators,
        "name": fitted.name,
        "config": asdict(fitted.config),
        "seconds": fitted.seconds,
        "coverage": fitted.coverage,
        "params": jax.tree_util.tree_map_with_path(lambda at, _: _member(at), fitted.params),
    }
    arrays = {name: getattr(fitted, name) for name in MATRICES}
    arrays |= {"diverged": fitted.diverged}
    arrays |= {f"losses_{name}": loss for name, loss in fitted.losses._asdict().items()}
    arrays |= {_member(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(fitted.params)}
    members: dict[str, Any] = {
        name: np.asarray(array) for name, array in arrays.items() if array is not None
    }
    members[HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with atomic_write(path) as draft, draft.open("wb") as file:
        np.savez(file, **members)


def load(path: Path) -> Fit:
    """Read a fit that `save` wrote.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is truncated, is no fit, or is of a newer version of the format.
    """
    arrays = load_npz(path)
    with reading(path, "saved fit"):
        if HEADER not in arrays:
            raise ValueError(
                f"it has no member {HEADER!r}; expected the fit.npz of infosem fit, or a file of "
                "infosem_jax.grn.save."
            )
        header = json.loads(arrays[HEADER].tobytes())
        if header["format"] > FORMAT:
            raise ValueError(
                f"format {header['format']} is newer than format {FORMAT}, which this version "
                "reads; update infosem_jax."
            )
        fitted = Fit(
            genes=tuple(header["genes"]),
            rows=tuple(header["rows"]),
            regulators=tuple(header["regulators"]),
            name=header["name"],
            config=from_dict(header["config"]),
            **{name: arrays.get(name) for name in MATRICES},  # pyright: ignore[reportArgumentType]
            losses=training.Losses(*(arrays[f"losses_{name}"] for name in training.Losses._fields)),
            diverged=arrays["diverged"],
            params=jax.tree.map(arrays.__getitem__, header["params"]),
            seconds=header["seconds"],
            coverage=header["coverage"],
        )
        _check_shapes(fitted)
    return fitted


def saved_bytes(seeds: int, rows: int, regulators: int, genes: int) -> int:
    """Return about how many bytes the file of a fit takes, its priors' own parameters left out.

    Parameters
    ----------
    seeds, rows, regulators, genes
        How many there are of each.
    """
    return 4 * seeds * genes * (len(MATRICES) * regulators + 4 * rows)


def fit_bytes(fitted: Fit) -> int:
    """Return how many bytes the arrays of a fit take, in memory as on disk."""
    arrays = [getattr(fitted, name) for name in MATRICES]
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves((arrays, fitted.params)))


def _member(at: tuple[Any, ...]) -> str:
    return f"params{jax.tree_util.keystr(at)}"


def _check_shapes(fitted: Fit) -> None:
    shape = (len(fitted.diverged), len(fitted.regulators), len(fitted.genes))
    for name in MATRICES:
        matrix = getattr(fitted, name)
        if matrix is None and name == "probability":
            continue
        found = "nothing" if matrix is None else list(matrix.shape)
        if found != list(shape):
            raise ValueError(
                f"expected {name} of shape [seeds, regulators, genes] = {list(shape)}, found "
                f"{found}; the file is damaged."
            )
