"""What the rule of units looks at: numbers of whole, negative and large values, and totals."""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int, Num

BASES = {"e": math.e, "2": 2.0, "10": 10.0}

# A logarithm to base 2 above this would be of a billion.
MOST_LOG = 30.0
# What the Connectivity Map, and others, write for a missing value.
MISSING = (-666.0, -999.0, -9999.0)
# No count or intensity is larger; what is, is a mark, such as the largest single float.
MOST = 1e18
# A cell with fewer values other than 0 may have none but whole ones by chance.
FEW = 5
# Logarithms in single floats do not tell whether numbers beyond this are whole.
_TOLD = 1e4


class Facts(NamedTuple):
    """What is known of some cells.

    Attributes
    ----------
    n, negative, whole, near, above
        Numbers of values, and of those below -0.05, other than 0 and whole, within 0.15 of a whole
        number, and up to a half above one.
    stored
        Number of values other than 0.
    least, most
        Smallest and largest value.
    lowest
        Number of values that are the smallest one.
    fraction
        The first value that is not whole; NaN where there is none.
    cells, multiples
        Numbers of cells with five values or more, and of those whose values are all multiples of
        the smallest one.
    unit
        Smallest and largest of these smallest values, [2].
    totals
        Number of cells, mean and summed squared deviations of their totals; of the values, of
        ``base**x - 1`` for each of `BASES`, and of the inverse taken twice, [bases + 2, 3].
    wholes
        Numbers of cells where the inverse is whole, [bases].
    """

    n: int
    negative: int
    whole: int
    near: int
    above: int
    stored: int
    least: float
    most: float
    lowest: int
    fraction: float
    cells: int
    multiples: int
    unit: Float[np.ndarray, " 2"]
    totals: Float[np.ndarray, "scales 3"]
    wholes: Float[np.ndarray, " bases"]

    @property
    def equal(self) -> np.ndarray:
        """Whether all cells have one total, for each row of ``totals``."""
        count = self.totals[0, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(self.totals[:, 2] / np.maximum(count, 1)) / self.totals[:, 1]
        return (spread < 0.01) & (count >= 5)

    @property
    def scaled(self) -> bool:
        """Whether the values of most cells are multiples of a number that differs between them."""
        return bool(self.multiples > self.cells / 2 and self.unit[1] > 1.0001 * self.unit[0])


class Look(NamedTuple):
    """Facts of some cells, and of those among them that look alike; `merge` joins those of others.

    Attributes
    ----------
    every
        Of all cells.
    groups
        Of cells of whole numbers only, five or more beside zeros; of those with fractions and at
        most `MOST_LOG`; and of those with fractions and more. None where there is none.
    sizes
        Number of cells in each group.
    totals
        Of some cells of the second group, totals of the values and of ``base**x - 1`` for each of
        `BASES`, [some cells, bases + 1].
    """

    every: Facts
    groups: tuple[Facts | None, ...]
    sizes: tuple[int, ...]
    totals: Float[np.ndarray, "some scales"]


def look_at(x: object, most_cells: int = 500) -> Look:
    """Gather what `infosem_jax.data.units.decide` needs.

    Sums and multiples are those of ``most_cells`` cells, and of as many of each group, evenly
    spaced.

    Raises
    ------
    ValueError
        On values that are not finite, or that mark what is missing (-666).
    """
    matrix: Any = sp.csr_array(x) if sp.issparse(x) else np.asarray(x)
    values = matrix.data if sp.issparse(matrix) else matrix.ravel()
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    check_missing(values)
    fractions = values != np.round(values)
    group = _groups(matrix, values, fractions)
    of = [np.flatnonzero(group == i) for i in range(3)]
    zero = 0.0 if len(values) < math.prod(matrix.shape) or not len(values) else math.nan
    least = float(np.fmin(values.min(initial=np.inf), zero))
    every = _facts(_some(matrix, np.arange(len(group)), most_cells))._replace(
        n=math.prod(matrix.shape),
        negative=int((values < -0.05).sum()),
        least=least,
        most=float(np.fmax(values.max(initial=-np.inf), zero)),
        lowest=int((values == least).sum()),
        fraction=float(values[fractions.argmax()]) if fractions.any() else math.nan,
    )
    groups = tuple(
        None if not len(cells)
        else every if len(cells) == len(group)
        else _facts(_some(matrix, cells, most_cells))
        for cells in of
    )  # fmt: skip
    low = _some(matrix, of[1], most_cells)
    totals = np.stack([np.asarray(_inverse(low, base).sum(1)).ravel() for base in _SCALES], 1)
    return Look(every, groups, tuple(map(len, of)), totals)


def evenly(cells: Int[np.ndarray, " cells"], most: int) -> Int[np.ndarray, " some"]:
    """Return at most so many of some cells, evenly spaced, so that all parts of a file count."""
    at = np.linspace(0, max(len(cells) - 1, 0), min(len(cells), most))
    return cells[np.unique(at.astype(int))]


def merge(a: Look, b: Look) -> Look:
    """Join what is known of some cells with what is known of others."""
    groups = tuple(
        merge_facts(own, other) if own and other else own or other
        for own, other in zip(a.groups, b.groups, strict=True)
    )
    sizes = tuple(own + other for own, other in zip(a.sizes, b.sizes, strict=True))
    every = merge_facts(a.every, b.every)
    return Look(every, groups, sizes, np.concatenate([a.totals, b.totals]))


def merge_facts(a: Facts, b: Facts) -> Facts:
    """Join facts of some cells with those of others."""
    n, m = a.totals[:, 0], b.totals[:, 0]
    share = m / np.maximum(n + m, 1)
    shift = b.totals[:, 1] - a.totals[:, 1]
    totals = np.stack(
        [n + m, a.totals[:, 1] + shift * share,
         a.totals[:, 2] + b.totals[:, 2] + shift**2 * n * share], 1,
    )  # fmt: skip
    least = min(a.least, b.least)
    return Facts(
        *(getattr(a, name) + getattr(b, name) for name in Facts._fields[:6]),
        least=least,
        most=max(a.most, b.most),
        lowest=sum(each.lowest for each in (a, b) if each.least == least),
        fraction=b.fraction if math.isnan(a.fraction) else a.fraction,
        cells=a.cells + b.cells,
        multiples=a.multiples + b.multiples,
        unit=np.array([min(a.unit[0], b.unit[0]), max(a.unit[1], b.unit[1])]),
        totals=totals,
        wholes=a.wholes + b.wholes,
    )


def check_missing(values: Num[np.ndarray, "..."], what: str = "values") -> None:
    """Refuse numbers that are no measurements.

    Raises
    ------
    ValueError
        On values that are not finite or beyond all that is measured, and on those of `MISSING`.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"{bad.sum()} {what} are NaN or infinite; remove or impute them.")
    if values.max(initial=0.0) > MOST:
        raise ValueError(
            f"{(values > MOST).sum()} {what} are up to {values.max():.3g}, which nothing expresses "
            "and may mark missing ones; remove or impute them."
        )
    if values.min(initial=0.0) > max(MISSING):
        return
    for mark in MISSING:
        if missing := int((values == mark).sum()):
            raise ValueError(
                f"{missing} {what} are {mark:.0f}, which marks missing ones; remove or impute them."
            )


_SCALES = (None, *BASES.values())


def _groups(matrix: Any, values: np.ndarray, fractions: np.ndarray) -> Int[np.ndarray, " cells"]:
    """Return the group of `Look` of each cell; -1 for cells of few values, all of them whole."""
    parts = fractions, values > MOST_LOG, values != 0
    if sp.issparse(matrix):
        broken, large, there = (_sums(matrix, part) for part in parts)
    else:
        broken, large, there = (part.reshape(matrix.shape).sum(1) for part in parts)
    return np.select([broken == 0, large == 0], [np.where(there >= FEW, 0, -1), 1], 2)


def _some(matrix: Any, cells: Int[np.ndarray, " cells"], most: int) -> sp.csr_array:
    some = sp.csr_array(matrix[evenly(cells, most)])
    some.data = some.data.astype(np.float64)
    some.eliminate_zeros()
    return some


def _facts(rows: sp.csr_array) -> Facts:
    cells, multiples, unit = _multiples(rows)
    stored, size = rows.data, math.prod(rows.shape or ())
    fractions = stored != np.round(stored)
    zero = 0.0 if len(stored) < size or not size else math.nan
    least = float(np.fmin(stored.min(initial=np.inf), zero))
    return Facts(
        n=size,
        negative=int((stored < -0.05).sum()),
        whole=int((~fractions).sum()),
        near=int((np.abs(stored - np.round(stored)) < 0.15).sum()),
        above=int(((stored > np.floor(stored) + 0.02) & (stored < np.floor(stored) + 0.5)).sum()),
        stored=len(stored),
        least=least,
        most=float(np.fmax(stored.max(initial=-np.inf), zero)),
        lowest=int((stored == least).sum()),
        fraction=float(stored[fractions.argmax()]) if fractions.any() else math.nan,
        cells=cells,
        multiples=multiples,
        unit=unit,
        totals=np.stack(
            [
                *(_spread(_inverse(rows, scale).sum(1)) for scale in _SCALES),
                _spread(_inverse(_inverse(rows, math.e), math.e).sum(1)),
            ]
        ),
        wholes=np.array([_whole_rows(_inverse(rows, scale)) for scale in _SCALES[1:]], float),
    )


def _inverse(rows: sp.csr_array, base: float | None) -> sp.csr_array:
    if base is None:
        return rows
    inverse = rows.copy()
    inverse.data = np.expm1(np.minimum(rows.data, MOST_LOG) * math.log(base))
    return inverse


def _spread(totals: np.ndarray) -> np.ndarray:
    totals = np.asarray(totals).ravel()
    mean = totals.mean() if len(totals) else 0.0
    return np.array([len(totals), mean, np.square(totals - mean).sum()])


def _whole_rows(rows: sp.csr_array) -> int:
    """Count the cells whose values are all whole, as far as single floats tell of most of them."""
    told = np.abs(rows.data) < _TOLD
    off = told & (np.abs(rows.data - np.round(rows.data)) > 1e-5 * np.maximum(rows.data, 1))
    most = 2 * _sums(rows, told) >= np.diff(rows.indptr)
    return int(((_sums(rows, off) == 0) & most).sum())


def _multiples(rows: sp.csr_array) -> tuple[int, int, np.ndarray]:
    """Count cells with five values or more, and those where all are multiples of the smallest."""
    length = np.diff(rows.indptr)
    full = np.flatnonzero(length >= FEW)
    if not len(full) or rows.data.min() <= 0:
        return len(full), 0, np.array([np.inf, 0.0])
    rows = sp.csr_array(rows[full])
    smallest = np.minimum.reduceat(rows.data, rows.indptr[:-1])
    ratio = rows.data / np.repeat(smallest, np.diff(rows.indptr))
    off = np.abs(ratio - np.round(ratio)) > 1e-3 + 1e-5 * ratio
    largest = np.maximum.reduceat(ratio, rows.indptr[:-1])
    kept = (_sums(rows, off) == 0) & (largest > 1.5)
    unit = smallest[kept]
    bounds = np.array([unit.min(initial=np.inf), unit.max(initial=0.0)])
    return len(full), int(kept.sum()), bounds


def _sums(rows: sp.csr_array, values: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0], np.cumsum(values)])
    return total[rows.indptr[1:]] - total[rows.indptr[:-1]]
