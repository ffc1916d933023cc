"""Units of expression: what values are, told by one rule for every reader and every system."""

import math
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Num

Kind = Literal["counts", "fractional counts", "binary", "linear", "log", "differences"]
KINDS: tuple[str, ...] = get_args(Kind)
BASES = {"e": math.e, "2": 2.0, "10": 10.0}

# A logarithm to base 2 above this would be of a billion.
MOST_LOG = 30.0
# What the Connectivity Map, and others, write for a missing value.
MISSING = (-666.0, -999.0, -9999.0)

RULE = (
    "Values are differences if a twentieth is below -0.05; binary if all are 0 or 1, and counts if "
    f"all are other whole numbers; linear or fractional counts if some exceed {MOST_LOG:.0f}, or "
    "if the values of each cell are whole multiples of its smallest one or half of them whole "
    "numbers, or nearly all whole or just below; and logarithms otherwise, or where the inverse "
    "gives whole numbers. Those above are linear if the values of a cell have one "
    "sum in all cells, or are whole multiples, and fractional counts if most are near to whole "
    "numbers. The base of logarithms is the one declared in uns['log1p'], or else the one whose "
    "inverse gives all cells the same total, or whole numbers."
)


class Units(NamedTuple):
    """What values are, and the facts that tell it.

    Attributes
    ----------
    kind
        One of `KINDS`, by `RULE`.
    base
        Of logarithms: ``e``, ``2``, ``10``, or ``unknown``; empty for other kinds.
    least, most
        Smallest and largest value.
    why
        The facts, for messages.
    """

    kind: str
    base: str
    least: float
    most: float
    why: str

    @property
    def countable(self) -> bool:
        """Whether a cell's total means something: counts, whole, fractional or rescaled."""
        return self.kind in ("counts", "fractional counts", "linear")

    def __str__(self) -> str:
        text = f"logarithms to base {self.base}" if self.base in BASES else self.kind
        return {"log": "logarithms", "linear": "linear values"}.get(text, text)


