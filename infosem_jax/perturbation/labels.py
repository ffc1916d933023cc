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
from infosem_jax.data._names import near_misses
from infosem_jax.data._species import without_version

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

# Compared in lower case and without blanks and signs, and without what numbers a guide.
_CONTROL = re.compile(
    r"(s[ghi]|grna|crispr[ain]?)?(control|ctrl|ctl|nt|ntc|neg|safe|nontarget(ing|ed)?|notarget(ing)?|(un|non|not?)perturb(ed|ation)"
    r"|untargeted|(neg(ative)?|nontargeting|safe|safetargeting|safeharbor|empty|scramble)"
    r"(control|ctrl|ctl)|safeharbor|safetargeting|scrambled?|scr|luc|intergenic|wildtype|vehicle|dmso|mock"
    r"|aavs1|rosa26|lacz|luciferase|e?gfp|nongenesite|(one)?nongenesite|nosite|onesite"
    r"|noguidecontrol|cuttingcontrol|untreated|emptyvector)"
    r"(human|mouse)?(control|ctrl|guide|grna|sgrna|gene|sg|g)?s?\d*"
)
_NO_NUMBER = ("wt", "none-targeting", "luc", "rluc")
_MISSING = re.compile(
    "|nan|none|na|null|0|lowquality|unknown|unmapped|undetermined|ambiguous|negative|doublets?|multi(plets?|ple)?"
    "|(multi(ple)?|no|nosingle)(s?g|gene|guide|(sg)?rna|grna)s?|(un|not?)(assign(ed|able|ment)"
    r"|called|call|detected)|(\d+|morethan(1|one)|several|two)(genes|guides|(s?g)?rnas)"
)
# What follows a gene in the name of a guide: its number, plasmid, promoter, sequence or method.
_SUFFIX = re.compile(
    r"(?i:\d{1,3}|[a-z]|(sg|g|guide|grna|sgrna|rep|pos)[-_]?\d*|\(\w+\)|p[a-z]{1,3}\d+\w*"
    r"|p\d(p\d)?|enst?\w*\d{6,}\S*|ko|kd|oe|crispr[ain]?|[+-]|[\d.]+-p\dp?\d?|[acgt]{15,})"
)
_NUMBERED = re.compile(r"(.+?)(?:[-_.#]\d{1,2}|[-_.#]?(?:sg|g|guide|gRNA|sgRNA)[-_.]?\d{1,2})")
_PREFIX = re.compile(r"(?:sgRNA[-_]|gRNA[-_]|guide[-_]|s[ghi])(?=[A-Z])")
_METHOD = re.compile(r"(.+)-(?:KO|KD|OE|CRISPR[ain]?|ko|kd|oe)")
_NUMBER = r"(?:_[+-])?[-_.](?:sg|g)?[\d.]+(?:-P\dP?\d?)?"
_TWICE = re.compile(rf"(.+)__\1|((.+?){_NUMBER})\|\3{_NUMBER}")
# How, and the strand that a guide lies on, as Replogle's library has it.
_BEFORE, _STRAND = re.compile(r"^CRISPR[ain]?[-_](?=[A-Z])"), re.compile(r"_[+-]_")


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


def is_control(name: str) -> bool:
    """Tell whether a label is a usual name of controls, also numbered (``NT1``, ``neg_ctrl_3``)."""
    return all(
        _is_one_control(guide) or all(map(_is_one_control, re.split("_+", guide)))
        for guide in re.split(r"[+|;,&]|__", name)
    )


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
    plain = [name for name in names if len(name) <= _LONGEST and not _is_missing(name)]
    wanted = _wanted(plain, controls)
    labels = [name for name in plain if name not in wanted and not is_control(name)]
    found = [usual, *(sep for sep in SEPARATORS if any(sep in label for label in labels))]
    found = [separator] if separator else list(dict.fromkeys(found))
    readings = []
    for own in map(frozenset, genes):
        bare = _without_tails(labels, own)
        known = own | _alone(bare, own)
        tried = {sep: _parse_all(bare, own, sep, known) for sep in found}
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


def parse_labels(labels: Sequence[str], genes: Collection[str]) -> list[tuple[str, ...]]:
    """Return the perturbed genes of labels with ``+`` between genes, guides taken for genes.

    Parameters
    ----------
    labels
        Names of perturbations.
    genes
        Names of the genes that were measured.
    """
    return _parse_all(labels, frozenset(genes), "+")


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
        raise ValueError(f"obs has no column {column!r}; it has {_some(obs.columns, 40)}.")
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
        if reading.perturbed[i] is None and not _is_missing(name)
    ]  # fmt: skip
    if unused:
        told.append(f"controls that were not asked for were left out: {_some(unused)}")
    repeated = len(names) - len(set(names))
    if repeated:
        told.append(f"{repeated} genes whose name others have as well were left out")
    return told


def _is_one_control(name: str) -> bool:
    plain = re.sub(r"[\W_]", "", name.lower())
    return bool(_CONTROL.fullmatch(plain)) or plain in _NO_NUMBER


def _is_missing(name: str) -> bool:
    return any(
        all(_MISSING.fullmatch(re.sub(r"[\W_]", "", part)) for part in parts)
        for parts in ([name.lower()], re.split(r"[+|;,&]|__", name.lower()))
    )


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


