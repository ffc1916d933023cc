"""Units of expression: what values are, told by one rule for every reader and every system."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

from infosem_jax.data._two_units import refuse_two_units
from infosem_jax.data._unit_facts import (
    BASES,
    MISSING,
    MOST_LOG,
    Facts,
    Look,
    check_missing,
    evenly,
    look_at,
    merge,
)

__all__ = [
    "BASES",
    "KINDS",
    "MISSING",
    "MOST_LOG",
    "RULE",
    "Kind",
    "Look",
    "Units",
    "check_missing",
    "decide",
    "declared_base",
    "describe_units",
    "evenly",
    "look_at",
    "merge",
]

Kind = Literal["counts", "fractional counts", "binary", "linear", "log", "differences"]
KINDS: tuple[str, ...] = get_args(Kind)
RULE = (
    "Values are differences if a twentieth is below -0.05; binary if all are 0 or 1, and counts if "
    f"all are other whole numbers; linear or fractional counts if some exceed {MOST_LOG:.0f}, or "
    "if the values of each cell are whole multiples of its smallest one or half of them whole "
    "numbers, or nearly all whole or just below; and logarithms otherwise, or where the inverse "
    "gives whole numbers. Those above are linear if the values of a cell have one "
    "sum in all cells, or are whole multiples, and fractional counts if most are near to whole "
    "numbers. The base of logarithms is the one declared in uns['log1p'], or else the one whose "
    "inverse gives all cells the same total, or whole numbers. Cells in two units are refused: "
    "whole numbers beside logarithms, linear values beside logarithms, logarithms to two bases; "
    "and so are counts of which some are negative."
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
    total
        Of the values of each cell, without logarithms, where it is one for all; else 0.
    """

    kind: str
    base: str
    least: float
    most: float
    why: str
    total: float = 0.0

    @property
    def countable(self) -> bool:
        """Whether a cell's total means something: counts, whole, fractional or rescaled."""
        return self.kind in ("counts", "fractional counts", "linear")

    def __str__(self) -> str:
        text = f"logarithms to base {self.base}" if self.base in BASES else self.kind
        return {"log": "logarithms", "linear": "linear values"}.get(text, text)


def describe_units(x: object, *, base: str | None = None, name: str = "") -> Units:
    """Tell counts, linear values, logarithms and differences apart, by `RULE`.

    Parameters
    ----------
    x
        Values, [cells, genes], dense or sparse by rows.
    base
        Base of the logarithms that the file declares, see `declared_base`.
    name
        What the data are called in messages.

    Raises
    ------
    ValueError
        On values that are not finite, or that mark what is missing (-666); and as `decide`.
    """
    with _called(name):
        return decide(look_at(x), base=base)


def decide(look: Look, *, base: str | None = None, name: str = "") -> Units:
    """Apply `RULE` to what was gathered; ``base`` and ``name`` as of `describe_units`.

    Raises
    ------
    ValueError
        On cells in two units, counts of which some are negative, and logarithms of logarithms.
    """
    with _called(name):
        refuse_two_units(look, _decide)
        return _decide(look.every, base)


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


@contextmanager
def _called(name: str) -> Iterator[None]:
    """Put the name of the data before what is refused of them."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from error


def _decide(facts: Facts, base: str | None = None) -> Units:
    size = f"{facts.least:.4g} to {facts.most:.4g}"
    cells, equal = facts.totals[0, 0], facts.equal

    def units(kind: str, why: str, base: str = "") -> Units:
        at = [*BASES].index(base) + 1 if base in BASES else 0
        total = facts.totals[at, 1] if equal[at] and (at or kind != "log") else 0.0
        return Units(kind, base, facts.least, facts.most, f"{why}, {size}", float(total))

    _refuse_marks(facts)
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
    if facts.most > MOST_LOG or facts.scaled or facts.whole > facts.stored / 2:
        if facts.scaled:
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
            _refuse_marks(facts, never=True)
            return units("log", f"totals of {facts.totals[i + 1, 1]:.4g} without it", name)
        if cells and facts.wholes[i] > 0.9 * cells:
            return units("log", "whole numbers without it", name)
    # Of a few values, or values that all lie close together, chance may have put none there.
    if facts.stored >= 20 and facts.most - facts.least > 0.5 and facts.above < 0.05 * facts.stored:
        return units("fractional counts", "most are whole or just below whole numbers")
    return units("log", f"fractions of at most {MOST_LOG:.0f}", "unknown")


def _refuse_marks(facts: Facts, *, never: bool = False) -> None:
    """Refuse negative values among counts, and one low number that can only mark missing values.

    ``never`` says that logarithms are of 1 and more, so that none can be negative.
    """
    few = facts.negative <= 0.05 * facts.n
    one = facts.lowest == facts.negative and facts.least == round(facts.least)
    whole = math.isnan(facts.fraction)
    counts = whole and ((one and facts.most > 1) or (few and facts.most > -facts.least))
    mark = few and one and (never or facts.most > MOST_LOG or facts.least < -MOST_LOG)
    if not facts.negative or not (counts or mark):
        return
    beside = "whole numbers" if counts else "values"
    raise ValueError(
        f"{facts.negative} values are negative (down to {facts.least:.4g}) among {beside} up to "
        f"{facts.most:.4g}; counts have none, so that these may mark missing values: remove or "
        "impute them, or give differences throughout."
    )