class Facts(NamedTuple):
    """What the rule looks at, of some cells; `merge` joins those of others.

    Attributes
    ----------
    n, negative, whole, near, above
        Numbers of values, and of those below -0.05, other than 0 and whole, within 0.15 of a whole
        number, and up to a half above one.
    stored
        Number of values other than 0.
    least, most
        Smallest and largest value.
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
    fraction: float
    cells: int
    multiples: int
    unit: Float[np.ndarray, " 2"]
    totals: Float[np.ndarray, "scales 3"]
    wholes: Float[np.ndarray, " bases"]


def describe_units(x: object, *, base: str | None = None) -> Units:
    """Tell counts, linear values, logarithms and differences apart, by `RULE`.

    Parameters
    ----------
    x
        Values, [cells, genes], dense or sparse by rows.
    base
        Base of the logarithms that the file declares, see `declared_base`.

    Raises
    ------
    ValueError
        On values that are not finite, or that mark what is missing (-666).
    """
    return decide(look_at(x), base=base)


def look_at(x: object, most_cells: int = 500) -> Facts:
    """Gather what `decide` needs; sums and multiples are those of so many cells, evenly spaced.

    Raises
    ------
    ValueError
        On values that are not finite, or that mark what is missing (-666).
    """
    matrix: Any = x if sp.issparse(x) else np.asarray(x)
    count, genes = matrix.shape
    values = matrix.data if sp.issparse(matrix) else matrix.ravel()
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    check_missing(values)
    zero = 0.0 if len(values) < count * genes or not len(values) else math.nan
    fractions = values != np.round(values)
    seen = np.unique(np.linspace(0, max(count - 1, 0), min(count, most_cells)).astype(int))
    some = sp.csr_array(matrix[seen])
    some.data = some.data.astype(np.float64)
    some.eliminate_zeros()
    cells, multiples, unit = _multiples(some)
    stored = some.data
    return Facts(
        n=count * genes,
        negative=int((values < -0.05).sum()),
        whole=int((stored == np.round(stored)).sum()),
        near=int((np.abs(stored - np.round(stored)) < 0.15).sum()),
        above=int(((stored > np.floor(stored) + 0.02) & (stored < np.floor(stored) + 0.5)).sum()),
        stored=len(stored),
        least=float(np.fmin(values.min(initial=np.inf), zero)),
        most=float(np.fmax(values.max(initial=-np.inf), zero)),
        fraction=float(values[fractions.argmax()]) if fractions.any() else math.nan,
        cells=cells,
        multiples=multiples,
        unit=unit,
        totals=np.stack(
            [
                *(_spread(_inverse(some, scale).sum(1)) for scale in _SCALES),
                _spread(_inverse(_inverse(some, math.e), math.e).sum(1)),
            ]
        ),
        wholes=np.array([_whole_rows(_inverse(some, scale)) for scale in _SCALES[1:]], float),
    )


def merge(a: Facts, b: Facts) -> Facts:
    """Join what is known of some cells with what is known of others."""
    n, m = a.totals[:, 0], b.totals[:, 0]
    share = m / np.maximum(n + m, 1)
    shift = b.totals[:, 1] - a.totals[:, 1]
    totals = np.stack(
        [n + m, a.totals[:, 1] + shift * share,
         a.totals[:, 2] + b.totals[:, 2] + shift**2 * n * share], 1,
    )  # fmt: skip
    return Facts(
        *(getattr(a, name) + getattr(b, name) for name in Facts._fields[:6]),
        least=min(a.least, b.least),
        most=max(a.most, b.most),
        fraction=b.fraction if math.isnan(a.fraction) else a.fraction,
        cells=a.cells + b.cells,
        multiples=a.multiples + b.multiples,
        unit=np.array([min(a.unit[0], b.unit[0]), max(a.unit[1], b.unit[1])]),
        totals=totals,
        wholes=a.wholes + b.wholes,
    )


def decide(facts: Facts, *, base: str | None = None) -> Units:
    """Apply `RULE` to what was gathered; ``base`` is that of `declared_base`.

    Raises
    ------
    ValueError
        On logarithms of logarithms.
    """
    size = f"{facts.least:.4g} to {facts.most:.4g}"
    cells = facts.totals[0, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(facts.totals[:, 2] / np.maximum(cells, 1)) / facts.totals[:, 1]
    equal = (spread < 0.01) & (cells >= 5)
    scaled = facts.multiples > facts.cells / 2 and facts.unit[1] > 1.0001 * facts.unit[0]

    def units(kind: str, why: str, base: str = "") -> Units:
        return Units(kind, base, facts.least, facts.most, f"{why}, {size}")

    if facts.negative > 0.05 * facts.n:
        return units("differences", f"{100 * facts.negative / facts.n:.0f}% are negative")
    if math.isnan(facts.fraction):
        if facts.least < 0:
            return units("differences", "whole numbers, some negative")
        return units("binary" if facts.most < 2 else "counts", "whole numbers")
    for i, name in enumerate(BASES):
        some = facts.whole < facts.stored and facts.most <= MOST_LOG
        if cells and some and facts.wholes[i] == cells:
            return units("log", "whole numbers without it", name)
    if facts.most > MOST_LOG or scaled or facts.whole > facts.stored / 2:
        if scaled:
            return units("linear", "whole multiples of a number that differs between cells")
        if equal[0]:
            return units("linear", f"every cell sums to {facts.totals[0, 1]:.4g}")
        if facts.near > 0.6 * facts.stored:
            return units("fractional counts", "most are near to whole numbers")
        return units("linear", f"some exceed {MOST_LOG:.0f}")
    if equal[-1] and not equal[:-1].any() and facts.most < math.log1p(MOST_LOG):
        raise ValueError(
            f"values are logarithms of logarithms: the inverse, taken twice, gives every cell a "
            f"total of {facts.totals[-1, 1]:.4g}. Take one back: adata.X = numpy.expm1(adata.X)."
        )
    if base is not None:
        return units("log", "base declared by the file", base)
    for i, name in enumerate(BASES):
        if equal[i + 1] and not equal[0]:
            return units("log", f"totals of {facts.totals[i + 1, 1]:.4g} without it", name)
        if cells and facts.wholes[i] > 0.9 * cells:
            return units("log", "whole numbers without it", name)
    # Of a few values, chance may have put none there.
    if facts.stored >= 20 and facts.above < 0.05 * facts.stored:
        return units("fractional counts", "most are whole or just below whole numbers")
    return units("log", f"fractions of at most {MOST_LOG:.0f}", "unknown")


def declared_base(uns: object) -> str | None:
    """Return the base of the logarithms that ``uns["log1p"]["base"]`` tells; None where unsaid.

    Parameters
    ----------
    uns
        ``uns`` of an AnnData object, or the group of an open file.
    """
    entry = uns.get("log1p") if hasattr(uns, "get") else None  # pyright: ignore[reportAttributeAccessIssue]
    if entry is None or not hasattr(entry, "get"):
        return None
    value = entry.get("base")
    value = value[()] if hasattr(value, "shape") and hasattr(value, "file") else value
    try:
        number = math.e if value is None or type(value).__name__ == "Empty" else float(value)
    except (TypeError, ValueError):
        return None
    return next((name for name, base in BASES.items() if math.isclose(number, base)), None)


def check_missing(values: Num[np.ndarray, "..."], what: str = "values") -> None:
    """Refuse numbers that are no measurements.

    Raises
    ------
    ValueError
        On values that are not finite, and on -666, which marks missing values.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"{bad.sum()} {what} are NaN or infinite; remove or impute them.")
    if values.min(initial=0.0) > max(MISSING):
        return
    for mark in MISSING:
        if missing := int((values == mark).sum()):
            raise ValueError(
                f"{missing} {what} are {mark:.0f}, which marks missing ones; remove or impute them."
            )


_SCALES = (None, *BASES.values())


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
    """Count the cells whose values are all whole, to the precision of single floats."""
    off = np.abs(rows.data - np.round(rows.data)) > 1e-5 * np.maximum(rows.data, 1)
    return int((_sums(rows, off) == 0).sum())


def _multiples(rows: sp.csr_array) -> tuple[int, int, np.ndarray]:
    """Count cells with five values or more, and those where all are multiples of the smallest."""
    length = np.diff(rows.indptr)
    full = np.flatnonzero(length >= 5)
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
