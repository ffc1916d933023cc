"""Units of expression: what values look like, and whether two sets of them can be meant alike."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from infosem_jax.data import units
from infosem_jax.expression.profiles import Profiles, align_genes
from infosem_jax.expression.scales import rounded_base

RULE = units.RULE + (
    " Two sets agree if they are of one kind, and if for logarithms and differences the spread "
    "between the 5 and 95 per cent quantiles of one is at most three times that of the other, and "
    "the medians differ by at most the training spread, and if logarithms are not of two bases, or "
    "of values with totals that differ threefold."
)


class Units(NamedTuple):
    """What values look like.

    Attributes
    ----------
    kind
        One of ``infosem_jax.data.units.KINDS``, by :data:`RULE`.
    low, middle, high
        Quantiles at 5, 50 and 95 per cent of all values.
    base
        Of logarithms, as far as it was stated or all genes of the samples tell: ``e``, ``2``,
        ``10`` or ``unknown``.
    total
        Of each sample's values without logarithms, where it is one for all; else 0.
    """

    kind: str
    low: float
    middle: float
    high: float
    base: str = "unknown"
    total: float = 0.0


def describe_units(
    x: Num[np.ndarray, "samples genes"],
    of: Num[np.ndarray, "all_samples all_genes"] | None = None,
    name: str = "",
    base: str | None = None,
) -> Units:
    """Describe values by their quantiles and what they are likely to be, by :data:`RULE`.

    Where nothing else tells the base of logarithms, `rounded_base` may.

    Parameters
    ----------
    x
        Values.
    of
        All genes and samples of the data, which tell the base of logarithms; None for ``x``.
    name
        What the data are called in messages.
    base
        Of logarithms, where it was stated.
    """
    low, middle, high = np.quantile(x, (0.05, 0.5, 0.95)).tolist()
    found = units.describe_units(x, base=base, name=name)
    every = x if of is None else of
    told = units.describe_units(every, base=base, name=name)
    found_base = rounded_base(every) if told.base == "unknown" else told.base
    return Units(found.kind, low, middle, high, found_base, told.total)


def check_units(found: Units, expected: Units, what: str = "input") -> None:
    """Refuse values that cannot be in the units of the training data.

    The rule is :data:`RULE`. It tells linear values and counts from logarithms, differences from
    levels, and base 10 from base 2; base e from base 2 only where the base is stated, where values
    were rounded before the logarithm, or where the samples hold all genes, so that their totals
    tell. It cannot tell TPM from RPKM.

    Parameters
    ----------
    found, expected
        Of the values at hand, and of the training data; over the same genes.
    what
        What the values are called in messages.

    Raises
    ------
    ValueError
        If they do not agree, with both descriptions.
    """
    ratio = (found.high - found.low) / max(expected.high - expected.low, 1e-12)
    shift = abs(found.middle - expected.middle) / max(expected.high - expected.low, 1e-12)
    if found.kind != expected.kind:
        reason = f"they look like {found.kind}, the training data like {expected.kind}"
    elif found.kind in ("log", "differences") and not 1 / 3 <= ratio <= 3:
        reason = f"their spread is {ratio:.3g} times that of the training data"
    elif found.kind in ("log", "differences") and shift > 1:
        reason = f"their median is {shift:.3g} times the training spread away"
    elif found.base != expected.base and {found.base, expected.base} <= units.BASES.keys():
        factor = np.log(units.BASES[found.base]) / np.log(units.BASES[expected.base])
        reason = (
            f"they are logarithms to base {found.base}, the training data to {expected.base}, so "
            f"that they are to be multiplied by {factor:.4g}"
        )
    elif min(found.total, expected.total) > 0 and not 1 / 3 < found.total / expected.total < 3:
        reason = f"their totals are {found.total:.4g}, those of training {expected.total:.4g}"
    else:
        return
    raise ValueError(
        f"The units of {what} do not match the training data: {reason}. Quantiles at 5, 50 and "
        f"95%: {found.low:.4g}, {found.middle:.4g}, {found.high:.4g} against {expected.low:.4g}, "
        f"{expected.middle:.4g}, {expected.high:.4g}. Transform them as the training data were."
    )


def log_counts(profiles: Profiles) -> Profiles:
    """Turn counts, or other linear values, into ``log2(1 + counts per million)``.

    Raises
    ------
    ValueError
        On values that are no counts and not linear, and on samples without counts.
    """
    total = _totals(profiles)
    if (total == 0).any():
        empty = profiles.samples[int((total == 0).argmax())]
        raise ValueError(f"{profiles.name}: sample {empty} has no counts; leave it out.")
    return _log(profiles, total, 1e6, "log2 CPM")


def panel_pair(profiles: Profiles, panel: Sequence[str]) -> tuple[Profiles, Profiles]:
    """Split counts of all genes into what a panel would measure, and what it leaves.

    Parameters
    ----------
    profiles
        Counts of cells, spots or samples.
    panel
        Names of the genes that are measured.

    Returns
    -------
    Inputs as of `panel_counts`; and ``log2(1 + counts per ten thousand)`` of the other genes, by
    the total of all.

    Raises
    ------
    ValueError
        As of `panel_counts`, and if no gene is left to infer.
    """
    inputs = panel_counts(profiles, panel)
    rest = ~np.isin(profiles.genes, panel)
    if not rest.any():
        raise ValueError(f"{profiles.name}: expected genes beside the panel, found none.")
    targets = _log(profiles, _totals(profiles), 1e4, "log2 CP10k")
    genes = tuple(gene for gene, kept in zip(profiles.genes, rest, strict=True) if kept)
    return inputs, targets._replace(x=targets.x[:, rest], genes=genes)


def panel_counts(profiles: Profiles, panel: Sequence[str]) -> Profiles:
    """Turn counts of a panel's genes into ``log2(1 + x / m)``, m their mean in the cell.

    So only genes of the panel decide what counts are divided by, whether others were measured with
    them or not. Cells without any count of the panel are 0 throughout.

    Parameters
    ----------
    profiles
        Counts.
    panel
        Names of the genes that are measured.

    Raises
    ------
    ValueError
        On values that are no counts and not linear, and if the data lack genes of the panel.
    """
    x = align_genes(profiles, tuple(panel)).x
    own = profiles._replace(x=x, genes=tuple(panel), name=f"{profiles.name} panel")
    return _log(own, _totals(own), float(len(own.genes)), "log2 of counts by their mean")


def _totals(profiles: Profiles) -> Float[np.ndarray, "samples 1"]:
    found = units.describe_units(profiles.x, name=profiles.name)
    if (not found.countable and found.most > 0) or found.least < 0:
        raise ValueError(
            f"{profiles.name}: expected counts or linear values, found what looks like {found} "
            f"({found.why}); leave them as they are."
        )
    return profiles.x.sum(1, keepdims=True, dtype=np.float64)


def _log(
    profiles: Profiles, total: Float[np.ndarray, "samples 1"], per: float, unit: str
) -> Profiles:
    x = np.log2(1 + per * profiles.x / np.where(total > 0, total, 1.0))
    return profiles._replace(x=x.astype(np.float32), unit=unit, base="2")