def _without_tails(labels: Sequence[str], genes: frozenset[str]) -> list[str]:
    """Take off what follows half of the genes that were measured and is none: it names a guide."""
    names = genes.union(label for label in labels if re.fullmatch(r"[^\W_]+", label))
    found: dict[str, set[str]] = {}
    for label in labels:
        for place in reversed([match.start() for match in re.finditer(r"[^\w.-]|_", label)]):
            gene = _PREFIX.sub("", label[:place])
            if gene in genes:
                found.setdefault(label[place:], set()).add(gene)
                break
    least = max(2.0, len(set().union(*found.values())) / 2) if found else 0.0
    tails = [
        tail for tail, after in found.items()
        if len(after) >= least and not names.intersection(re.split(r"[\W_]+", tail))
    ]  # fmt: skip
    tails.sort(key=len, reverse=True)
    return [
        label.removesuffix(next((tail for tail in tails if label.endswith(tail)), ""))
        for label in labels
    ]


def _alone(labels: Sequence[str], genes: frozenset[str]) -> frozenset[str]:
    """Return the labels that are one name, which need not be of a gene that was measured."""
    found = {label for label in labels if re.fullmatch(r"[^\W_]+", label)}
    hyphened = {label for label in labels if re.fullmatch(r"[^\W_]+(-[^\W_]+)+", label)}
    for label in sorted(hyphened, key=len):
        parts = label.split("-")
        begins = ("-".join(parts[:n]) for n in range(1, len(parts)))
        if not any(name in genes or name in found for name in (*parts, *begins)):
            found.add(label)
    return frozenset(found)


def _parse_all(
    labels: Sequence[str],
    genes: frozenset[str],
    separator: str,
    known: frozenset[str] = frozenset(),
) -> list[tuple[str, ...]]:
    numbered = [bool(_NUMBERED.fullmatch(label)) for label in labels]
    strip = sum(numbered) >= 0.9 * len(labels) > 0 and len(labels) >= 3
    known = known or genes
    parsed = [_parse(label, genes, separator, strip, known) for label in labels]
    # Names that differ in case only are one gene, spelled as it was measured.
    named = sorted({gene for own in parsed for gene in own}, key=lambda gene: gene not in genes)
    spelled: dict[str, str] = {}
    for gene in named:
        spelled.setdefault(gene.casefold(), gene)
    return [
        tuple(sorted({gene if gene in genes else spelled[gene.casefold()] for gene in own}))
        for own in parsed
    ]


def _parse(
    text: str, genes: frozenset[str], separator: str, strip: bool, known: frozenset[str]
) -> tuple[str, ...]:
    twice = _TWICE.fullmatch(text)
    if twice and not genes.intersection(text.split("|")):
        text = twice[1] or twice[2]  # one label for each of two guides
    text = _STRAND.sub("_", _BEFORE.sub("", text))
    if text in genes:
        return (text,)
    parts = _split(text, separator, known)
    if separator != "+":
        # What numbers a guide may also stand first where a gene that was measured follows.
        first = 0 if parts[0].isdigit() or genes.intersection(parts[1:]) else 1
        parts = [*parts[:first], *(part for part in parts[first:] if part in genes
                 or not (part.isdigit() or _SUFFIX.fullmatch(part)))]  # fmt: skip
    kept = {part for part in parts if part and not is_control(part)}
    return tuple(sorted({_gene(part, genes, strip) for part in kept}))


def _split(text: str, separator: str, known: frozenset[str]) -> list[str]:
    """Split a label, but for names that hold the separator."""
    parts = [part.strip() for part in text.split(separator)]
    whole = []
    while parts:
        ends = (n for n in range(len(parts), 1, -1) if separator.join(parts[:n]) in known)
        n = next(ends, 1)
        whole.append(separator.join(parts[:n]))
        parts = parts[n:]
    return whole


def _gene(text: str, genes: frozenset[str], strip: bool) -> str:
    """Return the gene of a guide."""
    bare = without_version(_PREFIX.sub("", text))
    if text in genes or bare in genes:
        return text if text in genes else bare
    if method := _METHOD.fullmatch(bare):
        return method[1]
    numbered = _NUMBERED.fullmatch(bare)
    stem = re.split(r"[_#:( ]", bare)[0]
    for name in (numbered[1] if numbered else "", bare.split(".")[0], stem):
        if name in genes:
            return name
    if numbered and (strip or "_" in bare):
        return numbered[1]
    head, _, tail = bare.partition("_")
    return head if tail and all(map(_SUFFIX.fullmatch, tail.split("_"))) else bare


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
        f"measured: {_some(reading.named)}; {sum(reading.controls.values())} controls)"
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
        unnamed = int(np.isin(found.code, [i for i, n in enumerate(found.names) if not n]).sum())
        more = f" The {unnamed} cells without one are no controls; name them control, if they are."
        raise ValueError(
            "no cell is a control; name what controls are called (--control, "
            f"Columns(control=...)). Names in obs[{found.column!r}]: "
            f"{_some([name for name in found.names if name])}.{more if unnamed else ''}"
        )
    raise ValueError(
        "no column of obs says what was perturbed: expected names of genes that are measured and "
        "of controls, such as control, NT or non-targeting, in a column such as "
        f"{', '.join(PERTURBATION[:4])}, found "
        f"{_some([own.column for own, _ in read], 40) or 'no text'}; name it (--perturbation, "
        "Columns(perturbation=...))."
    )


def _some(names: Collection, n: int = 5) -> str:
    return ", ".join(map(str, list(names)[:n])) + (", ..." if len(names) > n else "")
