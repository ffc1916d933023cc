"""Cells of two units in one matrix, as of studies that were put together, are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from infosem_jax.data._unit_facts import BASES, FEW, Facts, Look, merge_facts

_CURE = (
    "Bring all cells to one unit before they are put together: counts of all, or the same "
    "normalisation and logarithm of all (--layer reads another matrix of h5ad files)."
)
# Totals that two normalisations have made, and not two studies of unlike depth.
_APART = 9.0
# Share of cells, of a panel of few genes, that have whole numbers only without being counts.
_MOST_BY_CHANCE = 0.05


def refuse_two_units(look: Look, tell: Callable[[Facts], Any]) -> None:
    """Refuse cells of which some are in one unit and some in another.

    Parameters
    ----------
    look
        Facts of the cells, and of groups of them.
    tell
        Tells the ``Units`` of some cells by their facts.

    Raises
    ------
    ValueError
        With the number of cells in each unit.
    """
    whole, low, high = look.groups
    fractions = merge_facts(low, high) if low and high else low or high
    counts, small, large = look.sizes
    if whole and fractions and whole.least >= 0:
        other = tell(fractions)
        if _at_odds(whole, fractions, other, look.sizes):
            _refuse((counts, "counts", whole), (small + large, other, fractions))
    if low and high and low.least >= 0 and (own := tell(low)).kind == "log":
        other = tell(high)
        if other.kind in ("linear", "fractional counts") and (
            own.base in BASES or _inverse_of(low, high)
        ):
            _refuse((small, own, low), (large, other, high))
    _refuse_two_scales(look.totals)


def _at_odds(whole: Facts, fractions: Facts, other: Any, sizes: tuple[int, ...]) -> bool:
    """Tell whether cells of whole numbers cannot be in the unit of those with fractions."""
    share = sizes[0] / sum(sizes)
    if other.kind == "log":  # rounded values, square roots, and logarithms to base 2 of 1, 3 and 7
        by_chance = _MOST_BY_CHANCE + 3 * (fractions.whole / fractions.stored) ** FEW
        told = share > by_chance and other.base != "2"
        return bool(told or whole.most > fractions.most)
    if other.kind == "linear" and fractions.equal[0]:  # a cell that was at that total keeps counts
        return bool(abs(whole.totals[0, 1] / fractions.totals[0, 1] - 1) > 0.1)
    if other.kind == "linear":
        counted = whole.unit[0] == 1 and share > max(1 / sum(sizes), _MOST_BY_CHANCE)
        return bool(fractions.scaled and counted)
    return other.kind == "differences"


def _inverse_of(low: Facts, high: Facts) -> bool:
    """Tell whether totals agree once some inverse is taken of ``low``, and else differ tenfold."""
    ratio = low.totals[:4, 1] / high.totals[0, 1]
    return bool(ratio[0] < 0.1 and ((ratio[1:] > 0.5) & (ratio[1:] < 2)).any())


def _refuse_two_scales(totals: Float[np.ndarray, "some scales"]) -> None:
    """Refuse logarithms of cells that one base gives one total, and another base another."""
    count = len(totals)
    if count < 20 or (totals <= 0).any():
        return
    left, found = np.ones(count, bool), []
    for _ in range(2):
        parts = [left & _most_alike(own, left) for own in totals.T[1:]]
        best = max(range(len(parts)), key=lambda i: parts[i].sum())
        part = parts[best]
        # Where the values themselves have one total, as of quantiles, so have all powers.
        if part.sum() < 0.05 * count or np.log(totals[part, 0]).std() < 1e-3:
            return
        found.append((list(BASES)[best], float(np.median(totals[part, best + 1])), part.mean()))
        left &= ~part
    sizes = [size for _, size, _ in found]
    two = len({name for name, *_ in found}) > 1 or max(sizes) > _APART * min(sizes)
    if two and left.mean() < 0.05:
        told = " and ".join(
            f"{share:.0%} hold logarithms to base {name} of values with a total of {size:.4g}"
            for name, size, share in found
        )
        raise ValueError(f"cells are in two units: {told}. {_CURE}")


def _most_alike(
    total: Float[np.ndarray, " cells"], left: Bool[np.ndarray, " cells"]
) -> Bool[np.ndarray, " cells"]:
    """Return the cells within a thousandth of the total that has most of those left as near."""
    if not left.any():
        return left
    value = np.log(total)
    order = np.sort(value[left])
    near = np.searchsorted(order, order + 1e-3) - np.searchsorted(order, order - 1e-3)
    return np.abs(value - order[near.argmax()]) < 1e-3


def _refuse(*parts: tuple[int, Any, Facts]) -> None:
    count = sum(size for size, *_ in parts)
    told = " and ".join(
        f"{size:,} hold {unit} (up to {facts.most:.4g})" for size, unit, facts in parts
    )
    raise ValueError(f"cells are in two units: of {count:,}, {told}. {_CURE}")
