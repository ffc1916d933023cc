"""What the columns of a screen hold: perturbed genes, controls and gene names, told by content."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from infosem_jax.data._anndata import INDEX, gene_names
from infosem_jax.data._names import near_misses, some
from infosem_jax.data._species import without_version
from infosem_jax.perturbation.guides import (
    is_control,
    is_missing,
    parse_labels,
    single_names,
    without_tails,
)

PERTURBATION = (
    *("perturbation", "condition", "gene_target", "target_gene", "target", "gene", "guide_target"),
    *("perturbation_name", "guide_identity"),
)
GENES = ("gene_name", "gene_symbol", "gene_symbols", "symbol", "feature_name", "gene_short_name")
SEPARATORS = (
    *("+", "|", ";", ",", "&", "__", "_", "/", ":", " ", " and ", "_and_", "_AND_", "--", "~"),
    *("-", "."),
)
# Of a label of guides and genes; what is longer is text, and would take long to take apart.
_LONGEST = 200
# Of as many genes as were measured, out of all of a genome, the share that chance would hold.
GENOME = 20_000


class Reading(NamedTuple):
    """What a column of labels was read as.

    Attributes
    ----------
    column, separator
        The column, and what stands between the genes of a combination in it.
    names, code
        Its different values, and which of them each cell has.
    perturbed
        Genes of each value; none of controls, and None of what names no perturbation.
    named, measured
        Perturbed genes, and those of them that were measured.
    """

    column: str
    separator: str
    names: tuple[str, ...]
    code: Int[np.ndarray, " cells"]
    perturbed: tuple[tuple[str, ...] | None, ...]
    named: tuple[str, ...]
    measured: tuple[str, ...]

    @property
    def controls(self) -> dict[str, int]:
        """Number of cells by name of control."""
        count = np.bincount(self.code, minlength=len(self.names))
        return {
            name: int(n)
            for name, genes, n in zip(self.names, self.perturbed, count, strict=True)
            if genes == () and n
        }


def is_text(column: pd.Series) -> bool:
    """Tell whether a column may hold names: it is of text or categories."""
    kind = column.dtype
    return isinstance(kind, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(kind)


def read_labels(
    column: pd.Series,
    genes: Sequence[Collection[str]],
    *,
    controls: Sequence[str] = (),
    separator: str | None = None,
    usual: str = "+",
) -> list[Reading]:
    """Read the labels of cells as perturbed genes, by what gives names of genes.

    A label is a control, a gene, or genes with a separator between them. What numbers a guide, or
    names its plasmid, is no gene: it is left out where what is before it was measured, where
    nothing else can be meant (``_2``), and where nine tenths of the labels end so.

    Parameters
    ----------
    column
        Labels, a value for each cell.
    genes
        Names of the genes that were measured; several sets of names give as many readings.
    controls
        What controls are called; usual names where empty. Other controls are then left out.
    separator
        Between the genes of a combination; the one that gives most names of genes where None.
    usual
        The separator that is taken where others do no better.
    """
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    code, names = pd.factorize(text)
    plain = [name for name in names if len(name) <= _LONGEST and not is_missing(name)]
    wanted = _wanted(plain, controls)
    labels = [name for name in plain if name not in wanted and not is_control(name)]
    found = [usual, *(sep for sep in SEPARATORS if any(sep in label for label in labels))]
    found = [separator] if separator else list(dict.fromkeys(found))
    readings = []
    for own in map(frozenset, genes):
        bare = without_tails(labels, own)
        known = own | single_names(bare, own)
        tried = {sep: parse_labels(bare, own, sep, known) for sep in found}
        best = max(found, key=lambda sep: _worth(tried[sep], known, sep == usual))
        parsed = dict(zip(labels, tried[best], strict=True))
        parsed |= dict.fromkeys(wanted, ())
        if controls:  # those that were not asked for
            parsed = {name: value for name, value in parsed.items() if value or name in wanted}
        perturbed = tuple(parsed.get(name) for name in names)
        named = {gene for genes_of in perturbed for gene in genes_of or ()}
        readings.append(
            Reading(str(column.name), best, tuple(names), code, perturbed, tuple(sorted(named)),
                    tuple(sorted(named & own)))
        )  # fmt: skip
    return readings


def choose(
    obs: pd.DataFrame,
    var: pd.DataFrame,
    *,
    column: str | None = None,
    genes: str | None = None,
    controls: Sequence[str] = (),
    separator: str | None = None,
) -> tuple[Reading, str, list[str]]:
    """Find the column of perturbations and the one of gene names, by what they hold.

    A column would do if some of its cells are controls and enough of its genes were measured: a
    quarter of what chance would give if the genes were drawn out of 20,000, and at least one.

    Parameters
    ----------
    obs, var
        Tables of cells and genes.
    column, genes
        Columns to take; chosen where None.
    controls, separator
        See `read_labels`.

    Returns
    -------
    What was read, the column of gene names, and these names.

    Raises
    ------
    ValueError
        If a column is not there, none would do, or several would that tell different things.
    """
    names = _gene_columns(var, genes)
    if column is not None and column not in obs:
        raise ValueError(f"obs has no column {column!r}; it has {some(obs.columns, 40)}.")
    most = max(20, len(obs) / 2)
    places = [column] if column is not None else [
        name for name in obs if is_text(obs[name]) and obs[name].nunique() <= most
    ]  # fmt: skip
    read = []
    for place in places:
        readings = read_labels(
            obs[place], list(names.values()), controls=controls, separator=separator,
            usual="_" if "nperts" in obs else "+",
        )  # fmt: skip
        read.append(max(zip(readings, names, strict=True), key=lambda each: len(each[0].measured)))
    rank = {name: i for i, name in enumerate(PERTURBATION)}
    good = [own for own in read if own[0].controls and _enough(own[0], len(var))]
    good.sort(key=lambda own: (-len(own[0].measured), rank.get(own[0].column, len(rank))))
    others = [own[0] for own in good[1:] if not _determined(good[0][0], own[0])]
    if others:
        told = "; ".join(_told(each) for each in (good[0][0], *others))
        raise ValueError(
            "several columns of obs may say what was perturbed, and they tell different things: "
            f"{told}. Name one of them (--perturbation, Columns(perturbation=...))."
        )
    found, key = good[0] if good else _only(read, column, names)
    return found, key, names[key]


def sentences(reading: Reading, genes: str, names: Sequence[str]) -> list[str]:
    """Say what was read, and what was left out.

    Parameters
    ----------
    reading, genes, names
        As `choose` returns them.
    """
    controls = reading.controls
    shown = ", ".join(f"{name}: {n} cells" for name, n in list(controls.items())[:5])
    more = f" and {len(controls) - 5} other names" if len(controls) > 5 else ""
    told = [
        f"perturbations from obs[{reading.column!r}] (separator {reading.separator!r}), genes from "
        f"var{'.index' if genes == INDEX else f'[{genes!r}]'}: {len(reading.measured)} "
        f"of {len(reading.named)} perturbed genes are measured; controls {shown}{more}"
    ]
    unused = [
        name for i, name in enumerate(reading.names)
        if reading.perturbed[i] is None and not is_missing(name)
    ]  # fmt: skip
    if unused:
        told.append(f"controls that were not asked for were left out: {some(unused, 5)}")
    repeated = len(names) - len(set(names))
    if repeated:
        told.append(f"{repeated} genes whose name others have as well were left out")
    return told


def _wanted(names: Sequence[str], controls: Sequence[str]) -> set[str]:
    """Return the labels that are controls: those asked for, also numbered, or the usual ones."""
    if not controls:
        return {name for name in names if is_control(name)}
    found = set()
    for control in controls:
        exact = {name for name in names if name.lower() == control.lower()}
        begin = re.compile(re.escape(control) + r"[-_. ]?(sg|g)?\d+", re.IGNORECASE)
        alone = {control.lower(), ""}
        found |= exact or {
            name
            for name in names
            if begin.fullmatch(name) or set(re.split(r"[_+|;,]", name.lower())) <= alone
        }
    return found


def _worth(parsed: Sequence[tuple[str, ...]], genes: frozenset[str], usual: bool) -> tuple:
    """Rank separators: by parts that are genes less, in unusual ones, those that are none."""
    parts = [part for own in parsed for part in own]
    measured = sum(part in genes for part in parts)
    return measured - (0 if usual else len(parts) - measured), usual, -len(parts)


def _gene_columns(var: pd.DataFrame, given: str | None) -> dict[str, list[str]]:
    """Return the names of genes that each column of var gives, usual ones first."""
    usual = [name for name in GENES if name in var]
    other = [str(name) for name in var if name not in usual and is_text(var[name])]
    places = [given] if given is not None else list(dict.fromkeys([*usual, INDEX, *other]))
    found = {place: gene_names(var, place) for place in places}
    named = {
        key: list(map(without_version, own)) if given is None else own
        for key, own in found.items()
        if key in (given, INDEX) or len(set(own)) > 0.8 * len(own)
    }
    return {
        key: own if len(set(own)) == len(set(found[key])) else found[key]
        for key, own in named.items()
    }


def _enough(reading: Reading, measured: int) -> bool:
    least = 0.25 * min(measured / GENOME, 1.0) * len(reading.named)
    return len(reading.measured) >= max(1.0, least)


def _determined(first: Reading, second: Reading) -> bool:
    """Tell whether one of two columns follows from the other, but for a twentieth of the cells."""
    codes = []
    for reading in (first, second):
        number = {None: -1}
        own = [number.setdefault(genes, len(number)) for genes in reading.perturbed]
        codes.append(np.array(own, int)[reading.code])
    both = (codes[0] >= 0) & (codes[1] >= 0)
    table = pd.crosstab(codes[0][both], codes[1][both]).to_numpy()
    same = max(table.max(axis, initial=0).sum() for axis in (0, 1))
    return bool(same >= 0.95 * both.sum())


def _told(reading: Reading) -> str:
    return (
        f"{reading.column} ({len(reading.measured)} of {len(reading.named)} names are genes "
        f"measured: {some(reading.named, 5)}; {sum(reading.controls.values())} controls)"
    )


def _only(
    read: Sequence[tuple[Reading, str]], column: str | None, names: dict[str, list[str]]
) -> tuple[Reading, str]:
    """Take the column that was named, though few of its genes were measured, or say why none."""
    uncontrolled = [own for own, _ in read if own.measured and not own.controls]
    unmeasured = [(own, key) for own, key in read if own.controls and own.named]
    if unmeasured:
        found, key = unmeasured[0]
        missed = near_misses(names[key], found.named, "Perturbations")
        ids = names[key][0].startswith("ENS") != found.named[0].startswith("ENS")
        if column is not None and not (missed[0].isdigit() or ids):
            return found, key
        more = f"; {_told(uncontrolled[0])} has no controls" if uncontrolled else ""
        raise ValueError(
            "expected a column of obs with controls whose perturbed genes are measured, found "
            f"{'; '.join(_told(own) for own, _ in unmeasured)}{more}. {missed} If only some genes "
            "were measured, name the column (--perturbation, Columns(perturbation=...)); a column "
            "of var with other names of genes is --var-names."
        )
    if column is not None or uncontrolled:
        found = uncontrolled[0] if uncontrolled else read[0][0]
        unsaid = [i for i, name in enumerate(found.names) if is_missing(name)]
        unnamed = int(np.isin(found.code, unsaid).sum())
        named = [name for i, name in enumerate(found.names) if i not in unsaid]
        more = f" The {unnamed} cells without one are no controls; name them control, if they are."
        raise ValueError(
            "no cell is a control; name what controls are called (--control, "
            f"Columns(control=...)). Names in obs[{found.column!r}]: "
            f"{some(named, 5)}.{more if unnamed else ''}"
        )
    raise ValueError(
        "no column of obs says what was perturbed: expected names of genes that are measured and "
        "of controls, such as control, NT or non-targeting, in a column such as "
        f"{', '.join(PERTURBATION[:4])}, found "
        f"{some([own.column for own, _ in read], 40) or 'no text'}; name it (--perturbation, "
        "Columns(perturbation=...))."
    )
